"""BERT: a Transformer encoder that reads in both directions (Devlin et al. 2018, arXiv:1810.04805, section 3)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common import hub
from common.attention import Attention
from common.layers import FeedForward
from common.masks import padding_mask
from common.transformer import Block, Stack
from minibert.published import BERT_FOR_PRETRAINING, BERT_MODEL


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT."""

    vocab_size: int = 30_522
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_ff: int = 3_072
    max_len: int = 512  # the longest input, in tokens
    n_segments: int = 2
    dropout: float = 0.1
    norm_eps: float = 1e-12  # Google's own; torch's default is 1e-5

    @classmethod
    def base(cls) -> "BertConfig":
        """BERT-base, uncased: 110 million parameters."""
        return cls()

    @classmethod
    def large(cls) -> "BertConfig":
        """BERT-large, uncased: 335 million parameters."""
        return cls(d_model=1024, n_layers=24, n_heads=16, d_ff=4096)


class Embeddings(nn.Module):
    """token + position + segment, normed (figure 2 of the paper)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_len, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """ids (B, T), segments (B, T) of 0 and 1, all 0 when not given -> (B, T, D)"""
        if ids.shape[1] > self.position.num_embeddings:
            raise ValueError(f"{ids.shape[1]} tokens, but the model reads at most {self.position.num_embeddings}")
        if segments is None:
            segments = torch.zeros_like(ids)
        x = self.token(ids) + self.position.weight[: ids.shape[1]] + self.segment(segments)
        return self.dropout(self.norm(x))


class BertModel(nn.Module):
    """The encoder, and the pooler that turns the state of [CLS] into a vector for the whole input."""

    layout = BERT_MODEL

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Stack(
            Block(Attention(config.d_model, config.n_heads, dropout=config.dropout),
                  FeedForward(config.d_model, config.d_ff, F.gelu),
                  norm=partial(nn.LayerNorm, config.d_model, config.norm_eps),
                  pre_norm=False, dropout=config.dropout)
            for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)
        self.apply(initialise)

    def hidden(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None,
               only: Tensor | None = None) -> Tensor:
        """ids, segments, mask (B, T); mask True = a real token -> hidden states (B, T, D)

        only (B, T), bool: the N places that will be read -> (N, D), the same numbers for less work.
        """
        mask = None if mask is None else padding_mask(mask)
        return self.encoder(self.embeddings(ids, segments), mask=mask, only=only)

    def pool(self, first: Tensor) -> Tensor:
        """(B, D) -> (B, D): the state of [CLS], the first token, through a layer of its own."""
        return self.pooler(first).tanh()

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-> hidden states (B, T, D) and pooled state (B, D)"""
        hidden = self.hidden(ids, segments, mask)
        return hidden, self.pool(hidden[:, 0])

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "BertModel":
        """The model in a directory of the Hugging Face layout, dropout off; see common/hub.py for what is refused."""
        return hub.load(cls, BertConfig, cls.layout, Path(directory))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write that layout: config.json and model.safetensors, which `transformers` opens."""
        hub.save(self, self.layout, Path(directory))


class MaskedLMHead(nn.Module):
    """From a hidden state to a score for each piece: one more layer, then the token embeddings read backwards."""

    def __init__(self, config: BertConfig, token_embedding: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, config.norm_eps)
        self.decoder = nn.Linear(config.d_model, config.vocab_size)  # its bias belongs to it alone
        self.decoder.weight = token_embedding.weight  # tied: one and the same parameter
        self.dense.apply(initialise)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> logits (..., V)"""
        return self.decoder(self.norm(F.gelu(self.dense(hidden))))


class BertForPreTraining(nn.Module):
    """BERT with both heads of its pre-training: masked words, and "is B what follows A?"."""

    layout = BERT_FOR_PRETRAINING

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        self.mlm = MaskedLMHead(config, self.bert.embeddings.token)
        self.nsp = nn.Linear(config.d_model, 2)  # class 0: B follows A; class 1: B is from elsewhere
        self.nsp.apply(initialise)

    def hidden(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None,
               only: Tensor | None = None) -> Tensor:
        """As BertModel.hidden: (B, T, D), or (N, D) with `only`."""
        return self.bert.hidden(ids, segments, mask, only)

    def head(self, hidden: Tensor) -> Tensor:
        """The MLM head: scores of all pieces, for as many hidden states as are given: (..., D) -> (..., V)."""
        return self.mlm(hidden)

    def next_sentence(self, first: Tensor) -> Tensor:
        """The states of [CLS], (B, D) -> NSP logits (B, 2); class 0: B follows A (Google's convention)."""
        return self.nsp(self.bert.pool(first))

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-> MLM logits (B, T, V) and NSP logits (B, 2)"""
        hidden = self.hidden(ids, segments, mask)
        return self.head(hidden), self.next_sentence(hidden[:, 0])

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "BertForPreTraining":
        """The model in a directory of the Hugging Face layout, dropout off; see common/hub.py for what is refused."""
        return hub.load(cls, BertConfig, cls.layout, Path(directory))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write that layout. `transformers` opens the model; it cannot read our tokenizer.model, so hand it ids."""
        hub.save(self, self.layout, Path(directory))


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02²), biases zero (the paper's code truncates the normal at two deviations)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
