"""From files and flags to a recipe and a binding: every fault at once, with its line and the nearest right word."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from stillwise.errors import RecipeError, UserError, nearest
from stillwise.parts import Catalogue, Part, builtin_catalogue
from stillwise.recipe.faults import Document, Place, name_fault, parse_value, raise_all, read_document
from stillwise.recipe.graph import check_graph
from stillwise.recipe.plugged import installed_recipes
from stillwise.recipe.raw import WORDS, RawStep, named_steps
from stillwise.recipe.rounds import ROUNDS, Block, Rounds, unrolled
from stillwise.recipe.schema import (
    ARROWS,
    NEEDS,
    OUTPUT,
    PLAINEST,
    Binding,
    Method,
    Paper,
    Published,
    Step,
    names_inputs,
    needed_by,
)

_TOP = ("paper", "about", "roles", "steps", "departures", "published", "max_failure_rate", "extends", "change", "drop")
_BOUND = ("roles", "problems", "benchmarks", "set")


_NO_FAMILY = ("bindings", "studies")
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
    """Names and files of the recipes that ship: sorted, those of its subfolders (families) last."""
    folder = recipe_folder()
    families = [path for path in sorted(folder.glob("*/*.yaml")) if path.parent.name not in _NO_FAMILY]
    return {path.stem: path for path in (*sorted(folder.glob("*.yaml")), *families)}


def find_recipe(name: str) -> Path:
    """The file of a recipe given by path or by name (``family/name`` too); an unknown name gets the nearest known one."""
    known = known_recipes()
    if (found := known.get(name.rpartition("/")[2])) and name in (found.stem, f"{found.parent.name}/{found.stem}"):
        return found
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    plugged = installed_recipes(known)
    if name in plugged:
        return plugged[name]
    raise UserError(f"no recipe is called {name!r}; {nearest(name, [*known, *plugged])} (or give the path of a YAML file)")


def find_binding(recipe: str, binding: str) -> Path:
    """The file of a binding: the recipe's own of that name, the general one, or a path."""
    folder, lineage = recipe_folder() / "bindings", _lineage(recipe)
    own = [path.parent / "bindings" for path in _plugged(recipe)]
    named = [place / f"{name}.{binding}.yaml" for name in lineage for place in (*own, folder)]
    candidates = [*named, *(place / f"{binding}.yaml" for place in (*own, folder)), Path(binding)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        # Other recipes' own bindings have a dot in their names.
        stems = [path.stem for place in (*own, folder) for path in place.glob("*.yaml")]
        mine = [stem.removeprefix(f"{name}.") for name in lineage for stem in stems if stem.startswith(f"{name}.")]
        names = [*mine, *(stem for stem in stems if "." not in stem)]
        raise UserError(f"no binding is called {binding!r} for {recipe}; {nearest(binding, names)}")
    return found


def _plugged(recipe: str) -> list[Path]:
    """The file of a plug-in's recipe; none for one that ships."""
    shipped = known_recipes()
    found = None if recipe in shipped else installed_recipes(shipped).get(recipe)
    return [found] if found else []


def _lineage(recipe: str) -> list[str]:
    """The recipe's name and those that it extends, nearest first: a binding of a parent fits its children."""
    names = [recipe]
    while (path := next(iter(_plugged(names[-1])), known_recipes().get(names[-1]))) and (
        parent := read_document(path).data.get("extends")
    ):
        if str(parent) in names:
            break
        names.append(str(parent))
    return names


def parse_override(text: str, origin: str = "--set") -> Override:
    """``a.b=c`` with c read as YAML."""
    path, sign, value = text.partition("=")
    if not sign or not path.strip():
        raise UserError(f"--set {text!r}: needs the form path=value, such as sample.tries=8")
    try:
        return Override(path.strip(), parse_value(value)[0], origin)
    except yaml.YAMLError as err:
        raise UserError(f"--set {text!r}: {value!r} is not a YAML value ({err})") from None


def load(
    path: Path, binding: Path | None = None, overrides: Sequence[Override] = (), catalogue: Catalogue | None = None
) -> Loaded:
    """Read, override, validate; raises RecipeError with all faults of the file at fault."""
    context = {"catalogue": catalogue or builtin_catalogue()}
    bound, bound_document = _binding(binding, context)
    changes = [Override(key, value, f"binding {binding.stem}") for key, value in bound.set.items()] if binding else []
    document = _extended(read_document(path))
    # Faults of the command line belong to no line of the recipe, but are listed with its own.
    flags = Document(document.path, {}, {}, document.faults)
    named = named_steps(document)
    everything = [_apply(document, named, change, bound_document) for change in changes]
    everything += [_apply(document, named, override, flags) for override in overrides]
    recipe = _recipe(document, named, path.stem, context)
    raise_all(document, bound_document)
    assert recipe is not None
    return Loaded(recipe, bound, binding.stem if binding else NO_BINDING, tuple(everything), str(path))


def read_binding(path: Path, context: Mapping[str, Any]) -> Binding:
    """The binding in a file; every fault at once."""
    found, document = _binding(path, context)
    document.raise_faults()
    return found


def sort_of(path: Path) -> Literal["recipe", "binding", "study"]:
    """What a file holds, by its keys; a file that could be anything counts as a recipe."""
    data = read_document(path).data
    if any(key in data for key in ("students", "scales", "methods")):
        return "study"
    own = "steps" in data or "extends" in data
    return "binding" if not own and any(key in data for key in _BOUND) else "recipe"


def _binding(path: Path | None, context: Mapping[str, Any]) -> tuple[Binding, Document]:
    if path is None:
        return Binding(), Document("", {}, {})
    document = read_document(path)
    benchmarks = document.data.get("benchmarks")
    for name in benchmarks if isinstance(benchmarks, dict) else ():
        if wrong := name_fault(name):
            document.fault(("benchmarks", name), wrong)
    try:
        return Binding.model_validate(document.data, context=dict(context)), document
    except ValidationError as err:
        document.validation(err, (), tuple(Binding.model_fields))
        return Binding(), document


def _extended(document: Document, trail: tuple[Path, ...] = ()) -> Document:
    """``extends: NAME`` takes another recipe's keys; ``change`` merges into its steps by name; ``drop`` leaves steps out."""
    if document.data.get("extends") is None:
        for key in ("change", "drop"):
            if key in document.data:
                document.fault((key,), "means something only beside 'extends: RECIPE'; edit this recipe's own steps instead")
        return document
    parent = _parent(document, (*trail, Path(document.path).resolve()))
    data = copy.deepcopy(parent.data)
    data.update({key: value for key, value in document.data.items() if key not in ("extends", "change", "drop")})
    merged = Document(document.path, data, dict(document.lines), document.faults)
    if isinstance(data.get("steps"), list):
        # Faults of the steps themselves are noted when the merged steps are read.
        steps = named_steps(Document(document.path, data, {}))
        changed = _change(merged, steps, document.data.get("change"))
        gone = _drop(merged, steps, document.data.get("drop"))
        for step in gone:
            step.holder[:] = [raw for raw in step.holder if not (isinstance(raw, dict) and raw.get(step.arrow) is step.body)]
        for step in named_steps(Document(document.path, data, {})):
            for each in changed:
                if step.body is each.body:
                    _move_lines(merged, each.name, step.place)
    return merged


def _parent(document: Document, trail: tuple[Path, ...]) -> Document:
    name = str(document.data["extends"])
    try:
        path = _beside(document.path, name)
        if path.resolve() in trail:
            chain = " -> ".join(each.name for each in (*trail[trail.index(path.resolve()) :], path))
            document.fault(("extends",), f"a recipe cannot extend itself: {chain}")
            document.raise_faults()
        parent = _extended(read_document(path), trail)
    except RecipeError:
        raise
    except UserError as err:
        document.fault(("extends",), str(err))
        document.raise_faults()
        raise
    parent.raise_faults()
    return parent


def _beside(path: str, name: str) -> Path:
    """The file of a recipe by name, or by a path that starts from the file which names it."""
    near = Path(path).parent / name
    written = Path(name).suffix in (".yaml", ".yml") or near.is_file()
    return find_recipe(str(near) if written and name not in known_recipes() else name)


def _change(document: Document, steps: Sequence[RawStep], changes: Any) -> list[RawStep]:
    """Merge into the bodies of steps; those that were changed."""
    if not isinstance(changes, dict):
        if changes is not None:
            document.fault(("change",), "needs a mapping from step names to fields, as in {think: {tries: 8}}")
        return []
    changed = []
    for name, fields in changes.items():
        step = next((s for s in steps if s.name == str(name)), None)
        if step is None:
            document.fault(("change", name), f"no step is called {name!r}; {nearest(str(name), [s.name for s in steps])}")
        elif not isinstance(fields, dict):
            document.fault(("change", name), "needs a mapping of fields, as in {tries: 8}")
        else:
            step.body.update(fields)
            changed.append(step)
    return changed


def _drop(document: Document, steps: Sequence[RawStep], names: Any) -> list[RawStep]:
    """The steps to leave out."""
    names = [names] if isinstance(names, str) else names or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        document.fault(("drop",), "needs a list of step names")
        return []
    known = [s.name for s in steps]
    for i, name in enumerate(names):
        if name not in known:
            document.fault(("drop", i), f"no step is called {name!r}; {nearest(name, known)}")
    return [s for s in steps if s.name in names]


def _move_lines(document: Document, name: str, to: Place) -> None:
    """Faults in changed fields are found in the merged step; their lines are those of the change."""
    head: Place = ("change", name)
    moved = {place[2:]: line for place, line in document.lines.items() if place[:2] == head and len(place) > 2}
    document.lines.update({(*to, *rest): line for rest, line in moved.items()})


def _apply(document: Document, steps: Sequence[RawStep], override: Override, origin: Document) -> Override:
    """Write an override into every step that it means; faults of it, now and later, are noted where it was written."""
    head, *rest = override.path.split(".")
    at: Place = ("set", override.path)
    if override.path == "max_failure_rate":
        replaced, document.data[head] = document.data.get(head), override.value
        document.written[(head,)] = (origin, at)
        return replace(override, replaced=replaced)
    chosen, fields = _chosen(steps, head, rest)
    # A binding serves several recipes, so it may name an arrow that this one does not use.
    if not chosen and (override.origin == "--set" or head not in WORDS):
        words = [*(s.name for s in steps), *(s.arrow for s in steps), "max_failure_rate"]
        place = ".".join(override.path.split(".")[:3]) if head == "steps" else head
        origin.fault(at, f"no step is called {place!r}; {nearest(place, words)}")
        return override
    if not fields:
        origin.fault(at, f"names no field of {head!r}, as {head}.tries would")
        return override
    if list(fields) == ["as"]:
        origin.fault(at, "a step keeps the name that the recipe gives it, for other steps refer to it; edit the recipe")
        return override
    replaced = _peek(chosen[0].body, fields) if chosen else None
    for step in chosen:
        try:
            document.written[(*step.place, *_put(step.body, fields, override.value))] = (origin, at)
        except LookupError as err:
            origin.fault(at, str(err.args[0]))
    return replace(override, replaced=replaced)


def _chosen(steps: Sequence[RawStep], head: str, rest: Sequence[str]) -> tuple[list[RawStep], Sequence[str]]:
    """The steps that a path means and the path below them; ``steps.0.sample`` means one by number."""
    if head == "steps" and len(rest) >= 2 and rest[0].isdecimal():
        return [s for s in steps if not s.above and s.index == int(rest[0]) and s.arrow == rest[1]], rest[2:]
    return [s for s in steps if head in (s.name, s.arrow)], rest


def _peek(body: Any, fields: Sequence[str]) -> Any:
    for field in fields:
        if isinstance(body, list):
            body = body[int(field)] if field.isdecimal() and int(field) < len(body) else None
        else:
            body = body.get(field) if isinstance(body, dict) else None
    return body


def _put(body: dict[str, Any], fields: Sequence[str], value: Any) -> Place:
    """Set a nested field or list element and return its place; raises LookupError where the path leads nowhere.

    A part written as its bare kind becomes a mapping on the way; what is on the way is copied, for it may be shared.
    """
    holder: Any = body
    at: Place = ()
    for i, field in enumerate(fields):
        key = _key(holder, field, at)
        at = (*at, key)
        if i == len(fields) - 1:
            holder[key] = value
            break
        inner = _peek(holder, [field])
        inner = {"kind": inner} if isinstance(inner, str) else {} if inner is None else copy.deepcopy(inner)
        if not isinstance(inner, (dict, list)):
            raise LookupError(f"{'.'.join(map(str, at))} is {inner!r} and has no field {fields[i + 1]!r}")
        holder[key] = holder = inner
    return at


def _key(holder: Any, field: str, at: Place) -> str | int:
    if not isinstance(holder, list):
        return field
    if not field.isdecimal() or int(field) >= len(holder):
        numbers = f"numbered 0 to {len(holder) - 1}" if holder else "empty"
        raise LookupError(f"{'.'.join(map(str, at))} is a list {numbers}; it has no element {field!r}")
    return int(field)


def _recipe(document: Document, raw_steps: Sequence[RawStep], name: str, context: Mapping[str, Any]) -> Method | None:
    data = document.data
    for key in data:
        if key not in _TOP:
            document.fault((key,), f"unknown key {key!r}; {nearest(str(key), _TOP)}")
    roles = data.get("roles")
    for i, role in enumerate(roles if isinstance(roles, list) else ()):
        if role in roles[:i]:
            document.fault(("roles", i), f"{role!r} is written twice")
    read = _read(document, raw_steps, context)
    steps = [step for step, _ in read or ()]
    top = {key: data[key] for key in ("about", "roles", "departures", "published", "max_failure_rate", "paper") if key in data}
    try:
        recipe = Method.model_validate({"name": name, **top, "steps": steps})
    except ValidationError as err:
        document.validation(err, (), (*Paper.model_fields, *Published.model_fields))
        wrong = {next(iter(item["loc"]), "") for item in err.errors()}
        if wrong & {"", "roles", "steps"}:
            return None
        # The names below are looked at in the same go, whatever stands above.
        kept = {key: value for key, value in top.items() if key not in wrong}
        recipe = Method.model_validate({"name": name, "about": "", **kept, "steps": steps})
    if read is not None:
        check_graph(document, recipe, [place for _, place in read])
    return recipe


def _read(document: Document, raw_steps: Sequence[RawStep], context: Mapping[str, Any]) -> list[tuple[Step, Place]] | None:
    """Every step as it runs and where it was written, rounds written out; None where a step has faults of its own."""
    found: dict[Place, Step | Rounds | None] = {}
    for raw in raw_steps:
        found[raw.place] = _rounds(document, raw) if raw.arrow == ROUNDS else _step(document, raw, raw_steps, context)
    if any(held is None for held in found.values()):
        return None
    place_of = {held.name: place for place, held in found.items() if isinstance(held, Step)}
    items: list[Step | Block] = []
    for raw in raw_steps:
        held = found[raw.place]
        if isinstance(held, Rounds):
            inner = [each for place, each in found.items() if place[: len(raw.place)] == raw.place and isinstance(each, Step)]
            items.append(Block(held, inner))
        elif isinstance(held, Step) and not raw.above:
            items.append(held)
    before = len(document.faults)
    steps = unrolled(items, lambda step, what: document.fault(place_of[step.name], what))
    return [(step, place_of[written.name]) for step, written in steps] if len(document.faults) == before else None


def _rounds(document: Document, raw: RawStep) -> Rounds | None:
    try:
        return Rounds.model_validate({key: value for key, value in raw.body.items() if key != "as"})
    except ValidationError as err:
        document.validation(err, raw.place, (*Rounds.model_fields, "as"))
        return None


def _step(document: Document, raw: RawStep, steps: Sequence[RawStep], context: Mapping[str, Any]) -> Step | None:
    wired = ("as",) if NEEDS[raw.arrow] is None else ("as", "from")
    body = {key: value for key, value in raw.body.items() if key not in wired}
    if "kind" not in body and raw.arrow in PLAINEST:
        body["kind"] = PLAINEST[raw.arrow]
    catalogue: Catalogue = context["catalogue"]
    try:
        part = _build(ARROWS[raw.arrow], body, context)
    except ValidationError as err:
        document.validation(err, raw.place, _known_fields(catalogue, str(body.get("kind"))))
        found = _without_faults(ARROWS[raw.arrow], body, err, context)
        if found is None:
            return None
        part = found
    # A selector that names its inputs itself depends on nothing else.
    source = None if names_inputs(raw.arrow, part) else _source(raw, steps, part)
    return Step(arrow=raw.arrow, name=raw.name, source=source, part=part)


def _without_faults(
    arrow: type[Part], body: Mapping[str, Any], err: ValidationError, context: Mapping[str, Any]
) -> Part | None:
    """A stand-in for a part with wrong numbers or unknown keys, so that names elsewhere are looked at in the same go."""
    wrong = {next(iter(item["loc"]), ""): item["type"] for item in err.errors()}
    if not all(kind == "extra_forbidden" or isinstance(body.get(str(key)), int | float) for key, kind in wrong.items()):
        return None
    try:
        return _build(arrow, {key: value for key, value in body.items() if key not in wrong}, context)
    except ValidationError:
        return None


def _source(raw: RawStep, steps: Sequence[RawStep], part: Part) -> str | None:
    needed = needed_by(raw.arrow, part)
    if needed is not None and "from" in raw.body:
        return str(raw.body["from"])
    earlier = [s.name for s in steps[: steps.index(raw)] if s.arrow != ROUNDS and OUTPUT[s.arrow] == needed]
    return earlier[-1] if earlier else None


def _build(arrow: type[Part], body: Mapping[str, Any], context: Mapping[str, Any]) -> Part:
    part: Part = TypeAdapter(arrow).validate_python(dict(body), context=dict(context))
    return part


def _known_fields(catalogue: Catalogue, kind: str) -> tuple[str, ...]:
    part = catalogue.parts.get(kind)
    names = [(info.alias or name) for name, info in part.model_fields.items()] if part else []
    return (*names, "as", "from", "kind")
