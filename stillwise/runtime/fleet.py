"""A teacher's fleet on Ray Serve: replicas of one model behind OpenAI's routes, as many as the queue asks for.

Where a binding names vLLM, the replicas are Ray Serve's own vLLM servers; else our transformers back end answers, many calls in
one batch. The fleet outlives the command that started it; a file of its endpoints is what a run's teacher watches.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stillwise.arrows import Completion, Request
from stillwise.errors import UserError
from stillwise.models.open import binding_folder, gpus_of, open_model, split_binding
from stillwise.models.served import Call, Refused, listed
from stillwise.models.transformers import TransformersModel
from stillwise.runtime import cluster
from stillwise.runtime.files import write_text

APP = "stillwise-teacher-{name}"
ENDPOINTS, TEACHER = "endpoints.txt", "teacher.yaml"
BATCH, BATCH_WAIT_S = 96, 0.02
LOOPBACK = ("127.0.0.1", "localhost", "::1")
UPSCALE_S, DOWNSCALE_S = 5.0, 120.0
"""How long a queue must stand, and stand empty, before replicas come and go."""

Job = tuple[Request, str]
"""A request and its rendered prompt."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What to serve, and between which bounds."""

    binding: str
    name: str
    """The name that the model is served under; part of the URL too."""
    threads: int = 1
    """CPUs of one replica."""
    least: int = 1
    most: int = 4
    queue: int = 32
    """Calls under way for each replica that the fleet grows towards."""
    host: str = "127.0.0.1"
    port: int = 8000
    key_env: str | None = None
    """The variable that holds the key, for the teacher's file."""
    key_digest: str = ""
    """The sha256 of the key that calls must carry; "" for none. The key itself is written nowhere."""

    def check(self) -> None:
        """Raises UserError for what cannot be served."""
        scheme, _ = split_binding(self.binding)
        if scheme not in ("transformers", "micro", "vllm"):
            raise UserError(f"{self.binding!r} is no model of weights; give transformers:PATH, vllm:PATH or micro:NAME")
        if self.least > self.most:
            raise UserError(f"--min {self.least} is more than --max {self.most}")
        if self.host not in LOOPBACK and not self.key_digest:
            raise UserError(f"--host {self.host} lets other machines in; name the variable that holds a key with --key-env")
        if scheme == "vllm" and self.key_digest:
            raise UserError("Ray Serve's vLLM servers check no key; keep them on loopback, or behind a gateway that does")

    @property
    def scaling(self) -> dict[str, Any]:
        """Ray Serve's words for the bounds."""
        return {
            "min_replicas": self.least,
            "max_replicas": self.most,
            "target_ongoing_requests": self.queue,
            "upscale_delay_s": UPSCALE_S,
            "downscale_delay_s": DOWNSCALE_S,
        }


def key_digest(key: str | None) -> str:
    """What replicas know of a key."""
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


class Replica:
    """One copy of the model: answers calls in OpenAI's words, many in one batch."""

    def __init__(self, binding: str, served: str, threads: int, key: str) -> None:
        from ray import serve

        model = open_model(binding, threads=threads)
        assert isinstance(model, TransformersModel)
        self._model, self._served, self._key = model, served, key

        async def generate(jobs: list[Job]) -> list[Completion]:
            return await asyncio.to_thread(self._generate, jobs)

        self._batched: Any = serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_WAIT_S)(generate)

    def _generate(self, jobs: Sequence[Job]) -> list[Completion]:
        return self._model.generate_from([request for request, _ in jobs], [(prompt, "") for _, prompt in jobs])

    async def __call__(self, request: Any) -> Any:
        """One HTTP call."""
        from starlette.responses import JSONResponse

        try:
            return JSONResponse(await self._answered(request))
        except Refused as err:
            return JSONResponse(err.body(), status_code=err.status)

    async def _answered(self, request: Any) -> dict[str, Any]:
        self._admit(request.headers.get("authorization", ""))
        path = request.url.path
        if path.endswith("/v1/models"):
            return listed(self._served)
        if not path.endswith(("/v1/completions", "/v1/chat/completions")) or request.method != "POST":
            raise Refused(404, f"no route {request.method} {path}")
        try:
            body = await request.json()
        except ValueError as err:
            raise Refused(400, f"the body is not JSON: {err}") from None
        call = Call.of(body, self._served)
        if (call.prompt is None) != path.endswith("/chat/completions"):
            raise Refused(400, "chat takes messages, completions take a prompt")
        prompt = call.text(self._model)
        ids = self._model.encode(prompt)
        if len(ids) >= self._model.positions:
            raise Refused(400, f"a prompt of {len(ids)} tokens leaves no room in {self._model.positions} positions")
        completions = await asyncio.gather(*(self._batched((one, prompt)) for one in call.requests()))
        return call.answer(completions, ids)

    def _admit(self, header: str) -> None:
        given = key_digest(header.removeprefix("Bearer ").strip() or None)
        if self._key and not hmac.compare_digest(given, self._key):
            raise Refused(401, "the key is not accepted")


