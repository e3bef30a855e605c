"""Whether the packages that a restoration computes with are there and fit together, said before any work."""

from __future__ import annotations

import importlib
import re
import sys
from importlib import metadata

LEAST_PYTHON, LEAST_TORCH = (3, 10), (2, 2)


def check_python() -> None:
    """ImportError for a Python that is too old."""
    if sys.version_info < LEAST_PYTHON:
        raise ImportError(f"Python is {sys.version.split()[0]}; {_dotted(LEAST_PYTHON)} or newer is needed.")


def load_libraries() -> None:
    """Loads torch and all of a restoration. ImportError for a torch that is missing, too old, or at odds with numpy.

    The version is asked of the package's records first: what an old torch lacks would end its import with any error.
    """
    check_python()
    try:
        found = metadata.version("torch")
    except metadata.PackageNotFoundError:  # not there, which its import says, or put there without records
        found = _dotted(LEAST_TORCH)
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < LEAST_TORCH:
        raise ImportError(
            f"torch is {found}; {_dotted(LEAST_TORCH)} or newer is needed: pip install -U "
            f"'torch>={_dotted(LEAST_TORCH)}'"
        )
    _check_numpy(importlib.import_module("torch"))
    importlib.import_module("MAPDiffLib.restoration.restore")


def _check_numpy(torch) -> None:
    """A torch built for numpy 1 loads beside numpy 2, and fails at its first array."""
    import numpy as np

    try:
        torch.from_numpy(np.zeros(1, np.float32)).numpy()
    except RuntimeError as error:
        raise ImportError(
            f"torch {torch.__version__} does not work with numpy {np.__version__} ({error}): pip install -U torch, or "
            "pip install 'numpy<2'"
        ) from error


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
