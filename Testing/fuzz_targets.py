"""What the fuzzers feed: each target takes any bytes and may only succeed or refuse clearly; it returns the refusal.

Shared by Hypothesis (test_fuzz.py) and atheris: `python -m Testing.fuzz_targets <target> -runs=10000`.
"""

from __future__ import annotations

import atexit
import gzip
import hashlib
import inspect
import json
import math
import os
import shutil
import struct
import sys
import tempfile
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import MESSAGE_TYPES, decode_message, read_job
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.scan.dicom_header import read_planes
from MAPDiffLib.scan.dicom_reader import suv_metadata
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


def dicom_values(content: bytes) -> str | None:
    """A folder of three slices of which one has these values: in each line an attribute's name, "=" and any bytes."""
    import pydicom

    whole, first, item = seeds()["dicom"], b"", b""
    for line in content.split(b"\n"):
        name, _, value = line.partition(b"=")
        tag = pydicom.datadict.tag_for_keyword(name.decode("latin-1"))
        if tag is None or not value:
            continue
        kind = pydicom.datadict.dictionary_VR(tag).encode()[:2]
        element = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind, len(value[:60000])) + value[:60000]
        first, item = (first, item + element) if name.startswith(b"Radio") else (first + element, item)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    dose = struct.pack("<HH2sHI", 0x0054, 0x0016, b"SQ", 0, len(item)) + item
    at = whole.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    words = dicom(whole[:at] + first + dose + whole[at:])
    found: dict[str, str] = {}
    alone = refusal(lambda: found.update(suv_metadata(read_planes(_dicom_folder() / "slice-1.dcm"))))
    assert alone or found.get("suv_refused") or math.isfinite(float(found["suv_factor"]))
    return words


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
    "dicom-values": dicom_values,
    "job": job,
    "manifest": manifest,
    "weights": weights,
    "message": message,
}
# What a slice may say, and what its series' SUV is computed from; texts in Latin-1, a number of 16 bits.
VALUES = b"""RescaleSlope=0.75
RescaleIntercept=0
ImagePositionPatient=-99.24\\18.57\\9.8
ImageOrientationPatient=0.8\\0.6\\0\\-0.48\\0.64\\0.6
PixelSpacing=4.0\\2.5
SpecificCharacterSet=ISO_IR 100
SeriesDescription=Ganzk\xf6rper
NumberOfFrames=1
InstanceNumber=12
NumberOfSlices=\x03\x00
BitsStored=\x10\x00
HighBit=\x0f\x00
Units=BQML
DecayCorrection=START
CorrectedImage=ATTN\\DECY
PatientWeight=71
SeriesDate=20200301
SeriesTime=110000
AcquisitionDate=20200301
AcquisitionTime=110000.00
FrameReferenceTime=0
TimezoneOffsetFromUTC=+0100
RadionuclideTotalDose=350000000
RadionuclideHalfLife=6588
RadiopharmaceuticalStartTime=100000
RadiopharmaceuticalStartDateTime=20200301100000.00+0100"""
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
                "dicom-values": VALUES,
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
        from Testing.dicom_slices import dicom_slice, save

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
