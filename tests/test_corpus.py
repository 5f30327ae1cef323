"""From documentation strings to documents: the rules on small sources, then the corpus that they make here."""

import hashlib
import json
import platform
import re

import pytest
import torch

from common import corpus
from common.command import UserError
from common.corpus import Corpus, docstrings, is_prose, load_corpus, prose, read_documents, split
from tests.explain import equal

# ---- prose: paragraphs of a documentation string, without markup

MARKUP = {
    "a role": ("Return a :class:`torch.Tensor` with the mean of all rows.",
               "Return a torch.Tensor with the mean of all rows."),
    "a role with a domain, hiding its target": ("Convert it to a :py:func:`tensor <torch.tensor>` before you go on.",
                                                "Convert it to a tensor before you go on."),
    "a shortened role": ("The method :meth:`~Module.forward` is called by every module.",
                         "The method Module.forward is called by every module."),
    "a link": ("See the `tutorial page <https://example.org/x>`_ for the rest of this story.",
               "See the tutorial page for the rest of this story."),
    "code and a reference": ("See `the guide`_ and ``dim`` before you change anything in here.",
                             "See the guide and dim before you change anything in here."),
    "emphasis, but no product or power": ("Take the *sum* of **all** the rows, not a*b*c or 2**n.",
                                          "Take the sum of all the rows, not a*b*c or 2**n."),
    "escapes": (r"Escaped \*stars\* are shown as they are in the text.",
                "Escaped stars are shown as they are in the text."),
    "two colons before a literal block": ("The result looks as follows in every case::",
                                          "The result looks as follows in every case:"),
    "lines and tabs": ("One line of a paragraph\n\tgoes on   with a tab here.",
                       "One line of a paragraph goes on with a tab here."),
    "brackets first": ("(In brackets a sentence may begin as well.)", "(In brackets a sentence may begin as well.)"),
}


@pytest.mark.parametrize("name", MARKUP)
def test_markup_goes_and_its_words_stay(name):
    source, expected = MARKUP[name]
    equal(list(prose(source)), [expected], f"{name}: the mark-up goes, the words that a reader sees stay")


def test_items_of_a_list_are_paragraphs():
    source = ("There are two ways to do it:\n- take the first road to the sea\n  and then follow the coast;\n"
              "* go back the way that you came;\n1. or stay here until the morning comes.")
    equal(list(prose(source)), ["There are two ways to do it:",
                                "take the first road to the sea and then follow the coast;",
                                "go back the way that you came;", "or stay here until the morning comes."],
          "every item begins a paragraph, a continued line does not, and the bullet goes")


def test_names_of_arguments_go_and_what_is_said_about_them_stays():
    source = """Args:
        input (Tensor): the tensor whose rows are added together.
        dim (int, optional): the axis that is removed from the result.
        keepdim: whether the removed axis stays with a length of one.
    :param name: the name under which the file is stored."""
    equal(list(prose(source)), ["the tensor whose rows are added together.",
                                "the axis that is removed from the result.",
                                "whether the removed axis stays with a length of one.",
                                "the name under which the file is stored."],
          "`name (type): ` in front of an item is no prose")


CODE = {
    "an interpreter session": "    >>> a = the_first(b)\n    >>> print the result of all that\n    3",
    "a literal block": "    x = [1, 2]\n    for y in x: print(y)",
    "a table": "    ===== ======\n    input output\n    ===== ======",
    "a signature": "abs(input: Tensor, *, out: Optional[Tensor]) -> Tensor",
}


@pytest.mark.parametrize("name", CODE)
def test_code_is_dropped_and_the_order_kept(name):
    source = f"The text begins with these words.\n\n{CODE[name]}\n\nAfter that the text goes on."
    equal(list(prose(source)), ["The text begins with these words.", "After that the text goes on."],
          f"{name} is no prose, and the paragraphs around it stay in order")


