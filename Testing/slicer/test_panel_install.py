"""First use: versions first, then one question, then children that install; torch never enters this process."""

from __future__ import annotations

import importlib
import sys

import pytest

from Testing.slicer import standin
from Testing.slicer.panel import replace_worker

pytest_plugins = ["Testing.slicer.fixtures"]

# PythonSlicer for pip and light-the-torch: notes its arguments, and "installs" by writing to the list of versions.
PIP = """
echo "$@" >> {folder}/asked
echo "Collecting things"
echo "Downloading torch-2.9.0-cp312-linux_x86_64.whl (899.8 MB)"
echo "Progress 450 of 900"
{end}
"""
INSTALLS = """
case "$2" in
pip) echo safetensors 0 5 >> {folder}/versions;;
*) echo torch 2 9 >> {folder}/versions;;
esac
"""


@pytest.fixture
def bare(panel, application, monkeypatch, tmp_path):
    """A Slicer without torch and safetensors whose children install them; nothing is downloaded."""
    from MAPDiffPanelLib import install

    (tmp_path / "versions").write_text("numpy 1 26\npip 24 1\n")

    def version_of(name):
        lines = [line.split() for line in (tmp_path / "versions").read_text().splitlines()]
        return next((tuple(map(int, numbers)) for found, *numbers in reversed(lines) if found == name), ())

    monkeypatch.setattr(install, "versionOf", version_of)
    child(monkeypatch, tmp_path, INSTALLS)
    application.testing = False
    yield tmp_path
    application.testing = True


def child(monkeypatch, folder, end):
    replace_worker(monkeypatch, folder, PIP.format(folder=folder, end=end.format(folder=folder)))


def pressed(panel, application, answer="Ok"):
    """The question that a press asks, once it is answered."""
    import qt

    application.dialogs.answer(getattr(qt.QMessageBox, answer))
    panel.ui.denoiseButton.click()
    return application.dialogs.shown[-1].text


def test_first_use_asks_once_says_size_and_place_and_goes_on_to_the_run(panel, application, bare, monkeypatch):
    import sysconfig

    runs = []
    monkeypatch.setattr(panel.logic, "startRun", lambda *request: runs.append(request))
    asked = pressed(panel, application)
    assert "torch>=2.2, safetensors>=0.4" in asked and "GB" in asked and sysconfig.get_paths()["purelib"] in asked
    assert panel.ui.denoiseButton.text == "Cancel"
    seen = []
    panel.ui.progressBar.connect("valueChanged(int)", lambda value: seen.append((value, panel.ui.statusLabel.text)))
    assert standin.pump(lambda: runs)
    assert (500, "Installing: Downloading torch-2.9.0-cp312-linux_x86_64.whl (899.8 MB)") in seen
    assert (bare / "asked").read_text().splitlines() == [
        "-m pip install safetensors>=0.4 light-the-torch>=0.5",
        "-m light_the_torch install torch>=2.2 torchvision",
    ]
    assert len(application.dialogs.shown) == 1


def test_first_use_declined_installs_and_starts_nothing(panel, application, bare):
    pressed(panel, application, "Cancel")
    assert not panel.run.busy and not (bare / "asked").exists() and panel.ui.denoiseButton.text == "Denoise"


@pytest.mark.parametrize(
    "log, words",
    [
        ("ERROR: No space left on device", "disk is full"),
        ("Max retries exceeded: Name or service not known", "internet could not be reached"),
        ("ERROR: No matching distribution found for torch>=2.3", "no build for this Slicer"),
        ("OSError: [WinError 206] The filename or extension is too long", "long paths"),
        ("ERROR: something else", "the details say why"),
    ],
)
def test_a_failed_installation_leaves_a_sentence_and_try_again(panel, application, bare, monkeypatch, log, words):
    child(monkeypatch, bare, f'echo "{log}" >&2; exit 1')
    pressed(panel, application)
    assert standin.pump(lambda: not panel.run.busy)
    assert words in panel.ui.statusLabel.text and panel.ui.statusLabel.text.endswith("and try again.")
    assert panel.ui.denoiseButton.text == "Try again" and panel.ui.denoiseButton.enabled
    assert log in panel.ui.detailsText.toPlainText() and len(application.dialogs.shown) == 1


