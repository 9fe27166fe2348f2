"""What counts as the same answer where conventions differ. Every switch has a written default; two modes set the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from stillwise.errors import UserError
from stillwise.records import Problem

Mode = Literal["precision", "recall"]
PercentPolicy = Literal["sign", "value", "either", "strict"]
UnitPolicy = Literal["agree", "strict", "ignore"]
OrderPolicy = Literal["brackets", "ordered", "unordered"]
FractionPolicy = Literal["any", "reduced"]
Kind = Literal[
    "integer", "rational", "decimal", "expression", "tuple", "set", "interval", "equation", "matrix", "percent", "unit", "base",
    "text",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one comparison: hashable, so that results are kept by (reference, answer, policy, version)."""

    mode: Mode = "precision"
    percent: PercentPolicy = "sign"
    units: UnitPolicy = "agree"
    order: OrderPolicy = "brackets"
    fractions: FractionPolicy = "any"
    relative_tolerance: float = 0.0
    absolute_tolerance: float = 0.0
    float_rounding: int = 6
    rounded_reference: bool = False
    kind: Kind | None = None


_AMOUNTS = frozenset({"relative_tolerance", "absolute_tolerance", "float_rounding"})
_NAMES = frozenset(field.name for field in fields(Policy)) - {"mode"}


def declared(problem: Problem, policy: Policy) -> Policy:
    """The policy with what the problem itself declares: fields of Policy under ``policy`` in the JSON of its ``scorer``.

    ``{"policy": {"kind": "decimal", "absolute_tolerance": 0.1}}`` is what a data set with a stated error carries. Raises
    UserError for a scorer that is no JSON object, and for a tolerance that is no number.
    """
    if not problem.scorer or '"policy"' not in problem.scorer:
        return policy
    try:
        scorer: Any = json.loads(problem.scorer)
    except ValueError as err:
        raise UserError(f"problem {problem.id}: its scorer is not JSON: {problem.scorer[:80]!r} ({err})") from err
    stated = scorer.get("policy") if isinstance(scorer, dict) else None
    known = {name: value for name, value in stated.items() if name in _NAMES} if isinstance(stated, dict) else {}
    for name in _AMOUNTS & known.keys():
        if isinstance(known[name], bool) or not isinstance(known[name], (int, float)):
            raise UserError(f"problem {problem.id}: {name} in its scorer is {known[name]!r}, not a number")
    return replace(policy, **known)
