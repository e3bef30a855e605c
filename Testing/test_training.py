"""Training on tiny cases: the loss by hand, numbered batches, resuming after a kill, fitting known weights."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.diffusion import Diffusion, deterministic_sampler
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.scan.volume import Volume, write_volume
from Testing.tiny import tiny_bundle
from Testing.waiting import PATIENCE_S, WaitingCall, wait_until
from training.cases.augmentation import AS_THEY_ARE
from training.cases.case_file import ALL_DOSES, dose_file, find_cases
from training.cases.loader import batches
from training.cases.patches import PatchSource
from training.config import CONFIGS, TrainConfig, load_config
from training.loss import NO_ANCHOR, anchored_loss
from training.run_folder import CHECKPOINT, LOG
from training.train import averaged_weights, begin, draw_stops, draw_timesteps, patches_of, train, update

ROOT = Path(__file__).parent.parent
TINY = TrainConfig(
    name="tiny", network=NetworkConfig(widths=(4, 8), embedding=16), patch=16, batch=4, iterations=6, warmup=2,
    checkpoint_every=2, input_doses={0.05: 1.0}, mode="noised", end_share=0.5, low_timesteps=250,
)  # fmt: skip

PATH = replace(
    TINY, mode="path", path_share=0.5, end_share=TrainConfig.end_share, low_timesteps=TrainConfig.low_timesteps
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Two noisy boxes at every dose: noise falls as 1 / sqrt(dose)."""
    folder = tmp_path_factory.mktemp("cases")
    for number in range(2):
        case = folder / f"case-{number:05d}"
        case.mkdir()
        rng = np.random.default_rng(number)
        truth = np.zeros((32, 28, 30), np.float32)
        truth[3:29, 4:24, 4:26] = 1.0
        truth[10:18, 8:16, 8:16] = 4.0
        for dose in ALL_DOSES:
            noisy = truth * (1 + 0.05 / np.sqrt(dose) * rng.standard_normal(truth.shape))
            voxels = np.maximum(noisy, 0).astype(np.float32)
            volume = Volume(voxels, (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1), "SUVbw", {})
            write_volume(volume, case / dose_file(dose))
        (case / "case.json").write_text(json.dumps({"spacing_mm": [4.0, 4.0, 4.0]}))
    return find_cases(folder)


def loss_inputs(t):
    shape = (1, 1, 2, 2, 2)
    ladder = torch.stack([torch.full(shape[2:], value) for value in (4.0, 3.0, 2.0, 1.0)])[None]
    return dict(
        output=torch.full(shape, 1.5), x_t=torch.zeros(shape), noise=torch.zeros(shape), t=torch.tensor([t]),
        ladder=ladder, weight=torch.ones(shape),
    )  # fmt: skip


@pytest.mark.parametrize(("error", "exponent"), [("squares", 2), ("absolute", 1)])
@pytest.mark.parametrize(("t", "target"), [(999, 4.0), (200, 4.0), (150, 3.0), (70, 2.0), (10, 1.0)])
def test_the_loss_is_the_papers_worked_by_hand(t, target, error, exponent):
    config = TrainConfig(anchor_lambda=0.5, power=2.0, error=error)
    loss = anchored_loss(**loss_inputs(t), config=config)
    denoising, anchor, weight = 0.5**exponent, abs(1.5 - target) ** exponent, 0.5 * (1 - t / 1000) ** 2
    assert loss.denoising.item() == pytest.approx(denoising)
    assert loss.anchor.item() == pytest.approx(anchor, rel=1e-4)
    assert loss.total.item() == pytest.approx(denoising + weight * anchor, rel=1e-4)
    assert loss.balanced.item() == pytest.approx((denoising + weight * anchor) / (1 + weight), rel=1e-4)


@pytest.mark.parametrize(("t", "supervised"), [(300, False), (150, False), (100, True), (10, False)])
def test_anchors_that_are_left_out_do_not_supervise(t, supervised):
    config = TrainConfig(anchored_doses=(0.5,))
    loss = anchored_loss(**loss_inputs(t), config=config)
    assert (loss.anchor_weight.item() > 0) == supervised
    if not supervised:
        assert loss.total.item() == pytest.approx(loss.denoising.item())


