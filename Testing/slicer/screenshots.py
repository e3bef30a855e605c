"""Renders the panel and the comparison views to Resources/Screenshots.

    python -m Testing.slicer.screenshots [--bundle NAME] [--result FOLDER] [--folder FOLDER] [--size W H] [--dark]

The sample scan goes through the real panel, worker and model (or its doses come from FOLDER, where `mapdiff restore
--format nrrd` has put them); the pictures are those of the real slice logic.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from Testing.slicer import standin

PROJECT = Path(__file__).resolve().parents[2]
PANEL, MARGIN, GREYS, COLOURS = (440, 780), 6, 36, 40
REGION_MM, REGION_SIZE_MM = (83.9, -46.6, -85.9), (24.0, 24.0, 24.0)
MINUTES = 30
DARK = {"Window": "#353535", "WindowText": "#f0f0f0", "Base": "#232323", "AlternateBase": "#2d2d2d", "Text": "#f0f0f0",
        "Button": "#404040", "ButtonText": "#f0f0f0", "Highlight": "#2a6db0", "HighlightedText": "#ffffff",
        "ToolTipBase": "#353535", "ToolTipText": "#f0f0f0", "PlaceholderText": "#909090"}  # fmt: skip


def main() -> int:
    options = _options()
    if standin.missing():
        print(f"not installed: {', '.join(standin.missing())}", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    application = standin.install()
    try:
        if options.dark:
            darken()
        render(application, options)
    finally:
        standin.remove()
    return 0


def darken() -> None:
    """The colours of Slicer's dark style."""
    from PySide6 import QtGui, QtWidgets

    palette = QtGui.QPalette()
    for role, colour in DARK.items():
        palette.setColor(getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor(colour))
    grey = QtGui.QColor("#808080")
    for role in (QtGui.QPalette.ColorRole.ButtonText, QtGui.QPalette.ColorRole.Text):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, grey)
    QtWidgets.QApplication.setPalette(palette)


def render(application, options) -> None:
    """A picture for each step of docs/slicer.md, and panel.png."""
    panel = application.open_module("MAPDiff/MAPDiff.py")
    import slicer
    from MAPDiffPanelLib import sampledata

    scan = panel._parameterNode.inputVolume = sampledata.load()
    window, ui, folder = application.main_window, panel.ui, options.folder
    window.resize(*options.size)
    slicer.util.setSliceViewerLayers(background=scan, fit=True)
    application.layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    standin.turns()
    slicer.util.resetSliceViews()
    _shoot(window, folder / "load.png", options.size)
    _part(panel, folder / "scan.png", ui.inputSelector, ui.scanLabel)
    _part(panel, folder / "dose.png", ui.inputDoseSelector)
    ui.optionsCollapsibleButton.collapsed = False
    _until(lambda: panel.options._facts)  # the devices
    _part(panel, folder / "options.png", ui.optionsCollapsibleButton)
    ui.optionsCollapsibleButton.collapsed = True
    ui.inputDoseSelector.setCurrentIndex(ui.inputDoseSelector.findText("1/20"))
    _restore(panel, options)
    if options.result is not None:
        _load(panel, application.scene, scan, options.result)
    ui.presetSelector.setCurrentIndex(0)
    panel.results._presetChosen(0)
    ui.doseSlider.value = ui.doseSlider.maximum
    _measure(panel, scan)
    _part(panel, folder / "numbers.png", ui.regionSelector, ui.tableButton)
    ui.placesSelector.setCurrentIndex(0)
    _part(panel, folder / "places.png", ui.placesSelector)
    _shoot(panel.parent, folder / "panel.png", PANEL)
    for name, buttons in {"pair": [ui.pairButton], "mip": [ui.mipButton], "doses": [ui.slicesButton, ui.gridButton],
                          "difference": [ui.differenceButton]}.items():  # fmt: skip
        for button in buttons:
            button.click()
        _until(lambda: _shown(panel))
        _shoot(window, folder / f"{name}.png", options.size)


