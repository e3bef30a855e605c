"""PET series as three vendors write them, complete by the PET IOD, of any voxels; for tests only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

VENDORS = ("GE", "Siemens", "Philips")
HALF_LIFE_S, DOSE_BQ, WEIGHT_KG = 6588.0, 3.5e8, 70.0
FACTOR = 1000 * WEIGHT_KG / (DOSE_BQ * 2 ** (-3600 / HALF_LIFE_S))  # injected 10:00, corrected to 11:00
PHILIPS_FACTOR = 0.00075


def write_series(folder: Path, vendor: str, voxels: np.ndarray, spacing_mm=(4.0, 4.0, 3.0)) -> Path:
    """Slices [z, y, x], head first, z rising; one file each. The names do not tell the order."""
    from pydicom.uid import generate_uid

    folder.mkdir()
    uids = {name: generate_uid(prefix=None) for name in ("study", "series", "frame")}
    for index, values in enumerate(voxels):
        data = _slice(index, len(voxels), values, spacing_mm, uids)
        globals()[f"_as_{vendor.lower()}"](data, values, float(voxels.max()))
        data.save_as(folder / f"{(index * 7) % len(voxels):03d}-{index}.dcm", enforce_file_format=True)
    return folder


def _slice(index, count, values, spacing_mm, uids):
    """What all have in common; times in a scan of one bed a slice, the feet last."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

    data, meta = Dataset(), FileMetaDataset()
    data.file_meta = meta
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = data.SOPClassUID = PositronEmissionTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(prefix=None)
    data.StudyInstanceUID, data.SeriesInstanceUID = uids["study"], uids["series"]
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = uids["frame"], ""
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Doe^Jane", "P-1", "19600101", "F"
    data.PatientWeight, data.PatientSize = str(WEIGHT_KG), "1.7"
    data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "1", "A1", ""
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200301"
    data.StudyTime, data.SeriesTime, data.ContentTime = "095000", "110000", "120000"
    bed = count - 1 - index
    data.AcquisitionTime = f"11{2 * bed // 60:02d}{2 * bed % 60:02d}.00"
    data.Modality, data.SeriesNumber, data.SeriesDescription = "PT", "4", "WB AC"
    data.ImageType, data.InstanceNumber, data.AcquisitionNumber = ["ORIGINAL", "PRIMARY"], str(count - index), ""
    data.SeriesType, data.CountsSource, data.NumberOfSlices = ["STATIC", "IMAGE"], "EMISSION", count
    data.CollimatorType, data.ReconstructionMethod, data.RandomsCorrectionMethod = "NONE", "OSEM", "DLYD"
    data.CorrectedImage, data.DecayCorrection, data.Units = ["ATTN", "DECY", "SCAT"], "START", "BQML"
    data.AttenuationCorrectionMethod, data.ScatterCorrectionMethod = "CT", "SSS"
    data.FrameReferenceTime, data.ActualFrameDuration, data.ImageIndex = str(2000 * bed + 1000), "2000", index + 1
    data.DecayFactor, data.ScatterFractionFactor, data.DeadTimeFactor = "1.01", "0.3", "1"
    data.RadiopharmaceuticalInformationSequence = [_injection()]
    _place(data, index, values, spacing_mm)
    return data


def _injection():
    from pydicom import Dataset

    item, nuclide, drug = Dataset(), Dataset(), Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = str(DOSE_BQ), str(HALF_LIFE_S)
    item.RadiopharmaceuticalStartTime, item.Radiopharmaceutical = "100000", "FDG"
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "77004003", "SCT", "^18^Fluorine"
    drug.CodeValue, drug.CodingSchemeDesignator = "35321007", "SCT"
    drug.CodeMeaning = "Fluorodeoxyglucose F^18^"
    item.RadionuclideCodeSequence, item.RadiopharmaceuticalCodeSequence = [nuclide], [drug]
    return item


def _place(data, index, values, spacing_mm):
    """How the patient lies, where the slice is, and the form of its pixels."""
    from pydicom import Dataset

    for name, value, meaning in (
        ("PatientOrientationCodeSequence", "102538003", "recumbent"),
        ("PatientGantryRelationshipCodeSequence", "102540008", "headfirst"),
    ):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
        if name == "PatientOrientationCodeSequence":
            posture = Dataset()
            posture.CodeValue, posture.CodingSchemeDesignator, posture.CodeMeaning = "40199007", "SCT", "supine"
            code.PatientOrientationModifierCodeSequence = [posture]
        setattr(data, name, [code])
    x_mm, y_mm, z_mm = spacing_mm
    data.ImagePositionPatient = ["-100.5", "-90.25", f"{-500 + z_mm * index:g}"]
    data.ImageOrientationPatient, data.PixelSpacing = ["1", "0", "0", "0", "1", "0"], [f"{y_mm:g}", f"{x_mm:g}"]
    data.SliceThickness, data.SliceLocation = f"{z_mm:g}", f"{-500 + z_mm * index:g}"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15


def _set_pixels(data, values, slope, signed):
    from pydicom.valuerep import format_number_as_ds

    data.RescaleSlope, data.RescaleIntercept = format_number_as_ds(slope), "0"
    data.PixelRepresentation = int(signed)
    stored = np.rint(values / float(data.RescaleSlope)).astype("<i2" if signed else "<u2")
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"


def _as_ge(data, values, top):
    """A slope a slice, implicit VR, processed hours later: only GE's own time says when the scan began."""
    from pydicom.uid import ImplicitVRLittleEndian

    data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = "GE MEDICAL SYSTEMS", "Discovery", "36.14"
    data.SeriesTime = "163000"
    block = data.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20200301110000.00")
    block.add_new(0x03, "LO", "of no use afterwards")
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    _set_pixels(data, values, (float(values.max()) or 1.0) / 32767, signed=True)


def _as_siemens(data, values, top):
    """Unsigned values, a third value of the image type, a time zone, a padding value, a compressed transfer syntax."""
    from pydicom import Dataset
    from pydicom.uid import RLELossless

    data.Manufacturer, data.ManufacturerModelName = "SIEMENS", "Biograph128_Vision Quadra"
    data.SoftwareVersions = ["VR10A", "syngo"]
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.TimezoneOffsetFromUTC = "+0100"
    data.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20200301100000.000000"
    data.RescaleType = "BQML"
    data.private_block(0x0071, "SIEMENS MED PT", create=True).add_new(0x21, "UI", "1.2.3")
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 1.0, 0.0
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 65535
    mapping.LUTExplanation, mapping.LUTLabel = "BQML", "BQML"
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "Bq/ml", "UCUM", "Becquerels/milliliter"
    mapping.MeasurementUnitsCodeSequence = [unit]
    data.RealWorldValueMappingSequence = [mapping]
    _set_pixels(data, values, (float(values.max()) or 1.0) / 65535, signed=False)
    data.add_new("SmallestImagePixelValue", "US", 0)
    data.add_new("LargestImagePixelValue", "US", 65535)
    data.compress(RLELossless, generate_instance_uid=False)


def _as_philips(data, values, top):
    """Counts, with Philips's own factor to SUV; one slope for all slices; no series number."""
    data.Manufacturer, data.ManufacturerModelName = "Philips Medical Systems", "GEMINI TF"
    data.Units, data.SeriesNumber = "CNTS", None
    block = data.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", str(PHILIPS_FACTOR))
    block.add_new(0x03, "OB", b"of no use afterwards")
    _set_pixels(data, values, top / 32767, signed=True)
