"""From a training run to a bundle: its path, what validation cases decide about it, and a scan through the result."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.network import NetworkConfig
from MAPDiffLib.model.quantisation import rounded
from MAPDiffLib.restoration.restore import restore
from Testing.tiny import tiny_case
from training.__main__ import main
from training.cases.case_file import dose_file, read_dose
from training.config import TrainConfig
from training.export.bundle import export_bundle
from training.export.paths import EVALUATIONS, fit_paths
from training.export.posthoc_fit import Measured
from training.train import load_run, train

ANCHORED = TrainConfig(
    name="tiny", network=NetworkConfig(widths=(4, 8), embedding=16), taus=(131, 72, 38, 0), path_share=0.5, patch=16,
    batch=2, iterations=2, warmup=1, input_doses={0.05: 1.0}, learning_rate=1e-2,
)  # fmt: skip
ONE_PASS = replace(ANCHORED, path_share=0.0, end_share=1.0, anchor_lambda=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(cases, calibration.json, folder for runs)"""
    folder = tmp_path_factory.mktemp("made")
    cases = [tiny_case(folder / "cases" / f"case-{seed}", seed) for seed in range(3)]
    calibration = folder / "calibration.json"
    curve = {"doses": [0.01, 0.1, 1.0], "noise": [0.3, 0.1, 0.03], "scatter": 0.1}
    calibration.write_text(json.dumps({"dose_estimate": curve}))
    return cases, calibration, folder


def test_a_one_pass_regression_becomes_a_bundle_that_restores_every_dose(made, tmp_path):
    cases, calibration, folder = made
    run = train(ONE_PASS, cases, folder / "one-pass").parent
    bundle = load_bundle(export_bundle(run, calibration, cases, cases, tmp_path / "one-pass", "one pass"))
    for kept, trained in zip(bundle.network.parameters(), load_run(run)[0].parameters(), strict=True):
        torch.testing.assert_close(kept, rounded(trained) if trained.ndim > 1 else trained, rtol=2**-10, atol=1e-6)
    assert bundle.manifest.timesteps == (999,)
    (fit,) = bundle.manifest.fits
    assert (fit.samples, fit.ensemble_weights) == (EVALUATIONS, {999: 1.0})
    assert [anchor.dose for anchor in bundle.manifest.anchors] == [1.0]
    scan = read_dose(cases[0], 0.05)
    doses = [each.dose for each in restore(scan, bundle, RestoreOptions(input_dose=0.05, doses=(0.25, 1.0)))]
    assert doses == [0.25, 1.0]


def test_a_case_without_a_dose_is_named_before_anything_is_fitted(made, tmp_path, monkeypatch):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, iterations=1), cases, folder / "lacking").parent
    lacking = tiny_case(tmp_path / "lacking", 9)
    for dose in (0.1, 0.5):
        (lacking / dose_file(dose)).unlink()
    monkeypatch.setattr("training.export.paths.measure", lambda *_: pytest.fail("fitted"))
    for validation, unlike in (([*cases, lacking], []), (cases, [lacking])):
        with pytest.raises(InputError, match=r"lacking: no dose-0.100.nii.gz, dose-0.500.nii.gz"):
            export_bundle(run, calibration, validation, cases, tmp_path / "made", "made", unlike=unlike)
    assert not (tmp_path / "made").exists()


@pytest.fixture
def measured(made, monkeypatch):
    """Known estimates, not the network's: off by 0.1 at the first timestep, by 0.01 at the last. What was asked."""
    cases, asked = made[0], []

    def measure(network, diffusion, case, dose, timesteps, samples):
        asked.append((case, dose, tuple(timesteps), samples))
        rng = np.random.default_rng(cases.index(case))
        full = 1 + rng.random(4000, np.float32)
        estimates = np.stack([full + noise * rng.standard_normal(4000) for noise in (0.1, 0.01)])
        return Measured(estimates, full, np.ones(4000))

    monkeypatch.setattr("training.export.paths.measure", measure)
    return asked


