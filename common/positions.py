"""Where a token stands, told to a model that would otherwise see a bag of words."""

import math

import torch
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
