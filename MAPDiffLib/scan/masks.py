"""Regions that somebody drew, on a scan's grid: labels, a Slicer segmentation (.seg.nrrd), a DICOM SEG file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.itk import alone_with_itk, reason
from MAPDiffLib.scan.volume import READABLE, Volume

MOST_REGIONS = 1000  # more labels than this is an image, and no segmentation


@dataclass(frozen=True)
class Region:
    """A named mask, bool [z, y, x] on the scan's grid, not empty."""

    name: str
    mask: np.ndarray


def read_regions(path: Path, volume: Volume) -> list[Region]:
    """The regions of a file, each brought to the volume's grid by its nearest voxels where the file's own differs.

    InputError for a file that cannot be read, holds no region, or one that has no voxel on the scan.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file: a label map, a .seg.nrrd or a DICOM SEG file is needed.")
    found = _segments(path) if _is_dicom(path) else _labelled(path)
    regions = [Region(name, _on_grid(mask, volume)) for name, mask in found]
    if not regions:
        raise InputError(f"{path} holds no region: every voxel is 0.")
    if empty := [region.name for region in regions if not region.mask.any()]:
        raise InputError(f"{path}: {', '.join(empty)} lies outside the scan: a mask drawn on this scan is needed.")
    return regions


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _labelled(path: Path) -> Iterator[tuple[str, sitk.Image]]:
    """Each label of an image; of a Slicer segmentation each segment, by its name, in its layer."""
    if not path.name.lower().endswith(READABLE):
        raise InputError(f"{path} cannot be read as a mask: use {', '.join(READABLE)} or a DICOM SEG file.")
    image = read_label_image(path)
    if image.GetDimension() != 3:
        raise InputError(f"{path} is {image.GetDimension()}-D: a 3-D mask is needed.")
    count = image.GetNumberOfComponentsPerPixel()
    layers = [sitk.VectorIndexSelectionCast(image, layer) for layer in range(count)] if count > 1 else [image]
    segments = list(_slicer_segments(image))
    if segments:
        yield from ((name, sitk.Equal(layers[layer], value)) for name, layer, value in segments)
        return
    if count > 1:
        raise InputError(f"{path} has {count} values a voxel and names no segments: one label a voxel is needed.")
    labels = np.unique(sitk.GetArrayViewFromImage(image))
    if len(labels) > MOST_REGIONS or not np.array_equal(labels, np.rint(labels)):
        raise InputError(f"{path} holds {len(labels)} different values: whole labels, one a region, are needed.")
    yield from ((f"{label:g}", sitk.Equal(image, float(label))) for label in labels if label != 0)


def read_label_image(path: Path) -> sitk.Image:
    """Whatever labels a file holds. InputError for one that cannot be read."""
    with alone_with_itk():
        try:
            return sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise InputError(f"{path} could not be read ({reason(error)}): copy or export it again.") from None


def _slicer_segments(image: sitk.Image) -> Iterator[tuple[str, int, float]]:
    """(name, layer, label value) of each segment that the header of a .seg.nrrd names."""
    number = 0
    while image.HasMetaDataKey(f"Segment{number}_LabelValue"):
        fields = {
            key: image.GetMetaData(f"Segment{number}_{key}") if image.HasMetaDataKey(f"Segment{number}_{key}") else ""
            for key in ("Name", "Layer", "LabelValue")
        }
        yield fields["Name"] or f"segment {number + 1}", int(fields["Layer"] or 0), float(fields["LabelValue"])
        number += 1


def _segments(path: Path) -> Iterator[tuple[str, sitk.Image]]:
    """Each segment of a DICOM SEG file, its frames put in order along their normal."""
    import pydicom

    data = pydicom.dcmread(path)
    if data.get("Modality") != "SEG" or data.get("SegmentationType") != "BINARY":
        seen = f"modality {data.get('Modality') or 'none'}, type {data.get('SegmentationType') or 'none'}"
        raise InputError(f"{path} is DICOM of {seen}: a binary segmentation (SEG) is needed.")
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for segment in data.SegmentSequence:
        chosen = [
            (item, frame)
            for item, frame in zip(data.PerFrameFunctionalGroupsSequence, frames, strict=True)
            if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment.SegmentNumber
        ]
        if chosen:
            yield str(segment.get("SegmentLabel") or segment.SegmentNumber), _stacked(data, chosen)


def _stacked(data, chosen: list) -> sitk.Image:
    """Frames of one segment as a volume; planes without a frame are empty (they may be left out of the file)."""
    shared = data.SharedFunctionalGroupsSequence[0]

    def group(item, name: str):
        return (item.get(name) or shared.get(name))[0]

    first = chosen[0][0]
    axes = np.array(group(first, "PlaneOrientationSequence").ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*axes)
    measures = group(first, "PixelMeasuresSequence")
    row_mm, column_mm = map(float, measures.PixelSpacing)
    step_mm = float(measures.get("SpacingBetweenSlices") or measures.SliceThickness)
    corners = [np.array(group(item, "PlanePositionSequence").ImagePositionPatient, float) for item, _ in chosen]
    heights = np.array([corner @ normal for corner in corners])
    places = np.rint((heights - heights.min()) / step_mm).astype(int)
    voxels = np.zeros((places.max() + 1, *chosen[0][1].shape), np.uint8)
    for place, (_, frame) in zip(places, chosen, strict=True):
        voxels[place] |= frame.astype(np.uint8)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((column_mm, row_mm, step_mm))
    image.SetOrigin(corners[int(heights.argmin())])
    image.SetDirection(np.stack([axes[0], axes[1], normal]).T.ravel())
    return image


def _on_grid(mask: sitk.Image, volume: Volume) -> np.ndarray:
    nearest = sitk.Resample(
        sitk.Cast(mask, sitk.sitkUInt8), tuple(reversed(volume.voxels.shape)), sitk.Transform(),
        sitk.sitkNearestNeighbor, volume.origin_mm, volume.spacing_mm, volume.direction,
    )  # fmt: skip
    return sitk.GetArrayFromImage(nearest) > 0
