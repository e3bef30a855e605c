"""docs/results.md, written whole from docs/results.json; figures that the file lacks are left out or stand as "-"."""

from __future__ import annotations

from training.evaluation.challenge_table import challenge_scores
from training.evaluation.results import (
    GROUPS,
    NOVEMBER,
    ROWS,
    SHOWN_DOSE,
    TRADEOFF_FIGURE,
    WORTH_FIGURE,
    best,
    known_groups,
    pair,
    percent,
    table,
)
from training.evaluation.score import NOISE_FREE, REAL
from training.evaluation.summary import NOT_BASELINES, OURS
from training.evaluation.tradeoff import tradeoff_points
from training.evaluation.worth import FIGURES, worth
from training.scores.contrast import CLASSES, SIZES_MM, class_of

OURS_LABEL = next(label for label, begins in ROWS.items() if begins == OURS)
HEAD = """# Results

`mapdiff-train results` writes this page from `results.json`, the figures of `mapdiff-train evaluate`. What each figure
means: [benchmark.md](benchmark.md). Studies behind them: [experiments](experiments/README.md).

- Cases: {cases}. None was seen in training or fitting.
- *Usual scanners* and those with *many lesions* are simulated within training's spread. *Real anatomy* is a patient's
  scan as the activity map of such a scanner. *Other scanners* are a simulated family that training lacks. *Other
  counts* are usual scanners with a quarter and four times the counts, all taken for 1/20 dose.
- The reference is the full-dose scan, inside its body. It has noise of its own, which no restoration can foresee: all
  that is left of the error where the *noise-free image* stands in for what the scan does not hold.
- Cells are NMAE / PSNR in dB (SUV 20 as peak), means over cases.

![Error of the restored full dose against the dose of the input](../Resources/Figures/doses.png)"""
LESIONS_TEXT = """\
Median of the restored contrast over that of the real full dose, by how many standard deviations of noise a
lesion stands out of the low-dose scan. Bias of SUVmean / SUVmax by diameter."""
WHOLE_TEXT = """\
Lesions found by a fixed detector at one false positive a volume, and false hot spots a volume: in the low-dose
scan, the restored one, the real full dose. The uncertainty is right where its interval holds 90 %. The UDPET
challenge's score over its five doses: low-dose scan, restored."""
EVERY_TEXT = """\
NMAE / PSNR in dB and, where they were measured, share of lesions found at one false positive a volume / the
UDPET challenge's score."""


