"""What is measured over cases when some lack a dose."""

import math

import numpy as np
import pytest

from training.cases.case_file import ALL_DOSES
from training.export.calibrate import over_cases


def test_a_dose_is_the_middle_of_the_cases_that_measured_it():
    rows = [dict.fromkeys(ALL_DOSES, value) for value in (1.0, 2.0, 6.0)]
    del rows[2][0.5]
    found = over_cases(rows, np.median)
    assert found[0.25] == 2.0 and found[0.5] == 1.5


def test_a_dose_that_no_case_measured_lies_between_its_neighbours_in_the_logarithm():
    row = {dose: -10 * math.log(dose) for dose in ALL_DOSES if dose != 0.5}
    assert over_cases([row], np.mean)[0.5] == pytest.approx(10 * math.log(2))