def test_an_installation_can_be_cancelled_and_asks_again(panel, application, bare, monkeypatch):
    child(monkeypatch, bare, "exec sleep 600")
    pressed(panel, application)
    assert standin.pump(lambda: "Installing" in panel.ui.statusLabel.text)
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.run.busy)
    assert "cancelled" in panel.ui.statusLabel.text and panel.ui.denoiseButton.enabled


def test_packages_that_pip_says_it_installed_and_that_are_not_there_are_named(panel, application, bare, monkeypatch):
    child(monkeypatch, bare, "exit 0")
    pressed(panel, application)
    assert standin.pump(lambda: not panel.run.busy)
    assert "could not be found after the installation. Restart Slicer" in panel.ui.statusLabel.text


def test_without_the_pytorch_extension_it_is_named_before_any_question(panel, application, bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    panel.ui.denoiseButton.click()
    assert "needs the PyTorch extension" in panel.ui.statusLabel.text and application.dialogs.shown == []


def test_a_full_disk_is_named_before_any_question(panel, application, bare, monkeypatch):
    from MAPDiffPanelLib import install

    monkeypatch.setattr(install, "NEEDED_BYTES", 1e18)
    panel.ui.denoiseButton.click()
    assert "Free some space" in panel.ui.statusLabel.text and application.dialogs.shown == []


@pytest.mark.parametrize("what", ["Slicer 5.8", "Python 3.9"])
def test_an_old_slicer_or_python_greys_the_button_before_anything_is_asked(panel, application, monkeypatch, what):
    if what == "Slicer 5.8":
        monkeypatch.setattr(type(application._application), "minorVersion", 8)
    else:
        monkeypatch.setattr(sys, "version_info", (3, 9, 10, "final", 0))
    panel._checkCanApply()
    monkeypatch.undo()
    assert not panel.ui.denoiseButton.enabled
    assert "needs Slicer 5.10 or newer; this is Slicer 5." in panel.ui.denoiseButton.toolTip


def test_a_torch_of_another_extension_that_is_too_old_is_asked_about_and_replaced(application, panel, tmp_path,
                                                                                   monkeypatch):  # fmt: skip
    import qt

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch-1.13.1.dist-info").mkdir()
    (tmp_path / "torch-1.13.1.dist-info" / "METADATA").write_text("Name: torch\nVersion: 1.13.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    application.testing = False
    application.dialogs.answer(qt.QMessageBox.Cancel)
    panel.ui.denoiseButton.click()
    application.testing = True
    (shown,) = application.dialogs.shown
    assert "torch>=2." in shown.text and "torch 1.13, which is too old, is replaced" in shown.text


@pytest.mark.parametrize(
    "torch, numpy, wanted",
    [("", "1 26", "torch>=2.2"), ("", "2 1", "torch>=2.3"), ("2 2", "1 26", None), ("2 9", "2 1", None)],
)
def test_torch_and_numpy_must_fit_together(panel, bare, torch, numpy, wanted):
    from MAPDiffPanelLib import install

    (bare / "versions").write_text(f"numpy {numpy}\nsafetensors 0 5\n" + (f"torch {torch}\n" if torch else ""))
    assert install.missingPackages() == ([wanted] if wanted else [])


def test_a_torch_that_knows_no_numpy_2_is_said_with_what_to_write(panel, bare):
    from MAPDiffPanelLib import install

    (bare / "versions").write_text("numpy 2 1\nsafetensors 0 5\ntorch 2 2\n")
    with pytest.raises(install.InstallError, match=r"torch 2.2 .* numpy 2.1.*pip_install\('numpy<2'\)"):
        install.missingPackages()


def test_what_an_old_slicer_loads_has_the_syntax_of_its_python(panel):
    """So that the sentence about the version can be read there at all."""
    import ast
    from pathlib import Path

    project = Path(__file__).parents[2]
    files = [*(project / "MAPDiff").rglob("*.py"), *(project / f"MAPDiffLib/{name}.py" for name in
             ("__init__", "job", "errors"))]  # fmt: skip
    assert len(files) > 20
    for path in files:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
