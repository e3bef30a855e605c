"""The command line as a user types it: results, refusals before any work, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.__main__ import main
from MAPDiffLib.report import demo
from MAPDiffLib.report.figure import projection
from MAPDiffLib.scan.volume import Volume, read_volume
from Testing import tiny
from Testing.waiting import PATIENCE_S, WaitingJob
from training.simulate.tissues import Tissue

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return str(tiny.tiny_scan(tmp_path_factory.mktemp("scan") / "scan.mha"))


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_restore_writes_each_dose_in_the_inputs_format_and_geometry(scan, bundle, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    options = ["--bundle", bundle, "--doses", "1/4,full", "--input-dose", "1/20"]
    assert main(["restore", scan, "--output", str(out), *options]) == 0
    assert names_in(out) == ["consistency.mha", "dose-0.250.mha", "dose-1.000.mha", "report.json", "uncertainty.mha"]
    given, restored = read_volume(scan), read_volume(out / "dose-1.000.mha")
    for name in ("spacing_mm", "origin_mm", "direction", "units"):
        assert getattr(restored, name) == getattr(given, name)
    assert "Research use only. Not for diagnosis." in capsys.readouterr().out
    assert json.loads((out / "report.json").read_text())["job"]["input_dose"] == 0.05


def test_the_same_seed_gives_the_same_voxels_and_overwrite_replaces_the_old_results(scan, bundle, tmp_path):
    arguments = ["restore", scan, "--output", str(tmp_path), "--bundle", bundle, "--input-dose", "1/20", "--format"]
    assert main([*arguments, "nrrd", "--doses", "0.5,1"]) == 0
    first = read_volume(tmp_path / "dose-1.000.nrrd").voxels
    assert main([*arguments, "nrrd", "--doses", "0.5,1"]) == 2
    assert main([*arguments, "nrrd", "--doses", "0.01", "--overwrite"]) == 2
    assert "dose-0.500.nrrd" in names_in(tmp_path)  # a job that is refused replaces nothing
    assert main([*arguments, "nrrd", "--doses", "1", "--overwrite", "--figure"]) == 0
    assert names_in(tmp_path) == [
        "consistency.nrrd",
        "dose-1.000.nrrd",
        "figure.png",
        "report.json",
        "uncertainty.nrrd",
    ]
    assert np.array_equal(read_volume(tmp_path / "dose-1.000.nrrd").voxels, first)


@pytest.mark.parametrize(
    "extra, seen",
    [
        (["--doses", "1/4,two"], "'two'"),
        (["--doses", "0"], "'0'"),
        (["--doses", ""], "''"),
        (["--input-dose", "20"], "'20'"),
        (["--device", "gpu"], "device is 'gpu'"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--samples", "-1"], "samples is -1"),
        (["--strength", "9"], "strength is 9"),
        (["--seed", "-1"], "seed is -1"),
        (["--tile", "1"], "tile is 1"),
        (["--bundle", "nobody"], "no bundle is called 'nobody'"),
        (["--bundle", "/dev/null"], "is not a folder"),
        (["--input-dose", "0.5", "--doses", "0.25"], "higher doses"),
    ],
)
def test_a_bad_option_is_refused_by_name_and_nothing_is_written(scan, bundle, tmp_path, capsys, extra, seen):
    code = main(["restore", scan, "--output", str(tmp_path / "out"), "--bundle", bundle, *extra])
    assert code == 2
    assert seen in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or names_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["restore"],
        ["restore", "scan.mha"],
        ["restore", "scan.mha", "--output", "x", "--samples", "two"],
        ["restore", "scan.mha", "--output", "x", "--precision", "float64"],
        ["restore", "scan.mha", "--output", "x", "--format", "dcm"],
        ["bundles"],
        ["dance"],
    ],
)
def test_a_command_that_does_not_parse_is_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_an_existing_result_is_refused_by_name_before_any_work(scan, tmp_path, capsys):
    (tmp_path / "dose-0.100.mha").write_text("mine")
    assert main(["restore", scan, "--output", str(tmp_path), "--bundle", "nobody"]) == 2
    assert "dose-0.100.mha" in capsys.readouterr().err
    assert (tmp_path / "dose-0.100.mha").read_text() == "mine"


def test_an_existing_figure_is_refused_before_any_work(scan, tmp_path, capsys):
    (tmp_path / "figure.png").write_text("mine")
    assert main(["restore", scan, "--output", str(tmp_path), "--bundle", "nobody", "--figure"]) == 2
    assert "figure.png exists" in capsys.readouterr().err


def test_the_input_is_never_overwritten_even_when_asked(bundle, tmp_path, capsys):
    scan = tiny.tiny_scan(tmp_path / "dose-0.050.mha")
    before = scan.read_bytes()
    arguments = ["restore", str(scan), "--output", str(tmp_path), "--bundle", bundle, "--overwrite"]
    assert main(arguments) == 2
    assert "give another output folder" in capsys.readouterr().err
    assert scan.read_bytes() == before


@pytest.mark.parametrize("output", ["file", "file/below", "/proc/mapdiff"])
def test_an_output_that_cannot_be_a_folder_is_refused(scan, tmp_path, capsys, output):
    (tmp_path / "file").write_text("mine")
    assert main(["restore", scan, "--output", str(tmp_path / output)]) == 2
    assert "output" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(scan, tmp_path, capsys):
    (tmp_path / "out").mkdir(mode=0o555)
    assert main(["restore", scan, "--output", str(tmp_path / "out")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_scan_that_is_missing_is_refused(tmp_path, capsys):
    assert main(["restore", str(tmp_path / "none.nii"), "--output", str(tmp_path / "out")]) == 2
    assert "none.nii does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_ends_a_restoration_with_code_3_and_leaves_nothing_half_written(scan, bundle, tmp_path):
    command = [sys.executable, "-m", "MAPDiffLib", "restore", scan, "--output", str(tmp_path), "--bundle", bundle]
    process = subprocess.Popen(
        [*command, "--input-dose", "1/20"],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | WaitingJob("Loading", tmp_path.parent).environment,
    )  # fmt: skip
    assert "Loading" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, log = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, names_in(tmp_path)) == (3, "", [])
    assert "cancelled" in log and "Traceback" not in log


def test_probe_says_in_json_what_can_be_computed_on(capsys):
    assert main(["probe"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["devices"][0]["device"] == "cpu" and facts["devices"][0]["threads"] >= 1
    assert facts["torch"] and facts["problem"] == ""


def test_bundles_are_listed_and_shown(bundle, monkeypatch, capsys):
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(Path(bundle).parent))
    assert main(["bundles", "list"]) == 0
    assert "random weights for tests" in capsys.readouterr().out
    assert main(["bundles", "show", "tiny"]) == 0
    assert json.loads(capsys.readouterr().out)["sampling"]["uncertainty_scales"] == [1.0, 1.0]
    assert main(["bundles", "show", "nobody"]) == 2


def test_a_reader_that_leaves_ends_the_command_with_one_sentence(bundle):
    command = [sys.executable, "-m", "MAPDiffLib", "bundles", "show", bundle]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()  # long before the first word
        said = process.stderr.read()
    assert process.returncode == 1 and said == "mapdiff: stopped: nobody reads what it prints\n"


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case folder as training.simulate writes it: the real doses of the tiny scan are the scan itself."""
    folder = tmp_path_factory.mktemp("cases") / "case-00000"
    folder.mkdir()
    for dose in ("0.050", "0.100", "0.250", "0.500", "1.000"):
        scan = tiny.tiny_scan(folder / f"dose-{dose}.nii.gz")
    labels = np.zeros(read_volume(scan).voxels.shape, np.uint8)
    labels[2:12, 6:14, 6:14] = Tissue.LIVER
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((8.0, 8.0, 8.0))
    sitk.WriteImage(image, str(folder / "labels.nii.gz"))
    (folder / "case.json").write_text("{}")
    return folder


