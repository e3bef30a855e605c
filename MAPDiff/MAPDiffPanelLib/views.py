"""Comparison views: the scan and its doses side by side, linked, in one window and colour, and the way back.

Only MRML is touched: Slicer's layout manager makes the views when their nodes are there and shows them when the layout
node changes. What must wait for a view's size waits for the next turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import qt
import slicer
import vtk

from MAPDiffPanelLib import layouts
from MAPDiffPanelLib.corners import clearCorner, writeCorner
from MAPDiffPanelLib.layouts import AXIAL, CORONAL, DIFFERENCE, ONE, compositeNodes, isOurs, sliceNodes, viewName
from MAPDiffPanelLib.projection import Projections
from MAPDiffPanelLib.results import Result
from MAPDiffPanelLib.slider import Mix, contents, showMix

NO_LAYOUT = -1  # 0 is a layout: that of a Slicer that was never given another one
AXES = {CORONAL: 1, AXIAL: 2}  # of RAS, across the slices


class ComparisonViews:
    """Which views show what; remembers the user's own arrangement from the first change until `back`.

    onChange(): the user has taken another layout, from Slicer's toolbar for one. onProjected(): there are other
    projections.
    """

    def __init__(self, scene, onChange: Callable[[], None], onProjected: Callable[[], None]):
        self.scene, self.kind, self.mip, self.everywhere = scene, ONE, False, None
        self._onChange, self._onProjected, self._observed = onChange, onProjected, None
        self.projections = Projections(scene, self._projectionsChanged)
        self._former: dict | None = None
        self._result = self._mix = self._work = None
        self._places: dict[str, float] = {}  # orientation -> offset in mm that the user looks at
        self._expected = NO_LAYOUT

    # the user's own arrangement

    def watch(self) -> None:
        """Follows the layout node; a scene may have been saved with a comparison, which `kind` then says."""
        self.release()
        node = layouts.layoutNode(self.scene)
        if node is not None:
            self._expected = node.GetViewArrangement()
            self.kind = layouts.kindOf(self._expected)
            self._observed = (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._layoutChanged))

    def release(self) -> None:
        """Nothing is followed and nothing goes on any more; the views stay as they are."""
        self._work = None
        if self._observed is not None:
            self._observed[0].RemoveObserver(self._observed[1])
            self._observed = None

    @property
    def changed(self) -> bool:
        """Whether there is anything to go back to."""
        return self._former is not None

    @property
    def formerLayout(self) -> int:
        """The user's own layout, NO_LAYOUT when it is the present one; the parameter node keeps it with the scene."""
        return self._former["layout"] if self._former else NO_LAYOUT

    def remember(self, layout: int = NO_LAYOUT) -> None:
        """Notes the user's own arrangement, unless it is noted already; `layout` where a saved scene knows it."""
        if self._former is None:
            noted = {
                name: (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetForegroundOpacity())
                for name, node in compositeNodes(self.scene).items()
                if not isOurs(name)
            }
            node = layouts.layoutNode(self.scene)
            now = node.GetViewArrangement() if node is not None else NO_LAYOUT
            if layout == NO_LAYOUT and layouts.kindOf(now) == ONE:
                layout = now
            self._former = {"layout": layout, "volumes": noted}

    def back(self) -> None:
        """The user's own layout with the volumes it showed."""
        former, self._former, self.kind, self._work = self._former, None, ONE, None
        if former is None:
            return
        self._setLayout(max(0, former["layout"]))
        composites = compositeNodes(self.scene)
        for name, (background, foreground, opacity) in former["volumes"].items():
            composite = composites.get(name)
            if composite is not None:
                composite.SetBackgroundVolumeID(self._living(background))
                composite.SetForegroundVolumeID(self._living(foreground))
                composite.SetForegroundOpacity(opacity)

    def clear(self) -> None:
        """The scene goes: the user's layout, and no word of a result in the comparison views."""
        self.back()
        self._result = self._mix = self.everywhere = None
        self._places = {}
        self.projections.release()
        for name, node in sliceNodes(self.scene).items():
            if isOurs(name):
                node.SetLayoutLabel(name[len(viewName("")) :])
                clearCorner(name)

    def _layoutChanged(self, node, _event) -> None:
        """Not by us: it is the user's own layout from now on."""
        number = node.GetViewArrangement()
        if number == self._expected:
            return
        self._expected, self._work = number, None
        self.kind = layouts.kindOf(number)
        if self.kind == ONE and self._former is not None:
            self._former["layout"] = number
        self._onChange()

    # what the views show

    def show(self, kind: str, result: Result, mix: Mix) -> None:
        """ONE: the user's layout with the mix; the other kinds as in `layouts`. Done within a few turns of the loop."""
        self.remember()
        if self._result is None or self._result.resultID != result.resultID:
            self._places = {}
        self._notePlaces(result)
        self.kind, self._result, self._mix = kind, result, mix
        if kind == ONE:
            self._work = None
            self._setLayout(max(0, self.formerLayout))
            self._apply()
        else:
            self._run(self._build())

    def follow(self, mix: Mix, result: Result | None = None) -> None:
        """The slider has moved: every view that follows it shows the mix."""
        self.remember()
        self._mix, self._result = mix, result or self._result
        if self._work is None:
            self._apply()

    def project(self, on: bool) -> None:
        """The coronal views as maximum intensity projections, or as slices."""
        self.mip = on
        if self.kind != ONE and self._work is None:
            self._apply()

    def flip(self, everywhere: str | None) -> None:
        """Input or restored (roles of `slider`) in all views at once; None: each view its own again."""
        self.everywhere = everywhere
        if self._mix is not None and self._work is None:
            self._apply()

    @property
    def busy(self) -> bool:
        """Until the views that were asked for are there, fitted, with their projections."""
        return self._work is not None or self.projections.busy

    @property
    def empty(self) -> bool:
        """A comparison without its first volume: a scene was loaded into the one that it was part of."""
        composite = compositeNodes(self.scene).get(viewName(1))
        return self.kind != ONE and composite is not None and not composite.GetBackgroundVolumeID()

    # in turns of the event loop

    def _run(self, work: Iterator[None]) -> None:
        self._work = work
        self._advance(work)

    def _advance(self, work: Iterator[None]) -> None:
        if work is self._work:
            if next(work, self) is self:
                self._work = None
            else:
                qt.QTimer.singleShot(0, lambda: self._advance(work))

    def _build(self) -> Iterator[None]:
        """One view a turn, then the layout, then their sizes."""
        for number, _orientation in self._views():
            if viewName(number) not in sliceNodes(self.scene):
                layouts.makeView(self.scene, number)
                yield
        layouts.registerLayouts(self.scene)
        self._setLayout(layouts.layoutNumber(self.kind, self._count()))
        self._dress()
        self._apply()
        yield
        self._fit()
        self._apply()  # what has come meanwhile

    def _count(self) -> int:
        return max(2, min(layouts.MOST_VIEWS, len(self._result.stops)))

    def _views(self) -> list[tuple[int, str]]:
        return [view for row in layouts.layoutRows(self.kind, self._count()) for view in row]

    def _setLayout(self, number: int) -> None:
        node = layouts.layoutNode(self.scene)
        self._expected = number
        if node is not None and node.GetViewArrangement() != number:
            node.SetViewArrangement(number)

    def _dress(self) -> None:
        """Linked, in their orientation: the layouts share their views."""
        nodes, composites = sliceNodes(self.scene), compositeNodes(self.scene)
        for number, orientation in self._views():
            node, composite = nodes.get(viewName(number)), composites.get(viewName(number))
            if node is None or composite is None:
                continue
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            if node.GetOrientation() != orientation:
                node.SetOrientation(orientation)

    def _projected(self, number: int, orientation: str) -> bool:
        """A maximum over the body would show of a difference what is rare in it."""
        return self.mip and orientation == CORONAL and not (self.kind == DIFFERENCE and number == 3)

    def _apply(self) -> None:
        composites = compositeNodes(self.scene)
        if self.kind == ONE:
            mix = contents(ONE, self._result, self._mix, self.everywhere)[1] if self._result else self._mix
            showMix(mix, [composite for name, composite in composites.items() if not isOurs(name)])
            return
        if self._result is None:
            return
        nodes, orientations = sliceNodes(self.scene), dict(self._views())
        shown = contents(self.kind, self._result, self._mix, self.everywhere, layouts.MOST_VIEWS)
        for number, mix in shown.items():
            name, projected = viewName(number), self._projected(number, orientations.get(number, ""))
            volumes = self._volumes(mix, projected)
            if name in composites and name in nodes and volumes is not None:
                showMix(replace(mix, lower=volumes[0], upper=volumes[1]), [composites[name]])
                writeCorner(nodes[name], mix, projected)
        for node in self._result.nodes if self.mip else ():  # the slider will come to them
            self.projections.of(node)

    def _volumes(self, mix: Mix, projected: bool) -> list | None:
        """Lower and upper volume of a mix, or their projections; None until these are there: the view stays so long."""
        volumes = [mix.lower, mix.upper]
        if not projected:
            return volumes
        made = [None if node is None else self.projections.of(node) for node in volumes]
        waiting = any(node is not None and each is None for node, each in zip(volumes, made, strict=True))
        return None if waiting else made

    def _projectionsChanged(self) -> None:
        self._onProjected()
        if self.mip and self.kind != ONE and self._work is None:
            self._apply()

    def _notePlaces(self, result: Result) -> None:
        """The slices that the user looks at, from the views of a volume of this result."""
        manager, shown = slicer.app.layoutManager(), {node.GetID() for node in result.nodes + self.projections.nodes}
        bounds = [0.0] * 6
        result.nodes[0].GetRASBounds(bounds)
        nodes, composites = sliceNodes(self.scene), compositeNodes(self.scene)
        for name in manager.sliceViewNames() if manager is not None else ():
            node, composite = nodes.get(name), composites.get(name)
            if node is None or composite is None or composite.GetBackgroundVolumeID() not in shown:
                continue
            axis, offset = AXES.get(node.GetOrientation()), node.GetSliceOffset()
            if axis is not None and bounds[2 * axis] < offset < bounds[2 * axis + 1]:
                self._places[node.GetOrientation()] = offset

    def _fit(self) -> None:
        """The whole body in each view, at the slice the user looked at, else in the middle of the scan."""
        for logic in self._logics():
            width, height, _depth = logic.GetSliceNode().GetDimensions()
            logic.FitSliceToVolume(self._result.nodes[0], width, height)  # a view may be waiting for its difference
            place = self._places.get(logic.GetSliceNode().GetOrientation())
            if place is not None:
                logic.SetSliceOffset(place)

    def _logics(self) -> list:
        """The slice logics of the comparison's views."""
        known = slicer.app.applicationLogic()
        logics = [known.GetSliceLogicByLayoutName(viewName(number)) for number, _orientation in self._views()]
        return [logic for logic in logics if logic is not None]

    def _living(self, nodeID):
        return nodeID if nodeID and self.scene.GetNodeByID(nodeID) else None
