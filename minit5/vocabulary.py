"""A vocabulary with sentinels behind it: numbers that stand for what was taken out of a text."""

import re

from common.command import UserError
from common.published_pieces import PublishedPieces
from common.tokenizer import Tokenizer

N_SENTINELS = 100  # as published


class SentinelVocabulary:
    """Pieces, and n_sentinels numbers more. <extra_id_0> is the last number of all, <extra_id_1> the one before it ...

    That order, and the names, are those of the published T5s.
    """

    def __init__(self, pieces: Tokenizer | PublishedPieces, n_sentinels: int = N_SENTINELS) -> None:
        self.pieces = pieces
        self.pad_id, self.eos_id = pieces.pad_id, pieces.eos_id
        self.start_id = self.pad_id  # before the first token of a target stands padding, as published
        self.vocab_size = pieces.vocab_size + n_sentinels
        self.sentinels = list(range(self.vocab_size - 1, pieces.vocab_size - 1, -1))
        self._marks = {f"<extra_id_{k}>": i for k, i in enumerate(self.sentinels)}
        self._names = {i: mark for mark, i in self._marks.items()}

    def encode(self, text: str) -> list[int]:
        """The ids of a text, in which <extra_id_0>, <extra_id_1> ... are sentinels, and the end token behind it.

        UserError for a sentinel that the vocabulary does not have.
        """
        for mark in re.findall(r"<extra_id_(?:0|[1-9][0-9]*)>", text):
            if mark not in self._marks:
                last = f"its last sentinel is <extra_id_{len(self.sentinels) - 1}>"
                raise UserError(f"the text holds {mark}, and this vocabulary has no such sentinel: "
                                + (last if self.sentinels else "it has none at all"))
        return [*self.pieces.encode_with(text, self._marks), self.eos_id]

    def decode(self, ids: list[int]) -> str:
        """Text, with the sentinels by their names, a blank on both sides; padding, end, and unused numbers left out."""
        parts, run = [], []
        for i in [*ids, None]:
            if i in self._names or i is None:
                parts += [text] if (text := self.pieces.decode(run)) else []
                parts += [self._names[i]] if i is not None else []
                run = []
            elif i < self.pieces.vocab_size:
                run.append(i)
        return " ".join(parts)
