"""Pieces that keep the same company get similar vectors: embeddings from counting, before any training.

"You shall know a word by the company it keeps" (Firth 1957). Count which pieces stand near each other, and reduce the
table of counts to a few dimensions: that is what word2vec learns implicitly (Levy & Goldberg 2014, "Neural Word
Embedding as Implicit Matrix Factorization").
"""

import math

import torch
from torch import Tensor


def cooccurrence(tokens: Tensor, v: int, reach: int = 2) -> Tensor:
    """How often piece j stands behind piece i, (V, V): at distance 1 a count of 1, at distance 2 of 1/2, ...

    >>> cooccurrence(torch.tensor([0, 1, 0]), v=2, reach=2)
    tensor([[0.5000, 1.0000],
            [1.0000, 0.0000]])
    """
    counts = torch.zeros(v * v)
    for distance in range(1, reach + 1):
        counts += torch.bincount(tokens[:-distance] * v + tokens[distance:], minlength=v * v) / distance
    return counts.view(v, v)


def embeddings_from_counts(counts: Tensor, d: int) -> Tensor:
    """A vector of mean square 1 for each piece, (V, D): alike for pieces with the same right and left neighbours.

    Positive pointwise mutual information, log(p(i, j) / (p(i) p(j))), of both directions, reduced to D dimensions by
    a singular value decomposition and turned at random, so that no single dimension matters more than another.
    """
    information = torch.cat([positive_information(counts), positive_information(counts.T)], dim=1)  # (V, 2V)
    u, s, _ = torch.svd_lowrank(information, q=min(d + 16, len(counts)))
    vectors = (u * s.sqrt())[:, :d]  # the root: Levy, Goldberg & Dagan 2015, section 3.3, "eigenvalue weighting"
    vectors = vectors @ torch.linalg.qr(torch.randn(d, vectors.shape[1])).Q.T
    unseen = counts.sum(1) + counts.sum(0) == 0  # special tokens, bytes that no text needed: any vector will do
    vectors[unseen] = torch.randn(int(unseen.sum()), d)
    vectors = vectors - vectors.mean(dim=1, keepdim=True)  # the LayerNorm behind would subtract it, in all dimensions
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6) * math.sqrt(d)


def positive_information(counts: Tensor) -> Tensor:
    """max(0, log(p(i, j) / (p(i) q(j)))), (V, V), q = frequencies to the power 0.75 (Levy, Goldberg & Dagan 2015, 3.2).

    Without that power rare pieces, whose few neighbours are chance, would get the largest values.
    """
    row = counts.sum(1, keepdim=True)
    column = counts.sum(0, keepdim=True) ** 0.75
    expected = row * column / column.sum()
    return (counts / expected.clamp(min=1e-9)).clamp(min=1.0).log()
