"""Slice views: the picture of the real slice logic, painted without OpenGL."""

from __future__ import annotations

import numpy as np
import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

SIZE = 256  # pixels of a view before it is laid out
BAR = 200  # pixels of a view's bar without its label: pin, slider and spin box do not shrink


def slice_picture(logic) -> np.ndarray:
    """What a view shows, uint8 [y, x, 4], top row first: the output of logic.GetImageDataConnection()."""
    from vtk.util.numpy_support import vtk_to_numpy

    width, height, _ = logic.GetSliceNode().GetDimensions()
    connection = logic.GetImageDataConnection()
    if connection is None:
        return np.zeros((height, width, 4), np.uint8)
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()


class RenderWindow:
    """What holds a view's renderer, for actors of one's own. No window of OpenGL's: nothing is ever rendered with it,
    and where there is no display one that goes away takes the process with it."""

    def __init__(self):
        import vtk

        self._renderers = vtk.vtkRendererCollection()
        self._renderers.AddItem(vtk.vtkRenderer())

    def GetRenderers(self):
        return self._renderers


class qMRMLSliceView(QtWidgets.QWidget):
    """Paints the picture of its slice logic and gives the slice node its size."""

    resized = Signal(QtCore.QSize)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = None
        self._renderWindow = None
        self.setMinimumSize(40, 40)

    def renderWindow(self):
        if self._renderWindow is None:
            self._renderWindow = RenderWindow()
        return self._renderWindow

    def _texts(self):
        """What text actors of the first renderer say."""
        props = self.renderWindow().GetRenderers().GetFirstRenderer().GetViewProps()
        actors = [props.GetItemAsObject(index) for index in range(props.GetNumberOfItems())]
        return [actor for actor in actors if actor.IsA("vtkTextActor") and actor.GetVisibility() and actor.GetInput()]

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode() if self._logic else None

    def scheduleRender(self):
        self.update()

    def forceRender(self):
        self.update()

    def resizeEvent(self, event):
        """The slice node has the new size one turn of the event loop after a change of layout."""
        super().resizeEvent(event)
        QtCore.QTimer.singleShot(0, self, self._tell_size)
        self.resized.emit(self.size())

    def _tell_size(self):
        if self._logic and self._logic.GetMRMLScene():
            self._logic.ResizeSliceNode(self.width(), self.height())

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtCore.Qt.GlobalColor.black)
        if self._logic and self._logic.GetSliceCompositeNode().GetBackgroundVolumeID():
            picture = slice_picture(self._logic)
            kind = QtGui.QImage.Format.Format_RGBA8888
            image = QtGui.QImage(picture.data, picture.shape[1], picture.shape[0], 4 * picture.shape[1], kind)
            painter.drawImage(0, 0, image)
        for actor in self._texts():
            self._paint_text(painter, actor)

    def _paint_text(self, painter, actor):
        """In the corner that the actor's normalized position is in, on its background."""
        look, (x, y) = actor.GetTextProperty(), actor.GetPositionCoordinate().GetValue()[:2]
        font = QtGui.QFont()
        font.setPixelSize(look.GetFontSize())
        font.setBold(bool(look.GetBold()))
        painter.setFont(font)
        place = self.rect().adjusted(round(x * self.width()), round((1 - y) * self.height()), 0, 0)
        flags = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignTop
        back = QtGui.QColor.fromRgbF(*look.GetBackgroundColor(), look.GetBackgroundOpacity())
        painter.fillRect(painter.boundingRect(place, flags, actor.GetInput()).adjusted(-3, -1, 3, 1), back)
        painter.setPen(QtGui.QColor.fromRgbF(*look.GetColor()))
        painter.drawText(place, flags, actor.GetInput())


class qMRMLSliceControllerWidget(QtWidgets.QWidget):
    """The bar above a slice view: its name in its colour. The view is never narrower than it, nor it than its name."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = None
        self.setFixedHeight(18)

    def attach(self, logic):
        """Shows the name of a slice logic's view."""
        self._logic = logic
        logic.GetSliceNode().AddObserver("ModifiedEvent", lambda caller, event: self._follow(caller))
        self._follow(logic.GetSliceNode())

    def _follow(self, node):
        if shiboken6.isValid(self):
            self.setMinimumWidth(BAR + self.fontMetrics().horizontalAdvance(node.GetLayoutLabel() or ""))
            self.update()

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def paintEvent(self, event):
        node = self._logic.GetSliceNode()
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor.fromRgbF(*node.GetLayoutColor()))
        place = self.rect().adjusted(6, 0, 0, 0)
        painter.setPen(QtGui.QColor("white"))
        painter.drawText(place, QtCore.Qt.AlignmentFlag.AlignVCenter, node.GetLayoutLabel() or "")


class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view with its bar and its logic."""

    mrmlSceneChanged = Signal(object)
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic, self._view, self._bar = None, qMRMLSliceView(), qMRMLSliceControllerWidget()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addWidget(self._view, 1)

    def attach(self, logic):
        """Shows a slice logic; the application's part."""
        self._logic = self._view._logic = logic
        self._bar.attach(logic)
        logic.AddObserver("ModifiedEvent", lambda caller, event: self._view.update())

    def sliceLogic(self):
        return self._logic

    logic = sliceLogic

    def mrmlScene(self):
        return self._logic.GetMRMLScene()

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceView(self):
        return self._view

    def sliceController(self):
        return self._bar

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def setViewLabel(self, label):
        self.mrmlSliceNode().SetLayoutLabel(label)

    sliceViewName = Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
    viewLabel = Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel(), setViewLabel)
