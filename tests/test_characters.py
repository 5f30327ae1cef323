"""The vocabulary of characters: what gets which number, the way there and back, the file it is kept in."""

import json

import pytest

from common.characters import END, Characters
from common.command import UserError
from tests.explain import equal

TEXTS = {
    "English": "To be, or not to be:\n\n\tthat is the question.",
    "Korean": "나는 학교에 간다. 안녕하세요?\n",
    "signs beyond 16 bits": "a 🙂 b 𝒳 🙂🙂",
    "line ends and blanks": " \r\n\n \u2028\u00a0\x0b ",
    "combining marks": "e\u0301 \u1112\u1161\u11ab 한",
    "the name of the end token": END * 2,
    "nothing": "",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_comes_back(name):
    vocabulary = Characters.of([TEXTS[name]])
    ids = vocabulary.encode(TEXTS[name])
    equal(vocabulary.decode(ids), TEXTS[name], "no character may be changed, joined, or lost")
    equal(len(ids), len(TEXTS[name]), "one token a character, a character being a code point")
    assert vocabulary.eos_id not in ids, "no text is encoded to the end of a text"


def test_ids_are_in_the_order_of_unicode():
    vocabulary = Characters.of(["zebra", "Äpfel", "나무", "🙂", "z1 "])
    expected = sorted("zebraÄpfl나무🙂1 ", key=ord)
    equal([vocabulary.piece(i) for i in range(1, vocabulary.vocab_size)], expected,
          "sorted by code point: a set has another order in every process")
    equal(vocabulary.encode("".join(expected)), list(range(1, len(expected) + 1)), "0 is the end of a text")
    equal(vocabulary.vocab_size, len(expected) + 1, "every character once, and the end")


def test_the_order_of_the_texts_plays_no_part():
    a, b = Characters.of(["cab", "dry"]), Characters.of(["yard", "", "bbc"])
    equal(a.characters, b.characters, "the same characters give the same numbers")


def test_the_end_of_a_text_is_left_out():
    vocabulary = Characters.of(["banana"])
    equal(vocabulary.decode([0, 2, 1, 0, 3, 0]), "ban", "token 0 shows nothing")
    equal(vocabulary.decode([]), "", "no tokens, no text")
    equal(vocabulary.piece(0), END, "but it has a name")


def test_an_unknown_character_is_one_line():
    vocabulary = Characters.of(["banana"])
    for text, character in (("bandana", "'d'"), ("\n", r"'\n'"), ("한", "'한'"), ("B", "'B'")):
        with pytest.raises(UserError) as caught:
            vocabulary.encode(text)
        message = str(caught.value)
        assert character in message and " 3 " in message, f"expected {character} and how many are known, came {message}"
        assert "\n" not in message, f"expected one line, came {message!r}"


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_saved_and_loaded(tmp_path, name):
    path = tmp_path / "characters.json"
    vocabulary = Characters.of([TEXTS[name]])
    vocabulary.save(path)
    came = Characters.load(path)
    equal((came.characters, came.vocab_size), (vocabulary.characters, vocabulary.vocab_size), "the same vocabulary")
    equal(came.encode(TEXTS[name]), vocabulary.encode(TEXTS[name]), "with the same numbers")
    equal([p.name for p in tmp_path.iterdir()], [path.name], "no temporary file stays behind")


GOOD = json.dumps({"characters": "abc"})
DAMAGE = {
    "empty": b"", "half": GOOD[:12].encode(), "no JSON": b"abc", "not UTF-8": b'{"characters": "\xff"}',
    "a list": b'["a", "b"]', "another name": b'{"letters": "abc"}', "null": b"null", "a number": b"3",
    "a string": b'"abc"', "characters: a number": b'{"characters": 3}', "characters: null": b'{"characters": null}',
    "characters: a list": b'{"characters": ["a", "b"]}', "characters: a table": b'{"characters": {"a": 1}}',
    "a character twice": b'{"characters": "aba"}',
}


@pytest.mark.parametrize("damage", [*DAMAGE, "missing", "a directory"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = tmp_path / "characters.json"
    if damage == "a directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(DAMAGE[damage])
    with pytest.raises(UserError) as caught:
        Characters.load(path)
    assert "characters.json" in str(caught.value) and "\n" not in str(caught.value), f"came {caught.value!r}"
