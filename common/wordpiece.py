"""WordPiece: the tokenizer of the published BERT checkpoints, read from their vocab.txt.

First the text is cut into words and punctuation marks; then each word, from left to right, into the longest
pieces that the vocabulary has, "##" marking those that continue a word: Unaffable! -> un ##aff ##able !

Sources: Schuster & Nakajima 2012, "Japanese and Korean voice search" (the idea); Wu et al. 2016,
arXiv:1609.08144, section 4.1 (the name); Devlin et al. 2018, arXiv:1810.04805, and their tokenization.py (the
rules). Two rules are those of the published tokenizer.json instead: a "[MASK]" in the text becomes that id
(tokenization.py cuts it up), and a word has at most 100 characters (there 200). The `tokenizers` library
differs in this: a capital sigma that ends a word is "σ" there, "ς" here and in tokenization.py; it drops
private-use characters, knows an older Unicode, and misses 256 of the rarest ideographs.
"""

import json
import re
import string
import unicodedata
from functools import cache
from pathlib import Path

from common.checkpoint import read_text, write_atomically
from common.command import UserError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100  # characters; longer ones are [UNK] at once: cutting takes time quadratic in the length

# Chinese writes no spaces, so each ideograph is a word of its own. Hangul and kana are not in these ranges.
CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
       (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))  # fmt: skip


