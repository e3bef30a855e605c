"""An anchor keeps its share only where it is nearer to the real dose than the mix, on scanners it was not fitted on;
and there it is decided what dose the network is told of a scan with wide noise."""

from __future__ import annotations

import pytest
import torch

from MAPDiffLib.bundle import load_bundle, save_bundle
from MAPDiffLib.network import DenoisingUNet, _embedding
from MAPDiffLib.noise import noise_volume_mm3, noise_widths
from Testing.tiny import CONFIG, manifest_fields, tiny_case
from training.datasets import read_dose
from training.unlike import POWERS, fits_that_hold

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


def shares(folder, weights, case) -> dict[str, float]:
    """What is left of shares of 1 at 1/4 and of none at 1/2."""
    fields = manifest_fields()
    combine = {"0.25": {"anchored": 1.0}, "0.5": {"anchored": 0.0}, "1": {"estimate": {str(FIRST): 1.0}}}
    sampling = fields["sampling"] | {"timesteps": [FIRST, ANCHORED, 200, 50]}
    sampling["fits"] = [{"input_dose": 0.05, "combine": combine, "uncertainty_scale": 1.0}]
    fields |= {
        "sampling": sampling,
        "anchors": [{"dose": d, "tau": t} for d, t in ((0.25, ANCHORED), (0.5, 200), (1.0, 0))],
    }
    bundle = load_bundle(save_bundle(folder, CONFIG, weights, fields))
    (fit,) = fits_that_hold(bundle, [case])
    assert fit["combine"]["1"] == combine["1"] and fit["uncertainty_scale"] == 1.0
    assert bundle.manifest["sampling"]["fits"][0]["combine"] == combine  # the bundle itself is left as it was
    return {dose: rule["anchored"] for dose, rule in fit["combine"].items() if dose != "1"}


def test_a_share_that_helps_stays(tmp_path, case):
    """Full dose, and with it the mix, is spoilt by noise; the anchored estimate is the scan."""
    assert shares(tmp_path / "bundle", trusting(first=0.3), case) == {"0.25": 1.0, "0.5": 0.0}


def test_a_share_that_harms_is_dropped(tmp_path, case):
    assert shares(tmp_path / "bundle", trusting(anchored=0.3), case) == {"0.25": 0.0, "0.5": 0.0}


def test_a_share_that_changes_nothing_is_dropped(tmp_path, case):
    assert shares(tmp_path / "bundle", trusting(), case) == {"0.25": 0.0, "0.5": 0.0}


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
    fit = {"input_dose": 0.05, "combine": {"1": {"estimate": {str(FIRST): 1.0}}}, "uncertainty_scale": 1.0}
    fit["wide_noise"] = {"mm3": known, "power": 0.0}
    fields["sampling"] = fields["sampling"] | {"timesteps": [FIRST], "fits": [fit]}
    bundle = load_bundle(save_bundle(tmp_path / "bundle", CONFIG, network.state_dict(), fields))
    (found,) = fits_that_hold(bundle, [case])
    assert found == fit | {"wide_noise": {"mm3": known, "power": right}}
