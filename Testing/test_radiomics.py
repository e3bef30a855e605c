"""The six radiomics features on regions small enough to count by hand."""

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from training.udpet.radiomics import DIRECTIONS, FEATURES, grey_levels, radiomics

ROW = np.array([[[1.0, 1.0, 2.0, 4.0]]])  # one row along x: 12 of the 13 directions have no neighbours


def whole(voxels):
    return np.ones(voxels.shape, bool)


def test_first_order_features_of_a_row():
    features = radiomics(ROW, whole(ROW))
    assert tuple(features) == FEATURES
    assert features["RootMeanSquared"] == pytest.approx(np.sqrt((1 + 1 + 4 + 16) / 4))
    assert features["Median"] == 1.5
    assert features["90Percentile"] == pytest.approx(2 + 0.7 * 2)  # at position 0.9 * 3 = 2.7 of 1, 1, 2, 4


def test_levels_run_from_one_to_the_number_of_bins_between_the_regions_own_extremes():
    voxels = np.array([[[0.0, 1.0, 2.0, 4.0, 99.0]]])
    region = voxels < 50
    assert grey_levels(voxels, region, 4).tolist() == [[[1, 2, 3, 4, 0]]]
    assert grey_levels(voxels, region, 100)[0, 0, :4].tolist() == [1, 26, 51, 100]


def test_texture_features_of_a_row():
    # Three bins: width 1, levels 1 1 2 3. Pairs along x: (1,1), (1,2), (2,3).
    features = radiomics(ROW, whole(ROW), bins=3)
    assert features["JointAverage"] == pytest.approx((1 + 1.5 + 2.5) / 3)
    assert features["ZonePercentage"] == pytest.approx(3 / 4)
    # Runs along x: 11, 2, 3; along each of the other 12 directions every voxel is a run of its own.
    along, across = (1 + 4 + 9) / 3, (1 + 1 + 4 + 9) / 4
    assert features["HighGrayLevelRunEmphasis"] == pytest.approx((along + 12 * across) / 13)


def test_zones_connect_over_corners_and_not_through_what_lies_outside_the_region():
    voxels = np.array([[[1.0, 2.0], [2.0, 1.0]]])
    assert radiomics(voxels, whole(voxels))["ZonePercentage"] == pytest.approx(2 / 4)  # both diagonals hold together
    line = np.array([[[1.0, 1.0, 1.0]]])
    assert radiomics(line, np.array([[[True, False, True]]]))["ZonePercentage"] == 1.0


def test_a_run_bends_for_no_one():
    # An L of level 1 in a plane of level 2: along y a run of two ones, along x another, and along the diagonals none.
    voxels = np.array([[[1.0, 2.0], [1.0, 1.0]]])
    runs = {"x": [1, 4, 1], "y": [1, 4, 1], "diagonal": [1, 4, 1], "other": [1, 4, 1, 1]}
    mean = {name: np.mean(squares) for name, squares in runs.items()}
    # x: rows (1 2), (1 1): runs 1, 2, 11. y: columns (1 1), (2 1): runs 11, 2, 1. One diagonal: (1 1), 2, 1;
    # the other: (2 1), 1, 1; nine directions leave the plane: 1, 2, 1, 1.
    expected = (mean["x"] + mean["y"] + mean["diagonal"] + 10 * mean["other"]) / 13
    assert radiomics(voxels, whole(voxels), bins=2)["HighGrayLevelRunEmphasis"] == pytest.approx(expected)


def test_thirteen_directions_none_opposite_to_another():
    assert len(DIRECTIONS) == 13
    assert not {tuple(-s for s in step) for step in DIRECTIONS} & set(DIRECTIONS)


def test_a_flat_region_is_one_zone_of_one_level_and_a_lone_voxel_has_no_pairs():
    flat = np.full((2, 3, 4), 5.0)
    features = radiomics(flat, whole(flat))
    assert features["ZonePercentage"] == pytest.approx(1 / 24)
    assert features["JointAverage"] ** 2 == pytest.approx(features["HighGrayLevelRunEmphasis"])
    lone = np.zeros((3, 3, 3), bool)
    lone[1, 1, 1] = True
    assert np.isnan(radiomics(np.ones((3, 3, 3)), lone)["JointAverage"])


def test_an_empty_region_is_refused():
    with pytest.raises(InputError, match="empty"):
        radiomics(ROW, np.zeros(ROW.shape, bool))
