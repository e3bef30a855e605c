"""Renders the panel and the comparison views to Resources/Screenshots.

    python -m Testing.slicer.screenshots [--bundle NAME] [--result FOLDER] [--folder FOLDER] [--size W H] [--dark]

The sample scan goes through the real panel, worker and model (or its doses come from FOLDER, where `mapdiff restore
--format nrrd` has put them); the pictures are those of the real slice logic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from Testing.slicer import standin

PROJECT = Path(__file__).resolve().parents[2]
PANEL, GREYS, COLOURS = (440, 760), 52, 60
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
    """panel.png, then the main window: pair.png, mip.png, doses.png, difference.png."""
    panel = application.open_module("MAPDiff/MAPDiff.py")
    from MAPDiffPanelLib import sampledata

    scan = panel._parameterNode.inputVolume = sampledata.load()
    application.layout_manager.resetSliceViews()
    if options.result is None:
        _restore(panel, options)
    else:
        _load(panel, application.scene, scan, options.result)
    panel.ui.presetSelector.setCurrentIndex(0)
    panel.results._presetChosen(0)
    panel.ui.doseSlider.value = panel.ui.doseSlider.maximum
    standin.pump(lambda: panel.results.measurements.rows, 60)
    _shoot(panel.parent, options.folder / "panel.png", PANEL)
    application.main_window.resize(*options.size)
    ui = panel.ui
    for name, buttons in {"pair": [ui.pairButton], "mip": [ui.mipButton], "doses": [ui.slicesButton, ui.gridButton],
                          "difference": [ui.differenceButton]}.items():  # fmt: skip
        for button in buttons:
            button.click()
        standin.pump(lambda: not panel.results.views.busy and not panel.results.tasks.busy, 60)
        standin.pump(timeout=0.5)
        _shoot(application.main_window, options.folder / f"{name}.png", options.size)


def _shoot(widget, path: Path, size) -> None:
    """With a palette of greys and of the colours that are there: a third of the size of a picture of all colours."""
    import numpy as np
    from PIL import Image

    standin.grab(widget, path, size)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    pixels = np.asarray(picture)
    coloured = pixels[np.ptp(pixels.astype(int), axis=-1) > 8]
    colours = Image.fromarray(coloured[None]).quantize(COLOURS).getpalette()[: 3 * COLOURS]
    greys = [value for grey in np.linspace(0, 255, GREYS).round().astype(int) for value in [int(grey)] * 3]
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + colours)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def _restore(panel, options) -> None:
    panel._parameterNode.bundle = options.bundle
    panel.options.refresh()
    panel.ui.denoiseButton.click()
    standin.pump(lambda: not panel.logic.running, 60 * MINUTES)
    if not panel.logic.run.nodes:
        raise SystemExit(panel.ui.statusLabel.text)


def _load(panel, scene, scan, folder: Path) -> None:
    from MAPDiffPanelLib import outputs
    from MAPDiffPanelLib.scan import ScanFacts

    from MAPDiffLib.job import dose_file
    from Testing.slicer.panel import finished

    for dose in (0.1, 0.25, 0.5, 1.0):
        made = outputs.LoadedVolume(ScanFacts(scan))
        finished(made.read(str(folder / dose_file(dose, ".nrrd"))))
        attributes = outputs.doseAttributes("shown", f"{scan.GetName()} MAPDiff", dose, 0.05, {})
        node = finished(made.addTo(scene, outputs.doseName(scan.GetName(), dose), attributes))
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
