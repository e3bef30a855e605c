"""What the fuzzers feed: each target takes any bytes and may only succeed or refuse clearly; it returns the refusal.

Shared by Hypothesis (test_fuzz.py) and atheris: `python -m Testing.fuzz_targets <target> -runs=10000`.
"""

from __future__ import annotations

import atexit
import gzip
import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import MESSAGE_TYPES, decode_message, read_job
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.scan.volume import check_volume, read_volume, write_volume
from Testing import tiny

# In memory where there is such a place: on a disk, writing over a file ten thousand times takes longer than reading it.
MEMORY = Path("/dev/shm")
FOLDER = Path(tempfile.mkdtemp(prefix="mapdiff-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def refusal(function, *arguments) -> str | None:
    """The words of an InputError, or None; any other exception is a fault."""
    try:
        function(*arguments)
    except InputError as error:
        assert str(error), "a refusal without words"
        return str(error)
    return None


def scan_in(suffix: str):
    """A target that reads and checks a scan of this format."""

    def target(content: bytes) -> str | None:
        path = FOLDER / f"scan{suffix}"
        path.write_bytes(gzip.compress(content, 1) if suffix == ".nii.gz" else content)
        return refusal(lambda: check_volume(read_volume(path), path.name))

    return target


def dicom(content: bytes) -> str | None:
    """A folder of three slices of which one is these bytes."""
    (_dicom_folder() / "slice-1.dcm").write_bytes(content)
    return refusal(read_volume, _dicom_folder())


def job(content: bytes) -> str | None:
    """A job.json."""
    path = FOLDER / "job.json"
    path.write_bytes(content)
    return refusal(read_job, path)


def manifest(content: bytes) -> str | None:
    """The bundle.json of a bundle whose weights are right."""
    folder = _bundle()
    (folder / "bundle.json").write_bytes(content)
    return refusal(load_bundle, folder)


def weights(content: bytes) -> str | None:
    """The weights of a bundle whose bundle.json vouches for them: only what is inside can be refused."""
    folder = _bundle()
    said = json.loads(seeds()["manifest"]) | {"weights_sha256": hashlib.sha256(content).hexdigest()}
    (folder / "bundle.json").write_text(json.dumps(said))
    (folder / "weights.safetensors").write_bytes(content)
    return refusal(load_bundle, folder)


def message(content: bytes) -> str | None:
    """A line that a worker may have said."""
    found = decode_message(content)
    assert found is None or found["type"] in MESSAGE_TYPES
    return None if found else "no message"


TARGETS = {
    **{suffix.strip(".").replace(".", "-"): scan_in(suffix) for suffix in (".nrrd", ".nii", ".nii.gz", ".mha")},
    "dicom": dicom,
    "job": job,
    "manifest": manifest,
    "weights": weights,
    "message": message,
}
_seeds: dict[str, bytes] = {}


def seeds() -> dict[str, bytes]:
    """For each target, bytes that it accepts: what a fuzzer starts from."""
    if not _seeds:
        scan = read_volume(tiny.tiny_scan(FOLDER / "whole.nrrd"))
        for suffix in (".nrrd", ".nii", ".mha"):
            write_volume(scan, FOLDER / f"whole{suffix}")
            _seeds[suffix.strip(".")] = (FOLDER / f"whole{suffix}").read_bytes()
        # Fields that only other programs write: lengths in another unit, a slope.
        _seeds["nrrd"] = _seeds["nrrd"].replace(b"encoding:", b'space units: "cm" "cm" "cm"\nencoding:')
        slope = b"DistanceUnits = cm\nElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = 1\n"
        _seeds["mha"] = _seeds["mha"].replace(b"ElementType =", slope + b"ElementType =")
        bundle = tiny.tiny_bundle(FOLDER / "made")
        _seeds.update(
            {
                "nii-gz": _seeds["nii"],  # compressed by the target, so that the fuzzer reaches what is inside
                "dicom": (_dicom_folder() / "slice-1.dcm").read_bytes(),
                "job": json.dumps({"input": "a.nrrd", "output": "b", "doses": [0.1, 1], "samples": 8}).encode(),
                "manifest": (bundle / "bundle.json").read_bytes(),
                "weights": (bundle / "weights.safetensors").read_bytes(),
                "message": b'{"type": "progress", "fraction": 0.5, "stage": "full dose", "remaining_s": 1.5}',
            }
        )
    return _seeds


def _bundle() -> Path:
    folder = FOLDER / "bundle"
    if not folder.exists():
        seeds()
        shutil.copytree(FOLDER / "made", folder)
    (folder / "weights.safetensors").write_bytes(_seeds["weights"])
    return folder


def _dicom_folder() -> Path:
    folder = FOLDER / "dicom"
    if not folder.exists():
        from Testing.test_dicom_reader import dicom_slice, save

        folder.mkdir()
        for index in range(3):
            save(dicom_slice(index), folder / f"slice-{index}.dcm")
    return folder


if __name__ == "__main__":
    child = os.fork()  # libFuzzer ends its process without any goodbye; this one tidies up after it
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) and 1)
    import atheris

    ours = [module for name, module in sys.modules.items() if name.startswith("MAPDiffLib.")]
    for function in {f for module in ours for f in vars(module).values() if inspect.isfunction(f)}:
        if function.__module__.startswith("MAPDiffLib."):
            atheris.instrument_func(function)  # in place: what it runs through is what the fuzzer watches
    name = sys.argv.pop(1)
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes(seeds()[name])
    atheris.Setup([*sys.argv, str(corpus)], lambda content: TARGETS[name](content) and None)
    atheris.Fuzz()