@pytest.mark.parametrize(("text", "expected", "why"), [
    ("one two three four five", True, "five words are enough"),
    ("one two three four", False, "four words are a heading, not a sentence"),
    ("a b c d e f g x_1 y[2] z()", True, "seven of ten words are plain"),
    ("a b c d e f x_1 y[2] z() w=1", False, "six of ten plain words are fewer than seven tenths"),
    ('the cat (often) said "no", didn\'t it?', True, "punctuation belongs to the words"),
    ("in 1999, the 3) and 4. – all fine words", True, "numbers and dashes are plain too"),
    ("3 is the number of things that we count", False, "a paragraph begins with a letter"),
    ("type >>> and then the name of a function", False, "an interpreter session"),
    ("find more at https://example.org when you have the time", False, "an address"),
    ("", False, "nothing"),
])
def test_what_counts_as_prose(text, expected, why):
    assert is_prose(text) is expected, f"is_prose({text!r}) should be {expected}: {why}"


# ---- docstrings: the strings of a source file

SOURCE = '''
"""Module."""
import torch

class A:
    """Class."""
    text = """An attribute,
    which is no documentation."""

    def method(self):
        """Method."""
        def inner():
            "Inner."

    async def later(self):
        """Later."""

def bare():
    return "no documentation"

add_docstr(torch.abs, r"""
abs(input) -> Tensor
""" + common)
torch._C._add_docstr(torch.add, """first
{second}""".format(second=1))
add_docstr(torch.sub, "one line is a name, not a text")

def last():
    """Last."""
'''


