"""Records -> the table: per scanner, input dose and method the means with their intervals, and who beats whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np

from MAPDiffLib.restoration.doses import dose_label
from training.evaluation.score import NOISE_FREE, REAL
from training.scores.contrast import CLASSES, SIZES_MM, class_of
from training.scores.free_response import FreeResponse, sensitivity
from training.scores.intervals import bootstrap, compare
from training.udpet.challenge_score import GROUP_WEIGHTS

HIGHER_IS_BETTER = {"psnr_max": True, "psnr": True, "ssim": True, "nmae": False, "nrmse": False, "gmsd": False}
LARGE_MM = 10.0  # smaller lesions are reported apart
SEEN = 4.0  # a contrast-to-noise ratio at which a lesion is told from its background (Rose: 3 to 5)
OURS = "MAP-Diff"  # methods whose names begin so are ours; every other but the input is a baseline
NOT_BASELINES = ("input", REAL, NOISE_FREE)


def summarise(records: list[dict]) -> dict:
    """{scanner: {input dose: {method: figures}}}; an image figure is {mean, low, high}, others are plain numbers."""
    table: dict = {}
    for scanner, dose, method in _groups(records):
        chosen = [r for r in records if (r["scanner"], r["input_dose"], r["method"]) == (scanner, dose, method)]
        table.setdefault(scanner, {}).setdefault(dose_label(dose), {})[method] = _figures(chosen)
    for scanner, rows in _reals(records).items():
        for methods in table.get(scanner, {}).values():
            methods[REAL] = _regions(rows)
    return table


def best_baselines(records: list[dict]) -> list[dict]:
    """For each scanner, input dose and image figure: each of our methods against the best baseline by its mean."""
    found = []
    for scanner, dose in dict.fromkeys((s, d) for s, d, _ in _groups(records)):
        chosen = [r for r in records if (r["scanner"], r["input_dose"]) == (scanner, dose)]
        for key, higher in HIGHER_IS_BETTER.items():
            by_method: dict[str, dict[str, float]] = {}
            for record in chosen:
                by_method.setdefault(record["method"], {})[record["case"]] = record["image"][key]
            baselines = [name for name in by_method if not name.startswith(OURS) and name not in NOT_BASELINES]
            if not baselines:
                continue
            sign = 1 if higher else -1
            best = max(baselines, key=lambda name: sign * np.mean(list(by_method[name].values())))
            for ours in (name for name in by_method if name.startswith(OURS)):
                cases = sorted(set(by_method[ours]) & set(by_method[best]))
                result = compare([by_method[ours][c] for c in cases], [by_method[best][c] for c in cases])
                found.append(
                    {"scanner": scanner, "input_dose": dose, "figure": key, "ours": ours, "best_baseline": best}
                    | {"higher_is_better": higher, **asdict(result.difference), "p": result.p, "cases": len(cases)}
                )  # fmt: skip
    return found


def _groups(records: list[dict]) -> list[tuple[str, float, str]]:
    scored = (r for r in records if r["method"] != REAL)
    return list(dict.fromkeys((r["scanner"], r["input_dose"], r["method"]) for r in scored))


def _reals(records: list[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for record in records:
        if record["method"] == REAL:
            found.setdefault(record["scanner"], []).append(record)
    return found


def _figures(rows: list[dict]) -> dict:
    image = {key: asdict(bootstrap([row["image"][key] for row in rows])) for key in HIGHER_IS_BETTER}
    costs = {key: float(np.mean([row[key] for row in rows])) for key in ("seconds", "peak_gb", "evaluations")}
    covered = [row["coverage"] for row in rows if row["coverage"] is not None]
    return {
        "cases": len(rows),
        **image,
        "doses": _doses(rows),
        "coverage_90": float(np.mean(covered)) if covered else None,
        "challenge": _challenge(rows),
        **_regions(rows),
        **costs,
    }


def _doses(rows: list[dict]) -> dict:
    """Per restored dose: means over the cases, and the share of cases where it is nearest to its own real dose."""
    table = {}
    for dose in sorted({d["dose"] for row in rows for d in row["doses"]}):
        chosen = [d for row in rows for d in row["doses"] if d["dose"] == dose]
        keys = ("nmae", "psnr", "interpolated_nmae", "interpolated_psnr", "nearest_of_restored", "nearest_is_own")
        table[dose_label(dose)] = {key: float(np.mean([d[key] for d in chosen])) for key in keys}
    return table


def _challenge(rows: list[dict]) -> dict[str, float]:
    """The means of the UDPET challenge's score and of its groups, over the cases that have them."""
    scored = [row["challenge"] for row in rows]
    found = {key: [scores[key] for scores in scored if key in scores] for key in ("score", *GROUP_WEIGHTS)}
    return {key: float(np.mean(values)) for key, values in found.items() if values}


