"""Every task as text to text: "translate English to Korean: Hello." in, "안녕하세요." out.

Raffel et al. 2020, section 2.4. One model, one loss; the task is a prefix of the input, and nothing else tells it. So
tasks can be learned together, in one stream of batches (section 3.5.2).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from common import world
from common.batches import random_state
from common.columns import read_columns
from common.command import UserError
from minit5.objective import Pair, collate
from minit5.vocabulary import SentinelVocabulary


@dataclass(frozen=True)
class Example:
    """One line of a file of tasks."""

    task: str
    source: str
    target: str

    @property
    def text(self) -> str:
        """What the encoder reads."""
        return f"{self.task}: {self.source}"


def read_examples(path: Path) -> list[Example]:
    """The lines of a UTF-8 file, task<TAB>input<TAB>target each; blank lines are passed over.

    UserError for a file that cannot be read, one without a line, and a line with another number of columns or an empty
    one.
    """
    return [Example(*columns) for columns in read_columns(path, {3}, "task<TAB>input<TAB>target")]


def split(examples: Sequence[Example], one_in: int = 10) -> tuple[list[Example], list[Example]]:
    """To train on, and held out: of each task the inputs with the smallest hashes, one in ten, at least one.

    An input that comes twice, or in several tasks, stands on one side with all its targets.
    UserError for a task that has nothing left to learn from.
    """
    def place(source: str) -> bytes:
        return hashlib.sha256(source.encode()).digest()

    inputs = {e.task: set() for e in examples}
    for e in examples:
        inputs[e.task].add(e.source)
    held_out = set()
    for task, sources in inputs.items():
        if len(sources) < 2:
            raise UserError(f'the task "{task}" has one input only: it needs one to learn from and one to hold out')
        held_out.update(sorted(sources, key=place)[: max(1, round(len(sources) / one_in))])
    train = [e for e in examples if e.source not in held_out]
    if lost := inputs.keys() - {e.task for e in train}:
        raise UserError(f'the task "{min(lost)}" has nothing to learn from: all of its inputs are held out, '
                        "some with those of other tasks; give it more")
    return train, [e for e in examples if e.source in held_out]


def world_examples(n: int = 20_000, n_held_out: int = 2_000) -> tuple[list[Example], list[Example]]:
    """The tasks of the small world (common/world.py): to train on, and held out."""
    train, held_out = (world.examples("text-to-text", size, held_out=kept)
                       for size, kept in ((n, False), (n_held_out, True)))
    return [Example(*example) for example in train], [Example(*example) for example in held_out]


def rates(sizes: Sequence[int], temperature: float) -> np.ndarray:
    """How often each task is drawn: in proportion to size^(1 / temperature) (section 3.5.2).

    At 1 every example is as likely as another; higher, small tasks come more often; at infinity all equally.

    >>> rates([100, 900], temperature=1.0), rates([100, 900], temperature=2.0)
    (array([0.1, 0.9]), array([0.25, 0.75]))
    """
    weights = np.array(sizes, dtype=float) ** (1 / temperature)
    return weights / weights.sum()


class Mixture:
    """Batches of several tasks mixed: batches(t) is the t-th one, a pure function of the seed and t."""

    def __init__(self, tasks: Sequence[Sequence[Pair]], vocabulary: SentinelVocabulary, batch_size: int,
                 temperature: float, seed: int) -> None:
        self.tasks, self.vocabulary, self.batch_size, self.seed = tasks, vocabulary, batch_size, seed
        self.rates = rates([len(pairs) for pairs in tasks], temperature)

    def __call__(self, t: int) -> dict[str, Tensor]:
        rng = random_state(self.seed, t)
        drawn = [self.tasks[task] for task in rng.choice(len(self.tasks), self.batch_size, p=self.rates)]
        pairs = [pairs[rng.integers(len(pairs))] for pairs in drawn]
        return collate(pairs, self.vocabulary.start_id, self.vocabulary.pad_id)


def encode(examples: Sequence[Example], vocabulary: SentinelVocabulary, max_input: int,
           max_target: int) -> list[Pair]:
    """Examples as token numbers. UserError, naming the first one, when some are longer than the limits."""
    pairs = [(vocabulary.encode(e.text), vocabulary.encode(e.target)) for e in examples]
    for side, flag, limit in ((0, "max-input", max_input), (1, "max-target", max_target)):
        too_long = [i for i, pair in enumerate(pairs) if len(pair[side]) > limit]
        if too_long:
            first = (examples[too_long[0]].text, examples[too_long[0]].target)[side]
            first = first if len(first) <= 40 else f"{first[:40]}..."
            longest = max(len(pair[side]) for pair in pairs)
            raise UserError(f"{len(too_long):,} of {len(pairs):,} {('inputs', 'targets')[side]} have more than {limit} "
                            f'tokens; the first one is "{first}"; shorten, or allow more: --{flag} {longest}')
    return pairs
