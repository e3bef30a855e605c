"""slicer.i18n, SampleData and PyTorchUtils."""

from __future__ import annotations

import importlib.machinery
import types


def i18n() -> types.ModuleType:
    """tr() of text that is a plain string with braces in pairs: what a translator could work with."""
    module = types.ModuleType("slicer.i18n")

    def tr(text):
        if not isinstance(text, str):
            raise TypeError(f"tr() takes a text, not {text!r}")
        return text

    module.tr = tr
    module.translate = lambda context, text: tr(text)
    return module


def pytorch_utils() -> types.ModuleType:
    """The PyTorch extension's module: nearly all of it imports torch into Slicer, installTorch too, at its end."""
    module = types.ModuleType("PyTorchUtils")
    module.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)

    class PyTorchUtilsLogic:
        @staticmethod
        def _getPipInstallArguments(forceComputationBackend=None, torchVersionRequirement=None):
            return ["install", "torch" + (torchVersionRequirement or ""), "torchvision"]

        def __getattr__(self, name):
            raise AssertionError(f"{name} imports torch in the Slicer process")

    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    return module


def sample_data(registered: list) -> types.ModuleType:
    """SampleData: `registered` gets the keyword arguments of every source."""
    module = types.ModuleType("SampleData")
    allowed = {
        "category", "sampleName", "sampleDescription", "uris", "fileNames", "nodeNames", "checksums",
        "thumbnailFileName", "loadFiles", "loadFileType", "loadFileProperties", "customDownloader",
    }  # fmt: skip

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(**source):
            unknown = set(source) - allowed
            if unknown:
                raise TypeError(f"registerCustomSampleDataSource() got an unexpected argument {sorted(unknown)[0]!r}")
            registered.append(source)

    module.SampleDataLogic = SampleDataLogic
    return module
