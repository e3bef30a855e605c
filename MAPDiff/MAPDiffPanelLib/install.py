"""First use: what the worker needs is checked before anything is downloaded, asked for once, installed by a child.

The PyTorch extension's own installTorch ends with `import torch`, which must not happen in Slicer's process. What it
does before that is to run light-the-torch, which finds the build for this computer's graphics driver: the same is run
here in a child, with the arguments that the extension names.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib.failure_messages import installMessage
from MAPDiffPanelLib.process import WorkerProcess

SLICER, PYTHON = (5, 10), (3, 10)
TORCH, TORCH_FOR_NUMPY_2 = (2, 2), (2, 3)
SAFETENSORS, LIGHT_THE_TORCH = "safetensors>=0.4", "light-the-torch>=0.5"
RAW_PROGRESS_PIP = (24, 1)  # the first that says how much of a file has come
NEEDED_BYTES = 3e9  # while a build without CUDA is unpacked


class InstallError(RuntimeError):
    """A sentence for the user: what is in the way, and what to do."""


def tooOld() -> str:
    """Why this Slicer cannot run MAPDiff at all, "" when it can."""
    have = (int(slicer.app.majorVersion), int(slicer.app.minorVersion))
    if have >= SLICER and sys.version_info[:2] >= PYTHON:
        return ""
    return _(
        "MAPDiff needs Slicer {wanted} or newer; this is Slicer {have} with Python {python}. Install a newer Slicer "
        "from download.slicer.org."
    ).format(wanted=_text(SLICER), have=_text(have), python=_text(sys.version_info[:2]))


def missingPackages() -> list[str]:
    """What has to be installed, for pip: ["torch>=2.3", "safetensors>=0.4"]. InstallError for what cannot fit."""
    if reason := tooOld():
        raise InstallError(reason)
    importlib.invalidate_caches()
    torch, numpy = versionOf("torch"), versionOf("numpy")
    lowest = TORCH_FOR_NUMPY_2 if numpy >= (2,) else TORCH
    missing = []
    if torch >= TORCH and torch < lowest:
        raise InstallError(
            _("torch {torch} is installed and does not work with numpy {numpy}. Write "
              "slicer.util.pip_install('numpy<2') in Slicer's Python console, restart Slicer and try again.").format(
                  torch=_text(torch), numpy=_text(numpy))
        )  # fmt: skip
    if torch < lowest:
        missing.append("torch>=" + _text(lowest))
    if not versionOf("safetensors"):
        missing.append(SAFETENSORS)
    return missing


def question(missing: list[str]) -> str:
    """What the user is asked before anything is downloaded. InstallError when it could not work."""
    folder = sysconfig.get_paths()["purelib"]
    large = any(name.startswith("torch") for name in missing)
    if large and not _hasExtension():
        raise InstallError(
            _("MAPDiff needs the PyTorch extension. Install PyTorch in the Extensions Manager, restart Slicer and try "
              "again.")
        )  # fmt: skip
    if not os.access(folder, os.W_OK):
        raise InstallError(_("Python packages cannot be installed: the folder {folder} is read-only. Install Slicer "
                             "where you may write, or ask whoever installed it.").format(folder=folder))  # fmt: skip
    free = shutil.disk_usage(folder).free
    if large and free < NEEDED_BYTES:
        raise InstallError(
            _("Python packages of 3 GB are needed, and the disk of {folder} has {free:.1f} GB left. Free some space "
              "and try again.").format(folder=folder, free=free / 1e9)
        )  # fmt: skip
    old = versionOf("torch")
    replaced = _(" torch {version}, which is too old, is replaced; another extension may have brought it.")
    return _(
        "MAPDiff needs Python packages that are not installed yet: {names}.\n\n{size} are downloaded once from the "
        "internet into Slicer's Python, {folder} ({free:.0f} GB free).{replaced}\n\nInstall them now?"
    ).format(
        names=", ".join(missing),
        size=_("About 0.3 GB (3 GB with CUDA for an NVIDIA GPU)") if large else _("Less than 1 MB"),
        folder=folder,
        free=free / 1e9,
        replaced=replaced.format(version=_text(old)) if large and old else "",
    )


class Installation:
    """pip and light-the-torch in children, one after the other.

    onProgress(share of the present file or None, text); onEnd(message, details), message "" when all is there.
    """

    def __init__(self, onProgress: Callable, onEnd: Callable):
        self._onProgress, self._onEnd, self._worker, self._lines = onProgress, onEnd, None, []
        self._commands: list[tuple] = []
        self._cancelled = False

    @property
    def running(self) -> bool:
        """Whether anything is being installed."""
        return self._worker is not None

    def start(self, missing: list[str]) -> None:
        """Returns at once; the caller has asked the user."""
        torch = [name for name in missing if name.startswith("torch")]
        others = [name for name in missing if not name.startswith("torch")]
        self._commands = [("pip", ["install", *others, *([LIGHT_THE_TORCH] if torch else [])])]
        self._commands += [("light_the_torch", torchArguments(name)) for name in torch]
        self._lines, self._cancelled = [], False
        self._next()

    def cancel(self) -> None:
        """Ends it; onEnd follows."""
        if self._worker is not None:
            self._cancelled = True
            self._worker.end()

    def stopNow(self) -> None:
        """For quitting and reloading: nobody is told."""
        if self._worker is not None:
            self._worker.endAndWait()
        self._worker = None

    def _next(self) -> None:
        module, arguments = self._commands.pop(0)
        self._worker = WorkerProcess(self._line, self._ended)
        raw = {"PIP_PROGRESS_BAR": "raw"} if versionOf("pip") >= RAW_PROGRESS_PIP else {}
        self._worker.start(arguments, os.path.expanduser("~"), module, {**raw, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})

    def _line(self, line: str) -> None:
        if came := re.fullmatch(r"Progress (\d+) of (\d+)", line.strip()):
            self._onProgress(int(came[1]) / max(1, int(came[2])), "")
        elif line.strip():
            self._lines.append(line)
            self._onProgress(None, line.strip())

    def _ended(self, exitCode: int, crashed: bool) -> None:
        log, self._worker = "\n".join([*self._lines, self._worker.log]), None
        if self._cancelled:
            self._onEnd(_("The installation was cancelled. Denoise asks again."), log)
        elif exitCode or crashed:
            self._onEnd(installMessage(log), log)
        elif self._commands:
            self._next()
        else:
            self._onEnd(*_outcome(log))


def _outcome(log: str) -> tuple[str, str]:
    """(message, details) after pip has said that all went well."""
    try:
        left = missingPackages()
    except InstallError as error:
        return str(error), log
    if left:
        return _("{names} could not be found after the installation. Restart Slicer and press Denoise again.").format(
            names=", ".join(left)
        ), log
    return "", log


def torchArguments(requirement: str) -> list[str]:
    """What the PyTorch extension gives to light-the-torch; the names are its own, and private."""
    import PyTorchUtils

    try:
        return list(
            PyTorchUtils.PyTorchUtilsLogic._getPipInstallArguments(torchVersionRequirement=requirement[len("torch") :])
        )
    except (AttributeError, TypeError):
        return ["install", requirement, "torchvision"]


def _hasExtension() -> bool:
    """Whether the PyTorch extension is there; importing its module imports no torch."""
    try:
        importlib.import_module("PyTorchUtils")
    except ImportError:
        return False
    return True


def versionOf(name: str) -> tuple[int, ...]:
    """(2, 9) of an installed package, () where there is none; nothing is imported."""
    try:
        numbers = re.findall(r"\d+", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return ()
    return tuple(map(int, numbers[:2]))


def _text(version) -> str:
    return ".".join(map(str, version))
