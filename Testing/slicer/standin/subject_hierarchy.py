"""The subject hierarchy as the application keeps it: a node that users see has an item from the moment it is added."""

from __future__ import annotations

from .scene_events import SceneEvents

SHOWN = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLSequenceBrowserNode")


class SubjectHierarchy:
    """Adds and removes items as nodes come and go."""

    def __init__(self, scene):
        import slicer

        self._scene, self._class = scene, slicer.vtkMRMLSubjectHierarchyNode
        self._events = SceneEvents()
        self._events.observe(scene, self._added, self._removing, self._complete)
        self._class.GetSubjectHierarchyNode(scene)

    def _node(self):
        return self._class.GetSubjectHierarchyNode(self._scene)

    def _added(self, node):
        if not node.GetHideFromEditors() and any(node.IsA(kind) for kind in SHOWN):
            hierarchy = self._node()
            if hierarchy.GetItemByDataNode(node) == hierarchy.GetInvalidItemID():
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _removing(self, node):
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = self._node()
        item = hierarchy.GetItemByDataNode(node)
        if item != hierarchy.GetInvalidItemID():
            hierarchy.RemoveItem(item, False, False)

    def _complete(self):
        for index in range(self._scene.GetNumberOfNodes()):
            self._added(self._scene.GetNthNode(index))
