"""T5: an encoder reads a text, a decoder writes another one, and every task is put that way.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"
(arXiv:1910.10683), section 2.1. What changes against BERT and GPT: both stacks in one model, joined by cross-attention;
distances in the place of positions; scores that are not divided by √d; RMSNorm; no biases in any linear map.

Version 1.1 (github.com/google-research/text-to-text-transfer-transformer, released_checkpoints.md) has a gated GELU
where version 1.0 has a ReLU, and a head of its own where that one shares the embeddings.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common import hub
from common.attention import Attention
from common.cache import KVCache
from common.layers import FeedForward, GatedFeedForward, RMSNorm
from common.masks import causal_mask, check_right_padded, padding_mask
from common.positions import RelativeBias
from common.transformer import Block, Stack
from minit5.published import T5_LAYOUT


@dataclass(frozen=True)
class T5Config:
    """The sizes of a T5. Those of version 1.0 have the names of the paper's table 14 (3B and 11B: section 3.6)."""

    vocab_size: int = 32_128  # 32,000 pieces, 100 sentinels, and 28 that nobody uses: a multiple of 128 suits a TPU
    d_model: int = 512
    d_head: int = 64
    d_ff: int = 2_048
    n_layers: int = 6
    n_decoder_layers: int | None = None  # as many as the encoder has when not given
    n_heads: int = 8  # n_heads * d_head need not be d_model
    n_buckets: int = 32  # of distances, in each stack
    max_distance: int = 128  # from here on all distances are one
    dropout: float = 0.1
    norm_eps: float = 1e-6
    gated: bool = False  # version 1.1: a gated GELU in the feed-forward networks
    tied: bool = True  # version 1.0: the head is the embeddings
    pad_id: int = 0
    eos_id: int = 1  # ends every input and every target
    start_id: int = 0  # the decoder begins with it: padding, in the published models

    max_len = math.inf  # distances have no last one: any length that fits into memory

    @classmethod
    def small(cls) -> "T5Config":
        """60 million parameters."""
        return cls()

    @classmethod
    def base(cls) -> "T5Config":
        """220 million parameters: encoder and decoder each of BERT-base's size."""
        return cls(d_model=768, d_ff=3_072, n_layers=12, n_heads=12)

    @classmethod
    def large(cls) -> "T5Config":
        """770 million parameters (737.7, counted)."""
        return cls(d_model=1_024, d_ff=4_096, n_layers=24, n_heads=16)

    @classmethod
    def xl(cls) -> "T5Config":
        """T5-3B: 2.8 billion parameters, by wider attention and feed-forward networks alone."""
        return cls(d_model=1_024, d_head=128, d_ff=16_384, n_layers=24, n_heads=32)

    @classmethod
    def xxl(cls) -> "T5Config":
        """T5-11B: 11 billion parameters."""
        return cls(d_model=1_024, d_head=128, d_ff=65_536, n_layers=24, n_heads=128)

    @classmethod
    def v1_1_small(cls) -> "T5Config":
        """77 million parameters; Flan-T5 small has the same sizes, and so on."""
        return cls(d_ff=1_024, n_layers=8, n_heads=6, gated=True, tied=False)

    @classmethod
    def v1_1_base(cls) -> "T5Config":
        """248 million parameters."""
        return cls(d_model=768, d_ff=2_048, n_layers=12, n_heads=12, gated=True, tied=False)

    @classmethod
    def v1_1_large(cls) -> "T5Config":
        """783 million parameters."""
        return cls(d_model=1_024, d_ff=2_816, n_layers=24, n_heads=16, gated=True, tied=False)

    @classmethod
    def v1_1_xl(cls) -> "T5Config":
        """2.85 billion parameters."""
        return cls(d_model=2_048, d_ff=5_120, n_layers=24, n_heads=32, gated=True, tied=False)

    @classmethod
    def v1_1_xxl(cls) -> "T5Config":
        """11.1 billion parameters."""
        return cls(d_model=4_096, d_ff=10_240, n_layers=24, n_heads=64, gated=True, tied=False)