def test_without_the_anchor_term_full_dose_alone_is_enough_and_nothing_is_said_of_anchors(cases, tmp_path):
    config, inputs = TrainConfig(anchor_lambda=0.0), loss_inputs(300)
    alone = anchored_loss(**(inputs | {"ladder": inputs["ladder"][:, -1:]}), config=config)
    assert alone.total.item() == anchored_loss(**inputs, config=config).total.item() == pytest.approx(0.5)
    assert alone.anchor_index.tolist() == [NO_ANCHOR]
    for lam, said in ((0.0, False), (1.0, True)):
        run = tmp_path / f"{lam}"
        train(replace(TINY, anchor_lambda=lam, batch=1, iterations=20), cases, run)
        row = json.loads((run / LOG).read_text().splitlines()[-1])
        assert row["denoising"] > 0 and any(name.startswith("anchor") for name in row) == said
    sources = (patches_of(replace(config, patch=16, anchor_lambda=lam), cases, torch.device("cpu")) for lam in (0, 1))
    short, whole = (source.batch(0, [0, 1]).ladder for source in sources)
    assert short.shape[1] == 1 and torch.equal(short[:, 0], whole[:, -1])


def test_the_weight_leaves_air_out_of_the_loss():
    inputs = loss_inputs(10)
    inputs["weight"][..., 0] = 0
    inputs["output"][..., 0] = 99.0
    assert anchored_loss(**inputs, config=TrainConfig()).denoising.item() == pytest.approx(0.5)


def test_eps_predictions_anchor_term_stays_bounded_at_the_noisiest_step():
    config = TrainConfig(diffusion=Diffusion(schedule="linear", prediction="eps"))
    loss = anchored_loss(**(loss_inputs(998) | {"x_t": torch.full((1, 1, 2, 2, 2), 9.0)}), config=config)
    assert torch.isfinite(loss.total) and loss.anchor < 20**2


def test_batches_are_the_same_on_every_run_and_split_over_processes(cases):
    whole = PatchSource(cases, 16, {0.05: 0.5, 0.1: 0.5}, seed=1).batch(7, [0, 1, 2, 3])
    half = PatchSource(cases, 16, {0.05: 0.5, 0.1: 0.5}, seed=1).batch(7, [1, 3])
    assert torch.equal(whole.scan[[1, 3]], half.scan) and torch.equal(whole.ladder[[1, 3]], half.ladder)
    other = PatchSource(cases, 16, {0.05: 0.5, 0.1: 0.5}, seed=1).batch(8, [0, 1, 2, 3])
    assert not torch.equal(whole.scan, other.scan)


def test_patches_hold_the_scan_and_the_anchors_at_the_same_place(cases):
    """Of cases without a noise-free image: the counts that the scan has not are their target."""
    batch = PatchSource(cases, 16, {0.05: 1.0}, seed=1).batch(0, list(range(8)))
    assert batch.scan.shape == (8, 1, 16, 16, 16) and batch.ladder.shape == (8, 4, 16, 16, 16)
    errors = [(batch.scan[:, 0] - batch.ladder[:, k]).square().mean() for k in range(4)]
    inside = batch.weight > 0.5
    assert inside.float().mean() > 0.2
    assert np.corrcoef(batch.scan[inside], batch.ladder[:, 3:][inside])[0, 1] > 0.8
    noise = [(batch.ladder[:, k] - batch.ladder[:, 3]).square().mean() for k in range(3)]
    assert noise[0] > noise[1] > noise[2] > 0 and min(errors) > 0


def test_zoomed_patches_show_the_same_anatomy_on_finer_voxels(cases):
    plain = PatchSource(cases, 16, {0.05: 1.0}, seed=1).batch(0, list(range(32)))
    every = replace(AS_THEY_ARE, zoomed=1.0)
    zoomed = PatchSource(cases, 16, {0.05: 1.0}, seed=1, variety=every).batch(0, list(range(32)))
    assert zoomed.scan.shape == plain.scan.shape and zoomed.weight.shape == plain.weight.shape

    def roughness(scan: torch.Tensor) -> float:
        """Of neighbours along z, against the whole spread: falls when voxels become finer than the noise."""
        return (scan.diff(dim=2).std() / scan.std()).item()

    assert roughness(zoomed.scan) < 0.8 * roughness(plain.scan)
    inside = zoomed.weight > 0.5
    assert np.corrcoef(zoomed.scan[inside], zoomed.ladder[:, 3:][inside])[0, 1] > 0.8


