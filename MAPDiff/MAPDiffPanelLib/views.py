"""Comparison views: layouts of their own, linked, all with one window and colour, and the way back.

Only MRML is touched: Slicer's layout manager makes the views when the layout node changes.
"""

from __future__ import annotations

import math

import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib.results import Result
from MAPDiffPanelLib.slider import Mix, showMix

ONE, PAIR, GRID = "one", "pair", "grid"
LAYOUT_ID = 5270  # the pair; a grid of n views is LAYOUT_ID + n
MOST_VIEWS = 16
ROW_LIMIT = 6  # views side by side before a second row begins
VIEW_GROUP = 52  # linked among themselves, not with the user's own views
PRESETS = {"SUV 0-5": 5.0, "SUV 0-8": 8.0, "SUV 0-10": 10.0, "SUV 0-20": 20.0}
COLOURS = {
    "inverted grey": "vtkMRMLColorTableNodeInvertedGrey",
    "PET-DICOM": "vtkMRMLPETProceduralColorNodePET-DICOM",
    "PET-Heat": "vtkMRMLPETProceduralColorNodePET-Heat",
}


def viewName(number: int) -> str:
    """Layout name of comparison view 1, 2, ..."""
    return f"MAPDiff{number}"


def _viewXml(number: int, orientation: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(number)}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{number}</property>'
        '<property name="viewcolor" action="default">#8C8C8C</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view></item>'
    )


def layoutXml(rows: list[list[tuple[int, str]]]) -> str:
    """A Slicer layout description of rows of (view number, orientation)."""
    lines = [
        '<item><layout type="horizontal" split="true">' + "".join(_viewXml(*view) for view in row) + "</layout></item>"
        for row in rows
    ]
    return '<layout type="vertical" split="true">' + "".join(lines) + "</layout>"


def pairRows() -> list[list[tuple[int, str]]]:
    """Scan left, restored right; coronal above, axial below."""
    return [[(1, "Coronal"), (2, "Coronal")], [(3, "Axial"), (4, "Axial")]]


def gridRows(count: int) -> list[list[tuple[int, str]]]:
    """`count` coronal views in rows of equal length."""
    length = math.ceil(count / math.ceil(count / ROW_LIMIT))
    numbers = list(range(1, count + 1))
    return [[(number, "Coronal") for number in numbers[first : first + length]] for first in range(0, count, length)]


def registerLayouts(scene) -> None:
    """Tells the layout node of all comparison layouts, so that a saved scene finds the one it was saved with."""
    layout = layoutNode(scene)
    if layout is None:
        return
    descriptions = {LAYOUT_ID: pairRows(), **{LAYOUT_ID + n: gridRows(n) for n in range(2, MOST_VIEWS + 1)}}
    for number, rows in descriptions.items():
        if not layout.IsLayoutDescription(number):
            layout.AddLayoutDescription(number, layoutXml(rows))


def layoutNode(scene):
    """The one layout node of the scene."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def compositeNodes(scene) -> dict:
    """Layout name -> slice composite node."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(count)]
    return {node.GetLayoutName(): node for node in nodes}


