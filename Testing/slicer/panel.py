"""What the panel's tests share: a scan with everything a result must take over, a small model, the opened panel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MODULE = "MAPDiff/MAPDiff.py"
SPACING, ORIGIN = (8.1, 7.9, 25 / 3), (1 / 3, 2 / 7, -100 / 11)


def scan_voxels() -> np.ndarray:
    """[24, 22, 20]: a warm cylinder with a hot ball and noise."""
    z, y, x = np.mgrid[:24, :22, :20] + 0.5
    voxels = ((y - 11) ** 2 + (x - 10) ** 2 < 64).astype(np.float32)
    voxels[(z - 16) ** 2 + (y - 11) ** 2 + (x - 8) ** 2 < 9] = 4
    return voxels * (1 + 0.15 * np.random.default_rng(0).standard_normal(voxels.shape).astype(np.float32))


def make_volume(scene, voxels, name="PET"):
    """A scalar volume node with these voxels [z, y, x], nothing else set."""
    import slicer
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(voxels.shape))
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    node.SetAndObserveImageData(image)
    slicer.util.arrayFromVolume(node)[:] = voxels
    node.CreateDefaultDisplayNodes()
    return node


def make_scan(scene, name="PET", study=True):
    """An oblique, anisotropic scan in SUV under a rotated transform, in a study, with its own window and colours."""
    import slicer
    import vtk

    node = make_volume(scene, scan_voxels(), name)
    oblique = vtk.vtkTransform()
    oblique.RotateWXYZ(37, 0.3, 0.5, 0.8)
    node.SetIJKToRASDirectionMatrix(oblique.GetMatrix())
    node.SetSpacing(SPACING)
    node.SetOrigin(ORIGIN)
    quantity = "CodeValue:126400|CodingSchemeDesignator:DCM|CodeMeaning:Standardized Uptake Value"
    units = "CodeValue:{SUVbw}g/ml|CodingSchemeDesignator:UCUM|CodeMeaning:SUV body weight"
    for text, setter in ((quantity, node.SetVoxelValueQuantity), (units, node.SetVoxelValueUnits)):
        entry = slicer.vtkCodedEntry()
        entry.SetFromString(text)
        setter(entry)
    turn = vtk.vtkTransform()
    turn.RotateX(20)
    turn.Translate(5, 6, 7)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(turn.GetMatrix())
    node.SetAndObserveTransformNodeID(transform.GetID())
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(6.5, 3.25)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    if study:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
        item = hierarchy.CreateStudyItem(patient, "study")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), item)
    return node


def make_result(scene, scan, doses=(0.1, 0.25, 0.5, 1.0), resultID="one", inputDose=0.05, factor=None, complete=True):
    """Result volumes as a run leaves them, without a run: voxels of the scan times `factor(dose)`."""
    import slicer
    from MAPDiffPanelLib import outputs
    from MAPDiffPanelLib.scan import ScanFacts

    nodes, facts = {}, ScanFacts(scan)
    for dose in doses:
        loaded = outputs.LoadedVolume(facts)
        loaded.image.DeepCopy(scan.GetImageData())
        title, figures = f"{scan.GetName()} MAPDiff", {"guard_drift": 0.02}
        attributes = outputs.doseAttributes(resultID, title, dose, inputDose, figures)
        nodes[dose] = finished(loaded.addTo(scene, outputs.doseName(scan.GetName(), dose), attributes))
        nodes[dose].SetAttribute(outputs.COMPLETE, "1" if complete else "0")
        slicer.util.arrayFromVolume(nodes[dose])[:] *= factor(dose) if factor else 1 + dose
    return nodes


def make_compared(panel, application):
    """The panel, its scan and the doses of a result; no voxel lies outside the window: mixed greys are greys."""
    scan = panel._parameterNode.inputVolume
    composites()["Red"].SetBackgroundVolumeID(scan.GetID())
    nodes = make_result(application.scene, scan, factor=lambda dose: 0.5 + 0.5 * dose)
    scan.GetDisplayNode().SetWindowLevel(20, 8)
    panel.results.refresh()
    panel.ui.resultSelector.setCurrentIndex(0)
    panel.ui.oneButton.click()
    application.layout_manager.resetSliceViews()
    return panel, scan, nodes


def composites() -> dict:
    """Slice composite nodes by the name of their view."""
    import slicer
    from MAPDiffPanelLib import layouts

    return layouts.compositeNodes(slicer.mrmlScene)


def slice_nodes() -> dict:
    """Slice nodes of the comparison views by their number."""
    import slicer
    from MAPDiffPanelLib import layouts

    nodes = layouts.sliceNodes(slicer.mrmlScene)
    return {int(name[len("MAPDiff") :]): node for name, node in nodes.items() if layouts.isOurs(name)}


def corners(*numbers) -> list[str]:
    """What stands in the pictures of comparison views."""
    from MAPDiffPanelLib.corners import cornerText

    return [cornerText(f"MAPDiff{number}") for number in numbers]


def backgrounds(*numbers) -> list:
    """The IDs of the volumes that comparison views show."""
    return [composites()[f"MAPDiff{number}"].GetBackgroundVolumeID() for number in numbers]


def press(panel, button) -> None:
    """A click, and the turns of the event loop until the views stand."""
    from Testing.slicer import standin

    button.click()
    assert standin.pump(lambda: not panel.results.views.busy and not panel.results.tasks.busy)
    standin.turns()


def window_in_front():
    """The main window, raw, once the keyboard's keys go to it."""
    import slicer

    from Testing.slicer import standin

    window = slicer.util.mainWindow()._raw
    window.activateWindow()
    assert standin.pump(window.isActiveWindow)
    return window


