"""The test set of UDPET: its table and files in, a submission out."""

import json
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import read_volume, write_volume
from training.__main__ import main
from training.cases.case_file import find_cases, read_dose
from training.udpet.prepare import prepare_udpet
from training.udpet.testset import suv_factor

pytest.importorskip("pydicom")
from Testing import tiny  # noqa: E402
from Testing import udpet_tree as tree  # noqa: E402


def test_the_factor_of_the_test_sets_table_is_worked_by_hand():
    assert suv_factor(70, 7e8, 6588, 0, "START") == pytest.approx(1e-4)
    assert suv_factor(70, 7e8, 6588, 6588, "START") == pytest.approx(2e-4)  # half has decayed
    assert suv_factor(70, 7e8, 6588, 6588, "ADMIN") == pytest.approx(1e-4)
    for wrong in ((0, 7e8, 6588, 0, "START"), (70, 7e8, 6588, -1, "START"), (70, 7e8, 6588, 0, "NONE")):
        with pytest.raises(InputError):
            suv_factor(*wrong)


def test_the_test_sets_form_is_prepared_in_suv_with_and_without_a_full_dose(tmp_path):
    tree.write_test_set(tmp_path / "blind", (100, 20, 4))
    (row,) = prepare_udpet(tmp_path / "blind", tmp_path / "out")
    assert (row["status"], row["split"], row["doses"]) == ("prepared", "unpaired", "1/4 1/20 1/100")
    (case,) = find_cases(tmp_path / "out")
    scan = read_dose(case, 0.05)
    assert np.allclose(scan.voxels, tree.suv(0, 20), atol=1e-5) and scan.origin_mm == (1, 2, 3)
    tree.write_test_set(tmp_path / "open", (100, 50, 20, 10, 4, 1))
    (row,) = prepare_udpet(tmp_path / "open", tmp_path / "out2")
    assert row["split"] == "test" and row["doses"].startswith("full") and row["derived"] == "1/2"


def edited(table: Path, old: str, new: str) -> None:
    table.write_text(table.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("BQML", "SUV", "units 'SUV'"),
        ("START", "NONE", "decay correction 'NONE'"),
        (",20,", ",twenty,", "1/twenty"),
        ("_DRF-20.nii.gz", "_DRF-21.nii.gz", "not beside it: Anonymous-01_DRF-21.nii.gz"),
        (",3600,", ",soon,", "line 2"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(tmp_path, old, new, words):
    edited(tree.write_test_set(tmp_path / "set"), old, new)
    with pytest.raises(InputError) as caught:
        prepare_udpet(tmp_path / "set", tmp_path / "out")
    assert words in str(caught.value)


def test_a_file_that_no_row_names_is_refused(tmp_path):
    table = tree.write_test_set(tmp_path / "set")
    write_volume(read_volume(next(table.parent.glob("*.nii.gz"))), table.parent / "extra.nii.gz")
    with pytest.raises(InputError, match="none of its rows: extra.nii.gz"):
        prepare_udpet(table.parent, tmp_path / "out")


def test_another_tracer_in_the_table_is_excluded(tmp_path):
    edited(tree.write_test_set(tmp_path / "set"), "6588.0", "4062.6")
    (row,) = prepare_udpet(tmp_path / "set", tmp_path / "out")
    assert row["kind"] == "mislabelled"
    assert json.loads(next((tmp_path / "out" / "outcomes").iterdir()).read_text())["kind"] == "mislabelled"


def test_a_submission_is_full_dose_in_bq_ml_on_the_inputs_grid_under_the_inputs_names(tmp_path, capsys):
    bundle = tiny.tiny_bundle(tmp_path / "tiny")
    tree.write_test_set(tmp_path / "set", (100, 20, 1), ("Anonymous-01", "Anonymous-02"))
    arguments = ["submit-udpet", str(tmp_path / "set"), "--output", str(tmp_path / "out"), "--bundle", str(bundle)]
    assert main(arguments) == 0
    assert "4 files" in capsys.readouterr().out
    files = sorted((tmp_path / "out" / "submission").iterdir())
    assert [path.name for path in files] == [
        f"Anonymous-0{number}_DRF-{factor}.nii.gz" for number in (1, 2) for factor in (100, 20)
    ]
    for path in files:
        given, restored = read_volume(tmp_path / "set" / path.name), read_volume(path)
        assert (restored.spacing_mm, restored.origin_mm) == (given.spacing_mm, given.origin_mm)
        assert restored.voxels.mean() == pytest.approx(given.voxels.mean(), rel=0.1)  # Bq/mL, not SUV
        assert not np.array_equal(restored.voxels, given.voxels)
    report = json.loads((tmp_path / "out" / "restored" / "Anonymous-02_DRF-20" / "report.json").read_text())
    assert report["input"]["dose_used"] == 0.05  # the table's, not an estimate
    before = {path: path.stat().st_mtime_ns for path in files}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_submission_that_lacks_a_file_is_said_with_the_reason(tmp_path, capsys):
    bundle = tiny.tiny_bundle(tmp_path / "tiny")
    tree.write_test_set(tmp_path / "set", (100, 20))
    (tmp_path / "set" / "Anonymous-01_DRF-20.nii.gz").write_bytes(b"broken")
    arguments = ["submit-udpet", str(tmp_path / "set"), "--output", str(tmp_path / "out"), "--bundle", str(bundle)]
    assert main(arguments) == 2
    assert "1 of 2 files were not restored: Anonymous-01_DRF-20" in capsys.readouterr().err
    assert not (tmp_path / "out" / "submission").exists()


def test_the_commands_say_what_came_of_it(tmp_path, capsys):
    tree.write_test_set(tmp_path / "set", (20, 4))
    assert main(["prepare-udpet", str(tmp_path / "set"), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "1 subjects: 1 prepared, 0 excluded" in printed and "unpaired/uexplorer: 1" in printed
    assert main(["prepare-udpet", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 2
