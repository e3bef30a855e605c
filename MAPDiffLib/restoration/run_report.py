"""What report.json says of a restoration: what went in, what was done with it, how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from MAPDiffLib import __version__
from MAPDiffLib.job import RESEARCH_USE
from MAPDiffLib.model.manifest import Manifest
from MAPDiffLib.restoration.facts import ScanFacts
from MAPDiffLib.restoration.plan import Plan, about_input
from MAPDiffLib.scan.volume import Volume


class Record:
    """What is noted while a restoration runs: seconds per stage, figures per dose, warnings (told to `report` too)."""

    def __init__(self, report: Callable[[dict], None]):
        self.seconds: dict[str, float] = {}
        self.figures: dict[str, dict[str, float]] = {}
        self.warnings: list[str] = []
        self._report, self._mark = report, time.monotonic()

    def lap(self, stage: str) -> float:
        """The stage has ended; its seconds."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self._mark, 3)
        self._mark = now
        return self.seconds[stage]

    def warn(self, message: str) -> None:
        """Notes a warning and tells it."""
        self.warnings.append(message)
        self._report({"type": "warning", "message": message})


def run_report(
    volume: Volume, manifest: Manifest, facts: ScanFacts, plan: Plan, record: Record, computed: dict
) -> dict:
    """The report, ready for JSON. `computed`: where and how the network ran."""
    return {
        "mapdiff": __version__,
        "torch": torch.__version__,
        "bundle": {"name": manifest.name, "sha256": manifest.weights_sha256},
        "input": _input_facts(volume, facts, plan),
        "sampling": {"samples": plan.samples, "strength": plan.strength, "seed": plan.seed},
        **computed,
        "noise": asdict(plan.noise),
        "uncertainty_scale": plan.uncertainty_scale,
        "warnings": record.warnings,
        "seconds": record.seconds,
        "doses": record.figures,
        "notice": RESEARCH_USE,
    }


def _input_facts(volume: Volume, facts: ScanFacts, plan: Plan) -> dict:
    found = {
        "shape_zyx": list(volume.voxels.shape),
        "spacing_mm": list(volume.spacing_mm),
        "origin_mm": list(volume.origin_mm),
        "direction": list(volume.direction),
        "units": volume.units,
        "body_litres": facts.body_litres,
        "mean_in_body": facts.mean_in_body,
        **{name: fact for name, fact in about_input(plan).items() if name != "message"},
        "metadata": {name: text for name, text in volume.metadata.items() if name != "source_geometry"},
    }
    return found | ({"dose_estimated": asdict(plan.looks_like)} if plan.looks_like else {})
