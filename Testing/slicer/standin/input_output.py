"""slicer.app.coreIOManager(): volumes and scenes by MRML's own storage, for slicer.util.loadVolume and saveScene."""

from __future__ import annotations

import os
import tempfile


class InputOutput:
    """Knows VolumeFile, SceneFile and whatever has a default storage node."""

    def __init__(self, scene, folder):
        self._scene, self._folder = scene, folder  # where an .mrb is unpacked

    def fileType(self, path):
        return "SceneFile" if str(path).endswith((".mrml", ".mrb")) else "VolumeFile"

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def loadNodes(self, file_type, properties, loaded=None, messages=None):
        path = properties["fileName"]
        if not os.path.exists(path):
            return False
        if file_type == "SceneFile":
            if properties.get("clear", True):
                self._scene.Clear(False)
            if str(path).endswith(".mrb"):
                path = self._scene.UnpackSlicerDataBundle(path, tempfile.mkdtemp(dir=self._folder))
            self._scene.SetURL(path)
            return bool(self._scene.Import())
        import slicer

        logic = slicer.modules.volumes.logic()
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        node = logic.AddArchetypeVolume(path, name, 1 if properties.get("labelmap") else 0)
        if node and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, file_type, properties, messages=None):
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path)
        node = self._scene.GetNodeByID(properties["nodeID"])
        return self._save_node(node, path)

    def _save_scene(self, path):
        """An .mrb, or a .mrml file with its nodes' data beside it."""
        if path.endswith(".mrb"):
            return bool(self._scene.WriteToMRB(path))
        if not path.endswith(".mrml"):
            raise NotImplementedError(f"the stand-in saves a scene as .mrb or .mrml only: {path}")
        folder = os.path.dirname(path)
        self._scene.SetURL(path)
        self._scene.SetRootDirectory(folder)
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            if node.IsA("vtkMRMLStorableNode") and node.GetSaveWithScene() and not node.GetHideFromEditors():
                extension = {"vtkMRMLTableNode": ".tsv"}.get(node.GetClassName(), "")
                storage = node.GetStorageNode() or (node.AddDefaultStorageNode() and None) or node.GetStorageNode()
                if storage is not None:
                    extension = extension or "." + storage.GetDefaultWriteFileExtension()
                    self._save_node(node, os.path.join(folder, f"{node.GetID()}{extension}"))
        return bool(self._scene.Commit(path))

    def _save_node(self, node, path):
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is None:
            return False
        storage.SetFileName(path)
        return bool(storage.WriteData(node))