def test_validation_decides_weights_and_scale_of_each_input_dose_and_they_are_what_restores(made, tmp_path, measured):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, input_doses={0.05: 0.5, 0.1: 0.5}), cases, folder / "anchored").parent
    bundle = load_bundle(export_bundle(run, calibration, cases, cases, tmp_path / "anchored", "anchored"))
    assert measured == [(case, dose, (999, 19), EVALUATIONS - 1) for dose in (0.05, 0.1) for case in cases]
    assert bundle.manifest.timesteps == (999, 131, 72, 38, 19)
    for fit, dose in zip(bundle.manifest.fits, (0.05, 0.1), strict=True):
        assert (fit.input_dose, fit.samples, list(fit.ensemble_weights)) == (dose, EVALUATIONS - 1, [999, 19])
        assert fit.ensemble_weights[19] > 0.9 and sum(fit.ensemble_weights.values()) == pytest.approx(1, abs=1e-3)
        assert fit.uncertainty_scale < 0.1  # spreads of 1, errors of 0.01
        # The cases' noise is white: differences at one lag and at two are alike.
        assert len(fit.noise_voxels) == 2 and 0.5 < max(fit.noise_voxels) < 1.0
        assert 0.1 < fit.wide_noise.mm3 / 4.0**3 < 1.0 and fit.wide_noise.power == 0.0
    restoration = restore(read_dose(cases[0], 0.05), bundle, RestoreOptions(input_dose=0.05))
    assert [each.dose for each in restoration] == [0.1, 0.25, 0.5, 1.0]
    assert restoration.report["sampling"]["timesteps"] == [999, 19]


def test_other_scanners_move_the_scale_and_nothing_of_the_bundles_own_fits_has_a_part_in_it(made, tmp_path, measured):
    cases, calibration, folder = made
    run = train(ANCHORED, cases, folder / "unlike").parent
    bundle = load_bundle(export_bundle(run, calibration, cases, cases, tmp_path / "alike", "alike"))
    unlike = load_bundle(export_bundle(run, calibration, cases, cases, tmp_path / "unlike", "unlike", unlike=cases[:1]))
    (alike,), (fit,) = bundle.manifest.fits, unlike.manifest.fits
    assert fit.ensemble_weights == alike.ensemble_weights and fit.uncertainty_scale > alike.uncertainty_scale
    assert unlike.manifest.training_data["unlike_cases"] == 1
    assert fit_paths(bundle, cases, cases[:1]) == (fit,)


def test_a_bundle_fitted_again_keeps_its_weights_to_the_byte_and_what_it_was_trained_on(made, tmp_path, capsys):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, iterations=1), cases, folder / "again").parent
    first = export_bundle(run, calibration, cases[:1], cases, tmp_path / "first", "to be fitted again")
    (first / "MODEL_CARD.md").write_text("a card\n")
    manifest = json.loads((first / "bundle.json").read_text())
    (first / "bundle.json").write_text(json.dumps(manifest | {"scores": {"of": "the path before"}}))
    arguments = ["--validation", str(cases[0].parent), "--other-scanners", str(cases[1])]
    arguments += ["--output", str(tmp_path / "second")]
    assert main(["refit", "--bundle", str(first), *arguments]) == 0
    second = tmp_path / "second"
    assert capsys.readouterr().out.strip() == str(second)
    for name in ("weights.safetensors", "MODEL_CARD.md"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    before, after = (load_bundle(each).manifest.to_dict() for each in (first, second))
    assert (before.pop("name"), after.pop("name")) == ("first", "second")
    assert before.pop("scores") and not after.pop("scores")
    for what, counts in {"validation_cases": (1, len(cases)), "unlike_cases": (0, 1)}.items():
        assert (before["training_data"].pop(what), after["training_data"].pop(what)) == counts
    assert before.pop("sampling") != after.pop("sampling")
    assert before == after
    assert main(["refit", "--bundle", str(first), *arguments]) == 2  # the folder is taken now
    assert f"{second} exists" in capsys.readouterr().err


def test_a_folder_that_is_taken_is_named_before_anything_is_fitted(made, tmp_path, monkeypatch):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, iterations=1), cases, folder / "taken").parent
    monkeypatch.setattr("training.export.paths.measure", lambda *_: pytest.fail("fitted"))
    with pytest.raises(InputError, match="exists"):
        export_bundle(run, calibration, cases, cases, tmp_path, "taken")
