"""Memory and time of a distillation loss, forward and backward: stillwise's chunks, full logits, TRL's chunked kernel.

1,024 tokens, a vocabulary of 151,936 and hidden states of width 256 in float32, gradients for the student's hidden states
and its output head. Every measurement is a process of its own: its extra memory is its highest resident size (VmHWM, reset
after the inputs are made and torch is warm) minus the resident size at that moment, and the inputs are equal bytes in all
of them. Sides alternate within a round; medians are printed, in wall-clock and in CPU seconds.

    python benchmarks/kd_loss.py --threads 1 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_EXTRA_MB = 600
MAX_GAP = 1e-5
SIDES = ("stillwise", "naive", "trl")
DIVERGENCES = ("forward_kl", "reverse_kl", "jsd")
BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}
"""What TRL calls the three."""


@dataclass(frozen=True)
class Size:
    """Tokens, vocabulary and hidden width."""

    tokens: int
    vocab: int
    width: int


@dataclass(frozen=True)
class Measured:
    """One forward and backward pass: seconds, extra megabytes (2^20 bytes), and numbers that all sides must share."""

    wall_s: float
    cpu_s: float
    extra_mb: float
    loss: float
    hidden_norm: float
    head_norm: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--divergences", nargs="+", default=list(DIVERGENCES), choices=DIVERGENCES)
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "DIVERGENCE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = Size(args.tokens, args.vocab, args.width)
    if args.one:
        print(json.dumps(asdict(measured(args.one[0], args.one[1], size, args.threads))))
        return
    print(f"{size.tokens} tokens, vocabulary {size.vocab}, width {size.width}, {args.threads} thread(s)")
    report({name: rounds(name, size, args.threads, args.rounds) for name in args.divergences})


def rounds(divergence: str, size: Size, threads: int, count: int) -> dict[str, list[Measured]]:
    """Measurements of each side, alternating."""
    found: dict[str, list[Measured]] = {side: [] for side in SIDES}
    for number in range(count):
        for side in SIDES:
            command = [sys.executable, __file__, "--one", side, divergence, "--threads", str(threads)]
            command += ["--tokens", str(size.tokens), "--vocab", str(size.vocab), "--width", str(size.width)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            one = Measured(**json.loads(done.stdout.splitlines()[-1]))
            found[side].append(one)
            print(
                f"round {number + 1}  {divergence:<11} {side:<10} {one.wall_s:6.1f} s wall  {one.cpu_s:6.1f} s CPU  "
                f"{one.extra_mb:6.0f} MB extra  loss {one.loss:.6f}",
                flush=True,
            )
    return found


def measured(side: str, divergence: str, size: Size, threads: int) -> Measured:
    """One side in this process."""
    import torch

    torch.set_num_threads(threads)
    given, small = inputs(size), inputs(Size(4, 64, size.width))
    work: Callable[[dict[str, Any], str], Any] = {"stillwise": stillwise_loss, "naive": naive_loss, "trl": trl_loss}[side]
    work(small, divergence).backward()
    del small
    before = reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    loss = work(given, divergence)
    loss.backward()
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    norms = [float(given[name].grad.norm()) for name in ("hidden", "head")]
    return Measured(*seconds, (status("VmHWM") - before) / 2**10, float(loss.detach()), *norms)


def inputs(size: Size) -> dict[str, Any]:
    """Hidden states and heads of student and teacher, the same in every process."""
    import torch

    draw = torch.Generator().manual_seed(0)
    hidden, teacher_hidden = (torch.randn(size.tokens, size.width, generator=draw) for _ in range(2))
    head, teacher_head = (0.1 * torch.randn(size.vocab, size.width, generator=draw) for _ in range(2))
    return {
        "hidden": hidden.requires_grad_(),
        "head": head.requires_grad_(),
        "teacher_hidden": teacher_hidden,
        "teacher_head": teacher_head,
    }


def status(field: str) -> int:
    """A line of this process's memory status, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise SystemExit(f"this kernel does not report {field}; the benchmark runs on Linux")


def reset_peak() -> int:
    """Sets the process's highest resident size back to the present one, and returns it in KiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def stillwise_loss(given: dict[str, Any], divergence: str) -> Any:
    """Mean over tokens, in chunks."""
    import torch

    from stillwise.parts import builtin_catalogue
    from stillwise.train.losses.head import Head
    from stillwise.train.losses.mix import Hidden, Matching, divergence_sum

    matching = Matching(divergence=builtin_catalogue().parts[divergence]())  # type: ignore[arg-type]
    teacher = Hidden(given["teacher_hidden"], Head(given["teacher_head"]))
    count = len(given["hidden"])
    weights = torch.full((count,), 1 / count)
    return divergence_sum(given["hidden"], Head(given["head"]), teacher, matching, weights)[0]


def naive_loss(given: dict[str, Any], divergence: str) -> Any:
    """Mean over tokens, from the full logits of both models."""
    import torch

    with torch.no_grad():
        log_p = (given["teacher_hidden"] @ given["teacher_head"].T).log_softmax(-1)
    log_q = (given["hidden"] @ given["head"].T).log_softmax(-1)
    if divergence == "forward_kl":
        return (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    if divergence == "reverse_kl":
        return (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    middle = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0))
    both = log_p.exp() * (log_p - middle) + log_q.exp() * (log_q - middle)
    return 0.5 * both.sum(-1).mean()


def trl_loss(given: dict[str, Any], divergence: str) -> Any:
    """Mean over tokens, by TRL's kernel (its torch path where there is no GPU)."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    student = given["hidden"], given["head"], None
    teacher = given["teacher_hidden"], given["teacher_head"], None
    return ChunkedDivergenceFunction.apply(*student, *teacher, BETAS[divergence])[0].mean()


def gap(found: dict[str, list[Measured]]) -> float:
    """The largest relative difference of any side's loss or gradient norms from stillwise's."""
    mine = found["stillwise"][0]
    names = ("loss", "hidden_norm", "head_norm")
    gaps = [abs(getattr(other[0], n) - getattr(mine, n)) / abs(getattr(mine, n)) for other in found.values() for n in names]
    return float(max(gaps))


def report(found: dict[str, dict[str, list[Measured]]]) -> None:
    """One line for each divergence that a script reads: how often the naive time fits into ours, and the memory."""
    for divergence, sides in found.items():
        wall, cpu, memory = (
            {side: statistics.median(getattr(one, name) for one in runs) for side, runs in sides.items()}
            for name in ("wall_s", "cpu_s", "extra_mb")
        )
        ratio, extra, difference = wall["naive"] / wall["stillwise"], memory["stillwise"], gap(sides)
        line = {
            "name": f"kd_loss_{divergence}",
            "ratio": round(ratio, 3),
            "target": 1.0,
            "ok": ratio >= 1.0 and extra <= MAX_EXTRA_MB and difference <= MAX_GAP,
            "extra_mb": {side: round(value) for side, value in memory.items()},
            "max_extra_mb": MAX_EXTRA_MB,
            "wall_s": {side: round(value, 2) for side, value in wall.items()},
            "cpu_s": {side: round(value, 2) for side, value in cpu.items()},
            "ratio_to_trl": round(wall["trl"] / wall["stillwise"], 3),
            "largest_relative_gap": difference,
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
