"""The trained baselines on tiny cases: they start as the identity, learn, resume exactly, and survive being saved."""

import json
from dataclasses import replace

import pytest
import torch

from MAPDiffLib.errors import InputError
from Testing.tiny import tiny_case
from training.baselines.config import SMALLEST_PATCH, STRIDES, BaselineConfig
from training.baselines.models import OnePass, parameters
from training.baselines.saved import FACTS, WEIGHTS, load_baseline
from training.baselines.train import train_baseline
from training.cases.loader import batches
from training.cases.patches import PatchSource
from training.loss import weighted_mean
from training.run_folder import CHECKPOINT
from training.schedule import AveragedWeights, rate

pytest.importorskip("monai")
NOISE = torch.tensor([[0.3, 1.5, 2.0]])  # level, axial and in-plane width in voxels
UNET = BaselineConfig("unet", width=4, patch=16, batch=2, iterations=4, warmup=1, checkpoint_every=2)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return [tiny_case(tmp_path_factory.mktemp("cases") / "case-00000")]


@pytest.mark.parametrize("name", STRIDES)
def test_every_baseline_starts_as_the_identity_at_its_stride_and_has_a_comparable_size(name):
    network = OnePass(BaselineConfig(name, patch=64)).eval()
    scan = torch.randn(1, 1, 64, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network.restore(scan, NOISE), scan)
    assert 2e6 < parameters(network) < 4.5e6


def test_a_baseline_looks_at_the_scan_and_its_noise_alone():
    torch.manual_seed(0)
    network = OnePass(UNET).eval()
    torch.nn.init.normal_(network.body.final_conv.weight)
    scan, noise = torch.randn(1, 1, 16, 16, 16), NOISE
    t = torch.tensor([0.5])
    with torch.inference_mode():
        seen = network(torch.randn_like(scan), scan, t, noise)
        assert torch.equal(seen, network.restore(scan, noise))
        assert not torch.allclose(seen, network.restore(scan, 2 * NOISE))


@pytest.mark.parametrize("name", STRIDES)
def test_each_baseline_trains_and_is_saved_whole(name, cases, tmp_path):
    width, patch = {"swinunetr": 12}.get(name, 4), SMALLEST_PATCH[name]
    config = BaselineConfig(name, width=width, patch=patch, batch=1, iterations=1, warmup=1)
    folder = train_baseline(config, cases, tmp_path / name)
    network, facts = load_baseline(folder)
    assert facts["voxels_seen"] == config.voxels_seen == patch**3 and facts["parameters"] == parameters(network)
    scan = torch.randn(1, 1, 64, 32, 32)
    assert not torch.equal(network.restore(scan, NOISE), scan), "nothing was learnt"


def test_training_lowers_the_error_on_the_very_data(cases, tmp_path):
    config = replace(UNET, iterations=200, learning_rate=3e-3, checkpoint_every=200, input_doses={0.05: 1.0})
    network, _ = load_baseline(train_baseline(config, cases, tmp_path))
    batch = PatchSource(cases, 16, {0.05: 1.0}, seed=9).batch(0, range(4))
    full = batch.ladder[:, -1:]
    before = weighted_mean(batch.weight, (batch.scan - full).square()).mean()
    after = weighted_mean(batch.weight, (network.restore(batch.scan, batch.noise) - full).square()).mean()
    assert after < 0.8 * before


def test_a_training_that_diverges_says_so_and_saves_nothing_of_it(cases, tmp_path):
    config = replace(UNET, iterations=40, checkpoint_every=40, learning_rate=1e30)
    with pytest.raises(InputError, match=r"iteration \d+: .* not finite.*learning_rate"):
        train_baseline(config, cases, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("name", ["unet", "gan"])
def test_a_resumed_training_ends_where_an_unbroken_one_does(name, cases, tmp_path, monkeypatch):
    config = replace(UNET, name=name, patch=SMALLEST_PATCH[name], batch=1)
    whole, _ = load_baseline(train_baseline(config, cases, tmp_path / "whole"))

    class Killed(Exception):
        pass

    def stop_after_two(*arguments):
        for number, batch in enumerate(batches(*arguments)):
            if number == 2:
                raise Killed
            yield batch

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("training.baselines.train.batches", stop_after_two)
        train_baseline(config, cases, tmp_path / "broken")
    assert torch.load(tmp_path / "broken" / CHECKPOINT, weights_only=True)["iteration"] == 2
    resumed, facts = load_baseline(train_baseline(config, cases, tmp_path / "broken"))
    assert facts["iteration"] == 4
    for key, value in whole.named_parameters():
        assert torch.allclose(resumed.get_parameter(key), value, atol=1e-6), key


def test_the_weighted_mean_is_per_patch_and_worked_by_hand():
    weight, error = torch.ones(2, 1, 1, 1, 2), torch.tensor([1.0, 3.0, 10.0, 99.0]).reshape(2, 1, 1, 1, 2)
    weight[1, ..., 1] = 0
    assert weighted_mean(weight, error).tolist() == pytest.approx([2, 10])


def test_the_average_forgets_the_start_and_holds_a_constant():
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedWeights(network, decay=0.5)
    for iteration, value in enumerate((2.0, 4.0, 4.0), start=1):
        torch.nn.init.constant_(network.weight, value)
        average.update(network, iteration)
    # keep: 0, 2/11, 3/12 of what was there before
    second = 2 * 2 / 11 + 4 * 9 / 11
    assert average.module.weight.item() == pytest.approx(second * 0.25 + 4 * 0.75)


def test_the_rate_warms_up_and_falls_to_a_fiftieth():
    config = replace(UNET, iterations=1000, warmup=10, learning_rate=1.0)
    assert rate(config, 0) == pytest.approx(0.1, rel=1e-3)
    assert rate(config, 500) == pytest.approx(0.51)
    assert rate(config, 1000) == pytest.approx(0.02)


def test_a_baseline_that_cannot_be_is_refused_by_name(cases, tmp_path):
    with pytest.raises(InputError, match="unet, swinunetr, gan"):
        BaselineConfig("resnet")
    with pytest.raises(InputError, match="multiple of 32, 64 at least"):
        BaselineConfig("swinunetr", patch=48)
    with pytest.raises(InputError, match="learning_rat"):
        BaselineConfig.from_json('{"learning_rat": 1}')
    train_baseline(replace(UNET, iterations=1), cases, tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        train_baseline(replace(UNET, iterations=2), cases, tmp_path)


def test_an_altered_or_missing_baseline_is_refused(cases, tmp_path):
    with pytest.raises(InputError, match="mapdiff-train baseline"):
        load_baseline(tmp_path)
    folder = train_baseline(replace(UNET, iterations=1), cases, tmp_path / "run")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1] + b"\x7f")
    with pytest.raises(InputError, match="altered"):
        load_baseline(folder)
    facts = json.loads((folder / FACTS).read_text())
    assert facts["name"] == "unet"
