"""The part of a text that answers a question: rows, decoding, exact match and F1 (Rajpurkar et al. 2016, SQuAD)."""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.command import UserError
from common.labelled import Answered
from minibert.heads import BertForSpans
from minibert.rows import Row, Vocabulary, frame

Model = BertForSpans
LONGEST = 30  # tokens of an answer at most, as in Google's run_squad.py


@dataclass(frozen=True)
class Window(Row):
    """A stretch of a context behind the question: [CLS] question [SEP] stretch [SEP].

    example: which one it is of; begin: the place in the row of the stretch's first token; places: where each token of
    the stretch stands in the context, (begin, end) in letters. targets: begin and end of the answer, as places in the
    row; both 0, which is [CLS], where the stretch does not hold the whole answer.
    """

    example: int
    begin: int
    places: list[tuple[int, int]]


def labels_of(train: Sequence[Answered], dev: Sequence[Answered]) -> list[str]:
    return ["begin", "end"]


def rows_of(examples: Sequence[Answered], labels: Sequence[str], vocabulary: Vocabulary,
            max_len: int) -> tuple[list[Window], str]:
    """Windows over the contexts, and one line that says which answers no window holds whole (empty where all are).

    A context that is longer than the model reads is read in several windows, each half a window behind the one before,
    so that an answer that one of them cuts stands whole in the next.
    """
    rows: list[Window] = []
    lost = 0
    for number, example in enumerate(examples):
        question = vocabulary.encode(example.question)
        room = max_len - 3 - len(question)
        if room < 2:
            raise UserError(f"the question {example.question[:40]!r} has {len(question)} tokens, and the model reads "
                            f"{max_len} in all: no room is left for its context")
        stride = room // 2
        ids, places = pieces_and_places(vocabulary, example.context)
        inside = [i for i, (begin, end) in enumerate(places)
                  if begin < example.start + len(example.answer) and end > example.start]
        whole = False
        for start in range(0, max(1, len(ids) - room + stride), stride):
            row, segments = frame(vocabulary, question, ids[start : start + room])
            begin = len(question) + 2
            holds = bool(inside) and start <= inside[0] and inside[-1] < start + room
            whole |= holds
            targets = [begin + inside[0] - start, begin + inside[-1] - start] if holds else [0, 0]
            rows.append(Window(row, segments, targets, number, begin, places[start : start + room]))
        lost += bool(example.answer) and not whole  # nobody knows the answer when a user asks
    return rows, (f"{lost:,} of {len(examples):,} answers fit into no window of {max_len} tokens: they are learned as "
                  "not there, and count as missed" if lost else "")


def pieces_and_places(vocabulary: Vocabulary, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids of a text, and where each of them stands in it: (begin, end), in letters."""
    pieces = [(i, word.start() + begin, word.start() + end)
              for word in re.finditer(r"\S+", text) for i, begin, end in vocabulary.pieces_of_word(word[0])]
    return [i for i, _, _ in pieces], [(begin, end) for _, begin, end in pieces]


def best_span(logits: Tensor, begin: int, end: int) -> tuple[float, int, int]:
    """The most probable answer among the places begin ... end - 1 of a row: (score, first place, last place).

    logits (T, 2): how well an answer begins here, and ends here; the score of an answer is the sum of the two. It is at
    most LONGEST tokens long, and lies wholly inside: never in the question or in padding.
    """
    first, last = logits[begin:end].float().unbind(-1)  # (n,) each
    n = end - begin
    allowed = torch.ones(n, n, dtype=torch.bool).triu().tril(LONGEST - 1)  # first <= last < first + LONGEST
    score = (first[:, None] + last).masked_fill(~allowed.to(logits.device), -torch.inf)
    best = int(score.argmax())
    return score.flatten()[best].item(), begin + best // n, begin + best % n


def answers(model: BertForSpans, logits: list[Tensor], rows: Sequence[Window],
            examples: Sequence[Answered]) -> list[str]:
    """The best answer to each question, over all of its windows; logits: (T, 2) each."""
    found: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for scores, row in zip(logits, rows):
        if row.places:
            score, first, last = best_span(scores, row.begin, row.begin + len(row.places))
            letters = slice(row.places[first - row.begin][0], row.places[last - row.begin][1])
            found[row.example].append((score, examples[row.example].context[letters]))
    return [max(found[i], key=lambda pair: pair[0])[1] if found[i] else "" for i in range(len(examples))]


def normalised(text: str) -> str:
    """Lower case, no punctuation, no English articles, single blanks: as SQuAD compares answers.

    >>> normalised("The  Eiffel-Tower!")
    'eiffeltower'
    """
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def word_f1(given: str, truth: str) -> float:
    """2 · shared words / (words of both): F1 over the words of two normalised answers.

    >>> round(word_f1("the old bridge", "old stone bridge"), 2)  # 2 of 2, and 2 of 3
    0.8
    """
    a, b = normalised(given).split(), normalised(truth).split()
    if not a or not b:
        return float(a == b)
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))


def scores(given: Sequence[str], examples: Sequence[Answered]) -> dict[str, float]:
    """Exact match and F1 of the normalised answers, means over the questions."""
    pairs = [(text, example.answer) for text, example in zip(given, examples)]
    return {"exact_match": sum(normalised(a) == normalised(b) for a, b in pairs) / len(pairs),
            "word_f1": sum(word_f1(a, b) for a, b in pairs) / len(pairs)}


def shown(example: Answered, given: str) -> list[str]:
    """A line of a table: the input, what the model answered, the truth."""
    return [f"{example.question} | {example.context}", given, example.answer]
