"""A label for a sentence, or for two: rows, loss, and the share that is right."""

from collections.abc import Sequence

from torch import Tensor

from common.command import UserError
from common.labelled import Classified
from minibert.heads import BertForClassification
from minibert.rows import Row, Vocabulary, frame

Model = BertForClassification


def labels_of(train: Sequence[Classified], dev: Sequence[Classified]) -> list[str]:
    """All labels, sorted. UserError for fewer than two, and for one in dev that train never had."""
    labels = sorted({example.label for example in train})
    if len(labels) < 2:
        raise UserError(f"there is one label only, {labels[0]!r}: nothing can be told apart")
    if unknown := sorted({example.label for example in dev} - set(labels)):
        raise UserError(f"the label {unknown[0]!r} occurs in what is held out and never in what is learned from, "
                        f"which has {', '.join(labels)}")
    return labels


def rows_of(examples: Sequence[Classified], labels: Sequence[str], vocabulary: Vocabulary,
            max_len: int) -> tuple[list[Row], str]:
    """A row for each example, and one line that says what did not fit (empty where all did).

    Of what is longer than the model reads the end is cut off, of two sentences that of the longer one.
    """
    rows, cut = [], 0
    for example in examples:
        first = vocabulary.encode(example.text)
        second = None if example.second is None else vocabulary.encode(example.second)
        room = max_len - (2 if second is None else 3)
        whole = len(first) + len(second or [])
        while len(first) + len(second or []) > room:
            (first if len(first) >= len(second or []) else second).pop()
        cut += whole > room
        rows.append(Row(*frame(vocabulary, first, second), [labels.index(example.label)]))
    return rows, too_long(cut, len(rows), max_len)


def too_long(cut: int, n: int, max_len: int) -> str:
    """One line about the texts whose ends were cut off, empty where there are none."""
    return f"{cut:,} of {n:,} texts are longer than {max_len} tokens: their ends are not read" if cut else ""


def answers(model: BertForClassification, logits: list[Tensor], rows: Sequence[Row],
            examples: Sequence[Classified]) -> list[str]:
    """The most probable label of each row; logits: (number of labels,) each."""
    return [model.labels[int(scores.argmax())] for scores in logits]


def scores(given: Sequence[str], examples: Sequence[Classified]) -> dict[str, float]:
    """The share of right labels."""
    return {"accuracy": sum(label == example.label for label, example in zip(given, examples)) / len(examples)}


def shown(example: Classified, given: str) -> list[str]:
    """A line of a table: the input, what the model answered, the truth."""
    text = example.text if example.second is None else f"{example.text} | {example.second}"
    return [text, given, example.label]
