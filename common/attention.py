"""Scaled dot-product attention, once written out and once fused, and the one module that every model uses.

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V          Vaswani et al. 2017 (arXiv:1706.03762), eq. 1

Letters: B batch, T query positions, S key positions, H heads, Dh width of a head, D width of the model.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common.cache import KeysValues, LayerCache
from common.layers import Stacked
from common.masks import causal_mask
from common.positions import Rotary


def attend_explicit(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, bias: Tensor | None = None,
    causal: bool = False, scale: float | None = None, dropout_p: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """softmax(Q Kᵀ / √d) V, step by step, for readers and for pictures.

    q (B, H, T, Dh); k, v (B, Hkv, S, Dh), where Hkv divides H: each key-value head serves H / Hkv query heads.
    mask: bool, True = may attend; bias: float, added to the scores; both broadcast to (B, H, T, S).
    causal: query t sees the keys up to its own place, the last query being aligned with the last key.
    scale: 1 / √Dh where not given. A query that may attend to nothing gives zeros.
    Returns the output (B, H, T, Dh) and the weights (B, H, T, S).

    >>> q = k = torch.eye(2).view(1, 1, 2, 2)
    >>> attend_explicit(q, k, k, causal=True)[1]  # the first position sees only itself
    tensor([[[[1.0000, 0.0000],
              [0.3302, 0.6698]]]])
    """
    shared_by = q.shape[1] // k.shape[1]  # query heads to a key-value head; 1 in BERT
    k, v = k.repeat_interleave(shared_by, dim=1), v.repeat_interleave(shared_by, dim=1)  # (B, H, S, Dh)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ k.transpose(-2, -1) * scale  # (B, H, T, S)
    if bias is not None:
        scores = scores + bias
    if causal:
        sees = causal_mask(q.shape[2], k.shape[2], q.device)
        mask = sees if mask is None else mask & sees
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)  # exp(-inf) = 0; -1e4 would still leak (minGPT issue 75)
    nothing = scores.isneginf().all(dim=-1, keepdim=True)  # (B, H, T, 1); softmax would make such a row NaN
    weights = scores.masked_fill(nothing, 0.0).softmax(dim=-1).masked_fill(nothing, 0.0)
    weights = F.dropout(weights, dropout_p)
    return weights @ v, weights


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, bias: Tensor | None = None,
    causal: bool = False, scale: float | None = None, dropout_p: float = 0.0,
) -> Tensor:
    """The same as `attend_explicit`, without the weights, through torch's fused kernel: what training uses.

    The fused kernel never stores the (T, S) matrix (Dao et al. 2022, arXiv:2205.14135).
    """
    causal = causal and q.shape[2] > 1  # a single query is the last one, and sees every key
    if causal and (mask is not None or bias is not None or q.shape[2] != k.shape[2]):
        # torch's own is_causal aligns the first query with the first key, and excludes a mask.
        sees = causal_mask(q.shape[2], k.shape[2], q.device)
        mask, causal = (sees if mask is None else mask & sees), False
    if bias is not None:
        bias = bias if mask is None else torch.where(mask, bias, -math.inf)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask if bias is None else bias, dropout_p=dropout_p, is_causal=causal, scale=scale,
        enable_gqa=q.shape[1] != k.shape[1])


class Attention(nn.Module):
    """Multi-head attention; its arguments choose the role.

        attention(x)                    self-attention, both directions (BERT)
        attention(x, causal=True)       self-attention, no look ahead (GPT)
        attention(x, cache=kept)        the same for new tokens alone: keys and values of earlier ones were kept
        attention(x, context=memory)    cross-attention: queries from x, keys and values from memory (T5)
        attention(x, context=(k, v))    the same, with what `keys_values(memory)` worked out once

    Q, K and V come out of one matrix `qkv`, stacked in this order: one large product is faster than three small ones.
    With n_kv_heads < n_heads several query heads share a key-value head (Ainslie et al. 2023, arXiv:2305.13245).
    scale: what the scores are multiplied by, 1 / √d_head when not given.
    Variants override `project` or `position_bias`.
    """

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int | None = None, d_head: int | None = None,
                 bias: bool = True, dropout: float = 0.0, scale: float | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads or n_heads
        if n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads = {n_kv_heads} must divide n_heads = {n_heads}")
        if d_head is None and d_model % n_heads:
            raise ValueError(f"n_heads = {n_heads} must divide d_model = {d_model}")
        self.d_head = d_head or d_model // n_heads
        self.dropout, self.scale = dropout, scale
        q_width, kv_width = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        self.qkv = Stacked(d_model, (q_width, kv_width, kv_width), bias=bias, names=("q", "k", "v"))
        self.out = nn.Linear(q_width, d_model, bias=bias)

    def project(self, x: Tensor, context: Tensor | KeysValues | None = None,
                positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, Dh) of x; keys and values (B, Hkv, S, Dh) of context, or of x itself.

        positions (B or 1, T): where the tokens of x stand, 0, 1, 2 ... when not given. Only variants look at it.
        """
        if context is None:
            q, k, v = self.qkv(x).split(self.qkv.parts, dim=-1)
            return self.heads(q), self.heads(k), self.heads(v)
        k, v = self.keys_values(context) if isinstance(context, Tensor) else context
        return self.heads(self.qkv.some(x, 0, 1)), k, v

    def keys_values(self, context: Tensor) -> KeysValues:
        """The keys and values, (B, Hkv, S, Dh) each, of a context (B, S, D): all that cross-attention needs of it."""
        k, v = self.qkv.some(context, 1, 3).chunk(2, dim=-1)
        return self.heads(k), self.heads(v)

    def heads(self, y: Tensor) -> Tensor:
        """(B, T, H * Dh) -> (B, H, T, Dh)"""
        return y.unflatten(-1, (-1, self.d_head)).transpose(1, 2)

    def position_bias(self, q: Tensor, k: Tensor) -> Tensor | None:
        """What the variant adds to the scores, (B, H, T, S) or broadcastable; nothing here."""
        return None

    def forward(self, x: Tensor, context: Tensor | KeysValues | None = None, mask: Tensor | None = None,
                bias: Tensor | None = None, causal: bool = False, positions: Tensor | None = None,
                cache: LayerCache | None = None) -> Tensor:
        """x (B, T, D), context as above; mask and bias as in `attend`, positions as in `project`. Returns (B, T, D).

        cache: takes in the keys and values of x and gives back those of all tokens so far (common/cache.py).
        """
        q, k, v = self.project(x, context, positions)
        if cache is not None:
            k, v = cache.update(k, v)
        own_bias = self.position_bias(q, k)
        if own_bias is not None:
            bias = own_bias if bias is None else bias + own_bias
        out = attend(q, k, v, mask, bias, causal, self.scale, self.dropout if self.training else 0.0)
        return self.out(out.transpose(1, 2).flatten(2))  # (B, H, T, Dh) -> (B, T, H * Dh) -> (B, T, D)


class RotaryAttention(Attention):
    """Attention that knows how far apart two tokens are: queries and keys are turned by their positions."""

    def __init__(self, rotary: Rotary, *sizes: int | None, bias: bool = True) -> None:
        """rotary: one for all layers of a model; sizes: d_model, n_heads, n_kv_heads, d_head, as in Attention."""
        super().__init__(*sizes, bias=bias)
        self.rotary = rotary

    def project(self, x: Tensor, context: Tensor | KeysValues | None = None,
                positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x, context)
        return self.rotary(q, positions), self.rotary(k, positions), v
