"""Preparing UDPET data: both layouts, every spelling, every trap."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from training.__main__ import main
from training.cases.cache import CachedCase
from training.cases.case_file import ALL_DOSES, derived_doses, find_cases, read_dose, read_facts
from training.evaluation.case import TestCase
from training.udpet.headers import Excluded, Header, check_tracer
from training.udpet.names import dose_of_name, find_acquisitions
from training.udpet.prepare import TABLE_FILE, prepare_udpet, summary
from training.udpet.subjects import split_of

pytest.importorskip("pydicom")
from Testing import tiny  # noqa: E402
from Testing import udpet_tree as tree  # noqa: E402
from Testing.waiting import PATIENCE_S, WaitingCall, wait_until
from Testing.workers import children, peak_memory_mb  # noqa: E402

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "dose"),
    [
        ("Full_dose", 1.0), ("full dose", 1.0), ("Full", 1.0), ("2.886 x 600 WB NORMAL", 1.0),
        ("2.886 x 600 WB normal", 1.0), ("1-2 dose", 0.5), ("1-4 dose", 0.25), ("1-10 dose", 0.1),
        ("1-10_dose", 0.1), ("1_100 dose", 0.01), ("1-100 dose", 0.01), ("2.886 x 600 WB D4", 0.25),
        ("2.886 x 600 WB D10", 0.1), ("2.886 x 600 WB D100", 0.01), ("2.886 x 600 WB D100 ", 0.01),
        ("2.886 x 600 WB DRF_4", 0.25), ("2.886 x 600 WB DRF_100", 0.01), ("2.886 x 600 WB DRF-20", 0.05),
        ("DRF 50", 0.02), ("2.886 x 150 WB D50", 0.02), ("2.886 x 600 WB D2", 0.5),
        ("2.886 x 600 WB", None), ("D1000", None), ("D3", None), ("1-1000 dose", None), ("Subject_1-4", None),
        ("Subject_100-2", None), ("01122021_1_20211201_164050", None),
        ("Anonymous_ANO_20230201_1627052_093335", None), ("CT", None), ("abnormal", None),
        ("no_full_dose", None), ("1-4", 0.25),
    ],
)  # fmt: skip
def test_every_spelling_of_a_dose_is_known_and_nothing_else_is_one(name, dose):
    assert dose_of_name(name) == dose


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_acquisitions_are_found_at_any_depth_and_odd_folders_are_told(tmp_path):
    for dose in ("Full_dose", "1-4 dose"):
        touch(tmp_path / "Subject_1-9" / "first" / dose / "1.IMA")
    touch(tmp_path / "Subject_1-9" / "first" / "1-4 dose again" / "1.IMA")
    touch(tmp_path / "PART1" / "deep" / "ANO" / "WB D4" / "series" / "1.dcm")
    touch(tmp_path / "PART2" / "ANO" / "WB D4" / "1.dcm")
    touch(tmp_path / "loose" / "1.dcm")
    (tmp_path / ".hidden" / "WB D4").mkdir(parents=True)
    found = {each.name: each for each in find_acquisitions(tmp_path)}
    assert set(found) == {"first", "PART1__deep__ANO", "PART2__ANO", "loose"}
    assert set(found["first"].doses) == {1.0, 0.25}
    assert [path.name for path in found["first"].unclear] == ["1-4 dose again"]
    assert found["PART1__deep__ANO"].doses[0.25][0].name == "series"
    assert not found["loose"].doses and found["loose"].unclear


def test_patients_keep_their_split_and_the_shares_are_kept():
    splits = [split_of(f"patient {number}") for number in range(2000)]
    assert splits == [split_of(f"patient {number}") for number in range(2000)]
    assert 0.08 < splits.count("test") / 2000 < 0.12 and 0.08 < splits.count("validation") / 2000 < 0.12


def header(**changes):
    return replace(Header("1", "p", "m", "uEXPLORER", 70, 2e8, 6588, "Fluorodeoxyglucose", "^18^Fluorine"), **changes)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"half_life_s": 4062.6}, "mislabelled"),
        ({"nuclide": "68Ga"}, "mislabelled"),
        ({"tracer": "68Ga-DOTATATE"}, "mislabelled"),
        ({"tracer": "68Ga-DOTATATE", "nuclide": "^68^Gallium", "half_life_s": 4080.0}, "another tracer"),
        ({"tracer": "Solution"}, "another tracer"),
        ({"tracer": "F-18 PSMA-1007", "nuclide": "18F"}, "another tracer"),
    ],
)
def test_a_tracer_that_is_not_fdg_or_contradicts_itself_is_excluded(changes, kind):
    with pytest.raises(Excluded) as caught:
        check_tracer(header(**changes))
    assert caught.value.kind == kind


@pytest.mark.parametrize("tracer", ["FDG", "Fluorodeoxyglucose", "FDG -- fluorodeoxyglucose", "18F-FDG", "F-18 FDG"])
@pytest.mark.parametrize("nuclide", ["^18^Fluorine", "18F", "F-18", "Fluorine^18^", "C-111A1", ""])
def test_every_spelling_of_fdg_is_fdg(tracer, nuclide):
    check_tracer(header(tracer=tracer, nuclide=nuclide))


def swap(folder: Path, one: str, other: str) -> None:
    (folder / one).rename(folder / "between")
    (folder / other).rename(folder / one)
    (folder / "between").rename(folder / other)


def rewrite(folder: Path, factor: int, person, change=lambda voxels: voxels, **options) -> None:
    """One dose of a Shanghai subject written anew, changed."""
    path = folder / tree.SHANGHAI[factor]
    shutil.rmtree(path)
    person = replace(person, model="uEXPLORER")
    tree.write_series(path, change(tree.suv(person.number, factor)), person, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One good subject of each layout and, beside them, one for every trap."""
    root = tmp_path_factory.mktemp("udpet")
    numbers = iter(range(1, 100))

    def subject(name, folders=tree.SHANGHAI, **says):
        person = tree.Person(next(numbers), **says)
        return tree.shanghai_subject(root, name, person, folders), person

    tree.bern_subject(root, "01122021_1_20211201_164050", tree.Person(0))
    subject("good", tree.SHANGHAI_DRF)
    subject("missing_dose", {f: n for f, n in tree.SHANGHAI.items() if f != 20})
    subject("no_full_dose", {f: n for f, n in tree.SHANGHAI.items() if f != 1})
    subject("labelled_68Ga", half_life_s=4062.6)
    subject("dotatate", tracer="68Ga DOTATATE", nuclide="68Ga", half_life_s=4062.6)
    subject("wrong_weight", weight_kg=110.0)
    folder, _ = subject("swapped")
    swap(folder, tree.SHANGHAI[1], tree.SHANGHAI[100])
    folder, person = subject("shifted_origin")
    rewrite(folder, 10, person, shift_mm=5.0)
    folder, person = subject("shifted_body")
    rewrite(folder, 10, person, lambda voxels: np.roll(voxels, 1, axis=2))
    folder, person = subject("upside_down")
    rewrite(folder, 10, person, lambda voxels: voxels[::-1, ::-1])
    folder, person = subject("too_bright")
    rewrite(folder, 10, person, lambda voxels: 1.5 * voxels)
    folder, person = subject("another_weight_in_one_dose")
    rewrite(folder, 10, replace(person, weight_kg=12.0))
    folder, person = subject("another_patient_in_one_dose")
    rewrite(folder, 10, replace(person, number=77))
    folder, person = subject("two_folders_for_a_dose")
    tree.write_series(folder / "2.886 x 600 WB DRF_4", tree.suv(person.number, 4), person)
    folder, _ = subject("one_series_twice")
    shutil.rmtree(folder / tree.SHANGHAI[50])
    shutil.copytree(folder / tree.SHANGHAI[100], folder / tree.SHANGHAI[50])
    folder, _ = subject("missing_slice")
    (folder / tree.SHANGHAI[10] / "00000005.dcm").unlink()
    folder, _ = subject("cut_short")
    path = folder / tree.SHANGHAI[10] / "00000005.dcm"
    path.write_bytes(path.read_bytes()[:-300])
    folder, _ = subject("empty_dose")
    for path in (folder / tree.SHANGHAI[10]).iterdir():
        path.unlink()
    folder, person = subject("with_something_else")
    tree.write_series(folder / "2.886 x 600 WB AC", tree.suv(person.number, 10), person)
    shutil.copytree(root / "PART1" / "good", root / "PART2" / "good_again")
    shutil.copytree(root / "PART1" / "good" / tree.SHANGHAI_DRF[4], root / "loose" / "series")
    return root


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("cases")
    return output, {row["subject"]: row for row in prepare_udpet(data, output)}


