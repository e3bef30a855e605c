"""A NIfTI with a PET2BIDS sidecar has units and an SUV factor, or the reason why not; other sidecars do not hurt."""

from __future__ import annotations

import json

import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import read_volume, write_volume
from Testing.volume_files import write_nifti

FACTS = {
    "Manufacturer": "Siemens", "ManufacturersModelName": "Vision", "Units": "Bq/mL", "TracerName": "FDG",
    "TracerRadionuclide": "F18", "InjectedRadioactivity": 350, "InjectedRadioactivityUnits": "MBq",
    "ModeOfAdministration": "bolus", "TimeZero": "11:00:00", "ScanStart": 0, "InjectionStart": -3600,
    "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0, "AttenuationCorrection": "CT", "PatientWeight": 70,
}  # fmt: skip
FACTOR = 1000 * 70 / (3.5e8 * 2 ** (-3600 / 6586.2))


def read(tmp_path, name="sub-01_pet.nii.gz", **changes):
    facts = {key: value for key, value in {**FACTS, **changes}.items() if value is not None}
    (tmp_path / "sub-01_pet.json").write_text(json.dumps(facts))
    return read_volume(write_nifti(tmp_path / name))


@pytest.mark.parametrize("name", ["sub-01_pet.nii.gz", "sub-01_pet.nii"])
def test_a_sidecar_gives_the_units_the_scanner_and_the_factor_to_suv(tmp_path, name):
    found = read(tmp_path, name)
    assert found.units == "BQML" and found.suv_factor == pytest.approx(FACTOR) and found.warnings == ()
    assert found.metadata["manufacturer"] == "Siemens" and found.metadata["model"] == "Vision"


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"Units": "kBq/mL"}, 1000),
        ({"Units": "BQML"}, 1),
        ({"InjectedRadioactivity": 350e6, "InjectedRadioactivityUnits": "Bq"}, 1),
        ({"InjectedRadioactivity": 350 / 37, "InjectedRadioactivityUnits": "mCi"}, 1),
        ({"PatientWeight": None, "BodyWeight": 70}, 1),
        ({"PatientWeight": None, "BodyWeight": 70_000, "BodyWeightUnit": "g"}, 1),
        ({"TracerRadionuclide": "18F"}, 1),
        ({"InjectionStart": 0, "ImageDecayCorrectionTime": 3600}, 1),
        ({"ImageDecayCorrectionTime": -3600}, 2 ** (-3600 / 6586.2)),
        ({"TracerRadionuclide": "C11"}, 2 ** (3600 / 1221.8 - 3600 / 6586.2)),
    ],
)
def test_units_times_and_nuclides_as_they_are_written_give_the_right_factor(tmp_path, changes, times):
    assert read(tmp_path, **changes).suv_factor == pytest.approx(FACTOR * times)


def test_values_that_are_suv_already_have_the_factor_one(tmp_path):
    found = read(tmp_path, Units="g/mL", PatientWeight=None)
    assert found.units == "SUVbw" and found.suv_factor == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Units": "counts"}, "Units are 'counts'"),
        ({"PatientWeight": None}, "BodyWeight is missing"),
        ({"PatientWeight": "70"}, "PatientWeight is 70; a number is needed"),
        ({"InjectedRadioactivityUnits": None}, "InjectedRadioactivityUnits is missing"),
        ({"InjectedRadioactivityUnits": "Bq"}, "is its unit right"),
        ({"ImageDecayCorrected": False}, "ImageDecayCorrected is False"),
        ({"AttenuationCorrection": "none"}, "AttenuationCorrection is none"),
        ({"ModeOfAdministration": "infusion"}, "defined for a bolus"),
        ({"ImageDecayCorrectionTime": None}, "ImageDecayCorrectionTime is missing"),
        ({"InjectionStart": 41_000}, "not within 0 to 10 half-lives"),
        ({"InjectionStart": -86_400}, "not within 0 to 10 half-lives"),
        ({"TracerRadionuclide": "FDG"}, "TracerRadionuclide is 'FDG'"),
    ],
)
def test_without_all_that_suv_needs_there_is_the_reason_and_no_factor(tmp_path, changes, words):
    found = read(tmp_path, **changes)
    with pytest.raises(InputError, match="sub-01_pet.json") as caught:
        _ = found.suv_factor
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b'{"EchoTime": 0.03}'])
def test_any_other_sidecar_does_not_stop_the_scan(tmp_path, content):
    (tmp_path / "scan.json").write_bytes(content)
    found = read_volume(write_nifti(tmp_path / "scan.nii"))
    assert found.units == "unknown" and bool(found.warnings) == (content[:1] not in (b"[", b"{"))


def test_what_the_file_says_of_its_units_itself_counts(tmp_path):
    found = read(tmp_path)
    write_volume(found.with_voxels(found.voxels * 2), tmp_path / "sub-02_pet.nii.gz")
    (tmp_path / "sub-02_pet.json").write_text(json.dumps(FACTS | {"Units": "g/mL"}))
    assert read_volume(tmp_path / "sub-02_pet.nii.gz").units == "BQML"