class WordPiece:
    """Text to ids and back, with a published vocabulary.

    >>> wordpiece = WordPiece("[PAD] [UNK] [CLS] [SEP] [MASK] un ##aff ##able !".split())
    >>> ids = wordpiece.encode("Unaffable [MASK]!")
    >>> ids, [wordpiece.piece(id) for id in ids]
    ([5, 6, 7, 4, 8], ['un', '##aff', '##able', '[MASK]', '!'])
    >>> wordpiece.decode(ids)  # case, accents and the spaces around punctuation are gone for good
    'unaffable [MASK] !'
    """

    def __init__(self, pieces: list[str], lowercase: bool = True):
        """`pieces[id]` is the text of a piece and holds all of SPECIALS; `lowercase` also drops accents."""
        self.pieces, self.lowercase, self.vocab_size = pieces, lowercase, len(pieces)
        self.ids = {piece: id for id, piece in enumerate(pieces)}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(self.ids.__getitem__, SPECIALS)

    @classmethod
    def load(cls, path: str | Path, lowercase: bool | None = None) -> "WordPiece":
        """Read vocab.txt: one piece a line, the line number (from 0) is the id.

        lowercase: None takes `do_lower_case` from the tokenizer_config.json beside the file, else True.
        Raises UserError: a file is missing, not UTF-8, no BERT vocabulary, or a config not supported here.
        """
        # Not splitlines(), which also cuts at characters such as U+2028 and would shift every id behind one.
        pieces = read_text(Path(path)).removesuffix("\n").split("\n")
        if missing := [name for name in SPECIALS if name not in pieces]:
            raise UserError(f"{path} has no {' '.join(missing)}: not the vocab.txt of a BERT checkpoint")
        if lowercase is None:
            lowercase = _lowercase_of(Path(path).with_name("tokenizer_config.json"))
        return cls(pieces, lowercase)

    def save(self, directory: Path) -> None:
        """Write vocab.txt, and in tokenizer_config.json whether case is kept: what `load` reads."""
        config = json.dumps({"do_lower_case": self.lowercase})
        for name, text in (("vocab.txt", "\n".join(self.pieces) + "\n"), ("tokenizer_config.json", config)):
            write_atomically(directory / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without [CLS] and [SEP] around; a special token spelt out in it becomes its id."""
        ids = []
        # Specials come out first; one step later "[MASK]" would be lowered and cut at its brackets.
        for part in re.split(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])", text):
            if part in SPECIALS:
                ids.append(self.ids[part])
            else:
                ids += [id for word in basic_tokens(part, self.lowercase) for id in self._cut(word)]
        return ids

    def pieces_of_word(self, word: str) -> list[tuple[int, int, int]]:
        """The pieces of a word (a text without blanks) and where they stand in it: (id, begin, end), in letters.

        Unlike `encode`, it takes a special token that is spelt out for the letters that it is.
        """
        # Lowering can take a letter apart or drop it: for each letter of the basic tokens the one that it comes from.
        origin = [i for i, char in enumerate(word) for _ in "".join(basic_tokens(char, self.lowercase))]
        found, read = [], 0
        for token in basic_tokens(word, self.lowercase):
            ids = self._cut(token)
            for nth, id in enumerate(ids):
                n = len(token) if ids == [self.unk_id] else len(self.pieces[id]) - 2 * (nth > 0)  # without "##"
                found.append((id, origin[read], origin[read + n - 1] + 1))
                read += n
        return found

    def decode(self, ids: list[int]) -> str:
        """Words joined by spaces, continuing pieces glued on, specials as text. Raises as `piece` does."""
        return " ".join(self.piece(id) for id in ids).replace(" ##", "")

    def piece(self, id: int) -> str:
        """Text of an id. IndexError outside 0 ... vocab_size - 1: -100 must not read from the end."""
        if not 0 <= id < self.vocab_size:
            raise IndexError(f"id {id} is not in this vocabulary of {self.vocab_size} pieces")
        return self.pieces[id]

    def _cut(self, word: str) -> list[int]:
        """Greedy longest match first. One stretch without a piece makes the whole word [UNK]."""
        if len(word) > LONGEST_WORD:
            return [self.unk_id]
        ids, start = [], 0
        while start < len(word):
            prefix, end = "##" if start else "", len(word)
            while end > start and prefix + word[start:end] not in self.ids:
                end -= 1
            if end == start:
                return [self.unk_id]
            ids.append(self.ids[prefix + word[start:end]])
            start = end
        return ids


def basic_tokens(text: str, lowercase: bool) -> list[str]:
    """Words and punctuation marks, in order; control characters dropped.

    >>> basic_tokens("Café  costs\\t$3, 北京!", lowercase=True)
    ['cafe', 'costs', '$', '3', ',', '北', '京', '!']
    """
    text = "".join(map(_clean, text))
    if lowercase:
        # NFD takes "é" apart into "e" and an accent (category Mn), and Hangul syllables into their jamo.
        text = unicodedata.normalize("NFD", text.lower())
        text = "".join(char for char in text if unicodedata.category(char) != "Mn")
    # Punctuation last, because that step can uncover some: "≠" is "=" with a stroke through it.
    return "".join(map(_set_apart, text)).split()


@cache
def _clean(char: str) -> str:
    """What replaces a character at first: nothing, a space, itself, or itself between spaces."""
    category = unicodedata.category(char)
    if char in "\t\n\r" or category == "Zs":
        return " "
    if category in ("Cc", "Cf") or char == "\ufffd":
        return ""
    return f" {char} " if any(low <= ord(char) <= high for low, high in CJK) else char


@cache
def _set_apart(char: str) -> str:
    """Punctuation between spaces; ASCII $ + < = > ^ ` | ~ count too, though Unicode calls them symbols."""
    return f" {char} " if char in string.punctuation or unicodedata.category(char)[0] == "P" else char


def _lowercase_of(path: Path) -> bool:  # refuses what it cannot do: better no ids than wrong ones
    try:
        config = json.loads(read_text(path)) if path.exists() else {}
    except json.JSONDecodeError:
        raise UserError(f"{path} is not JSON") from None
    lowercase = config.get("do_lower_case", True)
    if config.get("strip_accents") not in (None, lowercase) or not config.get("tokenize_chinese_chars", True):
        raise UserError(f"{path} sets strip_accents or tokenize_chinese_chars to what is not supported here")
    return lowercase