def test_worker_processes_make_the_batches_that_the_trainer_would(cases):
    source = PatchSource(cases, 16, {0.05: 1.0}, seed=1)
    alone = list(batches(source, [0, 1], range(3, 6), torch.device("cpu")))
    shared = list(batches(source, [0, 1], range(3, 6), torch.device("cpu"), workers=2))
    assert len(alone) == len(shared) == 3
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_the_stops_of_a_path_lie_in_the_anchors_intervals_and_half_of_them_on_the_taus():
    config = TrainConfig(taus=(131, 72, 38, 0))
    stops = draw_stops(config, iteration=5, items=list(range(40)))
    assert stops.shape == (4, 40) and (stops.diff(dim=0) < 0).all()
    usual = torch.tensor([131, 72, 38, 19])[:, None]
    assert (stops[:, 0::2] == usual).all()
    # The other half at the next iteration, for a batch of which one item goes down the path.
    assert (draw_stops(config, iteration=6, items=list(range(40)))[:, 1::2] == usual).all()
    for row, (low, high) in zip(stops, ((131, 262), (72, 131), (38, 72), (1, 38)), strict=True):
        assert ((row >= low) & (row < high)).all() and len(row.unique()) > 5


def test_a_path_trains_each_stop_on_the_state_its_sampler_would_reach(cases, tmp_path, monkeypatch):
    """The states that the network was shown, against the sampler's own over the same noise and answers."""
    config = replace(PATH, taus=(131, 72, 38, 0), iterations=1)
    seen = []
    forward = DenoisingUNet.forward

    def watched(self, x_t, scan, t, noise):
        output = forward(self, x_t, scan, t, noise)
        seen.append((x_t.detach(), t, output.detach()))
        return output

    monkeypatch.setattr(DenoisingUNet, "forward", watched)
    train(config, cases, tmp_path)
    assert [len(t) for _, t, _ in seen] == [4, 2, 2, 2, 2]
    for item in range(2):
        steps = [round(t[item].item() * 1000) for _, t, _ in seen]
        answers = iter(output[item] for _, _, output in seen)
        states = []

        def denoise(x_t, t, states=states, answers=answers):
            states.append(x_t)
            return next(answers)

        list(deterministic_sampler(config.diffusion, denoise, seen[0][0][item], steps))
        for (x_t, _, _), state in zip(seen, states, strict=True):
            assert torch.allclose(x_t[item], state, atol=1e-5)


