"""Optimizers and the learning-rate schedule."""

from collections import defaultdict

import torch
import torch.nn as nn
from torch import Tensor


def trapezoid(step: int, steps: int, warmup: int, decay: float) -> float:
    """The factor of the learning rate at `step` of `steps`: up over `warmup` steps, level, down to zero at the end.

    decay: the share of the steps that go down. The long level part lets one run be cut or prolonged without a new
    schedule (Hägele et al. 2024, arXiv:2405.18392); BERT's own goes down from the end of the warm-up on (decay = 1).

    >>> [trapezoid(step, steps=10, warmup=2, decay=0.4) for step in (0, 1, 5, 7, 9)]
    [0.5, 1.0, 1.0, 0.75, 0.25]
    """
    left = (steps - step) / max(1, decay * steps)
    return min(1.0, (step + 1) / max(1, warmup), left)


def matrices_and_rest(model: nn.Module, *inside: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What Muon is for, the matrices whose name holds one of `inside`, and what AdamW keeps: all else.

    Embeddings, last layers, norms and biases are not maps between hidden states: for them a step that is orthogonal
    makes no sense (Jordan et al. 2024).
    """
    named = list(model.named_parameters())
    chosen = {id(p) for name, p in named if p.ndim == 2 and any(part in name for part in inside)}
    return [p for _, p in named if id(p) in chosen], [p for _, p in named if id(p) not in chosen]


def adamw(params: list[torch.nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices alone: a norm pulled to 0 would switch its sublayer off."""
    groups = [{"params": [p for p in params if p.ndim == 2], "weight_decay": weight_decay},
              {"params": [p for p in params if p.ndim != 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=params[0].device.type != "mps")


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """For each matrix of the stack (N, rows, columns) nearly U Vᵀ, where U S Vᵀ is its singular value decomposition.

    All but tiny singular values come to lie between about 0.7 and 1.2. Newton-Schulz iteration of Jordan 2024 (Muon,
    kellerjordan.github.io/posts/muon): X <- (a I + b X Xᵀ + c (X Xᵀ)²) X with a, b, c = 3.4445, -4.7750, 2.0315. The
    factors before X are polynomials of the first X Xᵀ, so only that small square matrix is iterated, and X multiplied
    once at the end.
    """
    x = g.mT if g.shape[-2] > g.shape[-1] else g  # rows <= columns: X Xᵀ is the smaller one of the two products
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now every singular value is at most 1
    gram = x @ x.mT
    identity = total = torch.eye(gram.shape[-1], dtype=g.dtype, device=g.device)
    for step in range(steps):
        # a I + b G + c G² for G = X Xᵀ; then G of the next X, if there is one
        factor = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315) + 3.4445 * identity
        total = factor @ total if step else factor
        gram = factor @ gram @ factor if step < steps - 1 else gram
    x = total @ x
    return x.mT if g.shape[-2] > g.shape[-1] else x


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal: all directions of a weight matrix move by the same amount.

    A plain gradient step moves a matrix almost only along its few strongest directions.

    lr: the size of a step, as the root mean square of the change of one weight divided by 0.2 (Liu et al. 2025,
    arXiv:2502.16982, eq. 4: so AdamW's learning rates carry over). Matrices of one shape are stacked and orthogonalised
    together in float32: on a CPU torch.optim.Muon, one matrix at a time in bfloat16, takes three times as long.
    smaller: for a matrix some of whose rows are smaller by nature, (rows, 1) numbers that make their steps smaller too.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0,
                 smaller: dict[nn.Parameter, Tensor] | None = None) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.smaller = smaller or {}

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                self._step_of_one_shape(params, group, 0.2 * max(shape) ** 0.5)  # entries of U Vᵀ: RMS 1 / √max

    def _step_of_one_shape(self, params: list[nn.Parameter], group: dict, scale: float) -> None:
        grads = [p.grad for p in params]
        velocity = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
        torch._foreach_lerp_(velocity, grads, 1 - group["momentum"])
        ahead = torch._foreach_lerp(grads, velocity, group["momentum"])  # Nesterov: look where momentum leads
        updates = orthogonalise(torch.stack(ahead)).unbind()
        updates = [u * self.smaller[p] if p in self.smaller else u for p, u in zip(params, updates)]
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, updates, alpha=-group["lr"] * scale)
