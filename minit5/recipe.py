"""What all runs of a T5 have in common: the sizes of the model, and the optimizers.

The model is a T5 of version 1.1: gated GELU, a head of its own, no dropout in pre-training. It learns as the other two
models do here: Muon moves the matrices between hidden states, AdamW the rest (the paper has Adafactor), the learning
rate falls to 0 in a straight line (the paper: 1 / √step), and matrices are multiplied in bfloat16 where the CPU has it.
The shape, two blocks that read and one that writes, and the rates are the best of those tried on text kept back from
the training text.

One thing is T5's own. Its scores are not divided by √d_head; the query matrices are smaller instead (minit5/model.py).
Muon moves all numbers of a matrix alike, which would be eight times too far for queries: the scores explode. So their
steps are smaller by √d_head as well. (The paper's Adafactor measures steps by the size of a matrix and needs no rule.)
"""

from dataclasses import dataclass

import torch

from common.attention import Attention
from common.command import UserError
from common.config import option
from common.optim import Muon, adamw, matrices_and_rest
from common.run import RunConfig
from minit5.model import T5, T5Config
from minit5.vocabulary import SentinelVocabulary


@dataclass(frozen=True)
class T5RunConfig(RunConfig):
    """Settings of every run of a T5; a command adds its own."""

    decay: float = option(1.0, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    warmup: int = option(10, "steps over which the learning rate rises", low=0)
    precision: str = option("bfloat16", "matrix products on a CPU: bfloat16 where it has them, or float32")
    vocab_size: int = option(4096, "pieces in the vocabulary, to which 100 sentinels come", low=1)
    d_model: int = option(256, "width of the model", low=8)
    n_layers: int = option(2, "blocks of the encoder", low=1)
    n_decoder_layers: int = option(1, "blocks of the decoder", low=1)
    n_heads: int = option(4, "attention heads of a block", low=1)
    d_ff: int = option(768, "inner width of the feed-forward networks", low=1)
    dropout: float = option(0.0, "dropout", low=0, high=0.9)
    batch_size: int = option(32, "rows of a batch", low=1)
    muon_lr: float = option(0.008, "learning rate of Muon, for the matrices between hidden states", low=0)
    adam_lr: float = option(0.01, "learning rate of AdamW, for embeddings, head, norms and relative positions", low=0)

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise UserError(f"n_heads = {self.n_heads} should divide d_model = {self.d_model}")

    def sizes(self, vocabulary: SentinelVocabulary) -> T5Config:
        """The model of this run."""
        return T5Config(vocabulary.vocab_size, self.d_model, self.d_model // self.n_heads, self.d_ff, self.n_layers,
                        self.n_decoder_layers, self.n_heads, dropout=self.dropout, gated=True, tied=False,
                        pad_id=vocabulary.pad_id, eos_id=vocabulary.eos_id, start_id=vocabulary.start_id)


def optimizers(model: T5, config: T5RunConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between hidden states and AdamW for the rest."""
    matrices, rest = matrices_and_rest(model, ".blocks.")
    return [Muon(matrices, lr=config.muon_lr, momentum=0.85, weight_decay=0.3, smaller=query_steps(model)),
            adamw(rest, config.adam_lr, weight_decay=0.5)]


def query_steps(model: T5) -> dict[torch.nn.Parameter, torch.Tensor]:
    """For each matrix of stacked queries, keys and values, (rows, 1): 1 / √d_head for the queries, 1 for the others."""
    steps = {}
    for module in model.modules():
        if isinstance(module, Attention):
            queries, *others = module.qkv.parts
            step = torch.cat([torch.full((queries, 1), module.d_head**-0.5), torch.ones(sum(others), 1)])
            steps[module.qkv.weight] = step.to(module.qkv.weight.device)
    return steps
