"""`mapdiff-train evaluate`: which methods, on which cases; then the table, on disk and on the screen."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
from pathlib import Path

import torch

from MAPDiffLib import __version__
from MAPDiffLib.errors import InputError
from MAPDiffLib.job import DEFAULT_BUNDLE
from MAPDiffLib.model.bundle import find_bundle, load_bundle
from training.baselines.saved import load_baseline
from training.cases.case_file import find_cases
from training.evaluation.challenge_table import format_challenge
from training.evaluation.classical import BM4D, Gaussian, NonLocalMeans
from training.evaluation.command import Command
from training.evaluation.figures import draw_figures
from training.evaluation.method import Method, Unprocessed
from training.evaluation.networks import Bundled, Sampled, is_baseline
from training.evaluation.record import record
from training.evaluation.report import format_comparison, format_lesions, format_table, write_table
from training.evaluation.results import reduced
from training.evaluation.run import run_table
from training.evaluation.summary import OURS
from training.scores.image import PEAK_SUV

GAUSSIAN_WIDTHS_MM = (3.0, 4.0, 5.0, 6.0, 8.0)
STRENGTHS = (0.7, 1.0, 1.3)  # of non-local means and BM4D, times the measured noise


def evaluate(options: argparse.Namespace) -> None:
    """Score every method, write the table and its figures, print what matters."""
    methods, bundles = choose_methods(options)
    cases = [case for folder in options.cases for case in find_cases(folder)]
    records = run_table(cases, methods, options.input_doses, options.output, options.jobs)
    table = write_table(records, options.output, _facts(cases, methods, options))
    draw_figures(table, records, options.output)
    print(format_table(table["means"]))
    print(format_lesions(table["means"]))
    print(format_challenge(table["means"]))
    print(format_comparison(table["against_best"]))
    if options.record:
        for name, folder in bundles.items():
            record(folder, scores=_scores(table, name))
    print(f"\n{options.output / 'table.json'}")


def _scores(table: dict, method: str) -> dict:
    """The figures of one method of a table (report.write_table) that documentation shows, as its bundle says them."""
    kept = reduced(table)
    means = {scanner: {dose: m[method] for dose, m in doses.items()} for scanner, doses in kept["means"].items()}
    return {"version": kept["version"], "facts": kept["facts"], "means": means}


def choose_methods(options: argparse.Namespace) -> tuple[dict[str, Method], dict[str, Path]]:
    """({name in the table: method}, {name in the table: folder} of our bundles). InputError for what is not there."""
    where = {"device": options.device, "precision": options.precision}
    methods: dict[str, Method] = {"input": Unprocessed()}
    methods |= {f"Gaussian {width:g} mm": Gaussian(width) for width in GAUSSIAN_WIDTHS_MM}
    if not options.no_classical:
        _check_installed("skimage", "bm4d")
        methods |= {f"non-local means x {strength:g}": NonLocalMeans(strength) for strength in STRENGTHS}
        methods |= {f"BM4D x {strength:g}": BM4D(strength) for strength in STRENGTHS}
    for words in options.baseline:
        name, method = _baseline(words, where)
        methods[name] = method
    for text in options.method:
        name, _, command = text.partition("=")
        methods[name] = Command(command)
    if options.control:
        methods |= {f"one-pass regression x {n}": Bundled(options.control, samples=n, **where) for n in options.passes}
    bundles = {}
    for bundle in options.bundle or [DEFAULT_BUNDLE]:
        folder = find_bundle(bundle)
        name = load_bundle(folder).manifest.name
        bundles[f"{OURS} ({name})"] = folder
        for n in options.passes:
            methods[f"{OURS} ({name}), {n} samples"] = Bundled(folder, samples=n, **where)
    methods |= {name: Bundled(folder, **where) for name, folder in bundles.items()}
    return methods, bundles


def _check_installed(*modules: str) -> None:
    """InputError before hours of work, not in their middle."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f'{missing} are not installed: pip install -e ".[baselines]", or give --no-classical')


def _baseline(words: list[str], where: dict[str, str]) -> tuple[str, Sampled]:
    """["runs/ddpm", "steps=50", "name=3-D DDPM"] -> its name in the table and the method."""
    folder, settings = Path(words[0]), dict(word.partition("=")[::2] for word in words[1:])
    name = settings.pop("name", None)
    known = {field.name for field in dataclasses.fields(Sampled)} - {"folder", *where}
    if unknown := set(settings) - known:
        settable = f"name, {', '.join(sorted(known))}"
        raise InputError(f"--baseline {folder}: {sorted(unknown)} are not settings; {settable} are")
    try:
        values = {key: json.loads(value) for key, value in settings.items()}
    except ValueError:
        raise InputError(f"--baseline {folder}: {settings} are not numbers or true and false") from None
    if "timesteps" in values:
        values["timesteps"] = tuple(values["timesteps"])
    method = Sampled(folder, **values, **where)
    if name is None:
        name = load_baseline(folder)[1]["name"] if is_baseline(folder) else folder.name
        steps = len(method.timesteps) or method.steps
        name += f", {steps} steps" if steps > 1 else ""
        name += f" x {method.samples}" if method.samples > 1 else ""
    return name, method


def _facts(cases: list[Path], methods: dict[str, Method], options: argparse.Namespace) -> dict:
    """What the figures were measured on and with."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() and options.device != "cpu" else None
    return {
        "cases": [f"{case.parent.name}/{case.name}" for case in cases],
        "input_doses": list(options.input_doses),
        "methods": {name: _settings(method) for name, method in methods.items()},
        "psnr_peaks": ["maximum of the real full dose in the body (psnr_max)", f"SUV {PEAK_SUV:g} (psnr)"],
        "reference": "the real full-dose scan, inside its body mask",
        "mapdiff": __version__,
        "torch": torch.__version__,
        "device": gpu or platform.processor() or platform.machine(),
    }


def _settings(method: Method) -> str:
    """A method with its settings, its folder by name alone."""
    if hasattr(method, "folder"):
        method = dataclasses.replace(method, folder=Path(Path(method.folder).name))
    return repr(method)
