"""Our bans inside vLLM's engine: the automaton of ``bans`` as a logits processor, one guard for each request that has one.

vLLM loads the class by name in its own process, so it is made when it is first asked for: importing this module imports
nothing heavy.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from stillwise.arrows import Ban
from stillwise.models.bans import Bans, Guard
from stillwise.models.transformers import TransformersModel

KEY = "stillwise"


class RequestGuard:
    """Forbids tokens of one request's next logits, from what it has generated so far."""

    def __init__(self, bans: Bans, asked: dict[str, Any]) -> None:
        self._bans, self._asked = bans, asked
        self._guard, self._read = self._fresh(), 0

    def _fresh(self) -> Guard:
        ban = Ban(words=tuple(self._asked["words"]), scope=self._asked["scope"], mode=self._asked["mode"])
        guard = self._bans.guard(ban, self._asked["start"])
        assert guard is not None, "a ban of no words is not sent"
        return guard

    def __call__(self, output_ids: list[int], logits: Any) -> Any:
        import torch

        # A request that was put off begins again: its tokens are read anew.
        if len(output_ids) < self._read:
            self._guard, self._read = self._fresh(), 0
        for token in output_ids[self._read :]:
            self._guard.append(token)
        self._read = len(output_ids)
        forbidden_V = self._guard.forbidden(last=self._read + 1 >= self._asked["limit"])
        if forbidden_V is not None:
            mask_V = torch.from_numpy(forbidden_V).to(logits.device)
            logits[: len(mask_V)].masked_fill_(mask_V[: len(logits)], float("-inf"))
        return logits


def _processor() -> Any:
    from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

    class BanProcessor(AdapterLogitsProcessor):  # type: ignore[misc]
        """Guards the requests whose extra arguments name a ban."""

        def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
            super().__init__(vllm_config, device, is_pin_memory)
            self._folder = str(vllm_config.model_config.tokenizer)

        @cached_property
        def bans(self) -> Bans:
            """Guards for the model's vocabulary."""
            return TransformersModel(self._folder, threads=1, batch_tokens=1).bans

        def is_argmax_invariant(self) -> bool:
            """No: the most probable token may be forbidden."""
            return False

        def new_req_logits_processor(self, params: Any) -> Any:
            """A guard where the request has a ban."""
            asked = (params.extra_args or {}).get(KEY)
            return RequestGuard(self.bans, asked) if asked else None

    return BanProcessor


def __getattr__(name: str) -> Any:
    if name == "BanProcessor":
        globals()[name] = _processor()
        return globals()[name]
    raise AttributeError(name)
