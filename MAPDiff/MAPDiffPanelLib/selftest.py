"""The module's self test, for Slicer's "Reload and Test" and for CTest."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from MAPDiffPanelLib import install, job_folder, sampledata
from MAPDiffPanelLib.scansection import describeScan


class PanelTest(ScriptedLoadableModuleTest):
    """The real worker on the sample scan, through the panel; without PyTorch, what needs none."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("MAPDiff")

    def runTest(self):
        for test in (self.test_aScanWithoutVoxelsIsRefused, self.test_theSampleScanIsRestoredComparedAndSaved):
            self.setUp()
            test()

    def test_aScanWithoutVoxelsIsRefused(self):
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaises(ValueError):
            slicer.modules.MAPDiffWidget.logic.denoise(empty)

    def test_theSampleScanIsRestoredComparedAndSaved(self):
        panel, scan = slicer.modules.MAPDiffWidget, sampledata.load()
        self.assertIn("SUVbw", describeScan(scan))
        if install.missingPackages():
            self.delayDisplay("MAPDiff: the worker's packages are not installed; a restoration was not tested.")
            return
        own = slicer.app.layoutManager().layout
        panel._parameterNode.inputVolume, panel._parameterNode.inputDose = scan, "1/20"
        panel._parameterNode.doses, panel._parameterNode.samples = "1/4, full", 1
        panel.ui.denoiseButton.click()
        self.waitFor(lambda: not panel.run.busy)
        self.assertEqual(panel.ui.statusLabel.text, "Done: 2 doses.")
        self.checkComparison(panel, own)
        self.waitFor(lambda: len(panel.results.measurements.rows) == 3)
        means = [row[2] for row in panel.results.measurements.rows]
        self.assertLess(max(means), 1.2 * min(means), "uptake is kept")
        self.checkBestEstimate(panel)
        self.checkSavedScene(panel)

    def checkComparison(self, panel, own):
        """Slider, pair and projections; then the user's own layout again."""
        for button in (panel.ui.pairButton, panel.ui.mipButton, panel.ui.slicesButton):
            button.click()
            self.waitFor(lambda: not panel.results.views.busy)
        self.assertTrue(panel.ui.pairButton.checked)
        for stop, words in enumerate(("input 1/20", "1/4", "full")):
            panel.ui.doseSlider.value = 100 * stop
            self.assertEqual(panel.ui.doseLabel.text, words)
        panel.ui.backButton.click()
        self.assertEqual(slicer.app.layoutManager().layout, own)

    def checkBestEstimate(self, panel):
        """A box in the middle of the body, as somebody would draw it."""
        bounds, roi = [0.0] * 6, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "middle")
        panel.results.result.inputNode.GetRASBounds(bounds)
        roi.SetCenter(*((bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)))
        roi.SetSize(30, 30, 30)
        panel.ui.regionSelector.setCurrentNode(roi)
        self.waitFor(lambda: not panel.results.measurements.busy)
        self.assertIsNotNone(panel.results.measurements.estimate, panel.ui.numbersLabel.text)

    def checkSavedScene(self, panel):
        """A saved scene opens with its result."""
        with tempfile.TemporaryDirectory(dir=job_folder.temporaryPath()) as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            self.waitFor(lambda: panel.results.result is None)
            slicer.util.loadScene(path)
            self.waitFor(lambda: panel.results.result is not None)
        self.assertEqual(panel.results.result.labels(), ["input 1/20", "1/4", "full"])

    def waitFor(self, condition):
        end = time.monotonic() + 1200  # a computer may be busy with other things
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not come")
            slicer.app.processEvents()
            time.sleep(0.005)
