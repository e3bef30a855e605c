"""The errors a caller may want to tell apart. Every message says what was seen, what is needed and what to do."""


class InputError(ValueError):
    """The job, the scan or an option cannot work as given (exit code 2)."""


class NotAScan(InputError):
    """A volume that is sound and no scan: a label map or a mask. A batch passes it over."""


class BundleError(InputError):
    """A model bundle is missing, broken or not trusted (exit code 2)."""


class Cancelled(Exception):
    """The caller asked the work to stop (exit code 3)."""
