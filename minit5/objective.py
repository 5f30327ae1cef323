"""What a T5 learns from: batches of inputs and targets, the loss, and what it comes to on held-out text."""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from common.batches import TokenWindows, random_state
from common.head_loss import head_loss
from minit5.model import T5
from minit5.spans import corrupt, draw_spans
from minit5.vocabulary import SentinelVocabulary

Pair = tuple[list[int], list[int]]  # input and target, each with its end token
SEED = 2020  # of the held-out spans: the same questions for every run, whatever its own seed
NOISE, MEAN_SPAN = 0.15, 3.0  # of the held-out spans: the paper's, whatever a run trains with


def collate(pairs: Sequence[Pair], start_id: int, pad_id: int) -> dict[str, Tensor]:
    """Pairs as tensors: ids (B, S), answers (B, T), and decoder_ids (B, T), the answers moved on by one place.

    Rows are padded on the right where they differ in length; then mask (B, S) or decoder_mask (B, T), bool, says what
    is real.
    """
    ids, mask = pad([source for source, _ in pairs], pad_id)
    answers, decoder_mask = pad([target for _, target in pairs], pad_id)
    masks = {"mask": mask, "decoder_mask": decoder_mask}
    return {"ids": ids, "answers": answers, "decoder_ids": F.pad(answers[:, :-1], (1, 0), value=start_id),
            **{name: some for name, some in masks.items() if not some.all()}}


def pad(rows: Sequence[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Rows of any lengths -> (B, T), and where they are real, (B, T), bool."""
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    padded = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])
    return padded, torch.arange(longest) < lengths.unsqueeze(1)


def target_loss(model: T5, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """-log P(token | input, the target's tokens before it), in nats: {"loss": (sum, count)}; the trainer divides.

    batch as `collate` makes it; padding counts nothing.
    """
    hidden, answers = states_and_answers(model, batch)
    return {"loss": (head_loss(model.head, hidden, answers), len(answers))}


def first_loss(model: T5, batch: dict[str, Tensor]) -> str:
    """One line. Random weights should do as well as guessing; a bug in answers or scale shows here."""
    with torch.no_grad():
        total, count = target_loss(model, batch)["loss"]
    v = model.config.vocab_size
    return f"{total.item() / count:.3f} (guessing among {v:,} tokens: ln V = {math.log(v):.3f})"


def states_and_answers(model: T5, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The states of the decoder (N, D) at the N real places of all targets, and the answers there (N,)."""
    hidden = model.hidden(batch["ids"], batch["decoder_ids"], batch.get("mask"), batch.get("decoder_mask"))  # (B, T, D)
    if (real := batch.get("decoder_mask")) is None:
        return hidden.flatten(0, 1), batch["answers"].flatten()
    return hidden[real], batch["answers"][real]


class SpanBatches:
    """Batches of a text with spans taken out: batches(t) is the t-th one, a pure function of the seed and t."""

    def __init__(self, tokens: Tensor, vocabulary: SentinelVocabulary, length: int, batch_size: int, noise: float,
                 mean_span: float, seed: int, settled: int | None = None) -> None:
        """length: the tokens of a window, from which spans are taken; UserError for a text that is too short.

        settled: from this batch on the noise is NOISE.
        """
        self.windows = TokenWindows(tokens, length, batch_size, seed)
        self.vocabulary, self.noise, self.mean_span, self.seed = vocabulary, noise, mean_span, seed
        self.settled = settled

    def __call__(self, t: int) -> dict[str, Tensor]:
        rng = random_state(self.seed, t, 1)  # (seed, epoch) draws the windows; without the 1 batch 0 would share them
        v, noise = self.vocabulary, self.noise if self.settled is None or t < self.settled else NOISE
        pairs = [corrupt(row, draw_spans(len(row), noise, self.mean_span, rng), v.sentinels, v.eos_id)
                 for row in self.windows(t).tolist()]
        return collate(pairs, v.start_id, v.pad_id)


def held_out_pairs(tokens: Tensor, vocabulary: SentinelVocabulary, length: int) -> list[Pair]:
    """The whole held-out text once, in windows one after the other, always with the same spans taken out of it."""
    rng, v = random_state(SEED), vocabulary
    rows = [row.tolist() for row in tokens.split(length) if len(row) > MEAN_SPAN]
    return [corrupt(row, draw_spans(len(row), NOISE, MEAN_SPAN, rng), v.sentinels, v.eos_id) for row in rows]


def in_batches(pairs: Sequence[Pair], v: SentinelVocabulary, size: int = 64) -> Iterator[dict[str, Tensor]]:
    for i in range(0, len(pairs), size):
        yield collate(pairs[i : i + size], v.start_id, v.pad_id)


@torch.no_grad()
def evaluate(model: T5, pairs: Sequence[Pair], vocabulary: SentinelVocabulary) -> dict[str, float]:
    """held_out_loss: nats a target token, sentinels and end included, as it is trained. The other two look inside the
    spans alone: span_loss, nats a token that was taken out, and span_accuracy, the share of them that the model would
    write, told the ones before it.

    Expects `model.eval()`.
    """
    device = next(model.parameters()).device
    nats = inside = hits = tokens = taken = 0
    for batch in in_batches(pairs, vocabulary):
        hidden, answers = states_and_answers(model, {name: x.to(device) for name, x in batch.items()})
        logits = model.head(hidden)  # (N, V)
        loss = F.cross_entropy(logits, answers, reduction="none")
        piece = (answers < vocabulary.pieces.vocab_size) & (answers != vocabulary.eos_id)
        nats, tokens = nats + loss.sum().item(), tokens + len(answers)
        inside, taken = inside + loss[piece].sum().item(), taken + int(piece.sum())
        hits += int((logits.argmax(-1) == answers)[piece].sum())
    return {"held_out_loss": nats / tokens, "span_loss": inside / taken, "span_accuracy": hits / taken}
