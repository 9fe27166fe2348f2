"""What a binding of vLLM says: ``vllm:PATH_OR_ID``, with settings of the engine behind a question mark.

``vllm:Qwen/QwQ-32B?tensor_parallel_size=4&max_model_len=32768``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from pydantic import Field, ValidationError

from stillwise.errors import UserError
from stillwise.parts import Fields


class Settings(Fields):
    """What may stand behind the question mark."""

    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    """Positions kept in the cache; the model's own by default."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of a GPU's memory that the engine takes; vLLM's by default."""
    max_num_seqs: int | None = Field(default=None, ge=1)
    """Requests computed at once at most."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    quantization: str | None = None
    """As vLLM names it; by default what the model's configuration says."""
    enforce_eager: bool = False
    """No captured graphs: starts sooner, runs slower."""


@dataclass(frozen=True)
class Place:
    """Which model, with which settings."""

    path: str
    settings: Settings

    @classmethod
    def of(cls, rest: str) -> Place:
        """What a binding says behind ``vllm:``; raises UserError for settings that there are not."""
        path, _, query = rest.partition("?")
        try:
            return cls(path, Settings.model_validate(dict(parse_qsl(query, keep_blank_values=True)), strict=False))
        except ValidationError as err:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
            known = ", ".join(Settings.model_fields)
            raise UserError(f"model 'vllm:{rest}': {faults}; settings are {known}") from None
