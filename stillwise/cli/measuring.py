"""Commands that measure: evaluate, import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stillwise.cli.flags import add, machine_flags, mode_of, positive, say, source_of

if TYPE_CHECKING:
    from stillwise.cli.flags import Commands


def evaluate_parser(commands: Commands) -> None:
    """Flags of ``evaluate``."""
    parser = add(commands, "evaluate", "measure one model on problems", _evaluate)
    parser.add_argument("model", metavar="MODEL", help="transformers:PATH, micro:NAME, or a hub id")
    parser.add_argument("--problems", required=True, metavar="SPEC", help="a file, hub:ID, gym:NAME or micro:FAMILY")
    parser.add_argument("--column", action="append", default=[], metavar="FIELD=NAME", help="which column is which")
    parser.add_argument("--samples", type=positive, default=8, metavar="N", help="samples per problem (default 8)")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--max-tokens", type=positive, default=16384)
    parser.add_argument("--instruction", metavar="TEXT", help="appended to each question (default: the recipes' sentence)")
    machine_flags(parser)


def import_parser(commands: Commands) -> None:
    """Flags of ``import``."""
    parser = add(commands, "import", "read existing reasoning traces, and verify them where a reference exists", _import)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--verify", action="store_true", help="grade the answers")


def _evaluate(args: argparse.Namespace) -> int:
    from stillwise.recipe.measure import Measure, measure
    from stillwise.recipe.summary import closing_lines

    fields = {"samples": args.samples, "temperature": args.temperature, "max_tokens": args.max_tokens}
    if args.instruction is not None:
        fields["instruction"] = args.instruction
    request = Measure(
        model=args.model, source=source_of(args.problems, args.column), name=args.problems, fields=fields, command=args.typed
    )
    result = measure(request, args.out, seed=args.seed, threads=args.threads, progress=mode_of(args))
    say(closing_lines(result))
    return 0


def _import(args: argparse.Namespace) -> int:
    from stillwise.recipe.importing import import_lines

    say(import_lines(args.files, args.out, verify=args.verify))
    return 0