def test_every_acquisition_is_in_the_table_prepared_or_excluded_by_name(data, prepared):
    output, rows = prepared
    folders = {path.name for part in ("PART1", "PART2", "Subject_1-9") for path in (data / part).iterdir()}
    assert set(rows) == folders | {"series"}
    with (output / TABLE_FILE).open(newline="") as file:
        table = {row["subject"]: row for row in csv.DictReader(file)}
    assert set(table) == set(rows)
    for name, row in table.items():
        assert (row["status"], bool(row["reason"])) in (("prepared", False), ("excluded", True)), name
    cases = {case.name for case in find_cases(output)}
    assert cases == {name for name, row in rows.items() if row["status"] == "prepared"}
    assert cases == {"01122021_1_20211201_164050", "good", "with_something_else"}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("missing_dose", "missing doses", "1/20"),
        ("no_full_dose", "missing doses", "full"),
        ("labelled_68Ga", "mislabelled", "means 68Ga"),
        ("dotatate", "another tracer", "DOTATATE"),
        ("wrong_weight", "implausible", "110 kg"),
        ("swapped", "mislabelled", "less noise"),
        ("shifted_origin", "misaligned", "grid of the 1/10 dose"),
        ("shifted_body", "misaligned", "shifted by -10.0 x"),
        ("upside_down", "misaligned", "another body"),
        ("too_bright", "mislabelled", "1.50 times the mean"),
        ("another_weight_in_one_dose", "mislabelled", "weight_kg differs"),
        ("another_patient_in_one_dose", "mislabelled", "patient_id differs"),
        ("two_folders_for_a_dose", "doubled dose", "1/4"),
        ("one_series_twice", "mislabelled", "one and the same series"),
        ("missing_slice", "unreadable", "a slice is missing"),
        ("cut_short", "unreadable", "00000005.dcm"),
        ("empty_dose", "unreadable", "no DICOM slice"),
        ("good_again", "duplicate", "as that of good"),
        ("series", "unclear dose", "none of the doses"),
    ],
)
def test_each_trap_is_excluded_with_its_reason(prepared, name, kind, words):
    row = prepared[1][name]
    assert (row["status"], row["kind"]) == ("excluded", kind) and words in row["reason"]
    assert not list(prepared[0].glob(f"*/*/{name}"))


