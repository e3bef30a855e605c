"""What a person reads and types before any work: help, examples, settings, tab completion, a wheel without training."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import MAPDiffLib.__main__ as mapdiff
import training.__main__ as mapdiff_train
from MAPDiffLib.errors import InputError
from MAPDiffLib.jobs.command_line import every_parser
from Testing import tiny
from training.baselines.config import STRIDES, BaselineConfig
from training.commands import cases, judging
from training.commands.changes import parse_changes
from training.config import TrainConfig
from training.simulate.cases import DOSES, FAMILIES, SIZES, SPLITS
from training.simulate.lesions import LesionPlan

PROJECT = Path(__file__).parent.parent
UNITS = {"N", "VOXELS", "SECONDS", "MINUTES", "GB", "SIGMAS", "TIMES"}  # N: a count; TIMES: a factor
PARSERS = {
    parser.prog: parser
    for line in (mapdiff.command_line(), mapdiff_train.command_line())
    for parser in every_parser(line.parser)
}
COMMANDS = [parser for parser in PARSERS.values() if len(parser.prog.split()) == 2]


def options_of(parser):
    return [action for action in parser._actions if action.option_strings and action.dest not in ("help", "version")]


@pytest.mark.parametrize("prog", PARSERS)
def test_every_option_says_its_default_and_every_number_its_unit(prog):
    shown = PARSERS[prog]._get_formatter()
    for action in options_of(PARSERS[prog]):
        text = shown._get_help_string(action)
        flag = action.nargs == 0
        completion = action.dest == "print_completion"
        assert flag or completion or "default" in text or "(required)" in text, action.option_strings
        assert action.type not in (int, float) or action.metavar in UNITS, action.option_strings


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_a_command_with_many_options_has_them_in_groups(parser):
    positional, plain, *groups = parser._action_groups
    assert len(plain._group_actions) <= 5 and all(group.title for group in groups)


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_the_example_of_every_command_parses(parser):
    example = parser.epilog.partition("example:\n")[2].strip()
    program, *arguments = shlex.split(example)
    line = {"mapdiff": mapdiff, "mapdiff-train": mapdiff_train}[program].command_line()
    options = line.parser.parse_args(arguments)
    assert example.startswith(parser.prog) and callable(options.run)


@pytest.mark.parametrize("program", [mapdiff, mapdiff_train])
def test_the_list_of_commands_is_in_groups_and_leaves_none_out(program, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["--help"])
    printed = capsys.readouterr().out
    below = next(a for a in program.command_line().parser._actions if isinstance(a, argparse._SubParsersAction))
    assert ended.value.code == 0 and f"example:\n  {program.command_line().parser.prog} " in printed
    assert {line.split()[0] for line in printed.splitlines() if line.startswith("  ")} >= set(below.choices)


def test_what_help_says_of_the_simulator_and_the_bench_is_what_they_have():
    assert cases.SPLITS == tuple(SPLITS) and cases.SIZES == tuple(SIZES)
    assert cases.DOSES == DOSES and cases.FAMILIES == tuple(FAMILIES)
    assert cases.LESIONS == LesionPlan().number
    run = pytest.importorskip("bench.run")
    assert judging.SCANS == tuple(run.SCANS) and judging.PARTS == tuple(run.PARTS)
    name = next(a for a in PARSERS["mapdiff-train baseline"]._actions if a.dest == "name")
    assert set(name.choices) == set(STRIDES)


def test_a_setting_is_typed_without_quotes():
    typed = ["precision=bf16-mixed", "batch=8", "taus=[95,52,28,0]", "learning_rate=1e-3"]
    changes = parse_changes(TrainConfig, typed)
    assert changes == {"precision": "bf16-mixed", "batch": 8, "taus": [95, 52, 28, 0], "learning_rate": 1e-3}
    assert parse_changes(TrainConfig, ["precision=32", 'error="squares"']) == {"precision": "32", "error": "squares"}
    assert parse_changes(BaselineConfig, ["width=12"]) == {"width": 12}
    nested = parse_changes(TrainConfig, ['variety={"between":1}', "variety.zoomed=0", "network.widths=[4,8]"])
    assert nested == {"variety": {"between": 1, "zoomed": 0}, "network": {"widths": [4, 8]}}


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("batch=many", "a whole number is needed"),
        ("batch=2.5", "a whole number is needed"),
        ("patch=true", "a whole number is needed"),
        ("taus=95", "a list as"),
        ("precision", "NAME=VALUE is needed"),
        ("presicion=32", "precision"),
        ("variety.zoomed=much", "a number is needed"),
        ("variety.zooms=1", "variety.zoomed"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_what_was_typed(text, needed):
    with pytest.raises(InputError) as refused:
        parse_changes(TrainConfig, [text])
    assert text in str(refused.value) and needed in str(refused.value)


def test_a_wrong_setting_ends_the_command_with_code_2_and_no_traceback(tmp_path, capsys):
    command = ["train", "--config", "paper", "--cases", str(tmp_path), "--output", str(tmp_path), "--set", "batch=x"]
    assert mapdiff_train.main(command) == 2
    assert "--set batch=x: a whole number is needed" in capsys.readouterr().err


@pytest.mark.parametrize("program", [mapdiff, mapdiff_train])
def test_a_completion_script_knows_the_commands_and_their_options(program, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as ended:
        program.main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert ended.value.code == 0 and "--output" in script
    if shutil.which("bash"):
        name = program.command_line().parser.prog
        typed = f'COMP_WORDS=({name} ""); COMP_CWORD=1; _shtab_{name.replace("-", "_")}; echo "${{COMPREPLY[@]}}"'
        offered = subprocess.run(["bash"], input=f"{script}\n{typed}\n", text=True, capture_output=True)
        assert {parser.prog.split()[1] for parser in COMMANDS if parser.prog.startswith(f"{name} ")} <= set(
            offered.stdout.split()
        ), offered.stderr


def run_outside(folder, code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    return done


def test_training_without_a_checkout_says_where_it_runs(tmp_path):
    shutil.copytree(PROJECT / "MAPDiffLib", tmp_path / "MAPDiffLib", ignore=shutil.ignore_patterns("bundles"))
    done = run_outside(tmp_path, "from MAPDiffLib.jobs.checkout import train; sys.exit(train())")
    assert done.returncode == 2 and "from a checkout alone" in done.stderr and "Traceback" not in done.stderr


def test_training_runs_from_a_checkout_whatever_the_folder(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(PROJECT / 'MAPDiffLib' / '..')!r}); sys.argv[1:] = ['--help']\n"
    code += "from MAPDiffLib.jobs.checkout import train; train()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "prepare-udpet" in done.stdout, done.stderr


def test_torchrun_finds_the_training_as_a_module():
    command = [sys.executable, "-m", "training", "train", "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and "--config" in done.stdout, done.stderr


def test_a_wheel_holds_the_library_alone_and_runs_outside_the_checkout(tmp_path):
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("setuptools is older than pyproject.toml asks for: no wheel can be built here")
    copy, built = tmp_path / "checkout", tmp_path / "built"
    wanted = ("MAPDiffLib", "training", "bench")
    for name in wanted:
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
        shutil.copy(PROJECT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(built)]
    made = subprocess.run([*command, str(copy)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    site = tmp_path / "site"
    shutil.unpack_archive(next(built.glob("*.whl")), site, "zip")
    assert sorted(p.name for p in site.iterdir() if not p.name.endswith(".dist-info")) == ["MAPDiffLib"]
    tiny.tiny_scan(site / "scan.nii.gz")
    code = (PROJECT / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    done = run_outside(site, f"{code}\nimport MAPDiffLib; print(MAPDiffLib.__file__)")
    assert done.returncode == 0 and (site / "dose-1.000.nii.gz").exists(), done.stderr
    assert (site / "uncertainty.nii.gz").exists()
    assert done.stdout.strip() == str(site / "MAPDiffLib" / "__init__.py")
