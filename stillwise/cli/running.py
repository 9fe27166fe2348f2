"""Commands that work a recipe: run, check, plan, study."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stillwise.cli.flags import (
    add,
    benchmarks_of,
    machine_flags,
    mode_of,
    money,
    positive,
    problems_of,
    rate,
    recipe_flags,
    recipe_of,
    roles_of,
    say,
    traces_of,
    training_flag,
    training_of,
)
from stillwise.errors import UserError

if TYPE_CHECKING:
    from stillwise.cli.flags import Commands


def run_parser(commands: Commands) -> None:
    """Flags of ``run``."""
    parser = add(commands, "run", "run a recipe: problems to a measured student", _run)
    recipe_flags(parser)
    machine_flags(parser)
    training_flag(parser)
    parser.add_argument("--until", metavar="STEP", help="stop after this step")
    parser.add_argument("--store", metavar="URL", help="keep finished steps and the journal here too, as in s3://bucket/run")
    parser.add_argument(
        "--budget", type=money, metavar="AMOUNT", help="stop before servers with a price cost more, over all runs"
    )


def check_parser(commands: Commands) -> None:
    """Flags of ``check``."""
    parser = add(commands, "check", "find every fault of recipe files without running them", _check)
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML files or recipe names")
    parser.add_argument("--binding", metavar="NAME", help="check together with this binding")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE")


def plan_parser(commands: Commands) -> None:
    """Flags of ``plan``."""
    parser = add(commands, "plan", "upper bounds of requests, tokens, hours and disk", _plan)
    recipe_flags(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="also show what is finished there")
    parser.add_argument("--throughput", type=rate, metavar="TOKENS_PER_S", help="generated tokens per second and device")


def study_parser(commands: Commands) -> None:
    """Flags of ``study``."""
    parser = add(
        commands, "study", "train several students over several seeds, or probe several scales, and write their table", _study
    )
    parser.add_argument("study", metavar="STUDY", help="a study's name or a YAML file")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the Markdown table here")
    parser.add_argument("--seeds", type=positive, metavar="N", help="how many seeds (default: the study's)")
    machine_flags(parser)


def _run(args: argparse.Namespace) -> int:
    from stillwise.recipe.summary import closing_lines

    recipe = recipe_of(args)
    result = recipe.run(
        args.out,
        roles=roles_of(args),
        seed=args.seed,
        problems=problems_of(args),
        benchmarks=benchmarks_of(args),
        traces=traces_of(args),
        threads=args.threads,
        training=training_of(args),
        on=args.on,
        store=args.store,
        progress=mode_of(args),
        until=args.until,
        budget=args.budget,
        command=args.typed,
    )
    say(closing_lines(result))
    return 0


def _check(args: argparse.Namespace) -> int:
    with _hurried():
        failed = sum(not _faultless(name, args) for name in args.files)
    return UserError.exit_code if failed else 0


@contextmanager
def _hurried() -> Iterator[None]:
    """Without what costs a tenth of a check: plug-ins of pydantic among all packages, garbage among classes that all stay.

    What was made is frozen, so that no later collection looks for garbage there either.
    """
    collecting, key = gc.isenabled(), "PYDANTIC_DISABLE_PLUGINS"
    stated = os.environ.get(key)
    os.environ[key] = stated or "__all__"
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()
        if stated is None:
            del os.environ[key]


def _faultless(name: str, args: argparse.Namespace) -> bool:
    try:
        print(f"{name}: {_found(name, args)}, no faults")
    except UserError as err:
        print(err, file=sys.stderr)
        return False
    return True


def _found(name: str, args: argparse.Namespace) -> str:
    from stillwise.recipe.api import Recipe, catalogue_with
    from stillwise.recipe.load import find_recipe, read_binding, sort_of

    path = find_recipe(name)
    sort = sort_of(path)
    if sort == "study":
        from stillwise.recipe.study import study_words

        return study_words(path)
    if sort == "binding":
        return f"a binding of {len(read_binding(path, {'catalogue': catalogue_with(args.plugin)}).roles)} roles"
    recipe = Recipe.load(name, binding=args.binding, plugins=args.plugin)
    return f"{len(recipe.loaded.method.steps)} steps"


def _plan(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from stillwise.recipe.api import Recipe
    from stillwise.recipe.plan import plan_lines
    from stillwise.recipe.run import Options, bound_to, problem_source

    recipe = recipe_of(args)
    options = Options(
        out=Path("."),
        roles=roles_of(args),
        problems=problems_of(args),
        benchmarks=benchmarks_of(args),
        traces=traces_of(args),
    )
    loaded = bound_to(recipe.loaded, options)
    if loaded.binding.num_problems is None and problem_source(loaded.binding) is None:
        raise UserError(
            "plan: of how many problems? give --problems FILE, or a binding that says it (--micro, --binding paper)"
        )
    if args.throughput:
        binding = loaded.binding.model_copy(
            update={"throughput_tokens_per_s": args.throughput, "note": "given by --throughput"}
        )
        loaded = replace(loaded, binding=binding)
    say(plan_lines(Recipe(loaded).plan(args.out)))
    return 0


def _study(args: argparse.Namespace) -> int:
    from stillwise.recipe.study import run_study

    mode = mode_of(args)
    run = run_study(args.study, args.out, seeds=args.seeds, threads=args.threads, progress=mode, table=args.table, on=args.on)
    print(run.markdown)
    return 0
