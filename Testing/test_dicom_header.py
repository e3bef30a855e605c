"""What a DICOM header says: texts in any character set, numbers with the file's name where they are none."""

import csv
import json
import os
import sys

import numpy as np
import pytest

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.dicom_header import decoded
from MAPDiffLib.scan.volume import read_volume
from Testing import pet, tiny
from Testing.dicom_slices import COUNT, dicom_slice, save

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # while these tests write what is not allowed


@pytest.mark.parametrize(
    ("value", "charsets", "text"),
    [
        ("Ganzkörper".encode("latin-1"), ["ISO_IR 100"], "Ganzkörper"),
        ("Ganzkörper".encode(), ["ISO_IR 192"], "Ganzkörper"),
        ("Ganzkörper".encode(), [""], "Ganzkörper"),
        ("Ganzkörper".encode("latin-1"), [""], "Ganzkörper"),
        ("Ganzkörper".encode("latin-1"), ["ISO_IR 192"], "Ganzk\ufffdrper"),
        ("Ganzkörper".encode("latin-1"), ["ISO 8859-1"], "Ganzkörper"),
        ("Тело".encode("iso8859-5"), ["ISO_IR 144"], "Тело"),
        ("全身".encode("gb18030"), ["GB18030"], "全身"),
        (b"\x1b$BA4?H\x1b(B", ["", "ISO 2022 IR 87"], "全身"),
        (b"\x1b$)C" + "전신".encode("euc_kr"), ["", "ISO 2022 IR 149"], "전신"),
        (b"\x1b\x1b broken \x1b$", ["", "ISO 2022 IR 87"], "broken"),
        (b"PET AC \0", ["ISO_IR 100"], "PET AC"),
        (b"a\r\nb\x07c", [""], "a b c"),
    ],
)  # fmt: skip
def test_a_text_is_decoded_by_its_character_set_and_never_stops_anybody(value, charsets, text):
    found = decoded(value, charsets)
    assert text in found and found.isprintable()
    found.encode("utf-8")


@pytest.mark.parametrize(
    ("charsets", "text"), [(["", "ISO 2022 IR 87"], "全身 AC"), ("ISO_IR 192", "Ganzkörper"), ("ISO_IR 144", "Тело")]
)
def test_a_series_description_is_read_as_it_was_written(tmp_path, charsets, text):
    for index in range(COUNT):
        data = dicom_slice(index, SpecificCharacterSet=charsets, SeriesDescription=text)
        save(data, tmp_path / f"{index}.dcm")
    assert read_volume(tmp_path).metadata["series_description"] == text


@pytest.fixture(scope="module")
def voxels(tmp_path_factory):
    scan = read_volume(tiny.tiny_scan(tmp_path_factory.mktemp("scan") / "scan.mha"))
    return np.maximum(scan.voxels, 0) * 5000


def german(folder, voxels, **changes):
    """A GE series whose texts are in Latin-1."""
    pet.write_series(folder, "GE", voxels, (8.0, 8.0, 8.0))
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.SpecificCharacterSet, data.SeriesDescription = "ISO_IR 100", "Ganzkörper"
        data.ManufacturerModelName = "Größe 2"
        for name, value in changes.items():
            setattr(data, name, value)
        data.save_as(path)
    return folder


@pytest.mark.parametrize("form", ["nrrd", "dicom"])
def test_a_scan_with_umlauts_in_its_header_gets_its_report_and_page(bundle, voxels, tmp_path, form):
    source = german(tmp_path / "scan", voxels, NumberOfSlices=100)
    out = tmp_path / "out"
    arguments = ["--bundle", bundle, "--input-dose", "1/20", "--doses", "full", "--format", form, "--report"]
    assert main(["restore", str(source), "--output", str(out), *arguments]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["metadata"]["series_description"] == "Ganzkörper"
    assert report["warnings"][0].startswith("NumberOfSlices (0054,0081) is 100")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Größe 2" in page and "NumberOfSlices (0054,0081) is 100" in page


def test_umlauts_in_one_patients_refusal_do_not_take_the_table_from_a_cohort(bundle, voxels, tmp_path):
    (tmp_path / "in").mkdir()
    pet.write_series(tmp_path / "in" / "patient1", "GE", voxels, (8.0, 8.0, 8.0))
    german(tmp_path / "in" / "patient2", voxels)
    for path in german(tmp_path / "nac", voxels, SeriesDescription="Ganzkörper NAC").iterdir():
        path.rename(tmp_path / "in" / "patient2" / f"nac-{path.name}")
    arguments = ["--bundle", bundle, "--input-dose", "1/20", "--doses", "full"]
    main(["batch", str(tmp_path / "in"), "--output", str(tmp_path / "out"), *arguments])
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["patient1"]["status"] == "done" and rows["patient2"]["status"] == "failed"
    assert '"Ganzkörper NAC"' in rows["patient2"]["reason"]


@pytest.mark.skipif(sys.platform == "win32", reason="names are no bytes there")
@pytest.mark.parametrize("compressed", [False, True], ids=["native", "RLE"])
def test_a_folder_whose_name_is_no_utf_8_is_read(tmp_path, compressed):
    folder = tmp_path / os.fsdecode("Müller".encode("latin-1"))
    folder.mkdir()
    for index in range(COUNT):
        data = dicom_slice(index)
        if compressed:
            data.compress(pydicom.uid.RLELossless)
        save(data, folder / f"{index}.dcm")
    assert read_volume(folder).voxels.shape[0] == COUNT


def with_frames(folder, text):
    for index in range(COUNT):
        data, tag = dicom_slice(index), pydicom.tag.Tag("NumberOfFrames")
        data._dict[tag] = pydicom.dataelem.RawDataElement(tag, "IS", len(text), text, 0, False, True)
        save(data, folder / f"{index}.dcm")
    return folder


def test_a_number_of_frames_with_a_point_is_a_number(tmp_path):
    assert read_volume(with_frames(tmp_path, b"1.0 ")).voxels.shape[0] == COUNT


@pytest.mark.parametrize("text", [b"one ", b"1.5 ", b"1\\1 ", b"-1", b"1e99", b"\xff\xfe", b"9" * 2000])
def test_a_number_of_frames_that_is_none_is_refused_by_name(tmp_path, text):
    with pytest.raises(InputError, match=r"0\.dcm: NumberOfFrames is"):
        read_volume(with_frames(tmp_path, text))
