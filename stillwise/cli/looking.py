"""Commands that look at what is there: list, report, status, gc."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stillwise.cli.flags import add, say

if TYPE_CHECKING:
    from stillwise.cli.flags import Commands


def list_parser(commands: Commands) -> None:
    """Flags of ``list``."""
    parser = add(commands, "list", "the recipes that ship, and the parts that a recipe may name", _list)
    parser.add_argument(
        "what", nargs="?", choices=("recipes", "parts", "benchmarks"), help="recipes: with family, cost and what was measured"
    )
    parser.add_argument("--parts", action="store_true", help="parts by arrow, with their fields")
    parser.add_argument("--benchmarks", action="store_true", help="benchmarks and protocols that evaluate knows")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")


def report_parser(commands: Commands) -> None:
    """Flags of ``report``."""
    parser = add(commands, "report", "write the report of a run again and print its table", _report)
    parser.add_argument("dir", type=Path, metavar="DIR")


def status_parser(commands: Commands) -> None:
    """Flags of ``status``."""
    parser = add(commands, "status", "what of a run is finished, journalled and left", _status)
    parser.add_argument("dir", type=Path, metavar="DIR")


def gc_parser(commands: Commands) -> None:
    """Flags of ``gc``."""
    parser = add(commands, "gc", "remove step outputs that the run's recipe no longer uses", _gc)
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _list(args: argparse.Namespace) -> int:
    from stillwise.recipe import listing

    if args.benchmarks or args.what == "benchmarks":
        from stillwise.evaluate.descriptions import benchmark_lines

        say(benchmark_lines())
    elif args.parts or args.what == "parts":
        say(listing.part_lines())
    elif args.what == "recipes" and not args.markdown:
        say(listing.recipe_rows())
    else:
        say(listing.markdown_lines() if args.markdown else listing.recipe_lines())
    return 0


def _report(args: argparse.Namespace) -> int:
    from stillwise.recipe.summary import rewrite_report

    say(rewrite_report(args.dir))
    return 0


def _status(args: argparse.Namespace) -> int:
    from stillwise.recipe.housekeeping import status_lines

    say(status_lines(args.dir))
    return 0


def _gc(args: argparse.Namespace) -> int:
    from stillwise.recipe.housekeeping import collect_lines

    say(collect_lines(args.dir, dry_run=args.dry_run))
    return 0
