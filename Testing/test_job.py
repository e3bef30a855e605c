"""job.json, message lines, file names and doses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import (
    Job,
    decode_message,
    dose_file,
    dose_label,
    encode_message,
    is_result_file,
    own_extension,
    parse_dose,
    parse_doses,
    read_job,
    to_plain,
    write_job,
)


def test_a_written_job_reads_back_as_itself(tmp_path):
    where = {"input": str(tmp_path / "scän 1.nrrd"), "output": str(tmp_path)}
    job = Job(**where, doses=(1.0, 0.1), input_dose=0.05, samples=8, strength=1.5, format="mha")
    assert read_job(write_job(job, tmp_path / "job.json")) == job


def test_relative_paths_in_a_job_file_are_relative_to_its_folder(tmp_path):
    job = read_job(write_job(Job(input="input.nrrd", output="results"), tmp_path / "job.json"))
    assert (job.input, job.output) == (str(tmp_path / "input.nrrd"), str(tmp_path / "results"))


def test_doses_are_put_in_ascending_order():
    assert Job(input="a", output="b", doses=[1, 0.25]).doses == (0.25, 1.0)


@pytest.mark.parametrize(
    "field, value",
    [
        ("input", ""),
        ("input", None),
        ("output", 3),
        ("bundle", "a\0b"),
        ("doses", []),
        ("doses", 0.5),
        ("doses", "1/4"),
        ("doses", [0]),
        ("doses", [1.1]),
        ("doses", [True]),
        ("doses", [math.nan]),
        ("doses", [0.1, 0.1]),
        ("doses", [0.1, 0.1001]),  # both would be dose-0.100
        ("input_dose", 0),
        ("input_dose", "1/20"),
        ("device", "gpu"),
        ("device", "cuda:x"),
        ("device", None),
        ("precision", "float64"),
        ("strength", 0),
        ("strength", "strong"),
        ("samples", True),
        ("samples", 0),
        ("samples", 2.5),
        ("gpu_memory_gb", 0.5),
        ("samples", 65),
        ("seed", -1),
        ("seed", None),
        ("seed", 2**31),
        ("tile", 1),
        ("format", "dcm"),
        ("overwrite", 1),
    ],
)
def test_an_impossible_field_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field):
        Job(**{"input": "a", "output": "b", field: value})


@pytest.mark.parametrize(
    "content, seen",
    [
        ("", "not JSON"),
        ("[]", "list"),
        ('{"input": "a"}', "lacks .'output'"),
        ('{"input": "a", "output": "b", "does": [1]}', "unknown keys .'does'"),
        ('{"input": 1, "output": "b"}', "input is 1"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_job_file_is_refused_with_what_is_wrong(tmp_path, content, seen):
    path = tmp_path / "job.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=seen):
        read_job(path)


def test_a_missing_or_binary_job_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_job(tmp_path / "none.json")
    (tmp_path / "job.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not JSON"):
        read_job(tmp_path / "job.json")


def test_a_message_is_one_ascii_line_whatever_it_says():
    line = encode_message({"type": "status", "message": "Größe\n\u2028 \U0001f9e0"})
    assert line.isascii() and line.endswith("\n") and len(line.splitlines()) == 1
    assert decode_message(line) == {"type": "status", "message": "Größe\n\u2028 \U0001f9e0"}


def test_numbers_that_json_cannot_say_become_null():
    figures = {"a": math.nan, "b": np.float32(0.5), "c": (np.inf, np.int64(3))}
    line = encode_message({"type": "dose", "figures": figures})
    assert json.loads(line)["figures"] == {"a": None, "b": 0.5, "c": [None, 3]}


NO_MESSAGES = ["", "hello", "[1]", "3", '{"type": "gossip"}', '{"kind": "done"}', "[" * 100_000, b"\xff"]


@pytest.mark.parametrize("line", NO_MESSAGES)
def test_a_line_that_is_no_message_is_told_apart(line):
    assert decode_message(line) is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_any_plain_value_survives_the_way_through_a_message(value):
    message = {"type": "status", "value": value}
    assert decode_message(encode_message(message)) == to_plain(message)


def test_file_names_say_the_dose_with_three_decimals():
    assert [dose_file(dose, ".nii.gz") for dose in (0.1, 0.25, 1.0)] == [
        "dose-0.100.nii.gz",
        "dose-0.250.nii.gz",
        "dose-1.000.nii.gz",
    ]


@pytest.mark.parametrize(
    "name, extension",
    [
        ("a.nrrd", ".nrrd"),
        ("a.NHDR", ".nrrd"),
        ("a.mha", ".mha"),
        ("a.mhd", ".mha"),
        ("a.nii", ".nii.gz"),
        ("a.nii.gz", ".nii.gz"),
        ("folder", ".nii.gz"),
        ("folder.of.slices", ".nii.gz"),
    ],
)
def test_results_are_written_in_the_inputs_own_format(name, extension):
    assert own_extension(name) == extension and Job(input=name, output="b").extension == extension
    assert Job(input=name, output="b", format="mha").extension == ".mha"


def test_only_what_a_job_writes_counts_as_a_result():
    assert all(
        is_result_file(name, ".nrrd")
        for name in ("dose-0.100.nrrd", "dose-0.100-scan.nrrd", "consistency.nrrd", "uncertainty.nrrd", "report.json")
    )
    others = ("dose-0.1.nrrd", "dose-0.100.mha", "my dose-0.100.nrrd", "dose-0.100.nrrd.bak", "input.nrrd")
    assert not any(is_result_file(name, ".nrrd") for name in others)


@pytest.mark.parametrize("text, dose", [("1/4", 0.25), ("0.25", 0.25), ("full", 1.0), ("1", 1.0), (" 1/20 ", 0.05)])
def test_a_dose_is_written_as_fraction_decimal_or_full(text, dose):
    assert parse_dose(text) == dose
    assert parse_doses(f"{text},1") == (dose, 1.0)


@pytest.mark.parametrize("text", ["", "0", "-1", "2", "1/0", "nan", "inf", "half", "1/2/3", "0.1,"])
def test_a_dose_outside_zero_to_one_is_refused(text):
    with pytest.raises(InputError, match="fraction of full dose"):
        parse_doses(text)


def test_dose_labels_read_like_the_doses_of_a_ladder():
    assert [dose_label(dose) for dose in (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)] == [
        *("1/100", "1/50", "1/20", "1/10", "1/4", "1/2", "full"),
    ]
