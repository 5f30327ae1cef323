"""A start that knows which token follows which, and heads that look at the tokens just before.

From random weights a GPT spends its first steps on what counting tells in a second: how frequent each token is, and
what follows what. So training begins from there, in a Qwen3, whose embeddings and head are two matrices:

1. Embeddings and head are set so that the model predicts P(next | token) as counted in the training text, as well as a
   product of two matrices D wide can say it (almost exactly where there are fewer tokens than D, as with characters).
   The blocks begin by adding nothing (their last projections are 0), so this is what the whole model says at first.
2. Three heads of every block begin by looking one, two and three tokens back. All embeddings share their first number;
   a query and a key that read this number alone, turned by their positions, agree best at a fixed distance.

The architecture stays as published; only the numbers that training begins with are others.
"""

import math

import torch
from torch import Tensor

from common.attention import Attention
from common.command import UserError
from minigpt.qwen3 import Qwen3

STD = 0.4  # of the embeddings; what the blocks add grows to about 1
SHARED = 0.5  # of the length √D of every embedding: the first number is 0.5 √D
LARGEST_VOCABULARY = 16_384  # its table of pairs takes a gigabyte
LOOK_BACK = 3  # heads that begin by looking 1, 2, 3 tokens back
SHARPNESS = 1.5  # of attention: the first weights of the norms of the queries


@torch.no_grad()
def counted_start(model: Qwen3, tokens: Tensor) -> None:
    """Set the starting weights of `model` in place from the training text, tokens (N,).

    UserError for a vocabulary that is too large to count the pairs of.
    """
    d = model.config.d_model
    if model.config.vocab_size > LARGEST_VOCABULARY:
        raise UserError(f"{model.config.vocab_size:,} different tokens: counting their pairs takes the square of that "
                        "in memory; add --recipe gpt2")
    for name, p in model.named_parameters():
        if p.ndim == 2:  # 1 / √D keeps the size of what goes through
            p.normal_(std=1 / math.sqrt(d))
        if name.endswith(("attention.out.weight", "feed_forward.down.weight")):
            p.zero_()
    embeddings, head = pair_model(tokens, model.config.vocab_size, d)
    model.token.weight.copy_(STD * embeddings)
    model.head.weight.copy_(head)
    for block in model.decoder.blocks:
        block.attention.q_norm.weight.fill_(SHARPNESS)
        for i in range(min(LOOK_BACK, block.attention.n_kv_heads, model.config.max_len - 1)):
            look_back(block.attention, i, distance=i + 1)


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


def look_back(attention: Attention, head: int, distance: int) -> None:
    """Let a head attend to the token `distance` places back, by the number that all embeddings share.

    Turned by their positions, query i and key j have as score the sum over the pairs of numbers of
    cos((i - j - distance) · frequency), largest at i - j = distance: the query begins turned back by `distance` places,
    the key does not.
    """
    w, d_head, half = attention.qkv.weight, attention.d_head, attention.d_head // 2
    shared_by = attention.n_heads // attention.n_kv_heads  # query heads to a key-value head
    key = w[attention.qkv.parts[0] + head * d_head :][:d_head]
    queries = w[head * shared_by * d_head :][: shared_by * d_head].view(shared_by, d_head, -1)
    cos, sin = attention.rotary.cos[distance, :half], attention.rotary.sin[distance, half:]  # its first half is -sin
    for matrix in (key, queries):
        matrix.mul_(0.3)  # what the other numbers say, softer at first
    # column 0 reads the shared number: a key begins as (1, 0), a query as (cos, -sin), which is (1, 0) turned back
    key[:half, 0] += 1.0
    queries[:, :, 0] += torch.cat([cos, -sin])
