"""What counting alone reaches: the figures that a T5 has to beat."""

from collections.abc import Sequence

import torch

from minit5.objective import Pair
from minit5.vocabulary import SentinelVocabulary


def unigram(train: Sequence[Pair], held_out: Sequence[Pair], vocabulary: SentinelVocabulary) -> dict[str, float]:
    """The figures of `evaluate` for P(token), its share of all target tokens of the training text, whatever the input.

    held_out_loss: every token, as P has it. span_loss and span_accuracy: the tokens that were taken out, P among the
    pieces alone, and the most frequent piece as the one that it would write. Each token is counted once more, so that
    none is impossible.
    """
    v = vocabulary
    counts = torch.bincount(torch.tensor([i for _, target in train for i in target]), minlength=v.vocab_size) + 1.0
    answers = torch.tensor([i for _, target in held_out for i in target])
    piece = torch.arange(v.vocab_size) < v.pieces.vocab_size
    piece[v.eos_id] = False
    pieces, taken = counts * piece, answers[piece[answers]]
    return {"held_out_loss": -(counts / counts.sum())[answers].log().mean().item(),
            "span_loss": -(pieces / pieces.sum())[taken].log().mean().item(),
            "span_accuracy": (taken == pieces.argmax()).float().mean().item()}