def test_a_batch_too_small_for_its_path_is_refused(cases, tmp_path):
    """Rounded to no item, the path would go untrained, and the loss would look well."""
    config = replace(PATH, path_share=0.25, batch=2)
    with pytest.raises(InputError, match="batch is 2, 2 for each of 1 processes.*it takes a batch of 3"):
        train(config, cases, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fabric, _, model, optimizer = begin(least := replace(config, batch=3))
    batch = PatchSource(cases, least.patch, least.input_doses, least.seed).batch(0, [0, 1, 2])
    losses = update(fabric, model, optimizer, least, batch, 0, [0, 1, 2])
    assert [len(loss.total) for loss in losses] == [3, 1, 1, 1, 1]


def test_a_fresh_run_begins_with_the_mean_of_the_weights_given(tmp_path):
    runs = [tmp_path / "one.ckpt", tmp_path / "other.ckpt"]
    for value, run in enumerate(runs):
        weights = {name: torch.full_like(w, value) for name, w in DenoisingUNet(TINY.network).state_dict().items()}
        torch.save({"average": weights}, run)
    _, network, *_ = begin(TINY, start_from=runs)
    assert all(w.eq(0.5).all() for w in network.state_dict().values())
    _, network, *_ = begin(TINY, start_from=runs[1:])
    assert all(w.eq(1).all() for w in network.state_dict().values())
    (tmp_path / "run").mkdir()
    runs[1].rename(tmp_path / "run" / CHECKPOINT)
    _, network, *_ = begin(TINY, start_from=[runs[0], tmp_path / "run"])
    assert all(w.eq(0.5).all() for w in network.state_dict().values())


def test_a_run_goes_on_from_a_bundle(tmp_path):
    bundle = load_bundle(tiny_bundle(tmp_path / "tiny"))
    _, network, *_ = begin(replace(TINY, network=bundle.network.config), start_from=[bundle.folder])
    saved = bundle.network.state_dict()
    assert all(torch.equal(weights, saved[name]) for name, weights in network.state_dict().items())
    assert begin(TrainConfig(), start_from=["mapdiff-base"])[1].config == TrainConfig().network  # by its name


def test_a_start_that_cannot_be_read_is_refused_and_leaves_no_run_behind(cases, tmp_path):
    (tmp_path / "text.ckpt").write_text("no weights")
    for wrong, said in (
        (tmp_path, "no run with a .*bundle.json is missing"),
        (tmp_path / "none.ckpt", "no run with a .*does not exist"),
        (tmp_path / "text.ckpt", "text.ckpt is no checkpoint of a training run"),
        ("mapdiff-bass", "no run with a .*no bundle is called 'mapdiff-bass'"),
    ):
        with pytest.raises(InputError, match=said):
            train(TINY, cases, tmp_path / "run", [wrong])
        assert not (tmp_path / "run").exists()


def test_an_anchor_at_or_below_the_inputs_dose_is_replaced_by_the_next_above(cases):
    batch = PatchSource(cases, 16, {0.1: 1.0}, seed=1).batch(0, [0, 1])
    assert torch.equal(batch.ladder[:, 0], batch.ladder[:, 1])
    assert not torch.equal(batch.scan[:, 0], batch.ladder[:, 0])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(cases, tmp_path):
    whole = averaged_weights(train(TINY, cases, tmp_path / "whole"))
    folder = tmp_path / "resumed"
    (tmp_path / "tiny.json").write_text(TINY.to_json())
    command = [sys.executable, "-m", "training", "train", "--config", str(tmp_path / "tiny.json")]
    process = subprocess.Popen(
        [*command, "--cases", str(cases[0].parent), "--output", str(folder)],
        cwd=ROOT, env=os.environ | WaitingCall("training.train", "_save", tmp_path, after=1).environment,
    )  # fmt: skip
    wait_until((folder / CHECKPOINT).exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = averaged_weights(train(TINY, cases, folder))
    for name, value in whole.items():
        assert torch.allclose(resumed[name], value, atol=1e-6), name


@pytest.mark.long
def test_two_processes_under_torchrun_train_what_one_process_does(cases, tmp_path):
    """With noised states; down the path: test_training_kill."""
    config = replace(TINY, error="squares")  # the sign of an absolute error enlarges the last bits of sums
    alone = averaged_weights(train(config, cases, tmp_path / "alone"))
    (tmp_path / "tiny.json").write_text(config.to_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
    command += ["train", "--config", str(tmp_path / "tiny.json"), "--cases", str(cases[0].parent)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "both")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Starting with 2 processes" in done.stderr
    both = averaged_weights(tmp_path / "both" / CHECKPOINT)
    for name, value in alone.items():
        assert torch.allclose(both[name], value, atol=1e-5), name


def test_training_lowers_the_loss_and_logs_it(cases, tmp_path):
    config = replace(TINY, iterations=60, learning_rate=3e-3, warmup=5, checkpoint_every=60)
    train(config, cases, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [20, 40, 60]
    assert rows[-1]["denoising"] < 0.98 * rows[0]["denoising"]  # most of the target is noise of its own
    assert all(0 <= row["waiting_for_data"] <= 1 for row in rows)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_a_folder_with_another_configuration_is_not_continued(cases, tmp_path):
    train(replace(TINY, iterations=1), cases, tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        train(replace(TINY, iterations=1, power=3.0), cases, tmp_path)


def test_a_configuration_says_only_what_differs_and_survives_the_round_trip():
    for path in CONFIGS.glob("*.json"):
        config = load_config(path.stem)
        assert TrainConfig.from_json(config.to_json()) == config and config.name == path.stem


def test_a_configuration_differs_from_its_base_in_nothing_but_what_it_says(tmp_path):
    assert load_config("no-anchors") == replace(load_config("anchored"), name="no-anchors", anchor_lambda=0.0)
    constant = "paper-constant-weight"
    assert load_config(constant) == replace(load_config("paper"), name=constant, power=0.0)
    (tmp_path / "mine.json").write_text('{"base": "mapdiff-base", "variety": {"zoomed": 0}, "input_doses": {"0.1": 1}}')
    (tmp_path / "longer.json").write_text('{"base": "mine.json", "iterations": 9}')
    base, longer = load_config("mapdiff-base"), load_config(str(tmp_path / "longer.json"), variety={"between": 0.5})
    assert longer.variety == replace(base.variety, zoomed=0, between=0.5)  # setting by setting
    assert longer.input_doses == {0.1: 1}  # a mixture is one setting: as it stands
    nested = dict(variety=longer.variety, input_doses=longer.input_doses)
    assert longer == replace(base, name="longer", iterations=9, **nested)


def test_a_base_that_is_not_there_or_leads_back_is_named(tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text('{"base": "other.json"}')
    with pytest.raises(InputError, match="other.json: no such training config"):
        load_config(str(one))
    other.write_text('{"base": "one.json"}')
    with pytest.raises(InputError, match="one.json: is its own base, by way of one.json, other.json"):
        load_config(str(one))


def test_the_mode_decides_what_an_item_is_trained_on():
    """A regression on pure noise alone; the paper's timesteps anywhere; a share of them at the end where it is told."""
    items = list(range(200))
    last = Diffusion().timesteps - 1
    assert draw_timesteps(TrainConfig(mode="regression"), 0, items).eq(last).all()
    anywhere = draw_timesteps(TrainConfig(mode="noised"), 0, items)
    assert 1 <= anywhere.min() < 100 and 900 < anywhere.max() <= last and anywhere.eq(last).sum() < 5
    half = draw_timesteps(TrainConfig(mode="noised", end_share=0.5, low_timesteps=10), 0, items)
    assert 70 < half.eq(last).sum() < 130 and half[half != last].max() < 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('{"learning_rat": 1}', "learning_rat"),
        ('{"taus": [1, 2, 3, 4]}', "strictly falling"),
        ('{"taus": 5}', "training config"),
        ('{"patch": 50}', "patch is 50"),
        ('{"mode": "paths"}', "one of regression, path, noised"),
        ('{"mode": "path", "path_share": 0}', "path_share is 0"),
        ('{"path_share": 0.5}', "path_share is 0.5, a setting of mode path; mode is regression"),
        ('{"mode": "path", "end_share": 0.5}', "a setting of mode noised"),
        ('{"network": {"blocks": 99}}', "network: blocks is 99"),
        ('{"network": 3}', "an object of settings is needed"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        TrainConfig.from_json(wrong)


def test_missing_cases_are_named_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="mapdiff-train simulate"):
        find_cases(tmp_path)


def test_only_the_named_parts_are_trained_and_the_rest_stays_to_the_bit(cases, tmp_path):
    started = averaged_weights(train(TINY, cases, tmp_path / "first"))
    config = replace(TINY, trained=("stem", "encoder.0"), learning_rate=0.1)
    ended = averaged_weights(train(config, cases, tmp_path / "second", [tmp_path / "first"]))
    for name, tensor in started.items():
        assert torch.equal(tensor, ended[name]) != name.startswith(("stem", "encoder.0")), name


def test_a_part_that_the_network_does_not_have_is_refused(cases, tmp_path):
    with pytest.raises(InputError, match="decoder.7"):
        train(replace(TINY, trained=("decoder.7",)), cases, tmp_path / "run")
    assert not (tmp_path / "run").exists()
