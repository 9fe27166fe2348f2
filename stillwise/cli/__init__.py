"""The command line: run, check, plan, list, report, evaluate, compare, import, status, gc, study, serve, compress.

Exit codes: 0 done, 1 an error while working, 2 the user's input cannot be used (nothing was done), 130 interrupted.
Only the standard library is imported before a command is known, and only its own flags after, so that answers are instant.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from stillwise.errors import StillwiseError

if TYPE_CHECKING:
    from stillwise.cli.flags import Command

COMMANDS = {
    "run": "running",
    "check": "running",
    "plan": "running",
    "list": "looking",
    "report": "looking",
    "evaluate": "measuring",
    "compare": "measuring",
    "import": "measuring",
    "status": "looking",
    "gc": "looking",
    "study": "running",
    "teacher": "teacher",
    "serve": "serving",
    "compress": "serving",
}
"""The commands as help lists them, and the module of each, where ``<command>_parser`` adds its flags."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors that a user can meet are printed without a traceback."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(*words[:1]).parse_args(words)
    args.typed = _typed(words)
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


def build_parser(first: str = "") -> argparse.ArgumentParser:
    """The parser of all commands; where the first word is a command, of that one alone."""
    import stillwise

    parser = argparse.ArgumentParser(prog="stillwise", description=stillwise.__doc__)
    parser.add_argument("--version", action="version", version=f"stillwise {stillwise.__version__}")
    # With a given ``prog`` argparse formats no usage line here, which takes longer than all flags together.
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", prog="stillwise")
    for name in [first] if first in COMMANDS else COMMANDS:
        getattr(import_module(f"stillwise.cli.{COMMANDS[name]}"), f"{name}_parser")(commands)
    return parser


def _typed(argv: Sequence[str]) -> str:
    """The command as it was typed, but for where it runs and writes: runs into two folders have equal reports."""
    words: list[str] = []
    for before, word in zip(["", *argv], argv, strict=False):
        if word == "--on" or before == "--on" or word.startswith("--on="):
            continue
        words.append("--out=DIR" if word.startswith("--out=") else "DIR" if before == "--out" else word)
    return shlex.join(["stillwise", *words])
