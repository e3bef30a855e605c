"""A bundle's own figures of a table, written into its bundle.json."""

from __future__ import annotations

import json
from pathlib import Path

from MAPDiffLib.files import write_json
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.manifest import MANIFEST_FILE


def record_scores(folder: Path, table: dict, method: str) -> None:
    """Copy the figures of one method of a table (report.write_table) into the scores of its bundle."""
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    means = {scanner: {dose: m[method] for dose, m in doses.items()} for scanner, doses in table["means"].items()}
    manifest["scores"] = {"version": table["version"], "facts": table["facts"], "means": means}
    write_json(manifest, path)
    load_bundle(folder)  # the check of what was just written
