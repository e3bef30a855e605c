"""The table: its methods, and the whole of it from cases to files."""

import csv
import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.report.metrics import nmae
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.doses import at_dose
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import Noise, measure_noise
from MAPDiffLib.restoration.sampling import draw_noise
from MAPDiffLib.restoration.working_grid import WorkingGrid
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.volume import Volume, body_mask, write_volume
from Testing.tiny import tiny_bundle, tiny_case
from training.__main__ import main
from training.baselines.config import BaselineConfig
from training.baselines.train import train_baseline
from training.cases.case_file import NOISE_FREE_FILE, read_facts
from training.cases.regions import LESIONS_FILE, ORGANS_FILE
from training.evaluation import networks
from training.evaluation.case import TestCase
from training.evaluation.classical import BM4D, Gaussian, NonLocalMeans
from training.evaluation.command import Command
from training.evaluation.cost import Cost
from training.evaluation.method import Result, Unprocessed
from training.evaluation.networks import falling_steps
from training.evaluation.results import reduced
from training.evaluation.run import identity, run_table
from training.evaluation.score import NOISE_FREE, REAL, score_regions
from training.evaluation.summary import best_baselines, summarise

MM4 = (4.0, 4.0, 4.0)
UNET = BaselineConfig("unet", width=4, patch=16, batch=1, iterations=2, warmup=1)


# methods


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    return [tiny_case(folder / f"case-{seed:05d}", seed) for seed in (0, 1)]


@pytest.mark.parametrize(
    "method", [NonLocalMeans(1.0), BM4D(1.0, correlation_mm=0.01)], ids=["non-local means", "BM4D"]
)
def test_methods_without_training_lower_the_error_and_keep_the_edge(method, cases):
    pytest.importorskip("skimage" if isinstance(method, NonLocalMeans) else "bm4d")
    case = TestCase(cases[0])
    scan = case.scan(0.05)
    result, body = method(scan, 0.05), body_mask(scan.voxels, scan.spacing_mm)
    before, after = (np.abs(image - case.truth)[case.body].mean() for image in (scan.voxels, result.images[1.0]))
    assert after < 0.7 * before
    assert result.images[1.0][13, 11, 11] == pytest.approx(4.0, rel=0.15)
    assert np.array_equal(result.images[1.0][~body], scan.voxels[~body])
    assert set(result.images) == {0.1, 0.25, 0.5, 1.0}


def test_a_gaussian_has_the_asked_for_width_in_millimetres():
    impulse = np.zeros((33, 33, 33), np.float32)
    impulse[16, 16, 16] = 1.0
    full = Gaussian(12.0)(Volume(impulse, (2.0, 3.0, 4.0)), 0.05).images[1.0]
    for axis, spacing in ((2, 2.0), (1, 3.0), (0, 4.0)):
        profile = full.sum(axis=tuple(a for a in range(3) if a != axis))
        variance = (profile * ((np.arange(33) - 16) * spacing) ** 2).sum()
        assert 2.3548 * np.sqrt(variance) == pytest.approx(12.0, rel=0.03)


DOUBLE = (
    "import sys, SimpleITK as sitk; image = sitk.ReadImage(sys.argv[1]); print(sys.argv[3]);"
    "sitk.WriteImage(image * 2, sys.argv[2])"
)


def test_anybodys_command_is_run_on_files_and_read_back(cases):
    scan = TestCase(cases[0]).scan(0.05)
    result = Command(f"'{sys.executable}' -c '{DOUBLE}' {{input}} {{output}} {{dose}}")(scan, 0.05)
    assert np.allclose(result.images[1.0], 2 * scan.voxels) and result.peak_gb > 0.01
    # 1/2 from 1/20: 1/19 of the scan itself
    assert np.allclose(result.images[0.5], scan.voxels * (1 / 19 + 2 * 18 / 19), rtol=1e-4)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("denoise {input}", "lacks {output}"),
        ("no-such-program {input} {output}", "cannot be run"),
        (f"'{sys.executable}' -c 'raise SystemExit(\"no licence\")' {{input}} {{output}}", "no licence"),
        (f"'{sys.executable}' -c pass {{input}} {{output}}", "wrote no"),
    ],
)
def test_a_command_that_fails_is_named_with_its_reason(command, said, cases):
    with pytest.raises(InputError, match=said):
        Command(command)(TestCase(cases[0]).scan(0.05), 0.05)


