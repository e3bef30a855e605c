"""The table of `mapdiff-train bench`, of measurements worked out by hand."""

from __future__ import annotations

import pytest

report = pytest.importorskip("bench.report")


def results(seconds):
    ours = {"seconds": seconds, "runs": 5, "sampling": {"evaluations": 6}}
    unet = {"(a) plain 3-D U-Net, one pass": {"seconds": 20.0, "runs": 5, "how": "one patch x 9"}}
    machine = {
        "device": "a CPU",
        "threads": 2,
        "precision": "float32",
        "torch": "2",
        "load_at_start": 0.1,
        "cudnn": None,
    }
    scan = {"shape_zyx": (128, 64, 64)}
    return {"machine": machine, "small": {"scan": scan, "arrays": {"all memory": ours}, "unet": unet}}


@pytest.mark.parametrize(("seconds", "ratio", "met"), [(5.0, "0.25", "met"), (7.0, "0.35", "**missed**")])
def test_the_time_of_all_doses_over_the_plain_unets_stands_in_the_table_and_beside_its_bar(seconds, ratio, met):
    lines = report.table(results(seconds)).splitlines()
    assert f"| (a) plain 3-D U-Net, one pass | 20.00 | {ratio} | 5 | one patch x 9 |" in lines
    assert f"| all doses / plain U-Net, time | {ratio} | at most 0.3 | {met} |" in lines
