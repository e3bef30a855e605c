"""The scene's events for a widget: nodes added, removed and renamed, scene closed or loaded."""

from __future__ import annotations

import weakref

_all: weakref.WeakSet = weakref.WeakSet()


class SceneEvents:
    """Observes one scene at a time; leaves it when another is given or the stand-in is removed."""

    def __init__(self):
        self._tags = []
        _all.add(self)

    def observe(self, scene, added, removing, rebuilt):
        """Calls added(node), removing(node) and rebuilt(); nothing while a batch (loading, closing) is under way."""
        import slicer
        import vtk

        self.leave()
        if scene is None:
            return

        def on_node(action):
            @vtk.calldata_type(vtk.VTK_OBJECT)
            def handle(caller, event, node):
                if not caller.IsBatchProcessing():
                    action(node)

            return handle

        self._add(scene, slicer.vtkMRMLScene.NodeAddedEvent, on_node(added))
        self._add(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, on_node(removing))
        for event in (
            slicer.vtkMRMLScene.EndBatchProcessEvent,
            slicer.vtkMRMLScene.EndCloseEvent,
            slicer.vtkMRMLScene.EndImportEvent,
        ):
            self._add(scene, event, lambda caller, event: rebuilt())

    def follow_name(self, node, changed):
        """Calls changed(node) when a node is modified; once for each node."""
        if any(found is node for found, _ in self._tags):
            return
        self._add(node, "ModifiedEvent", lambda caller, event: changed(caller))

    def forget(self, node):
        """Lets go of a node that leaves the scene."""
        for source, tag in [each for each in self._tags if each[0] is node]:
            source.RemoveObserver(tag)
            self._tags.remove((source, tag))

    def _add(self, source, event, handle):
        self._tags.append((source, source.AddObserver(event, handle)))

    def leave(self):
        for source, tag in self._tags:
            source.RemoveObserver(tag)
        self._tags = []


def leave_all():
    """Ends every observation, so that nothing of a removed stand-in is called again."""
    for events in list(_all):
        events.leave()
