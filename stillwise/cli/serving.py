"""Commands about a trained student: serve, compress."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from stillwise.cli.flags import add, mode_of, not_negative, positive, say

if TYPE_CHECKING:
    from stillwise.cli.flags import Commands


def serve_parser(commands: Commands) -> None:
    """Flags of ``serve``."""
    parser = add(commands, "serve", "serve a run's student in OpenAI format with vLLM or transformers", _serve)
    parser.add_argument("dir", type=Path, metavar="RUN", help="a run's folder, or a transformers folder")
    parser.add_argument("--server", default="auto", choices=["auto", "vllm", "transformers"], help="auto: vLLM on a GPU")
    parser.add_argument("--host", default="127.0.0.1", help="another interface wants a key (default 127.0.0.1)")
    parser.add_argument("--port", type=positive, default=8000)
    parser.add_argument("--name", default="student", help="what clients call the model")
    parser.add_argument("--api-key-env", metavar="NAME", help="the environment variable that holds the key clients must send")
    parser.add_argument("--one-by-one", action="store_true", help="transformers without continuous batching")
    parser.add_argument("--flags", default="", metavar="'--A B'", help="further flags of the server itself, in one word")


def compress_parser(commands: Commands) -> None:
    """Flags of ``compress``."""
    parser = add(commands, "compress", "quantise a run's student and measure what that costs, in the run's table", _compress)
    parser.add_argument("dir", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", default="int8", choices=["int8", "int4", "gguf"], help="torchao, or llama.cpp's converter")
    parser.add_argument("--threads", type=not_negative, default=0, metavar="N", help="torch threads (default: 0, the cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _compress(args: argparse.Namespace) -> int:
    from stillwise.recipe.compressing import Compressing, compress

    say(compress(Compressing(run=args.dir, form=args.to, threads=args.threads, progress=mode_of(args))))
    return 0


def _serve(args: argparse.Namespace) -> int:
    from stillwise.recipe.serving import Serving, start

    start(
        Serving(
            run=args.dir,
            server=args.server,
            host=args.host,
            port=args.port,
            name=args.name,
            key_env=args.api_key_env,
            one_by_one=args.one_by_one,
            flags=tuple(shlex.split(args.flags)),
        )
    )
    return 0
