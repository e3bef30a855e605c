"""A command line of several commands, in groups, each with an example; for mapdiff and for mapdiff-train."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from MAPDiffLib.errors import InputError

SHELLS = ("bash", "zsh", "tcsh")
FILES = ("FILE", "DIR", "SCAN", "CASE", "LIST")  # metavars of what is a path


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Text as it was written, and behind every option its default or that it is required."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=32)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.required and action.option_strings:
            return f"{text} (required)"
        none = action.default is None or action.default is False or action.default == argparse.SUPPRESS
        return text if none or "default" in text else f"{text} (default: %(default)s)"


class CommandLine:
    """One parser with a parser for each command.

    add(...) returns the parser of one command, for its options; `run` is called with what was parsed.
    """

    def __init__(self, prog: str, description: str, version: str):
        self.parser = argparse.ArgumentParser(
            prog=prog, description=description, usage=f"{prog} COMMAND ... | --help", formatter_class=HelpFormatter
        )
        self.parser.add_argument("--version", action="version", version=f"{prog} {version}")
        self.parser.add_argument(
            "--print-completion", action=PrintCompletion, choices=SHELLS, metavar="SHELL",
            help=f"print a script for tab completion ({', '.join(SHELLS)})",
        )  # fmt: skip
        self._commands = self.parser.add_subparsers(
            dest="command", required=True, metavar="COMMAND", prog=prog, help=argparse.SUPPRESS
        )
        self._groups: dict[str, list[str]] = {}
        self._first = ""

    def add(
        self, group: str, name: str, help: str, run: Callable[[argparse.Namespace], object], example: str
    ) -> argparse.ArgumentParser:
        """A command: `help` is its line in the list, `example` what one would type behind the program's name."""
        prog = self.parser.prog
        command = self._commands.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}.", epilog=f"example:\n  {prog} {example}",
            formatter_class=HelpFormatter,
        )  # fmt: skip
        command.set_defaults(run=run)
        self._groups.setdefault(group, []).append(f"  {name:15}{help}")
        listed = "\n\n".join("\n".join([f"{title}:", *lines]) for title, lines in self._groups.items())
        self._first = self._first or f"example:\n  {prog} {example}"
        self.parser.epilog = f"{listed}\n\n{prog} COMMAND --help says each command's options.\n\n{self._first}"
        return command


class PrintCompletion(argparse.Action):
    """Prints a shell's completion script for the whole parser, written by shtab, and ends."""

    def __call__(self, parser, namespace, values, option_string=None):
        try:
            import shtab
        except ImportError:
            raise InputError(f"{option_string} needs shtab: pip install shtab") from None
        for each in every_parser(parser):
            for action in each._actions:
                if action.type is Path or action.metavar in FILES:
                    action.complete = shtab.FILE
                if isinstance(action, argparse._SubParsersAction):
                    action.help = "command"  # shtab leaves out what help leaves out
        print(shtab.complete(parser, shell=values))
        parser.exit()


def every_parser(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser and those of its commands, theirs too."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(one for action in below for each in action.choices.values() for one in every_parser(each))]
