"""What counting alone reaches: the figure that a GPT has to beat."""

import torch

from minigpt.texts import Text


def pair_bits_per_byte(train: Text, held_out: Text, v: int) -> float:
    """Held-out bits per byte of P(token | the one before), counted in the training text.

    A rare pair says little, so it is mixed with the frequency of the token alone (Witten & Bell 1991, method C):

        P(j | i) = (n(i, j) + t(i) P(j)) / (n(i) + t(i))        t(i) = how many different tokens follow i

    P(j) is counted with one time more for each token, so that nothing is impossible.
    """
    # few of the V² pairs occur, so they are kept as a sorted list
    pairs, times = torch.unique(train.tokens[:-1] * v + train.tokens[1:], return_counts=True)
    n = torch.bincount(train.tokens[:-1], minlength=v)
    kinds = torch.bincount(pairs // v, minlength=v)
    frequency = torch.bincount(train.tokens, minlength=v) + 1.0
    p = frequency / frequency.sum()
    i, j = held_out.tokens[:-1], held_out.tokens[1:]
    place = torch.searchsorted(pairs, i * v + j).clamp(max=len(pairs) - 1)
    met = torch.where(pairs[place] == i * v + j, times[place], 0)
    alone = kinds[i].clamp(min=1)  # a token that never stood before another says nothing
    bits = -((met + alone * p[j]) / (n[i] + alone)).log2()
    return bits.double().sum().item() / held_out.n_bytes