def test_the_demo_compares_each_dose_with_the_real_one_in_a_table_and_a_figure(case, bundle, tmp_path, capsys):
    assert main(["demo", str(case), "--output", str(tmp_path), "--bundle", bundle, "--input-dose", "1/20"]) == 0
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    table = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in table if line.startswith(("1/", "full"))}
    assert list(rows) == ["1/10", "1/4", "1/2", "full"]
    against_itself = [rows["full"][column] for column in (1, 3, 5)]  # the input: NMAE, PSNR, SSIM
    assert against_itself == ["0.000", "inf", "1.0000"]
    assert rows["full"][7] == rows["full"][9]  # the liver noise of one and the same scan
    assert "Research use only" in table[-1]


def test_a_folder_that_is_no_case_is_refused(tmp_path, capsys):
    assert main(["demo", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "case.json" in capsys.readouterr().err


def test_the_liver_of_the_demo_is_the_liver_of_the_simulation():
    assert demo.LIVER == Tissue.LIVER


def test_a_projection_stands_upright_whatever_the_direction_of_the_axes():
    voxels = np.zeros((4, 3, 5), np.float32)
    voxels[3, 1, 0] = 1  # head, right side of the patient
    upright = projection(Volume(voxels, (1, 1, 2)), "", 1)
    flipped = projection(Volume(voxels[::-1, :, ::-1], (1, 1, 2), direction=(-1, 0, 0, 0, 1, 0, 0, 0, -1)), "", 1)
    assert upright.image.shape == (4, 5) and upright.image[0, 0] == 1 and upright.spacing_mm == (1, 2)
    assert np.array_equal(upright.image, flipped.image)
