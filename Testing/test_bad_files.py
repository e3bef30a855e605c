"""Bad files made by hand, one idea each, with the words that each must be refused with."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import read_job
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.scan.volume import check_volume, read_volume
from Testing import tiny
from Testing.volume_files import VOXELS, mha, nifti, nrrd


def filled(value):
    return np.full((4, 3, 2), value, "<f4").tobytes()


def one(value):
    voxels = np.ones((4, 3, 2), "<f4")
    voxels[1, 1, 1] = value
    return voxels.tobytes()


FLAT = b"NRRD0004\ntype: float\ndimension: 2\nsizes: 2 3\nspacings: 4 4\nendian: little\nencoding: raw\n\n" + bytes(24)
NO_SPACING, NOT_SUCH = "spacing", "it is not such an image"
SCANS = {  # name of the file -> (content, words)
    "empty.nrrd": (b"", "0 bytes"),
    "empty.nii.gz": (b"", "0 bytes"),
    "zeros.nrrd": (bytes(1000), NOT_SUCH),
    "zeros.nii": (bytes(1000), "could not be read"),
    "zeros.mha": (bytes(1000), "the byte 0 in its header"),
    "letter.nrrd": (b"Dear reader\n" * 50, NOT_SUCH),
    "letter.mha": (b"Dear reader\n" * 50, NOT_SUCH),
    "letter.nii": (b"Dear reader\n" * 50, NOT_SUCH),
    "letter.nii.gz": (gzip.compress(b"Dear reader\n" * 50), NOT_SUCH),
    "picture.png": (b"\x89PNG\r\n", "extension that cannot be read"),
    "nothing": (b"x", "extension that cannot be read"),
    "script.py": (b"import os", "extension that cannot be read"),
    "a-nifti.nrrd": (nifti(), "a-nifti.nrrd"),
    "an-nrrd.nii": (nrrd(), NOT_SUCH),
    "an-nrrd.mha": (nrrd(), "an-nrrd.mha"),
    "half.nii.gz": (gzip.compress(nifti(np.random.default_rng(0).bytes(96)))[:-40], "ends early"),
    "not-gzip.nii.gz": (b"\x1f\x8b" + b"x" * 100, "ends early"),
    "crc.nii.gz": (gzip.compress(nifti())[:-8] + bytes(8), "ends early"),
    "2d.nrrd": (FLAT, "single slice"),
    "4d.nii": (nifti(bytes(4 * 24 * 5), dims=(4, 2, 3, 4, 5, 1, 1, 1)), "4-D"),
    "7d.nii": (nifti(bytes(4 * 24 * 8), dims=(7, 2, 3, 4, 2, 2, 1, 2)), "-D"),
    "0d.nii": (nifti(dims=(0, 2, 3, 4, 1, 1, 1, 1)), NOT_SUCH),
    "minus-dims.nii": (nifti(dims=(3, 2, -3, 4, 1, 1, 1, 1)), "single slice"),
    "cut.nii": (nifti()[:-1], "ends early"),
    "huge.nii": (nifti(dims=(3, 30000, 30000, 30000, 1, 1, 1, 1)), "ends early"),
    "huge.nrrd": (nrrd(sizes="100000 100000 100000"), "announces"),
    "claims.nrrd": (nrrd(sizes="1500 1500 1500"), "announces 13500000000 bytes"),
    "claims-packed.nrrd": (nrrd(gzip.compress(VOXELS), sizes="1500 1500 1500", encoding="gzip"), "announces"),
    "claims-packed.mha": (mha(zlib.compress(VOXELS), CompressedData="True", DimSize="1500 1500 1500"), "cut short"),
    "more-than-packed.mha": (mha(zlib.compress(VOXELS), CompressedData="True", DimSize="2 3 5"), "cut short"),
    "huge.mha": (mha(DimSize="100000 100000 100000"), "could not be read"),
    "offset-nan.nii": (nifti(offset=float("nan")), "voxels begin at byte"),
    "offset-minus.nii": (nifti(offset=-5.0), "voxels begin at byte"),
    "offset-far.nii": (nifti(offset=1e30), "voxels begin at byte"),
    "offset-past.nii": (nifti(offset=400.0), "ends early"),
    "datatype.nii": (nifti(kind=77), NOT_SUCH),
    "complex.nii": (nifti(bytes(192), kind=32, bits=64), "values a voxel"),
    "colour.nii": (nifti(bytes(72), kind=128, bits=24), "values a voxel"),
    "spacing-0.nii": (nifti(spacing=(4, 0, 4)), NO_SPACING),
    "spacing-nan.nii": (nifti(spacing=(4, float("nan"), 4)), NO_SPACING),
    "spacing-inf.nii": (nifti(spacing=(4, float("inf"), 4)), NO_SPACING),
    "spacing-tiny.nii": (nifti(spacing=(4, 1e-9, 4)), NO_SPACING),
    "spacing-huge.nii": (nifti(spacing=(4, 4, 1e9)), NO_SPACING),
    "spacing-none.nrrd": (nrrd(space=None, space_directions=None, space_origin=None), NO_SPACING),
    "spacing-nan.nrrd": (nrrd(space_directions="(nan,0,0) (0,4,0) (0,0,4)"), NO_SPACING),
    "spacing-tiny.nrrd": (nrrd(space_directions="(4,0,0) (0,1e-7,0) (0,0,4)"), NO_SPACING),
    "spacing-none.mha": (mha(ElementSpacing=None), NO_SPACING),
    "spacing-0.mha": (mha(ElementSpacing="4 0 4"), "pacing"),
    "spacing-huge.mha": (mha(ElementSpacing="4 4 1000"), NO_SPACING),
    "cut.nrrd": (nrrd()[:-1], "cut short"),
    "cut.mha": (mha()[:-1], "cut short"),
    "type.nrrd": (nrrd(type="quaternion"), "could not be read"),
    "encoding.nrrd": (nrrd(encoding="secret"), "could not be read"),
    "gzip-of-nothing.nrrd": (nrrd(b"\x1f\x8b" + bytes(94), encoding="gzip"), "could not be read"),
    "sizes.nrrd": (nrrd(sizes="2 3"), "could not be read"),
    "sizes-0.nrrd": (nrrd(sizes="2 0 4"), "could not be read"),
    "sizes-text.nrrd": (nrrd(sizes="two three four"), "could not be read"),
    "long-type.nrrd": (nrrd(type="x" * 1100), "a header field of 1106 characters"),
    "long-magic.nrrd": (b"x" * 5000 + b"\n" + nrrd(), NOT_SUCH),
    "long-line.nrrd": (nrrd(content="a\n" + "x" * 5000), "a header field of 5000 characters"),
    "long-hidden.nrrd": (nrrd(space="x" * 1000 + ":=1"), "a header field of"),
    "long-late.nrrd": (nrrd(content="a\n" + "# comment\n" * 9000 + "labels: " + "x" * 1100), "a header field of"),
    "long-file.nhdr": (nrrd(b"", **{"data file": "x" * 1100}), "a header field of"),
    "carriage-returns.nrrd": (nrrd().replace(b"\n", b"\r"), "the byte 13 in its header"),
    "nonsense-behind-a-return.nrrd": (b"NRRD0004\r" + b"x" * 2000 + b"\r", "the byte 13 in its header"),
    "nonsense.nrrd": (b"NRRD0004\n" + b"x" * 2000 + b"\n", "a header field of 2000 characters"),
    "unknown-field.nrrd": (nrrd(colour="blue"), "'colour: blue' of its header makes no sense"),
    "many-numbers.nrrd": (nrrd(sizes="2 " * 40), "makes no sense"),
    "long-number.nrrd": (nrrd(spacings="9" * 300 + " 1 1"), "makes no sense"),
    "open-vector.nrrd": (nrrd(space_directions="(4,0,0 (0,4,0) (0,0,4)"), "makes no sense"),
    "null.nrrd": (nrrd(content="a\0b"), "the byte 0 in its header"),
    "length-unit.nrrd": (nrrd(space_units='"furlong" "furlong" "furlong"'), "lengths in 'furlong'"),
    "length-units.nrrd": (nrrd(space_units='"mm" "mm" "cm"'), "lengths in cm and mm at once"),
    "pattern.mha": (mha().replace(b"LOCAL", b"slice%s%n.raw"), "slice%s%n.raw' of its header makes no sense"),
    "binary-name.mha": (mha().replace(b"LOCAL", b"L\x18\xc2@`\xf1"), "the byte 24 in its header"),
    "few-numbers.mha": (mha(DimSize="2 3"), "dimsize has 2 numbers, where 3 are needed"),
    "many-numbers.mha": (mha(TransformMatrix="1 " * 2000), "a header field of"),
    "no-equals.mha": (b"ObjectType = Image\nNDims\n" + mha(), "no `key = value`"),
    "slope-0.mha": (mha(ElementToIntensityFunctionSlope="0"), "a number other than 0 is needed"),
    "slope-text.mha": (mha(ElementToIntensityFunctionSlope="1,5"), "makes no sense"),
    "header-size.mha": (mha(HeaderSize="4"), "HeaderSize = 4 of its own voxels"),
    "length-unit.mha": (mha(DistanceUnits="furlong"), "lengths in 'furlong'"),
    "text.mha": (mha(BinaryData=None), "does not say BinaryData = True"),
    "long-key.mha": (mha(**{"x" * 2000: "1"}), "a header field of 1253 characters or more"),
    "long-name.mha": (mha(Name="x" * 300), "a header field of 300 characters"),
    "elsewhere.nhdr": (nrrd(b"", **{"data file": "none.raw"}), "could not be read"),
    "type.mha": (mha(ElementType="MET_QUATERNION"), "could not be read"),
    "dims-many.mha": (mha(NDims="99999999999"), "NDims = '99999999999'"),
    "dims-minus.mha": (mha(NDims="-1"), "NDims = '-1'"),
    "dims-text.mha": (mha(NDims="three"), "NDims = 'three'"),
    "channels.mha": (mha(bytes(288), ElementNumberOfChannels="3"), "3 values a voxel"),
    "compressed-lie.mha": (mha(CompressedData="True"), "compressed voxels are cut short or damaged"),
    "nan.nrrd": (nrrd(one(np.nan)), "z, y, x = (1, 1, 1)"),
    "inf.mha": (mha(one(np.inf)), "not finite"),
    "constant.nrrd": (nrrd(filled(3)), "constant"),
    "zeros-inside.mha": (mha(), "constant"),
    "negative.nrrd": (nrrd(np.linspace(-9, -1, 24, dtype="<f4").tobytes()), "mostly negative"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCANS)
def test_a_bad_scan_is_refused_with_its_name_and_the_reason(tmp_path, name):
    content, words = SCANS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        check_volume(read_volume(tmp_path / name), name)
    assert name in str(caught.value) and words in str(caught.value)


def test_there_are_at_least_sixty_bad_scans():
    assert len(SCANS) >= 60


JOBS = {
    b"": "not JSON",
    b"\xff\xfe{": "not JSON",
    b'{"input": "a"': "not JSON",
    b'["input", "output"]': "holds list",
    b'{"input": "a", "output": "b", "bundle": 5}': "bundle is 5",
    b'{"input": "a", "output": "b", "seed": 1e9}': "seed is 1000000000.0",
    b'{"input": "a", "output": "b", "gpu_memory_gb": 0}': "gpu_memory_gb is 0",
    b'{"input": "a", "output": "b", "gpu_memory_gb": "4"}': "gpu_memory_gb is '4'",
    b'{"input": "a", "output": "b", "tile": NaN}': "tile is nan",
    b'{"input": "a\\u0000", "output": "b"}': "input is",
    b'{"input": {"a": 1}, "output": "b"}': "input is",
    b'{"input": "a", "output": "b", "__class__": "os.system"}': "unknown keys",
}


@pytest.mark.parametrize("content", JOBS, ids=range(len(JOBS)))
def test_a_bad_job_is_refused_with_the_field_and_the_rule(tmp_path, content):
    (tmp_path / "job.json").write_bytes(content)
    with pytest.raises(InputError, match=JOBS[content]):
        read_job(tmp_path / "job.json")


class Payload:
    """What a hostile pickle is: a call that its loading makes."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["weights", "manifest", "scan"])
def test_a_pickled_payload_is_refused_and_never_runs(tmp_path, where):
    ran, folder = tmp_path / "it ran", tiny.tiny_bundle(tmp_path / "tiny")
    payload = pickle.dumps(Payload(ran))
    if where == "scan":
        (tmp_path / "scan.nrrd").write_bytes(payload)
        with pytest.raises(InputError):
            read_volume(tmp_path / "scan.nrrd")
    elif where == "manifest":
        (folder / "bundle.json").write_bytes(payload)
        with pytest.raises(InputError, match="not JSON"):
            load_bundle(folder)
    else:
        manifest = json.loads((folder / "bundle.json").read_text())
        (folder / "weights.safetensors").write_bytes(payload)
        sha256 = hashlib.sha256(payload).hexdigest()
        (folder / "bundle.json").write_text(json.dumps(manifest | {"weights_sha256": sha256}))
        with pytest.raises(InputError, match="not a safetensors file"):
            load_bundle(folder)
    assert not ran.exists()
    pickle.loads(payload)  # the payload does work, were anybody to load it
    assert ran.exists()
