"""What cases of scanners unlike those of training say: how near an anchored dose comes to the real one beside the mix,
and what dose the network is told of a scan with wide noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from MAPDiffLib.model.bundle import load_bundle, save_bundle
from MAPDiffLib.model.network import DenoisingUNet, _embedding
from MAPDiffLib.restoration.noise import noise_volume_mm3, noise_widths
from MAPDiffLib.restoration.restore import RestoreOptions
from Testing.tiny import CONFIG, manifest_fields, tiny_bundle, tiny_case
from training.cases.case_file import read_dose
from training.evaluation.networks import restored_images
from training.export.other_scanners import HELD, POWERS, mistrusting, restored_unlike, uncertainty_that_holds
from training.scores.doses import coverage

FIRST, ANCHORED = 999, 400


def trusting(**trust_at: float) -> dict[str, torch.Tensor]:
    """Weights of a network that returns the scan, but for the given share of the state at FIRST or ANCHORED."""
    torch.manual_seed(0)
    network = DenoisingUNet(CONFIG)
    wanted = torch.tensor([trust_at.get("first", 0.0), trust_at.get("anchored", 0.0)])
    with torch.no_grad():
        t = torch.tensor([FIRST, ANCHORED]) / 1000
        embedded = network.embed(_embedding(t, torch.full((2,), 0.05), CONFIG.embedding))
        network.gains.weight[1] = torch.linalg.lstsq(embedded, wanted[:, None], driver="gelsd").solution[:, 0]
    return network.state_dict()


@pytest.fixture
def case(tmp_path):
    return tiny_case(tmp_path / "case")


def over_mixes(folder, network, case) -> dict[float, float]:
    """Of a share of 1 at 1/4 and of none at 1/2."""
    fields = manifest_fields()
    weights = {str(FIRST): 1.0, str(ANCHORED): 0.0, "50": 0.0}
    combine = {"0.25": {"anchored": 1.0}, "0.5": {"anchored": 0.0}, "1": {"estimate": weights}}
    sampling = fields["sampling"] | {"timesteps": [FIRST, ANCHORED, 200, 50]}
    fit = {"input_dose": 0.05, "samples": 2, "combine": combine, "uncertainty_scale": 1.0}
    fields |= {
        "sampling": sampling,
        "anchors": [{"dose": d, "tau": t} for d, t in ((0.25, ANCHORED), (0.5, 200), (1.0, 0))],
    }
    bundle = load_bundle(save_bundle(folder, CONFIG, network, fields))
    return restored_unlike(bundle, fit, case).over_mixes


def test_an_anchored_dose_is_measured_against_the_mix_as_restored(tmp_path, case):
    """Full dose, and with it the mix, is spoilt by noise where the anchored estimate is the scan; and the reverse."""
    helping, harming = trusting(first=0.3), trusting(anchored=0.3)
    assert set(over_mixes(tmp_path / "helping", helping, case)) == {0.25}
    assert over_mixes(tmp_path / "again", helping, case)[0.25] < 0.99
    assert over_mixes(tmp_path / "harming", harming, case)[0.25] > 1.01
    assert over_mixes(tmp_path / "neither", trusting(), case)[0.25] == pytest.approx(1, abs=1e-6)


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
    noise = {"noise_voxels": [9.0, 9.0], "wide_noise": {"mm3": known, "power": 0.0}}
    bundle = load_bundle(save_bundle(tmp_path / "bundle", CONFIG, network.state_dict(), fields))
    assert mistrusting(bundle, 0.05, noise, [case]) == noise | {"wide_noise": {"mm3": known, "power": right}}


def held(bundle, fit, cases) -> list[float]:
    """The share of each case's body that the 90 % interval of a restoration holds."""
    manifest = bundle.manifest | {"sampling": bundle.manifest["sampling"] | {"fits": [fit]}}
    shares = []
    for case in cases:
        scan, real = read_dose(case, 0.05), read_dose(case, 1.0).voxels
        options = RestoreOptions(doses=(1.0,), input_dose=0.05)
        images, ending = restored_images(scan, replace(bundle, manifest=manifest), options)
        shares.append(coverage(images[1.0], ending.uncertainty.voxels, real, scan.body))
    return shares


def test_the_uncertainty_is_moved_as_little_as_holds_enough_and_not_too_much(tmp_path):
    cases = [tiny_case(tmp_path / f"case-{seed}", seed) for seed in (1, 2)]
    bundle = load_bundle(tiny_bundle(tmp_path / "bundle"))
    (fit,) = bundle.manifest["sampling"]["fits"]
    assert not HELD[0] < np.mean(held(bundle, fit, cases)) < HELD[1]

    def moved_from(scale: float) -> float:
        restored = [restored_unlike(bundle, fit | {"uncertainty_scale": scale}, case) for case in cases]
        return uncertainty_that_holds(scale, restored)

    for scale, wanted in ((1e-3, HELD[0]), (1e3, HELD[1])):
        moved = moved_from(scale)
        assert np.mean(held(bundle, fit | {"uncertainty_scale": moved}, cases)) == pytest.approx(wanted, abs=0.01)
        between = moved * (1.1 if wanted == HELD[0] else 0.95)
        assert moved_from(between) == pytest.approx(between)