def test_steps_fall_evenly_from_the_noisiest():
    assert falling_steps(1000, 1) == [999] and falling_steps(1000, 4) == [999, 749, 499, 249]
    assert falling_steps(1000, 1000) == list(range(999, -1, -1))
    with pytest.raises(InputError, match="steps is 0"):
        falling_steps(1000, 0)


def test_cost_sees_the_time_and_the_memory_of_the_work_alone():
    with Cost() as cost:
        held = np.ones(30_000_000)
    with Cost() as after:
        del held
    assert cost.peak_gb > 0.24 and cost.seconds > 0 and after.seconds > 0


# the whole table


@dataclass(frozen=True)
class Counted:
    """A perfect method that notes each call in a file; module level, so that another process can have it."""

    log: str

    def __call__(self, scan, dose):
        with open(self.log, "a") as file:
            file.write(f"{dose:g}\n")
        return Result({d: scan.voxels * 1.1 for d in (0.5, 1.0)}, uncertainty=np.full(scan.voxels.shape, 10.0))


def test_what_was_scored_is_kept_and_a_new_method_costs_only_itself(cases, tmp_path):
    first = {"A": Counted(str(tmp_path / "a"))}
    records = run_table(cases, first, [0.05, 0.25], tmp_path / "out")
    assert len(records) == 2 * (2 + 1) and (tmp_path / "a").read_text().split() == ["0.05", "0.25"] * 2
    again = run_table(cases, first | {"B": Counted(str(tmp_path / "b"))}, [0.05, 0.25], tmp_path / "out")
    assert len((tmp_path / "a").read_text().split()) == len((tmp_path / "b").read_text().split()) == 4
    assert [r for r in again if r["method"] != "B"] == records
    scored = next(r for r in records if r["method"] == "A")
    assert scored["coverage"] == 1.0 and [d["dose"] for d in scored["doses"]] == [0.5, 1.0]


def test_a_bundle_used_otherwise_is_another_method_and_its_scores_are_not(tmp_path):
    folder = tiny_bundle(tmp_path / "tiny")
    manifest = folder / "bundle.json"
    content = json.loads(manifest.read_text())
    before = identity(networks.Bundled(folder))
    manifest.write_text(json.dumps(content | {"scores": {"a": 1.0}}, indent=1))
    assert identity(networks.Bundled(folder)) == before
    content["sampling"]["samples"] = 3
    manifest.write_text(json.dumps(content))
    assert identity(networks.Bundled(folder)) != before


def test_two_processes_give_the_same_table_as_one(cases, tmp_path):
    methods = {"input": Unprocessed(), "Gaussian": Gaussian(6.0)}
    alone = run_table(cases, methods, [0.05], tmp_path / "one")
    both = run_table(cases, methods, [0.05], tmp_path / "two", jobs=2)
    for a, b in zip(alone, both, strict=True):
        assert {k: v for k, v in a.items() if k not in ("seconds", "peak_gb")} == {
            k: v for k, v in b.items() if k not in ("seconds", "peak_gb")
        }
    lesion = alone[0]["lesions"][0]  # the real scan against itself
    assert alone[0]["method"] == REAL and lesion["mean"] == 0 and lesion["diameter_mm"] == 32.0


def test_a_scan_that_is_the_real_one_has_no_error(cases):
    case = TestCase(cases[0])
    from training.evaluation.score import score_result

    scores = score_result(Result({1.0: case.full.voxels}), case, 0.05, case.scan(0.05).voxels)
    assert scores["image"]["nmae"] == 0 and scores["image"]["ssim"] == pytest.approx(1) and scores["coverage"] is None
    assert scores["organs"] == [{"organ": "liver", "mean": 0.0, "max": 0.0, "peak": 0.0}]


def test_the_noise_free_image_stands_in_the_table_where_it_is_known(tmp_path):
    """Half of a full dose's counts are the scan's own: what is without noise is the rest."""
    folder = tiny_case(tmp_path / "case")
    assert [record["method"] for record in run_table([folder], {"input": Unprocessed()}, [0.5], tmp_path / "a")] == [
        REAL, "input",
    ]  # fmt: skip
    shutil.copy(folder / "truth.nii.gz", folder / NOISE_FREE_FILE)
    (folder / "case.json").write_text(json.dumps(read_facts(folder) | {"seed": 2}))
    records = run_table([folder], {"input": Unprocessed()}, [0.5], tmp_path / "b")
    case, known = TestCase(folder), records[-1]
    assert known["method"] == NOISE_FREE and known["input_dose"] == 0.5
    image = 0.5 * case.scan(0.5).voxels + 0.5 * case.truth
    assert known["image"]["nmae"] == pytest.approx(nmae(image, case.full.voxels, case.body), rel=1e-5)
    assert all(row["ours"] != NOISE_FREE != row["best_baseline"] for row in best_baselines(records))
    assert NOISE_FREE in summarise(records)["internal"]["1/2"]


