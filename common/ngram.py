"""A model that only counts: which token followed these few. What a neural network says beyond it, it has understood.

Stupid backoff (Brants et al. 2007, section 4): the score of a token is its share among what followed the longest
context that has been seen, and 0.4 times less for each token by which the context had to be made shorter.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

BACKOFF = 0.4


class NGram:
    """Counts of runs of up to `order` tokens, over texts that are lists of tokens (numbers or words).

    >>> model = NGram([[1, 2, 3], [1, 2, 4], [5, 2, 4]], order=3)
    >>> model.best([1, 2], k=2), model.best([5, 2]), model.best([9])
    ([3, 4], [4], [2])
    """

    def __init__(self, texts: Iterable[Sequence], order: int = 4) -> None:
        self.order = order
        self.after: dict[tuple, Counter] = defaultdict(Counter)
        for text in texts:
            for end in range(len(text)):
                for begin in range(max(0, end - order + 1), end + 1):
                    self.after[tuple(text[begin:end])][text[end]] += 1
        self.times = {context: counts.total() for context, counts in self.after.items()}

    def contexts(self, before: Sequence) -> list[tuple]:
        """What has been seen of the end of a text, the longest context first; the last one is empty."""
        most = min(self.order - 1, len(before))
        return [context for n in range(most, -1, -1) if (context := tuple(before[len(before) - n :])) in self.after]

    def best(self, before: Sequence, k: int = 1) -> list:
        """k tokens: those that followed the longest context first, the most frequent ones before others."""
        found: dict = {}
        for context in self.contexts(before):
            for token, _ in self.after[context].most_common(k):
                found.setdefault(token)  # a longer context goes first
        return list(found)[:k]

    def score(self, token, before: Sequence) -> float:
        """log S(token | before); a token that was never seen has the count 1/2."""
        most = min(self.order - 1, len(before))
        for context in self.contexts(before):
            if count := self.after[context][token]:
                return math.log(count / self.times[context]) + (most - len(context)) * math.log(BACKOFF)
        return math.log(0.5 / self.times[()]) + most * math.log(BACKOFF)

    def best_between(self, left: Sequence, right: Sequence, k: int = 1) -> list:
        """The k tokens that fit best between two texts: the score of the token and of the tokens behind it."""
        def fit(token) -> float:
            text = [*left, token, *right[: self.order - 1]]
            return sum(self.score(text[i], text[:i]) for i in range(len(left), len(text)))

        return sorted(self.after[()], key=fit, reverse=True)[:k]

    def write(self, before: Sequence, max_new: int, stop=None) -> list:
        """The tokens that follow, always the best one, up to `stop`, which is left out."""
        text = list(before)
        while len(text) < len(before) + max_new and (token := self.best(text)[0]) != stop:
            text.append(token)
        return text[len(before) :]
