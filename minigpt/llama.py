"""LLaMA: what changes against GPT-2. (Touvron et al. 2023, arXiv:2302.13971, section 2.2; LLaMA 3, arXiv:2407.21783)

    LayerNorm                       -> RMSNorm, which neither centres nor shifts
    learned positions               -> rotary ones, inside attention
    GELU                            -> a gate: SwiGLU
    one key-value head per query head   -> several query heads share one (the large LLaMA 2, LLaMA 3)
    biases, tied head, dropout      -> none
"""

from dataclasses import dataclass, replace
from functools import partial

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common.attention import Attention, RotaryAttention
from common.layers import GatedFeedForward, RMSNorm
from common.positions import Rotary
from common.transformer import Block, Stack
from minigpt.model import GPT, initialise
from minigpt.published import LLAMA


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a LLaMA."""

    vocab_size: int = 32_000
    d_model: int = 4_096
    n_layers: int = 32
    n_heads: int = 32
    n_kv_heads: int | None = None  # n_heads when not given
    d_head: int | None = None  # d_model / n_heads when not given
    d_ff: int = 11_008
    max_len: int = 2_048  # the context: the most tokens that the model sees at once
    norm_eps: float = 1e-6
    rope_base: float = 10_000.0
    tied: bool = False  # small ones, such as stories260K, share embeddings and head
    bos_id: int | None = 1  # the token that begins a text
    eos_id: int | None = 2  # and the one that ends it

    def resolved(self) -> "LlamaConfig":
        """The same with numbers in the place of None, as published files want them."""
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads = {self.n_heads} must divide d_model = {self.d_model}")
        return replace(self, n_kv_heads=self.n_kv_heads or self.n_heads,
                       d_head=self.d_head or self.d_model // self.n_heads)

    @classmethod
    def llama_7b(cls) -> "LlamaConfig":
        return cls()

    @classmethod
    def llama_13b(cls) -> "LlamaConfig":
        return cls(d_model=5_120, n_layers=40, n_heads=40, d_ff=13_824)

    @classmethod
    def llama_33b(cls) -> "LlamaConfig":
        return cls(d_model=6_656, n_layers=60, n_heads=52, d_ff=17_920)

    @classmethod
    def llama_65b(cls) -> "LlamaConfig":
        return cls(d_model=8_192, n_layers=80, n_heads=64, d_ff=22_016)

    @classmethod
    def llama3_8b(cls) -> "LlamaConfig":
        return cls(vocab_size=128_256, n_kv_heads=8, d_ff=14_336, max_len=8_192, norm_eps=1e-5, rope_base=500_000.0,
                   bos_id=128_000, eos_id=128_001)

    @classmethod
    def llama3_70b(cls) -> "LlamaConfig":
        return cls(vocab_size=128_256, d_model=8_192, n_layers=80, n_heads=64, n_kv_heads=8, d_ff=28_672,
                   max_len=8_192, norm_eps=1e-5, rope_base=500_000.0, bos_id=128_000, eos_id=128_001)


class Llama(GPT):
    """As GPT, from other parts."""

    layout = LLAMA
    config_class = LlamaConfig

    def __init__(self, config: LlamaConfig) -> None:
        nn.Module.__init__(self)  # not super(): that would build the parts of GPT-2
        self.config = config = config.resolved()
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        norm = partial(RMSNorm, config.d_model, config.norm_eps)
        rotary = Rotary(config.d_head, config.max_len, config.rope_base)
        sizes = config.d_model, config.n_heads, config.n_kv_heads, config.d_head
        self.decoder = Stack(
            (Block(self.new_attention(rotary, *sizes), GatedFeedForward(config.d_model, config.d_ff, F.silu),
                   norm, pre_norm=True)
             for _ in range(config.n_layers)), final_norm=norm())
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.token.weight
        initialise(self)

    def new_attention(self, rotary: Rotary, *sizes: int | None) -> Attention:
        """The attention of one block; sizes: d_model, n_heads, n_kv_heads, d_head."""
        return RotaryAttention(rotary, *sizes, bias=False)

    def embed(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """ids (B, T) -> (B, T, D); the positions come in attention."""
        return self.token(ids)
