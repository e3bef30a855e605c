"""First use: torch through the PyTorch extension, the rest through Slicer's package tools, after one question.

torch is looked for, never imported: in the Slicer process it crashes the application.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import slicer
from slicer.i18n import tr as _

TORCH = ">=2.2"
NEEDED = ("torch", "safetensors")


class InstallError(RuntimeError):
    """A sentence for the user: what failed and what to do."""


def missingPackages() -> list[str]:
    """Which of the worker's packages are not installed."""
    importlib.invalidate_caches()
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def question(missing: list[str]) -> str:
    """What the user is asked before anything is downloaded."""
    size = _(" (about 1 GB, more with a GPU)") if "torch" in missing else ""
    return _(
        "MAPDiff needs Python packages that are not installed yet: {names}{size}. They are downloaded once from the "
        "internet into Slicer's Python. Install them now?"
    ).format(names=", ".join(missing), size=size)


def install(missing: list[str], requirements: Path) -> None:
    """Installs what is missing; the caller has asked the user. InstallError says what to do."""
    if "torch" in missing:
        _installTorch()
    if set(missing) - {"torch"}:
        _installRequirements(requirements)
    left = missingPackages()
    if left:
        raise InstallError(
            _("{names} could not be found after the installation. Restart Slicer and press Denoise again.").format(
                names=", ".join(left)
            )
        )


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise InstallError(
            _("The PyTorch extension is needed. Install PyTorch in the Extensions Manager, restart Slicer and press "
              "Denoise again.")
        ) from error  # fmt: skip
    try:
        # The one question has been asked; installTorch would ask a second time.
        found = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=TORCH)
    except Exception as error:  # whatever pip, light-the-torch or the operating system raise
        raise InstallError(_torchFailed(str(error))) from error
    if found is None and importlib.util.find_spec("torch") is None:
        raise InstallError(_torchFailed(_("the installation was not completed")))


def _torchFailed(reason: str) -> str:
    return _(
        "PyTorch could not be installed: {reason}. Restart Slicer and try again; if an earlier installation is broken, "
        "uninstall it in the module PyTorch Util first. On Windows, enable long paths or install Slicer in a folder "
        "with a short name."
    ).format(reason=reason)


def _installRequirements(requirements: Path) -> None:
    try:
        try:
            from slicer.packaging import load_requirements, pip_ensure  # Slicer 5.12 and newer
        except ImportError:
            slicer.util.pip_install("-r " + f'"{requirements}"')
            return
        pip_ensure(load_requirements(requirements), prompt_install=False, requester="MAPDiff")
    except Exception as error:  # pip's failures have no common type
        raise InstallError(
            _("The packages of {file} could not be installed: {error}. Check the internet connection, restart Slicer "
              "and press Denoise again.").format(file=requirements.name, error=error)
        ) from error  # fmt: skip
