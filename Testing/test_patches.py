"""What the cache of a case holds, and that neither making it nor training from very many takes memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.model.network import NetworkConfig
from MAPDiffLib.scan.volume import Volume, body_mask, write_volume
from Testing import tiny
from Testing.waiting import WaitingCall, wait_until
from training.cases import cache
from training.cases.cache import DOSES_CACHE, HOT_SUV, MARGIN, CachedCase
from training.cases.case_file import ALL_DOSES, dose_file, read_dose
from training.config import TrainConfig
from training.throughput import Throughput, measure_throughput

ROOT = Path(__file__).parent.parent
TINY = TrainConfig(network=NetworkConfig(widths=(4, 8), embedding=16), patch=16, batch=4, input_doses={0.05: 1.0})
QUADRA = (644, 440, 440)
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory through /proc")


def test_a_cache_holds_each_dose_around_the_body_with_its_mean_and_places_for_patches(tmp_path):
    case = tiny.tiny_case(tmp_path / "case")
    cached = CachedCase.open(case)
    scans = [read_dose(case, dose).voxels for dose in ALL_DOSES]
    body = body_mask(scans[-1], (4.0, 4.0, 4.0))
    box = tuple(slice(max(0, hits.min() - MARGIN), hits.max() + 1 + MARGIN) for hits in np.nonzero(body))
    assert np.array_equal(cached.doses, np.stack([scan[box] for scan in scans]).astype(np.float16))
    assert np.array_equal(cached.body, body[box])
    assert np.allclose(cached.body_means, [scan[body].mean(dtype=float) for scan in scans], rtol=1e-6)
    hot = body[box] & (scans[-1][box] > HOT_SUV)
    assert len(cached.body_voxels) >= body.sum() // 7 and cached.body.flat[cached.body_voxels].all()
    assert len(cached.hot_voxels) >= hot.sum() // 3 > 0 and hot.flat[cached.hot_voxels].all()
    assert not [path for path in case.iterdir() if path.name.startswith(".")]


def test_what_a_kill_leaves_of_a_cache_is_taken_away_when_it_is_made(tmp_path):
    case = tiny.tiny_case(tmp_path / "case")
    code = f"import pathlib; from training.cases.cache import CachedCase; CachedCase.open(pathlib.Path({str(case)!r}))"
    found = os.environ | WaitingCall("training.cases.cache", "_append", tmp_path, after=2).environment
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=found) as maker:
        wait_until(lambda: list(case.glob(".cache-doses.npy.*")), maker)
        maker.kill()
    assert list(case.glob(".cache-doses.npy.*")) and not (case / DOSES_CACHE).exists()
    assert len(CachedCase.open(case).doses) == len(ALL_DOSES)
    assert not list(case.glob(".*"))


def test_of_two_who_make_a_cache_at_once_the_later_goes_on_with_what_the_first_has_made(tmp_path, monkeypatch):
    case, thinned = tiny.tiny_case(tmp_path / "case"), cache._thinned

    def meanwhile(*arguments):
        monkeypatch.setattr(cache, "_thinned", thinned)
        CachedCase.open(case)  # the other, which begins after this one and ends before it
        return thinned(*arguments)

    monkeypatch.setattr(cache, "_thinned", meanwhile)
    assert len(CachedCase.open(case).body_voxels) > 0
    assert not list(case.glob(".*"))


def test_a_large_case_keeps_a_bounded_number_of_places_all_over_the_body(tmp_path, monkeypatch):
    monkeypatch.setattr("training.cases.cache.MOST_CENTRES", 100)
    cached = CachedCase.open(tiny.tiny_case(tmp_path / "case"))
    assert 50 < len(cached.body_voxels) <= 100 and 50 < len(cached.hot_voxels) <= 100
    z = np.unravel_index(cached.body_voxels, cached.body.shape)[0]
    inside = np.flatnonzero(cached.body.any(axis=(1, 2)))
    assert z.min() <= inside[0] + 1 and z.max() >= inside[-1] - 1


def memory_mb(script: str, *arguments: object) -> list[float]:
    """What a script prints of its own memory; `status(name)` gives it a line of /proc/self/status in MB."""
    status = (
        "def status(name):\n"
        "    lines = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "    return int(lines[name].split()[0]) / 1024\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", status + script, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


CACHE_OF_MANY = """
import pathlib, sys
from training.cases import cache
case = pathlib.Path(sys.argv[1])
print(status('VmRSS'))
cache.ALL_DOSES = (1.0,) * int(sys.argv[2])
cache._write_cache(case)
print(status('VmHWM'), (case / cache.DOSES_CACHE).stat().st_size / 2**20)
"""


@needs_proc
def test_making_a_cache_takes_the_memory_of_few_volumes_whatever_the_number_of_doses(tmp_path, doses=12):
    voxels = np.zeros((160, 160, 160), np.float32)
    voxels[40:-40, 40:-40, 40:-40] = 1.0  # an eighth of the volume, as a body is
    write_volume(Volume(voxels, (1.65, 1.65, 1.65), units="SUVbw"), tmp_path / dose_file(1.0))
    volume = voxels.nbytes / 2**20
    before, peak, written = memory_mb(CACHE_OF_MANY, tmp_path, doses)
    assert written > doses * 2 * 80**3 / 2**20  # half floats
    assert peak - before < 13 * volume, (before, peak)  # one dose is worked on in ten; all would be twenty-two


TRAIN_FROM_MANY = """
import pathlib, resource, sys
from training.cases.patches import PatchSource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
cases = sorted(pathlib.Path(sys.argv[1]).iterdir())
before = status('RssAnon')
source = PatchSource(cases, 16, {0.05: 1.0}, seed=0)
for iteration in range(2):
    source.batch(iteration, range(20))
