"""Where a token stands, told to a model that would otherwise see a bag of words."""

import math

import torch
import torch.nn as nn
from torch import Tensor


def sinusoidal(n_positions: int, d_model: int, base: float = 10_000.0) -> Tensor:
    """The position vectors of Vaswani et al. 2017, section 3.5, (n_positions, d_model): nothing to learn.

        PE(pos, 2i) = sin(pos / base^(2i/D))       PE(pos, 2i+1) = cos(pos / base^(2i/D))       base = 10,000 there

    BERT learns its positions; here these are what they start from (minibert/start.py).
    Each pair (2i, 2i+1) is the hand of a clock, so a fixed rotation moves any position to its neighbour.
    """
    position = torch.arange(n_positions).unsqueeze(1)  # (P, 1), P = n_positions
    frequency = torch.exp(-math.log(base) * torch.arange(0, d_model, 2) / d_model)  # (D/2,)
    angle = position * frequency  # (P, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :d_model]  # an odd width drops the last cosine


class Rotary(nn.Module):
    """Rotary positions: queries and keys are turned, pair by pair, by angles that grow with the position.

    The product of a turned query and a turned key depends on how far apart they stand, not on where (Su et al. 2021,
    RoFormer, arXiv:2104.09864, eq. 34). Nothing to learn: the angle of pair i at position p is p / base^(2i/Dh).
    Pair i is made of the numbers i and i + Dh/2, as in the published LLaMA checkpoints of Hugging Face; the paper, and
    Meta's own files, pair neighbours 2i and 2i + 1. The two are the same up to the order of the numbers.
    """

    def __init__(self, d_head: int, max_len: int, base: float = 10_000.0) -> None:
        super().__init__()
        if d_head % 2:
            raise ValueError(f"rotary positions turn pairs of numbers, and a head of width {d_head} is odd")
        frequency = 1.0 / base ** (torch.arange(0, d_head, 2).float() / d_head)  # (Dh/2,)
        angle = torch.outer(torch.arange(max_len).float(), frequency)  # (max_len, Dh/2)
        # not persistent: they follow the model to another device, and stay out of its checkpoints
        self.register_buffer("cos", torch.cat([angle.cos(), angle.cos()], dim=-1), persistent=False)
        self.register_buffer("sin", torch.cat([-angle.sin(), angle.sin()], dim=-1), persistent=False)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """x (B, H, T, Dh) at positions (B or 1, T), 0, 1, 2 ... when not given -> (B, H, T, Dh)"""
        if positions is None:
            cos, sin = self.cos[: x.shape[2]], self.sin[: x.shape[2]]  # (T, Dh)
        else:
            cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)  # (B or 1, 1, T, Dh)
        # (a, b) turned by an angle: (a cos - b sin, b cos + a sin); rolling by Dh/2 swaps a and b
        return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


def relative_bucket(distance: Tensor, n_buckets: int, max_distance: int, both_directions: bool) -> Tensor:
    """The bucket, 0 ... n_buckets - 1, of each distance (position of the key minus position of the query), same shape.

    Half of the buckets hold one distance each; the others grow with its logarithm up to max_distance, and the last one
    holds all beyond. With both directions the second half of the buckets is for keys behind the query, distance > 0;
    with one, such keys are not seen, and fall into bucket 0. Raffel et al. 2020 (T5, arXiv:1910.10683), section 2.1.

    >>> relative_bucket(torch.tensor([0, -1, -3, -4, -7, -100, 5]), 8, 16, both_directions=False)
    tensor([0, 1, 3, 4, 5, 7, 0])
    >>> relative_bucket(torch.tensor([0, -1, 1, -3, 3, 100]), 8, 16, both_directions=True)
    tensor([0, 1, 5, 2, 6, 7])
    """
    behind = torch.zeros_like(distance)
    if both_directions:
        n_buckets //= 2
        behind = n_buckets * (distance > 0)
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets // 2  # distances below have a bucket of their own
    # the share of the way from `exact` to max_distance, on a logarithmic scale; in the order of operations, and so with
    # the roundings, of the published models
    far = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (n_buckets - exact)
    return behind + torch.where(distance < exact, distance, (exact + far.long()).clamp(max=n_buckets - 1))


class RelativeBias(nn.Module):
    """T5's positions: one learned number for each head and bucket of distances, added to the scores of attention.

    Nothing is added to the embeddings. One table serves all layers of a stack, so a stack works the bias out once.
    """

    def __init__(self, n_heads: int, n_buckets: int, max_distance: int, both_directions: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(n_buckets, n_heads)
        self.max_distance = max_distance  # from here on all distances are one, in each direction
        distance = torch.arange(-max_distance, max_distance + 1)
        # not persistent: it follows the model to another device, and stays out of its checkpoints
        self.register_buffer("bucket", relative_bucket(distance, n_buckets, max_distance, both_directions), False)

    def forward(self, queries: Tensor, n_keys: int) -> Tensor:
        """queries (B or 1, T): their positions; the keys stand at 0, 1, ... n_keys - 1. -> (B or 1, H, T, S)"""
        distance = torch.arange(n_keys, device=queries.device) - queries.unsqueeze(-1)  # (B or 1, T, S)
        distance = distance.clamp(-self.max_distance, self.max_distance)
        return self.table(self.bucket[distance + self.max_distance]).permute(0, 3, 1, 2)
