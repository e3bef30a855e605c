"""The errors a caller may want to tell apart. Every message says what was seen, what is needed and what to do."""


class InputError(ValueError):
    """The job, the scan or an option cannot work as given (exit code 2)."""


class NotAScan(InputError):
    """A volume that is sound and no scan: a label map or a mask. A batch passes it over."""


class BundleError(InputError):
    """A model bundle is missing, broken or not trusted (exit code 2)."""


class Cancelled(Exception):
    """The caller asked the work to stop (exit code 3)."""


# torch, oneDNN, the C++ library and the system's loader have no class for it, only words.
_MEMORY_WORDS = (
    "MemoryError", "allocate memory", "not enough memory", "out of memory", "bad_alloc", "start new thread",
    "Thread creation failed", "could not create a",
)  # fmt: skip


def says_out_of_memory(text: str) -> bool:
    """Whether an error's message, or what a process wrote before it ended, says that the memory was used up."""
    return any(words in text for words in _MEMORY_WORDS)
