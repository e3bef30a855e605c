"""Simulated lesions: how many and where, real tumours' patterns, lesions put into real anatomy."""

from __future__ import annotations

import gzip
import struct
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from training.cases.regions import lesion_masks
from training.simulate.cases import WITH_TUMOURS, CaseOptions, simulate_case
from training.simulate.lesions import LesionPlan, draw_shape
from training.simulate.phantom import make_phantom
from training.simulate.real import insert_lesions
from training.simulate.shapes import Grid
from training.simulate.tissues import PROPERTIES, Tissue


def test_a_body_rich_in_lesions_has_small_and_faint_ones_in_many_tissues():
    grid = Grid((64, 64, 64), (7.0, 7.0, 14.0))
    plain, rich = make_phantom(3, grid), make_phantom(3, grid, LesionPlan((60, 60), rich=True))
    assert len(rich.lesions) > 40 > len(plain.lesions)
    small = np.mean([lesion.diameter_mm < 13 for lesion in rich.lesions])
    assert 0.3 < small < 0.7 and len({lesion.host for lesion in rich.lesions}) >= 5
    over_host = [lesion.suv / PROPERTIES[Tissue[lesion.host.upper()]][0] for lesion in rich.lesions]
    assert min(over_host) < 2 and max(over_host) > 8 and max(lesion.suv for lesion in rich.lesions) < 30
    assert np.array_equal(rich.activity, make_phantom(3, grid, LesionPlan((60, 60), rich=True)).activity)


@pytest.fixture
def tumours(tmp_path):
    """A folder with one tumour: a box of 6 x 8 x 10 voxels of 4 mm, twice as active in one half."""
    pet, mask = np.full((20, 20, 20), 0.3, np.float32), np.zeros((20, 20, 20), np.uint8)
    mask[7:13, 6:14, 5:15] = 1
    pet[mask > 0] = 3.0
    pet[7:10, 6:14, 5:15] = 6.0
    for name, voxels in (("pet", pet), ("mask", mask)):
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((4.0, 4.0, 4.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}_001.nii.gz"))
    return tmp_path


@pytest.mark.parametrize("diameter", [6.0, 12.0, 20.0])
def test_a_real_tumour_is_shrunk_to_its_diameter_and_keeps_its_pattern(tumours, diameter):
    shape = draw_shape(np.random.default_rng(1), "tumour", diameter, (1.0, 1.0, 1.0), tumours)
    inside = shape.uptake > 0
    assert np.count_nonzero(inside) == pytest.approx(np.pi / 6 * diameter**3, rel=0.3)
    assert shape.uptake[inside].mean() == pytest.approx(1, rel=0.02)
    assert inside[shape.centre]
    middle = shape.uptake.shape[0] // 2
    halves = [part[part > 0].mean() for part in (shape.uptake[:middle], shape.uptake[middle:])]
    assert max(halves) / min(halves) == pytest.approx(2, rel=0.25)


def test_of_all_tumours_whose_axes_are_a_hair_from_right_angles_one_sentence_is_said(tumours, capfd):
    for name in ("pet_001", "pet_002", "mask_001", "mask_002"):
        found = bytearray(gzip.decompress((tumours / f"{name[:-1]}1.nii.gz").read_bytes()))
        struct.pack_into("<f", found, 284, 0.02 if name.endswith("2") else 0.01)
        (tumours / f"{name}.nii.gz").write_bytes(gzip.compress(found))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for seed in range(8):
            draw_shape(np.random.default_rng(seed), "tumour", 12.0, (1.0, 1.0, 1.0), tumours)
    assert [str(each.message) for each in said] == [
        f"a tumour in {tumours}: The axes of the file are not quite at right angles"
    ]
    assert capfd.readouterr().err == ""  # nothing of ITK's own


def test_a_folder_without_tumours_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="no pet_"):
        draw_shape(np.random.default_rng(0), "tumour", 10.0, (2.0, 2.0, 2.0), tmp_path)


def test_lesions_put_into_a_real_anatomy_have_their_place_and_their_activity(tumours):
    activity = np.full((40, 40, 40), 1.0, np.float32)
    labels, lesions = insert_lesions(
        activity, (4.0, 4.0, 4.0), LesionPlan((12, 12), True, tumours), np.random.default_rng(0)
    )
    assert len(lesions) >= 10 and np.array_equal(activity == 1.0, ~(activity != 1.0))
    masks = lesion_masks(labels, [asdict(lesion) for lesion in lesions], (4.0, 4.0, 4.0))
    for lesion, mask in zip(lesions, masks, strict=True):
        assert mask is not None and activity[mask].max() <= 4.1 * lesion.suv
        if lesion.diameter_mm > 16:
            assert activity[mask].mean() == pytest.approx(lesion.suv, rel=0.3)
    added = (activity - 1).sum() * 0.064  # ml
    wanted = sum((lesion.suv - 1) * np.pi / 6000 * lesion.diameter_mm**3 for lesion in lesions)
    assert added == pytest.approx(wanted, rel=0.3)


def test_a_case_says_that_patients_tumours_are_in_it(tumours):
    doses = (1.0, 0.1)
    _, facts = simulate_case(4, CaseOptions("tiny", doses, LesionPlan((2, 2), True, tumours)))
    _, without = simulate_case(4, CaseOptions("tiny", doses, LesionPlan((2, 2), True)))
    assert facts["kind"] == WITH_TUMOURS and "kind" not in without
