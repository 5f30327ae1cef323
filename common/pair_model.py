"""Embeddings and a head that know which token follows which: counting, written as two matrices."""

import math

import torch
from torch import Tensor

SHARED = 0.5  # of the length √D of every embedding: the first number is 0.5 √D


def pair_model(tokens: Tensor, v: int, d: int, smoothing: float = 20.0) -> tuple[Tensor, Tensor]:
    """Embeddings E and head W, both (V, D): softmax(W E[i]) is about P(j | i), j the token after i.

    Every row of E has a mean square of 1 (a norm in front of the head changes nothing), and begins with SHARED · √D.
    smoothing: counts are mixed with the frequencies of the tokens as if each had been seen that many times more.
    """
    pairs = torch.bincount(tokens[:-1] * v + tokens[1:], minlength=v * v).view(v, v).float()
    first, second = pairs.sum(1), pairs.sum(0) + 0.5  # how often a token stands first, and second: never quite never
    p, q = (first + 0.5) / (first + 0.5).sum(), second / second.sum()  # the same as frequencies
    log_p = ((pairs + smoothing * q) / (first[:, None] + smoothing)).log()  # log P(j | i), (V, V)
    # What i tells about j: log P(j | i) / P(j), less its mean in each row. Kept are the D - 1 directions that hold most
    # of it, where a frequent token weighs more.
    information = log_p - q.log()
    information = information - (information * q).sum(1, keepdim=True)
    weight = p.sqrt()[:, None]
    u, s, _ = torch.svd_lowrank(weight * information * q.sqrt(), q=min(d + 16, v), niter=2)
    u, s = u[:, : d - 1], s[: d - 1]
    vectors = u * s.sqrt() / weight
    vectors = vectors @ torch.linalg.qr(torch.randn(d - 1, vectors.shape[1])).Q.T  # turned: no number matters most
    vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6) * math.sqrt(d * (1 - SHARED**2))
    embeddings = torch.cat([torch.full((v, 1), SHARED * math.sqrt(d)), vectors], dim=1)  # (V, D)
    # the head by least squares, each token as important as it is frequent; a constant a row changes no softmax
    scores = log_p - log_p.mean(1, keepdim=True)
    weighted = (embeddings * p[:, None]).T  # (D, V)
    gram = weighted @ embeddings  # (D, D)
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(d)
    return embeddings, torch.linalg.solve(gram + ridge, weighted @ scores).T