def test_the_patients_name_and_number_are_nowhere(prepared):
    for path in prepared[0].rglob("*"):
        if path.suffix in (".json", ".csv"):
            assert "SECRET" not in path.read_text().upper(), path


def test_a_folder_that_is_no_dose_is_told_and_the_subject_used(prepared):
    assert prepared[1]["with_something_else"]["not_used"] == "2.886 x 600 WB AC"


@pytest.mark.parametrize("name", ["01122021_1_20211201_164050", "good"])
def test_a_prepared_case_is_in_suv_at_its_place_and_reads_like_a_simulated_one(prepared, name):
    (case,) = prepared[0].glob(f"*/*/{name}")
    number = 0 if name.startswith("0") else 1
    for factor in (1, 4, 100):
        scan, expected = read_dose(case, 1 / factor), tree.suv(number, factor)
        assert np.abs(scan.voxels - expected).max() <= 0.51 * expected.max() / 32000
        assert scan.units == "SUVbw" and scan.spacing_mm == tree.SPACING_MM
        assert scan.origin_mm == (-140, -120, 0)
    facts = read_facts(case)
    assert facts["weight_kg"] == tree.WEIGHT_KG and facts["injected_mbq"] == 60
    assert case.parent.name == ("quadra" if number == 0 else "uexplorer")
    assert CachedCase.open(case).doses.shape[0] == len(ALL_DOSES)


