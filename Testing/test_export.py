"""From a training run to a bundle: what validation cases decide about it, and a scan through the result."""

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
from training.export.bundle import SAMPLES, export_bundle
from training.export.fit import STRENGTHS, Scattered, fit_strength, fit_uncertainty
from training.train import load_run, train

ANCHORED = TrainConfig(
    name="tiny", network=NetworkConfig(widths=(4, 8), embedding=16), taus=(131, 72, 38, 0), mode="path", path_share=0.5,
    patch=16, batch=2, iterations=2, warmup=1, input_doses={0.05: 1.0}, learning_rate=1e-2,
)  # fmt: skip
ONE_PASS = replace(ANCHORED, mode="regression", path_share=TrainConfig.path_share, anchor_lambda=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(cases, calibration.json, folder for runs)"""
    folder = tmp_path_factory.mktemp("made")
    cases = [tiny_case(folder / "cases" / f"case-{seed}", seed) for seed in range(2)]
    calibration = folder / "calibration.json"
    curve = {"doses": [0.01, 0.1, 1.0], "noise": [0.3, 0.1, 0.03], "scatter": 0.1}
    calibration.write_text(json.dumps({"dose_estimate": curve}))
    return cases, calibration, folder


def test_a_run_becomes_a_bundle_that_restores_every_dose(made, tmp_path):
    cases, calibration, folder = made
    run = train(ONE_PASS, cases, folder / "one-pass").parent
    bundle = load_bundle(export_bundle(run, calibration, cases, cases, tmp_path / "one-pass", "one pass"))
    for kept, trained in zip(bundle.network.parameters(), load_run(run)[0].parameters(), strict=True):
        torch.testing.assert_close(kept, rounded(trained) if trained.ndim > 1 else trained, rtol=2**-10, atol=1e-6)
    sampling = bundle.manifest.sampling
    assert sampling.samples == SAMPLES and sampling.strength in STRENGTHS
    assert all(scale > 0 for scale in sampling.uncertainty_scales)
    low, high = bundle.manifest.noise_levels
    assert 0 < low < high
    steps = restore(read_dose(cases[0], 0.05), bundle, RestoreOptions(input_dose=0.05))
    assert [each.dose for each in steps] == [0.1, 0.25, 0.5, 1.0]


def test_a_case_without_a_dose_is_named_before_anything_is_fitted(made, tmp_path, monkeypatch):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, iterations=1), cases, folder / "lacking").parent
    lacking = tiny_case(tmp_path / "lacking", 9)
    for dose in (0.05, 0.25):
        (lacking / dose_file(dose)).unlink()
    monkeypatch.setattr("training.export.bundle.fit_sampling", lambda *_: pytest.fail("fitted"))
    with pytest.raises(InputError, match=r"lacking: no dose-0.050.nii.gz, dose-0.250.nii.gz"):
        export_bundle(run, calibration, [*cases, lacking], cases, tmp_path / "made", "made")
    assert not (tmp_path / "made").exists()


def test_the_strength_is_the_lowest_of_those_that_are_about_as_good_as_the_best(made, monkeypatch):
    errors = {0.7: 0.30, 0.85: 0.21, 1.0: 0.2005, 1.2: 0.2, 1.5: 0.2002, 2.0: 0.25}
    monkeypatch.setattr("training.export.fit._full_dose_error", lambda bundle, case, options: errors[options.strength])
    assert fit_strength(None, made[0]) == 1.0


def test_the_uncertainty_holds_as_many_voxels_as_it_says_at_each_level_of_noise():
    """Errors that are normal with three deviations of the samples in quiet scans and six in noisy ones."""
    rng = np.random.default_rng(0)
    scans = [
        Scattered(level * rng.uniform(0.95, 1.05), np.abs(rng.normal(0, wide, 20_000)))
        for level, wide in ((0.05, 3.0), (0.1, 3.0), (0.3, 6.0), (0.5, 6.0))
        for _ in range(2)
    ]
    levels, scales = fit_uncertainty(scans)
    assert levels == pytest.approx([0.05, 0.1, 0.3, 0.5], rel=0.06)
    assert scales == pytest.approx([3, 3, 6, 6], rel=0.03)


def test_a_bundle_fitted_again_keeps_its_weights_to_the_byte_and_what_it_was_trained_on(made, tmp_path, capsys):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, iterations=1), cases, folder / "again").parent
    first = export_bundle(run, calibration, cases[:1], cases, tmp_path / "first", "to be fitted again")
    (first / "MODEL_CARD.md").write_text("a card\n")
    manifest = json.loads((first / "bundle.json").read_text())
    (first / "bundle.json").write_text(json.dumps(manifest | {"scores": {"of": "the path before"}}))
    arguments = ["--validation", str(cases[0].parent), "--output", str(tmp_path / "second")]
    assert main(["refit", "--bundle", str(first), *arguments]) == 0
    second = tmp_path / "second"
    assert capsys.readouterr().out.strip() == str(second)
    for name in ("weights.safetensors", "MODEL_CARD.md"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    before, after = (load_bundle(each).manifest.to_dict() for each in (first, second))
    assert (before.pop("name"), after.pop("name")) == ("first", "second")
    assert before.pop("scores") and not after.pop("scores")
    counts = tuple(each["training_data"].pop("validation_cases") for each in (before, after))
    assert counts == (1, len(cases))
    assert before.pop("sampling") != after.pop("sampling")
    assert before == after
    assert main(["refit", "--bundle", str(first), *arguments]) == 2  # the folder is taken now
    assert f"{second} exists" in capsys.readouterr().err


def test_a_folder_that_is_taken_is_named_before_anything_is_fitted(made, tmp_path, monkeypatch):
    cases, calibration, folder = made
    run = train(replace(ANCHORED, iterations=1), cases, folder / "taken").parent
    monkeypatch.setattr("training.export.bundle.fit_sampling", lambda *_: pytest.fail("fitted"))
    with pytest.raises(InputError, match="exists"):
        export_bundle(run, calibration, cases, cases, tmp_path, "taken")
