"""How good a model is on text that it never saw, and what its guesses look like."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.batches import random_state
from common.report import table
from common.tokenizer import BLANK, SPECIAL
from minibert.model import BertForPreTraining
from minibert.nsp import Pairs, draw_pairs
from minibert.objective import Examples

SEED = 2018  # of the held-out masks and pairs: the same questions for every run, whatever its own seed
RATE = 0.15  # the paper's rate, whatever a run trains with
BEHIND_A_WORD = set('.,;:!?)…"。，、！？')  # no apostrophe: what stands before that of "don't" is no word


def held_out_batches(examples: Examples, random_share: float) -> Iterator[dict[str, Tensor]]:
    """The whole held-out text once, 64 windows at a time; random_share: part of the windows whose B is random."""
    pairs = draw_pairs(examples.spans, random_state(SEED), random_share)
    for start in range(0, len(examples.spans), 64):
        rows = np.arange(start, min(start + 64, len(examples.spans)))
        yield examples.batch(pairs, rows, RATE, SEED, start)


@torch.no_grad()
def evaluate(model: BertForPreTraining, examples: Examples) -> dict[str, float]:
    """mlm_loss (nats) and mlm_top1 over all selected tokens, nsp_accuracy over all pairs, dropout off.

    MLM is scored at 15 %, 80/10/10, on true pairs, so that each token of the split is read once and in its own
    context; NSP on the same windows with half of the Bs random. Expects `model.eval()`.
    """
    device = next(model.parameters()).device
    loss = hits = tokens = right = pairs = 0
    for batch in held_out_batches(examples, random_share=0.0):
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        selected, answers = batch["selected"], batch["answers"][batch["selected"]]
        logits = model.head(model.hidden(batch["ids"], batch["segments"], batch["mask"], only=selected))
        loss += F.cross_entropy(logits, answers, reduction="sum").item()
        hits += (logits.argmax(-1) == answers).sum().item()
        tokens += len(answers)
    for batch in held_out_batches(examples, random_share=0.5):
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        logits = model.next_sentence(model.hidden(batch["ids"], batch["segments"], batch["mask"])[:, 0])
        right += (logits.argmax(-1) == batch["is_random"]).sum().item()
        pairs += len(logits)
    return {"mlm_loss": loss / tokens, "mlm_top1": hits / tokens, "nsp_accuracy": right / pairs}


@torch.no_grad()
def masked_words(model: BertForPreTraining, examples: Examples, n: int = 8, around: int = 6) -> str:
    """A table of gaps in held-out text: the text around one, the model's three best guesses, and what stood there.

    Each row of text has one whole word hidden and nothing else; up to `around` pieces on both sides are shown.
    """
    device = next(model.parameters()).device
    t = examples.tokenizer
    begins = [t.piece(i).startswith(BLANK) for i in range(t.vocab_size)]
    pairs = draw_pairs(examples.spans, random_state(SEED), random_share=0.0)
    lines = []
    for row, column in whole_words(examples, pairs, n, around):
        batch = {name: tensor.to(device) for name, tensor in examples.batch(pairs, np.array([row]), 0.0, SEED).items()}
        answers, ids = batch["answers"][0].tolist(), batch["answers"].clone()
        ids[0, column] = t.mask_id
        hidden = model.hidden(ids, batch["segments"], batch["mask"])
        best = model.head(hidden[0, column]).softmax(-1).topk(3)
        start, end = column - around, min(column + around + 1, len(answers) - 1)
        while start < column and not begins[answers[start]]:  # whole words, and so whole characters
            start += 1
        while end > column + 1 and not begins[answers[end]]:
            end -= 1
        left, right = (t.decode([i for i in part if i >= len(SPECIAL)])
                       for part in (answers[start:column], answers[column + 1 : end]))
        guesses = [f"{show(t.piece(i))} {p:.2f}" for p, i in zip(best.values.tolist(), best.indices.tolist())]
        hit = "✓" if answers[column] == best.indices[0] else ""
        lines.append([f"{left} ____ {right}".strip(), *guesses, show(t.piece(answers[column])), hit])
    return table(["held-out text", "1st guess", "2nd", "3rd", "truth", ""], lines)


def whole_words(examples: Examples, pairs: Pairs, n: int, around: int) -> list[tuple[int, int]]:
    """(row, column) of up to n words that are one piece, with room on both sides, spread over the documents.

    The same ones for every model: chance decides, with a seed of its own. Each is of another document while there are
    enough of them.
    """
    t = examples.tokenizer
    pieces = [t.piece(i) for i in range(t.vocab_size)]
    word = torch.tensor([piece.startswith(BLANK) and piece[1:].isalpha() for piece in pieces])
    behind = torch.tensor([piece.startswith(BLANK) or set(piece) <= BEHIND_A_WORD for piece in pieces])
    answers = examples.batch(pairs, np.arange(len(examples.spans)), 0.0, SEED)["answers"]
    asked = word[answers[:, around : -around - 1]] & behind[answers[:, around + 1 : -around]]
    places = asked.nonzero().numpy() + [0, around]
    document, rng = examples.spans[places[:, 0], 2], random_state(SEED)
    mixed = [rng.permutation(places[document == one]) for one in np.unique(document)]
    each = -(-n // max(1, len(mixed)))
    chosen = [place for some in mixed for place in some[:each].tolist()]
    return [tuple(chosen[i]) for i in sorted({i * len(chosen) // n for i in range(n)})] if chosen else []


def show(piece: str) -> str:
    """A piece as people read it: a word begins without "▁", a part inside a word begins with "-"."""
    return piece[1:] or BLANK if piece.startswith(BLANK) else f"-{piece}"
