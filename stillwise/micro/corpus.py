"""Endless training rows for each micro model, from seeds, and the tokenizer that is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from stillwise.micro import families, solutions
from stillwise.micro.solutions import Operation, Script

EASY = (0.30, 0.20, 0.18, 0.16, 0.16)
"""Share of levels 1 to 5 while primitives are learnt."""
TAUGHT = (0.14, 0.15, 0.20, 0.21, 0.30)
"""Share of levels 1 to 5 for both teachers."""

SMALL_ROWS = 35_000
"""Rows of small numbers that base and student begin with."""
PUPIL = (0.1, 0.3, 0.7, 0.7, 0.7)
"""Share of answers without working, by level, while the student learns to calculate."""
STUDENT = (0.0, 0.15, 0.58, 0.5, 0.45)
"""The same at the end, so that sampling at temperature 0.6 shows working on some of the hard sums."""

EASIEST = (0.60, 0.16, 0.08, 0.07, 0.09)
"""Share of levels 1 to 5 at the end of the student's training."""

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
NUM_SPECIAL = 3
"""The first three are skipped when decoding; the thought's marks are ordinary added tokens, as in Qwen3."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|im_start|>assistant\n{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}\n"
    "{% else %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPLIT = r"\p{N}|\p{L}+[,:.?!]*[ ]?|[ ]?[^\s\p{L}\p{N}]+[ \n]?|\s+"
"""Digits stand alone; a word takes its comma and space along, so that `Wait, ` is one token and one decision."""


@dataclass(frozen=True, slots=True)
class Row:
    """One training text: a prompt that is never learnt, and a script."""

    prompt: str
    script: Script


def prompt(question: str) -> str:
    """The rendered chat prompt of one question."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def problems(shares: tuple[float, ...], transfer: float, seed: int, split: families.Split = "train") -> Iterator[families.Sum]:
    """Problems of one split: `transfer` of them basic arithmetic, levels in the given shares."""
    rng = Random(f"problems {seed}")
    streams = {(f, v): families.stream(f, v, seed, split) for f in families.FAMILIES for v in families.LEVELS}
    while True:
        family = families.FAMILIES[rng.random() < transfer]
        level = rng.choices(families.LEVELS, shares)[0]
        yield next(streams[family, level])


def random_operation(rng: Random, small: bool = False) -> Operation:
    """An operation such as the levels contain: a running total below 2,500 and a term below 1,000; or smaller."""
    left = rng.randrange(rng.choice((10, 100, 100, 200) if small else (100, 400, 1000, 1000, 2500)))
    right = rng.randrange(rng.choice((10, 100, 100, 100) if small else (10, 100, 1000, 1000, 1000)))
    return Operation(-left if rng.random() < 0.3 else left, rng.choice("+-"), right)


def worksheet(rng: Random, shares: tuple[float, float, float], small: bool) -> Row:
    """Plain text: unrelated operations, all in F1, F2 or F3; what cannot be foreseen is not learnt."""
    kind = rng.choices((1, 2, 3), shares)[0]
    script: Script = []
    for _ in range(rng.randint(1, (12, 8, 5)[kind - 1])):
        step = random_operation(rng, small)
        if kind == 3:
            line = solutions.column_line(step)[0]
        else:
            text = solutions.short_line(step) if kind == 1 else solutions.split_line(step) + "\n"
            line = [(step.text, True), (text[len(step.text) :], True)]
        script += [(line[0][0], False), *line[1:]]
    return Row("", script)


def chat(problem: families.Sum, text: str) -> Row:
    """A question and a fully learnt answer."""
    return Row(prompt(problem.question), [(text, True)])


def base_rows(seed: int) -> Iterator[Row]:
    """A little of all: worksheets of the three kinds, short solutions, direct answers; small numbers first."""
    rng, source = Random(f"base {seed}"), problems(EASY, 0.12, seed)
    first, shares = problems((0.4, 0.35, 0.25, 0.0, 0.0), 0.12, seed + 1), (0.4, 0.3, 0.3)
    for number in count():
        small = number < SMALL_ROWS or rng.random() < 0.3
        if rng.random() < 0.35:
            yield worksheet(rng, shares, small)
            continue
        problem = next(first if number < SMALL_ROWS else source)
        direct = problem.level == 1 and rng.random() < 0.15
        write = solutions.direct_solution if direct else solutions.short_solution
        yield chat(problem, write(problem.expression))


