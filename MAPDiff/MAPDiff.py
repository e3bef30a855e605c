"""MAPDiff in 3D Slicer: restores a low-dose PET volume dose by dose, each dose a volume, a slider through the doses."""

import sys
import time
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLDisplayableNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import MAPDiffLib.job
except ImportError:  # run from a checkout, where MAPDiffLib is the neighbour of this folder
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    import MAPDiffLib.job

from MAPDiffPanelLib import install, job_folder, layouts, sampledata, selftest
from MAPDiffPanelLib.optionssection import AUTO, OptionsSection
from MAPDiffPanelLib.resultsection import ResultSection
from MAPDiffPanelLib.run import FAILED, DenoiseRun, Listener
from MAPDiffPanelLib.runsection import RunSection
from MAPDiffPanelLib.scansection import ScanSection
from MAPDiffPanelLib.shortcuts import addShortcuts, removeShortcuts
from MAPDiffPanelLib.views import NO_LAYOUT

from MAPDiffLib.job import DEFAULT_BUNDLE, RESEARCH_USE, InputError, parse_dose

#
# MAPDiff
#


class MAPDiff(ScriptedLoadableModule):
    """What Slicer knows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "MAPDiff"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MAPDiff contributors"]
        self.parent.helpText = _(
            "Restores a low-dose PET volume with multi-anchor guided diffusion: one volume for each dose up to full "
            "dose, and a slider through them. Version {version}. {notice}"
        ).format(version=MAPDiffLib.__version__, notice=RESEARCH_USE)
        self.parent.acknowledgementText = _("The method follows MAP-Diff (arXiv 2603.02012).")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", job_folder.sweep)


#
# Register sample data sets in Sample Data module
#


def registerSampleData():
    """A simulated low-dose scan that comes with the module: nothing is downloaded."""
    sampledata.register()


#
# MAPDiffParameterNode
#


@parameterNodeWrapper
class MAPDiffParameterNode:
    """Every choice of the panel; a saved scene restores them. An empty text or 0 leaves a choice to the bundle."""

    inputVolume: vtkMRMLScalarVolumeNode
    inputDose: str = AUTO
    bundle: str = DEFAULT_BUNDLE
    doses: str = ""
    device: str = "auto"
    dosesAs: str = "mean"
    guard: str = "normal"
    strength: Annotated[int, WithinRange(0, 400)] = 0  # percent; 0: the bundle's own
    samples: Annotated[int, WithinRange(0, 64)] = 0
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    result: str = ""
    position: float = 0.0
    region: vtkMRMLDisplayableNode
    segment: str = ""
    formerLayout: int = NO_LAYOUT


#
# MAPDiffWidget
#


class MAPDiffWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: from the chosen scan to the Denoise button; what follows is in ResultSection."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self._parameterNode = self._parameterNodeGuiTag = None
        self.scan = self.options = self.run = self.results = None
        self._shortcuts = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MAPDiff.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MAPDiffLogic()
        self.ui.researchLabel.text = RESEARCH_USE
        self.scan = ScanSection(self.ui, self._followScene)
        self.options = OptionsSection(self.ui, self._checkCanApply)
        self.results = ResultSection(self.ui)
        self.run = RunSection(self.ui, self.logic, self._request, self.onStarted, self.onDose, self.onEnded)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onBatchEnd)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        slicer.app.connect("aboutToQuit()", self.onAboutToQuit)
        layouts.registerLayouts(scene)
        self.initializeParameterNode()
        if self.parent.isEntered:  # reloaded while it is shown: Slicer calls no enter()
            self.enter()

    def cleanup(self):
        """Called when the module is reloaded or Slicer quits: no process, no observer, no key is left."""
        slicer.app.disconnect("aboutToQuit()", self.onAboutToQuit)
        self.onAboutToQuit()
        self.setParameterNode(None)
        self.removeObservers()
        removeShortcuts(self._shortcuts)
        self.results.release()

    def onAboutToQuit(self):
        """Slicer quits with the module open."""
        self.run.stopNow()
        self.options.probe.stopNow()
        self.scan.release()
        self.results.measurements.release()
        self.results.restoreLayout()

    def enter(self):
        """Called each time the user opens the module."""
        self.initializeParameterNode()
        if not self._shortcuts:
            self._shortcuts = addShortcuts(slicer.util.mainWindow(), self.results)

    def exit(self):
        """Called each time the user opens another module: the keys are theirs again; a run goes on."""
        removeShortcuts(self._shortcuts)
        self.setParameterNode(None)

    def onReload(self):
        """The reload button renews this file alone; the parts have to be loaded anew as well."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("MAPDiffPanelLib", "MAPDiffLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        """The parameter node is about to go."""
        self.results.release()
        self.setParameterNode(None)
        if not self.run.busy:  # a run that is stopped by this says so itself
            self.run.say("")
            self.ui.progressBar.value = 0

    def onSceneChanged(self, caller, event):
        """A scene was closed or loaded: its own choices and results are shown."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def onBatchEnd(self, caller=None, event=None):
        """Many nodes may have come or gone."""
        self._followScene()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """Voxels, units and attributes follow."""
        self.scan.nodeAdded(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        """A volume that the results are made of may have gone."""
        if node.IsA("vtkMRMLScalarVolumeNode") and not node.GetHideFromEditors():
            self._followScene()

    def _followScene(self):
        """Scan and results, from the scene as it is."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.results.follow()
            self._checkCanApply()

    def initializeParameterNode(self):
        """The parameter node of the scene as it is; the first volume where none was chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self._followScene()

    def setParameterNode(self, parameterNode):
        """Connects the widgets to a parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        self.options.setParameters(parameterNode)
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()
        else:
            self.scan.release()
        self.results.setParameters(parameterNode)

    def _checkCanApply(self, caller=None, event=None):
        """The button and why it is grey; the facts of the scan, or why it cannot be restored."""
        if self._parameterNode is None:
            return
        self.scan.follow(self._parameterNode)
        self.options.follow()
        reason = ""
        try:
            self.scan.check(self._parameterNode.inputVolume)
            self.options.jobFields()
        except InputError as error:
            reason = str(error)
        self.run.allow(install.tooOld() or reason)

    def _request(self):
        """What a press of Denoise asks for; None while the panel is not shown."""
        if self._parameterNode is None:
            return None
        return self._parameterNode.inputVolume, self.options.jobFields()

    def onStarted(self):
        """The slider follows the newest dose again."""
        self.results.touched = False

    def onDose(self, dose, node):
        """A whole dose has come."""
        self.results.doseArrived(self.logic.run.resultID, dose)

    def onEnded(self):
        """A run or an installation is over, however."""
        if self.logic.run is not None:
            self.options.showAssumption(self.logic.run.inputFacts, self.logic.run.facts.node)
        self.results.refresh()
        self._checkCanApply()


