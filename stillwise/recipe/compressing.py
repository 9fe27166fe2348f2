"""A student with smaller weights, measured beside the one that it was made from: on the same problems, with the same seeds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from stillwise.errors import UserError
from stillwise.evaluate.sections import comparison_section
from stillwise.models.weights import folder_digest
from stillwise.recipe.benchmarks import read_benchmarks
from stillwise.recipe.load import NO_BINDING, Loaded, load
from stillwise.recipe.outputs import METRICS_FILE, RECIPE_FILE, write_report
from stillwise.recipe.run import EVALUATION, Options, run
from stillwise.recipe.schema import Binding, Step
from stillwise.recipe.serving import STUDENT, student_of
from stillwise.recipe.summary import read_metrics, table_text
from stillwise.recipe.work import Seeds
from stillwise.runtime.files import folder_files, write_json, write_text
from stillwise.runtime.progress import Mode

Form = Literal["int8", "int4", "gguf"]
COMPRESSED = "compressed"
MADE_FROM = "made-from.json"
"""In a smaller student's folder: the digest of the one that it was made from."""
CONVERTER = "convert_hf_to_gguf.py"
GROUP = 32
"""Weights that share one scale of four bits."""


@dataclass(frozen=True, kw_only=True)
class Compressing:
    """What to compress, and how it is measured."""

    run: Path
    form: Form = "int8"
    threads: int = 0
    progress: Mode | None = None


def compress(asked: Compressing) -> list[str]:
    """Quantise the run's student, measure it as the run did, say what was lost; what the same student gave is found again."""
    student, out = student_of(asked.run), asked.run / COMPRESSED / asked.form
    if student == asked.run:
        raise UserError(f"{asked.run} is a model's folder, not a run's: nothing says what to measure the smaller one on")
    step = _evaluation(asked.run)
    _made(student, out, asked.form)
    sizes = f"{asked.form}: {_megabytes(student)} MB to {_megabytes(out)} MB, {out}"
    if asked.form == "gguf":
        return [sizes, f"measure it behind llama-server: stillwise evaluate http://127.0.0.1:8080/v1#{asked.form} …"]
    measured = _measured(asked, step, out)
    return [table_text(_joined(asked, step, measured)), sizes]


def _evaluation(folder: Path) -> Step:
    """The step that measured the run's last student."""
    method = load(folder / RECIPE_FILE).method
    trained = method.trained_roles()
    steps = [step for step in method.steps if step.arrow == "evaluate" and step.roles[0] in trained]
    if not steps:
        raise UserError(f"the recipe of {folder} trains no student that it measures")
    return steps[-1]


def _made(student: Path, out: Path, form: Form) -> None:
    from stillwise.train.folder import whole_folder

    made_from, noted = {"student": folder_digest(student)}, out / MADE_FROM
    if noted.is_file() and json.loads(noted.read_text(encoding="utf-8")) == made_from:
        return
    # A student that has changed since, or a folder that does not say whose it is.
    shutil.rmtree(out, ignore_errors=True)
    with whole_folder(out) as folder:
        write_json(folder / MADE_FROM, made_from)
        if form == "gguf":
            _convert(student, folder / f"{STUDENT}.gguf")
        else:
            _quantise(student, folder, form)


def _quantise(student: Path, folder: Path, form: Form) -> None:
    """Weights of the linear layers in eight or four bits, by row or by group; embeddings and norms as they were."""
    if not find_spec("torchao"):
        raise UserError("torchao is not installed: pip install 'stillwise[compress]'")
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup
    from transformers import AutoModelForCausalLM, TorchAoConfig

    from stillwise.train.folder import COPIED, quiet

    four: Any = IntxWeightOnlyConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]
        granularity=PerGroup(GROUP),
    )
    how = TorchAoConfig(Int8WeightOnlyConfig() if form == "int8" else four)
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(student), quantization_config=how, dtype="auto", device_map="cpu", use_safetensors=True, local_files_only=True
        )
        model.save_pretrained(str(folder))
    for name in (*COPIED, "generation_config.json"):
        if (student / name).is_file():
            shutil.copyfile(student / name, folder / name)


def _convert(student: Path, out: Path) -> None:
    """llama.cpp's own converter, found on the PATH or in the folder that LLAMA_CPP names."""
    beside = Path(os.environ.get("LLAMA_CPP", "/nowhere")) / CONVERTER
    found = shutil.which(CONVERTER) or (str(beside) if beside.is_file() else None)
    if found is None:
        raise UserError(f"{CONVERTER} of llama.cpp is neither on the PATH nor in the folder that LLAMA_CPP names")
    command = [sys.executable, found, str(student), "--outfile", str(out), "--outtype", "q8_0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{found} failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")


def _megabytes(folder: Path) -> str:
    weights = [path for path in folder_files(folder) if path.suffix in (".safetensors", ".gguf")]
    return f"{sum(path.stat().st_size for path in weights) / 1e6:.2f}"


def _measured(asked: Compressing, step: Step, model: Path) -> dict[str, Any]:
    """The metrics of the smaller student: the run's own evaluation step, role, problems and seed, so that samples pair."""
    metrics = read_metrics(asked.run)
    role = step.roles[0]
    method = load(asked.run / RECIPE_FILE).method
    alone = method.model_copy(update={"name": EVALUATION, "roles": (role,), "steps": (step,), "departures": ()})
    sets = read_benchmarks(asked.run)
    first = next(iter(sets.values()))
    binding = Binding(roles={role: f"transformers:{model}"}, problems=first.source, benchmarks=sets)
    options = Options(
        out=model.with_name(f"{model.name}-measured"),
        seeds=Seeds(run=int(metrics["recipe"]["seed"])),
        threads=asked.threads,
        progress=asked.progress,
        command=f"stillwise compress DIR --to {asked.form}",
    )
    return run(Loaded(alone, binding, NO_BINDING, (), EVALUATION), options).metrics


def _joined(asked: Compressing, step: Step, measured: dict[str, Any]) -> dict[str, Any]:
    """The run's metrics with the smaller student beside the others; table, metrics.json and report show it."""
    metrics = read_metrics(asked.run)
    name = f"{step.name}-{asked.form}"
    sections = metrics["evaluation"]
    sections[name] = {**measured["evaluation"][step.name], "model": f"{step.roles[0]}, {asked.form}"}
    metrics["order"]["evaluation"] = [*(one for one in metrics["order"]["evaluation"] if one != name), name]
    others = [row for row in metrics["comparison"] if name not in _sides(row)]
    metrics["comparison"] = [*others, *comparison_section(step.name, name, sections)]
    from stillwise.evaluate import metrics as figures

    write_report(metrics, asked.run)
    write_text(asked.run / METRICS_FILE, figures.dumps(cast(Any, metrics)))
    return metrics


def _sides(row: dict[str, Any]) -> Sequence[str]:
    return [str(value) for key, value in row.items() if key in ("from", "to")]
