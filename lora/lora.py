"""LoRA: a frozen weight matrix, and beside it the product of two thin ones that learns.

    W' = W + (alpha / r) B A        Hu et al. 2021 (arXiv:2106.09685), section 4.1, eq. 3

W (d_out, d_in) stays as it is. A (r, d_in) begins at random and B (d_out, r) at zero, so that W' = W at first. When all
is learned the product can be added to W (merging.py): then the model is as fast as before.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common.command import UserError
from lora.wrapping import chosen, freeze, wrap

ALL = "all"  # the pair of a matrix that is adapted as a whole


class LowRank(nn.Module):
    """The two thin matrices: A (r, d_in) from N(0, 1 / d_in), so that A x is about as large as x, and B (d_out, r) = 0.

    (The paper leaves the width of A's normal distribution open; its code draws A uniformly, with a deviation smaller by
    √3. For a table of vectors it has B random and A zero; here it is the same for all layers.)
    """

    def __init__(self, d_in: int, d_out: int, r: int, alpha: float, like: Tensor) -> None:
        """like: a tensor whose type and device A and B are to have."""
        super().__init__()
        self.A = nn.Parameter(torch.empty(r, d_in, dtype=like.dtype, device=like.device))
        self.B = nn.Parameter(torch.zeros(d_out, r, dtype=like.dtype, device=like.device))
        self.alpha, self.scale = alpha, alpha / r
        nn.init.normal_(self.A, std=d_in**-0.5)

    def change(self) -> Tensor:
        """What is added to W: (alpha / r) B A, (d_out, d_in)."""
        return self.scale * self.B @ self.A


class LoRA(nn.Module):
    """What stands in the place of a layer: the layer itself, `base`, and a low-rank pair for some of its outputs.

    A stacked matrix (common/layers.py: Stacked) holds Q, K and V one below the other. It has a pair for each part that
    is adapted: for Q and V, those are the W'_q and W'_v of section 4.2, and K's outputs are left alone. Nothing merges
    by itself, neither in train() nor in eval().
    """

    def __init__(self, base: nn.Module, rows: dict[str, slice], pairs: dict[str, LowRank], dropout: float) -> None:
        """rows: for each pair, by name, which outputs of the layer are its own."""
        super().__init__()
        self.base, self.rows, self.pairs = base, rows, nn.ModuleDict(pairs)
        self.dropout = nn.Dropout(dropout)  # of what goes into A; W sees all of it, as in the paper's code
        self.merged = False

    @property
    def weight(self) -> Tensor:
        """W' in the form of the layer's own weight, for who reads it and does not call the layer (GPT.embed does)."""
        if self.merged:
            return self.base.weight
        w = as_out_in(self.base).clone()
        for name, pair in self.pairs.items():
            w[self.rows[name]] = w[self.rows[name]] + pair.change()
        return w.T if is_transposed(self.base) else w

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    @torch.no_grad()
    def add_to_base(self, sign: int) -> None:
        for name, pair in self.pairs.items():
            as_out_in(self.base)[self.rows[name]] += sign * pair.change()


class LoRALinear(LoRA):
    """x W'ᵀ + b without ever making W': x Wᵀ + b + (alpha / r) (x Aᵀ) Bᵀ, which costs little where r is small."""

    @property
    def parts(self) -> tuple[int, ...]:  # of a Stacked matrix: its outputs are taken apart by them
        return self.base.parts

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)"""
        return self.adapted(self.base(x), x, 0)

    def some(self, x: Tensor, first: int, end: int) -> Tensor:
        """As Stacked.some: the outputs of the parts first ... end - 1."""
        return self.adapted(self.base.some(x, first, end), x, sum(self.parts[:first]))

    def adapted(self, y: Tensor, x: Tensor, start: int) -> Tensor:
        """y (..., n), the outputs start ... start + n - 1 of the base, plus what the pairs add to them."""
        if self.merged:
            return y
        x = self.dropout(x)
        for name, pair in self.pairs.items():
            own, wanted = self.rows[name], slice(start, start + y.shape[-1])
            rows = slice(max(own.start, wanted.start), min(own.stop, wanted.stop))  # what both have in common
            if rows.start >= rows.stop:
                continue
            B = pair.B[rows.start - own.start : rows.stop - own.start]
            h = F.linear(x, pair.A)  # (..., r)
            if rows == wanted:  # a product that adds in passing saves a walk over y
                y = torch.addmm(y.reshape(-1, len(B)), h.reshape(-1, h.shape[-1]), B.T, alpha=pair.scale).view(y.shape)
            else:
                y[..., rows.start - start : rows.stop - start] += F.linear(pair.scale * h, B)
        return y


