"""A campaign on tiny cases: simulation beside two runs, a clean end whenever the time is up, going on afterwards."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.quantisation import rounded
from Testing.tiny import CONFIG, tiny_bundle
from training import campaign
from training.__main__ import main
from training.campaign import CASE_NAMES, CASES, EARLY, LATE, Campaign, Clock, run_campaign
from training.cases.cache import FACTS_CACHE
from training.config import TrainConfig, load_config
from training.run_folder import CHECKPOINT
from training.train import averaged_weights

NETWORK = [f"network.widths={list(CONFIG.widths)}", f"network.blocks={CONFIG.blocks}", "network.embedding=8"]
SETTINGS = ["batch=2", "patch=16", "precision=32-true", "checkpoint_every=2", *NETWORK]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("start") / "tiny")


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory, start):
    """The folder of a rehearsal by the command, of a five-hundredth."""
    output = tmp_path_factory.mktemp("campaign")
    assert main(command(output, start)) == 0
    return output


def command(output, start, *more):
    words = ["campaign", "--minutes", "1e6", "--output", str(output), "--start-from", str(start), "--part", "500"]
    return [*words, "--size", "tiny", "--jobs", "1", *more, "--set", *SETTINGS]


def iteration(run):
    return torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)["iteration"]


def test_a_rehearsal_simulates_trains_twice_and_writes_a_bundle_of_the_averaged_weights(rehearsed, start):
    config = load_config("campaign")
    assert iteration(rehearsed / LATE) == config.iterations // 500 and iteration(rehearsed / EARLY) > 0
    cases = rehearsed / CASES / "train"
    assert sorted(case.name for case in cases.iterdir()) == ["case-01095", "case-01096"]
    assert all((case / FACTS_CACHE).exists() for case in cases.iterdir())  # early ended first and waited for the other
    assert "case-01095" in (rehearsed / LATE / CASE_NAMES).read_text()
    bundle = load_bundle(rehearsed / "late-bundle")
    trained = averaged_weights(rehearsed / LATE / CHECKPOINT)
    for name, value in bundle.network.state_dict().items():
        assert torch.allclose(value, rounded(trained[name]) if value.ndim > 1 else trained[name], atol=1e-3), name
    assert bundle.manifest.sampling == load_bundle(start).manifest.sampling  # until it is fitted again
    assert bundle.manifest.training_data["config"]["batch"] == 2


def test_the_same_command_makes_no_case_and_trains_no_iteration_again(rehearsed, start):
    kept = [*(rehearsed / CASES / "train").glob("*/case.json"), rehearsed / EARLY / CHECKPOINT]
    before = [path.stat().st_mtime_ns for path in kept]
    weights = averaged_weights(rehearsed / LATE / CHECKPOINT)
    assert main(command(rehearsed, start)) == 0
    assert [path.stat().st_mtime_ns for path in kept] == before
    after = averaged_weights(rehearsed / LATE / CHECKPOINT)
    assert all(torch.equal(after[name], value) for name, value in weights.items())


class Asked(Clock):
    """The time is up when that has been asked so many times."""

    def __init__(self, times):
        super().__init__(math.inf)
        self.times = times

    def left(self):
        return 1e6

    def share_left(self):
        return 1.0

    def up(self):
        self.times -= 1
        return self.times < 0


@pytest.fixture
def small(rehearsed, start, tmp_path):
    """(campaign of six iterations a run on the cases of the rehearsal, a function that gives it another folder)"""
    network = load_bundle(start).network.config
    config = TrainConfig(network=network, batch=2, patch=16, iterations=6, warmup=2, checkpoint_every=100, seed=3)

    def in_folder(name):
        shutil.copytree(rehearsed / CASES, tmp_path / name / CASES)
        return Campaign(tmp_path / name, config, start, range(1095, 1097), first=1, size="tiny")

    return in_folder


@pytest.mark.parametrize("asked", [4, 10])
def test_a_campaign_ends_with_what_it_has_when_the_time_is_up_and_ends_as_an_unhurt_one_when_it_goes_on(small, asked):
    """Up in the third iteration of the early run, or in that of the late one."""
    unhurt, hurt = small("unhurt"), small("hurt")
    assert run_campaign(unhurt, Asked(math.inf)).name == "late-bundle"
    stopped = run_campaign(hurt, Asked(asked))
    assert load_bundle(stopped).manifest.name == f"{EARLY if asked == 4 else LATE}-bundle"
    run = hurt.output / stopped.name.partition("-")[0]
    assert 0 < iteration(run) < hurt.config.iterations
    assert run_campaign(hurt, Asked(math.inf)).name == "late-bundle"
    wanted, found = (averaged_weights(each.output / LATE / CHECKPOINT) for each in (unhurt, hurt))
    assert iteration(hurt.output / LATE) == 6
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in wanted.items())


def test_a_run_goes_on_with_the_cases_that_it_began_with(small):
    plan = small("more")
    run_campaign(plan, Asked(4))
    added = plan.output / CASES / "train" / "case-09999"
    shutil.copytree(plan.output / CASES / "train" / "case-01095", added)
    run_campaign(plan, Asked(math.inf))
    names = [(plan.output / name / CASE_NAMES).read_text() for name in (EARLY, LATE)]
    assert "case-09999" not in names[0] and "case-09999" in names[1]


def test_a_campaign_without_time_leaves_nothing_running_and_has_no_bundle(start, tmp_path, monkeypatch):
    begun = []
    popen = campaign.subprocess.Popen
    monkeypatch.setattr(campaign.subprocess, "Popen", lambda *a, **k: begun.append(popen(*a, **k)) or begun[-1])
    assert run_campaign(Campaign(tmp_path, TrainConfig(), start, range(4), 2, size="tiny"), Clock(0)) is None
    assert len(begun) == 2 and all(process.returncode is not None for process in begun)


def test_a_simulation_that_fails_ends_the_campaign_with_what_it_said(start, tmp_path, capsys, monkeypatch):
    """Paths are seen from where the command is typed."""
    monkeypatch.chdir(tmp_path)
    assert main(command("out", start, "--tumours", "none")) == 1
    said = capsys.readouterr().err
    assert "the simulation ended with 2" in said and str(tmp_path / "none") in said


def test_a_part_has_a_share_of_the_cases_of_both_kinds_and_of_the_iterations(start, tmp_path):
    whole = Campaign(tmp_path, replace(TrainConfig(), iterations=1000), start, range(100, 140), first=20)
    assert whole.part(1) == whole
    tenth = whole.part(10)
    assert list(tenth.seeds) == [118, 119, 120, 121] and tenth.first == 2 and tenth.config.iterations == 100
    least = whole.part(10_000)
    assert list(least.seeds) == [119, 120] and least.first == least.config.iterations == 1
    with pytest.raises(InputError, match="two or more"):
        Campaign(tmp_path, TrainConfig(), start, range(1), first=1)


def test_as_many_iterations_are_planned_as_fit_at_the_pace_that_was_seen():
    pace = campaign._Pace()
    assert pace.fitting(100) is None
    pace.times = [10.0, 10.5, 11.0, 12.0, 12.0]  # half a second each
    assert pace.fitting(100) == 200 and pace.fitting(0.1) == 1
