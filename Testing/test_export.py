"""From cases to bundles: a one-pass regression, then a network that refines its estimates, and a scan through both."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from MAPDiffLib.bundle import load_bundle
from MAPDiffLib.errors import InputError
from MAPDiffLib.network import NetworkConfig, TwoStage
from MAPDiffLib.restore import RestoreOptions, restore
from MAPDiffLib.volume import Volume
from Testing.tiny import tiny_case
from training import export_bundle as export
from training.config import TrainConfig
from training.datasets import read_dose
from training.fit import Measured
from training.train import train

NETWORK = NetworkConfig(widths=(4, 8), embedding=16)
REFINING = TrainConfig(
    name="tiny", network=replace(NETWORK, refines=True), taus=(131, 72, 38, 0), patch=16, batch=2, iterations=2,
    warmup=1, input_doses={0.05: 1.0}, learning_rate=1e-2,
)  # fmt: skip
ONE_PASS = replace(REFINING, network=NETWORK, end_share=1.0, anchor_lambda=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(cases, calibration.json, run of the prior, its bundle, run of the network that refines)"""
    folder = tmp_path_factory.mktemp("made")
    cases = [tiny_case(folder / "cases" / f"case-{seed}", seed) for seed in range(3)]
    calibration = folder / "calibration.json"
    curve = {"doses": [0.01, 0.1, 1.0], "noise": [0.3, 0.1, 0.03], "scatter": 0.1}
    calibration.write_text(json.dumps({"dose_estimate": curve}))
    prior_run = train(ONE_PASS, cases, folder / "prior").parent
    prior = export.export_bundle(prior_run, calibration, cases, cases, folder / "bundles" / "prior", "a prior")
    run = train(REFINING, cases, folder / "run", prior=load_bundle(prior).network).parent
    return cases, calibration, prior_run, prior, run


def test_a_prior_and_its_path_become_one_bundle_that_restores_every_dose(made, tmp_path):
    cases, calibration, _, prior, run = made
    bundle = load_bundle(export.export_bundle(run, calibration, cases, cases, tmp_path / "both", "both", prior))
    assert isinstance(bundle.network, TwoStage)
    assert (bundle.folder / "prior.safetensors").read_bytes() == (prior / "weights.safetensors").read_bytes()
    sampling = bundle.manifest["sampling"]
    assert [anchor["tau"] for anchor in bundle.manifest["anchors"]] == [131, 72, 38, 0]
    assert set(sampling["combine"]["1"]["estimate"]) == set(map(str, sampling["timesteps"]))
    scan = read_dose(cases[0], 0.05)
    volume = Volume(scan.voxels, scan.spacing_mm, units=scan.units)
    doses = [each.dose for each in restore(volume, bundle, RestoreOptions(input_dose=0.05))]
    assert doses == [0.1, 0.25, 0.5, 1.0]


def test_the_stop_of_an_anchor_without_a_share_is_left_out_and_the_rest_fitted_again(made, tmp_path, monkeypatch):
    """Known estimates instead of the network: at 72 the real 1/4 dose, at the other anchors noise."""
    cases, calibration, _, prior, run = made
    asked = []

    def measured(network, diffusion, case, dose, timesteps, samples):
        asked.append(timesteps)
        rng = np.random.default_rng(cases.index(case))
        full = 1 + rng.random(4000, np.float32)
        scan, real = full + rng.standard_normal(4000), {}
        for known in (0.1, 0.25, 0.5):
            real[known] = full + 0.5 * rng.standard_normal(4000)
        known = {
            999: full + 0.1 * rng.standard_normal(4000),
            72: real[0.25],
            19: full + 0.01 * rng.standard_normal(4000),
        }
        noise = [5 * rng.standard_normal(4000) for _ in range(2)]
        known |= {131: full + noise[0], 38: full + noise[1]}
        return Measured(scan, np.stack([known[t] for t in timesteps]), real | {1.0: full}, np.ones(4000))

    monkeypatch.setattr(export, "measure", measured)
    folder = export.export_bundle(run, calibration, cases, cases, tmp_path / "both", "both", prior)
    sampling = load_bundle(folder).manifest["sampling"]
    assert sampling["timesteps"] == [999, 72, 19] and asked == [[999, 131, 72, 38, 19]] * 3 + [[999, 72, 19]] * 3
    assert sampling["combine"]["0.25"]["anchored"] == pytest.approx(1, abs=0.01)
    assert sampling["combine"]["0.1"] == sampling["combine"]["0.5"] == {"anchored": 0.0}
    assert sampling["combine"]["1"]["estimate"]["19"] > 0.9


def test_a_prior_is_given_where_it_is_needed_and_only_there(made, tmp_path):
    cases, calibration, prior_run, prior, run = made
    for which, given in ((run, None), (prior_run, prior)):
        with pytest.raises(InputError, match="--prior is needed where network.refines is set"):
            export.export_bundle(which, calibration, cases, cases, tmp_path / "refused", "refused", given)
    assert not (tmp_path / "refused").exists()
