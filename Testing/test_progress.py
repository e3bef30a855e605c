"""What is told of a restoration's progress, by a clock that only the test moves."""

import pytest

from MAPDiffLib.restoration import progress
from MAPDiffLib.restoration.progress import Progress


@pytest.fixture
def now(monkeypatch):
    """[the time], to be moved by hand."""
    time = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def played(now, tile_s, result_s, first_s, said_s=None, evaluations=5, results=3):
    """[(remaining said, truly remaining)] after each of an evaluation's four tiles; said_s: what a result is thought to
    take."""
    said = []
    told = Progress(
        lambda event: said.append((event["remaining_s"], now[0])), evaluations, "full dose",
        results * (result_s if said_s is None else said_s),
    )  # fmt: skip
    now[0] += first_s
    for _ in range(evaluations):
        for tile in range(4):
            now[0] += tile_s
            told.evaluating((tile + 1) / 4)
        told.evaluated()
    now[0] += result_s * results
    return [(remaining, now[0] - at) for remaining, at in said]


@pytest.mark.parametrize("first_s", [0.0, 5.0, 30.0])
def test_the_remaining_time_is_right_from_the_second_tile_on(now, first_s):
    """Also where the first tile is slow."""
    after_two = played(now, tile_s=1.0, result_s=0.04, first_s=first_s)[1:]
    assert all(said == pytest.approx(truly, abs=0.06) for said, truly in after_two)


@pytest.mark.parametrize("result_s", [0.02, 0.1, 0.3])
def test_the_remaining_time_is_right_to_a_quarter_where_writing_is_faster_or_slower(now, result_s):
    before = played(now, tile_s=0.2, result_s=result_s, first_s=1.0, said_s=0.04)[6:8]
    assert all(said == pytest.approx(truly, rel=0.25) for said, truly in before)


def test_an_evaluation_that_begins_again_tells_nothing_twice(now):
    said = []
    told = Progress(lambda event: said.append(event["fraction"]), 2, "full dose")
    for share in (0.5, 0.25, 0.5, 0.75, 1.0):  # after the first tile memory ran out
        told.evaluating(share)
    told.evaluated()
    told.evaluating(1.0)
    assert said == [0.25, 0.375, 0.5, 1.0]
