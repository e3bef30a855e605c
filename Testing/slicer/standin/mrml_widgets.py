"""qMRML's widgets in PySide6 on the real MRML scene: node selectors and the widget that knows the scene."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .scene_events import SceneEvents
from .slice_widgets import qMRMLSliceControllerWidget, qMRMLSliceView, qMRMLSliceWidget  # noqa: F401
from .stored import stored


class qMRMLWidget(QtWidgets.QWidget):
    """Passes the scene on to its children, by the connections of the .ui file."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


def _rebuild(selector):
    selector._rebuild()


class qMRMLSortFilterProxyModel(QtCore.QObject):
    """What a node selector leaves out beyond types and attributes."""

    hiddenNodeIDs = stored("QStringList", "hiddenNodeIDs", [], lambda self: self.parent()._rebuild())


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A node of the scene, by type and attributes. Disabled until it has a scene; selects nothing by itself."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    nodeTypes = stored("QStringList", "nodeTypes", [], _rebuild)
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], _rebuild)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, _rebuild)
    showHidden = stored(bool, "showHidden", False, _rebuild)
    noneEnabled = stored(bool, "noneEnabled", False, _rebuild)
    noneDisplay = stored(str, "noneDisplay", "None", _rebuild)
    baseName = stored(str, "baseName", "")
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    addEnabled = stored(bool, "addEnabled", True)
    removeEnabled = stored(bool, "removeEnabled", True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    sizeAdjustPolicy = stored(int, "sizeAdjustPolicy", 0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._node_id = None, ""
        self._events = SceneEvents()
        self._combo = QtWidgets.QComboBox()
        self._combo.setMinimumContentsLength(12)
        self._filter = qMRMLSortFilterProxyModel(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo)
        self.setEnabled(False)
        self._combo.activated.connect(self._chosen)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        self._events.observe(scene, self._added, self._removing, self._rebuild)
        self.setEnabled(scene is not None)
        self._rebuild()

    # which nodes

    def nodes(self):
        """The nodes that can be selected, in the order of the scene."""
        count = self._scene.GetNumberOfNodes() if self._scene else 0
        return [node for node in map(self._scene.GetNthNode, range(count)) if self._accepts(node)] if count else []

    def _accepts(self, node):
        kinds = [kind for kind in self.nodeTypes if node.IsA(kind)]
        if self.nodeTypes and not kinds or any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        if self.nodeTypes and not self.showChildNodeTypes and node.GetClassName() not in self.nodeTypes:
            return False
        if node.GetHideFromEditors() and not self.showHidden or node.GetID() in self._filter.hiddenNodeIDs:
            return False
        return True

    # what is selected

    def currentNode(self):
        node = self._scene.GetNodeByID(self._node_id) if self._scene and self._node_id else None
        return node if node is not None and self._accepts(node) else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id):
        known = {node.GetID() for node in self.nodes()}
        node_id = node_id if node_id in known else ""
        if node_id != self._node_id:
            self._node_id = node_id
            self._show()
            node = self.currentNode()
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(node_id)

    def sortFilterProxyModel(self):
        return self._filter

    def nodeCount(self):
        return len(self.nodes())

    # following the scene

    def _added(self, node):
        if self._accepts(node):
            self._show()
            self.nodeAdded.emit(node)

    def _removing(self, node):
        if not self._accepts(node):
            return
        self.nodeAboutToBeRemoved.emit(node)
        nodes = self.nodes()
        if node.GetID() == self._node_id:  # a combo box goes on to a neighbouring row
            row = [each.GetID() for each in nodes].index(node.GetID())
            if self.noneEnabled:
                left = [None, *nodes][row]
            else:
                left = nodes[row + 1] if row + 1 < len(nodes) else nodes[row - 1] if row else None
            self.setCurrentNode(left)
        self._show(without=node)
        self._events.forget(node)

    def _rebuild(self):
        if self._node_id and self.currentNode() is None:
            self.setCurrentNodeID("")
        self._show()

    def _show(self, without=None):
        self._combo.blockSignals(True)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in self.nodes():
            if node is not without:
                self._combo.addItem(node.GetName(), node.GetID())
                self._events.follow_name(node, self._renamed)
        self._combo.setCurrentIndex(self._combo.findData(self._node_id))
        self._combo.blockSignals(False)

    def _renamed(self, node):
        row = self._combo.findData(node.GetID())
        if row >= 0 and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName())
            if node.GetID() == self._node_id:
                self.currentNodeRenamed.emit(node.GetName())

    def _chosen(self, row):
        self.setCurrentNodeID(self._combo.itemData(row) or "")
        self.nodeActivated.emit(self.currentNode())

    currentNodeID = Property(str, lambda self: self._node_id, setCurrentNodeID)
