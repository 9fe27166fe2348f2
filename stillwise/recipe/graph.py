"""Whether the steps of a recipe fit together: names, sorts of outputs, roles."""

from __future__ import annotations

from collections.abc import Sequence

from stillwise.errors import nearest
from stillwise.parts import inputs_of, scores_of
from stillwise.recipe.faults import Document, Place, name_fault
from stillwise.recipe.schema import MODELS, OUTPUT, Method, Step, names_inputs, needed_by


def check_graph(document: Document, recipe: Method, places: Sequence[Place]) -> None:
    """Note a fault for each input that no earlier step makes, of the wrong sort, and each role that nobody declares."""
    made: dict[str, Step] = {}
    for step, place in zip(recipe.steps, places, strict=True):
        _check_names(document, recipe, step, place)
        _check_source(document, step, made, place)
        _check_inputs(document, step, made, place)
        _check_roles(document, recipe, step, made, place)
        made[step.name] = step
    if not recipe.steps:
        document.fault(("steps",), "needs at least one step")


def _check_names(document: Document, recipe: Method, step: Step, place: Place) -> None:
    """Stages become folders, and a trained model answers to its step's name as to a role's."""
    if step.arrow in MODELS and step.name in recipe.roles:
        document.fault((*place, "as"), f"{step.name!r} is a role of this recipe; give the new model a name of its own")
    for i, stage in enumerate(getattr(step.part, "stages", ())):
        wrong = name_fault(stage.name) if hasattr(stage, "name") else None
        if wrong:
            document.fault((*place, "stages", i, "name"), wrong)


def _check_source(document: Document, step: Step, made: dict[str, Step], place: Place) -> None:
    needed = needed_by(step.arrow, step.part)
    if needed is None or names_inputs(step.arrow, step.part):
        return
    fitting = [s.name for s in made.values() if OUTPUT[s.arrow] == needed]
    if step.source is None:
        document.fault(place, f"needs {needed} from an earlier step; none makes any")
    elif step.source not in fitting:
        document.fault(
            (*place, "from"), f"no earlier step makes {needed} called {step.source!r}; {nearest(step.source, fitting)}"
        )


def _check_inputs(document: Document, step: Step, made: dict[str, Step], place: Place) -> None:
    scores = scores_of(step.part)
    for name in inputs_of(step.part):
        if name not in made:
            document.fault(place, f"no earlier step is called {name!r}; {nearest(name, made)}")
        elif name in scores and OUTPUT[made[name].arrow] != "scores":
            scoring = [each.name for each in made.values() if OUTPUT[each.arrow] == "scores"]
            document.fault(place, f"{name!r} makes {OUTPUT[made[name].arrow]}, not scores; {nearest(name, scoring)}")
        elif step.arrow == "compose" and OUTPUT[made[name].arrow] != "measures":
            measuring = [each.name for each in made.values() if OUTPUT[each.arrow] == "measures"]
            document.fault(place, f"{name!r} makes {OUTPUT[made[name].arrow]}, not measures; {nearest(name, measuring)}")


def _check_roles(document: Document, recipe: Method, step: Step, made: dict[str, Step], place: Place) -> None:
    models = [s.name for s in made.values() if s.arrow in MODELS]
    for role in step.roles:
        if role not in recipe.roles and role not in models:
            document.fault(place, f"no role is called {role!r}; {nearest(role, [*recipe.roles, *models])}")
        elif step.arrow == "train" and role in made and made[role].arrow == "compose":
            document.fault(place, f"{role!r} is composed of other models and has no weights: train needs one of those")
