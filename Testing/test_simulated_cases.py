"""Simulated cases: what their volumes share, how they are written, their seeds, the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from training.__main__ import main
from training.cases.case_file import read_facts
from training.simulate import cases
from training.simulate.cases import (
    DOSES,
    NOISE_FREE,
    SIZES,
    SPLITS,
    CaseOptions,
    Size,
    case_folder,
    make_case,
    simulate_case,
    split_seed,
)

TINY = CaseOptions("tiny")


@pytest.fixture(scope="module")
def tiny_case():
    return simulate_case(4, TINY)


def test_every_dose_of_a_case_shows_the_same_activity(tiny_case):
    volumes, facts = tiny_case
    body = volumes["truth"] > 0
    means = [volumes[f"dose-{dose:.3f}"][body].mean() for dose in DOSES]
    assert np.allclose(means, means[0], rtol=0.02)
    assert all(v.shape == SIZES[TINY.size].shape and v.dtype == np.float32 for k, v in volumes.items() if k != "labels")
    assert facts["doses"] == sorted(DOSES)


def test_the_noise_free_image_is_what_the_doses_scatter_around(tiny_case):
    volumes, _ = tiny_case
    body, free = volumes["truth"] > 0.1, volumes[NOISE_FREE]
    away = [np.sqrt(((volumes[f"dose-{dose:.3f}"] - free)[body] ** 2).mean()) for dose in sorted(DOSES)]
    assert all(low > 1.2 * high for low, high in zip(away, away[1:], strict=False))  # as noise does, to nothing
    lowest = volumes[f"dose-{min(DOSES):.3f}"]
    assert free[body].mean() == pytest.approx(lowest[body].mean(), rel=0.02)


def test_no_seed_belongs_to_two_splits():
    seeds = {split: range(split_seed(split, 0), split_seed(split, cases.SEEDS_PER_SPLIT - 1) + 1) for split in SPLITS}
    ordered = sorted(seeds.values(), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in zip(ordered, ordered[1:], strict=False))
    with pytest.raises(ValueError, match="splits stay apart"):
        split_seed("train", cases.SEEDS_PER_SPLIT)
    with pytest.raises(ValueError, match="one of train, validation, test"):
        split_seed("tests", 0)


@pytest.fixture
def quick_cases(monkeypatch):
    """Cases whose simulation takes no time: two doses of a constant volume."""

    def constant(seed, options):
        shape, doses = cases.SIZES[options.size].shape, options.doses
        volumes = {f"dose-{dose:.3f}": np.full(shape, seed, np.float32) for dose in doses}
        asked = {"lesions_asked": options.lesions.number, "family_asked": options.family}
        facts = {"seed": seed, "spacing_mm": [4.0, 4.0, 3.0], "doses": sorted(doses), **asked}
        return volumes, facts

    monkeypatch.setattr(cases, "simulate_case", constant)
    monkeypatch.setitem(cases.SIZES, "small", Size((4, 5, 6), 1.0))


def test_a_case_is_written_with_its_geometry_and_then_skipped(tmp_path, quick_cases):
    assert make_case(tmp_path, "validation", 7, CaseOptions("small", (1.0, 0.1)))
    folder = case_folder(tmp_path, "validation", 7)
    assert sorted(p.name for p in folder.iterdir()) == ["case.json", "dose-0.100.nii.gz", "dose-1.000.nii.gz"]
    image = sitk.ReadImage(str(folder / "dose-0.100.nii.gz"))
    assert image.GetSize() == (6, 5, 4) and np.allclose(image.GetSpacing(), (4, 4, 3))
    assert json.loads((folder / "case.json").read_text())["seed"] == split_seed("validation", 7)
    assert not make_case(tmp_path, "validation", 7, CaseOptions("small", (1.0, 0.1)))


def test_the_command_makes_the_seeds_with_the_lesions_asked_for(tmp_path, quick_cases, capsys):
    common = ["simulate", "--split", "train", "--size", "small", "--output", str(tmp_path), "--doses", "1"]
    assert main([*common, "--seeds", "2-3", "--lesions", "30-50"]) == 0
    assert main([*common, "--seeds", "3-4"]) == 0
    assert "1 made, 1 were there already" in capsys.readouterr().out
    asked = [read_facts(case_folder(tmp_path, "train", number))["lesions_asked"] for number in (2, 3, 4)]
    assert asked == [[30, 50], [30, 50], [0, 12]]
    assert read_facts(case_folder(tmp_path, "train", 2))["family_asked"] == "varied"
    assert main([*common, "--seeds", "6", "--family", "internal"]) == 0
    assert read_facts(case_folder(tmp_path, "train", 6))["family_asked"] == "internal"
    with pytest.raises(SystemExit):
        main([*common, "--seeds", "5", "--lesions", "9-3"])


def test_a_case_that_was_killed_half_way_is_made_again(tmp_path, quick_cases, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cases, "write_nifti", killed)
        make_case(tmp_path, "train", 1, CaseOptions("small", (1.0,)))
    assert not case_folder(tmp_path, "train", 1).exists()
    (tmp_path / "train" / ".case-00001.0123456789ab.partial").mkdir()  # as a kill that no Python sees leaves it
    assert make_case(tmp_path, "train", 1, CaseOptions("small", (1.0,)))
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["case-00001"]
