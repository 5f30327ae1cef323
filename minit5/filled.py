"""A look at the gaps that a T5 fills: the text around each, what the model wrote, what stood there."""

from collections.abc import Sequence

from common.report import table
from minit5.model import T5
from minit5.objective import Pair
from minit5.spans import spans_of
from minit5.vocabulary import SentinelVocabulary
from minit5.writer import answer

AROUND = 6  # words that are shown on both sides of a gap


def filled_spans(model: T5, pairs: Sequence[Pair], vocabulary: SentinelVocabulary, n: int = 8) -> str:
    """A table of n gaps, the middle one of each of n pairs, spread over the text. The model writes the whole target."""
    v = vocabulary
    chosen = [pairs[i] for i in sorted({i * len(pairs) // n for i in range(n)})]
    longest = max(len(target) for _, target in chosen)
    rows = []
    for (source, target), new in zip(chosen, answer(model, [source for source, _ in chosen], 2 * longest)):
        gaps = [token for token in source if token in v.sentinels]
        sentinel = gaps[len(gaps) // 2]
        wrote, truth = (" ".join(v.pieces.decode(spans_of(t, v.sentinels).get(sentinel, [])).split())
                        for t in (new, target))
        place = source.index(sentinel)
        left, right = (" ".join(v.decode(part).replace("<extra_id_", "<").split())
                       for part in (source[:place], source[place + 1 :]))
        left, right = left.split()[-AROUND:], right.split()[:AROUND]
        rows.append([" ".join([*left, "____", *right]), wrote, truth, "✓" if wrote == truth else ""])
    return table(["held-out text", "written", "truth", ""], rows)
