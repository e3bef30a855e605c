"""What a comparison view is called: six letters and a colour in its bar, the long form in the corner of its picture.

The long form is a text of our own in the view's renderer: Slicer writes into the views' corner annotations itself.
"""

from __future__ import annotations

import slicer
import vtk
from slicer.i18n import tr as _

from MAPDiffPanelLib.slider import DIFFERENCE_ROLE, INPUT_ROLE, RESTORED_ROLE, Mix

ACTOR = "MAPDiffCorner"
COLOURS = {INPUT_ROLE: (0.45, 0.45, 0.45), RESTORED_ROLE: (0.10, 0.42, 0.70), DIFFERENCE_ROLE: (0.52, 0.28, 0.62)}
LETTERS = 6  # that a view's bar has room for before it makes the view wider


def writeCorner(sliceNode, mix: Mix, projected: bool = False) -> None:
    """Names a view after what it shows; only what differs is touched."""
    label, colour = mix.label[:LETTERS], COLOURS[mix.role]
    if sliceNode.GetLayoutLabel() != label:
        sliceNode.SetLayoutLabel(label)
    if any(abs(a - b) > 1e-6 for a, b in zip(sliceNode.GetLayoutColor(), colour, strict=True)):
        sliceNode.SetLayoutColor(*colour)
    _write(sliceNode.GetLayoutName(), _("{words}\nMIP").format(words=mix.corner) if projected else mix.corner, colour)


def clearCorner(viewName: str) -> None:
    """No words in the picture."""
    _write(viewName, "", COLOURS[INPUT_ROLE])


def cornerText(viewName: str) -> str:
    """The words in the picture of a view, "" without any."""
    view = _sliceView(viewName)
    actor = _actor(_renderer(view)) if view is not None else None
    return actor.GetInput() or "" if actor is not None else ""


def _write(viewName: str, text: str, colour) -> None:
    view = _sliceView(viewName)
    renderer = _renderer(view) if view is not None else None
    if renderer is None:
        return
    actor = _actor(renderer) or _makeActor(renderer)
    if actor.GetInput() != text:
        actor.SetInput(text)
        actor.GetTextProperty().SetBackgroundColor(colour)
        view.scheduleRender()


def _sliceView(viewName: str):
    manager = slicer.app.layoutManager()
    widget = manager.sliceWidget(viewName) if manager is not None else None
    return widget.sliceView() if widget is not None else None


def _renderer(view):
    return view.renderWindow().GetRenderers().GetFirstRenderer()


def _actor(renderer):
    props = renderer.GetViewProps()
    found = (props.GetItemAsObject(index) for index in range(props.GetNumberOfItems()))
    return next((prop for prop in found if prop.GetObjectName() == ACTOR), None)


def _makeActor(renderer):
    actor = vtk.vtkTextActor()
    actor.SetObjectName(ACTOR)
    look = actor.GetTextProperty()
    look.SetFontSize(14)
    look.SetBold(True)
    look.SetColor(1, 1, 1)
    look.SetBackgroundOpacity(0.75)
    look.SetVerticalJustificationToTop()
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.GetPositionCoordinate().SetValue(0.02, 0.98)
    renderer.AddViewProp(actor)
    return actor
