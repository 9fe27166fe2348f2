"""Log-probabilities of given token ids, from a server that scores prompts (vLLM's ``prompt_logprobs``)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from stillwise.errors import StillwiseError, UserError
from stillwise.models.http_spec import Teacher
from stillwise.models.pieces import vocabulary_size
from stillwise.train.signals.source import Origin, Scored, Served, check_tokenizers, template_digest, tokenizer_digest

FIRST_WAIT_S = 0.5
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


def served(binding: str, student: Any, k: int) -> Served:
    """Signals of the server that a role is bound to; refused where it is not known to share the student's tokenizer."""
    teacher = Teacher.of(binding)
    if teacher.tokenizer is None:
        raise UserError(
            f"{binding}: token ids are sent to the server, so its tokenizer has to be known: add ?tokenizer=FOLDER to it"
        )
    check_tokenizers(Path(teacher.tokenizer).expanduser(), student)
    origin = Origin(
        tokenizer=tokenizer_digest(student),
        template=template_digest(student),
        revision=teacher.identity,
        vocab=vocabulary_size(student),
    )
    return Served(origin, Scoring(teacher), k, workers=teacher.in_flight)


class Scoring:
    """Sends rows to the endpoints in turn, and again where an endpoint is busy or gone."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.endpoints = teacher.first_endpoints()
        self.turns = count()
        key = teacher.key()
        self.headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def __call__(self, ids: Sequence[int], k: int) -> Scored:
        """For each token but the first: its place's k likeliest ids with raw log-probabilities, and its own."""
        body = {"model": self.teacher.model, "prompt": list(ids), "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": k}
        answer = self._answer(json.dumps({**body, **self.teacher.extra}).encode())
        places = (answer.get("choices") or [{}])[0].get("prompt_logprobs")
        if not isinstance(places, list):
            raise UserError(
                f"the server of {self.teacher.model} gives no log-probabilities of a prompt's tokens; vLLM does, with "
                f"--max-logprobs {k} or more"
            )
        return [[(int(token), float(one["logprob"])) for token, one in place.items()] for place in places[1:]]

    def _answer(self, body: bytes) -> dict[str, Any]:
        for attempt in range(self.teacher.attempts):
            url = self.endpoints[next(self.turns) % len(self.endpoints)]
            try:
                with urlopen(Request(f"{url}/completions", body, self.headers), timeout=self.teacher.timeout_s) as reply:
                    found: dict[str, Any] = json.load(reply)
                    return found
            except HTTPError as err:
                said = err.read().decode(errors="replace")[:300]
                if err.code not in BUSY:
                    raise UserError(f"{url} refused to score a row ({err.code}): {said}") from err
            except (URLError, TimeoutError, ConnectionError, ValueError) as err:
                said = str(err)
            if attempt + 1 < self.teacher.attempts:
                time.sleep(FIRST_WAIT_S * 2**attempt)
        raise StillwiseError(f"{url} did not score a row in {self.teacher.attempts} attempts: {said}")
