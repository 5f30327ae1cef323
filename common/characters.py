"""The smallest vocabulary of all: every character that occurs in a text is a token."""

import json
from pathlib import Path

from common.checkpoint import write_atomically
from common.command import UserError

END = "<end>"  # token 0: the end of a text


class Characters:
    """Text to ids and back, a character each.

    >>> vocabulary = Characters.of(["banana"])
    >>> vocabulary.encode("nab"), vocabulary.decode([3, 2, 1]), vocabulary.vocab_size
    ([3, 1, 2], 'nba', 4)
    """

    eos_id = 0

    def __init__(self, characters: str) -> None:
        """Character number i of the string gets the id i + 1."""
        self.characters = characters
        self.vocab_size = len(characters) + 1
        self._ids = {character: i for i, character in enumerate(characters, start=1)}

    @classmethod
    def of(cls, texts: list[str]) -> "Characters":
        """The characters of all these texts, in the order of Unicode."""
        return cls("".join(sorted(set().union(*texts))))

    @classmethod
    def load(cls, path: Path) -> "Characters":
        """What `save` wrote. UserError for another file."""
        try:
            characters = json.loads(path.read_text(encoding="utf-8"))["characters"]
        except (OSError, ValueError, KeyError, TypeError):
            characters = None
        if not isinstance(characters, str) or len(set(characters)) < len(characters):
            raise UserError(f"{path} is missing or damaged: it is no list of characters")
        return cls(characters)

    def save(self, path: Path) -> None:
        text = json.dumps({"characters": self.characters})
        write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))

    def encode(self, text: str) -> list[int]:
        """UserError for a character that is not in the vocabulary."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise UserError(f"the character {error.args[0]!r} is not among the {len(self.characters)} that this "
                            "vocabulary was made of") from None

    def decode(self, ids: list[int]) -> str:
        """The end of a text is left out."""
        return "".join(self.piece(i) for i in ids if i != self.eos_id)

    def piece(self, i: int) -> str:
        return END if i == self.eos_id else self.characters[i - 1]
