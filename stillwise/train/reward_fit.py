"""How reward models are trained: packed rows, the output at each row's last token, and a report on problems held out.

Dimensions: B rows, T packed tokens, H hidden width.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillwise.arrows import Example, Regression, Tools
from stillwise.errors import UserError
from stillwise.models.adapter import need_peft, still
from stillwise.models.reward import FIELD, RewardModel, RewardSettings, reward_ids
from stillwise.models.weights import is_adapter
from stillwise.records import derive_seed, digest
from stillwise.train import folder, loop, processes
from stillwise.train.fields import Fit, Lora
from stillwise.train.fit import figures, fitted, planned, require_rows
from stillwise.train.losses.regression import Standard, bradley_terry
from stillwise.train.packing import ATTENTION, PROBE_TOKENS, Pack, bare, register_attention
from stillwise.train.render import Rendered, Row, end_token
from stillwise.train.reward_fields import HeldOut, Marks, Ranks
from stillwise.train.reward_report import pair_report, regression_report

if TYPE_CHECKING:
    from torch import Tensor

REJECTED = "rejected:"
"""Before the id of the row that holds a pair's rejected answer."""
ISOLATED = 1e-3
"""How far a packed row's last hidden state may be from that of the row alone, relative to its largest entry."""


def train_regressor(part: Marks, examples: Sequence[Example], base: Path, out: Path, tools: Tools) -> dict[str, Any]:
    """What ``RewardTrainer.train`` does."""
    began = time.monotonic()
    labels = _labels(part, examples)
    taught, kept = split(examples, part.held_out)
    with folder.quiet(), folder.whole_folder(out) as aside:
        base_model = Base.load(part, base, derive_seed(tools.seed, tools.step))
        rendered = base_model.rendered([(e.id, e.user, e.assistant) for e in taught], part.max_length)
        standard = Standard() if part.objective.bounded else Standard.of([labels[row.id] for row in rendered.rows])
        link: Any = "logistic" if part.objective.bounded else "linear"
        settings = base_model.settings(part, link, standard.mean, standard.deviation)
        cost = RegressionCost(objective=part.objective, standard=standard, labels=labels)
        steps = planned(part, [[row] for row in rendered.rows], derive_seed(tools.seed, tools.step))
        points = fitted(part, base_model.model, steps, tools, cost, "reward_model")
        base_model.save(aside, settings)
        found = RewardModel(aside).values(_asked(kept, part.instruction))
        report = regression_report(found, [labels[e.id] for e in kept], [labels[row.id] for row in rendered.rows])
    problems = {"problems": len({e.user for e in kept})}
    return {**figures(rendered, steps, points, time.monotonic() - began), "held_out": {**problems, **report}}


def train_ranker(part: Ranks, examples: Sequence[Example], base: Path, out: Path, tools: Tools) -> dict[str, Any]:
    """What ``PairRewardTrainer.train`` does."""
    began = time.monotonic()
    taught, kept = split(examples, part.held_out)
    with folder.quiet(), folder.whole_folder(out) as aside:
        base_model = Base.load(part, base, derive_seed(tools.seed, tools.step))
        both = [(e.id, e.user, e.assistant) for e in taught] + [(REJECTED + e.id, e.user, e.rejected) for e in taught]
        every = base_model.rendered(both, part.max_length)
        rows = {row.id: row for row in every.rows}
        units = [[rows[e.id], rows[REJECTED + e.id]] for e in taught if {e.id, REJECTED + e.id} <= set(rows)]
        require_rows(units, every.dropped)
        rendered = Rendered(rows=tuple(row for unit in units for row in unit), dropped=every.dropped)
        steps = planned(part, units, derive_seed(tools.seed, tools.step))
        points = fitted(part, base_model.model, steps, tools, RankingCost(margin=part.margin), "reward_pairs")
        unit = Standard.of(base_model.outputs(rendered.rows, part.micro_batch_tokens))
        settings = base_model.settings(part, "logistic", -unit.mean / unit.deviation, 1 / unit.deviation)
        base_model.save(aside, settings)
        held = RewardModel(aside)
        questions = _asked(kept, part.instruction)
        chosen = held.values(questions)
        rejected = held.values([(question, e.rejected) for (question, _), e in zip(questions, kept, strict=True)])
    problems = {"problems": len({e.user for e in kept})}
    report = {**problems, **pair_report(chosen, rejected)}
    return {**figures(rendered, steps, points, time.monotonic() - began), "pairs": len(units), "held_out": report}


