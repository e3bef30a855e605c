"""The layout manager: view nodes by the real layout logic, a slice logic for each, arranged as the layout says."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .slice_widgets import SIZE, qMRMLSliceWidget


class qMRMLLayoutManager(QtCore.QObject):
    """Slice views only: a layout's 3-D, plot and table views are left blank."""

    layoutChanged = Signal(int)

    def __init__(self, scene, application_logic):
        import slicer
        import vtk

        super().__init__()
        self._scene, self._application_logic = scene, application_logic
        self._logics, self._widgets, self._known, self._held_volumes = vtk.vtkCollection(), {}, None, False
        self._viewport = QtWidgets.QWidget()
        self._viewport.setLayout(QtWidgets.QVBoxLayout())
        self._viewport.layout().setContentsMargins(0, 0, 0, 0)
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLScene(scene)
        self._node = self._layout_logic.GetLayoutNode()  # a fresh one is in layout 0, SlicerLayoutInitialView
        self._tags = [(self._node, self._node.AddObserver("ModifiedEvent", lambda *_: self._refresh()))]
        self._tags.append((scene, scene.AddObserver(scene.EndCloseEvent, lambda *_: self._refresh())))
        self._tags.append((scene, scene.AddObserver(scene.StartImportEvent, lambda *_: self._importing())))
        self._tags.append((scene, scene.AddObserver(scene.EndImportEvent, lambda *_: self._imported())))
        self._tags.append((scene, scene.AddObserver(scene.NodeAddedEvent, self._on_node_added())))
        self._refresh()

    def close(self):
        """Leaves the scene."""
        for source, tag in self._tags:
            source.RemoveObserver(tag)
        self._tags = []
        for widget in self._widgets.values():
            widget._logic.SetMRMLScene(None)

    def mrmlScene(self):
        return self._scene

    def mrmlSliceLogics(self):
        return self._logics

    def viewport(self):
        return self._viewport

    def sliceViewNames(self):
        return [node.GetLayoutName() for node in self._slice_nodes()]

    def sliceWidget(self, name):
        return self._widgets.get(name)

    def resetSliceViews(self):
        for name in self.sliceViewNames():
            self._widgets[name].fitSliceToBackground()

    def resetThreeDViews(self):
        pass

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def setLayout(self, layout):
        self._node.SetViewArrangement(layout)

    def _slice_nodes(self):
        views = self._layout_logic.GetViewNodes()
        nodes = map(views.GetItemAsObject, range(views.GetNumberOfItems()))
        return [node for node in nodes if node.IsA("vtkMRMLSliceNode")]

    def _on_node_added(self):
        import vtk

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(_scene, _event, node):
            """A view node is a view from the moment that it is in the scene, whether a layout shows it or not."""
            if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() and node.GetLayoutName() not in self._widgets:
                self._add_view(node)

        return added

    def _importing(self):
        self._held_volumes = self._scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") > 0

    def _imported(self):
        """What is imported into a scene that holds volumes leaves the views without any."""
        for widget in self._widgets.values() if self._held_volumes else ():
            widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(None)
            widget.mrmlSliceCompositeNode().SetForegroundVolumeID(None)
        self._refresh()

    def _refresh(self):
        arrangement = self._node.GetViewArrangement(), self._node.GetCurrentLayoutDescription()
        for node in self._slice_nodes():
            widget = self._widgets.get(node.GetLayoutName())
            if widget is None:
                self._add_view(node)
            elif widget.mrmlSliceNode() is not node:
                widget._logic.SetSliceNode(node)
        if arrangement != self._known:
            self._known = arrangement
            self._arrange(arrangement[1])
            self.layoutChanged.emit(arrangement[0])

    def _add_view(self, node):
        import slicer

        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application_logic)
        logic.SetMRMLScene(self._scene)
        logic.SetSliceNode(node)
        logic.ResizeSliceNode(SIZE, SIZE)
        QtCore.QTimer.singleShot(0, lambda: self._announce(logic))
        widget = qMRMLSliceWidget()
        widget.setObjectName(f"qMRMLSliceWidget{node.GetLayoutName()}")
        widget.attach(logic)
        self._widgets[node.GetLayoutName()] = widget

    def _announce(self, logic):
        """A new view is known to the application one turn of the event loop later: who fits it at once misses it."""
        self._logics.AddItem(logic)
        self._application_logic.SetSliceLogics(self._logics)

    # arrangement by the layout's XML

    def _arrange(self, description):
        for widget in self._widgets.values():
            widget.setParent(None)
        while self._viewport.layout().count():
            self._viewport.layout().takeAt(0).widget().deleteLater()
        if description:
            arranged = self._built(ElementTree.fromstring(description))
            self._viewport.layout().addWidget(arranged)
            arranged.show()

    def _built(self, element):
        if element.tag == "view":
            return self._view_of(element)
        if element.get("split") == "true":
            return self._splitter(element)
        box = QtWidgets.QWidget()
        if element.get("type") == "grid":
            layout = QtWidgets.QGridLayout(box)
        else:
            layout = (QtWidgets.QHBoxLayout if element.get("type") == "horizontal" else QtWidgets.QVBoxLayout)(box)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for item in element.findall("item"):
            inner = next((child for child in item if child.tag in ("view", "layout")), None)
            if inner is not None and element.get("type") == "grid":
                cell = [
                    int(item.get(key, default))
                    for key, default in (("row", 0), ("column", 0), ("rowspan", 1), ("colspan", 1))
                ]
                layout.addWidget(self._built(inner), *cell)
            elif inner is not None:
                layout.addWidget(self._built(inner), 1)
        for index in range(layout.count()):
            layout.itemAt(index).widget().show()
        return box

    def _splitter(self, element):
        """Keeps the sizes that its widgets had elsewhere, unless each item says its `splitSize`."""
        across = element.get("type") == "horizontal"
        splitter = QtWidgets.QSplitter(QtCore.Qt.Orientation.Horizontal if across else QtCore.Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        items = element.findall("item")
        for item in items:
            splitter.addWidget(self._built(next(child for child in item if child.tag in ("view", "layout"))))
        sizes = [int(item.get("splitSize", 0)) for item in items]
        if all(sizes):
            splitter.setSizes(sizes)
        for index in range(splitter.count()):
            splitter.widget(index).show()
        return splitter

    def _view_of(self, element):
        widget = self._widgets.get(element.get("singletontag", ""))
        if widget is not None and element.get("class") == "vtkMRMLSliceNode":
            return widget
        blank = QtWidgets.QLabel(element.get("class", "").removeprefix("vtkMRML"))
        blank.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        blank.setStyleSheet("background: #9caed1")
        return blank

    layout = Property(int, lambda self: self._node.GetViewArrangement(), setLayout)
    threeDViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)
