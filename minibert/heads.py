"""A pre-trained BERT with one new layer on top, for the three kinds of tasks (Devlin et al. 2018, section 4, figure 4).

    classification   the state of [CLS], pooled      -> a score for each label
    tagging          the state of each token         -> a score for each tag
    spans            the state of each token         -> two scores: the answer begins here, it ends here

All of it is trained, the encoder too (or the new layer alone, where the encoder is frozen).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch.nn as nn
from torch import Tensor

from common import hub
from minibert.model import BertConfig, BertModel, initialise
from minibert.published import (
    BERT_FOR_QUESTION_ANSWERING,
    BERT_FOR_SEQUENCE_CLASSIFICATION,
    BERT_FOR_TOKEN_CLASSIFICATION,
)


class BertWithHead(nn.Module):
    """The encoder and the new layer `head`; labels: what its outputs mean, in their order."""

    layout: hub.Layout

    def __init__(self, config: BertConfig, labels: Sequence[str]) -> None:
        super().__init__()
        self.config, self.labels = config, tuple(labels)
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.d_model, len(self.labels))
        self.head.apply(initialise)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "BertWithHead":
        """A fine-tuned model in the layout of Hugging Face, dropout off; see common/hub.py for what is refused."""
        labels = hub.published_labels(Path(directory))
        return hub.load(partial(cls, labels=labels), BertConfig, cls.layout, Path(directory))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write that layout, with the labels in config.json."""
        hub.save(self, self.layout, Path(directory), self.labels)


class BertForClassification(BertWithHead):
    """A label for a sentence, or for two."""

    layout = BERT_FOR_SEQUENCE_CLASSIFICATION

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """ids, segments, mask (B, T) -> logits (B, number of labels)"""
        first = ids.new_zeros(ids.shape).bool()
        first[:, 0] = True  # [CLS]: the last feed-forward network need not run elsewhere
        return self.head(self.dropout(self.bert.pool(self.bert.hidden(ids, segments, mask, only=first))))


class BertOfTokens(BertWithHead):
    """What tagging and spans have in common: each token is judged by itself, and nothing is pooled."""

    def __init__(self, config: BertConfig, labels: Sequence[str]) -> None:
        super().__init__(config, labels)
        self.bert.pooler = nn.Identity()  # published ones have no pooler either

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """ids, segments, mask (B, T) -> logits (B, T, number of labels)"""
        return self.head(self.dropout(self.bert.hidden(ids, segments, mask)))


class BertForTagging(BertOfTokens):
    """A tag for each token."""

    layout = BERT_FOR_TOKEN_CLASSIFICATION


class BertForSpans(BertOfTokens):
    """Where in the text an answer begins and where it ends; its two labels are these."""

    layout = BERT_FOR_QUESTION_ANSWERING

    def __init__(self, config: BertConfig, labels: Sequence[str] = ("begin", "end")) -> None:
        super().__init__(config, ("begin", "end"))  # whatever a published one calls them
        self.dropout = nn.Identity()  # as published
