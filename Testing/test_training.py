"""Training on tiny cases: the loss by hand, numbered batches, resuming after a kill, fitting known weights."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MAPDiffLib.diffusion import Diffusion
from MAPDiffLib.doses import mix
from MAPDiffLib.errors import InputError
from MAPDiffLib.network import NetworkConfig
from MAPDiffLib.volume import Volume, write_volume
from training.config import CONFIGS, TrainConfig, load_config
from training.datasets import ALL_DOSES, PatchSource, dose_file, find_cases
from training.fit import Measured, fit_uncertainty, fit_weights
from training.loss import anchored_loss
from training.train import CHECKPOINT, LOG, averaged_weights, train

ROOT = Path(__file__).parent.parent
TINY = TrainConfig(
    name="tiny", network=NetworkConfig(widths=(4, 8), embedding=16), patch=16, batch=4, iterations=6, warmup=2,
    checkpoint_every=2, input_doses={0.05: 1.0}, low_timesteps=250,
)  # fmt: skip


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


@pytest.mark.parametrize(("t", "target"), [(999, 4.0), (200, 4.0), (150, 3.0), (70, 2.0), (10, 1.0)])
def test_the_loss_is_the_papers_worked_by_hand(t, target):
    config = TrainConfig(anchor_lambda=0.5, power=2.0)
    loss = anchored_loss(**loss_inputs(t), config=config)
    denoising, anchor = 0.5**2, (1 - t / 1000) ** 2 * (1.5 - target) ** 2
    assert loss.denoising.item() == pytest.approx(denoising)
    assert loss.anchor.item() == pytest.approx(anchor, rel=1e-4)
    assert loss.total.item() == pytest.approx(denoising + 0.5 * anchor, rel=1e-4)


def test_the_weight_leaves_air_out_of_the_loss():
    inputs = loss_inputs(10)
    inputs["weight"][..., 0] = 0
    inputs["output"][..., 0] = 99.0
    assert anchored_loss(**inputs, config=TrainConfig()).denoising.item() == pytest.approx(0.25)


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
    batch = PatchSource(cases, 16, {0.05: 1.0}, seed=1).batch(0, list(range(8)))
    assert batch.scan.shape == (8, 1, 16, 16, 16) and batch.ladder.shape == (8, 4, 16, 16, 16)
    errors = [(batch.scan[:, 0] - batch.ladder[:, k]).square().mean() for k in range(4)]
    inside = batch.weight > 0.5
    assert inside.float().mean() > 0.2
    assert np.corrcoef(batch.scan[inside], batch.ladder[:, 3:][inside])[0, 1] > 0.8
    noise = [(batch.ladder[:, k] - batch.ladder[:, 3]).square().mean() for k in range(3)]
    assert noise[0] > noise[1] > noise[2] > 0 and min(errors) > 0


def test_an_anchor_at_or_below_the_inputs_dose_is_replaced_by_the_next_above(cases):
    batch = PatchSource(cases, 16, {0.1: 1.0}, seed=1).batch(0, [0, 1])
    assert torch.equal(batch.ladder[:, 0], batch.ladder[:, 1])
    assert not torch.equal(batch.scan[:, 0], batch.ladder[:, 0])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(cases, tmp_path):
    whole = averaged_weights(train(TINY, cases, tmp_path / "whole"))
    folder = tmp_path / "resumed"
    script = "\n".join([
        "import sys, pathlib, training.train as t, Testing.test_training as here, training.datasets as d",
        "step = t._step",
        "def slow(*a):",
        "    import time; time.sleep(0.3); return step(*a)",
        "t._step = slow",
        "t.train(here.TINY, d.find_cases(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))",
    ])  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(cases[0].parent), str(folder)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / CHECKPOINT).exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = averaged_weights(train(TINY, cases, folder))
    for name, value in whole.items():
        assert torch.allclose(resumed[name], value, atol=1e-6), name


def test_two_processes_under_torchrun_train_what_one_process_does(cases, tmp_path):
    alone = averaged_weights(train(TINY, cases, tmp_path / "alone"))
    (tmp_path / "tiny.json").write_text(TINY.to_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
    command += ["train", "--config", str(tmp_path / "tiny.json"), "--cases", str(cases[0].parent)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "both")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
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
    assert rows[-1]["total"] < 0.8 * rows[0]["total"]
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_a_folder_with_another_configuration_is_not_continued(cases, tmp_path):
    train(replace(TINY, iterations=1), cases, tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        train(replace(TINY, iterations=1, power=3.0), cases, tmp_path)


def test_a_configuration_says_only_what_differs_and_survives_the_round_trip():
    for path in CONFIGS.glob("*.json"):
        config = load_config(path.stem)
        assert TrainConfig.from_json(config.to_json()) == config and config.name == path.stem


@pytest.mark.parametrize("wrong", ['{"learning_rat": 1}', '{"taus": [1, 2, 3, 4]}', '{"patch": 50}'])
def test_a_configuration_that_cannot_work_is_refused(wrong):
    with pytest.raises(InputError):
        TrainConfig.from_json(wrong)


def test_fitting_finds_the_weights_that_made_the_data():
    rng = np.random.default_rng(0)
    truth = 1 + rng.random(20_000, dtype=np.float32)
    estimates = np.stack([truth + 0.2 * rng.standard_normal(20_000), truth + 0.1 * rng.standard_normal(20_000)])
    scan = truth + 0.5 * rng.standard_normal(20_000)
    real = {0.5: mix(scan, truth, 0.05, 0.5), 1.0: truth}
    measured = [Measured(scan, estimates.astype(np.float32), real, np.full(20_000, 0.1))]
    combine = fit_weights(measured, 0.05, [999, 50], {999: 0.5, 50: 1.0})
    # Independent errors with variances 4 : 1 are best averaged with weights 1 : 4.
    assert combine["1"]["estimate"]["50"] == pytest.approx(0.8, abs=0.05)
    assert combine["0.5"]["anchored"] < 0.1
    scale = fit_uncertainty(measured, {"999": 0.0, "50": 1.0})
    assert scale == pytest.approx(1.0, rel=0.05)


def test_missing_cases_are_named_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="training.simulate"):
        find_cases(tmp_path)
