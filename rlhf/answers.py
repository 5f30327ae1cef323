"""Questions with answers behind them, as rows of tokens; where the answer stands, and what a model says at its places.

Everything that is right or wrong by one place is here. A row is the question, the answer, padding:

    ids      tell  about  fox  the  fox  is  kind  .  <eos>  <pad>  <pad>
    starts   3 (the first token of the answer)
    mask                        T    T   T    T    T    T      F      F

Column j of mask (B, L) is the j-th token of the answer, not column j of ids; L is the length of the longest answer. EOS
belongs to the answer. One that is cut off has no EOS, and its last token is simply the last one written.

What predicts a token is the state one place before it. So the first token of the answer is predicted by the last one of
the question, EOS is predicted by the token before it, and the state at EOS predicts nothing that counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from common.command import UserError


@dataclass(frozen=True)
class Answers:
    """B questions with their answers: ids (B, T), starts (B,), mask (B, L), bool.

    The mask says what belongs to an answer. A token alone never does: a model may write <pad> in an answer, and has to
    bear it.
    """

    ids: Tensor
    starts: Tensor
    mask: Tensor

    @property
    def lengths(self) -> Tensor:
        """How many tokens each answer has, EOS included: (B,)"""
        return self.mask.sum(dim=1)

    @property
    def places(self) -> Tensor:
        """Where the tokens of the answers stand in their rows: (B, L); behind an answer any place of the row."""
        steps = torch.arange(self.mask.shape[1], device=self.ids.device)
        return (self.starts.unsqueeze(1) + steps).clamp(max=self.ids.shape[1] - 1)

    @property
    def tokens(self) -> Tensor:
        """The answers alone, (B, L); what stands behind an answer is not part of it."""
        return self.ids.gather(1, self.places)

    def ended(self, eos_id: int) -> Tensor:
        """Which answers came to their end: (B,), bool."""
        return (self.ids.gather(1, self._last) == eos_id).squeeze(1)

    @property
    def _last(self) -> Tensor:
        return (self.starts + self.lengths - 1).unsqueeze(1)  # (B, 1)

    def states_before(self, hidden: Tensor) -> Tensor:
        """hidden (B, T, D) -> (B, L, D): for each token of the answer the state that predicts it."""
        return hidden.gather(1, (self.places - 1).unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))

    def last_state(self, hidden: Tensor) -> Tensor:
        """hidden (B, T, D) -> (B, D): the state of the last token of the answer, never that of padding."""
        return hidden.gather(1, self._last.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])).squeeze(1)

    def __getitem__(self, rows: Tensor) -> "Answers":
        """These rows alone, without the columns in which none of them has a token."""
        lengths, starts = self.lengths[rows], self.starts[rows]
        return Answers(self.ids[rows, : int((starts + lengths).max())], starts, self.mask[rows, : int(lengths.max())])


def lay_out(pairs: Sequence[tuple[list[int], list[int]]], pad_id: int) -> Answers:
    """Pairs of a question and an answer as rows, padded on the right. UserError when one of them is empty.

    >>> made = lay_out([([5, 6], [7]), ([5], [8, 9, 2])], pad_id=0)
    >>> made.ids.tolist(), made.starts.tolist(), made.mask.int().tolist()
    ([[5, 6, 7, 0], [5, 8, 9, 2]], [2, 1], [[1, 0, 0], [1, 1, 1]])
    """
    for question, answer in pairs:
        if not question or not answer:
            raise UserError(f"the {'answer' if question else 'prompt'} is empty: both need a token at least")
    widest, longest = max(len(q) + len(a) for q, a in pairs), max(len(a) for _, a in pairs)
    lengths = torch.tensor([len(a) for _, a in pairs])
    return Answers(torch.tensor([q + a + [pad_id] * (widest - len(q) - len(a)) for q, a in pairs]),
                   torch.tensor([len(q) for q, _ in pairs]), torch.arange(longest) < lengths.unsqueeze(1))


def log_probs(model: nn.Module, answers: Answers) -> Tensor:
    """log P(token | question and answer so far), in nats, of each token of the answers: (B, L), 0 behind them."""
    return chosen(model.head(answers.states_before(model.hidden(answers.ids))), answers)


def chosen(logits: Tensor, answers: Answers) -> Tensor:
    """Of the logits (B, L, V) at the places before, the log-probability of the token that is there: (B, L)."""
    log_p = logits.float().log_softmax(dim=-1).gather(-1, answers.tokens.unsqueeze(-1)).squeeze(-1)
    return log_p.masked_fill(~answers.mask, 0.0)


def check_ends(eos_id: int | None, pad_id: int, vocab_size: int) -> None:
    """UserError unless answers can end, and padding is not taken for an end."""
    if eos_id is None or not 0 <= eos_id < vocab_size:
        raise UserError("the vocabulary has no EOS: an answer could never end, and would be scored half-way")
    if eos_id == pad_id:
        raise UserError(f"PAD and EOS are one token ({eos_id}): the end of an answer would be masked as padding")
