"""How a run can end badly, in sentences: what happened, what it means, what to do."""

from __future__ import annotations

import errno
import json
import re
import traceback

from slicer.i18n import tr as _

from MAPDiffLib.errors import says_out_of_memory

OUT_OF_MEMORY_CODES = (9, 137)  # SIGKILL, as a signal's number and as a shell reports it


def crashMessage(exitCode: int, crashed: bool, log: str) -> str:
    """For a worker that ended without a last message: by its exit code and by what it wrote to standard error."""
    if exitCode == -1 and crashed:
        return _("Slicer's Python could not be started. Restart Slicer, or reinstall the extension.")
    if says_out_of_memory(log):  # the loader or the C++ library ended it, which ask nobody
        return _(
            "Memory ran out. The doses that had arrived stay. Close other programs, or choose fewer samples, and press "
            "Denoise again."
        )
    if crashed and exitCode in OUT_OF_MEMORY_CODES:
        return _(
            "The restoration was ended by the system, most often because memory ran out. The doses that had arrived "
            "stay. Close other programs, or choose fewer samples, and press Denoise again."
        )
    if crashed:
        return _(
            "The restoration crashed (code {code}). The doses that had arrived stay. Press Denoise again; if it "
            "happens again, choose the device cpu under Model and options."
        ).format(code=exitCode)
    where = _("The details say more.") if log else _("It left no message.")
    return _("The restoration stopped unexpectedly (exit code {code}). {where} Press Denoise again.").format(
        code=exitCode, where=where
    )


def writeFailure(error: Exception, folder: str) -> tuple[str, str]:
    """(message, details) for an exception on the way to or from the worker."""
    details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _("The disk of {folder} is full. Free some space, or choose another temporary folder in Slicer's "
                 "application settings, and press Denoise again.").format(folder=folder), details  # fmt: skip
    if isinstance(error, OSError):
        return _("A file in {folder} could not be written or read ({reason}). Check the temporary folder in Slicer's "
                 "application settings and press Denoise again.").format(
                     folder=folder, reason=error.strerror or error), details  # fmt: skip
    return _("A result could not be read: {reason}. Press Denoise again.").format(reason=error), details


def installMessage(log: str) -> str:
    """For pip or light-the-torch that ended badly: by what they wrote."""
    if "No space left" in log:
        reason = _("the disk is full. Free some space")
    elif re.search(r"resolve|Connection|Max retries|timed out|SSL|proxy", log, re.IGNORECASE):
        reason = _("the internet could not be reached. Check the connection, and the proxy if there is one")
    elif re.search(r"No matching distribution|Could not find a version", log):
        reason = _("there is no build for this Slicer and this computer. Use the newest Slicer")
    elif re.search(r"long path|WinError 206|path too long", log, re.IGNORECASE):
        reason = _("Windows refuses long paths. Enable them, or install Slicer in a folder with a short name")
    elif re.search(r"Permission|Access is denied|WinError 5\b", log):
        reason = _("a file could not be replaced. Restart Slicer, so that nothing uses the packages")
    else:
        reason = _("the details say why. Restart Slicer")
    return _("The packages could not be installed: {reason}, and try again.").format(reason=reason)


def estimateMessage(error: Exception) -> str:
    """For a best estimate that could not be computed: why, and what to do."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _("There was no best estimate: the disk is full. Free some space and move the region.")
    reason = str(error).replace("mapdiff: ", "").rstrip(".") or type(error).__name__
    return _("There was no best estimate: {reason}. Move the region, or choose another, to try again.").format(
        reason=reason
    )


def changedScan() -> str:
    """A remark, not an error."""
    return _("The scan's voxels were changed meanwhile: the doses are of the scan as it was at the start.")


def readReport(path: str) -> dict:
    """report.json; {} when it is not there or broken, for the doses are worth more than their report."""
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}
