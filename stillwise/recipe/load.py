"""From files and flags to a recipe and a binding: every fault at once, with its line and the nearest right word."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from stillwise.errors import UserError, nearest
from stillwise.parts import Catalogue, Part, builtin_catalogue, inputs_of
from stillwise.recipe.faults import Document, Place, read_document
from stillwise.recipe.graph import check_graph
from stillwise.recipe.schema import ARROWS, NEEDS, OUTPUT, PLAINEST, Binding, Method, Paper, Step

_TOP = ("paper", "about", "roles", "steps", "departures", "max_failure_rate", "extends", "change", "drop")


NO_BINDING = "none"
"""The binding's name where there is none."""


@dataclass(frozen=True)
class Override:
    """One ``path=value``: ``steps.0.sample.tries``, ``sample.tries`` (all of an arrow) or ``think.tries`` (one step)."""

    path: str
    value: Any
    origin: str
    replaced: Any = None
    """What the recipe itself says there (of the first step it touches); None where it leaves the part's default."""


@dataclass(frozen=True)
class Loaded:
    """A recipe with its binding, ready to plan or run."""

    method: Method
    binding: Binding
    binding_name: str
    overrides: tuple[Override, ...]
    path: str


def recipe_folder() -> Path:
    """The folder of the recipes that ship: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parents[1] / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "recipes"


def known_recipes() -> dict[str, Path]:
    """Names and files of the recipes that ship, sorted."""
    return {path.stem: path for path in sorted(recipe_folder().glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe given by path or by name; an unknown name gets the nearest known one."""
    if name in known_recipes():
        return known_recipes()[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    raise UserError(f"no recipe is called {name!r}; {nearest(name, known_recipes())} (or give the path of a YAML file)")


def find_binding(recipe: str, binding: str) -> Path:
    """The file of a binding: the recipe's own of that name, the general one, or a path."""
    folder = recipe_folder() / "bindings"
    lineage = _lineage(recipe)
    candidates = [*(folder / f"{name}.{binding}.yaml" for name in lineage), folder / f"{binding}.yaml", Path(binding)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        names = [path.stem.removeprefix(f"{recipe}.") for path in folder.glob("*.yaml")]
        raise UserError(f"no binding is called {binding!r} for {recipe}; {nearest(binding, names)}")
    return found


def _lineage(recipe: str) -> list[str]:
    """The recipe's name and those that it extends, nearest first: a binding of a parent fits its children."""
    names = [recipe]
    while (path := known_recipes().get(names[-1])) and (parent := read_document(path).data.get("extends")):
        names.append(str(parent))
    return names


def parse_override(text: str, origin: str = "--set") -> Override:
    """``a.b=c`` with c read as YAML."""
    path, sign, value = text.partition("=")
    if not sign or not path.strip():
        raise UserError(f"--set {text!r}: needs the form path=value, such as sample.tries=8")
    try:
        return Override(path.strip(), yaml.safe_load(value), origin)
    except yaml.YAMLError as err:
        raise UserError(f"--set {text!r}: {value!r} is not a YAML value ({err})") from None


def load(
    path: Path, binding: Path | None = None, overrides: Sequence[Override] = (), catalogue: Catalogue | None = None
) -> Loaded:
    """Read, override, validate; raises RecipeError with all faults of the file at fault."""
    context = {"catalogue": catalogue or builtin_catalogue()}
    bound = read_binding(binding, context) if binding else Binding()
    changes = [Override(key, value, f"binding {binding.stem}") for key, value in bound.set.items()] if binding else []
    document = _extended(read_document(path))
    everything = [*changes, *overrides]
    named = _named_steps(document)
    everything = [_apply(document, named, override) for override in everything]
    recipe = _recipe(document, named, path.stem, context)
    document.raise_faults()
    assert recipe is not None
    return Loaded(recipe, bound, binding.stem if binding else NO_BINDING, tuple(everything), str(path))


def read_binding(path: Path, context: Mapping[str, Any]) -> Binding:
    """The binding in a file."""
    document = read_document(path)
    try:
        found = Binding.model_validate(document.data, context=dict(context))
    except ValidationError as err:
        document.validation(err, (), tuple(Binding.model_fields))
        found = Binding()
    document.raise_faults()
    return found


def _extended(document: Document) -> Document:
    """``extends: NAME`` takes another recipe's keys; ``change`` merges into its steps by name; ``drop`` leaves steps out."""
    parent_name = document.data.get("extends")
    if parent_name is None:
        return document
    parent = _extended(read_document(find_recipe(str(parent_name))))
    data = copy.deepcopy(parent.data)
    own = {key: value for key, value in document.data.items() if key not in ("extends", "change", "drop")}
    data.update(own)
    merged = Document(document.path, data, document.lines, document.faults)
    named = dict(enumerate(_named_steps(merged)))
    for name, change in (document.data.get("change") or {}).items():
        place: Place = ("change", name)
        step = next((s for s in named.values() if s.name == name), None)
        if step is None:
            merged.fault(place, f"no step is called {name!r}; {nearest(name, [s.name for s in named.values()])}")
        elif isinstance(change, dict):
            step.body.update(change)
    gone = set(document.data.get("drop") or ())
    for name in sorted(gone - {s.name for s in named.values()}):
        merged.fault(("drop",), f"no step is called {name!r}; {nearest(name, [s.name for s in named.values()])}")
    merged.data["steps"] = [raw for i, raw in enumerate(data.get("steps", [])) if not (i in named and named[i].name in gone)]
    return merged


@dataclass
class _RawStep:
    index: int
    arrow: str
    name: str
    body: dict[str, Any]

    @property
    def place(self) -> Place:
        return ("steps", self.index, self.arrow)


def _named_steps(document: Document) -> list[_RawStep]:
    steps = document.data.get("steps")
    if not isinstance(steps, list):
        document.fault(("steps",), "needs a list of steps")
        return []
    found: list[_RawStep] = []
    for i, raw in enumerate(steps):
        step = _raw_step(document, i, raw)
        if step is not None:
            taken = [s.name for s in found]
            if step.name in taken and "as" not in step.body:
                step.name = f"{step.name}_{i}"
            if step.name in taken:
                document.fault((*step.place, "as"), f"two steps are called {step.name!r}")
            found.append(step)
    return found


def _raw_step(document: Document, index: int, raw: Any) -> _RawStep | None:
    if isinstance(raw, str):
        raw = {raw: {}}
        document.data["steps"][index] = raw
    if not isinstance(raw, dict) or len(raw) != 1:
        document.fault(("steps", index), f"needs exactly one step word; known: {', '.join(ARROWS)}")
        return None
    arrow, body = next(iter(raw.items()))
    if arrow not in ARROWS:
        document.fault(("steps", index, arrow), f"no step is called {arrow!r}; {nearest(str(arrow), ARROWS)}")
        return None
    body = {"kind": body} if isinstance(body, str) else body or {}
    if not isinstance(body, dict):
        document.fault(("steps", index, arrow), "needs a mapping of fields")
        return None
    raw[arrow] = body
    return _RawStep(index, arrow, str(body.get("as", arrow)), body)


def _apply(document: Document, steps: Sequence[_RawStep], override: Override) -> Override:
    head, *rest = override.path.split(".")
    place: Place = ("set", override.path)
    if head == "steps" and len(rest) >= 3 and rest[0].isdigit():
        chosen, fields = [s for s in steps if s.index == int(rest[0]) and s.arrow == rest[1]], rest[2:]
    else:
        chosen, fields = [s for s in steps if head in (s.name, s.arrow)], rest
    if head in ("max_failure_rate",) and not rest:
        return replace(override, replaced=document.data.get(head), value=_put(document.data, [head], override.value))
    if not chosen or not fields:
        words = [*(s.name for s in steps), *(s.arrow for s in steps), "max_failure_rate"]
        if override.origin == "--set" or (head not in ARROWS and not chosen):
            document.fault(place, f"no step is called {head!r}; {nearest(head, words)}")
        return override
    replaced = _peek(chosen[0].body, fields)
    for step in chosen:
        _put(step.body, fields, override.value)
    return replace(override, replaced=replaced)


def _peek(body: Any, fields: Sequence[str]) -> Any:
    for field in fields:
        body = body.get(field) if isinstance(body, dict) else None
    return body


def _put(body: dict[str, Any], fields: Sequence[str], value: Any) -> Any:
    """Set a nested field and return the value; a part written as its bare kind becomes a mapping on the way."""
    for field in fields[:-1]:
        inner = body.get(field)
        body[field] = {"kind": inner} if isinstance(inner, str) else copy.deepcopy(inner) or {}
        body = body[field]
    body[fields[-1]] = value
    return value


def _recipe(document: Document, raw_steps: Sequence[_RawStep], name: str, context: Mapping[str, Any]) -> Method | None:
    data = document.data
    for key in data:
        if key not in _TOP:
            document.fault((key,), f"unknown key {key!r}; {nearest(str(key), _TOP)}")
    steps = [step for raw in raw_steps if (step := _step(document, raw, raw_steps, context)) is not None]
    top = {key: data[key] for key in ("about", "roles", "departures", "max_failure_rate", "paper") if key in data}
    try:
        recipe = Method.model_validate({"name": name, **top, "steps": steps})
    except ValidationError as err:
        document.validation(err, (), tuple(Paper.model_fields))
        return None
    if len(steps) == len(raw_steps):
        check_graph(document, recipe, [raw.place for raw in raw_steps])
    return recipe


def _step(document: Document, raw: _RawStep, steps: Sequence[_RawStep], context: Mapping[str, Any]) -> Step | None:
    wired = ("as",) if NEEDS[raw.arrow] is None else ("as", "from")
    body = {key: value for key, value in raw.body.items() if key not in wired}
    if "kind" not in body and raw.arrow in PLAINEST:
        body["kind"] = PLAINEST[raw.arrow]
    catalogue: Catalogue = context["catalogue"]
    try:
        part = _build(ARROWS[raw.arrow], body, context)
    except ValidationError as err:
        document.validation(err, raw.place, _known_fields(catalogue, str(body.get("kind"))))
        return None
    # A selector that names its inputs itself depends on nothing else.
    source = None if raw.arrow == "select" and inputs_of(part) else _source(raw, steps)
    return Step(arrow=raw.arrow, name=raw.name, source=source, part=part)


def _source(raw: _RawStep, steps: Sequence[_RawStep]) -> str | None:
    needed = NEEDS[raw.arrow]
    if needed is not None and "from" in raw.body:
        return str(raw.body["from"])
    earlier = [s.name for s in steps if s.index < raw.index and OUTPUT[s.arrow] == needed]
    return earlier[-1] if earlier else None


def _build(arrow: type[Part], body: Mapping[str, Any], context: Mapping[str, Any]) -> Part:
    part: Part = TypeAdapter(arrow).validate_python(dict(body), context=dict(context))
    return part


def _known_fields(catalogue: Catalogue, kind: str) -> tuple[str, ...]:
    part = catalogue.parts.get(kind)
    names = [(info.alias or name) for name, info in part.model_fields.items()] if part else []
    return (*names, "as", "from", "kind")
