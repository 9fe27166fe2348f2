"""What ``--problems`` may say, in one string."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from stillwise.arrows import Source
from stillwise.errors import UserError
from stillwise.models.remote import fetched, is_address
from stillwise.parts import builtin_catalogue
from stillwise.problems.file import File
from stillwise.problems.gym import Gym, Micro
from stillwise.problems.hub import Hub
from stillwise.problems.modelscope import ModelScope

_HUB = re.compile(r"(?P<scheme>hub|modelscope):(?P<id>[^@:]+)(?:@(?P<revision>[^:]+))?(?::(?P<split>.+))?")
FORMS = (
    "PATH, hub:ID[@REVISION][:SPLIT], modelscope:ID[@REVISION][:SPLIT], gym:NAME[:SIZE], micro:FAMILY[:heldout], benchmark:NAME"
)


def resolve(spec: str) -> Source:
    """The source that a string names: a path (a folder is a copy of a dataset), ``hub:…``, ``gym:…``, ``micro:…``."""
    try:
        return _resolved(spec)
    except ValidationError as err:
        first = err.errors()[0]
        raise UserError(f"--problems {spec}: {first['msg']} (it takes {FORMS})") from err


def _resolved(spec: str) -> Source:
    scheme, _, rest = spec.partition(":")
    if match := _HUB.fullmatch(spec):
        named = {name: value for name, value in match.groupdict().items() if value is not None}
        return (Hub if named.pop("scheme") == "hub" else ModelScope).model_validate(named)
    if scheme == "gym" and rest:
        name, _, size = rest.partition(":")
        return Gym.model_validate({"dataset": name, **({"size": size} if size else {})})
    if scheme == "micro" and rest:
        family, _, split = rest.partition(":")
        return Micro.model_validate({"family": family, "split": split or "train"})
    if scheme == "benchmark" and rest:
        described = builtin_catalogue().find("benchmark", Source).model_validate({"name": rest})
        assert isinstance(described, Source)
        return described
    if scheme in ("hub", "modelscope", "gym", "micro", "benchmark"):
        raise UserError(f"--problems {spec}: what follows {scheme}: is missing (it takes {FORMS})")
    if is_address(spec):
        return File(path=str(fetched(spec)))
    return Hub(id=spec) if Path(spec).is_dir() else File(path=spec)