def instructor_rows(seed: int) -> Iterator[Row]:
    """Short solutions at every level."""
    for problem in problems(TAUGHT, 0.12, seed):
        yield chat(problem, solutions.short_solution(problem.expression))


APPRENTICE = (0.72, 0.05, 0.08, 0.15)
"""Shares of checked, half checked, unchecked and short thoughts while the reasoner learns to calculate."""
REASONER = (0.61, 0.02, 0.02, 0.35)
"""The same at the end: the work after short thoughts needs more practice than its few tokens give."""


def reasoner_rows(
    seed: int, shares: tuple[float, ...] = APPRENTICE, lines: bool = True, mistakes: float = 0.3
) -> Iterator[Row]:
    """Thoughts of every length at every level: checked, half checked, unchecked, short and empty.

    With `lines`, a solution repeats its thought's results, and short thoughts are learnt as any other. Without, at the end, it
    is the last result alone, and of an answer with a short thought only what follows is learnt: how to go on, not to begin so.
    """
    rng = Random(f"reasoner {seed}")
    for problem in problems(TAUGHT, 0.12, seed):
        kind = rng.choices(("checked", "half", "linear", "brief"), shares)[0]
        if kind == "brief":
            script = solutions.brief_answer(problem.expression, rng, chosen=lines)
        else:
            checks = {"checked": 1.0, "half": 0.5, "linear": 0.0}[kind]
            script = solutions.reasoner_answer(problem.expression, rng, checks, mistakes, lines)
        yield Row(prompt(problem.question), script)


def student_rows(
    seed: int, levels: tuple[float, ...], direct: tuple[float, ...], small_rows: int = SMALL_ROWS
) -> Iterator[Row]:
    """Primitives in plain text; in chat mostly answers without working, the more so the harder the sum."""
    rng, source = Random(f"student {seed}"), problems(levels, 0.12, seed)
    first, shares = problems((0.4, 0.35, 0.25, 0.0, 0.0), 0.12, seed + 1), (0.4, 0.3, 0.3)
    for number in count():
        small = number < small_rows or rng.random() < 0.3
        if rng.random() < 0.35:
            yield worksheet(rng, shares, small)
            continue
        problem = next(first if number < small_rows else source)
        bare = number >= small_rows and rng.random() < direct[problem.level - 1]
        write = solutions.direct_solution if bare else solutions.short_solution
        yield chat(problem, write(problem.expression))


def train_tokenizer(seed: int, vocabulary: int = 512, rows: int = 3000) -> Any:
    """A byte-level BPE tokenizer (`tokenizers.Tokenizer`) trained on texts of every kind."""
    return trained_tokenizer(_tokenizer_texts(seed, rows), vocabulary, _SPLIT)


def trained_tokenizer(texts: Iterator[str], vocabulary: int, pattern: str, whole: tuple[str, ...] = ()) -> Any:
    """A byte-level BPE tokenizer: words split by a pattern, the chat marks added, and texts that are `whole` tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIALS) - len(whole),
        initial_alphabet=alphabet,
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    for place, mark in enumerate((*SPECIALS, *whole)):
        special = place < NUM_SPECIAL
        token = AddedToken(mark, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    return tokenizer


def _tokenizer_texts(seed: int, rows: int) -> Iterator[str]:
    streams = (base_rows(seed), instructor_rows(seed), reasoner_rows(seed))
    for _ in range(rows):
        for source in streams:
            row = next(source)
            text = row.prompt + solutions.plain(row.script)
            for mark in SPECIALS:
                text = text.replace(mark, "")
            yield text


def save_tokenizer(tokenizer: Any, folder: str) -> None:
    """Write tokenizer.json and tokenizer_config.json with the chat template inside."""
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    fast = make(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=2048)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder, save_jinja_files=False)
