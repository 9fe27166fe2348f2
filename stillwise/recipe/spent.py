"""What servers were paid and asked for, by step: read from the journal's ledger, every run into the folder together."""

from __future__ import annotations

from decimal import Decimal

from stillwise.evaluate.shape import Spent
from stillwise.models.http_spec import NANO
from stillwise.recipe.work import Work
from stillwise.runtime.spending import PAID


def spent_section(work: Work) -> dict[str, Spent]:
    """By step that asked a server: its roles, answers, tokens, calls of unknown outcome, and money where there is a price."""
    roles = {step.name: list(step.roles) for step in work.loaded.method.steps}
    found: dict[str, Spent] = {}
    for name, amounts in sorted(work.journal.ledger().items()):
        one = Spent(
            roles=roles.get(name.partition("/")[0], []),
            answers=amounts.get("answered", 0),
            prompt_tokens=amounts.get("prompt_tokens", 0),
            completion_tokens=amounts.get("completion_tokens", 0),
            # What a kill cut off was sent, and nobody knows what came of it.
            unknown=amounts.get("sent", 0) - amounts.get("resolved", 0),
        )
        if amounts.get(PAID):
            one["money"] = str((Decimal(amounts[PAID]) / NANO).normalize().__format__("f"))
        found[name] = one
    return found
