"""The command line: run, check, plan, list, report, evaluate, compare, import, status, gc, study, serve, compress.

Exit codes: 0 done, 1 an error while working, 2 the user's input cannot be used (nothing was done), 130 interrupted.
Only the standard library is imported before a command is known, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stillwise.cli import looking, measuring, running, serving, teacher
from stillwise.errors import StillwiseError

if TYPE_CHECKING:
    from stillwise.cli.flags import Command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors that a user can meet are printed without a traceback."""
    parser = build_parser()
    args = parser.parse_args(argv)
    args.typed = _typed(sys.argv[1:] if argv is None else argv)
    command: Command = args.command
    try:
        return command(args)
    except StillwiseError as err:
        print(f"stillwise: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        print("\nstillwise: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    import stillwise

    parser = argparse.ArgumentParser(prog="stillwise", description=stillwise.__doc__)
    parser.add_argument("--version", action="version", version=f"stillwise {stillwise.__version__}")
    # With a given ``prog`` argparse formats no usage line here, which takes longer than all flags together.
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", prog="stillwise")
    running.run_parser(commands)
    running.check_parser(commands)
    running.plan_parser(commands)
    looking.list_parser(commands)
    looking.report_parser(commands)
    measuring.evaluate_parser(commands)
    measuring.compare_parser(commands)
    measuring.import_parser(commands)
    looking.status_parser(commands)
    looking.gc_parser(commands)
    running.study_parser(commands)
    teacher.teacher_parser(commands)
    serving.serve_parser(commands)
    serving.compress_parser(commands)
    return parser


def _typed(argv: Sequence[str]) -> str:
    """The command as it was typed, but for where it runs and writes: runs into two folders have equal reports."""
    words: list[str] = []
    for before, word in zip(["", *argv], argv, strict=False):
        if word == "--on" or before == "--on" or word.startswith("--on="):
            continue
        words.append("--out=DIR" if word.startswith("--out=") else "DIR" if before == "--out" else word)
    return shlex.join(["stillwise", *words])
