"""case.json: what is known of a case beside its doses."""

from __future__ import annotations

import json
from pathlib import Path

CASE_FILE = "case.json"


def read_facts(case: Path) -> dict:
    """The content of a case's case.json."""
    return json.loads((case / CASE_FILE).read_text(encoding="utf-8"))


def derived_doses(case: Path) -> tuple[float, ...]:
    """Doses that were not measured but computed from their neighbours: good to train on, never to judge by."""
    return tuple(read_facts(case).get("derived_doses", ()))
