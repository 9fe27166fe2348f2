"""Tokens per second of the local back end against plain ``model.generate``, on the same prompts, weights and threads.

Plain means: arrival order, left-padded batches of one size, the fastest of 8 … 128. Both sides sample with the paper's
settings, interleaved, medians over rounds. Then both answer greedily: texts must agree, and where they part the top two
logits must be closer than 1e-4. Ends with one line of JSON.

    python benchmarks/local_generation.py [--model micro:reasoner] [--prompts 400] [--rounds 3]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

from stillwise.arrows import Completion, Request
from stillwise.micro.families import LEVELS, generate
from stillwise.models.open import BATCH_TOKENS, open_model
from stillwise.models.transformers import TransformersModel
from stillwise.records import Problem, Sampling
from stillwise.sample.paradigms import Think

TARGET = 2.0
IDENTICAL = 0.99
GAP = 1e-4
SIZES = (8, 16, 32, 64, 128)


def think_requests(count: int, sampling: Sampling) -> list[Request]:
    """Think prompts of held-out sums, the five levels mixed as they would arrive."""
    each = -(-count // len(LEVELS))
    found = [problem for level in LEVELS for problem in generate("chain_sum", level, each, 11, "held_out")]
    random.Random(0).shuffle(found)
    paradigm = Think(instruction="")
    asks = [paradigm.ask(Problem.of(problem.question, problem.answer)) for problem in found[:count]]
    return [Request(ask=ask, sampling=sampling, seed=seed) for seed, ask in enumerate(asks)]


def ours(model: TransformersModel, requests: Sequence[Request]) -> list[Completion]:
    """The back end's own plan, batch after batch; answers in the order of the requests."""
    answers: dict[int, Completion] = {}
    for batch in model.plan(requests):
        answers.update(zip(batch, model.generate([requests[i] for i in batch]), strict=True))
    return [answers[i] for i in range(len(requests))]


def plain(model: TransformersModel, requests: Sequence[Request], size: int) -> list[list[int]]:
    """Generated tokens by ``model.generate`` on batches in arrival order, each cut at its end of sequence."""
    import torch

    tokenizer, network = model._tokenizer, model._model
    tokenizer.padding_side = "left"
    sampling, eos = requests[0].sampling, model._vocabulary.eos
    options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if sampling.temperature:
        options = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    answers = []
    for batch in _batched(requests, size):
        prompts = ["".join(model.render(request.ask)) for request in batch]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(network.device)
        with torch.inference_mode():
            out = network.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=sampling.max_tokens,
                eos_token_id=sorted(eos),
                pad_token_id=model._vocabulary.pad,
                **options,
            )
        answers += [_until(row, eos) for row in out[:, inputs["input_ids"].shape[1] :].tolist()]
    return answers


def _batched(items: Sequence[Request], size: int) -> list[tuple[Request, ...]]:
    return [tuple(items[n : n + size]) for n in range(0, len(items), size)]


def _until(tokens: list[int], eos: frozenset[int]) -> list[int]:
    end = next((n + 1 for n, token in enumerate(tokens) if token in eos), len(tokens))
    return tokens[:end]


def plain_rate(model: TransformersModel, requests: Sequence[Request], size: int) -> float:
    """Generated tokens per second of plain generate."""
    start = time.perf_counter()
    answers = plain(model, requests, size)
    return sum(map(len, answers)) / (time.perf_counter() - start)


def our_rate(model: TransformersModel, requests: Sequence[Request]) -> float:
    """Generated tokens per second of the back end."""
    start = time.perf_counter()
    answers = ours(model, requests)
    return sum(answer.num_tokens for answer in answers) / (time.perf_counter() - start)


def top_two_gap(model: TransformersModel, request: Request, tokens: Sequence[int], place: int) -> float:
    """How far apart the two highest logits are before the token at this place, by a forward of this row alone."""
    import torch

    ids = [*model.prompt_ids(request.ask), *tokens[:place]]
    with torch.inference_mode():
        logits = model._model(input_ids=torch.tensor([ids], device=model._model.device)).logits[0, -1].float()
    first, second = logits.topk(2).values.tolist()
    return float(first - second)


def agreement(model: TransformersModel, requests: Sequence[Request], size: int) -> tuple[float, float]:
    """(share of identical greedy answers, widest gap at a first divergence)."""
    gaps = []
    for request, answer, reference in zip(requests, ours(model, requests), plain(model, requests, size), strict=True):
        mine = list(answer.token_ids or ())
        if mine != reference:
            place = next(n for n, (a, b) in enumerate(itertools.zip_longest(mine, reference)) if a != b)
            gaps.append(top_two_gap(model, request, reference, place))
    return 1 - len(gaps) / len(requests), max(gaps, default=0.0)


def measure(model: TransformersModel, requests: Sequence[Request], rounds: int) -> tuple[float, float, int]:
    """(median of ours, median of plain generate, its fastest batch size), in tokens per second, interleaved."""
    ours(model, requests[:64])
    by_size = {size: plain_rate(model, requests, size) for size in SIZES}
    for size, rate in by_size.items():
        print(f"plain generate, batch {size:4d}: {rate:8.0f} tokens/s", flush=True)
    best = max(by_size, key=lambda size: by_size[size])
    pairs = []
    for number in range(rounds):
        pairs.append((our_rate(model, requests), plain_rate(model, requests, best)))
        print(f"round {number + 1}: ours {pairs[-1][0]:8.0f}, plain (batch {best}) {pairs[-1][1]:8.0f} tokens/s", flush=True)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="micro:reasoner")
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=1024)
    options = parser.parse_args()
    model = open_model(options.model, threads=options.threads, batch_tokens=BATCH_TOKENS)
    if not isinstance(model, TransformersModel):
        parser.error("--model must be a local folder")
    sampled = think_requests(options.prompts, Sampling(max_tokens=options.max_tokens))
    greedy = think_requests(options.prompts, Sampling(temperature=0, max_tokens=options.max_tokens))
    mine, theirs, best = measure(model, sampled, options.rounds)
    identical, gap = agreement(model, greedy, best)
    print(f"greedy: {identical:.2%} identical, widest top-2 gap at a divergence {gap:.1e}")
    ratio = mine / theirs
    ok = ratio >= TARGET and identical >= IDENTICAL and gap < GAP
    print(json.dumps({"name": "local_generation", "ratio": round(ratio, 2), "target": TARGET, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
