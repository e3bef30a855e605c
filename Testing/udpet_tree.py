"""Small synthetic UDPET data in both layouts and in the test set's form; for tests only."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid

from MAPDiffLib.scan.volume import Volume, write_volume

SHAPE, SPACING_MM = (12, 24, 28), (10.0, 10.0, 26.0)  # z, y, x; x, y, z
FACTORS = (1, 2, 4, 10, 20, 50, 100)
BERN = {1: "Full_dose", **{f: f"1-{f} dose" for f in FACTORS[1:]}}
SHANGHAI = {1: "2.886 x 600 WB NORMAL", **{f: f"2.886 x 600 WB D{f}" for f in FACTORS[2:]}}
SHANGHAI_DRF = {1: "2.886 x 600 WB normal", **{f: f"2.886 x 600 WB DRF_{f}" for f in FACTORS[2:]}}
WEIGHT_KG, INJECTED_BQ, HALF_LIFE_S, WAITED_S = 11.0, 60e6, 6588.0, 3600
SUV_FACTOR = 1000 * WEIGHT_KG / (INJECTED_BQ * 0.5 ** (WAITED_S / HALF_LIFE_S))


@dataclass(frozen=True)
class Person:
    """What the headers of one subject say."""

    number: int = 0
    model: str = "Biograph128_Vision Quadra Edge"
    weight_kg: float = WEIGHT_KG
    tracer: str = "Fluorodeoxyglucose"
    nuclide: str = "^18^Fluorine"
    half_life_s: float = HALF_LIFE_S
    compressed: bool = False


def suv(number: int, factor: int) -> np.ndarray:
    """SUV [z, y, x]: an elliptic cylinder with two organs; the noise rises as the dose falls."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    truth = 0.8 * (((y - 11.5) / 9) ** 2 + ((x - 13.5) / 12) ** 2 < 1) * ((z > 0) & (z < 11))
    truth[4 * (z - 7) ** 2 + (y - 11) ** 2 + (x - 9 - number % 3) ** 2 < 9] = 2.0
    truth[4 * (z - 4) ** 2 + (y - 13) ** 2 + (x - 18) ** 2 < 5] = 5.0
    noise = np.random.default_rng([number, factor]).standard_normal(SHAPE)
    return np.maximum(truth * (1 + 0.03 * np.sqrt(factor) * noise), 0).astype(np.float32)


def write_series(folder: Path, voxels: np.ndarray, person: Person, extension: str = ".dcm", shift_mm: float = 0.0):
    """A PET series in Bq/mL, corrected to its start, one hour after injection."""
    folder.mkdir(parents=True)
    series, activity = uid.generate_uid(), voxels / SUV_FACTOR
    slope = float(activity.max()) / 32000
    for index, plane in enumerate(activity):
        data = _slice(person, series, index, shift_mm)
        data.RescaleSlope, data.RescaleIntercept = f"{slope:.10g}", 0
        data.PixelData = np.round(plane / float(data.RescaleSlope)).astype(np.int16).tobytes()
        if person.compressed:
            data.compress(uid.RLELossless)
        data.save_as(folder / f"{index:08d}{extension}", enforce_file_format=True)


def _slice(person: Person, series: str, index: int, shift_mm: float) -> pydicom.Dataset:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = uid.PositronEmissionTomographyImageStorage, uid.generate_uid()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", series, "PT"
    data.PatientName, data.PatientID, data.PatientWeight = "Secret", f"SECRET-{person.number}", person.weight_kg
    data.Manufacturer, data.ManufacturerModelName = "Maker", person.model
    data.Units, data.DecayCorrection, data.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
    data.SeriesDate = data.AcquisitionDate = "20230201"
    data.SeriesTime = data.AcquisitionTime = "110000"
    data.FrameReferenceTime, data.ActualFrameDuration = "0", "300000"
    item, nuclide = pydicom.Dataset(), pydicom.Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "C-1", "SRT", person.nuclide
    item.Radiopharmaceutical, item.RadionuclideCodeSequence = person.tracer, [nuclide]
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = f"{INJECTED_BQ:g}", f"{person.half_life_s:g}"
    item.RadiopharmaceuticalStartTime = "100000"
    data.RadiopharmaceuticalInformationSequence = [item]
    data.ImagePositionPatient = [-140 + shift_mm, -120, SPACING_MM[2] * index]
    data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], list(SPACING_MM[:2])
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = *SHAPE[1:], 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.InstanceNumber = index + 1
    return data


def bern_subject(root: Path, name: str, person: Person, folders: dict[int, str] = BERN) -> Path:
    """Subject_X-Y/<name>/{Full_dose, ...}/*.IMA."""
    folder = root / "Subject_1-9" / name
    for factor, dose_name in folders.items():
        write_series(folder / dose_name, suv(person.number, factor), person, ".IMA")
    return folder


def shanghai_subject(root: Path, name: str, person: Person, folders: dict[int, str] = SHANGHAI) -> Path:
    """PART1/<name>/{2.886 x 600 WB NORMAL, ...}/*.dcm, compressed."""
    person = replace(person, model="uEXPLORER", compressed=True)
    folder = root / "PART1" / name
    for factor, dose_name in folders.items():
        write_series(folder / dose_name, suv(person.number, factor), person)
    return folder


def write_test_set(
    root: Path, factors: tuple[int, ...] = (100, 20, 4), names: tuple[str, ...] = ("Anonymous-01",)
) -> Path:
    """NIfTI in Bq/mL and PET_info.csv; factor 1 is called NORMAL. Returns the table's path."""
    root.mkdir(parents=True)
    lines = []
    for number, name in enumerate(names):
        for factor in factors:
            file = f"{name}_DRF-{factor}.nii.gz" if factor > 1 else f"{name}_NORMAL.nii.gz"
            write_volume(Volume(suv(number, factor) / SUV_FACTOR, SPACING_MM, (1.0, 2.0, 3.0)), root / file)
            lines.append(
                {
                    "SubjectID": name, "DoseReductionFactor": factor if factor > 1 else "NORMAL",
                    "NiftiFileName": file, "PatientWeight_kg": WEIGHT_KG, "ImageUnits": "BQML",
                    "PixelSpacing_x_mm": 10, "PixelSpacing_y_mm": 10, "SliceThickness_mm": 26, "Manufacturer": "UIH",
                    "ManufacturerModelName": "uEXPLORER", "ReconstructionMethod": "3D iterative TOF PSF",
                    "RadiopharmaceuticalName": "Fluorodeoxyglucose", "TimeFromInjectionToAcquisition_s": WAITED_S,
                    "RadionuclideTotalDose_Bq": INJECTED_BQ, "RadionuclideHalfLife_s": HALF_LIFE_S,
                    "DecayCorrection": "START",
                }
            )  # fmt: skip
    table = root / "PET_info.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return table
