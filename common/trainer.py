"""The one training loop. It knows no model: a loss function, batches and an optimizer are given to it."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from common import checkpoint
from common.command import UserError
from common.config import option
from common.interrupt import Interrupted, Stopped
from common.optim import trapezoid
from common.report import Metrics

Batch = dict[str, Tensor]  # "ids" is among them; its size counts the tokens
Losses = dict[str, tuple[Tensor, Tensor | int]]  # name -> sum over the items that count, and how many count


@dataclass(frozen=True)
class TrainConfig:
    """What every training run has; a command adds its own fields."""

    steps: int = option(1000, "optimizer steps in all: steps, not seconds, so that a run can be repeated", low=1)
    warmup: int = option(30, "steps over which the learning rate rises", low=0)
    decay: float = option(0.5, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    clip: float = option(1.0, "largest norm of the gradient; what is longer is scaled down to it", low=0.001)
    accumulate: int = option(1, "batches whose gradients make one step: the step of one larger batch", low=1)
    eval_every: int = option(200, "steps between two evaluations; the run is saved at each", low=1)
    seed: int = option(0, "seed of everything random", low=0, high=2**63 - 1)
    precision: str = option("float32", "matrix products on a CPU: float32, or bfloat16 where it has them")


def choose_device() -> torch.device:
    """A GPU if there is one (CUDA, or Apple's MPS), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def fit(model: nn.Module, loss_fn: Callable[[nn.Module, Batch], Losses], batches: Callable[[int], Batch],
        optimizers: list[torch.optim.Optimizer], config: TrainConfig, run: Path,
        evaluate: Callable[[int], dict[str, float]], resume: bool = False,
        made_from: dict[str, str] | None = None, weights: dict[str, float] | None = None) -> None:
    """Train `model` in place for `config.steps` steps and leave metrics.jsonl, last.pt and best.pt in the folder `run`.

    loss_fn(model, batch): {name: (sum, count)}; the step goes down the sum of the means.
    batches(t): the t-th batch, the same one whenever it is asked for; that is what makes a run resumable.
    evaluate(step): measured on held-out text; its first value decides which weights are the best (smaller is better).
    weights: what a loss counts in the step, by name; 1 where not given. The losses shown are without it.
    made_from: hashes of what the batches come from, by name; a run is not resumed where one of them has changed.
    Ctrl-C ends the step, saves and raises Stopped; a second one raises KeyboardInterrupt at once and saves nothing.
    """
    device = next(model.parameters()).device
    metrics, start, best, made_from = Metrics(run / "metrics.jsonl"), 0, math.inf, made_from or {}
    if resume:
        start, best = restore(run / "last.pt", model, optimizers, made_from)
    metrics.keep_until(start)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    model.train()  # a published model is handed out with dropout off
    interrupted, watched = Interrupted(), sys.stderr.isatty()
    pause = 0.1 if watched else 30.0  # seconds between two states of the bar: in a file each is a line of its own
    with interrupted, tqdm(total=config.steps, initial=start, unit="step", dynamic_ncols=True, mininterval=pause,
                           maxinterval=max(10.0, pause)) as bar:
        clock, tokens = time.perf_counter(), 0
        for step in range(start, config.steps):
            factor = trapezoid(step, config.steps, config.warmup, config.decay)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = factor * group["initial_lr"]
            micro = [to(batches(step * config.accumulate + i), device) for i in range(config.accumulate)]
            with products_in_bfloat16(device, config.precision):
                means = gradient(model, loss_fn, micro, weights)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            bar.update()
            tokens += sum(batch["ids"].numel() for batch in micro)
            done, stop = step + 1, bool(interrupted)
            judge = done % config.eval_every == 0 or done == config.steps
            show = done % 10 == 0 or done == 1 or judge
            if show or stop:  # not at every step: reading a loss makes a GPU wait
                values = {name: mean.item() for name, mean in means.items()}
                if not all(map(math.isfinite, values.values())):  # never saved: the last save stays a good one
                    raise UserError(f"the loss is {values} at step {done}: a smaller learning rate may help; "
                                    f"the last save, if any, is in {run}")
            if show:
                speed = tokens / (time.perf_counter() - clock)
                clock, tokens = time.perf_counter(), 0
                metrics.write(done, **values, lr_factor=factor, tokens_per_s=round(speed))
                bar.set_postfix_str(", ".join(f"{n} {v:.3f}" for n, v in values.items()) + f", {speed:,.0f} tokens/s",
                                    refresh=watched)
            if judge:
                best = min(best, look(model, evaluate, done, best, metrics, run))
                clock, tokens, stop = time.perf_counter(), 0, bool(interrupted)  # it may have been pressed meanwhile
            if judge or stop:
                save(run / "last.pt", done, best, model, optimizers, made_from)
            if stop:
                raise Stopped


