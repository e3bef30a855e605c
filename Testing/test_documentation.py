"""The documentation against its sources: lengths, links, generated results, figures typed once, Python that runs."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

import MAPDiffLib.__main__ as mapdiff
import training.__main__ as mapdiff_train
from MAPDiffLib import __version__
from MAPDiffLib.errors import InputError
from MAPDiffLib.jobs.command_line import every_parser
from MAPDiffLib.model.bundle import BUILT_IN
from training.baselines.config import BaselineConfig
from training.commands.changes import parse_changes
from training.config import TrainConfig
from training.evaluation.documentation import write_results
from training.evaluation.results import (
    MARKERS,
    best,
    between_markers,
    card_table,
    pair,
    reduced,
    short_table,
    together,
)
from training.evaluation.results_figure import draw_results, draw_worth
from training.evaluation.results_page import results_page
from training.evaluation.run import VERSION
from training.evaluation.tradeoff import draw_tradeoff
from training.evaluation.worth import BETTER, FIGURES, worth, worth_dose

PROJECT = Path(__file__).parent.parent
README, CARD = PROJECT / "README.md", BUILT_IN / "mapdiff-base" / "MODEL_CARD.md"
DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [README, CARD, PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md", *DOCS]
STUDIES = sorted((PROJECT / "docs" / "experiments").glob("*.md"))


def text_of(path):
    return path.read_text(encoding="utf-8")


def results():
    return json.loads(text_of(PROJECT / "docs" / "results.json"))


def test_the_benchmark_says_the_version_of_its_figures():
    assert f"Version {VERSION} (" in text_of(PROJECT / "docs" / "benchmark.md")


def test_the_readme_is_short_and_installs_and_restores_before_line_45():
    lines = text_of(README).splitlines()
    assert len(lines) <= 130
    top = "\n".join(lines[:45])
    assert "pip install" in top and "mapdiff restore" in top and "restoration.uncertainty" in top and "make demo" in top
    assert "make test" in text_of(README)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_a_page_has_at_most_150_lines(path):
    assert len(text_of(path).splitlines()) <= 150


def test_a_study_says_when_what_was_asked_and_what_came_out():
    for path in STUDIES:
        if path.name != "README.md":
            assert re.fullmatch(r"\d{4}-\d\d-\d\d-[a-z-]+\.md", path.name) and "Date: " in text_of(path), path
            assert path.name in text_of(path.parent / "README.md"), path


@pytest.mark.parametrize("path", [*PAGES, *STUDIES], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if not target.startswith(("http", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_each_of_the_ten_steps_in_slicer_has_a_picture_and_all_of_them_are_small():
    steps = re.split(r"^\d+\. ", text_of(PROJECT / "docs" / "slicer.md").partition("## Ten steps")[2], flags=re.M)[1:]
    pictures = [re.findall(r"!\[[^]]+\]\(([^)]+)\)", step) for step in steps]
    assert len(steps) == 10 and all(pictures)
    assert sum((PROJECT / "docs" / name).stat().st_size for step in pictures for name in step) < 600_000


def test_what_the_documentation_says_of_results_is_what_the_command_writes():
    """When this fails: mapdiff-train results."""
    manifest = json.loads(text_of(CARD.parent / "bundle.json"))
    assert text_of(PROJECT / "docs" / "results.md") == results_page(results())
    for path, block in ((README, short_table(results())), (CARD, card_table(manifest))):
        assert text_of(path) == between_markers(text_of(path), block, path.name), path


def without_blocks(path):
    """A page without generated blocks, code and links' targets."""
    text = re.sub(f"{re.escape(MARKERS[0])}.*?{re.escape(MARKERS[1])}", "", text_of(path), flags=re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return re.sub(r"`[^`]*`|\]\([^)]*\)|arXiv\W+\d+\.\d+", " ", text)


def figures(text):
    """Numbers with a decimal point and at least three significant digits."""
    found = re.findall(r"(?<![\w.])\d*\.\d+(?![\w.])", text)
    return [number for number in found if len(number.replace(".", "").lstrip("0")) >= 3]


def test_a_figure_is_one_with_three_digits_and_a_point():
    assert figures("0.1130, 42.61 dB; .042 and 1.5; Python 3.12.1 of 2026; v0.12a") == ["0.1130", "42.61"]


def test_no_figure_is_typed_in_two_places():
    pages = (path for path in PAGES if path.name != "results.md")
    typed = Counter(number for path in pages for number in set(figures(without_blocks(path))))
    constants = {"3.10", "3.12", "2.11", "2.13", "1.65"}  # Python, torch, the voxels of two scanners
    assert {number for number, times in typed.items() if times > 1} <= constants


def test_no_figure_of_the_results_is_typed_by_hand():
    shown = set(figures(results_page(results())))
    for path in PAGES:
        if path.name != "results.md":
            assert not set(figures(without_blocks(path))) & shown, path


def test_a_block_without_markers_is_refused_by_name():
    with pytest.raises(InputError, match="page.md"):
        between_markers("no markers", "block", "page.md")
    begin, end = MARKERS
    assert between_markers(f"a\n{begin}\nold\n{end}\nb", "new", "page.md") == f"a\n{begin}\nnew\n{end}\nb"


def score(nmae):
    return {"cases": 2, "nmae": {"mean": nmae}, "psnr": {"mean": 40.0}}


def test_a_restoration_is_worth_the_real_dose_with_its_error():
    doses = {"1/100": {"input": score(0.4)}, "1/25": {"input": score(0.2)}, "1/4": {"input": score(0.08)}}
    assert worth(doses, 0.2) == "1/25"
    assert worth(doses, 0.08 * (0.2 / 0.08) ** 0.5) == "1/10"  # half way in both logarithms
    assert worth(doses, 0.07) == "more than 1/4"
    assert worth(doses, None) == "-" and worth_dose(doses, 0.07, FIGURES["error (NMAE)"]) == BETTER


def test_a_scan_is_worth_another_dose_by_its_lesions_and_by_its_livers_noise():
    def means(bias, noise):
        return {"lesions": {"max": {"median_abs_bias": bias}}, "liver_noise": noise}

    real = {"real full-dose scan": {"liver_noise": 0.05}}
    doses = {"1/100": {"input": means(0.4, 0.5), **real}, "1/25": {"input": means(0.1, 0.25), **real}}
    by_lesions, by_noise = list(FIGURES.values())[1:]
    assert worth_dose(doses, 0.2, by_lesions) == pytest.approx(0.02)  # half way in both logarithms
    assert worth_dose(doses, 0.05, by_noise) == pytest.approx(1.0)
    assert worth(doses, 0.01, by_noise) == "more than full" and worth(doses, None, by_lesions) == "-"


def test_the_best_of_several_settings_stands_for_the_method():
    methods = {"Gaussian 3 mm": score(0.3), "Gaussian 6 mm": score(0.2), "input": score(0.1), "real": {"lesions": {}}}
    assert pair(best(methods, "Gaussian")) == "0.2000 / 40.00"
    assert best(methods, "BM4D") == {} and pair({}) == "-"


def test_a_fresh_table_makes_a_page_and_a_figure(tmp_path):
    """Of one group and two doses, as a small evaluation has them."""
    doses = {
        dose: {"input": score(2 * nmae), "Gaussian 6 mm": score(1.5 * nmae), "MAP-Diff (mine)": score(nmae)}
        for dose, nmae in (("1/20", 0.1), ("1/10", 0.08))
    }
    kept = reduced({"version": 4, "facts": {}, "means": {"external": doses}, "against_best": []})
    page = results_page(kept)
    assert "| other scanners | **MAP-Diff** | 0.1000 / 40.00 | 0.0800 / 40.00 |" in page
    assert "| other scanners | the best of the others | 0.1500 / 40.00 | 0.1200 / 40.00 |" in page
    assert "against_best" not in kept and "tradeoff" not in page  # nothing is known of lesions
    assert not draw_tradeoff(kept, tmp_path / "tradeoff.png") and not (tmp_path / "tradeoff.png").exists()
    assert "33 % less error than the best Gaussian" in short_table(kept)
    draw_results(kept, tmp_path / "doses.png")
    draw_worth(kept, tmp_path / "worth.png")
    for name in ("doses.png", "worth.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "| other scanners | more than 1/10, -, - | more than 1/10, -, - |" in page


METHODS = (
    "input", "Gaussian 3 mm", "Gaussian 4 mm", "Gaussian 5 mm", "Gaussian 6 mm", "Gaussian 8 mm", "BM4D x 0.7",
    "BM4D x 1", "BM4D x 1.3", "non-local means x 1", "one-pass regression x 1", "one-pass regression x 8", "3-D U-Net",
    "model of 25 November, told 1/20", "MAP-Diff (mine), 1 samples", "MAP-Diff (mine)", "MAP-Diff (mine), strength 2",
)  # fmt: skip


def full_score(nmae, challenge):
    biases = {key: {"median_abs_bias": 0.05} for key in ("mean", "max")}
    found = {
        "recovery": {name: {"count": 9, "median": 1 - nmae} for name in ("2-4", "4-6", "6-10", "over 10")},
        "by_size": {name: {"count": 9, "mean": -nmae, "max": nmae} for name in ("5-9", "9-13", "13-18", "over 18")},
        "free_response": {"count": 40, "sensitivity": 0.75}, "challenge": {"score": challenge}, "coverage_90": 0.88,
        "false_hot_spots": 0.5, "liver_noise": nmae, "lesions": biases | {"count": 30},
        "doses": {dose: {"nmae": nmae, "psnr": 40.0} for dose in ("1/10", "1/4", "1/2", "full")},
    }  # fmt: skip
    return score(nmae) | found


def test_the_fullest_table_makes_a_page_of_at_most_150_lines_and_the_trade_off(tmp_path):
    """Every group, every method from every dose of the challenge."""
    methods = {name: full_score(0.1 + 0.01 * number, 90.0 - number) for number, name in enumerate(reversed(METHODS))}
    methods["real full-dose scan"] = {"free_response": {"count": 40, "sensitivity": 0.85}, "false_hot_spots": 0.25}
    methods["noise-free image"] = full_score(0.05, 99.0)
    doses = dict.fromkeys(("1/100", "1/50", "1/20", "1/10", "1/4"), methods)
    groups = ("internal", "lesion-rich", "external", "real anatomy", "noise mismatch")
    kept = reduced({"version": 6, "facts": {}, "means": dict.fromkeys(groups, doses), "notes": ["a", "b"]})
    page = results_page(kept)
    assert len(page.splitlines()) <= 150 and "tradeoff.png" in page
    # No method knows it: it is best, and none of the others.
    assert "| many lesions | the noise-free image, which no method knows | 0.0500 / 40.00 |" in page
    assert "| many lesions | the best of the others | 0.1400 / 40.00 |" in page
    assert "| many lesions | 40 | 0.75, 0.75, 0.85 | 0.50, 0.50, 0.25 | 88 % | 74.0, 90.0 |" in page
    every = dict(line[2:-2].split(" | ", 1) for line in page[page.index("## Every") :].splitlines() if line[:1] == "|")
    assert set(every) == {"method", "---", "noise-free image", *METHODS}
    assert every["BM4D x 1"].split(" | ") == ["0.1900 / 40.00 / 0.75 / 81.0"] * 5
    assert "| one-pass control, best of two | 0.1500 / 40.00 |" in short_table(kept)
    assert draw_tradeoff(kept, tmp_path / "tradeoff.png")
    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_replaces_the_results_of_a_checkout(tmp_path):
    for name in ("docs/results.json", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    shutil.copytree(CARD.parent, tmp_path / "bundle", ignore=shutil.ignore_patterns("*.safetensors"))
    means = {"internal": {"1/20": {"input": score(0.4), "Gaussian 6 mm": score(0.2), "MAP-Diff (mine)": score(0.1234)}}}
    lower = {"input": score(0.6), "MAP-Diff (mine)": score(0.3)}
    other = {"internal": {"1/20": lower, "1/100": lower}}
    for name, dose, seen in (("table.json", 0.05, means), ("other.json", 0.01, other)):
        facts = {"input_doses": [dose]}
        (tmp_path / name).write_text(json.dumps({"version": 5, "facts": facts, "means": seen, "against_best": []}))
    written = write_results(tmp_path, tmp_path / "bundle", [tmp_path / "table.json", tmp_path / "other.json"])
    assert [path.name for path in written] == ["results.md", "README.md", "MODEL_CARD.md", "doses.png", "worth.png"]
    results = json.loads(text_of(tmp_path / "docs" / "results.json"))
    assert results["means"] == {"internal": {"1/100": lower, **means["internal"]}}
    assert results["facts"]["input_doses"] == [0.01, 0.05]
    assert "0.1234 / 40.00" in text_of(tmp_path / "README.md") and "0.1234" in text_of(written[0])
    assert text_of(written[2]) == text_of(CARD)


def test_the_model_card_has_its_parts_in_order_and_five_limits():
    text = text_of(CARD)
    wanted = ["Intended use", "Out of scope", "Data", "Training", "Scores", "Limits", "Licence"]
    assert re.findall(r"^## (.*)$", text, re.M) == wanted
    assert re.findall(r"^(\d)\. ", text, re.M) == list("12345")


def test_the_citation_and_the_changes_know_the_version():
    assert f"version: {__version__}\n" in text_of(PROJECT / "CITATION.cff")
    assert f"## {__version__}" in text_of(PROJECT / "CHANGELOG.md")


def test_pictures_of_the_documentation_are_small():
    for path in (PROJECT / "Resources" / "Figures").iterdir():
        assert path.stat().st_size < 200_000, path


def test_the_architecture_page_names_every_part_of_the_library_and_only_files_that_are_there():
    text = text_of(PROJECT / "docs" / "architecture.md")
    library, training = (PROJECT / name for name in ("MAPDiffLib", "training"))
    for folder in (library, training):
        parts = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
        for path in parts:
            name = path.name if path.is_file() else f"{path.name}/"
            assert f"`{name}`" in text or name == "__init__.py", name
    for folder, names in re.findall(r"^\| `(\w+)/` \| [^|]* \| (`[^|]*) \|$", text, re.M):
        for name in re.findall(r"`(\w+)/?`", names):
            assert (library / folder / f"{name}.py").exists() or (library / folder / name).is_dir(), f"{folder}/{name}"


def test_every_extra_that_a_page_names_can_be_installed():
    project = text_of(PROJECT / "pyproject.toml")
    for page in [*PAGES, *STUDIES]:
        for extras in re.findall(r'"(?:\.|mapdiff)\[([\w,]+)\]"', text_of(page)):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", project, re.M), f"{page.name}: {extra}"


@pytest.mark.parametrize("program", [mapdiff, mapdiff_train])
def test_every_command_has_a_place_on_its_page(program):
    text = text_of(PROJECT / "docs" / "command-line.md")
    for parser in every_parser(program.command_line().parser):
        name = parser.prog.split()[1:2]
        assert not name or f"{parser.prog.split()[0]} {name[0]}" in text or f"`{name[0]}`" in text, parser.prog


def test_what_a_page_types_behind_a_command_is_a_command_with_such_options_and_settings():
    programs = (program.command_line().parser for program in (mapdiff, mapdiff_train))
    options = {
        each.prog: {name for action in each._actions for name in action.option_strings}
        for parser in programs for each in every_parser(parser)
    }  # fmt: skip
    for page in PAGES:
        text = re.sub(r"\s*\\\n\s*", " ", text_of(page)).replace("-m training ", "mapdiff-train ")
        for program, name, rest in re.findall(r"(?<![\[\w-])(mapdiff(?:-train)?) ([a-z][a-z-]+)([^`|;#>\n]*)", text):
            command = f"{program} {name}"
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) <= options[command], (
                f"{page.name}: {command}{rest}"
            )
            for settings in re.findall(r"--set ((?:[\w.]+=\S+ ?)+)", rest):
                parse_changes(BaselineConfig if name == "baseline" else TrainConfig, settings.split())


def test_every_file_that_a_page_names_is_there():
    for page in DOCS:
        for path in re.findall(r"`((?:scan|model|restoration|jobs|training)/[\w/]+)(?:\.py)?`", text_of(page)):
            at = PROJECT / path if path.startswith("training/") else PROJECT / "MAPDiffLib" / path
            assert at.is_dir() or at.with_suffix(".py").exists(), f"{page.name}: {path}"


def test_tables_of_several_input_doses_are_one_by_ascending_dose():
    def of(*doses: str) -> dict:
        means = {"external": {dose: {"input": {"cases": 1}} for dose in doses}}
        return {"version": 1, "facts": {"input_doses": [float(Fraction(dose)) for dose in doses]}, "means": means}

    whole = together([of("1/20"), of("1/100", "1/4")])
    assert list(whole["means"]["external"]) == ["1/100", "1/20", "1/4"]
    assert whole["facts"]["input_doses"] == [0.01, 0.05, 0.25]
