"""A tag for each word: rows, loss, and the F1 of whole entities."""

from collections.abc import Sequence

from torch import Tensor

from common.command import UserError
from common.labelled import Tagged
from minibert.heads import BertForTagging
from minibert.rows import IGNORED, Row, Vocabulary, frame

Model = BertForTagging
OUTSIDE = "O"


def labels_of(train: Sequence[Tagged], dev: Sequence[Tagged]) -> list[str]:
    """All tags, sorted. UserError for a tag in dev that train never had."""
    tags = {tag for example in train for tag in example.tags}
    if unknown := sorted({tag for example in dev for tag in example.tags} - tags):
        raise UserError(f"the tag {unknown[0]!r} occurs in what is held out and never in what is learned from, "
                        f"which has {', '.join(sorted(tags))}")
    if len(tags) < 2:
        raise UserError(f"there is one tag only, {min(tags)!r}: nothing can be told apart")
    return sorted(tags)


def rows_of(examples: Sequence[Tagged], labels: Sequence[str], vocabulary: Vocabulary,
            max_len: int) -> tuple[list[Row], str]:
    """A row for each sentence, and one line that says what did not fit (empty where all did).

    The tag of a word is asked for at its first piece (Devlin et al. 2018, section 5.3). What stands behind the model's
    last token is not read: those words are no entities, for the score.
    """
    number = {label: i for i, label in enumerate(labels)}
    rows, cut = [], 0
    for example in examples:
        ids, targets = [], []
        for word, tag in zip(example.words, example.tags):
            pieces = vocabulary.encode(word) or [vocabulary.unk_id]  # a control character alone leaves nothing
            ids += pieces
            targets += [number[tag]] + [IGNORED] * (len(pieces) - 1)
        room = max_len - 2
        cut += sum(target != IGNORED for target in targets[room:])
        ids, segments = frame(vocabulary, ids[:room])
        rows.append(Row(ids, segments, [IGNORED, *targets[:room], IGNORED]))
    return rows, f"{cut:,} words stand behind token {max_len} of their sentences: they are not read" if cut else ""


def answers(model: BertForTagging, logits: list[Tensor], rows: Sequence[Row],
            examples: Sequence[Tagged]) -> list[list[str]]:
    """The most probable tag of each word; logits: (T, number of tags) each."""
    given = []
    for scores, row, example in zip(logits, rows, examples):
        best = scores.argmax(-1).tolist()
        tags = [model.labels[tag] for tag, target in zip(best, row.targets) if target != IGNORED]
        given.append(tags + [OUTSIDE] * (len(example.words) - len(tags)))
    return given


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The entities of a sentence: (kind, begin, end), in words.

    A model may break BIO. As in the CoNLL evaluation, an I- that continues nothing begins an entity of its own.

    >>> sorted(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]
    """
    found, begin, kind = set(), 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        if kind and tag != f"I-{kind}":
            found.add((kind, begin, place))
            kind = ""
        if tag != OUTSIDE and not kind:
            begin, kind = place, tag[2:]
    return found


def scores(given: Sequence[Sequence[str]], examples: Sequence[Tagged]) -> dict[str, float]:
    """Precision, recall and F1 of whole entities, right when kind, begin and end are (CoNLL 2003).

    F1 = 2 · right / (found + true); all three are 0 where nothing is found, or nothing is to be found.
    """
    found = [entities(tags) for tags in given]
    true = [entities(example.tags) for example in examples]
    right = sum(len(a & b) for a, b in zip(found, true))
    n_found, n_true = sum(map(len, found)), sum(map(len, true))
    return {"entity_f1": 2 * right / max(1, n_found + n_true), "precision": right / max(1, n_found),
            "recall": right / max(1, n_true)}


def shown(example: Tagged, given: Sequence[str]) -> list[str]:
    """A line of a table: the input, the entities that the model found, the true ones."""
    return [" ".join(example.words), named(example.words, given), named(example.words, example.tags)]


def named(words: Sequence[str], tags: Sequence[str]) -> str:
    """The entities as people read them.

    >>> named("Anna Kim lives in Paris".split(), ["B-PER", "I-PER", "O", "O", "B-LOC"])
    'Anna Kim PER, Paris LOC'
    """
    ordered = sorted(entities(tags), key=lambda entity: entity[1])
    return ", ".join(f"{' '.join(words[begin:end])} {kind}" for kind, begin, end in ordered) or "-"
