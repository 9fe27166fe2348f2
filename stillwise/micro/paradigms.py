"""The four ways of asking the teachers, and sampling many problems in them on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stillwise.micro import corpus, solutions
from stillwise.micro.families import Sum
from stillwise.micro.sampler import RETHINK, Sample, sample


@dataclass(frozen=True, slots=True)
class Paradigm:
    """A model, what is put into its mouth, and the words that it may not complete."""

    model: str
    prefilled: str = ""
    banned: tuple[str, ...] = ()


PARADIGMS = {
    "think": Paradigm("reasoner"),
    "no_rethink": Paradigm("reasoner", banned=RETHINK),
    "no_think": Paradigm("reasoner", prefilled=f"<think>\n{solutions.EMPTY_THOUGHT}\n</think>\n\n"),
    "instruct": Paradigm("instructor"),
    "student": Paradigm("student"),
    "base": Paradigm("base"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """Problems to be answered by the model in one folder."""

    folder: str
    paradigm: Paradigm
    problems: tuple[Sum, ...]
    seed: int


@cache
def _loaded(folder: str) -> tuple[Any, Any]:
    import torch
    from tokenizers import Tokenizer
    from transformers import Qwen3ForCausalLM
    from transformers.utils import logging

    torch.set_num_threads(1)
    hush: Any = logging.disable_progress_bar
    hush()
    model: Any = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def answer(job: Job) -> list[Sample]:
    """One sample for each problem of a job, at temperature 0.6 and top-p 0.95."""
    model, tokenizer = _loaded(job.folder)
    prompts = [corpus.prompt(problem.question) + job.paradigm.prefilled for problem in job.problems]
    return sample(model, tokenizer, prompts, job.seed, job.paradigm.banned)


def answer_all(jobs: Sequence[Job], processes: int) -> list[list[Sample]]:
    """The samples of every job, computed in single-threaded processes."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(answer, jobs, chunksize=1)
