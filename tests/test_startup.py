"""Nothing heavy is loaded before it is needed: not by importing the package, nor by the commands that must be instant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import stillwise

ROOT = Path(__file__).parents[1]
HEAVY = (
    *("torch", "transformers", "datasets", "pyarrow", "pandas", "sympy", "math_verify", "reasoning_gym", "rich", "trl"),
    *("accelerate", "ray", "vllm", "jinja2", "numpy", "safetensors", "tokenizers", "huggingface_hub"),
)
REPORT = f"print('loaded', *sorted(set(sys.modules) & set({HEAVY!r})))"
IMPORT_ALL = """
import importlib, pkgutil, sys, stillwise
for found in pkgutil.walk_packages(stillwise.__path__, "stillwise."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
COMMAND = """
import contextlib, sys
from stillwise.cli import main
with contextlib.suppress(SystemExit):
    main({arguments!r})
"""


def loaded(script: str) -> list[str]:
    """The heavy packages that a fresh interpreter holds after the script."""
    done = subprocess.run([sys.executable, "-c", f"{script}\n{REPORT}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_importing_every_module_loads_nothing_heavy() -> None:
    assert not loaded(IMPORT_ALL)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["check", "curriculum"], ["list"], ["list", "--parts"], ["list", "--benchmarks"]],
    ids=" ".join,
)
def test_quick_commands_load_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded(COMMAND.format(arguments=arguments))


def test_help_does_not_even_load_pydantic() -> None:
    assert not loaded(COMMAND.format(arguments=["--help"]) + "\nassert 'pydantic' not in sys.modules")


def test_the_report_sees_a_heavy_module() -> None:
    assert loaded("import sys, numpy") == ["numpy"]


def test_the_package_exports_what_it_says() -> None:
    public = {name for name in vars(stillwise) if not name.startswith("_")} - {"annotations", "Any", "TYPE_CHECKING"}
    submodules = {path.stem for path in Path(stillwise.__file__).parent.iterdir()}
    assert public - submodules <= {"Recipe"}
    assert stillwise.Recipe.__module__ == "stillwise.recipe.api"
    assert stillwise.__version__
    with pytest.raises(AttributeError, match="no attribute 'Recipes'"):
        vars(stillwise)["__getattr__"]("Recipes")
