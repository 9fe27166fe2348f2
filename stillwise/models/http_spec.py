"""What is behind an HTTP role: endpoints, model, key, limits and prices, read from a binding or a YAML file."""

from __future__ import annotations

import os
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillwise.errors import UserError, nearest
from stillwise.records import digest

HTTP_SCHEMES = ("http", "https", "openai", "teacher")
OPENAI_URL, OPENAI_KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"
MILLION = Decimal(1_000_000)
NANO = Decimal(1_000_000_000)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Frozen):
    """What answers cost, in one currency."""

    prompt: Decimal = Field(default=Decimal(0), ge=0)
    """For a million prompt tokens."""
    completion: Decimal = Field(default=Decimal(0), ge=0)
    """For a million generated tokens."""
    gpu_hour: Decimal = Field(default=Decimal(0), ge=0)
    """For one GPU for one hour, where the server is rented rather than paid by token."""
    gpus: int = Field(default=1, ge=1)
    """GPUs behind one endpoint."""

    def tokens_nano(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The price of one call in billionths of the currency, rounded up."""
        exact = (self.prompt * prompt_tokens + self.completion * completion_tokens) / MILLION * NANO
        return int(exact.to_integral_value(rounding="ROUND_CEILING"))

    def time_nano(self, endpoint_seconds: float) -> int:
        """The price of endpoints that were held for so long, in billionths of the currency."""
        return int(self.gpu_hour * self.gpus * Decimal(endpoint_seconds) / 3600 * NANO)


class Teacher(_Frozen):
    """One model behind one or more endpoints that answer alike."""

    endpoints: tuple[str, ...] = ()
    """Base URLs, each up to and with ``/v1``."""
    endpoints_file: Path | None = None
    """A text file with one base URL a line, read again when it changes: new ones join, missing ones drain and leave."""
    model: str = ""
    """The name that the server knows the model by."""
    key_env: str | None = None
    """The environment variable that holds the key; the key itself is written nowhere."""
    tokenizer: str | None = None
    """A transformers folder with the model's tokenizer and template: exact prefills, token counts and bans."""
    revision: str = ""
    """Raised when other weights are served under the same name."""
    api: Literal["auto", "chat", "completions"] = "auto"
    """``completions`` renders prompts here (needs a tokenizer); ``auto`` asks the server what it can."""
    in_flight: int = Field(default=256, ge=1)
    """Calls at once to one endpoint at most; fewer where the server says that it is too many."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=7200.0, gt=0)
    """For one call from its first byte to its last: a long thought may take an hour."""
    attempts: int = Field(default=6, ge=1)
    """Tries of one call that a server answered badly or not at all."""
    patience_s: float = Field(default=600.0, gt=0)
    """How long every endpoint may be unreachable or fail before the run stops."""
    n: int = Field(default=1, ge=1)
    """Samples of one question that one call asks for, where the server honours it: the prompt is read and paid for once. The
    server then derives the samples' seeds from that of the first."""
    logprobs: int | None = Field(default=None, ge=0, le=20)
    """Log-probabilities kept in the raw answer: so many alternatives for each token."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further body fields, sent as they are (``chat_template_kwargs``, ``reasoning_effort``)."""
    price: Price | None = None

    @property
    def identity(self) -> str:
        """A digest of what decides the answers; where and how fast they are computed is no part of it."""
        together = ["n"] if self.n > 1 else []
        decides = (self.model, self.revision, self.api, self._tokenizer_digest(), self.logprobs, self.extra, *together)
        return digest("http", *decides)

    def _tokenizer_digest(self) -> str | None:
        from stillwise.models.weights import text_digest

        return text_digest(Path(self.tokenizer).expanduser()) if self.tokenizer else None

    def key(self) -> str | None:
        """The key from the environment; a UserError where its variable is not set."""
        if self.key_env is None:
            return None
        if not os.environ.get(self.key_env):
            raise UserError(
                f"the environment variable {self.key_env} is not set; it holds the key of {self.model or 'the server'}"
            )
        return os.environ[self.key_env]

    def first_endpoints(self) -> tuple[str, ...]:
        """The endpoints that the job starts with."""
        listed = read_endpoints(self.endpoints_file) if self.endpoints_file else ()
        return tuple(dict.fromkeys([*self.endpoints, *listed]))

    @classmethod
    def of(cls, binding: str) -> Self:
        """The teacher of ``http://HOST/v1#MODEL?option=value``, ``openai:MODEL`` or ``teacher:FILE.yaml``."""
        scheme, _, rest = binding.partition(":")
        if scheme == "teacher":
            return cls._checked(_yaml(Path(rest).expanduser()), rest)
        if scheme == "openai":
            name, _, query = rest.partition("?")
            return cls._checked(
                {"endpoints": [OPENAI_URL], "key_env": OPENAI_KEY, "model": name, **_options(query, binding)}, binding
            )
        address, _, fragment = binding.partition("#")
        name, _, query = fragment.partition("?")
        return cls._checked({"endpoints": address.split(","), "model": name, **_options(query, binding)}, binding)

    @classmethod
    def _checked(cls, fields: dict[str, Any], where: str) -> Self:
        try:
            teacher = cls.model_validate(fields)
        except ValidationError as err:
            raise UserError(f"model {where!r}: {_fault(err)}") from None
        teacher._refuse_nonsense(where)
        return teacher

    def _refuse_nonsense(self, where: str) -> None:
        for url in self.endpoints:
            check_url(url, where)
        if not self.endpoints and self.endpoints_file is None:
            raise UserError(f"model {where!r}: no endpoint is given; set endpoints or endpoints_file")
        if self.endpoints_file is not None and not self.endpoints_file.is_file():
            raise UserError(f"model {where!r}: endpoints_file {self.endpoints_file} does not exist")
        if not self.model:
            raise UserError(
                f"model {where!r}: which model? write its served name after '#', as in http://host:8000/v1#Qwen/QwQ-32B"
            )
        if self.api == "completions" and not self.tokenizer:
            raise UserError(f"model {where!r}: raw completions need our own rendering; give tokenizer=FOLDER")


def check_url(url: str, where: str) -> None:
    """Refuses what is no base URL, and one that carries a password (it would be written into reports)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{where}: {url!r} is no base URL; write http://host:port/v1")
    if parts.username or parts.password or parts.query:
        raise UserError(f"{where}: an endpoint may carry neither password nor query; name the key's variable with key_env")


def proxy_of(url: str) -> str | None:
    """The proxy of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``); none for this machine and ``NO_PROXY``."""
    parts = urlsplit(url)
    if _is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    stated = getproxies()
    found = stated.get(parts.scheme) or stated.get("all")
    return found if not found or "://" in found else f"http://{found}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_endpoints(path: Path) -> tuple[str, ...]:
    """The base URLs of a watched file; ``#`` begins a comment."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = tuple(dict.fromkeys(line for line in lines if line))
    for url in found:
        check_url(url, str(path))
    return found


def _fault(err: ValidationError) -> str:
    first = err.errors()[0]
    name = ".".join(map(str, first["loc"]))
    hint = f"; {nearest(name, Teacher.model_fields)}" if first["type"] == "extra_forbidden" else ""
    return f"{name}: {first['msg']}{hint}"


def _options(query: str, where: str) -> dict[str, Any]:
    """Options after the question mark; ``price=PROMPT/COMPLETION`` is for a million tokens each."""
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if "price" in options:
        prompt, sign, completion = str(options["price"]).partition("/")
        if not sign:
            raise UserError(f"model {where!r}: price needs the form PROMPT/COMPLETION, each for a million tokens")
        options["price"] = {"prompt": prompt, "completion": completion}
    if "gpu_hour" in options:
        options["price"] = {**options.get("price", {}), "gpu_hour": options.pop("gpu_hour")}
    return options


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise UserError(f"teacher file {path} does not exist")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        raise UserError(f"{path} is not YAML: {err}") from err
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold the fields of a teacher: {', '.join(Teacher.model_fields)}")
    return found