def results_page(results: dict) -> str:
    """docs/results.md of what `results.reduced` kept of a table."""
    groups = known_groups(results)
    parts = [
        HEAD.format(cases="; ".join(f"{_cases(doses)} {GROUPS[group]}" for group, doses in groups.items())),
        "## Restored full dose, by the dose of the input",
        _by_input(groups),
        *_worth_section(groups),
        *_tradeoff_section(groups),
        f"## The doses on the way, from {SHOWN_DOSE}",
        "NMAE / PSNR against the real scan of that dose: the scan by its share of counts, the estimate by the rest.",
        _on_the_way(groups),
        f"## Lesions: what is left of their contrast, from {SHOWN_DOSE}",
        LESIONS_TEXT,
        _recovery(groups),
        f"## Lesions found, uncertainty, challenge, from {SHOWN_DOSE}",
        WHOLE_TEXT,
        _whole(groups),
        f"## Every method, from {SHOWN_DOSE} dose",
        EVERY_TEXT,
        _every_method(groups),
        "\n".join(f"- {note}" for note in results.get("notes", [])),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _cases(doses: dict) -> int:
    return max(figures.get("cases", 0) for methods in doses.values() for figures in methods.values())


def _inputs(groups: dict) -> list[str]:
    """The doses of the inputs, in their order, of all groups together."""
    return list(dict.fromkeys(dose for doses in groups.values() for dose in doses))


def _by_input(groups: dict) -> str:
    """The scan, the best of the other methods, whichever that is, ours, and what none can do better than."""
    inputs, rows = _inputs(groups), []
    for group, doses in groups.items():
        for label, chosen in (
            ("the low-dose scan", lambda methods: best(methods, "input")),
            ("the best of the others", lambda methods: best(_others(methods), "")),
            (OURS_LABEL, lambda methods: best(methods, OURS)),
            (f"the {NOISE_FREE}, which no method knows", lambda methods: best(methods, NOISE_FREE)),
        ):
            cells = [pair(chosen(doses.get(dose, {}))) for dose in inputs]
            if set(cells) != {"-"}:
                rows.append([GROUPS[group], label, *cells])
    return table(["scanners", "from", *inputs], rows)


def _others(methods: dict) -> dict:
    """Those that are neither ours nor the scan itself."""
    no_others = (OURS, NOVEMBER, *NOT_BASELINES)
    return {name: figures for name, figures in methods.items() if not name.startswith(no_others)}


def _worth_section(groups: dict) -> list[str]:
    """Its parts; none where no group has two real doses to set a restored scan beside."""
    several = {group: doses for group, doses in groups.items() if len(doses) > 1}
    if not several:
        return []
    inputs, rows = _inputs(several), []
    for group, doses in several.items():
        ours = {dose: best(methods, OURS) for dose, methods in doses.items()}
        worths = {d: [worth(doses, figure(f), figure) for figure in FIGURES.values()] for d, f in ours.items()}
        rows.append([GROUPS[group], *(", ".join(worths.get(dose, ["-"])) for dose in inputs)])
    return [
        "## Worth a real scan of",
        "The dose of the real scan that is as good as the restored full dose, by\n"
        f"{', '.join(FIGURES)}. Noise alone says little: a blurred scan has none.",
        table(["from", *inputs], rows),
        f"![The dose that a restored scan is worth](../{WORTH_FIGURE})",
    ]


def _tradeoff_section(groups: dict) -> list[str]:
    if not any(tradeoff_points(doses[SHOWN_DOSE]) for doses in groups.values()):
        return []
    return [
        "## Contrast against error",
        f"![Contrast recovered in lesions of SNR 6 to 10 against NMAE, a point for each method](../{TRADEOFF_FIGURE})",
    ]


def _on_the_way(groups: dict) -> str:
    restored = [best(doses[SHOWN_DOSE], OURS).get("doses", {}) for doses in groups.values()]
    rows = [
        [dose, *(f"{d[dose]['nmae']:.4f} / {d[dose]['psnr']:.2f}" if dose in d else "-" for d in restored)]
        for dose in dict.fromkeys(dose for doses in restored for dose in doses)
    ]
    return table(["dose", *(GROUPS[group] for group in groups)], rows)


def _recovery(groups: dict) -> str:
    """What each method leaves of lesions, where something is known of them."""
    classes, sizes = ([class_of(low, group) for low, _ in group] for group in (CLASSES, SIZES_MM))
    rows = []
    for group, doses in groups.items():
        for label, begins in ROWS.items():
            found = best(doses[SHOWN_DOSE], begins)
            if found.get("recovery"):
                kept = [found["recovery"].get(name, {}) for name in classes]
                biases = [found["by_size"].get(name) for name in sizes]
                cells = [f"{each['median']:.2f} of {each['count']}" if each else "-" for each in kept]
                cells += [f"{100 * b['mean']:.0f} / {100 * b['max']:.0f} %" if b else "-" for b in biases]
                rows.append([GROUPS[group], label, *cells])
    head = ["scanners", "method", *(f"SNR {name}" for name in classes), *(f"{name} mm" for name in sizes)]
    return table(head, rows)


def _whole(groups: dict) -> str:
    """A row for each group; of the challenge's score what `challenge_scores` can say of all its doses together."""
    rows = []
    for group, doses in groups.items():
        methods, scores = doses[SHOWN_DOSE], challenge_scores(doses)
        three = (methods.get("input", {}), best(methods, OURS), methods.get(REAL, {}))
        totals = {name: row["all"] for name, row in scores.items() if "all" in row}
        ours = [total for name, total in totals.items() if name.startswith(OURS)]
        rows.append([
            GROUPS[group], str((three[0].get("free_response") or {}).get("count", "-")),
            ", ".join(map(_found, three)), ", ".join(_number(each.get("false_hot_spots")) for each in three),
            percent(three[1].get("coverage_90")),
            f"{_number(totals.get('input'), 1)}, {_number(max(ours, default=None), 1)}",
        ])  # fmt: skip
    return table(["scanners", "lesions", "found", "false hot spots", "in 90 % interval", "challenge"], rows)


def _every_method(groups: dict) -> str:
    names = dict.fromkeys(name for doses in groups.values() for name in doses[SHOWN_DOSE])
    rows = [[name, *(_four(doses[SHOWN_DOSE].get(name, {})) for doses in groups.values())] for name in names]
    return table(["method", *(GROUPS[group] for group in groups)], [row for row in rows if set(row[1:]) != {"-"}])


def _four(figures: dict) -> str:
    if "nmae" not in figures:
        return "-"
    measured = _found(figures), _number((figures.get("challenge") or {}).get("score"), 1)
    return pair(figures) if set(measured) == {"-"} else " / ".join((pair(figures), *measured))


def _found(figures: dict) -> str:
    return _number((figures.get("free_response") or {}).get("sensitivity"))


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