def _labels(part: Marks, examples: Sequence[Example]) -> dict[str, float]:
    labels = {e.id: e.label / part.highest for e in examples if e.label is not None}
    if len(labels) != len(examples):
        raise UserError(f"{len(examples) - len(labels)} of {len(examples)} traces have no score, or one twice; give each one")
    wrong = next((label for label in labels.values() if not 0 <= label <= 1), None)
    if wrong is not None:
        raise UserError(f"a score over highest ({part.highest:g}) is {wrong:g}, outside [0, 1]; set highest to the scale's end")
    return labels


def split(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Examples to learn from and examples held out: whole problems, by the hashes of their messages, one at least."""
    if not examples:
        raise UserError("nothing to train on: no trace has a score")
    users = sorted({e.user for e in examples}, key=lambda user: digest("held_out", user))
    if len(users) < 2:
        raise UserError("one problem cannot be learnt from and held out; a reward model needs two at least")
    kept = set(users[: max(1, round(share * len(users)))])
    return [e for e in examples if e.user not in kept], [e for e in examples if e.user in kept]


def _asked(examples: Sequence[Example], instruction: str) -> list[tuple[str, str]]:
    """Questions without the instruction that the reward model appends itself, and answers."""
    tail = f"\n{instruction}" if instruction else ""
    return [(e.user.removesuffix(tail), e.assistant) for e in examples]


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that becomes a reward model, with its tokenizer."""

    model: Any
    tokenizer: Any
    source: Path
    end: int
    packed: bool

    @classmethod
    def load(cls, fit: Fit, source: Path, seed: int = 0) -> Base:
        """The weights under a head of zeros: before the first step every answer has the mean score."""
        tokenizer = folder.load_tokenizer(source)
        end = end_token(tokenizer)
        model = _classifier(source, _pad(tokenizer, end)).to(processes.device())
        if fit.packing:
            register_attention()
            _set_packed(model)
        model = _adapted(model, fit.adapter, seed) if fit.adapter else model
        if fit.gradient_checkpointing:
            folder.recompute_activations(model)
        return cls(model=model, tokenizer=tokenizer, source=source, end=end, packed=fit.packing)

    def rendered(self, texts: Sequence[tuple[str, str, str]], max_length: int) -> Rendered:
        """Rows of (id, user's message, answer); ``too_long`` and ``empty_target`` drop out."""
        rows: list[Row] = []
        dropped: dict[str, str] = {}
        for name, user, answer in texts:
            ids = reward_ids(self.tokenizer, user, answer, self.end)
            if not answer.strip() or len(ids) > max_length:
                dropped[name] = "too_long" if answer.strip() else "empty_target"
            else:
                rows.append(Row(id=name, ids=tuple(ids), start=len(ids) - 1))
        require_rows(rows, dropped)
        if self.packed:
            _check_isolation(self.model, rows[:2])
        return Rendered(rows=tuple(rows), dropped=dropped)

    def settings(self, part: HeldOut, link: Any, mean: float, deviation: float) -> RewardSettings:
        """What the folder says of its outputs."""
        return RewardSettings(end=self.end, link=link, mean=mean, deviation=deviation, instruction=part.instruction)

    def outputs(self, rows: Sequence[Row], budget: int) -> list[float]:
        """Raw outputs of rows, out of training mode."""
        import torch

        (passes,) = planned(
            Fit(epochs=1, batch_tokens=2**60, micro_batch_tokens=budget, packing=self.packed), [[r] for r in rows], 0
        )
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            found = [outputs(self.model, Pack.of(group, self.model.device)).tolist() for group in passes]
        self.model.train(training)
        return [value for group in found for value in group]

    def save(self, aside: Path, settings: RewardSettings) -> None:
        """An ordinary sequence classifier with one label, adapters merged; how its logit is read stands in ``config.json``."""
        model = self.model.merge_and_unload() if hasattr(self.model, "merge_and_unload") else self.model
        setattr(model.config, FIELD, settings.as_dict())
        model.config.problem_type = "regression" if settings.link == "linear" else None
        model.save_pretrained(str(aside))
        for name in folder.COPIED:
            if (self.source / name).is_file():
                shutil.copyfile(self.source / name, aside / name)


def _pad(tokenizer: Any, end: int) -> int:
    """A padding token that no row ends in: classifiers look for the last token that is none."""
    known = [
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        *tokenizer.all_special_ids,
        *sorted(tokenizer.added_tokens_decoder),
    ]
    found = next((token for token in known if token is not None and token != end), None)
    if found is None:
        raise UserError("the tokenizer has no special token but the one that ends a turn; a reward model needs one to pad with")
    return int(found)


def _classifier(source: Path, pad: int) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    if is_adapter(source):
        raise UserError(f"{source} holds an adapter alone; a reward model starts from whole weights: merge it (merge: true)")
    given: Any = {"use_safetensors": True, "local_files_only": True, "num_labels": 1, "pad_token_id": pad}
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(str(source), dtype=torch.float32, **given)
    except ValueError as err:
        raise UserError(f"{source} cannot become a reward model: {str(err).splitlines()[0]}") from err
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise UserError(f"a {model.config.model_type} classifier has no plain score head; a reward model needs one")
    torch.nn.init.zeros_(model.score.weight)
    return model


def _adapted(model: Any, adapter: Lora, seed: int) -> Any:
    """The classifier with a low-rank adapter; the head is trained whole."""
    import torch

    need_peft()
    from peft import LoraConfig, get_peft_model

    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    config = LoraConfig(
        task_type="SEQ_CLS", r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, target_modules=targets
    )
    with torch.random.fork_rng(), still():
        torch.manual_seed(derive_seed(seed, "adapter") % 2**31)
        try:
            return get_peft_model(model, config)
        except ValueError as err:
            raise UserError(f"adapter.targets {targets}: {err}") from err


def _set_packed(model: Any) -> None:
    if not getattr(model, "_supports_attention_backend", False):
        raise UserError(f"rows cannot be packed for a {model.config.model_type} model; set packing: false on the trainer")
    model.set_attn_implementation(ATTENTION)


def last_states(model: Any, pack: Pack) -> Tensor:
    """Hidden states (B, H) of each row's last token."""
    model, inputs = bare(model), pack.inputs()
    if model.config._attn_implementation != ATTENTION:
        del inputs["row_bounds"]
    states_1TH: Tensor = model.base_model(**inputs).last_hidden_state
    return states_1TH[0, [end - 1 for _, end in pack.bounds]]


def outputs(model: Any, pack: Pack) -> Tensor:
    """Raw outputs (B,) of a pack's rows, in float32."""
    found_B: Tensor = bare(model).score(last_states(model, pack))[:, 0].float()
    return found_B


def _check_isolation(model: Any, rows: Sequence[Row]) -> None:
    """Refuses an architecture whose packed rows differ from the same rows alone."""
    import torch

    clipped = [Row(id=row.id, ids=row.ids[:PROBE_TOKENS], start=len(row.ids[:PROBE_TOKENS]) - 1) for row in rows]
    training = model.training
    model.eval()
    with torch.no_grad():
        packed_BH = last_states(model, Pack.of(clipped, model.device))
        bare(model).set_attn_implementation("eager")
        alone_BH = torch.cat([last_states(model, Pack.of([row], model.device)) for row in clipped])
        bare(model).set_attn_implementation(ATTENTION)
    model.train(training)
    error = float((packed_BH - alone_BH).abs().max() / alone_BH.abs().max().clamp(min=1e-9))
    if not error <= ISOLATED:
        raise UserError(
            f"packed rows see each other in this model ({model.config.model_type}: states differ by {error:.2g}); "
            "set packing: false on the trainer"
        )


@dataclass(frozen=True, kw_only=True)
class RegressionCost(loop.Cost):
    """A regression's loss of each row's output against its label, in the unit in which the head works."""

    objective: Regression
    standard: Standard
    labels: Mapping[str, float] = field(default_factory=dict)

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The number of rows."""
        return pack.weights_S.new_tensor(float(len(rows)))

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The sum over rows; the absolute error of the score beside it."""
        outputs_B = outputs(model, pack)
        labels_B = outputs_B.new_tensor([self.labels[row.id] for row in rows])
        bounded = self.objective.bounded
        loss_B = self.objective.per_item(outputs_B, labels_B if bounded else self.standard.inward(labels_B))
        scores_B = outputs_B.detach().sigmoid() if bounded else self.standard.outward(outputs_B.detach()).clamp(0, 1)
        return loss_B.sum(), {"absolute_error": float((scores_B - labels_B).abs().sum())}


@dataclass(frozen=True, kw_only=True)
class RankingCost(loop.Cost):
    """Bradley and Terry's loss; rows stand as chosen, rejected, chosen, rejected, …"""

    margin: float = 0.0

    def weight(self, rows: Sequence[Row], pack: Pack) -> Tensor:
        """The number of pairs."""
        return pack.weights_S.new_tensor(len(rows) / 2)

    def total(self, model: Any, rows: Sequence[Row], pack: Pack) -> tuple[Tensor, Mapping[str, float]]:
        """The sum over pairs; the number of pairs in the right order beside it."""
        outputs_B = outputs(model, pack)
        chosen_B, rejected_B = outputs_B[::2], outputs_B[1::2]
        return bradley_terry(chosen_B, rejected_B, self.margin).sum(), {"won": float((chosen_B > rejected_B).sum())}
