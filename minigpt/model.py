"""GPT-2: a Transformer decoder that predicts the next token from all tokens before it.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3. GPT-1 (Radford et al. 2018) was
the same with post-norm blocks; GPT-3 (Brown et al. 2020, arXiv:2005.14165) is the same, larger.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common import hub
from common.attention import Attention
from common.cache import KVCache
from common.layers import FeedForward
from common.masks import check_right_padded
from common.transformer import Block, Stack
from minigpt.published import GPT2


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT."""

    vocab_size: int = 50_257
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_ff: int | None = None  # four times d_model when not given
    max_len: int = 1_024  # the context: the most tokens that the model sees at once
    dropout: float = 0.1
    norm_eps: float = 1e-5
    eos_id: int | None = 50_256  # the token that ends a text, and stands before the first one

    @classmethod
    def gpt2(cls) -> "GPTConfig":
        """GPT-2 small: 124 million parameters (table 2 of the paper says 117; it was miscounted)."""
        return cls()

    @classmethod
    def gpt2_medium(cls) -> "GPTConfig":
        """355 million parameters."""
        return cls(d_model=1_024, n_layers=24, n_heads=16)

    @classmethod
    def gpt2_large(cls) -> "GPTConfig":
        """774 million parameters."""
        return cls(d_model=1_280, n_layers=36, n_heads=20)

    @classmethod
    def gpt2_xl(cls) -> "GPTConfig":
        """1.6 billion parameters: the GPT-2 of the paper's headline."""
        return cls(d_model=1_600, n_layers=48, n_heads=25)

    @classmethod
    def gpt3(cls) -> "GPTConfig":
        """GPT-3: 175 billion parameters. Every other layer attended sparsely, which changes no size; here none does."""
        return cls(d_model=12_288, n_layers=96, n_heads=96, max_len=2_048)


class GPT(nn.Module):
    """Token and position embeddings, pre-norm blocks with causal attention, a final norm, and the embeddings once more.

    A model that differs in its parts overrides `__init__` and `embed` (see llama.py).
    """

    layout = GPT2
    config_class = GPTConfig

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_len, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        norm = partial(nn.LayerNorm, config.d_model, config.norm_eps)  # makes a new one at each call
        gelu = partial(F.gelu, approximate="tanh")  # OpenAI's GELU; BERT's is exact
        self.decoder = Stack(
            (Block(Attention(config.d_model, config.n_heads, dropout=config.dropout),
                   FeedForward(config.d_model, config.d_ff or 4 * config.d_model, gelu),
                   norm, pre_norm=True, dropout=config.dropout)
             for _ in range(config.n_layers)), final_norm=norm())
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)  # (..., D) -> logits (..., V)
        self.head.weight = self.token.weight  # tied: the score of a token is its likeness to the state
        initialise(self)

    def embed(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """ids (B, T), positions (B or 1, T), 0, 1, 2 ... when not given -> (B, T, D)"""
        where = self.position.weight[: ids.shape[1]] if positions is None else self.position(positions)
        return self.dropout(self.token(ids) + where)

    def hidden(self, ids: Tensor, positions: Tensor | None = None, mask: Tensor | None = None,
               cache: KVCache | None = None) -> Tensor:
        """ids (B, T) -> hidden states (B, T, D), each one from the tokens up to its own.

        mask (B, T), bool: True = a real token; padding stands on the right, so no real token sees any. Attention does
        not need it: it is checked, and tells the cache how many tokens of each row are real.
        positions (B or 1, T): where the tokens stand, when not one after the other from 0 (or from the cache) on.
        cache: the tokens read before; ids are then only the new ones, and are added to it.
        ValueError for more tokens than the context, or padding on the left.
        """
        t, seen = ids.shape[1], None
        if mask is not None:
            check_right_padded(mask)
        if cache is not None:
            next_positions, seen = cache.reserve(t)
            positions = next_positions if positions is None else positions
        elif t > self.config.max_len:
            raise ValueError(f"{t} tokens, but the model reads at most {self.config.max_len}")
        x = self.decoder(self.embed(ids, positions), mask=seen, causal=(seen is None), positions=positions, cache=cache)
        if cache is not None:
            cache.advance(t, mask)
        return x

    def forward(self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """-> logits (B, T, V); those at place t score token t + 1"""
        return self.head(self.hidden(ids, mask=mask, cache=cache))

    def new_cache(self, batch: int, max_len: int | None = None) -> KVCache:
        """An empty cache for `batch` rows of max_len tokens: the whole context when not given, and never more."""
        if max_len is not None and max_len > self.config.max_len:
            raise ValueError(f"a cache of {max_len} tokens a row, but the model reads at most {self.config.max_len}")
        attention, weight = self.decoder.blocks[0].attention, self.token.weight
        return KVCache(len(self.decoder.blocks), batch, attention.n_kv_heads, attention.d_head,
                       max_len or self.config.max_len, weight.dtype, weight.device)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "GPT":
        """The model in a directory of the Hugging Face layout, dropout off; see common/hub.py for what is refused."""
        return hub.load(cls, cls.config_class, cls.layout, Path(directory))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write that layout: config.json and model.safetensors, which `transformers` opens."""
        hub.save(self, self.layout, Path(directory))


def initialise(model: GPT) -> None:
    """Weights from N(0, 0.02²), biases 0, norms 1; the two projections that add to the residual stream smaller.

    2L of them are added up, so 1 / √(2L) keeps the sum from growing with the depth (section 2.3). Found by the name of
    the parameter, so a renamed layer would miss it without a word (as in `transformers`, issue 47458): a test watches.
    OpenAI's code draws the positions from N(0, 0.01²); here they are as the rest.
    """
    for name, p in model.named_parameters():
        if p.ndim == 2:
            adds_to_residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
            nn.init.normal_(p, std=0.02 / math.sqrt(2 * model.config.n_layers) if adds_to_residual else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
