"""Do simulated cases look like real scans? Noise against published bands, liver noise, SUV statistics.

python -m training.simulate.validate cases/train/case-00000 [more folders]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MAPDiffLib.volume import body_mask
from training.simulate.tissues import Tissue

METRIC_VOXEL_MM = 1.65
# 5 to 95 % of 1,371 UDPET subjects, by dose: Siemens Biograph Vision Quadra and United Imaging uEXPLORER
BANDS = {
    1.0: ((0.0435, 0.0542), (0.0383, 0.0481)),
    0.25: ((0.0553, 0.0703), (0.0478, 0.0591)),
    0.1: ((0.0692, 0.0915), (0.0594, 0.0753)),
    0.05: ((0.0855, 0.1169), (0.0723, 0.0948)),
    0.02: ((0.1148, 0.1687), (0.1056, 0.1399)),
    0.01: ((0.1457, 0.2373), (0.1558, 0.1986)),
}


def noise_metric(
    suv: np.ndarray, body: np.ndarray, spacing_mm: tuple[float, float, float], every_mm: float = 0.0
) -> float:
    """Mean over the body of |I - Gauss(I)|, I = log1p(SUV), at 1.65 mm voxels, sigma 2 voxels.

    suv and body are [z, y, x], spacing (x, y, z) in mm. Interpolated with cubic splines, 16 slices at a time; with
    `every_mm` only one such slab in every so many mm is measured, which is faster.
    """
    crop = ndimage.find_objects(body.astype(np.uint8))[0]
    image, inside = np.log1p(np.maximum(suv[crop], 0)), body[crop]
    factor = np.array(spacing_mm[::-1]) / METRIC_VOXEL_MM
    total = count = 0.0
    for start in range(0, image.shape[0], max(16, round(every_mm / spacing_mm[2]))):
        low = max(start - 6, 0)
        slab = slice(low, start + 22)
        fine = ndimage.zoom(image[slab], factor, order=3, mode="nearest", grid_mode=True)
        mask = ndimage.zoom(inside[slab], factor, order=0, mode="nearest", grid_mode=True)
        middle = slice(round((start - low) * factor[0]), round((start - low + 16) * factor[0]))
        rest = np.abs(fine - ndimage.gaussian_filter(fine, 2.0, mode="nearest"))[middle][mask[middle]]
        total, count = total + float(rest.sum(dtype=np.float64)), count + rest.size
    return total / count


def inner_liver(labels: np.ndarray) -> np.ndarray:
    """The liver without the two outer voxels, where no other organ spills in: bool [z, y, x]."""
    inner = ndimage.binary_erosion(labels == Tissue.LIVER, iterations=2)
    return inner if inner.sum() >= 50 else labels == Tissue.LIVER


def noise_cv(low: np.ndarray, full: np.ndarray, dose: float) -> float:
    """Coefficient of variation of the noise at `dose` < 1, from voxels at that dose and at full dose.

    Doses are nested, so var(low - full) = var(low) (1 - dose): the organ's own texture cancels.
    """
    return float((low - full).std() / full.mean() / (1 - dose) ** 0.5)


def case_figures(folder: Path | str, every_mm: float = 320.0) -> dict:
    """Figures of one case folder: per dose noise, liver CV and bias; SUV mean and quantiles at full dose."""
    folder = Path(folder)
    facts = json.loads((folder / "case.json").read_text(encoding="ascii"))
    truth, full = _read(folder / "truth.nii.gz"), _read(folder / "dose-1.000.nii.gz")
    body, liver = body_mask(full, facts["spacing_mm"]), inner_liver(_read(folder / "labels.nii.gz"))
    figures = {"suv": [float(full[body].mean()), *map(float, np.quantile(full[body], (0.5, 0.9, 0.99)))], "doses": {}}
    figures["truth_noise"] = noise_metric(truth, body, facts["spacing_mm"], every_mm)
    for dose in sorted(facts["doses"], reverse=True):
        suv = _read(folder / f"dose-{dose:.3f}.nii.gz")
        figures["doses"][dose] = {
            "noise": noise_metric(suv, body, facts["spacing_mm"], every_mm),
            "liver_cv": noise_cv(suv[liver], full[liver], dose) if dose < 1 else None,
            "liver_bias": float(suv[liver].mean() / truth[liver].mean() - 1),
        }
    return figures


def _read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def table(figures: dict) -> str:
    """The figures of a case as text, published bands beside them."""
    lines = [
        "body SUV mean {:.2f} median {:.2f} 90 % {:.2f} 99 % {:.2f}".format(*figures["suv"]),
        f"noise of the truth {figures['truth_noise']:.4f}",
        f"{'dose':>6} {'noise':>7} {'Quadra':>15} {'uEXPLORER':>15} {'liver CV':>9} {'/sqrt law':>9} {'bias':>7}",
    ]
    known = {dose: row["liver_cv"] for dose, row in figures["doses"].items() if row["liver_cv"] is not None}
    at_full = known[max(known)] * max(known) ** 0.5 if known else float("nan")
    for dose, row in figures["doses"].items():
        bands = " ".join(f"{low:.4f}-{high:.4f}".rjust(15) for low, high in BANDS.get(dose, ())) or " " * 31
        cv = known.get(dose, at_full)
        ratio = cv * dose**0.5 / at_full
        lines.append(f"{dose:6.3f} {row['noise']:7.4f} {bands} {cv:9.3f} {ratio:9.2f} {row['liver_bias']:+7.3f}")
    return "\n".join(lines)


def main() -> None:
    """Print the table of every case folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.simulate.validate", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args().folders:
        print(f"{folder}\n{table(case_figures(folder))}\n")


if __name__ == "__main__":
    main()
