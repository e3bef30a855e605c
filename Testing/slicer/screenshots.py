"""Renders the panel and the comparison views to Resources/Screenshots.

    python -m Testing.slicer.screenshots [--bundle NAME]

The sample scan goes through the real panel, worker and model; the pictures are those of the real slice logic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from Testing.slicer import standin

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "Resources" / "Screenshots"
PANEL, WINDOW = (470, 900), (1480, 900)
MINUTES = 30


def main() -> int:
    options = _options()
    if standin.missing():
        print(f"not installed: {', '.join(standin.missing())}", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    application = standin.install()
    try:
        render(application, options.bundle)
    finally:
        standin.remove()
    return 0


def render(application, bundle: str) -> None:
    """panel.png, running.png, pair.png, doses.png."""
    panel = application.open_module("MAPDiff/MAPDiff.py")
    from MAPDiffPanelLib import sampledata

    panel._parameterNode.inputVolume = sampledata.load()
    panel._parameterNode.bundle = bundle
    panel.options.refresh()
    application.layout_manager.resetSliceViews()
    panel.ui.denoiseButton.click()
    bar = panel.ui.progressBar
    halfway = standin.pump(lambda: 2 * bar.value > bar.maximum or not panel.logic.running, 60 * MINUTES)
    if not halfway or not panel.logic.running:
        raise SystemExit(panel.ui.statusLabel.text)
    standin.grab(panel.parent, FOLDER / "running.png", PANEL)
    standin.pump(lambda: not panel.logic.running, 60 * MINUTES)
    if not panel.logic.run.nodes:
        raise SystemExit(panel.ui.statusLabel.text)
    panel.ui.presetSelector.setCurrentIndex(1)
    panel.results._presetChosen(1)
    standin.pump(lambda: panel.results.measurements.rows, 60)
    standin.grab(panel.parent, FOLDER / "panel.png", PANEL)
    for button, name in ((panel.ui.pairButton, "pair.png"), (panel.ui.gridButton, "doses.png")):
        button.click()
        standin.pump(timeout=0.5)
        standin.grab(application.main_window, FOLDER / name, WINDOW)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="mapdiff-base", help="model bundle (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
