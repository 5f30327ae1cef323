"""One block of a Transformer, and a stack of them: encoder, decoder and encoder-decoder alike."""

from collections.abc import Callable, Iterable

import torch.nn as nn
from torch import Tensor

from common.attention import Attention
from common.cache import KeysValues, KVCache, LayerCache


class Block(nn.Module):
    """Attention, (cross-attention,) feed-forward; around each one a residual connection and a norm.

        post-norm   x = norm(x + sublayer(x))       Vaswani et al. 2017, BERT
        pre-norm    x = x + sublayer(norm(x))       GPT-2, T5, LLaMA: the sum is left alone, so deep stacks train easily

    `norm()` makes a norm layer; `attention`, `feed_forward` and `cross_attention` are the parts themselves.
    """

    def __init__(self, attention: Attention, feed_forward: nn.Module, norm: Callable[[], nn.Module],
                 pre_norm: bool, cross_attention: Attention | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = attention, norm()
        if cross_attention is not None:
            self.cross_attention, self.cross_norm = cross_attention, norm()
        self.feed_forward, self.feed_forward_norm = feed_forward, norm()
        self.dropout = nn.Dropout(dropout)

    def _residual(self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        if self.pre_norm:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))

    def forward(self, x: Tensor, memory: Tensor | KeysValues | None = None, memory_mask: Tensor | None = None,
                only: Tensor | None = None, **how: Tensor | bool | LayerCache | None) -> Tensor:
        """x (B, T, D); memory, what cross-attention reads: (B, S, D) or its keys and values. -> (B, T, D)

        memory_mask: which places of it may be read, broadcast to (B, H, T, S).

        only (B, T), bool: the N places whose output is wanted -> (N, D).
        how: the arguments of self-attention, handed on as they are: mask, bias, causal, positions, cache.
        """
        x = self._residual(x, self.attention_norm, lambda y: self.attention(y, **how))
        if memory is not None:
            x = self._residual(x, self.cross_norm, lambda y: self.cross_attention(y, memory, memory_mask))
        if only is not None:
            x = x[only]  # (N, D): from here on no place looks at another
        return self._residual(x, self.feed_forward_norm, self.feed_forward)


class Stack(nn.Module):
    """Blocks one after the other, all with the same arguments; a pre-norm stack ends with a norm of its own."""

    def __init__(self, blocks: Iterable[Block], final_norm: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm

    def forward(self, x: Tensor, memory: Tensor | list[KeysValues] | None = None, memory_mask: Tensor | None = None,
                only: Tensor | None = None, cache: KVCache | None = None, **how: Tensor | bool | None) -> Tensor:
        """As Block; keys and values of the memory are a list, one pair for each block.

        `only` saves most of the last feed-forward where a loss reads few places: 11 % of a BERT step.
        """
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            x = block(x, memory[i] if isinstance(memory, list) else memory, memory_mask, only if i == last else None,
                      cache=None if cache is None else cache.layers[i], **how)
        return x if self.final_norm is None else self.final_norm(x)