def test_a_real_subjects_masks_are_read_off_in_the_table_too(tmp_path):
    folder = tiny_case(tmp_path / "case", lesions=[])
    (folder / "labels.nii.gz").unlink()
    masks = np.zeros((36, 34, 35), np.float32)
    masks[10:18, 8:16, 8:16] = 1
    write_volume(Volume(masks, MM4), folder / LESIONS_FILE)
    write_volume(Volume(2 * np.roll(masks, 12, axis=0), MM4), folder / ORGANS_FILE)
    case = TestCase(folder)
    found = score_regions(1.1 * case.full.voxels, case)
    assert [organ["organ"] for organ in found["organs"]] == ["heart"]
    (lesion,) = found["lesions"]
    assert lesion["mean"] == pytest.approx(0.1, abs=1e-3) and lesion["suv"] is None
    assert lesion["diameter_mm"] == pytest.approx(4 * (6 / np.pi * 512) ** (1 / 3)) and lesion["contrast_to_noise"] > 10


@pytest.mark.parametrize(
    ("facts", "column"),
    [({}, "internal"), ({"split": "external"}, "external"), ({"kind": "real anatomy, for ..."}, "real anatomy")],
)
def test_a_case_knows_its_scanner(facts, column, tmp_path):
    assert TestCase(tiny_case(tmp_path / "case", doses=(1.0,), **facts)).scanner == column