@pytest.fixture
def write(tmp_path):
    def file(content: str | bytes, name: str = "file.txt"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path
    return file


def test_docstrings_in_the_order_of_the_file(write):
    expected = ["Module.", "Class.", "Method.", "Inner.", "Later.", "\nabs(input) -> Tensor\n", "first\n{second}",
                "Last."]
    equal(docstrings(write(SOURCE, "source.py")), expected,
          "module, classes, functions (nested and async ones too) and torch's add_docstr calls, sorted by line")


@pytest.mark.parametrize("content", ["def broken(:", 'x = "caf\xe9"'.encode("latin-1"), b"x = 1\0", ""],
                         ids=["no Python", "not UTF-8", "NUL", "empty"])
def test_a_source_that_cannot_be_parsed_has_no_docstrings(write, content):
    equal(docstrings(write(content, "source.py")), [], "such a file is passed over, it does not end the command")


def test_docstrings_warn_of_nothing(write, recwarn):
    equal(docstrings(write('def f():\n    "A \\d in a string."\n', "source.py")), [r"A \d in a string."], "")
    assert not recwarn.list, f"expected silence about other people's escapes, came {recwarn.list[0].message}"


# ---- documentation: strings of many files to documents


def test_repeats_and_lonely_paragraphs_are_removed(monkeypatch):
    apple, pear, plum, fig = (f"This is a paragraph about the {fruit}." for fruit in ("apple", "pear", "plum", "fig"))
    sources = [("one.py", [f"{apple}\n\n{pear}", apple]),  # a repeat inside a file, from another string
               ("two.py", [f"{plum}\n\nTHIS is a paragraph, about the *pear*!\n\n{fig}"]),  # of another file, re-typed
               ("three.py", [f"{apple}\n\nThis is a paragraph about nothing."]),  # one left: no next sentence
               ("four.py", [])]
    monkeypatch.setattr(corpus, "_documentation_strings", lambda: iter(sources))
    equal(corpus.documentation(), {"one.py": [apple, pear], "two.py": [plum, fig]},
          "a paragraph is kept where it stands first (letters compared, not case or punctuation), "
          "and a document needs two paragraphs")


def test_documents_are_files_of_one_library_each_without_its_tests(monkeypatch, tmp_path):
    two = 'This module is a small one.\n\nIt has only two paragraphs in it, about '
    for name in ("b.py", "a/z.py", "a/tests/x.py", "test/y.py", "site-packages/q.py", "a.txt"):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""{two}{name}."""')
    (tmp_path / "torch").mkdir()
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda name: str(tmp_path / "lib"))
    monkeypatch.setattr(corpus.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    names = [name for name, _ in corpus._documentation_strings() if not name.startswith("pydoc_data/")]
    equal(names, ["stdlib/a/z.py", "stdlib/b.py"], "tests and installed packages are left out, the order is by path")


# ---- split


def numbered(n: int) -> dict:
    return {f"doc {i}": [f"first {i}", f"second {i}"] for i in range(n)}


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 1), (3, 1), (4, 2), (20, 2), (29, 2), (40, 2), (100, 5),
                                             (1000, 50)])
def test_one_document_in_twenty_is_held_out_and_at_least_two(n, expected):
    parts = split(numbered(n))
    equal((len(parts.train), len(parts.held_out)), (n - expected, expected),
          "one in twenty, rounded; two at least, since next-sentence prediction needs two; of fewer than four one")


def test_the_parts_are_disjoint_and_together_everything_in_order():
    documents = numbered(60)
    parts, both = split(documents), list(documents.values())
    assert not [doc for doc in parts.held_out if doc in parts.train], "a held-out document is in the training part"
    for part in (parts.train, parts.held_out):
        equal(part, [doc for doc in both if doc in part], "both parts keep the order of the documents")
    equal(sorted(parts.train + parts.held_out), sorted(both), "every document is in one of the parts")


def test_the_split_depends_on_names_alone():
    expected = [["first 2", "second 2"], ["first 15", "second 15"]]  # sha256 156f... and 19ac..., the smallest
    documents = numbered(40)
    equal(split(documents).held_out, expected, "hash() of a str differs between processes; sha256 of the name does not")
    equal(split(dict(reversed(documents.items()))).held_out, expected[::-1], "the order of the documents is no reason")


# ---- own text files


def test_a_blank_line_ends_a_document_and_a_line_is_a_paragraph(write):
    text = "One.\nTwo.\n\n\n  Three.  \n \t \nFour.\nFive.\n\n"
    equal(list(read_documents(write(text)).values()), [["One.", "Two."], ["Three."], ["Four.", "Five."]],
          "a blank line may hold blanks; a line loses the blanks around it; no document is empty")


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.encode() + b"\n\n\n"], ids=["CRLF", "BOM", "blank end"])
def test_what_editors_do_to_a_file_changes_nothing(write, change):
    text = "One.\nTwo.\n\nThree."
    equal(list(read_documents(write(change(text))).values()), [["One.", "Two."], ["Three."]],
          "Windows ends lines with \\r\\n and begins files with a byte-order mark")


def test_korean_is_read_as_it_is(write):
    text = "우리는 학교에 갔다.\n친구를 만났다.\n\n집에 왔다."
    equal(list(read_documents(write(text)).values()), [["우리는 학교에 갔다.", "친구를 만났다."], ["집에 왔다."]],
          "files are UTF-8, whatever the system's own encoding is")


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"), (b" \n\n\t\r\n", "is empty"), (b"\xef\xbb\xbf", "is empty"),
    (b"text\0text", "binary"), ("한글".encode("cp949"), "not UTF-8"), (b"caf\xe9", r"not UTF-8.*byte 3"),
    ("text".encode("utf-16"), "not UTF-8")],
    ids=["empty", "blank", "only a BOM", "NUL", "cp949", "latin-1", "utf-16"])
def test_a_file_that_is_no_text_is_refused_by_name(write, content, message):
    path = write(content, "mine.txt")
    with pytest.raises(UserError, match=rf"mine\.txt .*{message}"):
        read_documents(path)


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.txt is not there"):
        read_documents(tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match="is a directory"):
        read_documents(tmp_path)


def test_load_corpus_splits_the_file_it_is_given(write, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = write("\n\n".join(f"First {i}.\nSecond {i}." for i in range(40)))
    equal(load_corpus(str(path)), split(read_documents(path)), "your own text is split like the documentation corpus")
    assert not (tmp_path / ".cache").exists(), "a text file needs no cache"


def test_describe_counts_by_hand():
    parts = Corpus(train=[["one two", "three"], ["four five"]], held_out=[["six seven"]])
    equal(parts.describe(), "2 + 1 documents, 5 + 2 words", "training + held out")


# ---- the cache


def test_the_second_time_the_corpus_comes_from_the_cache(monkeypatch, tmp_path):
    built = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus, "documentation", lambda: built.append(1) or numbered(40))
    first = load_corpus()
    assert list((tmp_path / ".cache").glob("*.json")), "expected the corpus under .cache of the working directory"
    second = load_corpus()
    equal(len(built), 1, "the second call must read the file that the first one wrote")
    equal(second, first, "the cache must keep order and split")
    equal(first, split(numbered(40)), "the cache must not change a document")
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    load_corpus()
    equal(len(built), 2, "another Python has other documentation: its version belongs to the name of the cache")


# ---- the documentation corpus of this machine

PINNED = ("3.11.7", "2.13.0")
HERE = (platform.python_version(), torch.__version__.split("+")[0])


@pytest.fixture(scope="module")
def real() -> Corpus:
    return load_corpus()  # built when the rules in common/corpus.py have changed (17 s), else read from .cache


def test_counts_and_hash_of_the_documentation_corpus(real):
    """Exact where the versions are the pinned ones; elsewhere the documentation differs, and so do the counts."""
    if HERE == PINNED:
        equal(real.describe(), "1,851 + 97 documents, 807,891 + 39,485 words", "the rules of the corpus have changed; "
              "if they were meant to, every figure measured on it must be measured again")
        text = json.dumps([real.train, real.held_out])
        equal(hashlib.sha256(text.encode()).hexdigest(),
              "99092b212fbc1905865fc6f72db9fcba1f39131a41b59bfc35b881f084bd45a1", "counts are right, the text is not")
    else:
        words = [sum(len(p.split()) for doc in part for p in doc) for part in (real.train, real.held_out)]
        came = (f"{real.describe()} with Python {HERE[0]}, torch {HERE[1]}; "
                f"for {PINNED} it is 1,851 + 97 documents, 807,891 + 39,485 words")
        assert 1_200 < len(real.train) < 4_000, f"expected 1,200 to 4,000 training documents: {came}"
        assert 500_000 < words[0] < 2_000_000, f"expected half a million to two million training words: {came}"
        assert 0.02 < words[1] / words[0] < 0.10, f"expected 2 to 10 % of the words held out: {came}"


def test_every_document_has_two_paragraphs_and_none_stands_twice(real):
    documents = real.train + real.held_out
    short = [doc for doc in documents if len(doc) < 2]
    assert not short, f"a document needs a next sentence; {len(short)} have none, such as {short[0]}"
    paragraphs = [p for doc in documents for p in doc]
    equal(len(set(paragraphs)), len(paragraphs), "a paragraph stands twice: held-out text may leak into training")


def test_every_paragraph_is_one_line_of_prose(real):
    for doc in real.train + real.held_out:
        for paragraph in doc:
            assert is_prose(paragraph), f"not prose: {paragraph!r}"
            assert not re.search(r"\s{2}|[^\S ]", paragraph), f"not one line with single blanks: {paragraph!r}"


def test_little_of_the_held_out_text_stands_in_the_training_text(real, capsys):
    """Share of the held-out words that lie in a run of 8 words which training text has as well."""
    def runs(words: list[str]) -> list[int]:
        return [hash(tuple(words[i:i + 8])) for i in range(len(words) - 7)]
    known = {run for doc in real.train for paragraph in doc for run in runs(paragraph.split())}
    seen = total = 0
    for words in (paragraph.split() for doc in real.held_out for paragraph in doc):
        inside = {i + k for i, run in enumerate(runs(words)) if run in known for k in range(8)}
        seen, total = seen + len(inside), total + len(words)
    with capsys.disabled():
        print(f"\nheld-out words inside 8-word runs of training text: {seen:,} of {total:,} = {seen / total:.1%}")
    assert seen / total < 0.12, "the split cuts through files: a model could learn held-out text by heart"
