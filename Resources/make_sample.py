"""Makes the sample scan that ships with the module from a simulated 1/20-dose scan, and its thumbnail.

    mapdiff-train simulate --split test --seeds 0-0 --output cases
    python Resources/make_sample.py cases/test/case-00000/dose-0.050.nii.gz

Voxels are rounded to 0.005 SUV, far below the scan's own noise, and stored as int16 with a slope.
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

RESOURCES = Path(__file__).resolve().parent.parent / "MAPDiff" / "Resources"
SCAN = RESOURCES / "SampleData" / "MAPDiffLowDosePET.nii.gz"
THUMBNAIL = RESOURCES / "Icons" / "MAPDiffLowDosePET.png"
STEP_SUV = 0.005
SLOPE_AT = 112  # of scl_slope in a NIfTI header; scl_inter follows


def make_scan(source: Path, target: Path) -> np.ndarray:
    """Writes the rounded scan with the source's geometry and units; returns its voxels [z, y, x]."""
    image = sitk.ReadImage(str(source))
    voxels = sitk.GetArrayFromImage(image)
    step = max(STEP_SUV, float(np.abs(voxels).max()) / 32767)
    rounded = sitk.GetImageFromArray(np.round(voxels / step).astype(np.int16))
    rounded.CopyInformation(image)
    rounded.SetMetaData("ITK_FileNotes", "units=SUVbw")
    plain = target.with_suffix("")
    sitk.WriteImage(rounded, str(plain))
    content = bytearray(plain.read_bytes())
    content[SLOPE_AT : SLOPE_AT + 8] = struct.pack("<2f", step, 0.0)
    plain.unlink()
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(bytes(content))
    return voxels


def make_thumbnail(voxels: np.ndarray, spacing_mm, target: Path) -> None:
    """A coronal maximum projection of the scan, inverted grey 0 to 8 SUV, head up, 128 pixels square."""
    from PIL import Image

    projection = voxels.max(axis=1)[::-1]
    grey = (255 * (1 - np.clip(projection / 8, 0, 1))).astype(np.uint8)
    height = 128
    width = max(1, round(height * grey.shape[1] * spacing_mm[0] / (grey.shape[0] * spacing_mm[2])))
    picture = Image.new("L", (128, 128), 255)
    picture.paste(Image.fromarray(grey).resize((width, height), Image.Resampling.LANCZOS), ((128 - width) // 2, 0))
    picture.save(target, optimize=True)


def main() -> None:
    source = Path(sys.argv[1])
    SCAN.parent.mkdir(parents=True, exist_ok=True)
    voxels = make_scan(source, SCAN)
    make_thumbnail(voxels, sitk.ReadImage(str(source)).GetSpacing(), THUMBNAIL)
    print(f"{SCAN} {SCAN.stat().st_size / 1e6:.1f} MB, {THUMBNAIL}")


if __name__ == "__main__":
    main()