def open_panel(application, monkeypatch, bundles):
    """The panel with the tiny model chosen; bundles: the folder that holds it."""
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(bundles))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    widget = application.open_module(MODULE)
    widget._parameterNode.bundle = "tiny"
    widget.options.refresh()
    return widget


def load_parts(application, monkeypatch, bundles):
    """The module loaded without its panel; its logic."""
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(bundles))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    application.load_module(MODULE)
    import MAPDiff

    return MAPDiff.MAPDiffLogic()


def replace_worker(monkeypatch, folder, script):
    """Another program in the place of PythonSlicer; it starts in the job's folder."""
    from MAPDiffPanelLib import process

    program = folder / "PythonSlicer"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(process, "pythonExecutable", lambda: str(program))


def body_voxels() -> np.ndarray:
    """[256, 128, 128]: a noisy cylinder, the size of a whole-body scan."""
    z, y, x = np.ogrid[:256, :128, :128]
    body = ((y - 64) ** 2 + (x - 64) ** 2 < 40**2) & (z > 20) & (z < 230)
    return (body * np.random.default_rng(0).gamma(20, 1 / 20, body.shape) + 0.001).astype(np.float32)


def finished(work):
    """What a generator of the panel returns, once it has gone through all its steps."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value


def pieces_of(work) -> int:
    """Into how many pieces a generator of the panel divides its work."""
    return sum(1 for _piece in work)


def geometry_of(node) -> list[float]:
    """IJKToRAS, all 16 numbers, then spacing and origin, which the matrix alone does not give back to the last bit."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    numbers = [matrix.GetElement(row, column) for row in range(4) for column in range(4)]
    return [*numbers, *node.GetSpacing(), *node.GetOrigin()]


def result_nodes(scene) -> list:
    """Every volume that a run has added."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode") for index in range(count)]
    return [node for node in nodes if node.GetAttribute("MAPDiff.Result")]


def leftovers(application) -> list[str]:
    """Job folders in the application's temporary folder."""

    import slicer

    return sorted(path.name for path in Path(slicer.app.temporaryPath).glob("MAPDiff-*"))
