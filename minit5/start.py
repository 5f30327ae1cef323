"""A start that knows which token follows which, and heads that know where to look.

From random weights a T5 of this size spends most of its five minutes on finding out that the decoder should look, for
each token, at the gap that it is filling, and at the words around that gap. This can be written down beforehand:

1. Embeddings and head begin as counted (common/pair_model.py): at first the decoder says P(next token | token).
2. Each sentinel has a code of its own, in the last numbers of its embedding, where all other tokens have zeros.
3. The heads of the encoder begin by looking one and two places to the left and right, by their relative positions, so
   that the place of a gap comes to know what stands around it.
4. In the decoder, head 0 begins by looking at the latest sentinel, and copies its code to the place that looks. Heads
   1 and 2 begin by looking one and two places back.
5. Cross-attention begins by comparing codes, so each place of the decoder looks at the gap that it fills.

The architecture stays T5's; only the numbers that training begins with are others. `--start random` is the paper's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from common.attention import Attention
from common.command import UserError
from common.pair_model import SHARED, pair_model
from common.positions import RelativeBias
from minit5.model import T5, initialise
from minit5.objective import SpanBatches
from minit5.vocabulary import SentinelVocabulary

STD = 0.4  # of the embeddings; what the blocks add grows to about 1
CODE = 32  # numbers of a code, or as many as a head can read
NEIGHBOURS = (-1, 1, -2, 2)  # where the heads of the encoder begin to look
SHARP = 8.0  # added to the score of the place where a head is to look
SOFT = 0.3  # queries and keys of such a head begin smaller, so that the rule decides
LATEST = 0.8  # queries and keys by which a head finds sentinels ...
NEARER = 2.0  # ... and what each bucket of distance takes off the score, so that the latest one wins
MATCH = 0.8  # queries and keys by which cross-attention compares codes
CARRY = 2.0  # the copy of a code is larger than the code, so that what the blocks add does not drown it
LARGEST_VOCABULARY = 16_384  # its table of pairs takes a gigabyte


@torch.no_grad()
def counted_start(model: T5, batches: SpanBatches, vocabulary: SentinelVocabulary) -> None:
    """Set the starting weights of `model` in place; counted are the targets of two epochs of `batches`.

    UserError for a vocabulary that is too large to count the pairs of.
    """
    config, v = model.config, vocabulary.vocab_size
    if v > LARGEST_VOCABULARY:
        raise UserError(f"{v:,} different tokens: counting their pairs takes the square of that in memory; "
                        "add --start random")
    initialise(model)
    for name, p in model.named_parameters():
        if name.endswith(("bias.table.weight", "attention.out.weight", "feed_forward.down.weight")):
            p.zero_()  # distances mean nothing yet, and the blocks begin by adding nothing

    n_code = min(CODE, config.d_head, config.d_model // 2)
    code = slice(config.d_model - n_code, config.d_model)  # behind the numbers that pieces have
    targets = [batches(t)["answers"] for t in range(2 * batches.windows.batches_per_epoch)]
    written = torch.cat([F.pad(rows, (1, 0), value=config.start_id).flatten() for rows in targets])
    embeddings, head = pair_model(written, v, config.d_model - n_code)
    model.head.weight.zero_()[:, : code.start] = head
    embeddings = F.pad(embeddings, (0, n_code))
    embeddings[vocabulary.sentinels] = codes(len(vocabulary.sentinels), config.d_model, n_code)
    model.token.weight.copy_(STD * embeddings)

    for block in model.encoder.blocks:
        for head, distance in enumerate(NEIGHBOURS[: config.n_heads]):
            look_at(model.encoder_bias, block.attention, head, distance)
    for i, block in enumerate(model.decoder.blocks):
        for head in range(1, min(3, config.n_heads)):
            look_at(model.decoder_bias, block.attention, head, -head)
        look_for_the_latest_sentinel(block.attention, code)
        if i == 0:
            block.attention.out.weight[code, :n_code] = CARRY * STD * torch.eye(n_code)
        for head in range(config.n_heads):
            compare(block.cross_attention, head, code)
    model.decoder_bias.table.weight[:, 0] = -NEARER * torch.arange(config.n_buckets)


def codes(n: int, d: int, n_code: int) -> Tensor:
    """n embeddings (n, D) of mean square 1: the number that all share, zeros, and n_code random signs.

    The first sign is the same in all, so that a head can find them.
    """
    signs = torch.randn(n, n_code).sign()
    signs[:, 0] = 1.0
    made = torch.zeros(n, d)
    made[:, 0] = SHARED * math.sqrt(d)  # pair_model's
    made[:, d - n_code :] = math.sqrt((1 - SHARED**2) * d / n_code) * signs
    return made


def head_rows(attention: Attention, head: int) -> list[Tensor]:
    """Queries, keys and values of one head, (Dh, D) each, which may be written to."""
    parts = attention.qkv.weight.split(attention.qkv.parts)
    return [part[head * attention.d_head :][: attention.d_head] for part in parts]


def look_at(bias: RelativeBias, attention: Attention, head: int, distance: int) -> None:
    """Let a head look at the place at that distance."""
    bias.table.weight[bias.bucket[distance + bias.max_distance], head] = SHARP
    for matrix in head_rows(attention, head)[:2]:
        matrix *= SOFT


def look_for_the_latest_sentinel(attention: Attention, code: slice) -> None:
    """Let head 0 look at sentinels, the nearest one most (see NEARER), and hand on their codes."""
    query, key, value = head_rows(attention, 0)
    for matrix in (query, key, value):
        matrix.zero_()
    query[0, 0] = LATEST  # the number that all tokens share asks ...
    key[0, code.start] = LATEST  # ... and the sign that all sentinels share answers
    n_code = code.stop - code.start
    value[:n_code, code] = torch.eye(n_code)


def compare(attention: Attention, head: int, code: slice) -> None:
    """Let a head of cross-attention look where the code is its own."""
    n_code = code.stop - code.start
    for matrix in head_rows(attention, head)[:2]:
        matrix *= SOFT
        matrix[:n_code, code] += MATCH * torch.eye(n_code)
