"""Flags that several commands share, and what their values mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stillwise.errors import UserError, nearest

if TYPE_CHECKING:
    from stillwise.arrows import Source
    from stillwise.recipe.api import Recipe
    from stillwise.runtime.progress import Mode

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Command = Callable[[argparse.Namespace], int]
T = TypeVar("T", int, float)
TEACHERS = ("reasoner", "instructor", "student")


def add(commands: Commands, name: str, help: str, command: Command) -> argparse.ArgumentParser:
    """A command with its help and what it calls."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(command=command)
    return parser


def recipe_flags(parser: argparse.ArgumentParser) -> None:
    """Which recipe, with which binding, models, problems and overrides."""
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name (see: stillwise list) or a YAML file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--micro", dest="binding", action="store_const", const="micro", help="the embedded world: --binding micro"
    )
    which.add_argument("--binding", metavar="NAME", help="models, data and sizes: micro, paper, or a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override a field, as in sample.tries=8")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="a module with its own PARTS")
    parser.add_argument("--problems", metavar="SPEC", help="a file, hub:ID[@REVISION][:SPLIT], gym:NAME or micro:FAMILY")
    parser.add_argument("--column", action="append", default=[], metavar="FIELD=NAME", help="which column is which")
    parser.add_argument("--benchmark", action="append", default=[], metavar="NAME=SPEC", help="problems to measure on")
    parser.add_argument(
        "--traces", action="append", default=[], metavar="STEP=PATH", help="traces that a sampling step need not make"
    )
    for role in TEACHERS:
        parser.add_argument(
            f"--{role}", metavar="MODEL", help="transformers:PATH, micro:NAME, a hub id, or http://HOST/v1#NAME"
        )
    parser.add_argument("--role", action="append", default=[], metavar="ROLE=MODEL", help="the model of any other role")


def machine_flags(parser: argparse.ArgumentParser) -> None:
    """Where a run goes, its seed and its threads."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder; an interrupted run goes on")
    parser.add_argument("--on", default="local", metavar="WHERE", help="where work runs: local, or ray[:ADDRESS] for a cluster")
    parser.add_argument("--seed", type=int, default=0, help="every random number derives from it (default 0)")
    parser.add_argument(
        "--threads", type=not_negative, default=0, metavar="N", help="torch threads (default: 0, the machine's cores)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def money(text: str) -> Decimal:
    """An amount above 0, with decimals."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount above 0")
    return value


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = _number(int, text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def not_negative(text: str) -> int:
    """A whole number of at least 0."""
    value = _number(int, text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return value


def rate(text: str) -> float:
    """A number above 0."""
    value = _number(float, text)
    if value is None or not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _number(convert: Callable[[str], T], text: str) -> T | None:
    try:
        return convert(text)
    except ValueError:
        return None


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the flags name, bound and overridden."""
    from stillwise.recipe.api import Recipe
    from stillwise.recipe.load import parse_override

    changes = {override.path: override.value for override in map(parse_override, args.set)}
    return Recipe.load(args.recipe, binding=args.binding, set=changes, plugins=args.plugin)


def pairs_of(items: Sequence[str], flag: str) -> dict[str, str]:
    """NAME=VALUE items as a mapping; ``flag`` stands in the error."""
    pairs = [item.partition("=") for item in items]
    bad = [item for item, (name, sign, value) in zip(items, pairs, strict=True) if not (name and sign and value)]
    if bad:
        raise UserError(f"{flag} {bad[0]!r}: needs the form NAME=VALUE")
    return {name: value for name, _, value in pairs}


def roles_of(args: argparse.Namespace) -> dict[str, str]:
    """Models by role."""
    named = {role: getattr(args, role) for role in TEACHERS if getattr(args, role)}
    return {**named, **pairs_of(args.role, "--role")}


def source_of(spec: str, columns: Sequence[str] = ()) -> Source:
    """The source of a spec; ``columns`` name the fields of a file or data set (``question=prompt``)."""
    from pydantic import ValidationError

    from stillwise.problems.resolve import resolve

    source, named = resolve(spec), pairs_of(columns, "--column")
    if not named:
        return source
    fields = {key: value for key, value in source.as_dict().items() if key != "kind"}
    if "columns" not in fields:
        raise UserError(f"--column: {spec} has no columns to name; they belong to files and data sets")
    try:
        return type(source).model_validate({**fields, "columns": {**fields["columns"], **named}})
    except ValidationError as err:
        fault = err.errors()[0]
        known = nearest(str(fault["loc"][-1]), fields["columns"])
        raise UserError(f"--column {fault['loc'][-1]}: {fault['msg']}; {known}") from None


def problems_of(args: argparse.Namespace) -> Source | None:
    """What ``--problems`` names; None where it is not given."""
    if args.column and not args.problems:
        raise UserError("--column names columns of --problems, which is not given")
    return source_of(args.problems, args.column) if args.problems else None


def traces_of(args: argparse.Namespace) -> dict[str, str]:
    """The existing traces of each ``--traces``."""
    return pairs_of(args.traces, "--traces")


def benchmarks_of(args: argparse.Namespace) -> dict[str, Source]:
    """What each ``--benchmark`` names."""
    return {name: source_of(spec) for name, spec in pairs_of(args.benchmark, "--benchmark").items()}


def training_flag(parser: argparse.ArgumentParser) -> None:
    """How this machine trains."""
    help = "devices, launch, checkpoint_s, checkpoint_steps, report_to"
    parser.add_argument("--training", action="append", default=[], metavar="A=B", help=help)


def training_of(args: argparse.Namespace) -> dict[str, Any]:
    """The binding's ``training`` fields that the command line sets, checked."""
    from pydantic import ValidationError

    from stillwise.machine import Training

    given: dict[str, Any] = pairs_of(args.training, "--training")
    if "report_to" in given:
        given["report_to"] = [name for name in given["report_to"].split(",") if name != "none"]
    try:
        checked = Training.model_validate(given)
    except ValidationError as err:
        fault = err.errors()[0]
        name = str(fault["loc"][0])
        hint = "" if name in Training.model_fields else f"; {nearest(name, Training.model_fields)}"
        raise UserError(f"--training {name}: {fault['msg']}{hint}") from None
    return {name: getattr(checked, name) for name in given}


def mode_of(args: argparse.Namespace) -> Mode | None:
    """How progress is shown."""
    return "quiet" if args.quiet else None


def say(lines: Sequence[str]) -> None:
    """Print lines."""
    for line in lines:
        print(line)
