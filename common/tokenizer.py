"""Text to numbers and back: a SentencePiece unigram vocabulary, trained here in seconds.

A piece is a run of characters that is frequent enough to deserve a number; "▁" stands for the blank before a word.
What no piece covers is spelled in UTF-8 bytes (256 byte pieces), so nothing is ever unknown and
decode(encode(text)) == text for any text in any language. Kudo 2018 (arXiv:1804.10959), Kudo & Richardson 2018
(arXiv:1808.06226).
"""

import io
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import sentencepiece as spm

from common.checkpoint import write_atomically
from common.command import UserError

# The first ids of every vocabulary. They are control symbols: no text is ever encoded to them.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>")
BLANK = "▁"  # U+2581, which SentencePiece writes for a blank
JOINT = "\x1f"  # in a text to learn a vocabulary from, with kind bpe: no piece reaches across it


class Tokenizer:
    """Pieces of a trained vocabulary.

    encode(text) -> list of ids, without special tokens; decode(ids) -> text, special tokens left out.
    """

    pad_id, unk_id, cls_id, sep_id, mask_id, bos_id, eos_id = range(len(SPECIAL))

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            self._processor = spm.SentencePieceProcessor(model_proto=model)
            first = [self.piece(i) for i in range(len(SPECIAL))]
        except (RuntimeError, IndexError) as error:  # an empty file loads, and holds no pieces
            raise UserError("the tokenizer model is damaged") from error
        if first != list(SPECIAL):
            raise UserError(f"the tokenizer model does not begin with {' '.join(SPECIAL)}: it was not made here")
        self.vocab_size = self._processor.vocab_size()
        self._blank_bytes = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in BLANK.encode()]

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, kind: str = "unigram") -> "Tokenizer":
        """Learn `vocab_size` pieces from `texts`. Raises UserError when the texts do not hold that many.

        kind: unigram; or bpe for small texts and those of few different words, since unigram knows no piece that stands
        in one word only, however often it comes. With bpe each digit is a piece of its own, so that a model can
        calculate, and no piece reaches across a JOINT.
        """
        texts = list(texts)
        if not any(texts):
            raise UserError("there is no text to learn a vocabulary from")
        model = io.BytesIO()
        try:
            spm.SentencePieceTrainer.train(
                sentence_iterator=(f" {text}" for text in texts), model_writer=model, vocab_size=vocab_size,
                model_type=kind, split_digits=kind == "bpe", pretokenization_delimiter=JOINT if kind == "bpe" else "",
                byte_fallback=True, character_coverage=0.9995,
                normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
                pad_id=0, pad_piece=SPECIAL[0], unk_id=1, unk_piece=SPECIAL[1], control_symbols=list(SPECIAL[2:5]),
                bos_id=5, bos_piece=SPECIAL[5], eos_id=6, eos_piece=SPECIAL[6],
                max_sentence_length=1 << 20, num_threads=1,  # one thread: the same pieces on every machine
                minloglevel=2)
        except RuntimeError as error:
            limit = re.search(r"value <= (\d+)", str(error))
            too_small = any(word in str(error) for word in ("required_chars", "Vocabulary size", "insert_id"))
            if limit or too_small:
                raise UserError(f"a vocabulary of {vocab_size:,} pieces does not suit this text; "
                                + (f"at most {limit[1]} pieces: --vocab-size {limit[1]}" if limit
                                   else "give a larger one")) from None
            raise
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        if not path.is_file():
            raise UserError(f"{path} is not there")
        return cls(path.read_bytes())

    def save(self, path: Path) -> None:
        write_atomically(path, lambda part: part.write_bytes(self.model))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens; the first word is the same piece as anywhere else."""
        return self._pieces(f" {text}") if text else []

    def encode_masked(self, text: str) -> list[int]:
        """As `encode`, but each "[MASK]" becomes the mask.

        A blank before it belongs to the piece that it stands for. Left in place it would be a lone "▁", which the
        model has hardly ever seen before a word.
        """
        return self.encode_with(text, {"[MASK]": self.mask_id})

    def encode_with(self, text: str, marks: dict[str, int]) -> list[int]:
        """As `encode`, but each of the marks, and the blank before it, becomes the number that it is given."""
        first, *rest = split_at(text, marks)
        ids = self.encode(first)
        for mark, part in zip(rest[::2], rest[1::2]):
            ids += [marks[mark], *self._pieces(part)]
        return ids

    def _pieces(self, text: str) -> list[int]:
        # A "▁" that stands in the text itself would come back as a blank; spelled in bytes it survives.
        first, *rest = text.split(BLANK)
        ids = self._processor.encode(first)
        for part in rest:
            ids += self._blank_bytes + self._processor.encode(part)
        return ids

    def pieces_of_word(self, word: str) -> list[tuple[int, int, int]]:
        """The pieces of a word (a text without blanks) and where they stand in it: (id, begin, end), in letters.

        A letter that is spelled in bytes belongs to the first of them.
        """
        found, begin = [], 0
        for i in self.encode(word):
            byte = re.fullmatch(r"<0x(..)>", self.piece(i))
            continues = byte and 0x80 <= int(byte[1], 16) < 0xC0  # 10xxxxxx: not the first byte of a letter
            end = begin + (not continues if byte else len(self.piece(i).removeprefix(BLANK)))
            found.append((i, begin, end))
            begin = end
        return found

    def decode(self, ids: list[int]) -> str:
        return self._processor.decode(ids).removeprefix(" ")

    def piece(self, i: int) -> str:
        return self._processor.id_to_piece(i)


def split_at(text: str, marks: Collection[str]) -> list[str]:
    """The text before the first mark, the mark, the text behind it, and so on; blanks before a mark are dropped.

    >>> split_at("Thank you <X> me to", ["<X>", "<Y>"])
    ['Thank you', '<X>', ' me to']
    """
    return re.split(rf"\s*({'|'.join(map(re.escape, marks))})", text) if marks else [text]
