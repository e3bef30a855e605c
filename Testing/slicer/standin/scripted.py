"""slicer.ScriptedLoadableModule: the four base classes, with the behaviour that modules lean on."""

from __future__ import annotations

import importlib
import os
import unittest


class ScriptedLoadableModule:
    def __init__(self, parent):
        import slicer

        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        slicer.selfTests[self.moduleName] = self.runTest
        icon = self.resourcePath(f"Icons/{self.moduleName}.png")
        if os.path.isfile(icon):
            import qt

            parent.icon = qt.QIcon(icon)

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def runTest(self, msec=100, **kwargs):
        case = getattr(importlib.import_module(self.__module__), self.moduleName + "Test")()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        import qt
        import slicer

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        import slicer

        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self):
        pass

    def cleanup(self):
        pass

    def onReload(self):
        import slicer

        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName):
        import slicer

        if moduleName == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        import slicer

        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)  # closing the scene may have taken it
                return node
        found = [] if self.isSingletonParameterNode else self.getAllParameterNodes()
        return found[0] if found else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        import slicer

        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.messageDelay = 100

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        import slicer

        slicer.util.delayDisplay(message, 0)

    def runTest(self):
        pass


__all__ = ["ScriptedLoadableModule", "ScriptedLoadableModuleWidget", "ScriptedLoadableModuleLogic",
           "ScriptedLoadableModuleTest"]  # fmt: skip