def test_the_half_dose_that_shanghai_lacks_is_computed_and_said(prepared):
    output, rows = prepared
    assert rows["good"]["derived"] == "1/2" and rows["01122021_1_20211201_164050"]["derived"] == ""
    (case,) = output.glob("*/*/good")
    quarter, half, full = (read_dose(case, dose).voxels for dose in (0.25, 0.5, 1.0))
    assert np.allclose(half, quarter / 3 + 2 * full / 3, atol=1e-6)
    (bern,) = output.glob("*/*/0*")
    assert derived_doses(case) == (0.5,) and derived_doses(bern) == ()
    assert "2 lack the 1/2 dose" in summary(list(rows.values()))


def test_the_table_leaves_out_a_dose_that_was_computed(prepared):
    (case,), (bern,) = prepared[0].glob("*/*/good"), prepared[0].glob("*/*/0*")
    assert set(TestCase(case).real(above=0.1)) == {0.1, 0.25, 1.0}
    assert set(TestCase(bern).real(above=0.1)) == {0.1, 0.25, 0.5, 1.0}


def test_a_second_run_does_nothing_again_and_retry_only_what_was_excluded(data, prepared):
    output, rows = prepared
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*/*/case.json")}
    outcomes = {path: path.stat().st_mtime_ns for path in (output / "outcomes").iterdir()}
    assert {row["subject"]: row for row in prepare_udpet(data, output)} == rows
    assert {path: path.stat().st_mtime_ns for path in (output / "outcomes").iterdir()} == outcomes
    (output / "outcomes" / "missing_slice.json").unlink()
    prepare_udpet(data, output)
    changed = {path.stem for path, time in outcomes.items() if path.stat().st_mtime_ns != time}
    assert changed == {"missing_slice"}
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/*/*/case.json")} == before


def test_what_a_killed_run_left_half_done_is_done_again_whole(tmp_path):
    tree.bern_subject(tmp_path / "root", "one", tree.Person(3))
    output = tmp_path / "out"
    prepare_udpet(tmp_path / "root", output)
    (case,) = find_cases(output)
    half = case.with_name(".one.0123456789ab.partial")
    half.mkdir()
    (half / "dose-1.000.nii.gz").write_bytes(b"half")
    (output / "outcomes" / "one.json").unlink()
    prepare_udpet(tmp_path / "root", output)
    assert not half.exists() and find_cases(output) == [case]


def many_subjects(root: Path, count: int) -> set[str]:
    """Both layouts in turn; every tenth subject lacks a dose. Returns the names of those."""
    incomplete = set()
    for number in range(count):
        name, person = f"subject-{number:03d}", tree.Person(number)
        make, folders = ((tree.bern_subject, tree.BERN), (tree.shanghai_subject, tree.SHANGHAI))[number % 2]
        if number % 10 == 9:
            folders = {factor: folder for factor, folder in folders.items() if factor != 20}
            incomplete.add(name)
        make(root, name, person, folders)
    return incomplete


