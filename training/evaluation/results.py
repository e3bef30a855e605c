"""What the documentation says of results comes from one file: docs/results.json, the part of a table.json it needs.

Here: that file, the methods and groups by the names that a reader sees, and what stands between two markers of the
README and of a model card. docs/results.md is written whole (results_page.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from MAPDiffLib.errors import InputError
from training.evaluation.summary import OURS
from training.evaluation.worth import worth

KEPT = (
    "cases", "nmae", "psnr", "ssim", "doses", "coverage_90", "lesions", "small_lesions", "recovery", "by_size",
    "free_response", "challenge", "false_hot_spots", "liver_noise", "seconds", "evaluations",
)  # fmt: skip
SHOWN_DOSE = "1/20"
GROUPS = {
    "internal": "usual scanners", "lesion-rich": "many lesions", "real anatomy": "real anatomy",
    "external": "other scanners", "noise mismatch": "other counts",
}  # fmt: skip
NOVEMBER = "model of 25 November"
CONTROL = "one-pass"
# Rows of the short table: what a reader calls it, how its name begins in table.json; of several the best by NMAE.
ROWS = {
    "the low-dose scan": "input",
    "Gaussian filter, best of five": "Gaussian",
    "BM4D, best of three": "BM4D",
    "one-pass control, best of two": CONTROL,
    "bundle of 25 November, told 1/20": NOVEMBER,
    "**MAP-Diff**": OURS,
}
FIGURE, WORTH_FIGURE, TRADEOFF_FIGURE = (f"Resources/Figures/{name}.png" for name in ("doses", "worth", "tradeoff"))
MARKERS = "<!-- results: mapdiff-train results -->", "<!-- end of results -->"


def reduced(table: dict) -> dict:
    """The part of a table.json that the documentation shows."""
    means = {
        scanner: {
            dose: {name: {key: f[key] for key in KEPT if f.get(key) is not None} for name, f in methods.items()}
            for dose, methods in doses.items()
        }
        for scanner, doses in table["means"].items()
    }
    return {"version": table["version"], "facts": table["facts"], "notes": table.get("notes", []), "means": means}


def together(tables: Sequence[dict]) -> dict:
    """Several tables as one: what a later one has of the same methods from other input doses joins the first."""
    first, *others = map(reduced, tables)
    for other in others:
        for scanner, doses in other["means"].items():
            every = doses | first["means"].get(scanner, {})
            first["means"][scanner] = dict(sorted(every.items(), key=lambda item: Fraction(item[0])))
        doses = {*first["facts"]["input_doses"], *other["facts"]["input_doses"]}
        first["facts"] = first["facts"] | {"input_doses": sorted(doses)}
    return first


def between_markers(text: str, block: str, where: str) -> str:
    """The text with `block` between the two markers. InputError where it has none."""
    begin, end = MARKERS
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    if len(found.findall(text)) != 1:
        raise InputError(f"{where}: one block from {begin} to {end} is needed")
    return found.sub(lambda _: f"{begin}\n{block.strip()}\n{end}", text)


def known_groups(results: dict) -> dict[str, dict]:
    """{group: its means} of those that there are, in the order in which they are shown."""
    return {group: results["means"][group] for group in GROUPS if group in results["means"]}


def best(methods: dict, begins: str) -> dict:
    """The figures of the method whose name begins so and whose NMAE is least; {} where there is none."""
    chosen = [figures for name, figures in methods.items() if name.startswith(begins) and "nmae" in figures]
    return min(chosen, key=lambda figures: figures["nmae"]["mean"], default={})


def pair(figures: dict) -> str:
    """ "0.1127 / 42.65": NMAE and PSNR in dB with SUV 20 as peak."""
    return f"{figures['nmae']['mean']:.4f} / {figures['psnr']['mean']:.2f}" if "nmae" in figures else "-"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def short_table(results: dict) -> str:
    """The README's block: the figure, the methods by the groups of scanners, and what they come to."""
    groups = known_groups(results)
    rows = [
        [label, *(pair(best(doses[SHOWN_DOSE], begins)) for doses in groups.values())]
        for label, begins in ROWS.items()
        if begins != NOVEMBER  # for who asks what a new bundle changed
    ]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    head = [f"from {SHOWN_DOSE} dose: NMAE / PSNR in dB", *(GROUPS[group] for group in groups)]
    return f"{table(head, rows)}\n\n{_gain(groups)}"


def _gain(groups: dict) -> str:
    ours = {group: best(doses[SHOWN_DOSE], OURS)["nmae"]["mean"] for group, doses in groups.items()}

    def less(begins: str) -> str:
        others = {group: best(doses[SHOWN_DOSE], begins) for group, doses in groups.items()}
        return ", ".join(
            f"{100 * (1 - ours[group] / other['nmae']['mean']):.0f} %" for group, other in others.items() if other
        )

    said = f"In the order of the columns MAP-Diff has {less('Gaussian')} less error than the best Gaussian filter"
    if against := less("BM4D"):
        said += f",\nand {against} less than BM4D"
    if all(len(doses) > 1 for doses in groups.values()):
        as_near = ", ".join(worth(doses, ours[group]) for group, doses in groups.items())
        said += f". It is as near to\nfull dose as a real scan of {as_near} dose"
    return said + "."


def card_table(manifest: dict) -> str:
    """The block of a model card: a bundle's own scores by scanner and input dose."""
    scores = manifest["scores"]
    rows = []
    for scanner, doses in scores["means"].items():
        for dose, figures in doses.items():
            lesions = figures.get("lesions") or {}
            rows.append([
                GROUPS.get(scanner, scanner), str(figures["cases"]), dose, pair(figures),
                f"{figures['ssim']['mean']:.4f}", percent(figures.get("coverage_90")),
                f"{bias(lesions, 'mean')}, {bias(lesions, 'max')} of {lesions.get('count', 0)}",
            ])  # fmt: skip
    head = ["scanners", "cases", "input", "NMAE / PSNR", "SSIM", "in 90 % interval", "SUVmean, SUVmax off by"]
    return table(head, rows)


def bias(lesions: dict, key: str) -> str:
    """ "5.7 %": the median size of the bias of SUVmean or SUVmax."""
    return percent(lesions.get(key, {}).get("median_abs_bias"), 1)


def percent(value: float | None, digits: int = 0) -> str:
    """ "-" where it is not known."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"
