"""Slice views: the picture of the real slice logic, painted without OpenGL."""

from __future__ import annotations

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

SIZE = 256  # pixels of a view before it is laid out


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


class qMRMLSliceView(QtWidgets.QWidget):
    """Paints the picture of its slice logic and gives the slice node its size."""

    resized = Signal(QtCore.QSize)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic, self._background = None, QtGui.QColor(0, 0, 0)
        self.setMinimumSize(40, 40)

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode() if self._logic else None

    def scheduleRender(self):
        self.update()

    def forceRender(self):
        self.update()

    def setBackgroundColor(self, color):
        self._background = color

    def resizeEvent(self, event):
        super().resizeEvent(event)
        if self._logic:
            self._logic.ResizeSliceNode(self.width(), self.height())
        self.resized.emit(self.size())

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), self._background)
        if self._logic and self._logic.GetSliceCompositeNode().GetBackgroundVolumeID():
            picture = slice_picture(self._logic)
            kind = QtGui.QImage.Format.Format_RGBA8888
            image = QtGui.QImage(picture.data, picture.shape[1], picture.shape[0], 4 * picture.shape[1], kind)
            painter.drawImage(0, 0, image)

    backgroundColor = Property(QtGui.QColor, lambda self: self._background, setBackgroundColor)


class qMRMLSliceControllerWidget(QtWidgets.QWidget):
    """The bar above a slice view: its name in its colour."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = None
        self.setFixedHeight(18)

    def setSliceLink(self, linked):
        self._logic.GetSliceCompositeNode().SetLinkedControl(int(linked))

    def setSliceVisible(self, visible):
        self._logic.GetSliceNode().SetSliceVisible(int(visible))

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def setSliceOffsetValue(self, offset):
        self._logic.SetSliceOffset(offset)

    def paintEvent(self, event):
        node = self._logic.GetSliceNode()
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor.fromRgbF(*node.GetLayoutColor()))
        place = self.rect().adjusted(6, 0, 0, 0)
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
        self._logic = self._view._logic = self._bar._logic = logic
        logic.AddObserver("ModifiedEvent", lambda caller, event: self._view.update())

    def sliceLogic(self):
        return self._logic

    logic = sliceLogic

    def mrmlScene(self):
        return self._logic.GetMRMLScene()

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    mrmlAbstractViewNode = mrmlSliceNode

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceView(self):
        return self._view

    viewWidget = sliceView

    def sliceController(self):
        return self._bar

    controllerWidget = sliceController

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def imageDataConnection(self):
        return self._logic.GetImageDataConnection()

    def setSliceOrientation(self, orientation):
        self.mrmlSliceNode().SetOrientation(orientation)

    def setViewLabel(self, label):
        self.mrmlSliceNode().SetLayoutLabel(label)

    sliceOrientation = Property(str, lambda self: self.mrmlSliceNode().GetOrientation(), setSliceOrientation)
    sliceViewName = Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
    sliceViewLabel = Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel(), setViewLabel)
    viewLabel = Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel(), setViewLabel)
