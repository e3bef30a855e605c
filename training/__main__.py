"""mapdiff-train: cases, training, bundles, evaluation. Exit codes: 0 done, 1 failed, 2 bad input."""

from __future__ import annotations

import sys

from MAPDiffLib import __version__
from MAPDiffLib.errors import InputError
from MAPDiffLib.job import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED
from MAPDiffLib.jobs.command_line import CommandLine
from training.commands import bundles, cases, judging, learning


def main(arguments: list[str] | None = None) -> int:
    """Runs one command (default: of sys.argv) and returns its exit code."""
    try:
        options = command_line().parser.parse_args(arguments)
        options.run(options)
    except InputError as error:
        print(f"mapdiff-train: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"mapdiff-train: failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


def command_line() -> CommandLine:
    """All commands, in the order in which one needs them."""
    whole = CommandLine("mapdiff-train", "Makes cases, trains on them, exports bundles and judges them.", __version__)
    for group in (cases, learning, bundles, judging):
        group.add_commands(whole)
    return whole


if __name__ == "__main__":
    sys.exit(main())
