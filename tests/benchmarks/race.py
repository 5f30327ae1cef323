"""Fair timing: the sides take turns in one process, and the best time of each counts.

Where the median of the ratios within a round says otherwise, other work on the machine favoured one side.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

import torch


def machine() -> str:
    return f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch {torch.__version__}"


def race(sides: dict[str, Callable[[], object]], rounds: int, repeats: int, tokens: int) -> None:
    """Let each side run `repeats` times in each of `rounds` rounds, and print what each makes of its `tokens`.

    The first side is ours; the others are compared with it.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            times[name].append((time.perf_counter() - start) / repeats)
    ours, *_ = sides
    for name, seconds in times.items():
        best = min(seconds) / min(times[ours])
        typical = statistics.median(t / o for t, o in zip(seconds, times[ours], strict=True))
        print(f"{name:24}{tokens / min(seconds):9,.0f} tokens/s {1000 * min(seconds):9.1f} ms   "
              f"{ours} is {best:.2f} times as fast; median of the rounds {typical:.2f}")


def train_step(model: torch.nn.Module, loss_fn: Callable, batch: dict[str, torch.Tensor]) -> Callable[[], float]:
    """A function that takes one training step (forward, backward, AdamW, zero_grad) and returns the loss before it."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step() -> float:
        loss = loss_fn(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step


def check_same_training(steps: dict[str, Callable[[], float]]) -> None:
    """Three steps of each side, which warm it up as well: the losses must be the same."""
    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}
    ours = next(iter(losses.values()))
    for name, values in losses.items():
        if not torch.allclose(torch.tensor(values), torch.tensor(ours), atol=1e-3):
            raise SystemExit(f"not the same training: losses {values} of {name}, {ours} of ours")


def train_and_write(argv: list[str] | None, description: str, training: Callable[[int, int], None],
                    writing: Callable[[int, int], None]) -> None:
    """The benchmark of a model that writes: training(rounds, steps), then writing(rounds, n) for 1 and 16 texts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=12, help="turns that each side takes; the best one counts")
    parser.add_argument("--steps", type=int, default=3, help="training steps in one turn")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", module="transformers")
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    training(args.rounds, args.steps)
    for n in (1, 16):
        writing(args.rounds, n)
