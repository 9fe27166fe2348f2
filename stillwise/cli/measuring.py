"""Commands that measure: evaluate, compare, import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stillwise.cli.flags import add, machine_flags, mode_of, not_negative, positive, say, source_of
from stillwise.errors import UserError

if TYPE_CHECKING:
    from stillwise.cli.flags import Commands
    from stillwise.recipe.measure import Measure


def evaluate_parser(commands: Commands) -> None:
    """Flags of ``evaluate``."""
    parser = add(commands, "evaluate", "measure one model on benchmarks or on problems of your own", _evaluate)
    parser.add_argument("model", metavar="MODEL", help="transformers:PATH, micro:NAME, or a hub id")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--problems", metavar="SPEC", help="a file, hub:ID, gym:NAME or micro:FAMILY")
    what.add_argument("--benchmarks", metavar="A,B=FILE,…", help="benchmarks by name (see: stillwise list --benchmarks)")
    parser.add_argument(
        "--protocol", metavar="NAME", help="samples and settings as a paper states them: curriculum, distilqwen"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder with local copies of benchmarks")
    parser.add_argument("--column", action="append", default=[], metavar="FIELD=NAME", help="which column is which")
    parser.add_argument("--samples", type=positive, metavar="N", help="samples per problem (default: the protocol's, or 8)")
    parser.add_argument("--temperature", type=float, help="0 is greedy (default: the protocol's, or 0.6)")
    parser.add_argument("--max-tokens", type=positive, help="tokens to generate at most (default: the protocol's, or 16384)")
    parser.add_argument("--instruction", metavar="TEXT", help="appended to each question (default: the recipes' sentence)")
    parser.add_argument("--best-by", action="append", metavar="SCORER", help="also report the best of n by this score")
    machine_flags(parser)


def compare_parser(commands: Commands) -> None:
    """Flags of ``compare``."""
    parser = add(commands, "compare", "are runs told apart? or: run recipes at equal training cost and rank them", _compare)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run's folder, or RUN:EVALUATION; the first is the reference")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write what is printed here, with its data")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    several = parser.add_argument_group("recipes at equal training cost")
    several.add_argument("--recipes", nargs="+", metavar="RECIPE", help="run these; the first is the reference")
    several.add_argument("--binding", default="micro", help="what they are bound to (default: micro, the embedded world)")
    several.add_argument("--validation", metavar="SOURCE", help="problems to choose learning rates on")
    several.add_argument("--seeds", type=positive, default=3, metavar="N", help="training seeds (default 3)")
    several.add_argument("--threads", type=not_negative, default=0, metavar="N", help="torch threads (default: 0, the cores)")
    several.add_argument("--quiet", action="store_true", help="no progress bars")


def import_parser(commands: Commands) -> None:
    """Flags of ``import``."""
    parser = add(commands, "import", "read existing reasoning traces; verified ones get figures and a report", _import)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--verify", action="store_true", help="grade the answers")


def _evaluate(args: argparse.Namespace) -> int:
    from stillwise.recipe.measure import measure
    from stillwise.recipe.summary import closing_lines

    say(
        closing_lines(
            measure(_request(args), args.out, seed=args.seed, threads=args.threads, progress=mode_of(args), on=args.on)
        )
    )
    return 0


def _request(args: argparse.Namespace) -> Measure:
    from stillwise.recipe.measure import on_benchmarks, on_problems

    given = {name: getattr(args, name) for name in ("samples", "temperature", "max_tokens", "instruction", "best_by")}
    fields = {name: value for name, value in given.items() if value is not None}
    if args.problems is None:
        if args.column:
            raise UserError("--column names columns of --problems, which is not given")
        names = [name.strip() for name in args.benchmarks.split(",") if name.strip()]
        if not names:
            raise UserError("--benchmarks names none")
        return on_benchmarks(args.model, names, args.protocol, args.data, fields, args.typed)
    if args.protocol or args.data:
        raise UserError(f"{'--protocol' if args.protocol else '--data'} belongs to --benchmarks, which is not given")
    return on_problems(args.model, source_of(args.problems, args.column), args.problems, fields, args.typed)


def _compare(args: argparse.Namespace) -> int:
    if args.recipes:
        return _compare_recipes(args)
    if not args.runs:
        raise UserError("compare: give the folders of finished runs, or --recipes")
    from stillwise.recipe.comparing import compare_runs

    print(compare_runs(args.runs, args.out, as_json=args.json))
    return 0


def _compare_recipes(args: argparse.Namespace) -> int:
    from stillwise.recipe.board import compare_recipes
    from stillwise.recipe.run import Options

    if args.runs or args.json:
        raise UserError(f"{'--json' if args.json else args.runs[0]}: belongs to finished runs; --recipes makes its own")
    if args.out is None:
        raise UserError("compare --recipes: give --out, the folder to work in; an interrupted comparison goes on there")
    validation = source_of(args.validation) if args.validation else None
    options = Options(out=args.out, threads=args.threads, progress=mode_of(args))
    print(compare_recipes(args.recipes, args.binding, validation, args.seeds, options))
    return 0


def _import(args: argparse.Namespace) -> int:
    from stillwise.recipe.importing import import_lines

    say(import_lines(args.files, args.out, verify=args.verify))
    return 0
