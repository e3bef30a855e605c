"""An anchor keeps its share only where it is nearer to the real dose than the mix, on scanners it was not fitted on."""

from __future__ import annotations

import pytest
import torch

from MAPDiffLib.bundle import load_bundle, save_bundle
from MAPDiffLib.network import DenoisingUNet, _embedding
from Testing.tiny import CONFIG, manifest_fields, tiny_case
from training.unlike import fits_that_hold

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
