"""slicer.dicomDatabase, and a volume as Slicer's scalar volume plugin loads a PET series: in Bq/mL, without units."""

from __future__ import annotations

from pathlib import Path


class DicomDatabase:
    """ctkDICOMDatabase of imported folders; "" for an instance that is not in it, as the real one has it."""

    def __init__(self):
        self._files: dict[str, str] = {}

    def import_folder(self, folder) -> list:
        """The test's part: the headers of the folder's slices, sorted by position."""
        import pydicom

        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(Path(folder).iterdir())]
        self._files |= {str(header.SOPInstanceUID): str(header.filename) for header in headers}
        return sorted(headers, key=lambda header: float(header.ImagePositionPatient[2]))

    def fileForInstance(self, uid):
        return self._files.get(uid, "")


def load_series(scene, database, folder):
    """A volume node of an axial series: units are set for CT and MR only, the instances are named in an attribute."""
    import SimpleITK
    import slicer
    import vtk

    headers = database.import_folder(folder)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(header.filename) for header in headers])
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    image = reader.Execute()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{headers[0].SeriesNumber}: {headers[0].Modality}")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(str(header.SOPInstanceUID) for header in headers))
    slicer.util.updateVolumeFromArray(node, SimpleITK.GetArrayFromImage(image))
    lps_to_ras = vtk.vtkMatrix4x4()
    for row in range(2):
        lps_to_ras.SetElement(row, row, -1)
    node.SetIJKToRASDirectionMatrix(lps_to_ras)
    node.SetSpacing(*image.GetSpacing())
    x, y, z = image.GetOrigin()
    node.SetOrigin(-x, -y, z)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLPETProceduralColorNodePET-Heat")
    return node
