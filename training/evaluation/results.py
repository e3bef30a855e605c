"""What the documentation says of results, written from one file: docs/results.json, the part of a table.json it needs.

docs/results.md is written whole; of the README and of a model card what stands between two markers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from MAPDiffLib.errors import InputError
from training.evaluation.summary import OURS
from training.evaluation.worth import FIGURES, worth
from training.scores.contrast import CLASSES, SIZES_MM, class_of

KEPT = (
    "cases", "nmae", "psnr", "ssim", "doses", "coverage_90", "lesions", "small_lesions", "recovery", "by_size",
    "false_hot_spots", "liver_noise", "seconds", "evaluations",
)  # fmt: skip
SHOWN_DOSE = "1/20"
GROUPS = {
    "internal": "usual scanners", "lesion-rich": "many lesions", "real anatomy": "real anatomy",
    "external": "other scanners", "noise mismatch": "other counts",
}  # fmt: skip
NOVEMBER = "model of 25 November"
# Rows of the short table: what a reader calls it, how its name begins in table.json; of several the best by NMAE.
ROWS = {
    "the low-dose scan": "input",
    "Gaussian filter, best of five": "Gaussian",
    "BM4D, best of three": "BM4D",
    "bundle of 25 November, told 1/20": NOVEMBER,
    "**MAP-Diff**, 6 evaluations": OURS,
}
FIGURE, WORTH_FIGURE = "Resources/Figures/doses.png", "Resources/Figures/worth.png"
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
            first["means"][scanner] = doses | first["means"].get(scanner, {})
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
    """The README's block: the figure, five methods by three groups of scanners, and what they come to."""
    groups = {group: results["means"][group] for group in GROUPS if group in results["means"]}
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
                f"{figures['ssim']['mean']:.4f}", _percent(figures.get("coverage_90")),
                f"{_bias(lesions, 'mean')}, {_bias(lesions, 'max')} of {lesions.get('count', 0)}",
            ])  # fmt: skip
    head = ["scanners", "cases", "input", "NMAE / PSNR", "SSIM", "in 90 % interval", "SUVmean, SUVmax off by"]
    return table(head, rows)


def _bias(lesions: dict, key: str) -> str:
    return _percent(lesions.get(key, {}).get("median_abs_bias"), 1)


