"""Imports point down, folders on one layer do not know each other, and nothing heavy or unsafe hides in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "stillwise"
ARROWS = ("problems", "sample", "verify", "score", "rewrite", "select", "curriculum", "train", "evaluate")
# A name may import names of a lower rank; records and errors, parts and arrows also one another (never in a cycle).
RANKS: tuple[frozenset[str], ...] = (
    frozenset({"records", "errors", "boxed"}),
    frozenset({"parts", "asking", "arrows", "decoding", "machine"}),
    frozenset({"micro"}),
    frozenset({"models"}),
    frozenset({"runtime"}),
    frozenset(ARROWS),
    frozenset({"recipe"}),
    frozenset({"cli", "__main__"}),
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
TOGETHER = frozenset({0, 1})
HEAVY = frozenset(
    {"torch", "transformers", "datasets", "matplotlib", "pyarrow", "pandas", "math_verify", "latex2sympy2_extended", "sympy"}
    | {"reasoning_gym", "rich", "trl", "accelerate", "ray", "vllm", "jinja2", "numpy", "safetensors", "tokenizers"}
    | {"huggingface_hub"}
)
MAX_BROAD_EXCEPTS = 2
ALLOWED_CALLS = {
    # Reads chunks that the pool in this same package wrote to a private pipe; never a file, never a network.
    "stillwise.runtime.grader_worker": frozenset({"pickle.loads"}),
    # Run inside the sandbox only: executing an untrusted program is what it is for.
    "stillwise.runtime.sandbox_inside": frozenset({"compile", "exec"}),
    "stillwise.runtime.sandbox_judge": frozenset({"compile", "exec"}),
}
UNSAFE_CALLS = frozenset({"eval", "exec", "compile", "__import__"})
UNSAFE_METHODS = frozenset(
    f"{owner}.{name}"
    for owner, names in {
        "pickle": "load loads Unpickler",
        "dill": "load loads",
        "marshal": "load loads",
        "shelve": "open",
        "torch": "load",
        "yaml": "load load_all full_load full_load_all unsafe_load unsafe_load_all",
        "sympy": "sympify parse_expr",
        "os": "system popen",
    }.items()
    for name in names.split()
)


@dataclass(frozen=True)
class Module:
    """One source file, parsed."""

    path: Path
    tree: ast.Module

    @property
    def dotted(self) -> str:
        """``stillwise.verify.maths``; a folder's ``__init__`` is the folder."""
        parts = self.path.relative_to(ROOT.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def top(self) -> str:
        """The first name under ``stillwise``; empty for the package itself."""
        return [*self.dotted.split("."), ""][1]


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(path, ast.parse(path.read_text("utf8"))) for path in sorted(ROOT.rglob("*.py")))


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.dotted.split(".")
    if module.path.name != "__init__.py":
        package.pop()
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def imported(module: Module, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names that the nodes import; ``from a import b`` gives ``a.b``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{absolute(module, node)}.{alias.name}" for alias in node.names)


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: not function bodies, not ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (inner for other in node.orelse for inner in ast.walk(other))
            continue
        yield node
        yield from at_import_time(node)


def upward(module: Module) -> list[str]:
    """Names of the package that this module imports and that do not lie below it."""
    mine = RANK[module.top]
    found = []
    for name in imported(module, ast.walk(module.tree)):
        parts = name.split(".")
        if parts[0] != "stillwise" or len(parts) < 2 or parts[1] not in RANK or parts[1] == module.top:
            continue
        rank = RANK[parts[1]]
        if rank > mine or (rank == mine and rank not in TOGETHER):
            found.append(name)
    return found


def graph() -> dict[str, set[str]]:
    """Which module imports which, function bodies included. The package itself is left out: it only re-exports, on demand."""
    known = {module.dotted for module in modules() if module.top}
    edges: dict[str, set[str]] = {name: set() for name in known}
    for module in modules():
        for name in imported(module, ast.walk(module.tree)) if module.top else ():
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module.dotted:
                edges[module.dotted].add(target)
    return edges


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One cycle of the graph, as the names along it, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next((c for c in (visit(n, [*path, name]) for n in sorted(edges[name])) if c), [])
        done.add(name)
        return found

    return next((c for c in (visit(name, []) for name in sorted(edges)) if c), [])


def calls(module: Module) -> Iterator[str]:
    """Called names as written, module aliases resolved: ``torch.load`` also for ``import torch as t; t.load``."""
    alias = {
        item.asname: item.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import)
        for item in node.names
        if item.asname
    }
    from_import = {
        item.asname or item.name: f"{node.module}.{item.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for item in node.names
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            written = ast.unparse(node.func)
            first, _, rest = written.partition(".")
            first = alias.get(first, from_import.get(first, first))
            yield f"{first}.{rest}" if rest else first


def broad_excepts(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            if node.type is None or {"Exception", "BaseException"} & set(
                caught.replace("(", " ").replace(")", " ").replace(",", " ").split()
            ):
                yield f"{module.path.relative_to(ROOT.parent)}:{node.lineno}"


def each_module() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", modules(), ids=lambda m: m.dotted)


def test_every_top_name_has_a_rank() -> None:
    unknown = {module.top for module in modules()} - set(RANK) - {""}
    assert not unknown, f"{sorted(unknown)} stand in no layer; give them one in design and here"


@each_module()
def test_imports_point_down(module: Module) -> None:
    if module.top:
        assert not upward(module), f"{module.dotted} imports what does not lie below it"


def test_no_import_cycles() -> None:
    assert not cycle(graph())


@each_module()
def test_heavy_packages_are_imported_where_they_are_needed(module: Module) -> None:
    heavy = {name for name in imported(module, at_import_time(module.tree)) if name.split(".")[0] in HEAVY}
    assert not heavy, f"{module.dotted} imports {sorted(heavy)} when it is imported; move it into the function"


def test_no_module_called_utils() -> None:
    assert not [m.dotted for m in modules() if {"utils", "util", "helpers", "misc"} & set(m.dotted.split("."))]


def test_broad_excepts_are_counted() -> None:
    places = [place for module in modules() for place in broad_excepts(module)]
    assert len(places) <= MAX_BROAD_EXCEPTS, places


@each_module()
def test_model_text_is_never_evaluated_and_files_load_safely(module: Module) -> None:
    unsafe = set(calls(module)) & (UNSAFE_CALLS | UNSAFE_METHODS)
    assert unsafe == ALLOWED_CALLS.get(module.dotted, frozenset())


@each_module()
def test_every_module_says_what_it_is(module: Module) -> None:
    assert ast.get_docstring(module.tree), f"{module.dotted} has no docstring"


def parsed(tmp_name: str, source: str) -> Module:
    return Module(ROOT / tmp_name, ast.parse(source))


def test_the_checks_see_what_they_should() -> None:
    assert upward(parsed("verify/x.py", "from stillwise.sample import sampler")) == ["stillwise.sample.sampler"]
    assert upward(parsed("verify/x.py", "def f():\n    from ..recipe import run")) == ["stillwise.recipe.run"]
    assert upward(parsed("verify/x.py", "from stillwise import train")) == ["stillwise.train"]
    assert not upward(parsed("verify/x.py", "from stillwise.records import Trace\nfrom stillwise.runtime.store import Store"))
    heavy = "class A:\n    import torch\ndef f():\n    import numpy\nif TYPE_CHECKING:\n    import jinja2"
    assert list(imported(parsed("x.py", heavy), at_import_time(ast.parse(heavy)))) == ["torch"]
    assert {"torch.load", "yaml.load", "eval"} <= set(
        calls(parsed("x.py", "import torch as t\nfrom yaml import load\nt.load(p)\nload(f)\neval(s)"))
    )
    broad = "try: ...\nexcept (ValueError, Exception): ...\ntry: ...\nexcept: ...\ntry: ...\nexcept KeyError: ..."
    assert len(list(broad_excepts(parsed("x.py", broad)))) == 2
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