def test_the_command_writes_every_file_of_the_table(cases, tmp_path, capsys):
    bundle, control = tiny_bundle(tmp_path / "tiny"), tiny_bundle(tmp_path / "control")
    command = ["evaluate", "--cases", str(cases[0].parent), "--output", str(tmp_path / "out"), "--bundle", str(bundle)]
    command += ["--control", str(control), "--passes", "1", "--input-doses", "1/10", "--no-classical", "--record"]
    assert main([*command, "--method", f"double='{sys.executable}' -c '{DOUBLE}' {{input}} {{output}} {{dose}}"]) == 0
    printed = capsys.readouterr().out
    assert "internal, input at 1/10 dose" in printed and "MAP-Diff (tiny)" in printed
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    figures = table["means"]["internal"]["1/10"]
    assert figures["double"]["nmae"]["mean"] > figures["input"]["nmae"]["mean"] > 0
    assert figures["MAP-Diff (tiny)"]["evaluations"] == 2
    assert figures["one-pass regression x 1"]["evaluations"] == 1  # a bundle like any other
    assert figures["MAP-Diff (tiny), 1 samples"]["evaluations"] == 1
    assert figures["MAP-Diff (tiny), 1 samples"]["psnr"] != figures["MAP-Diff (tiny)"]["psnr"]
    assert set(figures["MAP-Diff (tiny)"]["doses"]) == {"1/4", "1/2", "full"}
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(figures)  # 2 cases: every method, and the real scan
    for name in ("doses.csv", "organs.csv", "lesions.csv", "doses.png", "intermediate.png", "lesions.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100, name
    scores = json.loads((bundle / "bundle.json").read_text())["scores"]
    assert scores["means"]["internal"]["1/10"] == reduced(table)["means"]["internal"]["1/10"]["MAP-Diff (tiny)"]


def test_a_baseline_with_a_setting_that_does_not_exist_is_refused(cases, tmp_path, capsys):
    command = ["evaluate", "--cases", str(cases[0].parent), "--output", str(tmp_path), "--no-classical"]
    assert main([*command, "--baseline", str(tmp_path), "stepps=3"]) == 2
    assert "stepps" in capsys.readouterr().err
    assert main([*command, "--baseline", str(tmp_path)]) == 2
    assert "mapdiff-train baseline" in capsys.readouterr().err


class Exact(torch.nn.Module):
    """A denoiser whose x0_hat is the scan plus one thousandth of the state: what was sampled can be told."""

    def __init__(self):
        super().__init__()
        self.config = UNET
        self.asked = []

    def forward(self, x_t, scan, t, noise):
        self.asked.append((round(t.item() * 1000), noise[0].tolist()))
        return scan + 0.001 * x_t


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_network_is_sampled_at_its_timesteps_and_air_stays_the_scan(stochastic, cases, monkeypatch):
    network = Exact()
    network.__deepcopy__ = lambda memo: network  # the tiled network works on a copy, which would keep the record
    monkeypatch.setattr(networks, "_network", lambda folder: (network, Diffusion(prediction="x0"), None))
    scan = TestCase(cases[0]).scan(0.05)
    method = networks.Sampled(cases[0], timesteps=(999, 200, 50), samples=2, stochastic=stochastic)
    result = method(scan, 0.05)
    asked = [t for t, noise in network.asked]
    body = body_mask(scan.voxels, scan.spacing_mm)
    told = measure_noise(scan.voxels, body, scan.spacing_mm).in_voxels(scan.spacing_mm)
    assert asked == [999, 200, 50] * 2 and network.asked[0][1] == pytest.approx(told)
    assert result.evaluations == 6 and np.array_equal(result.images[1.0][~body], scan.voxels[~body])
    assert np.allclose(result.images[1.0][body], scan.voxels[body], rtol=0.02, atol=0.01)


def test_a_network_of_the_table_sees_long_noise_on_the_slices_that_a_restoration_gives_it(cases, monkeypatch):
    network, long_noise = Exact(), Noise(0.1, 12.0, 10.0)
    network.__deepcopy__ = lambda memo: network
    monkeypatch.setattr(networks, "_network", lambda folder: (network, Diffusion(prediction="x0"), None))
    monkeypatch.setattr(networks, "measure_noise", lambda *_: long_noise)
    scan = TestCase(cases[0]).scan(0.05)
    body = body_mask(scan.voxels, scan.spacing_mm)
    grid = WorkingGrid.of(body[bounding_box(body)].shape, scan.spacing_mm, long_noise, UNET.stride)
    full = networks.Sampled(cases[0])(scan, 0.05).images[1.0]
    told = long_noise.in_voxels(grid.spacing_mm(scan.spacing_mm))
    assert told[1] < 0.9 * long_noise.in_voxels(scan.spacing_mm)[1] and network.asked[0][1] == pytest.approx(told)
    assert full.shape == scan.voxels.shape and np.array_equal(full[~body], scan.voxels[~body])
    assert full[body].mean() == pytest.approx(scan.voxels[body].mean(), rel=0.02)


class State(Exact):
    """A denoiser that takes the state itself for x0."""

    def forward(self, x_t, scan, t, noise):
        return x_t


def test_a_mirrored_sample_is_mirrored_back(cases, monkeypatch):
    diffusion = Diffusion(prediction="x0")
    monkeypatch.setattr(networks, "_network", lambda folder: (State(), diffusion, None))
    scan = TestCase(cases[0]).scan(0.05)
    result = networks.Sampled(cases[0], timesteps=(20,), samples=2)(scan, 0.05)
    body = body_mask(scan.voxels, scan.spacing_mm)
    intensity, box = Intensity.of_scan(scan.voxels, body), BodyBox.around(body, 16)
    condition = intensity.to_network(box.crop(scan.voxels))
    states = [diffusion.noised(condition, 20, draw_noise(condition.shape, 0, number)) for number in (0, 1)]
    mean = box.unpad((sum(map(intensity.to_physical, states)) / 2).numpy())
    inside = body[box.slices]
    full = at_dose(scan.voxels[box.slices], mean, 0.05, 1.0)
    assert np.allclose(result.images[1.0][box.slices][inside], full[inside], atol=1e-5)


def test_a_trained_baseline_enters_the_table_as_it_was_saved(cases, tmp_path):
    pytest.importorskip("monai")
    folder = train_baseline(UNET, cases, tmp_path / "unet")
    scan = TestCase(cases[0]).scan(0.05)
    once, twice = (networks.Sampled(folder, samples=n)(scan, 0.05) for n in (1, 2))
    assert (once.evaluations, twice.evaluations) == (1, 2)
    assert 0 < np.abs(once.images[1.0] - scan.voxels).max() < scan.voxels.max()
    assert not np.array_equal(once.images[1.0], twice.images[1.0])  # the second looks at the mirrored scan


def test_a_package_that_is_missing_is_named_before_any_work(cases, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "bm4d" else find(name))
    assert main(["evaluate", "--cases", str(cases[0].parent), "--output", str(tmp_path / "out")]) == 2
    assert "bm4d" in capsys.readouterr().err and not (tmp_path / "out").exists()
