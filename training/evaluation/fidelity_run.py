"""`mapdiff-train fidelity`: judges a bundle's numbers on cases, or fits them."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from MAPDiffLib.files import write_json
from MAPDiffLib.model.bundle import load_bundle
from training.cases.case_file import check_doses, find_cases
from training.evaluation.fidelity import RestoredCases, figures
from training.evaluation.fidelity_fit import fit_fidelity
from training.evaluation.fidelity_table import format_fidelity
from training.evaluation.loss_odds_fit import fit_loss_odds
from training.evaluation.record import record


def fidelity(options: argparse.Namespace) -> None:
    """Prints and writes what is found; with `fit` the bundle says it from then on."""
    bundle = load_bundle(options.bundle)
    folders = [case for folder in options.cases for case in find_cases(folder)]
    check_doses(folders, [options.input_dose, 1.0])
    kept = options.restored or options.output.parent / "restored"
    cases = RestoredCases(folders, bundle, bundle.manifest.loss_odds, options.input_dose, kept)
    if options.odds_cases:
        further = [case for folder in options.odds_cases for case in find_cases(folder)]
        check_doses(further, [options.input_dose, 1.0])
        odds, said = fit_loss_odds(replace(cases, folders=further))
        print(f"loss_odds: {said}")
        print(record(bundle.folder, loss_odds=asdict(odds)))
        cases = replace(cases, odds=odds)
    if options.fit:
        chosen, choices = fit_fidelity(cases)
        print("\n".join(map(str, choices)))
        written = {"cases": [str(folder) for folder in folders], "reasons": [str(choice) for choice in choices]}
        print(record(bundle.folder, fidelity=asdict(chosen)))
    else:
        chosen = bundle.manifest.fidelity
        written = {"cases": [figures(case, chosen) for case in cases]}
        print(format_fidelity(written["cases"], chosen))
    facts = {"bundle": bundle.manifest.name, "input_dose": options.input_dose, "fidelity": asdict(chosen)}
    print(write_json(facts | written, options.output))
