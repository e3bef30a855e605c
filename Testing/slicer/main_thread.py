"""Measures how long the panel holds Slicer's main thread: the longest slot of each thing a user does, wall clock.

    python -m Testing.slicer.main_thread [--size 256] [--processor]

Run it on a machine that does nothing else, or with --processor. No test asserts on these figures; a slot should stay
under 50 ms.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from Testing.slicer import standin
from Testing.slicer.standin import slice_widgets, slots

MINUTES = 30
REPETITIONS = 3


def main() -> None:
    options = _options()
    slots.clock = time.thread_time if options.processor else time.perf_counter
    application = standin.install()
    try:
        for name, seconds, slot in measured(application, options.size):
            print(f"{name:45} {1000 * seconds:7.0f} ms  {slot}")
    finally:
        standin.remove()


def measured(application, size: int):
    """(what is done, seconds of its longest slot, that slot's name), one after the other."""
    from Testing import tiny

    with tempfile.TemporaryDirectory() as folder:
        tiny.tiny_bundle(Path(folder) / "tiny")
        os.environ["MAPDIFF_BUNDLES"] = folder
        panel = application.open_module("MAPDiff/MAPDiff.py")
        voxels = whole_body(size)
        yield longest(application, "a scan that comes", lambda: _load(panel, application.scene, voxels))
        parameters = panel._parameterNode
        parameters.inputDose, parameters.samples, parameters.bundle = "1/20", 2, "tiny"
        yield _first_word(panel)
        yield longest(application, "a run, from the press to the last number", lambda: _run(panel))
        yield longest(application, "slider from end to end", lambda: _scrub(panel))
        yield longest(application, "numbers", lambda: _numbers(panel))
        roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
        roi.SetSize(60, 60, 60)
        roi.SetCenter(2.0 * size, 2.0 * size, 2.0 * size)
        panel.ui.regionSelector.setCurrentNode(roi)
        yield longest(application, "numbers and best estimate in an ROI", lambda: _numbers(panel))
        yield longest(application, "an ROI moved during a best estimate", lambda: _move(panel, roi))
        yield longest(application, "numbers in an ROI around the scan", lambda: _around(panel, roi, 8.0 * size))
        segmentation = _segmentation(application.scene, parameters.inputVolume, voxels > 1)
        yield longest(application, "numbers and best estimate in a segment", lambda: _measure_in(panel, segmentation))
        yield from switches(application, panel)


def longest(application, name: str, do) -> tuple[str, float, str]:
    """`do()` with every slot's time noted."""
    application.slot_times.clear()
    do()
    seconds, slot = max(application.slot_times, default=(0.0, ""))
    return name, seconds, slot


def switches(application, panel):
    """Slots and pictures when the slider goes from dose to dose, as slices and as projections: the views side by side
    in a window of 1600 x 1000; a picture is what one view has to compute before it can be rendered."""
    application.main_window.resize(1600, 1000)
    for name, button in (("as slices", panel.ui.slicesButton), ("as MIP", panel.ui.mipButton)):
        with _timed_pictures() as pictures:
            for press in (panel.ui.pairButton, button):
                yield longest(application, f"{press.text}, {name}", lambda press=press: _settle(panel, press.click))
            pictures.clear()
            yield longest(application, f"another dose, {name}", lambda: _doses(panel))
        yield f"another dose, {name}: a view's picture", *max(pictures)


@contextmanager
def _timed_pictures():
    """A list that fills with (seconds, view) of each picture of a slice view."""
    plain, times = slice_widgets.slice_picture, []

    def timed(logic):
        began = slots.clock()
        picture = plain(logic)
        times.append((slots.clock() - began, logic.GetSliceNode().GetLayoutName()))
        return picture

    slice_widgets.slice_picture = timed
    try:
        yield times
    finally:
        slice_widgets.slice_picture = plain


def _settle(panel, do) -> None:
    do()
    standin.pump(lambda: not panel.results.views.busy, 60 * MINUTES)
    for number in (1, 2):
        standin.slice_pixels(f"MAPDiff{number}")
    standin.turns()


def _doses(panel) -> None:
    for _again in range(REPETITIONS):
        for stop in range(len(panel.results.result.stops)):
            _settle(panel, lambda stop=stop: setattr(panel.ui.doseSlider, "value", 100 * stop))


def whole_body(size: int) -> np.ndarray:
    """[size, size, size]: a noisy cylinder."""
    z, y, x = np.ogrid[:size, :size, :size]
    body = ((y - size / 2) ** 2 + (x - size / 2) ** 2 < (0.3 * size) ** 2) & (z > size / 12) & (z < 0.9 * size)
    noise = np.random.default_rng(0).gamma(20, 1 / 20, (1, size, size)).astype(np.float32)
    return (body * noise + 0.001).astype(np.float32)


def _load(panel, scene, voxels) -> None:
    from Testing.slicer.panel import make_volume

    make_volume(scene, voxels, "whole body").SetSpacing(4, 4, 4)
    standin.pump(lambda: panel._parameterNode.inputVolume is not None and not panel.scan.waiting, 60 * MINUTES)


def _segmentation(scene, scan, mask):
    """One segment on the scan's own grid."""
    import slicer

    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segmentID = segmentation.GetSegmentation().AddEmptySegment("warm", "warm")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segmentID, scan)
    return segmentation


def _measure_in(panel, node) -> None:
    panel.ui.regionSelector.setCurrentNode(node)
    standin.pump(lambda: not panel.results.measurements.busy, 60 * MINUTES)


def _first_word(panel) -> tuple[str, float, str]:
    began = time.perf_counter()
    panel.ui.denoiseButton.click()
    own = panel.ui.statusLabel.text
    standin.pump(lambda: panel.ui.statusLabel.text != own, 60 * MINUTES)
    seconds = time.perf_counter() - began
    panel.ui.denoiseButton.click()
    standin.pump(lambda: not panel.run.busy, 60 * MINUTES)
    return "press to the worker's first word (no slot)", seconds, ""


def _run(panel) -> None:
    panel.ui.denoiseButton.click()
    standin.pump(lambda: not panel.run.busy, 60 * MINUTES)
    standin.pump(lambda: not panel.results.measurements.tasks.busy, 60 * MINUTES)


def _scrub(panel) -> None:
    for value in range(0, panel.ui.doseSlider.maximum + 1, 7):
        panel.ui.doseSlider.value = value


def _numbers(panel) -> None:
    panel.results.measurements.measure()
    standin.pump(lambda: not panel.results.measurements.busy, 60 * MINUTES)


def _move(panel, roi) -> None:
    panel.results.measurements.measure()
    standin.pump(lambda: panel.results.measurements._asker.processID, 60 * MINUTES)
    roi.SetSize(50, 50, 50)
    standin.pump(lambda: not panel.results.measurements.busy, 60 * MINUTES)


def _around(panel, roi, edge: float) -> None:
    roi.SetSize(edge, edge, edge)
    panel.results.measurements.measure()
    standin.pump(lambda: not panel.results.measurements.tasks.busy, 60 * MINUTES)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="voxels along each edge (default: %(default)s)")
    parser.add_argument("--processor", action="store_true", help="the main thread's processor time instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
