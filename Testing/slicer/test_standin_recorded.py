"""The stand-in answers as the real widgets do: 54 idioms asked of PythonQt, CTK and qMRML."""

import json
import re
import sys
import types

import pytest

from Testing.recorded import recorded_data

DATA = recorded_data("pythonqt")
recorded = pytest.mark.skipif(
    DATA is None, reason="the recorded answers, pythonqt, are not here (their parent folder goes in MAPDIFF_TEST_DATA)"
)
LAST_LINE = "import os; sys.stdout.flush(); os._exit(0)"


def without_addresses(answer):
    return re.sub(r"0x[0-9a-f]*", "0x", answer)


@recorded
def test_the_idioms_get_the_answers_of_the_real_widgets(placed, tmp_path, monkeypatch):
    source = (DATA / "idioms.py").read_text(encoding="utf-8")
    assert source.rstrip().endswith(LAST_LINE)
    monkeypatch.setattr(sys, "argv", ["idioms.py", str(tmp_path), str(tmp_path / "answers.json")])
    monkeypatch.setitem(sys.modules, "compat", types.ModuleType("compat"))
    exec(compile(source.replace(LAST_LINE, ""), "idioms.py", "exec"), {"__name__": "idioms"})
    given = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    real = json.loads((DATA / "answers.json").read_text(encoding="utf-8"))
    different = {
        name: (answer, given.get(name))
        for name, answer in real.items()
        if without_addresses(given.get(name, "")) != without_addresses(answer)
    }
    assert not different
    assert len(real) == 54 and set(given) == set(real)


@recorded
def test_the_table_is_a_part_of_what_was_read_off_the_real_widgets(installed):
    from .standin.tables import TABLE, compact

    full = json.loads((DATA / "widgets.json").read_text(encoding="utf-8"))
    assert json.loads(TABLE.read_text(encoding="utf-8")) == compact(full)
