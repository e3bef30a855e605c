"""mapdiff-train validate: noise and correlation of simulated cases against theory, and what is printed of them."""

from __future__ import annotations

import numpy as np
import pytest

from training.__main__ import main
from training.simulate import validate
from training.simulate.cases import write_case
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
    assert main(["validate", *folders, "--figure", str(tmp_path / "figure.png")]) == 0
    printed = capsys.readouterr().out
    figures = [validate.case_figures(folder) for folder in folders]
    mean = validate.mean_figures(figures)
    assert mean["suv"][0] == pytest.approx((figures[0]["suv"][0] + figures[1]["suv"][0]) / 2)
    assert mean["doses"][0.05]["noise"] == pytest.approx(sum(one["doses"][0.05]["noise"] for one in figures) / 2)
    for one, text in zip([*figures, mean], printed.split("body SUV ")[1:], strict=True):
        assert text.startswith(f"mean {one['suv'][0]:.2f} (0.81-0.88 !)")  # a ball of liver is no body
        assert f"in plane {one['correlation_mm'][0]:.2f} (7.5-12.7 !)" in text  # white noise is no scan's
        assert f" 0.050 {one['doses'][0.05]['noise']:7.4f}   0.0855-0.1169   0.0723-0.0948" in text
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_scanner_is_matched_only_at_doses_whose_noise_lies_in_its_band():
    rows = {1.0: 0.045, 0.25: 0.065, 0.1: 0.2, 0.5: 0.05}
    matched = validate.scanners_matched({"doses": {dose: {"noise": noise} for dose, noise in rows.items()}})
    assert matched == {"Quadra": [1.0, 0.25], "uEXPLORER": [1.0]}