print(len(cases), sum('hot_voxels' in vars(case) or 'body_voxels' in vars(case) for case in source.cases),
      status('VmSize'), status('RssAnon') - before)
"""


@needs_proc
@pytest.mark.parametrize("subjects", [80, pytest.param(1447, marks=pytest.mark.long)])
def test_training_from_every_subject_of_udpet_takes_neither_their_memory_nor_their_number_of_open_files(
    tmp_path, subjects
):
    """Of 7 doses on a Quadra's grid: all of UDPET is 2.5 TB in files of holes, which take no disk."""
    model = tiny.tiny_case(tmp_path / "model")
    CachedCase.open(model)
    inside = np.sort(np.random.default_rng(0).integers(0, np.prod(QUADRA), 10_000)).astype(np.uint32)
    for name in ("body", "hot"):
        np.save(model / f"cache-{name}-centres.npy", inside)
    for number in range(subjects):
        case = tmp_path / "cases" / f"case-{number:04d}"
        case.mkdir(parents=True)
        for path in model.glob("cache*"):
            os.link(path, case / path.name)
        for name, dtype, shape in (("doses", "<f2", (len(ALL_DOSES), *QUADRA)), ("body", "|b1", QUADRA)):
            path = case / f"cache-{name}.npy"
            path.unlink()
            with path.open("wb") as file:
                header = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + np.dtype(dtype).itemsize * int(np.prod(shape)))
    cases, used, mapped_mb, anonymous_mb = memory_mb(TRAIN_FROM_MANY, tmp_path / "cases")
    assert cases == subjects and used > 25
    assert mapped_mb > 1700 * subjects and anonymous_mb < 100, (mapped_mb, anonymous_mb)


def test_throughput_measures_loader_and_step_and_says_which_is_slower(tmp_path):
    cases = [tiny.tiny_case(tmp_path / name) for name in ("one", "two")]
    found = measure_throughput(TINY, cases, workers=[0, 1], seconds=0.2)
    assert set(found.loader) == {0, 1} and min(*found.loader.values(), found.step) > 0
    said = str(Throughput("cpu", {0: 8.0, 2: 30.0}, 16.0)).splitlines()
    assert said[0] == "training step on cpu: 16.00 samples/s"
    assert said[1].endswith("0.5 x the step: too slow") and said[2].endswith("1.9 x the step: enough")