def _percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def results_page(results: dict) -> str:
    """docs/results.md."""
    groups = {group: results["means"][group] for group in GROUPS if group in results["means"]}
    parts = [
        HEAD.format(cases="; ".join(f"{_cases(doses)} {GROUPS[group]}" for group, doses in groups.items())),
        "## Restored full dose, by the dose of the input",
        *(_by_input(GROUPS[group], doses) for group, doses in groups.items()),
        *_worth_section(groups),
        f"## The doses on the way, from {SHOWN_DOSE}",
        "NMAE / PSNR against the real scan of that dose. A dose is the scan by its share of the counts, and the\n"
        "estimate of the scan without noise by the rest.",
        _on_the_way(groups),
        "## Lesions: what is left of their contrast",
        "Median of the restored contrast over that of the real full dose, by how many standard deviations of noise a\n"
        "lesion stands out of the low-dose scan. Bias of SUVmean / SUVmax by diameter.",
        *filter(None, (_recovery(GROUPS[group], doses[SHOWN_DOSE]) for group, doses in groups.items())),
        "## Lesions and uncertainty",
        "Median size of a lesion's bias against the full-dose scan: restored (in the low-dose scan).\n"
        "The uncertainty's interval is right where it holds 90 % of the body's voxels.",
        _lesions(groups),
        f"## Every method, from {SHOWN_DOSE} dose",
        _every_method(groups),
        "\n".join(f"- {note}" for note in results.get("notes", [])),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


HEAD = """# Results

`mapdiff-train results` writes this page from `results.json`, the figures of `mapdiff-train evaluate`. What each figure
means: [benchmark.md](benchmark.md). Studies behind them: [experiments](experiments/README.md).

- Cases: {cases}. None was seen in training or fitting.
- *Usual scanners* and those with *many lesions* are simulated within training's spread. *Real anatomy* is a patient's
  scan as the activity map of such a scanner. *Other scanners* are a simulated family that training lacks. *Other
  counts* are usual scanners with a quarter and four times the counts, all taken for 1/20 dose.
- The reference is the full-dose scan, inside its body. It has noise of its own, which no restoration can foresee.
- Cells are NMAE / PSNR in dB (SUV 20 as peak), means over cases.

![Error of the restored full dose against the dose of the input](../Resources/Figures/doses.png)"""


def _cases(doses: dict) -> int:
    return max(figures.get("cases", 0) for methods in doses.values() for figures in methods.values())


def _by_input(title: str, doses: dict) -> str:
    rows = []
    for label, begins in ROWS.items():
        cells = [pair(best(methods, begins)) for methods in doses.values()]
        if set(cells) != {"-"} and begins != NOVEMBER:
            rows.append([label, *cells])
    return table([f"{title}, from", *doses], rows)


def _worth_section(groups: dict) -> list[str]:
    """Its parts; none where no group has two real doses to set a restored scan beside."""
    tables = [_worth_table(GROUPS[group], doses) for group, doses in groups.items() if len(doses) > 1]
    if not tables:
        return []
    return [
        "## Worth a real scan of",
        "The dose of the real scan that is as good as the restored full dose, between the real doses of the same\n"
        "cases. Noise alone says little: a blurred scan has none.",
        *tables,
        f"![The dose that a restored scan is worth](../{WORTH_FIGURE})",
    ]


def _worth_table(title: str, doses: dict) -> str:
    ours = [best(methods, OURS) for methods in doses.values()]
    rows = [[name, *(worth(doses, figure(means), figure) for means in ours)] for name, figure in FIGURES.items()]
    return table([f"{title}, from", *doses], [row for row in rows if set(row[1:]) != {"-"}])


def _on_the_way(groups: dict) -> str:
    restored = [best(doses[SHOWN_DOSE], OURS).get("doses", {}) for doses in groups.values()]
    rows = [
        [dose, *(f"{d[dose]['nmae']:.4f} / {d[dose]['psnr']:.2f}" if dose in d else "-" for d in restored)]
        for dose in dict.fromkeys(dose for doses in restored for dose in doses)
    ]
    return table(["dose", *(GROUPS[group] for group in groups)], rows)


def _lesions(groups: dict) -> str:
    rows = []
    for group, doses in groups.items():
        ours, scan = best(doses[SHOWN_DOSE], OURS), doses[SHOWN_DOSE]["input"]
        for title, key in (("10 mm and more", "lesions"), ("smaller", "small_lesions")):
            lesions, raw = ours.get(key) or {}, scan.get(key) or {}
            if lesions:
                biases = [f"{_bias(lesions, k)} ({_bias(raw, k)})" for k in ("mean", "max")]
                rows.append([GROUPS[group], title, str(lesions["count"]), *biases, "", ""])
        spots = f"{ours.get('false_hot_spots', 0):.2f}"
        rows.append([GROUPS[group], "whole body", "", "", "", _percent(ours.get("coverage_90")), spots])
    return table(["scanners", "lesions", "count", "SUVmean", "SUVmax", "in 90 % interval", "false hot spots"], rows)


def _recovery(title: str, methods: dict) -> str:
    """What each method leaves of lesions; "" where nothing is known of them."""
    classes, sizes = ([class_of(low, group) for low, _ in group] for group in (CLASSES, SIZES_MM))
    rows = []
    for label, begins in ROWS.items():
        found = best(methods, begins)
        if not found.get("recovery"):
            continue
        kept = [found["recovery"].get(name, {}) for name in classes]
        biases = [found["by_size"].get(name) for name in sizes]
        rows.append([
            label, *(f"{each['median']:.2f} of {each['count']}" if each else "-" for each in kept),
            *(f"{100 * each['mean']:.0f} / {100 * each['max']:.0f} %" if each else "-" for each in biases),
        ])  # fmt: skip
    head = [f"{title}, from {SHOWN_DOSE}", *(f"SNR {name}" for name in classes), *(f"{name} mm" for name in sizes)]
    return table(head, rows) if rows else ""


def _every_method(groups: dict) -> str:
    names = dict.fromkeys(name for doses in groups.values() for name in doses[SHOWN_DOSE])
    rows = [[name, *(pair(doses[SHOWN_DOSE].get(name, {})) for doses in groups.values())] for name in names]
    return table(["method", *(GROUPS[group] for group in groups)], [row for row in rows if set(row[1:]) != {"-"}])
