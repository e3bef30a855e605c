"""`mapdiff measure`: regions from labels, a Slicer segmentation and a DICOM SEG file; rows, files, refusals."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.report.region_statistics import BEST, JSON_FILE, TABLE_FILE, region_statistics
from MAPDiffLib.scan.masks import read_regions
from MAPDiffLib.scan.volume import Volume, write_volume

SPACING, ORIGIN = (4.0, 4.0, 4.0), (-50.0, 20.0, 7.0)
SHAPE = (30, 30, 30)
LESION = np.s_[14:17, 13:16, 12:15]


def image(voxels, origin=ORIGIN):
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing(SPACING)
    made.SetOrigin(origin)
    return made


@pytest.fixture
def results(tmp_path):
    """The folder of a restoration, as far as it is measured, with a lesion that the restored scan has lost."""
    body = np.zeros(SHAPE, bool)
    body[2:-2, 2:-2, 2:-2] = True
    full = np.where(body, 1.0, 0.0).astype(np.float32)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 0.8)
    scan = full.copy()
    scan[LESION] = 6.0
    scan = (scan * (1 + 0.1 * noise / noise.std())).astype(np.float32)
    full[LESION] = 2.0
    for name, voxels in (("scan", scan), ("dose-1.000", full), ("dose-0.250", 0.2 * scan + 0.8 * full)):
        write_volume(Volume(voxels, SPACING, ORIGIN, units="SUVbw"), tmp_path / f"{name}.nrrd")
    doses = ((0.25, "1/4"), (1.0, "full"))
    files = [{"dose": dose, "as": "mean", "label": label, "file": f"dose-{dose:.3f}.nrrd"} for dose, label in doses]
    report = {"job": {"input": str(tmp_path / "scan.nrrd")}, "files": files}
    (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path


def labels(path, values=((LESION, 3),)):
    voxels = np.zeros(SHAPE, np.uint8)
    for place, value in values:
        voxels[place] = value
    sitk.WriteImage(image(voxels), str(path))
    return path


def test_a_lost_lesion_has_a_best_estimate_near_the_scans_and_a_sentence(results):
    rows = region_statistics(results, labels(results / "mask.nii.gz"))
    assert [row["image"] for row in rows] == ["input", "1/4", "full", BEST]
    scan, _, full, best = rows
    assert best["region"] == "3" and best["unit"] == "SUV" and scan["volume_ml"] == pytest.approx(27 * 0.064)
    assert full["mean"] == pytest.approx(2.0) and best["mean"] == pytest.approx(scan["mean"], rel=0.02)
    assert best["mean_low"] < 6 < best["mean_high"] and best["t"] > 2.5 and "lower here" in best["warning"]
    assert best["tlg"] == pytest.approx(best["mean"] * scan["volume_ml"])


def test_the_command_writes_csv_and_json_and_prints_a_table(results, capsys):
    mask = labels(results / "mask.nrrd", ((LESION, 1), (np.s_[5:9, 5:9, 5:9], 2)))
    assert main(["measure", str(results), "--mask", str(mask)]) == 0
    printed = capsys.readouterr().out
    assert "90 %" in printed and "lower here than its noise explains" in printed
    with (results / TABLE_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and {row["region"] for row in rows} == {"1", "2"}
    kept = json.loads((results / JSON_FILE).read_text())
    assert kept["interval"] == 0.9 and kept["rows"][3]["mean"] == pytest.approx(float(rows[3]["mean"]))
    assert main(["measure", str(results), "--mask", str(mask)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["measure", str(results), "--mask", str(mask), "--overwrite"]) == 0


def test_the_segments_of_a_slicer_segmentation_have_their_names_and_their_place(results):
    cropped = image(np.zeros((5, 6, 7), np.uint8), tuple(o + 4 * i for o, i in zip(ORIGIN, (10, 11, 12), strict=True)))
    cropped[2:5, 2:5, 2:5] = 1  # x, y, z
    for key, text in (("Name", "Tumour"), ("LabelValue", "1"), ("Layer", "0")):
        cropped.SetMetaData(f"Segment0_{key}", text)
    sitk.WriteImage(cropped, str(results / "lesions.seg.nrrd"))
    volume = Volume(np.zeros(SHAPE, np.float32), SPACING, ORIGIN)
    (region,) = read_regions(results / "lesions.seg.nrrd", volume)
    expected = np.zeros(SHAPE, bool)
    expected[14:17, 13:16, 12:15] = True
    assert region.name == "Tumour" and np.array_equal(region.mask, expected)


def test_the_segments_of_a_dicom_seg_lie_where_their_frames_say(tmp_path):
    from Testing.segmentation import write_segmentation

    mask = np.zeros(SHAPE, bool)
    mask[LESION] = True
    path = write_segmentation(tmp_path / "seg.dcm", mask, SPACING, ORIGIN, "Lesion 1")
    (region,) = read_regions(path, Volume(np.zeros(SHAPE, np.float32), SPACING, ORIGIN))
    assert region.name == "Lesion 1" and np.array_equal(region.mask, mask)


@pytest.mark.parametrize(
    "values, message", [((), "no region"), (((LESION, 0),), "no region")]
)  # fmt: skip
def test_a_mask_without_a_region_is_refused(results, values, message):
    with pytest.raises(InputError, match=message):
        region_statistics(results, labels(results / "empty.nrrd", values))


def test_a_mask_that_lies_elsewhere_or_is_no_label_map_is_refused(results):
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[LESION] = 1
    sitk.WriteImage(image(voxels, (900.0, 0.0, 0.0)), str(results / "away.nrrd"))
    with pytest.raises(InputError, match="outside the scan"):
        region_statistics(results, results / "away.nrrd")
    with pytest.raises(InputError, match="whole labels"):
        region_statistics(results, results / "scan.nrrd")


def test_results_without_full_dose_are_refused_with_what_to_do(results):
    report = json.loads((results / "report.json").read_text())
    (results / "report.json").write_text(json.dumps(report | {"files": report["files"][:1]}))
    with pytest.raises(InputError, match="--doses"):
        region_statistics(results, labels(results / "mask.nii.gz"))
