"""GRPO: advantages and losses in closed form and as TRL has them, answers that repeat, groups that teach and that do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stillwise.arrows import Example, Reward, Tools
from stillwise.errors import UserError
from stillwise.records import Problem, Trace
from stillwise.score.shape import Length
from stillwise.train.fields import Lora
from stillwise.train.fit import load_student
from stillwise.train.flops import size_of_model
from stillwise.train.folder import load_tokenizer
from stillwise.train.grpo import GRPO
from stillwise.train.grpo_draw import Drawer, prompts
from stillwise.train.grpo_fit import GroupCost, names, planned, reference_of, summed
from stillwise.train.losses.policy import advantages, clipped_ratio, flat, k3
from stillwise.train.packing import Pack
from stillwise.train.render import Row
from stillwise.train.rewards import Formatted, Scored, Within
from tests.train.conftest import without_padding

SMALL: dict[str, Any] = {
    "group_size": 4,
    "problems_per_step": 3,
    "max_tokens": 12,
    "max_length": 200,
    "learning_rate": 5e-3,
    "beta": 0.1,
    "instruction": "",
}


class Letters(Reward):
    """The share of an answer's characters that are letters: every answer has one, and students learn to raise it."""

    kind: ClassVar[str] = "letters"

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One share for each answer; None for an empty one."""
        texts = [trace.text for _, trace in pairs]
        return [sum(c.isascii() and c.isalpha() for c in text) / len(text) if text else None for text in texts]


class Same(Reward):
    """1 for everything."""

    kind: ClassVar[str] = "same"

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """1 for each answer."""
        return [1.0] * len(pairs)


@pytest.fixture(scope="module")
def student(make_student: Callable[..., Path]) -> Path:
    return make_student(vocab_size=261, initializer_range=0.2)


def posed(count: int) -> list[Example]:
    """Sums without answers of anybody."""
    problems = [Problem.of(f"What is {i}?", str(i)) for i in range(count)]
    return [Example(id=p.id, user=p.question, assistant="", problem=p) for p in problems]


def test_advantages_in_closed_form() -> None:
    found = advantages([[1.0, 0.0, 0.0, 1.0], [2.0, 4.0]])
    deviation = math.sqrt(1 / 3)
    assert found[0] == pytest.approx([0.5 / (deviation + 1e-4), *[-0.5 / (deviation + 1e-4)] * 2, 0.5 / (deviation + 1e-4)])
    assert found[1] == pytest.approx([-1 / (math.sqrt(2) + 1e-4), 1 / (math.sqrt(2) + 1e-4)])
    assert advantages([[1.0, 0.0], [5.0, 5.0]], "none") == [[0.5, -0.5], [0.0, 0.0]]
    batch = advantages([[1.0, 0.0], [3.0, 4.0]], "batch")
    assert batch[0][0] == pytest.approx(0.5 / (math.sqrt(10 / 3) + 1e-4))
    assert flat([0.5, 0.5])
    assert not flat([0.5, 0.6])


def test_the_clipped_ratio_in_closed_form() -> None:
    import torch

    new = torch.tensor([1.5, 0.5, 1.5, 0.5, 1.1]).log().requires_grad_()
    losses, clipped = clipped_ratio(new, torch.zeros(5), torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0]), 0.2, 0.28)
    assert losses.tolist() == pytest.approx([-1.28, -0.5, 1.5, 0.8, -2.2])
    assert clipped.tolist() == [1, 0, 0, 1, 0]
    losses.sum().backward()
    assert new.grad is not None
    assert new.grad.tolist() == pytest.approx([0, -0.5, 1.5, 0, -2.2])


def test_k3_is_no_less_than_zero_and_unbiased() -> None:
    import torch

    assert k3(torch.tensor([0.0]), torch.tensor([math.log(2)])).item() == pytest.approx(1 - math.log(2))
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    each = k3(policy.log(), reference.log())
    assert bool((each >= 0).all())
    exact = float((policy * (policy / reference).log()).sum())
    assert float((policy * each).sum()) == pytest.approx(exact, rel=1e-5)


def cost_of(part: GRPO, student: Path, tools: Tools, count: int = 3) -> tuple[Any, GroupCost, list[Example]]:
    """A loaded student and what its training costs, as the trainer makes them."""
    from stillwise.records import Sampling

    tokenizer, examples = load_tokenizer(student), posed(count)
    asked, dropped = prompts(examples, tokenizer, 200)
    assert not dropped
    model = load_student(part, student, [prompt.row for prompt in asked[:2]])
    sampling = Sampling(temperature=part.temperature, top_p=1.0, max_tokens=part.max_tokens)
    drawer = Drawer.of(model, tokenizer, 258, sampling, "student", "train")
    held = {prompt.row.id: prompt for prompt in asked}
    reference = reference_of(model) if part.beta else None
    return (
        model,
        GroupCost(part=part, drawer=drawer, prompts=held, tools=tools, seed=5, vocab=261, reference=reference),
        examples,
    )


TRL_LOSS = {"sequence": "grpo", "token": "dapo", "constant": "dr_grpo"}


@pytest.mark.parametrize(("pooling", "corrected"), [("sequence", False), ("token", True), ("constant", False)])
@pytest.mark.filterwarnings("ignore")
def test_the_loss_is_trls(student: Path, tools: Tools, tmp_path: Path, pooling: Any, corrected: bool) -> None:
    """The same answers, rewards, old and reference log-probabilities, given to both."""
    import torch
    from trl import GRPOConfig, GRPOTrainer

    changes: dict[str, Any] = {"temperature": 0.7, "pooling": pooling, "corrected_kl": corrected}
    part = GRPO(**SMALL, **changes, rewards=(Letters(),), updates=2)
    model, cost, examples = cost_of(part, student, tools)
    step = [[cost.prompts[e.id].row] for e in examples]
    held = cost.passes(model, step, 0)
    rows = [row for rows in held for row in rows]
    assert len(rows) == 12
    with torch.no_grad():
        for passed in held:
            cost.total(model, passed, Pack.of(passed))
        for name, value in model.named_parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))), alpha=0.01)
    total, _ = cost.total(model, rows, pack := Pack.of(rows))
    mine = total / cost.weight(rows, pack)
    ours = torch.autograd.grad(mine, list(model.parameters()))

    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        report_to="none",
        beta=part.beta,
        use_bias_correction_kl=corrected,
        temperature=part.temperature,
        loss_type=TRL_LOSS[pooling],
        max_completion_length=part.max_tokens,
        num_generations=4,
        per_device_train_batch_size=12,
        gradient_accumulation_steps=1,
        epsilon=part.clip_low,
        epsilon_high=part.clip_high,
    )
    tokenizer = load_tokenizer(student)
    model.set_attn_implementation("sdpa")
    given: Any = {"model": model, "reward_funcs": lambda **_: [], "processing_class": tokenizer, "args": arguments}
    from datasets import Dataset

    trainer = GRPOTrainer(**given, train_dataset=Dataset.from_dict({"prompt": ["a"]}))
    trainer.current_gradient_accumulation_steps = 1
    inputs = _padded(rows, cost)
    theirs = trainer._compute_loss(model, inputs)
    assert float(mine.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    for own, other in zip(ours, torch.autograd.grad(theirs, list(model.parameters())), strict=True):
        assert torch.allclose(own, other, atol=1e-5)


def _padded(rows: Sequence[Row], cost: GroupCost) -> dict[str, Any]:
    """TRL's batch of these rows: prompts padded on the left, answers on the right."""
    import torch

    wide, long = max(row.start for row in rows), max(row.num_learnt for row in rows)

    def right(values: Sequence[Sequence[float]], dtype: Any) -> Any:
        return torch.tensor([[*each, *[0] * (long - len(each))] for each in values], dtype=dtype)

    reference: list[list[float]] = []
    for row in rows:
        reference.append(cost._reference_logprobs(Pack.of([row])).tolist())
    answers = [row.ids[row.start :] for row in rows]
    mask = right([[1] * row.num_learnt for row in rows], torch.long)
    return {
        "prompt_ids": torch.tensor([[256] * (wide - row.start) + list(row.ids[: row.start]) for row in rows]),
        "prompt_mask": torch.tensor([[0] * (wide - row.start) + [1] * row.start for row in rows]),
        "completion_ids": right(answers, torch.long),
        "completion_mask": mask,
        "advantages": torch.tensor([cost.taught[row.id].advantage for row in rows]),
        "old_per_token_logps": right([cost.taught[row.id].old or [] for row in rows], torch.float32),
        "ref_per_token_logps": right(reference, torch.float32),
        "num_items_in_batch": mask.sum(),
    }


