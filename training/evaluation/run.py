"""Every method on every case from every input dose: in parallel over cases, each result kept, so that a run killed or
a method added later goes on where the table stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

from tqdm import tqdm

from MAPDiffLib.files import write_text
from MAPDiffLib.model.manifest import MANIFEST_FILE
from training.evaluation.case import TestCase
from training.evaluation.method import Method
from training.evaluation.score import NOISE_FREE, REAL, score_method, score_noise_free, score_regions
from training.process_pool import process_pool

VERSION = 7  # of the figures and of the simulated cases: results of two versions are not mixed or compared
PARTS = "parts"


def run_table(
    cases: Sequence[Path], methods: dict[str, Method], input_doses: Sequence[float], output: Path, jobs: int = 1
) -> list[dict]:
    """One record per method, case and input dose (score.score_method), the noise-free image among them where it is
    known, and one per case of the real full-dose scan.

    Results are kept in output/parts, by the method's settings and weights and by the case. `jobs`: processes, one case
    at a time each.
    """
    tasks = [(case, dose, methods, output / PARTS) for case in cases for dose in (None, *input_doses)]
    bar = {"total": len(tasks), "desc": "cases x doses", "disable": None}
    if jobs == 1:
        parts = [score_case(*task) for task in tqdm(tasks, **bar)]
    else:
        with process_pool(jobs) as pool:
            waiting = [pool.submit(score_case, *task) for task in tasks]
            for _ in tqdm(as_completed(waiting), **bar):
                pass
            parts = [each.result() for each in waiting]
    return [record for records in parts for record in records]


def score_case(folder: Path, dose: float | None, methods: dict[str, Method], parts: Path) -> list[dict]:
    """The records of one case from one input dose; of the real full-dose scan where the dose is None."""
    case = TestCase(folder)
    if dose is None:
        return [_kept(parts, (REAL,), case, None, REAL, lambda: score_regions(case.full.voxels, case))]
    records = [
        _kept(parts, identity(method), case, dose, name, lambda method=method: score_method(method, case, dose))
        for name, method in methods.items()
    ]
    if case.noise_free is not None:
        limit = _kept(parts, (NOISE_FREE,), case, dose, NOISE_FREE, lambda: score_noise_free(case, dose))
        records.append(limit)
    return records


def identity(method: Method) -> tuple:
    """What makes a method's result: its settings, size and time of the weights in its folder, and how a bundle says
    they are used (all of its manifest but the scores, which are results themselves)."""
    folder = getattr(method, "folder", None)
    weights = sorted(Path(folder).glob("*.safetensors")) + sorted(Path(folder).glob("*.ckpt")) if folder else []
    made = (repr(method), *((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights))
    if folder and (manifest := Path(folder) / MANIFEST_FILE).exists():
        used = {name: value for name, value in json.loads(manifest.read_text()).items() if name != "scores"}
        made = (*made, json.dumps(used, sort_keys=True))
    return made


def _kept(parts: Path, what: tuple, case: TestCase, dose: float | None, name: str, make) -> dict:
    """The record that is there already, else made and kept (whole, then renamed)."""
    source = (case.folder / "case.json").read_bytes()
    key = hashlib.sha256(repr((VERSION, what, str(case.folder.resolve()), source, dose)).encode()).hexdigest()[:24]
    path = parts / f"{key}.json"
    if path.exists():
        record = json.loads(path.read_text())
    else:
        record = make()
        parts.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(record), path)
    return {"method": name, "case": case.name, "scanner": case.scanner, "input_dose": dose} | record
