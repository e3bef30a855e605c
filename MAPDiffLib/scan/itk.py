"""SimpleITK among threads: its formats by a file's ending, its use by one thread at a time, what its errors say."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

IMAGE_IO = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_ITK = threading.Lock()
# ITK refuses axes that are a hair from right angles; nifti_header.shear_mm judges them by how far they are off.
os.environ["ITK_NIFTI_SFORM_PERMISSIVE"] = "1"


@contextmanager
def alone_with_itk() -> Iterator[None]:
    """One thread at a time, ITK's warnings off stderr meanwhile: around every use of SimpleITK's readers and writers.

    They let go of Python's own lock, but share strings and error texts among all threads: a file that cannot be read in
    one thread while another reads or writes corrupts the process's memory (seen with SimpleITK 2.5.7, NRRD and NIfTI;
    https://github.com/SimpleITK/SimpleITK/issues/74).
    """
    with _ITK:
        shown = sitk.ProcessObject_GetGlobalWarningDisplay()
        sitk.ProcessObject_SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            sitk.ProcessObject_SetGlobalWarningDisplay(shown)


def reason(error: Exception) -> str:
    """The line of an ITK error that says what happened, without its source files and addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return lines[-1].rpartition("): ")[2] if lines else type(error).__name__
