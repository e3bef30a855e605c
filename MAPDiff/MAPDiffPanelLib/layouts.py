"""The comparison layouts: rows of at most three slice views of equal size, and the MRML nodes of those views.

A grid has no splitters: its columns are equal, whatever its views' labels say, and no view keeps a width from another
layout. Three views are as many as stand side by side without the main window growing wider than a small screen.
"""

from __future__ import annotations

import slicer

ONE, PAIR, GRID, DIFFERENCE = "one", "pair", "grid", "difference"
LAYOUT_ID = 5270  # the pair; a grid of n views is LAYOUT_ID + n
DIFFERENCE_LAYOUT_ID = 5290
ROW_LIMIT = 3
MOST_VIEWS = 9
VIEW_GROUP = 52  # linked among themselves, not with the user's own views
CORONAL, AXIAL = "Coronal", "Axial"
LAYOUT_SETTING = "MainWindow/layout"


def viewName(number: int) -> str:
    """Layout name of comparison view 1, 2, ..."""
    return f"MAPDiff{number}"


def isOurs(layoutName: str) -> bool:
    """Whether a view belongs to the comparison layouts."""
    return layoutName.startswith("MAPDiff")


def layoutRows(kind: str, count: int = 0) -> list[list[tuple[int, str]]]:
    """Rows of (view number, orientation); `count` views in a grid.

    PAIR: input, restored. DIFFERENCE: input, restored, difference. Both coronal above, axial below.
    """
    if kind == GRID:
        numbers = range(1, count + 1)
        return [[(n, CORONAL) for n in numbers[first : first + ROW_LIMIT]] for first in range(0, count, ROW_LIMIT)]
    length = 2 if kind == PAIR else 3
    return [[(row * length + column + 1, orientation) for column in range(length)]
            for row, orientation in enumerate((CORONAL, AXIAL))]  # fmt: skip


def layoutNumber(kind: str, count: int = 0) -> int:
    """The number of a comparison layout in Slicer's list."""
    return {PAIR: LAYOUT_ID, GRID: LAYOUT_ID + count, DIFFERENCE: DIFFERENCE_LAYOUT_ID}[kind]


def kindOf(number: int) -> str:
    """What a layout number shows; ONE for every layout that is not a comparison."""
    if number == DIFFERENCE_LAYOUT_ID:
        return DIFFERENCE
    return PAIR if number == LAYOUT_ID else GRID if 2 <= number - LAYOUT_ID <= MOST_VIEWS else ONE


def layoutXml(rows: list[list[tuple[int, str]]]) -> str:
    """A Slicer layout description of rows of (view number, orientation)."""
    cells = [
        f'<item row="{row}" column="{column}">{_viewXml(number, orientation)}</item>'
        for row, views in enumerate(rows)
        for column, (number, orientation) in enumerate(views)
    ]
    return '<layout type="grid">' + "".join(cells) + "</layout>"


def _viewXml(number: int, orientation: str) -> str:
    return (
        f'<view class="vtkMRMLSliceNode" singletontag="{viewName(number)}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{number}</property>'
        '<property name="viewcolor" action="default">#8C8C8C</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view>'
    )


def registerLayouts(scene) -> None:
    """Tells the layout node of all comparison layouts, so that a saved scene finds the one it was saved with."""
    node = layoutNode(scene)
    if node is None:
        return
    known = [(PAIR, 0), (DIFFERENCE, 0), *((GRID, count) for count in range(2, MOST_VIEWS + 1))]
    for kind, count in known:
        if not node.IsLayoutDescription(layoutNumber(kind, count)):
            node.AddLayoutDescription(layoutNumber(kind, count), layoutXml(layoutRows(kind, count)))


def saveLayout(scene) -> None:
    """Slicer saves the layout's number as it closes its window, and knows no number of ours when it starts again."""
    settings, node = slicer.app.userSettings(), layoutNode(scene)
    if node is not None and kindOf(int(settings.value(LAYOUT_SETTING) or 0)) != ONE:
        settings.setValue(LAYOUT_SETTING, node.GetViewArrangement())


def makeView(scene, number: int) -> None:
    """The slice node of a comparison view, unless it is there: Slicer makes a view as soon as its node is there.

    A layout would make all of its missing views at once, which is felt.
    """
    if viewName(number) in sliceNodes(scene):
        return
    node = scene.CreateNodeByClass("vtkMRMLSliceNode")
    node.UnRegister(None)
    node.SetName(viewName(number))
    node.SetLayoutName(viewName(number))
    node.SetLayoutLabel(str(number))
    node.SetViewGroup(VIEW_GROUP)
    scene.AddNode(node)


def layoutNode(scene):
    """The one layout node of the scene."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def compositeNodes(scene) -> dict:
    """Layout name -> slice composite node."""
    return _byLayoutName(scene, "vtkMRMLSliceCompositeNode")


def sliceNodes(scene) -> dict:
    """Layout name -> slice node."""
    return _byLayoutName(scene, "vtkMRMLSliceNode")


def _byLayoutName(scene, className: str) -> dict:
    count = scene.GetNumberOfNodesByClass(className)
    nodes = [scene.GetNthNodeByClass(index, className) for index in range(count)]
    return {node.GetLayoutName(): node for node in nodes}
