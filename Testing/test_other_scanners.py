"""What cases of scanners unlike those of training say: what dose the network is told of a scan with wide noise, and how
wide the uncertainty has to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import load_bundle, save_bundle
from MAPDiffLib.model.manifest import WideNoise
from MAPDiffLib.model.network import DenoisingUNet, _embedding
from MAPDiffLib.restoration.noise import noise_volume_mm3, noise_widths
from MAPDiffLib.restoration.restore import restore
from Testing.tiny import CONFIG, manifest_fields, tiny_bundle, tiny_case
from training.cases.case_file import read_dose
from training.export.other_scanners import HELD, POWERS, errors_over_uncertainty, mistrusting, scale_that_holds
from training.export.variants import with_fit, without_path
from training.scores.doses import coverage

FIRST = 999


@pytest.fixture
def case(tmp_path):
    return tiny_case(tmp_path / "case")


@pytest.mark.parametrize("right", [0.0, 0.4, 0.8])
def test_wide_noise_divides_the_dose_told_by_what_makes_the_least_error(tmp_path, case, right):
    """A network that returns the scan when told the right dose, and noise besides when told another."""
    scan = read_dose(case, 0.05)
    known = noise_volume_mm3(noise_widths(scan.voxels, scan.body, scan.spacing_mm)) / 4
    told = {power: 0.05 / 4**power for power in POWERS}
    torch.manual_seed(0)
    network = DenoisingUNet(CONFIG)
    with torch.no_grad():
        doses = torch.tensor(list(told.values()))
        embedded = network.embed(_embedding(torch.full((len(doses),), FIRST / 1000), doses, CONFIG.embedding))
        wanted = torch.tensor([[0.0 if power == right else 0.3] for power in told])
        network.gains.weight[1] = torch.linalg.lstsq(embedded, wanted, driver="gelsd").solution[:, 0]
    fields = manifest_fields() | {"input_doses": [0.001, 0.1], "anchors": [{"dose": 1.0, "tau": 0}]}
    fields["sampling"] = fields["sampling"] | {"timesteps": [FIRST]}
    bundle = load_bundle(save_bundle(tmp_path / "bundle", CONFIG, network.state_dict(), fields))
    assert mistrusting(bundle, 0.05, (9.0, 9.0), WideNoise(known, 0.0), [case]) == WideNoise(known, right)


def held(bundle, fit, cases) -> list[float]:
    """The share of each case's body that the 90 % interval of a restoration holds."""
    shares = []
    for case in cases:
        scan, real = read_dose(case, 0.05), read_dose(case, 1.0).voxels
        restoration = restore(scan, with_fit(bundle, fit), RestoreOptions(doses=(1.0,), input_dose=0.05))
        (restored,) = restoration
        shares.append(coverage(restored.volume.voxels, restoration.uncertainty.voxels, real, scan.body))
    return shares


def test_the_uncertainty_is_moved_as_little_as_holds_enough_and_not_too_much(tmp_path):
    cases = [tiny_case(tmp_path / f"case-{seed}", seed) for seed in (1, 2)]
    bundle = load_bundle(tiny_bundle(tmp_path / "bundle"))
    (fit,) = bundle.manifest.fits
    assert not HELD[0] < np.mean(held(bundle, fit, cases)) < HELD[1]

    def moved_from(scale: float):
        scaled = replace(fit, uncertainty_scale=scale)
        return scale_that_holds(scaled, [errors_over_uncertainty(bundle, scaled, case) for case in cases])

    for scale, wanted in ((1e-3, HELD[0]), (1e3, HELD[1])):
        moved = moved_from(scale)
        assert np.mean(held(bundle, moved, cases)) == pytest.approx(wanted, abs=0.01)
        between = moved.uncertainty_scale * (1.1 if wanted == HELD[0] else 0.95)
        assert moved_from(between).uncertainty_scale == pytest.approx(between)


def test_a_bundle_without_its_path_makes_one_estimate_at_pure_noise(tmp_path, case):
    restoration = restore(read_dose(case, 0.05), without_path(load_bundle(tiny_bundle(tmp_path / "bundle"))))
    assert [restored.dose for restored in restoration] == [1.0]
    assert restoration.report["sampling"]["timesteps"] == [FIRST]
