"""Slices of a DICOM series, oblique, each with a slope of its own; tests without pydicom are skipped."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
uid = pydicom.uid

COUNT, ROWS, COLUMNS = 6, 36, 44
OBLIQUE = [0.8, 0.6, 0.0, -0.48, 0.64, 0.6]  # row and column direction
NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])
ORIGIN, STEP_MM = np.array([-100.5, 20.25, 7.0]), 3.5
CLASSES = {"PT": uid.PositronEmissionTomographyImageStorage, "CT": uid.CTImageStorage, "MR": uid.MRImageStorage}


def stored(index):
    """Stored integers of a slice, signed."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 10 + index - 3).astype(np.int16)


def slope(index):
    """A whole number first: what the first slice holds must not decide how the others are read."""
    return 1.0 if index == 0 else 0.25 + 0.5 * index


def dicom_slice(index, series="1.2.3.4", modality="PT", intercept=0.0, **changes):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", series, modality
    data.PatientName, data.PatientID, data.PatientWeight = "Secret^Name", "SECRET-ID", "71.0"
    data.Manufacturer, data.ManufacturerModelName, data.SeriesDescription = "Maker", "Model 1", f"{modality} series"
    data.Units, data.DecayCorrection, data.InstanceNumber = "BQML", "START", 1
    item = pydicom.Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = "3.5E8", "6588.0"
    data.RadiopharmaceuticalInformationSequence = [item]
    data.ImagePositionPatient = [f"{value:.10g}" for value in ORIGIN + STEP_MM * index * NORMAL]
    data.ImageOrientationPatient, data.PixelSpacing = OBLIQUE, [4.0, 2.5]  # between rows (y), between columns (x)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = slope(index), intercept
    data.PixelData = stored(index).tobytes()
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def save(data, path):
    data.save_as(path, enforce_file_format=True)
    return data