class LoRAEmbedding(LoRA):
    """The same for a table of vectors: each token has a column of A, so a lookup finds what A x is elsewhere."""

    @property
    def num_embeddings(self) -> int:  # BERT asks its table of positions for it
        return self.base.num_embeddings

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> (..., D)"""
        x = self.base(ids)
        if self.merged:
            return x
        pair = self.pairs[ALL]
        return x + F.linear(pair.scale * self.dropout(F.embedding(ids, pair.A.T)), pair.B)


def is_transposed(layer: nn.Module) -> bool:
    """Is the weight kept as (in, out)? So it is in a table of vectors, and in the Conv1D of `transformers`' GPT-2."""
    return isinstance(layer, nn.Embedding) or type(layer).__name__ == "Conv1D"


def as_out_in(layer: nn.Module) -> Tensor:
    """The weight of a layer as (d_out, d_in), in its own memory."""
    return layer.weight.T if is_transposed(layer) else layer.weight


def targets(model: nn.Module) -> dict[str, tuple[str, str, slice]]:
    """All that can be adapted, by name: the layer, the name of the part in it, and which of its outputs that is.

    `decoder.blocks.0.attention.qkv` is a stacked matrix as a whole, `decoder.blocks.0.attention.qkv.q` its part Q.
    """
    found = {}
    for name, layer in model.named_modules():
        if name and (isinstance(layer, (nn.Linear, nn.Embedding)) or is_transposed(layer)):
            found[name] = name, ALL, slice(0, as_out_in(layer).shape[0])
            start = 0
            for part, size in zip(getattr(layer, "names", ()), getattr(layer, "parts", ())):
                found[f"{name}.{part}"] = name, part, slice(start, start + size)
                start += size
    return found


def add_lora(model: nn.Module, patterns: Sequence[str] = ("q", "v"), r: int = 8, alpha: float = 16.0,
             dropout: float = 0.0) -> None:
    """Freeze the model, and put a LoRA around each layer, or part of one, whose name ends with one of the patterns.

    The default adapts W_q and W_v, as the paper does (section 4.2, table 5). alpha: thanks to the factor alpha / r the
    learning rate need not be sought anew for another r (section 4.1).
    UserError for a pattern that matches nothing, an r that the matrix cannot have, an alpha that is not above 0, a
    weight that is tied to another layer's, a model that has LoRAs already.

    >>> model = nn.Sequential(nn.Linear(6, 4))
    >>> add_lora(model, ["0"], r=2)
    >>> [tuple(p.shape) for p in model.parameters() if p.requires_grad]  # A and B
    [(2, 6), (4, 2)]
    """
    refuse_twice(model)
    if alpha <= 0:
        raise UserError(f"alpha = {alpha:g} should be more than 0: what LoRA learns is multiplied by alpha / r")
    known = targets(model)
    rows: dict[str, dict[str, slice]] = {}
    for name in chosen(known, patterns):
        layer, part, own = known[name]
        check(model, name, layer, own, r)
        rows.setdefault(layer, {})[part] = own
    if both := next((layer for layer, parts in rows.items() if ALL in parts and len(parts) > 1), None):
        raise UserError(f"{both} is asked for as a whole and in parts: {', '.join(rows[both])}; give one or the other")
    freeze(model)
    for layer, parts in rows.items():
        weight = as_out_in(model.get_submodule(layer))
        put(model, layer, parts, {part: LowRank(weight.shape[1], own.stop - own.start, r, alpha, weight)
                                  for part, own in parts.items()}, dropout)


def refuse_twice(model: nn.Module) -> None:
    """UserError when there are LoRAs in the model: one around another would be hard to save, and hard to merge."""
    if any(isinstance(layer, LoRA) for layer in model.modules()):
        raise UserError("this model has LoRAs already; unload(model) takes them out")


def put(model: nn.Module, layer: str, rows: dict[str, slice], pairs: dict[str, LowRank], dropout: float) -> None:
    """The LoRA itself, in the place of the layer of that name."""
    kind = LoRAEmbedding if isinstance(model.get_submodule(layer), nn.Embedding) else LoRALinear
    wrap(model, layer, lambda base: kind(base, rows, pairs, dropout))


def check(model: nn.Module, name: str, layer: str, rows: slice, r: int) -> None:
    """UserError when `name` cannot have a LoRA of rank r."""
    module = model.get_submodule(layer)
    tied = [other for other, one in model.named_modules() if one is not module and is_same(one, module)]
    if tied:
        raise UserError(f"{layer} is tied to {tied[0]}: the two are one matrix, and a LoRA around one of them would "
                        "make them differ; adapt other layers")
    d_out, d_in = rows.stop - rows.start, as_out_in(module).shape[1]
    if not 1 <= r <= min(d_out, d_in):
        raise UserError(f"r = {r} should be from 1 to {min(d_out, d_in)}: {name} maps {d_in} numbers to {d_out}")


def is_same(one: nn.Module, other: nn.Module) -> bool:
    """Do the two have one weight?"""
    return getattr(one, "weight", None) is other.weight


def loras(model: nn.Module) -> dict[str, LoRA]:
    """The LoRAs of a model by name. UserError when it has none."""
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRA)}
    if not found:
        raise UserError("this model has no LoRA; add_lora(model) puts them in")
    return found