#
# MAPDiffLogic
#


class MAPDiffLogic(ScriptedLoadableModuleLogic):
    """Restores volumes, for the panel and for the Python console; one run at a time.

    from MAPDiff import MAPDiffLogic
    nodes = MAPDiffLogic().denoise(volumeNode)              # {0.1: node, 0.25: node, 0.5: node, 1.0: node}
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.run = None

    def getParameterNode(self):
        """The choices of the panel, from the scene."""
        return MAPDiffParameterNode(super().getParameterNode())

    @property
    def running(self):
        """Whether a run is under way."""
        return self.run is not None and self.run.running

    def denoise(self, volumeNode, doses=None, inputDose=None, bundle=DEFAULT_BUNDLE, device="auto", samples=None,
                strength=None, seed=0, waitForCompletion=True, onDose=None, onProgress=None, onWarning=None,
                onFinished=None):  # fmt: skip
        """Restores a volume. Returns {dose: volume node}, all of them unless waitForCompletion is False.

        doses: fractions of full dose, None for all that the bundle knows; inputDose: None to assume 1/20; strength:
        from 0.5, faithful, to 4, smooth.
        onDose(dose, node), onProgress(fraction, text), onWarning(text), onFinished(outcome, message, details), the
        outcome "done", "cancelled" or "failed". Raises ValueError for what cannot work, RuntimeError when a run that
        is waited for fails.
        """
        fields = {"bundle": bundle, "device": device, "samples": samples, "strength": strength, "seed": seed}
        fields["doses"] = None if doses is None else tuple(parse_dose(dose) for dose in doses)
        fields["input_dose"] = None if inputDose is None else parse_dose(inputDose)
        callbacks = {"onDose": onDose, "onProgress": onProgress, "onWarning": onWarning, "onFinished": onFinished}
        listener = Listener()
        vars(listener).update({name: callback for name, callback in callbacks.items() if callback is not None})
        run = self.startRun(volumeNode, fields, listener)
        while waitForCompletion and run.running:
            slicer.app.processEvents()
            time.sleep(0.005)
        if waitForCompletion and run.outcome == FAILED:
            raise RuntimeError("\n".join(part for part in run.lastWords if part))
        return run.nodes

    def startRun(self, volumeNode, fields, listener):
        """A run with fields of MAPDiffLib.job.Job. RuntimeError while another one is under way."""
        if self.running:
            raise RuntimeError(_("A run is under way: wait for it or cancel it first."))
        self.run = DenoiseRun(volumeNode, fields, listener)
        self.run.start()
        return self.run

    def cancel(self):
        """Asks the run to stop; it ends within three seconds and keeps the doses that have arrived."""
        if self.running:
            self.run.cancel()

    def stopNow(self):
        """Ends the run at once, for quitting and reloading."""
        if self.running:
            self.run.stopNow()


#
# MAPDiffTest
#


class MAPDiffTest(selftest.PanelTest):
    """What "Reload and Test" runs."""
