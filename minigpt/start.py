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
from common.pair_model import pair_model
from minigpt.qwen3 import Qwen3

STD = 0.4  # of the embeddings; what the blocks add grows to about 1
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