def _shown(panel) -> bool:
    """Whether the views are what they will be: laid out, projected, subtracted."""
    from MAPDiffPanelLib import layouts
    from MAPDiffPanelLib.slider import nearestDose

    results = panel.results
    subtracted = nearestDose(results.result, results.mix().dose) in results.result.differences
    return not (results.views.busy or results.tasks.busy) and (subtracted or results.views.kind != layouts.DIFFERENCE)


def _measure(panel, scan) -> None:
    """The numbers of a box, with the best estimate."""
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    roi.SetCenter(*REGION_MM)
    roi.SetSize(*REGION_SIZE_MM)
    panel.ui.regionSelector.setCurrentNode(roi)
    _until(lambda: panel.results.measurements.rows and not panel.results.measurements.busy)


def _until(condition) -> None:
    if not standin.pump(condition, 60 * MINUTES):
        raise SystemExit("what a picture waits for never came")
    standin.turns()


def _part(panel, path: Path, *widgets) -> None:
    """Of the panel, over its whole width, what lies between the first and the last of these widgets."""
    from PySide6 import QtCore

    standin.grab(panel.parent, path, PANEL)  # which lays it out
    tops = [widget._raw.mapTo(panel.parent._raw, QtCore.QPoint(0, 0)).y() for widget in widgets]
    bottoms = [top + widget.height for top, widget in zip(tops, widgets, strict=True)]
    _shoot(panel.parent, path, PANEL, (max(0, min(tops) - MARGIN), max(bottoms) + MARGIN))


def _shoot(widget, path: Path, size, rows: tuple[int, int] | None = None) -> None:
    """With a palette of greys and of the colours that are there: a third of the size of a picture of all colours."""
    import numpy as np
    from PIL import Image

    standin.grab(widget, path, size)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if rows is not None:
        picture = picture.crop((0, rows[0], picture.width, min(rows[1], picture.height)))
    pixels = np.asarray(picture)
    coloured = pixels[np.ptp(pixels.astype(int), axis=-1) > 8]
    colours = Image.fromarray(coloured[None]).quantize(COLOURS).getpalette()[: 3 * COLOURS]
    greys = [value for grey in np.linspace(0, 255, GREYS).round().astype(int) for value in [int(grey)] * 3]
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + colours)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def _restore(panel, options) -> None:
    """To the end, or until a picture of a run can be made where the doses are there already."""
    panel._parameterNode.bundle = options.bundle
    panel.options.refresh()
    panel.ui.denoiseButton.click()
    _until(lambda: "left" in panel.ui.statusLabel.text or not panel.logic.running)
    _part(panel, options.folder / "run.png", panel.ui.denoiseButton, panel.ui.statusLabel)
    if options.result is not None:
        panel.ui.denoiseButton.click()
    _until(lambda: not panel.logic.running)
    if not panel.logic.run.nodes and options.result is None:
        raise SystemExit(panel.ui.statusLabel.text)


def _load(panel, scene, scan, folder: Path) -> None:
    from MAPDiffPanelLib import outputs
    from MAPDiffPanelLib.scan import ScanFacts

    from MAPDiffLib.job import REPORT_FILE, dose_key
    from Testing.slicer.panel import finished

    report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    for entry in report["files"]:
        dose = entry["dose"]
        made = outputs.LoadedVolume(ScanFacts(scan))
        finished(made.read(str(folder / entry["file"])))
        figures = report["doses"].get(dose_key(dose), {})
        attributes = outputs.doseAttributes("shown", f"{scan.GetName()} MAPDiff", dose, 0.05, figures)
        node = finished(made.addTo(scene, outputs.doseName(scan.GetName(), dose), attributes))
        node.SetAttribute(outputs.PLACES, json.dumps(report["places"]))
        node.SetAttribute(outputs.COMPLETE, "1")
    panel.results.doseArrived("shown", 1.0)
    panel.run.say("Done: 4 doses.")
    panel.ui.progressBar.value = panel.ui.progressBar.maximum


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="mapdiff-base", help="model bundle (default: %(default)s)")
    parser.add_argument("--result", type=Path, help="doses of the sample scan that are there already")
    parser.add_argument("--folder", type=Path, default=PROJECT / "Resources" / "Screenshots")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 800), help="of the main window (default: 1280 800)")
    parser.add_argument("--dark", action="store_true", help="in the colours of Slicer's dark style")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
