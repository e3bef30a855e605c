"""SUV for a PET series as Slicer's DICOM module loads it: the factor of its headers, the voxels as they are."""

from __future__ import annotations

import numpy as np
import pytest

from Testing import pet
from Testing.slicer import standin
from Testing.slicer.panel import leftovers, make_result, scan_voxels

pytest.importorskip("pydicom")
pytest_plugins = ["Testing.slicer.fixtures"]


@pytest.fixture
def series(tmp_path):
    """A folder of slices in Bq/mL, 4 kBq/mL in the body."""
    return pet.write_series(tmp_path / "series", "GE", scan_voxels() * 4000, (8.0, 8.0, 8.0))


def loaded(panel, application, series):
    """The series as a volume, chosen as the scan; the question to the worker is on its way."""
    panel._parameterNode.inputVolume = node = application.load_dicom(series)
    assert node.GetVoxelValueUnits() is None and "units unknown" in panel.ui.scanLabel.text
    return node


def test_the_factor_is_found_through_the_database_and_shown_under_the_selector(panel, application, series):
    import slicer

    node = loaded(panel, application, series)
    before = slicer.util.arrayFromVolume(node).copy()
    words = f"Bq/mL; SUV = value x {pet.FACTOR:.2g} (body weight), 20 x 22 x 24 voxels"
    assert standin.pump(lambda: panel.ui.scanLabel.text.startswith(words)), panel.ui.scanLabel.text
    assert np.array_equal(slicer.util.arrayFromVolume(node), before)
    assert leftovers(application) == [] and application.dialogs.shown == []


def test_numbers_and_scales_are_in_suv_then(panel, application, series):
    import slicer

    node = loaded(panel, application, series)
    make_result(application.scene, node, doses=(0.25, 1.0))
    assert standin.pump(lambda: panel.results.measurements.rows and "SUV" in panel.ui.scanLabel.text)
    assert standin.pump(lambda: panel.ui.numbersTable.horizontalHeaderItem(3).text() == "SUVmax")
    values = slicer.util.arrayFromVolume(node)
    assert 0 < panel.results.measurements.rows[0][3] <= pet.FACTOR * values.max()
    assert panel.ui.presetSelector.enabled
    panel.ui.presetSelector.setCurrentIndex(panel.ui.presetSelector.findText("SUV 0-5"))
    panel.ui.presetSelector.activated.emit(panel.ui.presetSelector.currentIndex)
    assert node.GetDisplayNode().GetWindow() == pytest.approx(5 / pet.FACTOR)
    panel.results.refresh()
    assert panel.ui.presetSelector.currentText == "SUV 0-5"


def test_a_series_without_a_factor_says_why(panel, application, series):
    import pydicom

    for path in series.iterdir():
        header = pydicom.dcmread(path)
        header.PatientWeight = None
        header.save_as(path)
    loaded(panel, application, series)
    assert standin.pump(lambda: "; no SUV: " in panel.ui.scanLabel.text), panel.ui.scanLabel.text
    assert panel.ui.scanLabel.text.startswith("Bq/mL") and "PatientWeight" in panel.ui.scanLabel.text
    assert panel.ui.denoiseButton.enabled, "the restoration needs no unit"


def test_the_result_of_a_series_and_a_saved_scene_keep_the_factor(panel, application, series):
    from MAPDiffPanelLib.units import suvFactor

    node = loaded(panel, application, series)
    assert standin.pump(lambda: suvFactor(node) is not None)
    restored = make_result(application.scene, node, doses=(1.0,))[1.0]
    assert suvFactor(restored) == suvFactor(node) == pytest.approx(pet.FACTOR, rel=1e-6)


def test_files_that_have_left_the_database_are_not_asked_for(panel, application, series):
    import slicer

    node = application.load_dicom(series)
    slicer.dicomDatabase._files.clear()
    panel._parameterNode.inputVolume = node
    assert standin.pump(lambda: not panel.scan.suv.busy)
    assert "units unknown" in panel.ui.scanLabel.text and panel.ui.denoiseButton.enabled


def test_a_scene_closed_while_the_worker_reads_leaves_no_process_and_no_folder(panel, application, series):
    from Testing.workers import alive

    loaded(panel, application, series)
    assert standin.pump(lambda: panel.scan.suv.processID)
    pid = panel.scan.suv.processID
    application.scene.Clear(0)
    assert not alive(pid) and leftovers(application) == [] and not panel.scan.suv.busy