def _regions(rows: list[dict]) -> dict:
    """Lesions of 10 mm and more, smaller ones and organs: medians of bias and of its size; hot spots per volume."""
    lesions = [lesion for row in rows for lesion in row["lesions"]]
    organs = [organ for row in rows for organ in row["organs"]]
    livers = [row["liver_noise"] for row in rows if row["liver_noise"] is not None]
    spots = [row["false_hot_spots"] for row in rows if row["false_hot_spots"] is not None]
    return {
        "lesions": _lesions(lesions, lambda lesion: lesion["diameter_mm"] >= LARGE_MM),
        "small_lesions": _lesions(lesions, lambda lesion: lesion["diameter_mm"] < LARGE_MM),
        "organs": {
            name: _biases([o for o in organs if o["organ"] == name], ("mean", "max", "peak"))
            for name in dict.fromkeys(organ["organ"] for organ in organs)
        },
        "recovery": _recovery(lesions),
        "by_size": _by_size(lesions),
        "free_response": _free_response(rows),
        "false_hot_spots": float(np.mean(spots)) if spots else None,
        "liver_noise": float(np.mean(livers)) if livers else None,
    }


def _recovery(lesions: list[dict]) -> dict[str, dict]:
    """Per class of the lesion's signal-to-noise in the input: how many, and the median of the recovered contrast."""
    found: dict[str, list[float]] = {}
    for lesion in lesions:
        known = lesion.get("snr") is not None and np.isfinite(lesion["snr"]) and np.isfinite(lesion["recovered"])
        if known and (name := class_of(lesion["snr"], CLASSES)):
            found.setdefault(name, []).append(lesion["recovered"])
    return {
        name: {"count": len(found[name]), "median": float(np.median(found[name]))}
        for name in (class_of(low, CLASSES) for low, _ in CLASSES)
        if name in found
    }


def _free_response(rows: list[dict]) -> dict | None:
    """How many lesions, and the share of them that a fixed detector finds at one false positive a volume."""
    volumes = [FreeResponse(**row["free_response"]) for row in rows if row["free_response"] is not None]
    found = sensitivity(volumes)
    return None if found is None else {"count": sum(len(each.lesions) for each in volumes), "sensitivity": found}


def _by_size(lesions: list[dict]) -> dict[str, dict]:
    """Per class of diameter: how many, and the median biases of SUVmean and SUVmax."""
    found: dict[str, list[dict]] = {}
    for lesion in lesions:
        if name := class_of(lesion["diameter_mm"], SIZES_MM):
            found.setdefault(name, []).append(lesion)
    return {
        name: {"count": len(rows)} | {key: float(np.median([row[key] for row in rows])) for key in ("mean", "max")}
        for name, rows in found.items()
    }


def _lesions(lesions: list[dict], chosen: Callable[[dict], bool]) -> dict | None:
    lesions = [lesion for lesion in lesions if chosen(lesion)]
    if not lesions:
        return None
    contrasts = [abs(x["contrast_to_noise"]) for x in lesions if np.isfinite(x["contrast_to_noise"])]
    return {
        "count": len(lesions),
        **_biases(lesions, ("mean", "max", "peak", "tlm")),
        "contrast_to_noise": float(np.median(contrasts)) if contrasts else None,
        "seen": float(np.mean([c >= SEEN for c in contrasts])) if contrasts else None,
    }


def _biases(regions: Iterable[dict], keys: tuple[str, ...]) -> dict[str, dict[str, float]]:
    found = {}
    for key in keys:
        values = np.array([region[key] for region in regions])
        found[key] = {"median_bias": float(np.median(values)), "median_abs_bias": float(np.median(np.abs(values)))}
    return found
