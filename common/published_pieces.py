"""A SentencePiece vocabulary that others trained: the tokenizer.model of LLaMA 1 and 2, the spiece.model of T5."""

from pathlib import Path

import sentencepiece as spm

from common.checkpoint import write_atomically
from common.command import UserError
from common.tokenizer import split_at


class PublishedPieces:
    """Pieces as their tokenizer.model has them; encode and decode as in common/tokenizer.py.

    encode(text) -> ids, without the begin and end of a text; decode(ids) -> text, without control symbols.
    """

    def __init__(self, path: Path) -> None:
        """UserError for a file that is no SentencePiece model."""
        try:
            self.model = path.read_bytes()
            self._processor = spm.SentencePieceProcessor(model_proto=self.model)
            self.vocab_size = self._processor.vocab_size()
        except (OSError, RuntimeError):
            self.vocab_size = 0
        if not self.vocab_size:
            raise UserError(f"{path} is missing or damaged: it is no SentencePiece model")
        self.bos_id, self.eos_id = self._processor.bos_id(), self._processor.eos_id()
        self.pad_id = self._processor.pad_id()  # -1, as the two above, where the vocabulary has none

    def save(self, path: Path) -> None:
        write_atomically(path, lambda part: part.write_bytes(self.model))

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def encode_with(self, text: str, marks: dict[str, int]) -> list[int]:
        """As `encode`, but each of the marks, and the blank before it, becomes the number that it is given."""
        first, *rest = split_at(text, marks)
        ids = self.encode(first)
        for mark, part in zip(rest[::2], rest[1::2]):
            ids += [marks[mark], *self.encode(part)]
        return ids

    def decode(self, ids: list[int]) -> str:
        return self._processor.decode(ids)

    def piece(self, i: int) -> str:
        return self._processor.id_to_piece(i)
