"""Byte-level BPE: the tokenizer of GPT-2, learnt from text here or read from its published files.

A text is cut into words that keep the blank before them, a word into its UTF-8 bytes. Then neighbours are merged, by
the first merge of a learnt list that applies, again and again: l o w e s t -> low est. All 256 bytes are pieces, so
decode(encode(text)) == text in any language. A piece spells a byte as one visible character: "Ġ" is a blank.

Sources: Sennrich et al. 2016, arXiv:1508.07909, section 3.2 (merges; there of characters); Radford et al. 2019,
"Language Models are Unsupervised Multitask Learners", section 2.2, and its encoder.py (bytes, words, files). One rule
is that of the published tokenizer.json instead: "<|endoftext|>" in a text becomes its id (encoder.py cuts it up). The
`tokenizers` library may know a newer Unicode than this Python: a letter or number new in it is a sign here.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path

from common.checkpoint import read_text, write_atomically
from common.command import UserError

END = "<|endoftext|>"  # stands between documents
CACHED_WORDS, CACHED_LENGTH = 1 << 16, 32  # how many words keep their ids, and the most characters of such a word

# How a byte is spelt: the visible ones of Latin-1 as they are, the others as U+0100, U+0101, ... in turn, so that a
# blank (32) is U+0120, "Ġ". In this order they are GPT-2's first 256 ids.
SPELLING = {byte: chr(byte) for byte in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))}
SPELLING |= {byte: chr(0x100 + n) for n, byte in enumerate(byte for byte in range(256) if byte not in SPELLING)}
BYTES = {char: byte for byte, char in SPELLING.items()}

# GPT-2's words: an English ending; letters, numbers or signs, with the blank before them; spaces, of which the last
# is left to the word behind, hence (?!\S). `re` has no \p{L} and another \s, so this is matched against `_kind`s.
WORD = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[a-z]+| ?0+| ?[!']+|\s+(?!\S)|\s+")


class ByteBPE:
    """Text to ids and back. Sennrich's example: the most frequent neighbours are "es" (9), then "est" (9), "lo" (7) ...

    >>> bpe = ByteBPE.train(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3, vocab_size=256 + 5 + 1)
    >>> bpe.merges
    [('e', 's'), ('es', 't'), ('l', 'o'), ('lo', 'w'), ('e', 'w')]
    >>> ids = bpe.encode("lowest new")
    >>> ids, [bpe.piece(id) for id in ids], bpe.decode(ids)
    ([259, 257, 220, 77, 260], ['low', 'est', 'Ġ', 'n', 'ew'], 'lowest new')
    """

    def __init__(self, pieces: list[str], merges: list[tuple[str, str]]):
        """`pieces[id]` spells a piece, each byte is one; of `merges` the first goes first, all join to pieces."""
        self.pieces, self.merges, self.vocab_size = pieces, merges, len(pieces)
        self.ids = {piece: id for id, piece in enumerate(pieces)}
        self.eos_id = self.ids.get(END)  # None: this vocabulary cuts END like any text
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "ByteBPE":
        """Learn `vocab_size` pieces: the 256 bytes, merges, last END. UserError: below 257, or the texts hold fewer.

        Each merge joins the most frequent pair of neighbours; among equals, the smallest left id, then right id.
        """
        if vocab_size < 257:
            raise UserError(f"a vocabulary of {vocab_size} pieces is too small: the 256 bytes and {END} make 257")
        words = Counter(word for text in texts for part in text.split(END) for word in cut(part))
        cuts, times = [[*map(SPELLING.get, word.encode())] for word in words], list(words.values())
        ids, merges = {char: id for id, char in enumerate(BYTES)}, []
        count, holders = Counter(), defaultdict(set)  # of a pair: how often it occurs; which words have, or had, it
        for number, word in enumerate(cuts):
            for pair in pairwise(word):
                count[pair] += times[number]
                holders[pair].add(number)
        heap, changed = [], set(count)
        while len(ids) < vocab_size - 1:
            for pair in changed:
                heappush(heap, (-count[pair], ids[pair[0]], ids[pair[1]], pair))
            while heap and -heap[0][0] != count[heap[0][-1]]:
                heappop(heap)  # its pair has been counted anew since, and lies there again
            if not heap or heap[0][0] == 0:
                raise UserError(f"the text is too small for {vocab_size} pieces: it holds {len(ids) + 1}")
            merges.append(best := heap[0][-1])
            ids["".join(best)] = len(ids)
            changed = set()
            for number in holders.pop(best):
                for pair, change in _merge(cuts[number], best):
                    count[pair] += change * times[number]
                    holders[pair].add(number)
                    changed.add(pair)
        return cls([*ids, END], merges)

    @classmethod
    def load(cls, directory: str | Path) -> "ByteBPE":
        """Read vocab.json (piece: id) and merges.txt (a pair a line). UserError: missing, damaged, not byte-level."""
        path, merges = Path(directory, "vocab.json"), []
        try:
            vocab = json.loads(read_text(path))
            gaps = set(range(len(vocab))) - set(vocab.values())
        except (json.JSONDecodeError, AttributeError, TypeError):
            raise UserError(f"{path} is not a JSON table from pieces to ids") from None
        if gaps:
            raise UserError(f"{path} has {len(vocab)} pieces and none of them has the id {min(gaps)}")
        if missing := [char for char in BYTES if char not in vocab]:
            raise UserError(f"{path} has no piece {missing[0]!r}: it is not byte-level, which has all 256 bytes")
        if foreign := [piece for piece in vocab if not piece or set(piece) - BYTES.keys()]:
            raise UserError(f"{path} has the piece {foreign[0]!r}: it is not byte-level, which spells only bytes")
        for number, line in enumerate(read_text(path := Path(directory, "merges.txt")).split("\n"), start=1):
            if not line or number == 1 and line.startswith("#version"):
                continue
            left, _, right = line.partition(" ")
            if unknown := [piece for piece in (left, right, left + right) if piece not in vocab]:
                raise UserError(f"{path}, line {number}: {line!r} is no merge, vocab.json has no piece {unknown[0]!r}")
            merges.append((left, right))
        return cls(sorted(vocab, key=vocab.get), merges)

    def save(self, directory: str | Path) -> None:
        """Write the two files that `load` reads; the directory is made where there is none."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        merges = "\n".join(["#version: 0.2", *map(" ".join, self.merges), ""]).encode()
        write_atomically(Path(directory, "vocab.json"), lambda part: part.write_bytes(json.dumps(self.ids).encode()))
        write_atomically(Path(directory, "merges.txt"), lambda part: part.write_bytes(merges))

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, nothing added; END in it becomes its id. UnicodeEncodeError for a lone surrogate."""
        ids = []
        for number, part in enumerate([text] if self.eos_id is None else text.split(END)):
            ids += [self.eos_id] if number else []
            for word in cut(part):
                ids += self._cache.get(word) or self._encode_word(word)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; bytes that are no UTF-8, such as half a character, become U+FFFD. Raises as `piece` does."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of `ids`, for text that comes piece by piece: a character can lie across two of them."""
        return bytes(BYTES[char] for id in ids for char in self.piece(id))

    def piece(self, id: int) -> str:
        """Spelling of an id. IndexError outside 0 ... vocab_size - 1: -100 must not read from the end."""
        if not 0 <= id < self.vocab_size:
            raise IndexError(f"id {id} is not in this vocabulary of {self.vocab_size} pieces")
        return self.pieces[id]

    def _encode_word(self, word: str) -> list[int]:
        """Merge the bytes of a word, the first merge of the list first, each from left to right."""
        # A text without blanks is one long word, so no merge may walk through it all: a heap gives the next one, and
        # each piece knows its neighbours. None is a piece that is gone, or the end, and as place -1 the start.
        pieces = [*map(SPELLING.get, word.encode()), None]
        after, before = [*range(1, len(pieces)), -1], list(range(-1, len(pieces) - 1))
        heap = sorted((self._ranks[pair], n) for n, pair in enumerate(pairwise(pieces)) if pair in self._ranks)
        while heap:
            rank, place = heappop(heap)
            right = after[place]
            if self._ranks.get((pieces[place], pieces[right])) != rank:
                continue  # one of the two has gone into another piece since
            pieces[place], pieces[right] = pieces[place] + pieces[right], None
            after[place] = after[right]
            before[after[right]] = place
            for left in (before[place], place):
                if (rank := self._ranks.get((pieces[left], pieces[after[left]]))) is not None:
                    heappush(heap, (rank, left))
        ids = [self.ids[piece] for piece in pieces if piece]
        if len(word) <= CACHED_LENGTH and len(self._cache) < CACHED_WORDS:
            self._cache[word] = ids
        return ids


