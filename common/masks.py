"""Who may look at whom: boolean tensors, True = may attend, built outside the models and passed to them."""

import torch
from torch import Tensor


def causal_mask(t: int, s: int, device: torch.device | None = None) -> Tensor:
    """(T, S), T queries, S keys: a query may see the keys up to its own place; the last is aligned with the last.

    S > T when keys were kept from earlier tokens, as GPT does when it writes.

    >>> causal_mask(2, 3).int()  # two queries, and one key from before them
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return torch.ones(t, s, dtype=torch.bool, device=device).tril(s - t)


def padding_mask(mask: Tensor) -> Tensor:
    """(B, S), True = a real token -> (B, 1, 1, S): every head and every query sees the real tokens only."""
    return mask[:, None, None, :]


def check_right_padded(mask: Tensor) -> None:
    """Raise ValueError unless every row of mask (B, T) is real tokens and then padding.

    On the left, padding would shift the positions; on the right a causal model never sees it.
    """
    if (mask[:, 1:] > mask[:, :-1]).any():
        raise ValueError("padding stands before a real token; put it on the right")
