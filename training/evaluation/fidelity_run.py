"""`mapdiff-train fidelity`: judges a bundle's numbers on cases, or fits them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from MAPDiffLib.files import write_json
from MAPDiffLib.model.bundle import Bundle, load_bundle
from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.model.manifest import MANIFEST_FILE
from training.cases.case_file import check_doses, find_cases
from training.evaluation.fidelity import RestoredCases, figures
from training.evaluation.fidelity_fit import fit_fidelity
from training.evaluation.fidelity_table import format_fidelity


def fidelity(options: argparse.Namespace) -> None:
    """Prints and writes what is found; with `fit` the bundle says it from then on."""
    bundle = load_bundle(options.bundle)
    folders = [case for folder in options.cases for case in find_cases(folder)]
    check_doses(folders, [options.input_dose, 1.0])
    kept = options.restored or options.output.parent / "restored"
    cases = RestoredCases(folders, bundle, options.input_dose, kept)
    if options.fit:
        chosen, choices = fit_fidelity(cases)
        print("\n".join(map(str, choices)))
        written = {"cases": [str(folder) for folder in folders], "reasons": [choice.reason for choice in choices]}
        print(record_fidelity(bundle, chosen))
    else:
        chosen = bundle.manifest.fidelity
        written = {"cases": [figures(case, chosen) for case in cases]}
        print(format_fidelity(written["cases"], chosen))
    facts = {"bundle": bundle.manifest.name, "input_dose": options.input_dose, "fidelity": asdict(chosen)}
    print(write_json(facts | written, options.output))


def record_fidelity(bundle: Bundle, fidelity: Fidelity) -> Path:
    """Writes it into the bundle's bundle.json, which stays as it is but for that; returns its path."""
    path = bundle.folder / MANIFEST_FILE
    manifest = json.loads(path.read_text(encoding="utf-8"))
    write_json(manifest | {"fidelity": asdict(fidelity)}, path)
    load_bundle(bundle.folder)  # the check of what was just written
    return path
