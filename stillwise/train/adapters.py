"""Low-rank adapters: attached to a student, saved beside its base or merged into it, and read again by every later step.

LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685; by the package peft.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stillwise.errors import UserError
from stillwise.models.adapter import need_peft, still
from stillwise.models.weights import ADAPTER_CONFIG, base_folder
from stillwise.train import processes
from stillwise.train.fields import Lora

MERGE = "merge_when_saved"


def attach(model: Any, student: Path, adapter: Lora, seed: int) -> Any:
    """The student with a trainable adapter: a fresh one, or the one that it has from an earlier stage."""
    need_peft()
    from peft import PeftModel

    if adapter.merge and processes.sharded():
        raise UserError("an adapter cannot be merged while its base lies in shards; set merge: false, and merge it later")
    if isinstance(model, PeftModel):
        _check_equal(student, model, adapter)
    else:
        model = _fresh(model, student, adapter, seed)
    setattr(model, MERGE, adapter.merge)
    return model


def _fresh(model: Any, student: Path, adapter: Lora, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    _check_targets(model, targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        base_model_name_or_path=str(student.resolve()),
    )
    with torch.random.fork_rng(), still():
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config)
        except ValueError as err:
            raise UserError(f"adapter.targets {targets}: {err}") from err


def _check_equal(student: Path, model: Any, adapter: Lora) -> None:
    held = model.peft_config["default"]
    if (held.r, held.lora_alpha) != (adapter.rank, adapter.alpha):
        raise UserError(
            f"the student {student} has an adapter of rank {held.r} and alpha {held.lora_alpha}, and this step wants rank "
            f"{adapter.rank} and alpha {adapter.alpha}; take the same ones, or set merge: true in the step before"
        )


def _check_targets(model: Any, targets: Any) -> None:
    """Refuses layers whose weights the losses read directly: what an adapter adds to them would not be seen."""
    ends = [model.get_output_embeddings(), model.get_input_embeddings()]
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if any(module is end for end in ends)}
    if found := sorted(names & set(targets if isinstance(targets, list) else [])):
        raise UserError(f"adapter.targets: {found[0]} is the output layer or the embedding, whose weights losses read directly")


def merged(model: Any) -> Any:
    """The model as it is to be saved: its adapter merged where that was asked for."""
    return model.merge_and_unload() if getattr(model, MERGE, False) else model


def save_adapter(model: Any, source: Path, folder: Path, state: Any) -> None:
    """Writes the adapter, the base's configuration beside it, and where the base is."""
    model.save_pretrained(str(folder), state_dict=state)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "config.json").write_bytes((base_folder(source) / "config.json").read_bytes())
    path = folder / ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(base_folder(source).resolve())
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
