"""The panel before and around a run: the grey button, the choices in the scene, first use, no torch in Slicer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import (
    MODULE,
    body_voxels,
    make_result,
    make_scan,
    make_volume,
    open_panel,
    press,
    scan_voxels,
)

PROJECT = Path(__file__).parents[2]
pytest_plugins = ["Testing.slicer.fixtures"]


def test_without_a_scan_the_button_is_grey_and_says_why(application, monkeypatch, bundles):
    widget = open_panel(application, monkeypatch, bundles)
    assert not widget.ui.denoiseButton.enabled
    assert widget.ui.denoiseButton.toolTip == "Choose a PET volume first."


@pytest.mark.parametrize(
    "kind, words",
    [("ct", "looks like a CT"), ("constant", "same value"), ("slice", "single slice"), ("empty", "no voxels")],
)
def test_a_scan_that_cannot_work_is_refused_under_the_selector(panel, application, kind, words):
    voxels = {
        "ct": np.linspace(-1000, 2000, 24 * 22 * 20, dtype=np.float32).reshape(24, 22, 20),
        "constant": np.ones((24, 22, 20), np.float32),
        "slice": scan_voxels()[:1],
    }.get(kind)
    if voxels is None:
        node = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    else:
        node = make_volume(application.scene, voxels)
    panel._parameterNode.inputVolume = node
    assert not panel.ui.denoiseButton.enabled
    assert words in panel.ui.denoiseButton.toolTip and words in panel.ui.scanLabel.text
    assert application.dialogs.shown == []


@pytest.mark.parametrize("unit", [1.0, 1e-3, 3e-4], ids=["Bq/mL", "kBq/mL", "SUV"])
def test_a_low_dose_whose_noise_is_negative_is_no_ct_in_any_unit(panel, application, unit):
    noise = np.random.default_rng(0).normal(0, 900, (24, 22, 20))
    body = (scan_voxels() > 0) * 3000.0
    panel._parameterNode.inputVolume = make_volume(application.scene, ((body + noise) * unit).astype(np.float32))
    assert panel.ui.denoiseButton.enabled
    for air in (-1000, -1024, -3024):  # Hounsfield units, shrunk alike
        ct = ((body > 0) * (40.0 - air) + air + noise / 50) * unit
        panel._parameterNode.inputVolume = make_volume(application.scene, ct.astype(np.float32))
        assert "looks like a CT" in panel.ui.scanLabel.text and not panel.ui.denoiseButton.enabled


def test_a_whole_body_is_judged_by_a_sample_and_what_differs_elsewhere_alone_is_found(panel, application, monkeypatch):
    from MAPDiffPanelLib import scan

    looked, plain = [], scan.valueRange
    monkeypatch.setattr(scan, "valueRange", lambda voxels: looked.append(voxels.size) or plain(voxels))
    panel._parameterNode.inputVolume = make_volume(application.scene, body_voxels(), "whole body")
    assert panel.ui.denoiseButton.enabled and 0 < max(looked) < (2 * scan.SAMPLED) ** 3
    nearly = np.zeros([2 * scan.SAMPLED] * 3, np.float32)
    nearly[1, 1, 1] = 1
    panel._parameterNode.inputVolume = make_volume(application.scene, nearly, "one hot voxel")
    assert panel.ui.denoiseButton.enabled


def test_doses_that_are_none_are_refused_before_the_press(panel):
    panel.ui.dosesEdit.text = "1/4, seven"
    assert not panel.ui.denoiseButton.enabled and "seven" in panel.ui.denoiseButton.toolTip
    panel.ui.dosesEdit.text = "1/4, full"
    assert panel.ui.denoiseButton.enabled
    assert panel.options.jobFields()["doses"] == (0.25, 1.0)


def save_voxels(scene, folder):
    """Writes every volume beside the scene and notes where it lies."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    for index, node in enumerate([scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count)]):
        storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(folder / f"{index}.nrrd"))
        node.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(node)


