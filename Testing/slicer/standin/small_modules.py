"""slicer.i18n, slicer.packaging, SampleData and PyTorchUtils: they write down what they were asked."""

from __future__ import annotations

import re
import types
from pathlib import Path


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


class Installer:
    """What was asked to be installed, in order; `fails` is raised when set; `torch_found` False: no torch."""

    def __init__(self):
        self.requests: list[tuple[str, list[str]]] = []
        self.fails: Exception | None = None
        self.torch_found = True

    def ask(self, who, what):
        self.requests.append((who, what))
        if self.fails is not None:
            raise self.fails


def packaging(installer: Installer) -> types.ModuleType:
    """slicer.packaging of 5.12: requirements are objects made by load_requirements, not text."""
    module = types.ModuleType("slicer.packaging")

    class Requirement(str):
        @property
        def name(self):
            return re.match(r"[\w.-]+", self)[0]

    def load_requirements(path):
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]

    def pip_ensure(requirements, constraints=None, skip_packages=None, prompt_install=True, prompt_restart=True,
                   requester=None, skip_in_testing=True, show_progress=True):  # fmt: skip
        if not all(isinstance(each, Requirement) for each in requirements):
            raise TypeError("pip_ensure takes what load_requirements returns")
        installer.ask("pip_ensure", [str(each) for each in requirements])

    module.load_requirements = load_requirements
    module.pip_ensure = pip_ensure
    module.pip_install = lambda requirements, **options: installer.ask("pip_install", [str(requirements)])
    module.pip_uninstall = lambda requirements, **options: installer.ask("pip_uninstall", [str(requirements)])
    module.pip_check = lambda requirements: True
    return module


def pytorch_utils(installer: Installer) -> types.ModuleType:
    """The PyTorch extension's module, of which only installTorch may be called: the others import torch into Slicer."""
    module = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None,
                         torchvisionVersionRequirement=None):  # fmt: skip
            installer.ask("installTorch", [torchVersionRequirement or ""])
            return object() if installer.torch_found else None

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