def preparing(root: Path, output: Path, environment=()) -> subprocess.Popen:
    """The real command with two jobs."""
    command = [sys.executable, "-m", "training", "prepare-udpet", str(root), "--output", str(output), "--jobs", "2"]
    return subprocess.Popen(
        command, cwd=PROJECT, env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes through /proc")


@needs_proc
@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_subjects_and_none_is_dropped(tmp_path, monkeypatch, few=10, many=100):
    """A subject holds 3 MB of voxels here: what kept them would grow by that for each, shared among two jobs."""
    monkeypatch.setattr(tree, "SHAPE", (12, 96, 96))
    peaks = []
    for count in (few, many):
        root, output = tmp_path / f"in-{count}", tmp_path / f"out-{count}"
        incomplete = many_subjects(root, count)
        process = preparing(root, output)
        found = peak_memory_mb(process)
        printed, log = process.communicate()
        assert process.returncode == 0, log
        peaks.append([found.pop(process.pid), max(found.values())])
        assert len(found) >= 2  # the jobs
        assert f"{count} subjects: {count - len(incomplete)} prepared, {len(incomplete)} excluded" in printed
        with (output / TABLE_FILE).open(newline="") as file:
            status = {row["subject"]: row["status"] for row in csv.DictReader(file)}
        everyone = {f"subject-{number:03d}" for number in range(count)}
        assert status == {name: "excluded" if name in incomplete else "prepared" for name in everyone}
        assert {case.name for case in find_cases(output)} == everyone - incomplete
        shutil.rmtree(root)
    print(f"peak MB of command and greatest job: {few} subjects {peaks[0]}, {many} subjects {peaks[1]}")
    for fewer, more in zip(*peaks, strict=True):
        assert more - fewer < 6, peaks


@needs_proc
def test_a_killed_job_ends_the_run_with_a_reason_and_the_next_one_does_the_rest(tmp_path, capsys):
    many_subjects(tmp_path / "in", 6)
    waits = WaitingCall("training.udpet.prepare", "_write_case", tmp_path, after=2)
    process = preparing(tmp_path / "in", tmp_path / "out", waits.environment)
    written = set()

    def settled():
        """Subjects with a case and an outcome."""
        written.update(path.parent.name for path in tmp_path.glob("out/*/*/*/case.json"))
        return written & {path.stem for path in tmp_path.glob("out/outcomes/subject-*.json")}

    wait_until(settled, process)
    done = settled()
    os.kill(children(process)[-1], signal.SIGKILL)
    waits.let_go()
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "a process was ended from outside" in log
    before = {path: path.stat().st_mtime_ns for name in done for path in tmp_path.glob(f"out/*/*/{name}/case.json")}
    assert main(["prepare-udpet", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    assert "6 subjects: 6 prepared, 0 excluded" in capsys.readouterr().out
    assert before and {path: path.stat().st_mtime_ns for path in before} == before
    assert len(find_cases(tmp_path / "out")) == 6 and not list(tmp_path.glob("out/*/*/.*.partial"))


def test_the_table_and_the_challenges_score_read_udpet_and_simulated_cases_alike(prepared, tmp_path):
    bundle, (real,) = tiny.tiny_bundle(tmp_path / "tiny"), prepared[0].glob("*/*/good")
    shutil.copytree(real, tmp_path / "cases" / "real")
    tiny.tiny_case(tmp_path / "cases" / "simulated")
    arguments = ["evaluate", "--cases", str(tmp_path / "cases"), "--output", str(tmp_path / "out"), "--no-classical"]
    arguments += ["--bundle", str(bundle), "--passes", "1", "--input-doses", "1/4,1/20,1/100"]
    assert main(arguments) == 0
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert set(table["means"]["internal"]["1/20"]["MAP-Diff (tiny)"]["doses"]) >= {"1/10", "1/4", "full"}
    with (tmp_path / "out" / "challenge.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "MAP-Diff (tiny)"]
    assert {(row["case"], float(row["input_dose"])) for row in rows} == {
        (case, 1 / drf) for case in ("real", "simulated") for drf in (4, 20, 100)
    }
    assert all(0 < float(row["score"]) < 100 for row in rows)
    assert {bool(row["lesions"]) for row in rows if row["case"] == "simulated"} == {True}
    assert {bool(row["lesions"]) for row in rows if row["case"] == "real"} == {False}  # no masks beside it


def test_a_folder_without_udpet_data_is_refused(tmp_path):
    with pytest.raises(InputError, match="named after a dose"):
        prepare_udpet(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no folder"):
        prepare_udpet(tmp_path / "none", tmp_path / "out")
