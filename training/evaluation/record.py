"""What was found out about a bundle, written into its bundle.json."""

from __future__ import annotations

import json
from pathlib import Path

from MAPDiffLib.files import write_json
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.manifest import MANIFEST_FILE


def record(folder: Path, **found) -> Path:
    """Writes these fields into the bundle.json of a folder, which stays as it is but for them; returns its path."""
    path = folder / MANIFEST_FILE
    write_json(json.loads(path.read_text(encoding="utf-8")) | found, path)
    load_bundle(folder)  # the check of what was just written
    return path