def sliceNodes(scene) -> dict:
    """Layout name -> slice node."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLSliceNode") for index in range(count)]
    return {node.GetLayoutName(): node for node in nodes}


def isOurs(layoutName: str) -> bool:
    """Whether a view belongs to the comparison layouts."""
    return layoutName.startswith("MAPDiff")


class ComparisonViews:
    """Which views show what; remembers the user's own arrangement from the first change until `back`."""

    def __init__(self, scene):
        self.scene, self.kind = scene, ONE
        self._former: dict | None = None

    def recognize(self) -> None:
        """A scene may have been saved with a comparison layout: what is shown is what `kind` says."""
        arrangement = layoutNode(self.scene)
        number = arrangement.GetViewArrangement() - LAYOUT_ID if arrangement is not None else -1
        self.kind = PAIR if number == 0 else GRID if 2 <= number <= MOST_VIEWS else ONE

    @property
    def changed(self) -> bool:
        """Whether there is anything to go back to."""
        return self._former is not None

    @property
    def formerLayout(self) -> int:
        """The user's own layout, 0 when it is the present one; kept in the parameter node for a saved scene."""
        return self._former["layout"] if self._former else 0

    def remember(self, layout: int = 0) -> None:
        """Notes the user's own arrangement, unless it is noted already; `layout` where a saved scene knows it."""
        if self._former is None:
            noted = {
                name: (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetForegroundOpacity())
                for name, node in compositeNodes(self.scene).items()
                if not isOurs(name)
            }
            arrangement = layoutNode(self.scene)
            now = arrangement.GetViewArrangement() if arrangement is not None else 0
            self._former = {"layout": layout or now, "volumes": noted}

    def back(self) -> None:
        """The user's own layout with the volumes it showed."""
        former, self._former, self.kind = self._former, None, ONE
        if former is None:
            return
        arrangement = layoutNode(self.scene)
        if arrangement is not None and former["layout"]:
            arrangement.SetViewArrangement(former["layout"])
        composites = compositeNodes(self.scene)
        for name, (background, foreground, opacity) in former["volumes"].items():
            composite = composites.get(name)
            if composite is not None:
                composite.SetBackgroundVolumeID(self._living(background))
                composite.SetForegroundVolumeID(self._living(foreground))
                composite.SetForegroundOpacity(opacity)

    def show(self, kind: str, result: Result, mix: Mix) -> None:
        """ONE: the user's layout with the mix; PAIR: scan | mix; GRID: the scan and every dose."""
        self.remember()
        self.kind = kind
        arrangement = layoutNode(self.scene)
        registerLayouts(self.scene)
        stops = result.stops[-MOST_VIEWS:]
        wanted = {ONE: self._former["layout"], PAIR: LAYOUT_ID, GRID: LAYOUT_ID + max(2, len(stops))}[kind]
        if wanted and arrangement.GetViewArrangement() != wanted:
            arrangement.SetViewArrangement(wanted)
        if kind != ONE:
            self._link()
            self._orient(pairRows() if kind == PAIR else gridRows(max(2, len(stops))))
        if kind == GRID:
            self._fill({number: node for number, (_dose, node) in enumerate(stops, 1)})
            self._label(dict(enumerate(result.labels()[-MOST_VIEWS:], 1)))
        elif kind == PAIR:
            left = result.inputNode or stops[0][1]
            self._fill({1: left, 3: left})
            self._label({1: _("input"), 3: _("input")})
        self.follow(mix)
        if kind != ONE:
            self._fit()

    def follow(self, mix: Mix) -> None:
        """The slider has moved: every view that follows it shows the mix."""
        self.remember()
        composites = compositeNodes(self.scene)
        if self.kind == PAIR:
            names = [viewName(2), viewName(4)]
            self._label({2: mix.words, 4: mix.words})
        elif self.kind == GRID:
            names = []
        else:
            names = [name for name in composites if not isOurs(name)]
        showMix(mix, [composites[name] for name in names if name in composites])

    def _link(self) -> None:
        for name, composite in compositeNodes(self.scene).items():
            if isOurs(name):
                composite.SetLinkedControl(True)
                composite.SetHotLinkedControl(True)

    def _orient(self, rows) -> None:
        """The layouts share their views: one that was axial in the pair is coronal in the grid."""
        nodes = sliceNodes(self.scene)
        for number, orientation in (view for row in rows for view in row):
            node = nodes.get(viewName(number))
            if node is not None and node.GetOrientation() != orientation:
                node.SetOrientation(orientation)

    def _fill(self, volumes: dict) -> None:
        composites = compositeNodes(self.scene)
        for number, node in volumes.items():
            composite = composites.get(viewName(number))
            if composite is not None:
                showMix(Mix(node, None, 0.0, 1.0, ""), [composite])

    def _label(self, labels: dict) -> None:
        nodes = sliceNodes(self.scene)
        for number, label in labels.items():
            if viewName(number) in nodes:
                nodes[viewName(number)].SetLayoutLabel(label)

    def _fit(self) -> None:
        """Whole body in each view; all views of one orientation at one zoom and one slice."""
        logics = slicer.app.applicationLogic().GetSliceLogics()
        for index in range(logics.GetNumberOfItems()):
            logic = logics.GetItemAsObject(index)
            if isOurs(logic.GetSliceNode().GetLayoutName()):
                logic.FitSliceToBackground()

    def _living(self, nodeID):
        return nodeID if nodeID and self.scene.GetNodeByID(nodeID) else None