def has_bfloat16(device: torch.device, precision: str) -> bool:
    """Are matrices multiplied in bfloat16? On a GPU that can always; on a CPU that can when `precision` asks for it."""
    if device.type == "cpu":
        return precision == "bfloat16" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


@contextmanager
def products_in_bfloat16(device: torch.device, precision: str) -> Iterator[None]:
    """Matrix products, and what flows between them, in bfloat16 where the device has it; the weights stay float32."""
    with ExitStack() as stack:
        if has_bfloat16(device, precision):
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            if device.type == "cpu":  # torch's fused attention is three times slower there than its plain one (2.13)
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def look(model: nn.Module, evaluate: Callable[[int], dict[str, float]], step: int, best: float, metrics: Metrics,
         run: Path) -> float:
    """Evaluate with dropout off, and keep the weights in best.pt if the first value is below `best`; return it."""
    model.eval()
    with torch.no_grad():
        measured = evaluate(step)
    model.train()
    metrics.write(step, **measured)
    value = next(iter(measured.values()))
    if value < best:
        checkpoint.save({"model": model.state_dict()}, run / "best.pt")
    return value


def gradient(model: nn.Module, loss_fn: Callable[[nn.Module, Batch], Losses],
             batches: list[Batch], weights: dict[str, float] | None = None) -> dict[str, Tensor]:
    """Leave in each `p.grad` the gradient of the weighted sum of the mean losses over all `batches`; return the means.

    Exact for batches with unequal counts: sum of sums / sum of counts, not the mean of means (transformers issue
    34191). The divisor of each loss is known only after the last batch, so with more than one batch each loss is
    differentiated by itself: one backward pass each.
    """
    weights = weights or {}
    if len(batches) == 1:
        means = {name: total / max(1, count) for name, (total, count) in loss_fn(model, batches[0]).items()}
        sum(weights.get(name, 1.0) * mean for name, mean in means.items()).backward()
        return {name: mean.detach() for name, mean in means.items()}

    params = [p for p in model.parameters() if p.requires_grad]
    grads: dict[str, list[Tensor]] = {}
    totals: dict[str, list] = {}
    for batch in batches:
        losses = loss_fn(model, batch)
        for name, (total, count) in losses.items():
            new = torch.autograd.grad(total, params, retain_graph=True, materialize_grads=True)
            grads[name] = [a + b for a, b in zip(grads[name], new)] if name in grads else list(new)
            old = totals.get(name, [0.0, 0])
            totals[name] = [old[0] + total.detach(), old[1] + count]
    for i, p in enumerate(params):
        p.grad = sum(weights.get(name, 1.0) / max(1, count) * grads[name][i] for name, (_, count) in totals.items())
    return {name: total / max(1, count) for name, (total, count) in totals.items()}


def to(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def save(path: Path, step: int, best: float, model: nn.Module, optimizers: list[torch.optim.Optimizer],
         made_from: dict[str, str]) -> None:
    """All that the next step depends on, besides the settings and the text."""
    checkpoint.save({"step": step, "best": best, "made_from": made_from, "model": model.state_dict(),
                     "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                     "random": torch.get_rng_state(),  # dropout draws from here
                     "cuda_random": torch.cuda.get_rng_state_all(),
                     "mps_random": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None}, path)


def restore(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer],
            made_from: dict[str, str]) -> tuple[int, float]:
    """Put back what `save` wrote; returns the number of steps done and the best value so far."""
    state = checkpoint.load(path)
    try:
        for name, now in made_from.items():
            if state["made_from"][name] != now:
                raise UserError(f"{path.parent} cannot be resumed: its {name} has changed since it was saved")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["random"])
        torch.cuda.set_rng_state_all(state["cuda_random"])
        if state["mps_random"] is not None:
            torch.mps.set_rng_state(state["mps_random"])
        return state["step"], state["best"]
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not belong to this run: {str(error).splitlines()[-1].strip()}") from error
