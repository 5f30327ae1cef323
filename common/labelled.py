"""Labelled sentences: the three kinds that a fine-tuned BERT answers, and the files that they are read from."""

import json
from dataclasses import dataclass
from pathlib import Path

from common.columns import read_columns
from common.command import UserError
from common.corpus import read_file


@dataclass(frozen=True)
class Classified:
    """One sentence, or two, with a label."""

    text: str
    label: str
    second: str | None = None


@dataclass(frozen=True)
class Tagged:
    """Words with a BIO tag each (Ramshaw & Marcus 1995): B-PER begins a person, I-PER goes on with it, O is none."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """A question whose answer is a part of `context`, from the letter number `start` on."""

    question: str
    context: str
    answer: str
    start: int


Labelled = Classified | Tagged | Answered


def text_of(example: Labelled) -> str:
    """What an example asks, as one text, without its label, tags or answer."""
    match example:
        case Tagged(words, _):
            return " ".join(words)
        case Answered(question, context):
            return f"{question} {context}"
        case Classified(text, _, second):
            return text if second is None else f"{text} {second}"


def read_classified(path: Path) -> list[Classified]:
    """A line is `label ||| sentence`, `label<TAB>sentence` or `label<TAB>sentence<TAB>second`; one form a file.

    UserError as `read_columns`.
    """
    if "|||" in next(line for line in read_file(path).split("\n") if line.strip()):
        rows = read_columns(path, {2}, "label ||| sentence", "|||")
    else:
        rows = read_columns(path, {2, 3}, "label<TAB>sentence or label<TAB>sentence<TAB>second, all lines alike")
    return [Classified(text, label, *second) for label, text, *second in rows]


def read_tagged(path: Path) -> list[Tagged]:
    """CoNLL: a word a line, its tag in the last column, a blank line behind each sentence.

    UserError, with the line's number, for a line without a tag, a tag that is none, and an I- that continues nothing.
    """
    examples: list[Tagged] = []
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*read_file(path).split("\n"), ""], start=1):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if words:
                examples.append(Tagged(tuple(words), tuple(tags)))
            words, tags = [], []
            continue
        if len(columns) < 2:
            raise UserError(f"{path}, line {number}: {line.strip()!r} has no tag; a line is a word and its tag")
        tag = columns[-1]
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
            raise UserError(f"{path}, line {number}: {tag!r} is no tag; tags are O, B-KIND and I-KIND")
        if breaks_bio(tags[-1] if tags else "O", tag):
            raise UserError(f"{path}, line {number}: {tag} does not continue an entity of that kind; begin it with B-")
        words.append(columns[0])
        tags.append(tag)
    return examples


def breaks_bio(before: str, tag: str) -> bool:
    """An I-KIND has to stand behind a B-KIND or an I-KIND of the same kind.

    >>> breaks_bio("B-PER", "I-PER"), breaks_bio("B-PER", "I-LOC"), breaks_bio("O", "I-PER"), breaks_bio("O", "O")
    (False, True, True, False)
    """
    return tag.startswith("I-") and before[2:] != tag[2:]


def read_answered(path: Path) -> list[Answered]:
    """SQuAD's JSON, version 1.1 (Rajpurkar et al. 2016): data > paragraphs > context, qas > question, answers.

    The first answer of each question is taken. UserError, naming the question, for an answer that is not in the context
    at the place where it is said to be, and for a file of another shape.
    """
    def text(value: object) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")
        return value

    try:
        data = json.loads(read_file(path))["data"]
        examples = [Answered(*map(text, (qa["question"], paragraph["context"], qa["answers"][0]["text"])),
                             int(qa["answers"][0]["answer_start"]))
                    for article in data for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    except IndexError:
        raise UserError(f"{path}: a question has no answer; every question needs one (SQuAD 1.1)") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not SQuAD's JSON ({type(error).__name__}: {error})") from None
    if not examples:
        raise UserError(f"{path} holds no questions")
    for example in examples:
        end = example.start + len(example.answer)
        if not example.answer or example.context[example.start : end] != example.answer or example.start < 0:
            raise UserError(f"{path}: the answer {example.answer!r} to {example.question!r} does not stand at letter "
                            f"{example.start} of its context")
    return examples