class TiedHead(nn.Linear):
    """Logits from embeddings that have a variance of 1: the states are made smaller by 1 / √D to make up for it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.in_features**-0.5)


class T5(nn.Module):
    """Embeddings shared by both sides, a pre-norm encoder, a pre-norm decoder with cross-attention, and the head."""

    layout = T5_LAYOUT

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        bias = partial(RelativeBias, config.n_heads, config.n_buckets, config.max_distance)
        self.encoder_bias, self.decoder_bias = bias(both_directions=True), bias(both_directions=False)
        norm = partial(RMSNorm, config.d_model, config.norm_eps)  # makes a new one at each call
        attention = partial(Attention, config.d_model, config.n_heads, d_head=config.d_head, bias=False,
                            dropout=config.dropout, scale=1.0)
        if config.gated:
            feed_forward = partial(GatedFeedForward, activation=partial(F.gelu, approximate="tanh"))
        else:
            feed_forward = partial(FeedForward, activation=F.relu, bias=False)

        def stack(n_layers: int, cross_attention: bool) -> Stack:
            return Stack((Block(attention(), feed_forward(config.d_model, config.d_ff, dropout=config.dropout), norm,
                                pre_norm=True, cross_attention=attention() if cross_attention else None,
                                dropout=config.dropout) for _ in range(n_layers)), final_norm=norm())

        self.encoder = stack(config.n_layers, cross_attention=False)
        self.decoder = stack(config.n_decoder_layers or config.n_layers, cross_attention=True)
        head = TiedHead if config.tied else nn.Linear
        self.head = head(config.d_model, config.vocab_size, bias=False)  # (..., D) -> logits (..., V)
        if config.tied:
            self.head.weight = self.token.weight
        initialise(self)

    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids (B, S) -> the memory (B, S, D) that the decoder reads. mask (B, S), bool: True = a real token."""
        places = torch.arange(ids.shape[1], device=ids.device)
        bias = self.encoder_bias(places.unsqueeze(0), len(places))  # (1, H, S, S)
        if mask is not None:  # joined to the bias here, once for all layers
            bias = bias.masked_fill(~padding_mask(mask), -math.inf)
        return self.dropout(self.encoder(self.dropout(self.token(ids)), bias=bias))

    def decode(self, ids: Tensor, memory: Tensor | None = None, memory_mask: Tensor | None = None,
               mask: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """ids (B, T) and the memory (B, S, D) of `encode` -> states (B, T, D); each from the ids up to its own.

        memory_mask (B, S): the mask that the encoder had.
        mask (B, T): True = a real token; padding stands on the right, where no real token sees it (ValueError else).
        cache: the tokens read before, and the keys and values of the memory (see `new_cache`), which is not given then.
        """
        t = ids.shape[1]
        if mask is not None:
            check_right_padded(mask)
        if cache is None:
            bias = self.decoder_bias(torch.arange(t, device=ids.device).unsqueeze(0), t)  # (1, H, T, T)
            seen = causal_mask(t, t, ids.device)
        else:
            positions, seen = cache.reserve(t)
            bias = self.decoder_bias(positions, cache.layers[0].end)  # (1 or B, H, T, S)
            if seen is None and t > 1:
                seen = causal_mask(t, cache.layers[0].end, ids.device)
            memory, memory_mask = cache.memory, cache.memory_mask
        if seen is not None:
            bias = bias.masked_fill(~seen, -math.inf)
        x = self.decoder(self.dropout(self.token(ids)), memory,
                         None if memory_mask is None else padding_mask(memory_mask), cache=cache, bias=bias)
        if cache is not None:
            cache.advance(t, mask)
        return self.dropout(x)

    def hidden(self, ids: Tensor, decoder_ids: Tensor, mask: Tensor | None = None,
               decoder_mask: Tensor | None = None) -> Tensor:
        """Both sides: ids (B, S) and decoder_ids (B, T) -> states of the decoder (B, T, D)."""
        return self.decode(decoder_ids, self.encode(ids, mask), mask, decoder_mask)

    def forward(self, ids: Tensor, decoder_ids: Tensor, mask: Tensor | None = None,
                decoder_mask: Tensor | None = None) -> Tensor:
        """-> logits (B, T, V); those at place t score decoder token t + 1"""
        return self.head(self.hidden(ids, decoder_ids, mask, decoder_mask))

    def new_cache(self, ids: Tensor, mask: Tensor | None, max_len: int) -> KVCache:
        """A cache for answers of max_len tokens to the inputs ids (B, S), which are read here, once.

        The encoder runs, and each decoder layer works out the keys and values of the memory.
        """
        memory, weight = self.encode(ids, mask), self.token.weight
        cache = KVCache(len(self.decoder.blocks), len(ids), self.config.n_heads, self.config.d_head, max_len,
                        weight.dtype, weight.device)
        cache.memory = [block.cross_attention.keys_values(memory) for block in self.decoder.blocks]
        cache.memory_mask = mask
        return cache

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "T5":
        """The model in a directory of the Hugging Face layout, dropout off; see common/hub.py for what is refused."""
        return hub.load(cls, T5Config, cls.layout, Path(directory))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write that layout: config.json and model.safetensors, which `transformers` opens."""
        hub.save(self, self.layout, Path(directory))


def initialise(model: T5) -> None:
    """Each matrix from N(0, 1 / its inputs), so that it keeps the size of what goes through; norms 1; and two others:

    - A query matrix begins 1/√d_head smaller still. That is the 1/√d that other models divide their scores by.
    - The embeddings begin with a variance of 1, and a tied head scales its states down (TiedHead).

    A head of its own begins like any matrix. (In `transformers` it begins with a variance of 1, which makes the first
    loss ten times what guessing gives: their issue 26441.)

    A tied head has a weakness: it likes the token that it has just read, whose embedding is part of the state. In deep
    models the blocks drown it; with 2 blocks of width 512 the first loss is half as much again as that of guessing.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, RelativeBias):
            nn.init.normal_(module.table.weight, std=model.config.d_model**-0.5)
    for module in model.modules():
        if isinstance(module, Attention):
            with torch.no_grad():
                module.qkv.weight[: module.qkv.parts[0]] *= module.d_head**-0.5
    nn.init.normal_(model.token.weight)  # last: a tied head has been here before
