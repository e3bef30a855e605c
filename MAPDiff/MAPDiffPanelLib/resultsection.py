"""The lower half of the panel: which result, the dose slider, the views and the look."""

from __future__ import annotations

from functools import partial

import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib import layouts
from MAPDiffPanelLib.difference import makeDifference, scaleDifferences
from MAPDiffPanelLib.display import COLOURS, PRESETS, SharedDisplay, applyPreset, displayNodes
from MAPDiffPanelLib.enabling import allow
from MAPDiffPanelLib.flicker import Flicker
from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.measurementssection import MeasurementsSection
from MAPDiffPanelLib.placessection import PlacesSection
from MAPDiffPanelLib.results import findResult, findResults
from MAPDiffPanelLib.slider import mixAt, nearestDose, neighbour, positionOf
from MAPDiffPanelLib.units import suvFactor
from MAPDiffPanelLib.views import NO_LAYOUT, ComparisonViews

STEP = 100  # slider units between two doses


class ResultSection:
    """Shows one result of the scene; works without any run, on whatever results the scene holds."""

    def __init__(self, ui):
        self.ui, self._parameters, self._filling, self.result = ui, None, False, None
        self.touched = False  # the user has moved the slider: it no longer follows the newest dose
        self._known: list = []
        self.views = ComparisonViews(slicer.mrmlScene, self._layoutTaken, self._projected)
        self.display = SharedDisplay(self._lookChanged)
        self.flicker = Flicker(self.views.flip)
        self.tasks, self._subtracting = IdleTasks(), None
        self.measurements, self.places = MeasurementsSection(ui), PlacesSection(ui)
        ui.presetSelector.clear()
        for name in PRESETS:
            ui.presetSelector.addItem(name)
        ui.colourSelector.clear()
        for name in COLOURS:
            ui.colourSelector.addItem(name)
        ui.resultSelector.connect("currentIndexChanged(int)", self._resultChosen)
        ui.doseSlider.connect("valueChanged(int)", self._sliderMoved)
        ui.doseSlider.connect("sliderPressed()", self._sliderPressed)
        self._kinds = {layouts.ONE: ui.oneButton, layouts.PAIR: ui.pairButton, layouts.GRID: ui.gridButton,
                       layouts.DIFFERENCE: ui.differenceButton}  # fmt: skip
        for kind, button in self._kinds.items():
            button.connect("clicked()", partial(self._arrange, kind))
        ui.slicesButton.connect("clicked()", self._slices)
        ui.mipButton.connect("clicked()", self._projections)
        ui.flickerButton.connect("pressed()", self.flicker.start)
        ui.flickerButton.connect("released()", self.flicker.stop)
        ui.backButton.connect("clicked()", self.back)
        ui.presetSelector.connect("activated(int)", self._presetChosen)
        ui.colourSelector.connect("activated(int)", self._colourChosen)

    def setParameters(self, parameters) -> None:
        """The parameter node that keeps the choice of result and the slider's place; None disconnects."""
        self._parameters = parameters
        self.measurements.setParameters(parameters)
        if parameters is not None:
            self.views.watch()
        self.refresh()
        if parameters is not None and self.views.empty:
            self._show()  # a scene that was loaded may have left its views empty

    def release(self) -> None:
        """The scene or the panel goes: the user's layout, no observer and no node stays behind."""
        self.flicker.stop()
        self.tasks.clear()
        self._subtracting = None
        self.back()
        self.views.clear()
        self.views.release()
        self.display.release()
        self.measurements.release()
        self.places.use(None)
        self.result, self.touched, self._known = None, False, []

    def refresh(self) -> None:
        """The list of results and everything below it, from the scene as it is."""
        if self._parameters is None:
            return
        results = self._known = findResults(slicer.mrmlScene)
        known = [result.resultID for result in results]
        if self._parameters.result not in known:
            self._parameters.result = known[-1] if known else ""
        self._filling = True
        self.ui.resultSelector.clear()
        for result in results:
            self.ui.resultSelector.addItem(result.label, result.resultID)
        if known:
            self.ui.resultSelector.setCurrentIndex(known.index(self._parameters.result))
        self._filling = False
        self._use(next((result for result in results if result.resultID == self._parameters.result), None))

    def follow(self) -> None:
        """Nodes have come, gone or changed; a refresh only for a changed result, for measuring makes nodes too."""
        if findResults(slicer.mrmlScene) != self._known:
            self.refresh()
        elif self._parameters is not None:
            self._buttons()  # units may have come

    def doseArrived(self, resultID: str, dose: float) -> None:
        """A run has a new dose: shown at once, the first one beside the input, unless the user looks at another one."""
        if self._parameters is None:
            return
        own = not self.views.changed  # the views are as the user arranged them
        if self._parameters.result != resultID:
            self._parameters.result, self.touched = resultID, False
        keep = self._currentDose() if self.touched else None
        self.refresh()
        if self.result is not None:
            first = len(self.result.stops) == 2  # the scan and this dose
            self._moveTo(positionOf(self.result, dose if keep is None else keep))
            self._arrange(layouts.PAIR if own and first else self.views.kind)

    def step(self, direction: int) -> None:
        """To the next (1) or previous (-1) dose."""
        if self.result is not None:
            self.touched = True
            self._moveTo(neighbour(self.result, self.position, direction))

    @property
    def position(self) -> float:
        """In steps from the scan."""
        return self.ui.doseSlider.value / STEP

    def mix(self):
        """What the slider's place shows."""
        return mixAt(self.result, self.position)

    def back(self) -> None:
        """The user's own layout and volumes."""
        self.views.remember(self._parameters.formerLayout if self._parameters else NO_LAYOUT)
        self.views.back()
        if self._parameters is not None:
            self._parameters.formerLayout = NO_LAYOUT
        self._buttons()

    def restoreLayout(self) -> None:
        """Before Slicer quits: the user's own layout, which is the one that the next start finds."""
        self.back()
        layouts.saveLayout(slicer.mrmlScene)

    def _use(self, result) -> None:
        changed = (self.result and self.result.resultID) != (result and result.resultID)
        self.result = result
        self.views.projections.keep(result.nodes if result is not None else [])
        self.display.watch(result, self.views.projections.nodes)
        self._filling = True
        self.ui.doseSlider.maximum = STEP * max(1, len(result.stops) - 1) if result else STEP
        if result is not None and changed:
            self.ui.doseSlider.value = round(STEP * min(self._parameters.position, len(result.stops) - 1))
        self._filling = False
        self._label()
        self._buttons()
        self.measurements.use(result)
        self.places.use(result)

    def _moveTo(self, position: float) -> None:
        if self.ui.doseSlider.value == round(position * STEP):
            self._sliderMoved(self.ui.doseSlider.value)
        else:
            self.ui.doseSlider.value = round(position * STEP)

    def _sliderPressed(self) -> None:
        self.touched = True

    def _sliderMoved(self, value: int) -> None:
        if self._filling or self.result is None or self._parameters is None:
            return
        self._parameters.position = value / STEP
        self._label()
        self._note()
        self.views.follow(self.mix(), self.result)
        self._subtract()
        self._buttons()

    def _label(self) -> None:
        self.ui.doseLabel.text = self.mix().words if self.result else ""
        self.measurements.markRow(round(self.position))

    def _currentDose(self):
        return self.mix().dose if self.result else None

    def _resultChosen(self, index: int) -> None:
        if self._filling or index < 0:
            return
        self._parameters.result = str(self.ui.resultSelector.itemData(index))
        self._use(findResult(slicer.mrmlScene, self._parameters.result))
        if self.result is not None:
            self._moveTo(len(self.result.stops) - 1)
            self._show()

    def _arrange(self, kind: str) -> None:
        if self.result is not None:
            self._note()
            self.views.show(kind, self.result, self.mix())
            self._subtract()
        self._buttons()

    def _slices(self) -> None:
        self.views.project(False)
        self._buttons()

    def _projections(self) -> None:
        """In the comparison views: the user's own stay slices."""
        self.views.project(True)
        if self.views.kind == layouts.ONE:
            self._arrange(layouts.PAIR)
        self._buttons()

    def _subtract(self) -> None:
        """The difference that the views lack is made, one at a time, while Slicer is idle."""
        if self.views.kind != layouts.DIFFERENCE or self.result is None or self.result.inputNode is None:
            return
        dose = nearestDose(self.result, self.mix().dose)
        if self._subtracting is None and dose not in self.result.differences:
            self._subtracting = dose
            self.tasks.add(self._subtracted(self.result, dose), self._notSubtracted)

    def _subtracted(self, result, dose: float):
        yield from makeDifference(slicer.mrmlScene, result, dose)
        self._subtracting = None
        self._known = findResults(slicer.mrmlScene)
        if self.result is not None and result.resultID == self.result.resultID:  # it may have been looked for anew
            self.result.differences[dose] = result.differences[dose]
            self.views.follow(self.mix(), self.result)
            self._subtract()  # the slider may have gone on

    def _notSubtracted(self, error: Exception) -> None:
        self._subtracting = None
        self._arrange(layouts.PAIR)
        slicer.util.errorDisplay(str(error))

    def _layoutTaken(self) -> None:
        """The user has taken another layout than ours from Slicer's toolbar."""
        if self.views.changed:
            self._note()
        self._buttons()

    def _projected(self) -> None:
        """Projections have the look of the volumes, and give it on when it is changed in their view."""
        self.display.watch(self.result, self.views.projections.nodes)

    def _lookChanged(self) -> None:
        """The window was dragged in a view, or set by another module."""
        scaleDifferences(self.result)
        self._showLook()

    def _show(self) -> None:
        """What the views show now, with the doses there are now."""
        self._arrange(self.views.kind)

    def _note(self) -> None:
        """The user's own layout goes into the parameter node, so that a saved scene knows the way back."""
        if self._parameters is not None:
            self.views.remember(self._parameters.formerLayout)
            self._parameters.formerLayout = self.views.formerLayout

    def _buttons(self) -> None:
        there = self.result is not None
        lacking = "" if there else _("There is no result in this scene yet. Press Denoise.")
        for kind, button in self._kinds.items():
            button.checked = there and self.views.kind == kind
            allow(button, lacking)
        noScan = "" if there and self.result.inputNode else _("The scan of this result is no longer in the scene.")
        for widget in (self.ui.differenceButton, self.ui.flickerButton):
            allow(widget, lacking or noScan)
        for widget, on in ((self.ui.slicesButton, not self.views.mip), (self.ui.mipButton, self.views.mip)):
            allow(widget, lacking)
            widget.checked = there and on
        away = self.views.changed or bool(self._parameters and self._parameters.formerLayout != NO_LAYOUT)
        allow(self.ui.backButton, "" if away else _("The views are in your own layout."))
        for widget in (self.ui.resultSelector, self.ui.doseSlider, self.ui.colourSelector):
            allow(widget, lacking)
        otherUnits = _("These scales need a volume in SUV; this one is in other units. Set the window in the views.")
        allow(self.ui.presetSelector, lacking or ("" if self._suvFactor() else otherUnits))
        self._showLook()

    def _showLook(self) -> None:
        """The preset that the views are in, nothing for a window of the user's own."""
        displays = displayNodes(self.result.nodes[:1]) if self.result is not None else []
        scale = (displays[0].GetWindow(), displays[0].GetLevel()) if displays else None
        colour = displays[0].GetColorNodeID() if displays else None
        presets = [(upper, upper / 2) for upper in self._presets()]
        colours = list(COLOURS.values())
        self.ui.presetSelector.setCurrentIndex(presets.index(scale) if scale in presets else -1)
        self.ui.colourSelector.setCurrentIndex(colours.index(colour) if colour in colours else -1)

    def _suvFactor(self) -> float | None:
        return suvFactor(self.result.nodes[0]) if self.result is not None else None

    def _presets(self) -> list[float]:
        """The upper ends of the scales, in the volumes' own units."""
        return [upper / (self._suvFactor() or 1.0) for upper in PRESETS.values()]

    def _presetChosen(self, index: int) -> None:
        if self.result is not None:
            applyPreset(self.result, upper=self._presets()[index])

    def _colourChosen(self, index: int) -> None:
        if self.result is not None:
            applyPreset(self.result, colorNodeID=list(COLOURS.values())[index])
