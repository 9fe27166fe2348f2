"""Commands for a teacher's fleet: teacher up, teacher status, teacher down."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stillwise.cli.flags import add, not_negative, positive
from stillwise.errors import UserError

if TYPE_CHECKING:
    from stillwise.cli.flags import Commands
    from stillwise.runtime.fleet import Fleet

LOOK_S = 2.0


def teacher_parser(commands: Commands) -> None:
    """Flags of ``teacher up``, ``teacher status`` and ``teacher down``."""
    help = "serve a teacher on a Ray cluster, replicas following the queue"
    parser: argparse.ArgumentParser = commands.add_parser("teacher", help=help, description=help)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION", prog="stillwise teacher")
    _up_parser(actions)
    for name, help, command in (("status", "replicas and state of a fleet", _status), ("down", "end a fleet", _down)):
        one = add(actions, name, help, command)
        one.add_argument("name", metavar="NAME", help="the fleet's name, as 'teacher up' printed it")
        _cluster_flag(one)


def _up_parser(actions: Commands) -> None:
    parser = add(actions, "up", "start a fleet and keep the list of its endpoints, until interrupted", _up)
    parser.add_argument("model", metavar="MODEL", help="transformers:PATH, vllm:PATH, micro:NAME or a hub id")
    parser.add_argument("--name", help="the name it is served under (default: the model's own)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where teacher.yaml and endpoints.txt go")
    parser.add_argument("--min", type=not_negative, default=1, metavar="N", help="replicas at least (default 1)")
    parser.add_argument("--max", type=positive, default=4, metavar="N", help="replicas at most (default 4)")
    parser.add_argument("--queue", type=positive, default=32, metavar="N", help="calls under way for each replica (default 32)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="CPUs of one replica (default 1)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=positive, default=8000)
    parser.add_argument("--key-env", metavar="NAME", help="the variable with the key that calls must carry")
    parser.add_argument("--detach", action="store_true", help="return at once; the fleet stays until 'teacher down'")
    _cluster_flag(parser)


def _cluster_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--on", default="ray", metavar="ray[:ADDRESS]", help="which cluster (default: the one that is found)")


def _up(args: argparse.Namespace) -> int:
    from stillwise.runtime import fleet

    wanted = _wanted(args)
    wanted.check()
    joined = _join(args.on)
    if args.detach and joined == "started":
        raise UserError("--detach needs a cluster that stays: run 'ray start --head' first, or name one with --on ray:ADDRESS")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        file = fleet.up(wanted, args.out)
        print(f"{wanted.name}: {', '.join(fleet.endpoints(wanted))}\nstillwise run … --reasoner teacher:{file}", flush=True)
        if not args.detach:
            _watch(wanted, args.out / fleet.ENDPOINTS)
    finally:
        _leave(args, wanted.name)
    return 0


def _wanted(args: argparse.Namespace) -> Fleet:
    from stillwise.runtime.fleet import Fleet, key_digest

    name = args.name or args.model.partition("?")[0].rstrip("/").rpartition("/")[2].rpartition(":")[2]
    key = os.environ.get(args.key_env) if args.key_env else None
    if args.key_env and not key:
        raise UserError(f"--key-env {args.key_env}: this environment variable is not set")
    return Fleet(
        binding=args.model,
        name=name,
        threads=args.threads,
        least=args.min,
        most=args.max,
        queue=args.queue,
        host=args.host,
        port=args.port,
        key_digest=key_digest(key),
        key_env=args.key_env,
    )


def _join(on: str) -> str:
    from stillwise.runtime import cluster
    from stillwise.runtime.where import on_cluster

    if not on_cluster(on):
        raise UserError(f"--on {on}: a fleet needs a cluster; give ray or ray:ADDRESS")
    # Where the cluster is started here, on a busy machine: Serve would end a proxy that is not ready within five seconds.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "120")
    cluster.join(on.partition(":")[2])
    return "started" if cluster.started_here() else "joined"


def _watch(wanted: Fleet, listing: Path) -> None:
    from stillwise.runtime import fleet

    before = -1
    # A service manager ends services so; Ctrl-C is the same.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.default_int_handler)
    try:
        while True:
            fleet.write_endpoints(wanted, listing)
            running, state = fleet.replicas(wanted.name)
            if running != before:
                print(f"{wanted.name}: {running} replicas, {state.lower()}", flush=True)
            before = running
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        print(f"\n{wanted.name}: ending", flush=True)


def _leave(args: argparse.Namespace, name: str) -> None:
    from stillwise.runtime import cluster, fleet

    if not args.detach:
        fleet.down(name)
    cluster.leave()


def _status(args: argparse.Namespace) -> int:
    from stillwise.runtime import cluster, fleet

    _join(args.on)
    running, state = fleet.replicas(args.name)
    print(f"{args.name}: {running} replicas, {state.lower()}")
    cluster.leave()
    return 0


def _down(args: argparse.Namespace) -> int:
    from stillwise.runtime import cluster, fleet

    _join(args.on)
    if fleet.replicas(args.name)[1] == "NOT_STARTED":
        raise UserError(f"no fleet is called {args.name!r} on this cluster")
    fleet.down(args.name)
    print(f"{args.name}: ended")
    cluster.leave()
    return 0
