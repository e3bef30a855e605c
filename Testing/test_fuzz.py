"""Any bytes where a scan, a job, a bundle or a message should be: read, or refused clearly, and nothing else."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MAPDiffLib.scan.dicom_header import read_planes
from MAPDiffLib.scan.dicom_reader import suv_metadata
from Testing.fuzz_targets import FOLDER, TARGETS, seeds

PROJECT = Path(__file__).parent.parent
TEXT = [b"0", b"-1", b"99999999999", b"1e400", b"nan", b"null", b"[]", b"{}", b'"', b"\n", b"\n\n", b"../", b"\xff\xfe"]
TEXT += [b"1,5", b"inf", b"\\", b"000000", b"\x1b$B\xf6"]  # of other people's headers
TEXT += [b"x" * 300, b"9" * 2000]  # longer than a C library may have room for
TEXT += [
    b"\r",
    b"%s%n",
    b"%09999d",
    b"(",
    b'"cm"',
    b" LIST",
    b"\nfield: " + b"y" * 1100 + b"\n",
    b"\n" + b"z" * 3000 + b"\n",
]
TEXT += [b"\n#" + b"c" * 5000 + b"\n", b"\nkey:=" + b"v" * 5000 + b"\n", b"\nkey = " + b"w" * 1500 + b"\n"]
NUMBERS = [bytes(8), b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff"]


def mutated(content: bytes, seed: int) -> bytes:
    """The bytes with up to six changes, most of them in the first kilobyte, where headers are."""
    draw, changed = random.Random(seed), bytearray(content)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(1 + min(len(changed), draw.choice([64, 400, 1000, len(changed)])))
        kind = draw.randrange(6)
        if kind == 0:
            changed[at : at + 1] = draw.randbytes(1)
        elif kind == 1:
            changed[at:at] = draw.choice(TEXT)
        elif kind == 2:
            piece = draw.choice(NUMBERS)
            changed[at : at + len(piece)] = piece
        elif kind == 3:
            del changed[at : at + draw.choice([1, 2, 8, 100])]
        elif kind == 4:
            del changed[at:]
        else:  # a number in the text becomes another
            numbers = [m.span() for m in re.finditer(rb"\d+(\.\d+)?", bytes(changed[:2000]))]
            if numbers:
                a, b = draw.choice(numbers)
                changed[a:b] = draw.choice(TEXT)
    return bytes(changed)


def peak_mb() -> float:
    """The most memory that this process has had; 0 where /proc does not say."""
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1000 if status.exists() else 0.0


def check(name: str, examples: int, anew: bool = False) -> None:
    seen, before = set(), peak_mb()

    @settings(max_examples=examples, derandomize=not anew, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**63))
    def feed(seed):
        seen.add(TARGETS[name](mutated(seeds()[name], seed)) is None)

    assert TARGETS[name](seeds()[name]) is None  # what is whole is accepted
    feed()
    assert False in seen  # and the changes do reach what is checked
    assert peak_mb() - before < 300  # no length in a file of kilobytes is believed


@pytest.mark.parametrize("name", TARGETS)
def test_a_hundred_damaged_files_of_each_kind_are_read_or_refused(name):
    if name.startswith("dicom"):
        pytest.importorskip("pydicom")
    check(name, 100)


def test_the_values_that_are_fuzzed_have_a_suv_factor_to_begin_with():
    pytest.importorskip("pydicom")
    assert TARGETS["dicom-values"](seeds()["dicom-values"]) is None
    (plane,) = read_planes(FOLDER / "dicom" / "slice-1.dcm")
    assert "suv_factor" in suv_metadata([plane]) and plane.text("SeriesDescription") == "Ganzkörper"


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_ten_thousand_damaged_files_of_each_kind_are_read_or_refused(name):
    check(name, 10_000, anew=True)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_ten_thousand_files_of_each_kind_by_a_fuzzer_that_watches_the_code(name):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("pip install atheris")
    command = [sys.executable, "-m", "Testing.fuzz_targets", name, "-runs=10000", "-max_len=4000", "-rss_limit_mb=4000"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@given(st.binary(max_size=2000), st.sampled_from(list(TARGETS)))
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_bytes_without_any_sense_are_refused(content, name):
    if not name.startswith("dicom"):
        assert TARGETS[name](content) is not None