def cut(text: str) -> list[str]:
    """The words of a text, blanks and all.

    >>> cut("We'll meet  at 10pm, OK?")
    ['We', "'ll", ' meet', ' ', ' at', ' 10', 'pm', ',', ' OK', '?']
    """
    return [text[match.start():match.end()] for match in WORD.finditer("".join(map(_kind, text)))]


@cache
def _kind(char: str) -> str:
    """What WORD sees: blank, apostrophe and the letters it names as they are, "a" "0" "\\n" "!" for the others."""
    if char in "stmdrevl' ":
        return char
    if char.isspace() and not "\x1c" <= char <= "\x1f":  # those four are spaces to Python, not to Unicode
        return "\n"
    return {"L": "a", "N": "0"}.get(unicodedata.category(char)[0], "!")


def _merge(word: list[str], best: tuple[str, str]) -> Iterator[tuple[tuple[str, str], int]]:
    """Join `best` in a word, from left to right; yield the pairs of neighbours that go, -1, and that come, +1."""
    place = 0
    while place < len(word) - 1:
        if (word[place], word[place + 1]) == best:
            yield from [(pair, -1) for pair in pairwise(word[max(place - 1, 0):place + 3])]
            word[place:place + 2] = ["".join(best)]
            yield from [(pair, +1) for pair in pairwise(word[max(place - 1, 0):place + 2])]
        place += 1