def test_a_saved_scene_restores_every_choice_and_the_result(panel, application, tmp_path):
    scan, parameters = panel._parameterNode.inputVolume, panel._parameterNode
    make_result(application.scene, scan)
    panel.results.refresh()
    panel.ui.samplesSpinBox.value, panel.ui.seedSpinBox.value, panel.ui.strengthSpinBox.value = 3, 77, 150
    panel.ui.dosesEdit.text = "1/4, full"
    panel.ui.deviceSelector.setCurrentIndex(1)
    panel.ui.inputDoseSelector.setCurrentIndex(panel.ui.inputDoseSelector.findText("1/20"))
    panel.ui.regionSelector.setCurrentNode(application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion"))
    panel.ui.doseSlider.value = 250
    before = application.layout_manager.layout
    press(panel, panel.ui.pairButton)
    names = ("inputDose", "bundle", "doses", "device", "strength", "samples", "seed", "result", "position")
    chosen = {name: getattr(parameters, name) for name in names}
    assert chosen == {"inputDose": "1/20", "bundle": "tiny", "doses": "1/4, full", "device": "cpu",
                      "strength": 150, "samples": 3, "seed": 77, "result": "one", "position": 2.5}  # fmt: skip
    path = str(tmp_path / "scene.mrml")
    save_voxels(application.scene, tmp_path)
    application.scene.SetRootDirectory(str(tmp_path))
    application.scene.Commit(path)
    application.scene.Clear(0)
    assert panel.ui.resultSelector.count == 0
    application.scene.SetURL(path)
    application.scene.Connect()
    assert standin.pump(lambda: panel.results.result is not None and not panel.results.views.busy)
    standin.turns()
    assert {name: getattr(panel._parameterNode, name) for name in names} == chosen
    assert panel._parameterNode.inputVolume.GetName() == scan.GetName()
    assert panel._parameterNode.region.GetName() == "lesion"
    assert panel.ui.regionSelector.currentNode() is panel._parameterNode.region
    shown = [getattr(panel.ui, name) for name in ("samplesSpinBox", "seedSpinBox", "strengthSpinBox")]
    assert [widget.value for widget in shown] == [3, 77, 150] and panel.ui.dosesEdit.text == "1/4, full"
    shown = [getattr(panel.ui, name) for name in ("inputDoseSelector", "bundleSelector", "deviceSelector")]
    assert [str(widget.currentData) for widget in shown] == ["1/20", "tiny", "cpu"]
    assert panel.ui.resultSelector.count == 1 and panel.results.result.labels()[0] == "input 1/20"
    assert panel.ui.doseLabel.text == "1/3, between 1/4 and 1/2"
    assert application.layout_manager.layout == 5270 and panel.ui.pairButton.checked
    panel.ui.backButton.click()
    assert application.layout_manager.layout == before


def test_models_are_added_listed_described_and_removed(panel, application, bundles, tmp_path, monkeypatch):
    import shutil

    import qt

    monkeypatch.setenv("MAPDIFF_BUNDLES", str(tmp_path / "own"))
    source = tmp_path / "usb stick"
    shutil.copytree(bundles / "tiny", source)
    (source / "notes.txt").write_text("not part of a bundle")
    application.dialogs.answer(str(source))
    panel.ui.addBundleButton.click()
    assert panel.ui.bundleSelector.currentText == "tiny" and panel.ui.bundleLabel.text == "random weights for tests"
    own = sorted(path.name for path in (tmp_path / "own" / "tiny").iterdir())
    assert own == ["bundle.json", "weights.safetensors"]
    assert panel.ui.dosesEdit.placeholderText == "all: 1/10, 1/4, 1/2, full"
    (tmp_path / "own" / "tiny" / "bundle.json").write_text("{}")
    panel.options.refresh()
    panel._checkCanApply()
    assert "broken" in panel.ui.bundleSelector.currentText and not panel.ui.denoiseButton.enabled
    application.testing = False
    application.dialogs.answer(qt.QMessageBox.Yes)
    panel.ui.removeBundleButton.click()
    application.testing = True
    assert not (tmp_path / "own" / "tiny").exists()
    assert panel._parameterNode.bundle == "mapdiff-base"


def test_devices_are_what_the_worker_reports(panel):
    gpu = {"device": "cuda:0", "name": "RTX", "memory_bytes": 8e9}
    panel.options._devicesKnown({"devices": [{"device": "cpu"}, gpu]})
    selector = panel.ui.deviceSelector
    labels = [selector.itemText(index) for index in range(selector.count)]
    assert labels == ["auto (a GPU if there is one)", "CPU", "RTX (8 GB)"]
    selector.setCurrentIndex(2)
    assert panel._parameterNode.device == "cuda:0"


def test_the_real_probe_answers_when_the_options_are_unfolded(panel):
    panel.ui.optionsCollapsibleButton.collapsed = False
    assert panel.options.probe.asked
    assert standin.pump(lambda: panel.options._facts)
    assert panel.options._facts["devices"][0]["device"] == "cpu"


CONTROLS = ("Button", "Selector", "Edit", "SpinBox", "Slider", "Table")


def test_every_control_says_what_it_is_for_and_a_grey_one_why_it_is_grey(panel):
    controls = {name: widget for name, widget in vars(panel.ui).items() if name.endswith(CONTROLS)}
    del controls["scanCollapsibleButton"], controls["optionsCollapsibleButton"], controls["resultCollapsibleButton"]
    assert len(controls) >= 20
    for name, widget in controls.items():
        assert widget.toolTip.strip().endswith("."), f"{name}: {widget.toolTip!r}"
    grey = {name: widget.toolTip for name, widget in controls.items() if not widget.enabled}
    no_result = "There is no result in this scene yet. Press Denoise."
    wanted = dict.fromkeys(
        [
            "resultSelector",
            "doseSlider",
            "oneButton",
            "pairButton",
            "gridButton",
            "differenceButton",
            "slicesButton",
            "mipButton",
            "flickerButton",
            "presetSelector",
            "colourSelector",
            "placesSelector",
            "placesButton",
        ],
        no_result,
    )
    assert wanted.items() <= grey.items()
    assert set(grey) - set(wanted) == {
        "backButton", "detailsButton", "segmentSelector", "copyButton", "tableButton"
    }  # fmt: skip
    assert "no numbers" in grey["copyButton"] and "own layout" in grey["backButton"]


def test_what_most_users_never_touch_is_folded(panel):
    assert panel.ui.optionsCollapsibleButton.collapsed
    assert not panel.ui.scanCollapsibleButton.collapsed and not panel.ui.resultCollapsibleButton.collapsed


def test_the_folder_of_own_models_is_made_and_opened(panel, application, tmp_path, monkeypatch):
    import qt

    monkeypatch.setenv("MAPDIFF_BUNDLES", str(tmp_path / "new" / "bundles"))
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", opened.append)
    panel.ui.openBundlesButton.click()
    assert (tmp_path / "new" / "bundles").is_dir()
    assert [url.toLocalFile() for url in opened] == [str(tmp_path / "new" / "bundles")]


def test_models_of_ones_own_lie_in_the_home_folder_and_shipped_ones_are_listed(panel, monkeypatch):
    from MAPDiffPanelLib import bundles

    monkeypatch.delenv("MAPDIFF_BUNDLES")
    assert bundles.userFolder() == Path.home() / ".MAPDiff" / "bundles"
    assert "mapdiff-base" in [entry.name for entry in bundles.listBundles() if not entry.own]


def test_a_model_that_came_with_the_module_cannot_be_removed(panel):
    from MAPDiffPanelLib import bundles

    assert panel.ui.removeBundleButton.enabled
    panel._parameterNode.bundle = "mapdiff-base"
    assert not panel.ui.removeBundleButton.enabled and "came with MAPDiff" in panel.ui.removeBundleButton.toolTip
    with pytest.raises(ValueError, match="came with MAPDiff and stays"):
        bundles.removeBundle(panel.options.bundle())
    assert (bundles.shippedFolder() / "mapdiff-base" / "bundle.json").is_file()


def test_a_folder_that_is_no_model_is_refused_with_a_sentence(panel, application, tmp_path, monkeypatch):
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(tmp_path / "own"))
    application.dialogs.answer(str(tmp_path))
    panel.ui.addBundleButton.click()
    assert not list((tmp_path / "own").glob("*")) and panel._parameterNode.bundle == "tiny"
    (error,) = application.errors
    assert "holds no bundle.json: choose the folder of a model bundle" in error
    application.errors.clear()


def test_opening_the_module_installs_nothing_and_never_loads_torch(installed):
    code = f"""
import sys
from Testing.slicer import standin
placed = standin.install()
widget = placed.open_module({MODULE!r})
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "training", "safetensors")]
assert widget.options.probe.asked is False
standin.remove()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_sample_data_is_registered_and_loads_without_a_network(application, monkeypatch, bundles):
    widget = open_panel(application, monkeypatch, bundles)
    (source,) = application.sample_data
    assert source["category"] == "MAPDiff" and source["uris"].startswith("file:")
    (node,) = source["customDownloader"](source)
    assert node.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    widget._parameterNode.inputVolume = node
    assert widget.ui.denoiseButton.enabled, widget.ui.denoiseButton.toolTip


def test_the_ui_file_names_only_what_the_real_widgets_have(installed):
    assert standin.check_ui(PROJECT / "MAPDiff/Resources/UI/MAPDiff.ui") == []


def test_reloading_leaves_one_panel_that_works(panel, application):
    application.close_module("MAPDiff")
    assert panel._shortcuts == [] and not panel.logic.running
    make_scan(application.scene, "another", study=False)  # nobody of the closed panel listens any more
    assert application.errors == []
