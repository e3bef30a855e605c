"""mapdiff-train validate: noise and correlation of simulated cases against theory, and what is printed of them."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from MAPDiffLib.restoration.noise import Noise
from Testing.recorded import real_series
from training.__main__ import main
from training.simulate import noise_spread, validate
from training.simulate.cases import write_case, write_nifti
from training.simulate.scanner import blur
from training.simulate.tissues import Tissue
from training.simulate.validate import correlation_fwhm, noise_cv, noise_metric


def test_the_noise_metric_of_white_noise_is_known():
    """|N(0, s)| has mean s sqrt(2 / pi); taking off the sigma 2 blur leaves s^2 (1 - 2 G(0) + sum G^2)."""
    rng = np.random.default_rng(0)
    log_image = 1.0 + 0.05 * rng.standard_normal((40, 40, 40))
    along = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    along /= along.sum()
    left = 1 - 2 * along[8] ** 3 + (along**2).sum() ** 3
    measured = noise_metric(np.expm1(log_image), np.ones(log_image.shape, bool), (1.65, 1.65, 1.65))
    assert measured == pytest.approx(0.05 * (2 / np.pi * left) ** 0.5, rel=0.02)


def test_the_noise_of_nested_doses_is_told_from_the_texture():
    rng = np.random.default_rng(0)
    texture = 10_000 * (1 + 0.2 * rng.standard_normal(200_000))
    counts = rng.poisson(np.maximum(texture, 1))
    low = rng.binomial(counts, 0.1) / 0.1
    assert noise_cv(low, counts, 0.1) == pytest.approx((10 / 10_000) ** 0.5, rel=0.02)


def test_the_correlation_length_of_blurred_noise_is_that_of_the_blur():
    """Noise blurred by a Gaussian of sigma s has a Gaussian autocorrelation of sigma s sqrt(2)."""
    noise = blur(np.random.default_rng(0).standard_normal((80, 80, 80)), (2.0, 2.5, 2.5))
    inside = np.zeros(noise.shape, bool)
    inside[10:70, 10:70, 5:75] = True
    noise[~inside] = 100.0  # what lies outside must not count
    in_plane, axial = correlation_fwhm(noise, inside, (1.5, 1.5, 3.0))
    assert in_plane == pytest.approx(2.3548 * 2**0.5 * 2.5 * 1.5, rel=0.08)
    assert axial == pytest.approx(2.3548 * 2**0.5 * 2.0 * 3.0, rel=0.08)


def test_validate_prints_every_case_and_their_mean_beside_the_published_ranges(tmp_path, capsys):
    grid, rng = np.indices((24, 30, 30)), np.random.default_rng(0)
    ball = sum((axis - middle) ** 2 for axis, middle in zip(grid, (12, 15, 15), strict=True)) < 11**2
    for number, level in enumerate((2.0, 4.0)):
        truth = np.where(ball, level, 0).astype(np.float32)
        noise = {dose: rng.standard_normal(ball.shape) * 0.02 / dose**0.5 for dose in (1.0, 0.25, 0.05)}
        volumes = {f"dose-{dose:.3f}": (truth * (1 + n)).astype(np.float32) for dose, n in noise.items()}
        volumes |= {"truth": truth, "labels": np.where(ball, Tissue.LIVER, 0).astype(np.uint8)}
        write_case(tmp_path / f"case-{number}", volumes, {"spacing_mm": [3.3, 3.3, 3.3], "doses": sorted(noise)})
    folders = [str(tmp_path / f"case-{number}") for number in range(2)]
    noisy = (truth * (1 + 0.2 * rng.standard_normal(ball.shape))).astype(np.float32)
    for name, voxels in (("mine", noisy), ("still", truth)):  # in the second no noise can be measured
        write_nifti(voxels, (3.3, 3.3, 3.3), tmp_path / f"{name}.nii.gz")
    beside = ["--beside", str(tmp_path / "mine.nii.gz"), str(tmp_path / "still.nii.gz")]
    assert main(["validate", *folders, "--figure", str(tmp_path / "figure.png"), *beside]) == 0
    printed = capsys.readouterr().out
    figures = [validate.case_figures(folder) for folder in folders]
    mean = validate.mean_figures(figures)
    assert mean["suv"][0] == pytest.approx((figures[0]["suv"][0] + figures[1]["suv"][0]) / 2)
    assert mean["doses"][0.05]["noise"] == pytest.approx(sum(one["doses"][0.05]["noise"] for one in figures) / 2)
    for one, text in zip([*figures, mean], printed.split("body SUV ")[1:], strict=True):
        assert text.startswith(f"mean {one['suv'][0]:.2f} (0.81-0.88 !)")  # a ball of liver is no body
        assert f"in plane {one['correlation_mm'][0]:.2f} (7.5-12.7 !)" in text  # white noise is no scan's
        assert f" 0.050 {one['doses'][0.05]['noise']:7.4f}   0.0855-0.1169   0.0723-0.0948" in text
    *_, told, clinical, mine, _ = printed.splitlines()
    levels = noise_spread.spread(figures)["level"]
    assert len(levels) == 6 and levels[:3] == pytest.approx([0.02, 0.04, 0.02 / 0.05**0.5], rel=0.25)
    assert told.startswith(f"told noise of 6 scans: level {levels.min():.3g}-{levels.max():.3g}, in plane, mm ")
    assert clinical.startswith("STS_001, clinical: level 0.173 !, in plane, mm 9.73 !")  # white noise is as no scan's
    assert mine.startswith("mine.nii.gz: level 0.1") and "!" in mine.partition(",")[0]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_clinical_scan_has_the_noise_that_is_written_down():
    found = noise_spread.measured([real_series()])
    ((_, noise),), wanted = found.items(), noise_spread.REAL_SCANS["STS_001, clinical"]
    assert astuple(noise) == pytest.approx(astuple(wanted), rel=0.01)


def test_level_and_width_of_scans_that_have_nothing_to_do_with_each_other_do_not_correlate():
    rows = [{"level": level, "axial_mm": 6.0, "in_plane_mm": width} for level in (0.1, 0.3) for width in (6.0, 12.0)]
    independent = {"doses": dict(zip((0.01, 0.1, 0.5, 1.0), rows, strict=True))}
    table = noise_spread.spread_table([independent], {"x": Noise(0.2, 6.0, 13.0)})
    assert table.splitlines() == [
        "told noise of 4 scans: level 0.1-0.3, in plane, mm 6-12, axial, mm 6-6; level and width correlate by +0.00",
        "x: level 0.2, in plane, mm 13 !, axial, mm 6",
    ]
    unknown = {"doses": {1.0: dict.fromkeys(noise_spread.PARTS)}}
    assert "fewer than two" in noise_spread.spread_table([unknown], {})


def test_a_scanner_is_matched_only_at_doses_whose_noise_lies_in_its_band():
    rows = {1.0: 0.045, 0.25: 0.065, 0.1: 0.2, 0.5: 0.05}
    matched = validate.scanners_matched({"doses": {dose: {"noise": noise} for dose, noise in rows.items()}})
    assert matched == {"Quadra": [1.0, 0.25], "uEXPLORER": [1.0]}
