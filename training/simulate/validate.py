"""Do simulated cases look like real scans? Noise against published bands, liver noise, SUV statistics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MAPDiffLib.files import written_whole
from MAPDiffLib.restoration.noise import Noise, measure_noise
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.masks import read_label_image
from MAPDiffLib.scan.volume import body_mask, read_volume
from training.simulate.noise_spread import PARTS, REAL_SCANS, draw_spread, measured, spread_table
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
SCANNERS = ("Quadra", "uEXPLORER")
# Published or asked of real scans: body SUV mean, median, 90 %, 99 %; noise correlation FWHM (mm) in real livers
SUV_RANGES = {"mean": (0.81, 0.88), "median": (0.5, 0.65), "90 %": (1.4, 1.6), "99 %": (3.5, 7.0)}
CORRELATION_RANGES_MM = {"in plane": (7.5, 12.7), "axial": (5.3, 9.3)}
CORRELATION_DOSE = 0.05


def noise_metric(
    suv: np.ndarray, body: np.ndarray, spacing_mm: tuple[float, float, float], every_mm: float = 0.0
) -> float:
    """Mean over the body of |I - Gauss(I)|, I = log1p(SUV), at 1.65 mm voxels, sigma 2 voxels.

    suv and body are [z, y, x], spacing (x, y, z) in mm. Interpolated with cubic splines, 16 slices at a time; with
    `every_mm` only one such slab in every so many mm is measured, which is faster.
    """
    crop = bounding_box(body)
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


def correlation_fwhm(noise: np.ndarray, inside: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple:
    """FWHM in mm of the autocorrelation of noise [z, y, x] in a region: (in plane, axial); spacing is (x, y, z).

    In plane is the mean over x and y. Linear between lags; pairs of voxels that both lie inside count.
    """
    box = bounding_box(inside)
    noise, inside = noise[box], inside[box]
    centred = np.where(inside, noise - noise[inside].mean(), 0).astype(np.float64)
    z, y, x = (_half_width(centred, inside, axis) * step for axis, step in enumerate(spacing_mm[::-1]))
    return x + y, 2 * z


def _half_width(noise: np.ndarray, inside: np.ndarray, axis: int) -> float:
    """Lag in voxels at which the autocorrelation along an axis falls to one half; NaN when the region is too small."""
    before, n = 1.0, noise.shape[axis]
    power = (noise[inside] ** 2).mean()
    for lag in range(1, n):
        one, other = ([np.take(v, span, axis) for v in (noise, inside)] for span in (range(n - lag), range(lag, n)))
        pairs = one[1] & other[1]
        if not pairs.any():
            break
        now = (one[0] * other[0])[pairs].mean() / power
        if now < 0.5:
            return lag - 1 + (before - 0.5) / (before - now)
        before = now
    return float("nan")


def case_figures(folder: Path | str, every_mm: float = 320.0) -> dict:
    """Figures of one case folder: per dose noise (the published metric, and as the network is told it), liver CV and
    bias; SUV mean and quantiles at full dose.

    "correlation_mm": FWHM (in plane, axial) of the liver's noise at the dose nearest to 1/20, full dose taken off.
    """
    folder = Path(folder)
    facts = json.loads((folder / "case.json").read_text(encoding="ascii"))
    truth, full = read_volume(folder / "truth.nii.gz").voxels, read_volume(folder / "dose-1.000.nii.gz").voxels
    labels = sitk.GetArrayFromImage(read_label_image(folder / "labels.nii.gz"))
    body, liver = body_mask(full, facts["spacing_mm"]), inner_liver(labels)
    figures = {"suv": [float(full[body].mean()), *map(float, np.quantile(full[body], (0.5, 0.9, 0.99)))], "doses": {}}
    figures["truth_noise"] = noise_metric(truth, body, facts["spacing_mm"], every_mm)
    figures["correlation_mm"] = [float("nan")] * 2
    lowered = [dose for dose in facts["doses"] if dose < 1]
    for dose in sorted(facts["doses"], reverse=True):
        suv = read_volume(folder / f"dose-{dose:.3f}.nii.gz").voxels
        told = measure_noise(suv, body, facts["spacing_mm"])
        figures["doses"][dose] = {
            "noise": noise_metric(suv, body, facts["spacing_mm"], every_mm),
            "liver_cv": noise_cv(suv[liver], full[liver], dose) if dose < 1 else None,
            "liver_bias": float(suv[liver].mean() / truth[liver].mean() - 1),
            **{part: None if told is None else getattr(told, part) for part in PARTS},
        }
        if lowered and dose == min(lowered, key=lambda d: abs(np.log(d / CORRELATION_DOSE))):
            figures["correlation_mm"] = list(correlation_fwhm(suv - full, liver, facts["spacing_mm"]))
    return figures


def mean_figures(cases: list[dict]) -> dict:
    """The mean of the figures of several cases, over the doses that all have."""
    mean = {
        "suv": np.mean([case["suv"] for case in cases], axis=0).tolist(),
        "truth_noise": float(np.mean([case["truth_noise"] for case in cases])),
        "correlation_mm": np.nanmean([case["correlation_mm"] for case in cases], axis=0).tolist(),
        "doses": {},
    }
    for dose in cases[0]["doses"]:
        if all(dose in case["doses"] for case in cases):
            rows = [case["doses"][dose] for case in cases]
            known = {name: [row[name] for row in rows] for name in rows[0]}
            mean["doses"][dose] = {n: None if None in v else float(np.mean(v)) for n, v in known.items()}
    return mean


def scanners_matched(figures: dict) -> dict[str, list[float]]:
    """{scanner: doses whose noise lies inside its published band}."""
    return {
        name: [d for d, row in figures["doses"].items() if d in BANDS and _within(row["noise"], BANDS[d][k])]
        for k, name in enumerate(SCANNERS)
    }


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def table(figures: dict) -> str:
    """The figures of a case, or of the mean over cases, as text, published values beside them."""
    lines = [
        "body SUV " + _beside(figures["suv"], SUV_RANGES),
        "liver noise FWHM mm " + _beside(figures["correlation_mm"], CORRELATION_RANGES_MM),
        f"noise of the truth {figures['truth_noise']:.4f}",
        f"{'dose':>6} {'noise':>7} {'Quadra':>15} {'uEXPLORER':>15} {'liver CV':>9} {'/sqrt law':>9} {'bias':>7}",
    ]
    at_full = _liver_cv_at_full_dose(figures)
    for dose, row in figures["doses"].items():
        bands = " ".join(f"{low:.4f}-{high:.4f}".rjust(15) for low, high in BANDS.get(dose, ())) or " " * 31
        cv = at_full if row["liver_cv"] is None else row["liver_cv"]
        ratio = cv * dose**0.5 / at_full
        lines.append(f"{dose:6.3f} {row['noise']:7.4f} {bands} {cv:9.3f} {ratio:9.2f} {row['liver_bias']:+7.3f}")
    asked = [dose for dose in figures["doses"] if dose in BANDS]
    inside = ", ".join(f"{name} {len(doses)} of {len(asked)}" for name, doses in scanners_matched(figures).items())
    return "\n".join([*lines, f"doses inside the 5-95 % band: {inside}"])


def _beside(values: list[float], ranges: dict[str, tuple[float, float]]) -> str:
    return ", ".join(
        f"{name} {value:.2f} ({low:g}-{high:g}{'' if low <= value <= high else ' !'})"
        for value, (name, (low, high)) in zip(values, ranges.items(), strict=True)
    )


def _liver_cv_at_full_dose(figures: dict) -> float:
    """By the 1/sqrt(dose) law from the next dose: at full dose nothing tells the noise from the texture."""
    known = {dose: row["liver_cv"] for dose, row in figures["doses"].items() if row["liver_cv"] is not None}
    return known[max(known)] * max(known) ** 0.5 if known else float("nan")


def write_figure(cases: list[dict], path: Path | str, real: Mapping[str, Noise] = REAL_SCANS) -> None:
    """Noise metric and liver CV over dose, correlation lengths, SUV quantiles, told level against width; published
    ranges shaded, real scans marked."""
    from matplotlib.figure import Figure  # an optional extra: only the figure needs it

    mean = mean_figures(cases)
    figure = Figure(figsize=(16, 8), layout="constrained")
    noise, liver, told, lengths, suv, unused = figure.subplots(2, 3).ravel()
    unused.set_axis_off()
    draw_spread(told, cases, real, CORRELATION_RANGES_MM["in plane"])
    for k, (name, colour) in enumerate(zip(SCANNERS, ("tab:blue", "tab:orange"), strict=True)):
        low, high = zip(*(BANDS[dose][k] for dose in BANDS), strict=True)
        noise.fill_between(list(BANDS), low, high, alpha=0.25, color=colour, label=f"{name}, 5-95 % of subjects")
    law = _liver_cv_at_full_dose(mean)
    doses = list(mean["doses"])
    liver.plot(doses, [law / dose**0.5 for dose in doses], "--", color="grey", label="1/sqrt(dose)")
    for panel, name in ((noise, "noise"), (liver, "liver_cv")):
        for case in cases:
            rows = [(dose, row[name]) for dose, row in case["doses"].items() if row[name] is not None]
            panel.plot(*zip(*rows, strict=True), color="grey", linewidth=0.6, alpha=0.6)
        rows = [(dose, row[name]) for dose, row in mean["doses"].items() if row[name] is not None]
        panel.plot(*zip(*rows, strict=True), "o-", color="black", label=f"mean of {len(cases)} simulated")
        panel.set(xscale="log", yscale="log", xlabel="dose")
        panel.legend()
    noise.set_ylabel("noise metric")
    liver.set_ylabel("liver CV")
    for panel, name, ranges in ((lengths, "correlation_mm", CORRELATION_RANGES_MM), (suv, "suv", SUV_RANGES)):
        for k, (low, high) in enumerate(ranges.values()):
            panel.fill_between((k - 0.3, k + 0.3), low, high, color="tab:green", alpha=0.3)
            panel.plot([k] * len(cases), [case[name][k] for case in cases], "o", color="black", markersize=4)
        panel.set_xticks(range(len(ranges)), list(ranges))
    lengths.set_ylabel("FWHM of liver noise, mm")
    suv.set(ylabel="body SUV", yscale="log")
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=120)


def validate(folders: Sequence[Path], figure: Path | None = None, beside: Sequence[Path] = ()) -> None:
    """Print the table of every case folder and of their mean, and write the figure. beside: real scans whose noise is
    shown too."""
    cases = []
    for folder in folders:
        cases.append(case_figures(folder))
        print(f"{folder}\n{table(cases[-1])}\n", flush=True)
    if len(cases) > 1:
        print(f"mean of {len(cases)} cases\n{table(mean_figures(cases))}")
    real = REAL_SCANS | measured(beside)
    print(f"\n{spread_table(cases, real)}")
    if figure:
        write_figure(cases, figure, real)
        print(figure)