@pytest.mark.usefixtures("threads")
def test_rows_of_the_head_beyond_the_tokenizer_are_never_drawn_and_never_seen(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    """Of 2000 rows of a random head, 261 are tokens; a training with the others cut off is the same one."""
    import torch
    from transformers import AutoModelForCausalLM

    wide = make_student(vocab_size=2000, initializer_range=0.2)
    narrow = without_padding(wide, tmp_path / "narrow")
    trained = {}
    for folder in (wide, narrow):
        _, cost, examples = cost_of(part := GRPO(**SMALL, steps=3, rewards=(Letters(),)), folder, tools)
        held = cost.passes(
            load_student(part, folder, [prompt.row for prompt in cost.prompts.values()][:2]),
            [[cost.prompts[e.id].row] for e in examples],
            0,
        )
        assert max(token for rows in held for row in rows for token in row.ids) < 261
        out = tmp_path / "out" / folder.name
        trained[folder] = part.train(posed(6), folder, out, tools)["curve"]
    for (_, one, _), (_, other, _) in zip(*trained.values(), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    after = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out" / wide.name)).lm_head.weight[261:]
    before = AutoModelForCausalLM.from_pretrained(str(wide)).lm_head.weight[261:]
    assert torch.equal(before, after), "rows that nothing sees are not learnt"


def test_answers_follow_their_prompts_and_repeat(student: Path, tools: Tools) -> None:
    import torch

    model, cost, examples = cost_of(GRPO(**SMALL, rewards=(Letters(),)), student, tools)
    model.train()
    before, attention = torch.random.get_rng_state(), model.config._attn_implementation
    step = [[cost.prompts[e.id].row] for e in examples]
    held = cost.passes(model, step, 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training
    assert model.config._attn_implementation == attention
    rows = [row for rows in held for row in rows]
    assert len({row.ids[row.start :] for row in rows}) > 6
    for row in rows:
        assert row.ids[: row.start] == cost.prompts[row.id.partition("/")[0]].row.ids
        assert 0 < row.num_learnt <= 12
    _, again, _ = cost_of(GRPO(**SMALL, rewards=(Letters(),)), student, tools)
    assert again.passes(model, step, 4) == held
    assert again.passes(model, step, 5) != held


def test_a_pass_is_cut_as_one_likes(student: Path, tools: Tools) -> None:
    import torch

    sums = []
    for micro in (64, 100_000):
        part = GRPO(**SMALL, rewards=(Letters(),), micro_batch_tokens=micro)
        model, cost, examples = cost_of(part, student, tools)
        held = [(rows, Pack.of(rows)) for rows in cost.passes(model, [[cost.prompts[e.id].row] for e in examples], 0)]
        divisor = sum(float(cost.weight(rows, pack)) for rows, pack in held)
        with torch.no_grad():
            sums.append(sum(float(cost.total(model, rows, pack)[0]) for rows, pack in held) / divisor)
    assert sums[0] == pytest.approx(sums[1], abs=1e-6)


@pytest.mark.usefixtures("threads")
def test_training_raises_the_reward_and_repeats(student: Path, tmp_path: Path, tools: Tools) -> None:
    fast = {**SMALL, "group_size": 8, "beta": 0.01, "learning_rate": 1e-2}
    part = GRPO(**fast, steps=8, rewards=(Letters(), Formatted(thought=False)))
    found = [part.train(posed(6), student, tmp_path / str(i), tools) for i in range(2)]
    curve = [value for _, value in found[0]["policy_curves"]["reward_letters"]]
    assert sum(curve[-2:]) > 1.3 * sum(curve[:2])
    weights = [(tmp_path / str(i) / "model.safetensors").read_bytes() for i in range(2)]
    assert weights[0] == weights[1]
    assert found[0]["policy_curves"] == found[1]["policy_curves"]
    assert found[0]["groups"] == 24
    assert found[0]["answers"] == 192
    assert {"kl", "clipped", "tokens", "truncated", "reward", "reward_formatted"} <= set(found[0]["policy_curves"])
    assert found[0]["policy_curves"]["kl"][0][1] == pytest.approx(0, abs=1e-6)
    assert found[0]["policy_curves"]["kl"][-1][1] > 1e-4


@pytest.mark.usefixtures("threads")
def test_an_adapter_alone_is_trained(student: Path, tmp_path: Path, tools: Tools) -> None:
    part = GRPO(**{**SMALL, "beta": 0.01}, steps=2, rewards=(Letters(),), adapter=Lora(rank=4))
    found = part.train(posed(6), student, tmp_path / "out", tools)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert found["policy_curves"]["kl"][0][1] == pytest.approx(0, abs=1e-6)
    assert found["policy_curves"]["kl"][1][1] > 0


@pytest.mark.usefixtures("threads")
def test_groups_without_spread_teach_nothing_and_are_counted(student: Path, tmp_path: Path, tools: Tools) -> None:
    import torch
    from safetensors.torch import load_file

    found = GRPO(**SMALL, steps=2, rewards=(Same(),)).train(posed(6), student, tmp_path / "out", tools)
    assert (found["groups"], found["flat_groups"], found["first_loss"], found["last_loss"]) == (6, 6, 0.0, 0.0)
    before, after = load_file(student / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_flat_groups_give_way_to_other_problems(student: Path, tools: Tools) -> None:
    model, cost, examples = cost_of(GRPO(**SMALL, rewards=(Same(),), refills=2), student, tools, 7)
    cost.passes(model, [[cost.prompts[e.id].row] for e in examples[:3]], 0)
    assert cost.seen["refilled"] == 4, "each of the four others once, and then none is left"
    assert cost.seen["groups"] == 7
    drawn, size = list(cost.drawn), size_of_model(model)
    assert len(drawn) == 7 * cost.part.group_size
    assert cost.operations(size, []) == size.forward(drawn) > 0, "what teaches nothing was drawn all the same"
    assert cost.operations(size, []) == 0, "and is charged once"


@pytest.mark.usefixtures("threads")
def test_several_updates_share_answers_over_a_checkpoint(student: Path, tools: Tools) -> None:
    part = GRPO(**SMALL, rewards=(Letters(),), updates=2, micro_batch_tokens=100)
    model, cost, examples = cost_of(part, student, tools)
    step = [[cost.prompts[e.id].row] for e in examples]
    first = cost.passes(model, step, 0)
    for rows in first:
        cost.total(model, rows, Pack.of(rows))
    state = json.loads(json.dumps(cost.state()))
    _, resumed, _ = cost_of(part, student, tools)
    resumed.restore(state)
    assert resumed.passes(model, step, 1) == cost.passes(model, step, 1) == first
    for rows in first:
        values = [float(each.total(model, rows, Pack.of(rows))[0].detach()) for each in (cost, resumed)]
        assert values[0] == values[1]
    assert cost.passes(model, step, 2) != first
    assert GroupCost.state(cost_of(GRPO(**SMALL, rewards=(Letters(),)), student, tools)[1]) == {}


@pytest.mark.usefixtures("threads")
def test_what_was_drawn_is_counted_once_whatever_number_of_updates_learns_from_it(
    student: Path, tmp_path: Path, tools: Tools
) -> None:
    once, twice = (
        GRPO(**SMALL, epochs=1, updates=updates, rewards=(Letters(),)).train(posed(6), student, tmp_path / str(updates), tools)
        for updates in (1, 2)
    )
    assert (once["steps"], twice["steps"]) == (2, 4)
    for found in (once, twice):
        assert (found["groups"], found["answers"]) == (6, 24)
    assert [at["answers"] for _, at in twice["parts"]] == [12, 0, 12, 0]
    first, again = (twice["parts"][step][1]["learnt_tokens"] for step in (0, 1))
    assert first == again > 0, "tokens are learnt at each update"


def test_answers_without_a_reward_leave_their_group(student: Path, tools: Tools) -> None:
    class Odd(Reward):
        """Nobody knows the first answer's worth."""

        kind: ClassVar[str] = "odd"

        def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
            """The sample index, but None for 0."""
            return [float(trace.sample_index) if trace.sample_index else None for _, trace in pairs]

    model, cost, examples = cost_of(GRPO(**SMALL, rewards=(Odd(),)), student, tools)
    rows = [row for rows in cost.passes(model, [[cost.prompts[e.id].row] for e in examples], 0) for row in rows]
    assert {row.id.partition("/")[2] for row in rows} == {"1", "2", "3"}
    assert cost.seen["unscored"] == 3
    assert cost.taught[f"{examples[0].id}/2"].advantage == pytest.approx(0)


def test_steps_are_whole_batches_of_problems() -> None:
    rows = [Row(id=str(i), ids=(1,), start=1) for i in range(5)]
    part = GRPO(problems_per_step=2, updates=2, order="as_given", epochs=1)
    assert [[row.id for (row,) in step] for step in planned(part, rows, 0)] == [["0", "1"]] * 2 + [["2", "3"]] * 2 + [["4"]] * 2
    assert len(planned(part.model_copy(update={"steps": 9}), rows, 0)) == 9
    shuffled = planned(GRPO(problems_per_step=5, epochs=2), rows, 0)
    assert [sorted(row.id for (row,) in step) for step in shuffled] == [["0", "1", "2", "3", "4"]] * 2
    assert shuffled[0] != shuffled[1]


def test_the_sum_of_rewards_is_equation_three() -> None:
    part = GRPO(
        rewards=(
            Same(),
            Within(weight=0.5, low=0.2, high=0.6),
            Within(weight=2.0, low=0, high=1),
            Within(low=0, high=1, weight=0),
        )
    )
    assert summed(part, [1.0, -0.4, -0.1, None]) == pytest.approx(1 - 0.2 - 0.2)
    assert summed(part, [1.0, None, 0.0, 0.0]) is None
    assert names(part) == ["same", "within", "within_2", "within_3"]
    with pytest.raises(ValueError, match="all rewards have weight 0"):
        GRPO(rewards=(Same(weight=0),))


def test_problems_that_nobody_can_grade_drop_out(student: Path, tmp_path: Path, tools: Tools) -> None:
    example = Example(id="x", user="What?", assistant="", problem=Problem.of("What?", None))
    with pytest.raises(UserError, match="1 no_answer"):
        GRPO(**SMALL).train([example], student, tmp_path / "out", tools)
    long = replace(posed(1)[0], user="What? " * 100)
    with pytest.raises(UserError, match="1 too_long"):
        GRPO(**SMALL).train([long], student, tmp_path / "out", tools)


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("problems", [1, 3])
def test_means_are_those_of_all_answers_where_processes_have_unequally_many(
    student: Path, tmp_path: Path, tools: Tools, problems: int
) -> None:
    from stillwise.machine import Site, Training
    from stillwise.train.launch import train

    lengths = Scored(score=Length(unit="characters"))
    part = GRPO(**{**SMALL, "problems_per_step": problems}, steps=1, rewards=(lengths,))
    one = train(part, posed(6), student, tmp_path / "one", tools)
    two = train(part, posed(6), student, tmp_path / "two", replace(tools, site=Site(training=Training(devices=2))))
    assert (two["groups"], two["answers"]) == (one["groups"], one["answers"]) == (problems, 4 * problems)
    assert two["first_loss"] == pytest.approx(one["first_loss"], abs=1e-5)
    for name in ("reward", "tokens", "truncated", "reward_scored"):
        assert two["policy_curves"][name][0][1] == pytest.approx(one["policy_curves"][name][0][1], abs=1e-4), name


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_two_processes_share_the_problems_of_a_step(student: Path, tmp_path: Path, tools: Tools) -> None:
    from stillwise.machine import Site, Training
    from stillwise.train.launch import train

    lengths = Scored(score=Length(unit="characters"))
    part = GRPO(**{**SMALL, "problems_per_step": 4}, steps=2, rewards=(lengths,))
    one = train(part, posed(6), student, tmp_path / "one", tools)
    two = train(part, posed(6), student, tmp_path / "two", replace(tools, site=Site(training=Training(devices=2))))
    assert two["order"] == one["order"]
    assert (two["groups"], two["answers"]) == (one["groups"], one["answers"]) == (6, 24)
    for name in ("reward", "tokens", "kl"):
        assert two["policy_curves"][name][0][1] == pytest.approx(one["policy_curves"][name][0][1], abs=1e-4)
    assert two["first_loss"] == pytest.approx(one["first_loss"], abs=1e-5)
