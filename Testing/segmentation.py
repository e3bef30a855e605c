"""A DICOM SEG file as writers of segmentations make it: one segment, only the frames that hold it; for tests only."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_segmentation(path: Path, mask: np.ndarray, spacing_mm, origin_mm, name: str) -> Path:
    """Writes a mask, bool [z, y, x] with axes along LPS, as one binary segment; the last frame first."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

    data, shared, orientation, measures, segment = (Dataset() for _ in range(5))
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    data.Modality, data.SegmentationType = "SEG", "BINARY"
    data.Rows, data.Columns = mask.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 1
    data.HighBit = data.PixelRepresentation = 0
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [spacing_mm[1], spacing_mm[0]], spacing_mm[2]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    segment.SegmentNumber, segment.SegmentLabel = 1, name
    data.SegmentSequence = [segment]
    planes = np.flatnonzero(mask.any(axis=(1, 2)))[::-1]
    data.NumberOfFrames, data.PerFrameFunctionalGroupsSequence = len(planes), []
    for plane in planes:
        item, position, identity = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [origin_mm[0], origin_mm[1], origin_mm[2] + float(plane) * spacing_mm[2]]
        identity.ReferencedSegmentNumber = 1
        item.PlanePositionSequence, item.SegmentIdentificationSequence = [position], [identity]
        data.PerFrameFunctionalGroupsSequence.append(item)
    data.PixelData = np.packbits(mask[planes].ravel(), bitorder="little").tobytes()
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path
