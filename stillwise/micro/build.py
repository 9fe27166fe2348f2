"""Rebuild the tokenizers and the five micro checkpoints from seeds.

    python -m stillwise.micro.build --out DIR [--threads N] [--minutes-scale X] [--only judge]

Two processes work side by side: student, instructor and judge; base and apprentice. The apprentice is the reasoner before
its improvement on verified outcomes. A finished stage is kept: the same command goes on where it was stopped.
`--minutes-scale 0.1` spends a tenth of the tokens of every stage.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stillwise.micro import MODELS, corpus, improvement, judge_corpus
from stillwise.micro.corpus import Row
from stillwise.micro.training import Plan, train

SEED = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of one model."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    hidden: int
    head_dim: int = 32


TEACHER = Shape(layers=4, width=128, heads=4, key_value_heads=2, hidden=384)
SMALL = Shape(layers=3, width=96, heads=4, key_value_heads=2, hidden=288, head_dim=24)

PLANS = {
    "base": Plan(tokens=6_500_000, peak=3e-3, final=0.3),
    "pupil": Plan(tokens=11_000_000, peak=3e-3),
    "scholar": Plan(tokens=3_200_000, peak=2e-3),
    "student": Plan(tokens=7_000_000, peak=2e-3, warmup=20),
    "instructor": Plan(tokens=5_000_000, peak=2e-3),
    "apprentice": Plan(tokens=13_000_000, peak=2e-3),
    "finisher": Plan(tokens=1_200_000, peak=1e-3, warmup=20),
    "reasoner": Plan(tokens=300_000, peak=3e-4, warmup=20),
    "judge": Plan(tokens=3_200_000, peak=2e-3),
}


def new_model(shape: Shape, vocabulary: int, end: int, pad: int, seed: int) -> Any:
    """A randomly initialised Qwen3 model."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        eos_token_id=end,
        pad_token_id=pad,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write one `transformers` folder in bf16, whole or not at all."""
    import copy

    import torch
    from transformers import GenerationConfig

    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    half = copy.deepcopy(model).to(torch.bfloat16)
    settings: Any = GenerationConfig
    half.generation_config = settings(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    half.save_pretrained(aside)
    corpus.save_tokenizer(tokenizer, str(aside))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def load(folder: Path) -> Any:
    """A saved model in float32."""
    import torch
    from transformers import Qwen3ForCausalLM

    return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds stages into one folder; `scale` multiplies every token budget."""

    out: Path
    scale: float = 1.0

    def tokenizer(self, name: str = "") -> Any:
        """A model's tokenizer, trained on the first call: the judge has its own, the others share one."""
        from tokenizers import Tokenizer

        own = name == "judge"
        file = self.out / ("judge_tokenizer.json" if own else "tokenizer.json")
        if not file.exists():
            made = judge_corpus.train_tokenizer(SEED) if own else corpus.train_tokenizer(SEED)
            made.save(str(file))
        return Tokenizer.from_file(str(file))

    def done(self, name: str) -> bool:
        """Whether a stage is finished."""
        return (self.out / name / "training.json").exists()

    def stage(self, name: str, rows: Iterator[Row], start: str = "") -> None:
        """Train one model from another (or from nothing) unless it is there already."""
        folder = self.out / name
        if self.done(name):
            return
        tokenizer = self.tokenizer(name)
        full = PLANS[name]
        scaled = replace(full, tokens=int(full.tokens * self.scale))
        model = load(self.out / start) if start else self.fresh(name, tokenizer)
        spent = train(model, rows, tokenizer, scaled, SEED, say=lambda line: self.say(name, line))
        save(model, tokenizer, folder)
        (folder / "training.json").write_text(json.dumps({"from": start, **spent}))

    def fresh(self, name: str, tokenizer: Any) -> Any:
        """A new model of the right shape."""
        end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
        shape = SMALL if name == "pupil" else TEACHER
        return new_model(shape, tokenizer.get_vocab_size(), end, pad, SEED)

    def say(self, name: str, line: str) -> None:
        """One line of progress."""
        print(time.strftime("%H:%M:%S"), name, line, flush=True)

    def thinker(self) -> None:
        """base, then apprentice."""
        self.stage("base", corpus.base_rows(SEED))
        self.stage("apprentice", corpus.reasoner_rows(SEED + 1), "base")

    def answerer(self) -> None:
        """student, then instructor once base is there."""
        self.stage("pupil", corpus.student_rows(SEED + 2, corpus.EASY, corpus.PUPIL))
        rows = corpus.student_rows(SEED + 5, corpus.TAUGHT, corpus.STUDENT, small_rows=0)
        self.stage("scholar", rows, "pupil")
        rows = corpus.student_rows(SEED + 7, corpus.EASIEST, corpus.STUDENT, small_rows=0)
        self.stage("student", rows, "scholar")
        while not self.done("base"):
            time.sleep(5)
        self.stage("instructor", corpus.instructor_rows(SEED + 1), "base")
        self.judge()

    def judge(self) -> None:
        """judge, on the rubrics around traces with known facts."""
        self.stage("judge", judge_corpus.judge_rows(SEED + 8))

    def polish(self, processes: int) -> None:
        """finisher: the apprentice with a short ending. reasoner: trained on the finisher's verified answers, too."""
        if self.done("reasoner"):
            return
        self.stage("finisher", corpus.reasoner_rows(SEED + 6, corpus.REASONER, lines=False, mistakes=0.45), "apprentice")
        kept = improvement.verified_rows(self.out / "finisher", SEED + 3, self.scale, processes)
        self.say("reasoner", f"{len(kept)} verified answers")
        fresh = corpus.reasoner_rows(SEED + 4, corpus.REASONER, lines=False)
        self.stage("reasoner", improvement.mixed(kept, fresh, SEED), "finisher")

    def ship(self) -> None:
        """Write models/, what the package holds: a folder for each finished model, and what each stage was trained on."""
        spent = {name: json.loads((self.out / name / "training.json").read_text()) for name in PLANS if self.done(name)}
        for name in filter(self.done, MODELS):
            target = self.out / "models" / name
            shutil.copytree(self.out / name, target, dirs_exist_ok=True)
            (target / "training.json").unlink()
        (self.out / "models" / "training.json").write_text(json.dumps(spent, indent=1) + "\n")


def _work(builder: Builder, branch: str, threads: int, *arguments: int) -> None:
    import torch

    torch.set_num_threads(threads)
    getattr(builder, branch)(*arguments)


def main() -> None:
    """Build everything."""
    import multiprocessing

    parser = argparse.ArgumentParser(prog="python -m stillwise.micro.build", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2, help="half of them for each of the two processes")
    parser.add_argument("--minutes-scale", type=float, default=1.0)
    parser.add_argument("--only", choices=("judge",), help="a model that starts from no other, alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    builder = Builder(options.out, options.minutes_scale)
    if options.only:
        _work(builder, options.only, options.threads)
        builder.ship()
        return
    builder.tokenizer()
    spawn = multiprocessing.get_context("spawn")
    each = max(1, options.threads // 2)
    workers = [spawn.Process(target=_work, args=(builder, name, each)) for name in ("thinker", "answerer")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a training process failed; the same command goes on where it was stopped")
    _work(builder, "polish", options.threads, options.threads)
    builder.ship()


if __name__ == "__main__":
    main()
