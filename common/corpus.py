"""Real text to learn from: documents, each a list of paragraphs, one in twenty of them held out.

The default corpus needs no download. Every Python installation carries some five megabytes of English prose: the
documentation strings of the standard library and of torch. One document is one source file (or one topic of
`pydoc_data`), so the split never cuts through a file: docstrings of one file repeat each other, and a split by
docstring would put the same sentence on both sides. Your own UTF-8 text files can take its place.
"""

import ast
import hashlib
import inspect
import json
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from common.checkpoint import write_atomically
from common.command import UserError

Document = list[str]  # its paragraphs, in order

CACHE = Path(".cache")
WORLD = "world"  # in the place of a path: the texts of common/world.py
# Tests hold examples, not prose, and some Linux distributions package them apart (as they do with tkinter and idlelib:
# there the corpus is a little smaller).
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages"}


@dataclass(frozen=True)
class Corpus:
    """Documents to train on and documents held out, each a list of paragraphs."""

    train: list[Document]
    held_out: list[Document]

    def describe(self) -> str:
        """One line of counts: `1,851 + 97 documents, 807,891 + 39,485 words` (training + held out)."""
        def words(docs: list[Document]) -> int:
            return sum(len(paragraph.split()) for doc in docs for paragraph in doc)
        return (f"{len(self.train):,} + {len(self.held_out):,} documents, "
                f"{words(self.train):,} + {words(self.held_out):,} words")


def load_corpus(path: str | None = None) -> Corpus:
    """The documentation corpus, the world's (common/world.py), or the text file at `path` (see `read_documents`)."""
    if path == WORLD:
        from common import world  # here, since it is made of what this file defines

        return world.corpus()
    if path is not None:
        return split(read_documents(Path(path)))
    versions = f"{platform.python_version()}-{torch.__version__}"
    rules = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]  # other rules, another cache
    cache = CACHE / f"documentation-{versions}-{rules}.json"
    if not cache.exists():  # reading 2,400 source files takes some 15 seconds
        text = json.dumps(documentation())
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, lambda part: part.write_text(text, encoding="utf-8"))
    return split(json.loads(cache.read_text(encoding="utf-8")))


def split(documents: dict[str, Document]) -> Corpus:
    """Hold out the one document in twenty whose name has the smallest hash: at least two, of fewer than four one."""
    by_hash = sorted(documents, key=lambda name: hashlib.sha256(name.encode()).digest())
    least = 2 if len(documents) >= 4 else 1  # next-sentence prediction needs two on both sides
    held_out = set(by_hash[:max(least, round(len(documents) / 20))])
    return Corpus(train=[doc for name, doc in documents.items() if name not in held_out],
                  held_out=[documents[name] for name in documents if name in held_out])


def read_documents(path: Path) -> dict[str, Document]:
    """The documents of a UTF-8 text file: a blank line ends a document, a line is a paragraph of it.

    This is the format of Google's BERT data. Raises UserError as `read_file`.
    """
    blocks = [[line.strip() for line in block.splitlines() if line.strip()]
              for block in re.split(r"\n[^\S\n]*\n", read_file(path))]
    return {f"document {i}": lines for i, lines in enumerate(blocks) if lines}


def read_file(path: Path) -> str:
    """The text of a UTF-8 file, each line break one character. Raises UserError for any other file, and a blank one."""
    if path.is_dir():
        raise UserError(f"{path} is a directory; give one text file")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Windows editors put a byte-order mark first
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start:,}); convert it first") from None
    if "\0" in text:
        raise UserError(f"{path} is a binary file; give a text file")
    if not text.strip():
        raise UserError(f"{path} is empty")
    return text.replace("\r\n", "\n")


# --- the documentation corpus -----------------------------------------------------------------------------------

def documentation() -> dict[str, Document]:
    """All documents of the documentation corpus, by name (`stdlib/json/decoder.py`), in a fixed order."""
    seen: set[str] = set()  # a paragraph that stands in several files is kept in the first one only
    documents = {}
    for name, strings in _documentation_strings():
        doc = []
        for paragraph in (p for string in strings for p in prose(string)):
            letters = re.sub(r"\W+", "", paragraph.lower())
            if letters not in seen:
                seen.add(letters)
                doc.append(paragraph)
        if len(doc) >= 2:  # one paragraph has no next one
            documents[name] = doc
    return documents