def application(fleet: Fleet, gpus: bool) -> Any:
    """What Ray Serve runs."""
    if split_binding(fleet.binding)[0] == "vllm":
        return _vllm_application(fleet)
    from ray import serve

    options = {"num_cpus": fleet.threads, "num_gpus": gpus_of(fleet.binding) if gpus else 0}
    deployed = serve.deployment(
        name="replica",
        ray_actor_options=options,
        autoscaling_config=fleet.scaling,
        max_ongoing_requests=4 * max(BATCH, fleet.queue),
    )(Replica)
    return deployed.bind(fleet.binding, fleet.name, fleet.threads, fleet.key_digest)


def _vllm_application(fleet: Fleet) -> Any:
    from stillwise.errors import MissingExtra
    from stillwise.models.vllm_place import Place

    try:
        from ray.serve.llm import LLMConfig, build_openai_app
    except ImportError as err:
        raise MissingExtra("a fleet of vLLM servers", "vllm") from err
    place = Place.of(split_binding(fleet.binding)[1])
    engine = {name: value for name, value in place.settings.model_dump().items() if value is not None}
    config = LLMConfig(
        model_loading_config={"model_id": fleet.name, "model_source": place.path},
        deployment_config={"autoscaling_config": fleet.scaling, "max_ongoing_requests": 4 * fleet.queue},
        engine_kwargs={**engine, "generation_config": "vllm"},
    )
    return build_openai_app({"llm_configs": [config]})


def up(fleet: Fleet, folder: Path) -> Path:
    """Starts the fleet on the cluster that this process is connected to; the file that a run names as ``teacher:FILE``."""
    fleet.check()
    from ray import serve

    room = cluster.room()
    serve.start(http_options={"host": fleet.host, "port": fleet.port})
    serve.run(application(fleet, room.gpus > 0), name=APP.format(name=fleet.name), route_prefix=f"/{fleet.name}")
    listing = folder / ENDPOINTS
    write_endpoints(fleet, listing)
    weights = binding_folder(fleet.binding)
    fields = {
        "model": fleet.name,
        "endpoints_file": str(listing.resolve()),
        "in_flight": fleet.queue * fleet.most,
        **({"key_env": fleet.key_env} if fleet.key_env else {}),
        **({"tokenizer": str(weights.resolve())} if weights else {}),
    }
    write_text(folder / TEACHER, yaml.safe_dump(fields, sort_keys=False))
    return folder / TEACHER


def endpoints(fleet: Fleet) -> list[str]:
    """The base URL at each machine whose proxy is well; each of them reaches every replica."""
    from ray import serve

    well = [node for node, state in serve.status().proxies.items() if state == "HEALTHY"]
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in cluster.require_ray().nodes() if node["Alive"]}
    hosts = [fleet.host] if fleet.host in LOOPBACK else [nodes[node] for node in well if node in nodes]
    return sorted({f"http://{host}:{fleet.port}/{fleet.name}/v1" for host in hosts}) if well else []


def write_endpoints(fleet: Fleet, listing: Path) -> bool:
    """Brings the file up to what is there; whether it changed. Machines that come and go are seen by running jobs."""
    text = "".join(f"{url}\n" for url in endpoints(fleet)) or "# nothing answers now\n"
    if listing.is_file() and listing.read_text(encoding="utf-8") == text:
        return False
    write_text(listing, text)
    return True


def replicas(name: str) -> tuple[int, str]:
    """How many replicas run, and the application's state; (0, "NOT_STARTED") where there is none."""
    from ray import serve

    found = serve.status().applications.get(APP.format(name=name))
    if found is None:
        return 0, "NOT_STARTED"
    counts = [item for deployment in found.deployments.values() for item in deployment.replica_states.items()]
    return sum(count for state, count in counts if state == "RUNNING"), str(found.status.value)


def down(name: str) -> None:
    """Ends a fleet; calls under way are answered first."""
    from ray import serve

    serve.delete(APP.format(name=name))
