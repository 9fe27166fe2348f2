"""The command line: run, check, plan, list, report, evaluate, import, status, gc, study.

Exit codes: 0 done, 1 an error while working, 2 the user's input cannot be used (nothing was done), 130 interrupted.
Only the standard library is imported before a command is known, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stillwise.errors import StillwiseError, UserError, nearest

if TYPE_CHECKING:
    from stillwise.arrows import Source
    from stillwise.recipe.api import Recipe
    from stillwise.runtime.progress import Mode

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Command = Callable[[argparse.Namespace], int]
T = TypeVar("T", int, float)
TEACHERS = ("reasoner", "instructor", "student")


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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _run_parser(commands)
    _check_parser(commands)
    _plan_parser(commands)
    _list_parser(commands)
    _report_parser(commands)
    _evaluate_parser(commands)
    _import_parser(commands)
    _status_parser(commands)
    _gc_parser(commands)
    _study_parser(commands)
    return parser


def _add(commands: Commands, name: str, help: str, command: Command) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(command=command)
    return parser


def _recipe_flags(parser: argparse.ArgumentParser) -> None:
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
    for role in TEACHERS:
        parser.add_argument(f"--{role}", metavar="MODEL", help="transformers:PATH, micro:NAME, or a hub id")
    parser.add_argument("--role", action="append", default=[], metavar="ROLE=MODEL", help="the model of any other role")


def _machine_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder; an interrupted run goes on")
    parser.add_argument("--on", default="local", choices=["local"], help="where work runs")
    parser.add_argument("--seed", type=int, default=0, help="every random number derives from it (default 0)")
    parser.add_argument(
        "--threads", type=_not_negative, default=0, metavar="N", help="torch threads (default: 0, the machine's cores)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _run_parser(commands: Commands) -> None:
    parser = _add(commands, "run", "run a recipe: problems to a measured student", _run)
    _recipe_flags(parser)
    _machine_flags(parser)
    parser.add_argument("--until", metavar="STEP", help="stop after this step")


def _check_parser(commands: Commands) -> None:
    parser = _add(commands, "check", "find every fault of recipe files without running them", _check)
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML files or recipe names")
    parser.add_argument("--binding", metavar="NAME", help="check together with this binding")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE")


def _plan_parser(commands: Commands) -> None:
    parser = _add(commands, "plan", "upper bounds of requests, tokens, hours and disk", _plan)
    _recipe_flags(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="also show what is finished there")
    parser.add_argument("--throughput", type=_rate, metavar="TOKENS_PER_S", help="generated tokens per second and device")


def _list_parser(commands: Commands) -> None:
    parser = _add(commands, "list", "the recipes that ship, and the parts that a recipe may name", _list)
    parser.add_argument("--parts", action="store_true", help="parts by arrow, with their fields")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")


def _report_parser(commands: Commands) -> None:
    parser = _add(commands, "report", "write the report of a run again and print its table", _report)
    parser.add_argument("dir", type=Path, metavar="DIR")


def _evaluate_parser(commands: Commands) -> None:
    parser = _add(commands, "evaluate", "measure one model on problems", _evaluate)
    parser.add_argument("model", metavar="MODEL", help="transformers:PATH, micro:NAME, or a hub id")
    parser.add_argument("--problems", required=True, metavar="SPEC", help="a file, hub:ID, gym:NAME or micro:FAMILY")
    parser.add_argument("--column", action="append", default=[], metavar="FIELD=NAME", help="which column is which")
    parser.add_argument("--samples", type=_positive, default=8, metavar="N", help="samples per problem (default 8)")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--max-tokens", type=_positive, default=16384)
    parser.add_argument("--instruction", metavar="TEXT", help="appended to each question (default: the recipes' sentence)")
    _machine_flags(parser)


def _import_parser(commands: Commands) -> None:
    parser = _add(commands, "import", "read existing reasoning traces, and verify them where a reference exists", _import)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--verify", action="store_true", help="grade the answers")


def _status_parser(commands: Commands) -> None:
    parser = _add(commands, "status", "what of a run is finished, journalled and left", _status)
    parser.add_argument("dir", type=Path, metavar="DIR")


def _gc_parser(commands: Commands) -> None:
    parser = _add(commands, "gc", "remove step outputs that the run's recipe no longer uses", _gc)
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _study_parser(commands: Commands) -> None:
    parser = _add(commands, "study", "train several students over several seeds and write their table", _study)
    parser.add_argument("study", metavar="STUDY", help="a study's name or a YAML file")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the Markdown table here")
    parser.add_argument("--seeds", type=_positive, metavar="N", help="how many seeds (default: the study's)")
    _machine_flags(parser)


def _positive(text: str) -> int:
    value = _number(int, text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def _not_negative(text: str) -> int:
    value = _number(int, text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return value


def _rate(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _number(convert: Callable[[str], T], text: str) -> T | None:
    try:
        return convert(text)
    except ValueError:
        return None


def _recipe(args: argparse.Namespace) -> Recipe:
    from stillwise.recipe.api import Recipe
    from stillwise.recipe.load import parse_override

    changes = {override.path: override.value for override in map(parse_override, args.set)}
    return Recipe.load(args.recipe, binding=args.binding, set=changes, plugins=args.plugin)


def _pairs(items: Sequence[str], flag: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    bad = [item for item, (name, sign, value) in zip(items, pairs, strict=True) if not (name and sign and value)]
    if bad:
        raise UserError(f"{flag} {bad[0]!r}: needs the form NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _roles(args: argparse.Namespace) -> dict[str, str]:
    named = {role: getattr(args, role) for role in TEACHERS if getattr(args, role)}
    return {**named, **_pairs(args.role, "--role")}


def _source(spec: str, columns: Sequence[str] = ()) -> Source:
    """The source of a spec; ``columns`` name the fields of a file or data set (``question=prompt``)."""
    from pydantic import ValidationError

    from stillwise.problems.resolve import resolve

    source, named = resolve(spec), _pairs(columns, "--column")
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


def _problems(args: argparse.Namespace) -> Source | None:
    if args.column and not args.problems:
        raise UserError("--column names columns of --problems, which is not given")
    return _source(args.problems, args.column) if args.problems else None


def _benchmarks(args: argparse.Namespace) -> dict[str, Source]:
    return {name: _source(spec) for name, spec in _pairs(args.benchmark, "--benchmark").items()}


def _run(args: argparse.Namespace) -> int:
    from stillwise.recipe.summary import closing_lines

    recipe = _recipe(args)
    result = recipe.run(
        args.out,
        roles=_roles(args),
        seed=args.seed,
        problems=_problems(args),
        benchmarks=_benchmarks(args),
        threads=args.threads,
        progress=_mode(args),
        until=args.until,
        command=args.typed,
    )
    _say(closing_lines(result))
    return 0


def _check(args: argparse.Namespace) -> int:
    failed = 0
    for name in args.files:
        try:
            print(f"{name}: {_found(name, args)}, no faults")
        except UserError as err:
            print(err, file=sys.stderr)
            failed += 1
    return UserError.exit_code if failed else 0


def _found(name: str, args: argparse.Namespace) -> str:
    from stillwise.recipe.api import Recipe, catalogue_with
    from stillwise.recipe.load import find_recipe, read_binding, sort_of
    from stillwise.recipe.study import read_study

    path = find_recipe(name)
    sort = sort_of(path)
    if sort == "study":
        return f"a study of {len(read_study(path).students)} students"
    if sort == "binding":
        return f"a binding of {len(read_binding(path, {'catalogue': catalogue_with(args.plugin)}).roles)} roles"
    recipe = Recipe.load(name, binding=args.binding, plugins=args.plugin)
    return f"{len(recipe.loaded.method.steps)} steps"


def _plan(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from stillwise.recipe.api import Recipe
    from stillwise.recipe.plan import plan_lines
    from stillwise.recipe.run import Options, bound_to

    recipe = _recipe(args)
    options = Options(out=Path("."), roles=_roles(args), problems=_problems(args), benchmarks=_benchmarks(args))
    loaded = bound_to(recipe.loaded, options)
    if args.throughput:
        binding = loaded.binding.model_copy(
            update={"throughput_tokens_per_s": args.throughput, "note": "given by --throughput"}
        )
        loaded = replace(loaded, binding=binding)
    _say(plan_lines(Recipe(loaded).plan(args.out)))
    return 0


def _list(args: argparse.Namespace) -> int:
    from stillwise.recipe import listing

    if args.parts:
        _say(listing.part_lines())
    else:
        _say(listing.markdown_lines() if args.markdown else listing.recipe_lines())
    return 0


def _report(args: argparse.Namespace) -> int:
    from stillwise.recipe.summary import rewrite_report

    _say(rewrite_report(args.dir))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from stillwise.recipe.measure import Measure, measure
    from stillwise.recipe.summary import closing_lines

    fields = {"samples": args.samples, "temperature": args.temperature, "max_tokens": args.max_tokens}
    if args.instruction is not None:
        fields["instruction"] = args.instruction
    request = Measure(
        model=args.model, source=_source(args.problems, args.column), name=args.problems, fields=fields, command=args.typed
    )
    result = measure(request, args.out, seed=args.seed, threads=args.threads, progress=_mode(args))
    _say(closing_lines(result))
    return 0


def _import(args: argparse.Namespace) -> int:
    from stillwise.recipe.importing import import_lines

    _say(import_lines(args.files, args.out, verify=args.verify))
    return 0


def _status(args: argparse.Namespace) -> int:
    from stillwise.recipe.housekeeping import status_lines

    _say(status_lines(args.dir))
    return 0


def _gc(args: argparse.Namespace) -> int:
    from stillwise.recipe.housekeeping import collect_lines

    _say(collect_lines(args.dir, dry_run=args.dry_run))
    return 0


def _study(args: argparse.Namespace) -> int:
    from stillwise.recipe.study import run_study

    mode = _mode(args)
    run = run_study(args.study, args.out, seeds=args.seeds, threads=args.threads, progress=mode, table=args.table)
    print(run.markdown)
    return 0


def _typed(argv: Sequence[str]) -> str:
    """The command as it was typed, but for the output folder: runs into two folders have equal reports."""
    words = list(argv)
    for place, word in enumerate(words):
        if word == "--out" and place + 1 < len(words):
            words[place + 1] = "DIR"
        elif word.startswith("--out="):
            words[place] = "--out=DIR"
    return shlex.join(["stillwise", *words])


def _mode(args: argparse.Namespace) -> Mode | None:
    return "quiet" if args.quiet else None


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