def _documentation_strings() -> Iterator[tuple[str, list[str]]]:
    from pydoc_data.topics import topics  # the language reference, as help("topic") shows it

    for topic in sorted(topics):
        yield f"pydoc_data/{topic}", [topics[topic]]
    for name, root in (("stdlib", Path(sysconfig.get_path("stdlib"))), ("torch", Path(torch.__file__).parent)):
        for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
            relative = path.relative_to(root)
            if not LEFT_OUT.intersection(relative.parts):
                yield f"{name}/{relative.as_posix()}", docstrings(path)


def docstrings(path: Path) -> list[str]:
    """The documentation strings of one source file, in the order of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []  # a few files are templates, or in another encoding
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            string = ast.get_docstring(node, clean=False)
            if string:
                found.append((node.body[0].lineno, string))
        elif isinstance(node, ast.Call) and "add_docstr" in ast.unparse(node.func):
            # torch documents what is written in C++ by a call: add_docstr(torch.abs, r"""...""")
            found += [(part.lineno, part.value) for part in ast.walk(node)
                      if isinstance(part, ast.Constant) and isinstance(part.value, str) and "\n" in part.value]
    return [string for _, string in sorted(found)]


# --- from documentation markup to prose -------------------------------------------------------------------------

ITEM = re.compile(r"(?:[-*+•]|\d+[.)]|#\.)\s+|:?[\w*, ]+(?:\([^)]*\))?:\s+(?=[A-Za-z])|:param [^:]*:\s*")
MARKUP = [(re.compile(pattern), text) for pattern, text in (
    (r":[\w:+.-]+:`~?\.?([^`<]*?)(?:\s*<[^`>]*>)?`", r"\1"),  # :class:`torch.Tensor`
    (r"`+([^`<]*?)\s*<[^`>]*>`_*", r"\1"),                    # `text <https://...>`_
    (r"`+([^`]*)`+_*", r"\1"),                                # ``code`` or `name`_
    (r"(?<![\w*])\*{1,2}([^*\s][^*]*)\*{1,2}(?![\w*])", r"\1"),  # *emphasis*
    (r"\\", ""), (r"::$", ":"), (r"\s+", " "))]
WORD = re.compile(r"[(\"']*[A-Za-z][A-Za-z'’-]*[)\"',.;:!?]*|\d+[,.;:)]*|[-–—]+")


def prose(string: str) -> Iterator[str]:
    """The paragraphs of a documentation string that are English prose, on one line each, without markup.

    >>> list(prose("Return the *sum* of the ``values``.\\n\\n    >>> sum([1, 2])\\n    3\\n\\n- An item of a list."))
    ['Return the sum of the values.', 'An item of a list.']
    """
    for block in re.split(r"\n\s*\n", inspect.cleandoc(string)):
        items: list[str] = []
        for line in block.splitlines():
            line = line.strip()
            if not items or ITEM.match(line):
                items.append("")
            items[-1] += " " + line
        for item in items:
            text = ITEM.sub("", item.strip(), count=1) if ITEM.match(item.strip()) else item.strip()
            for pattern, replacement in MARKUP:
                text = pattern.sub(replacement, text)
            if is_prose(text):
                yield text.strip()


def is_prose(text: str) -> bool:
    """At least five words, seven tenths of them plain ones, starting with a letter; no interpreter session, no address.

    >>> is_prose("The number of chunks to split into."), is_prose("x = f(a[0]) + b.c_d * 2 ** n")
    (True, False)
    """
    words = text.split()
    plain = sum(bool(WORD.fullmatch(word)) for word in words)
    return (len(words) >= 5 and plain >= 0.7 * len(words) and bool(re.match(r"[\"'(]?[A-Za-z]", text))
            and ">>>" not in text and "://" not in text)
