"""Span corruption: the task that a T5 is pre-trained on.

Some spans of a text are taken out, and a sentinel <X>, <Y> ... marks each gap. The encoder reads what is left; the
decoder writes what was taken out, each span behind its sentinel (Raffel et al. 2020, arXiv:1910.10683, figure 2):

    text     Thank you for inviting me to your party last week
    input    Thank you <X> me to your party <Y> week </s>
    target   <X> for inviting <Y> last <Z> </s>

The target is short, so a step costs half of what it costs to write the whole text anew (section 3.1.4), and the decoder
learns to write, which BERT's masks do not teach. The paper takes out 15 % of the tokens, in spans of 3 on average
(section 3.3.4). `python -m minit5.span_corruption "some sentence"` shows it on a sentence of yours.

In the paper's figure a last sentinel ends the target, and so it does here. (Google's program has texts that always end
with a span taken out, and no last sentinel. Here every choice of spans is equally likely, so the last place is seldom
taken out, and the first one too: a span reaches an inner place from both sides.)
"""

from collections.abc import Sequence

import numpy as np

from common.command import UserError

Span = tuple[int, int]  # from the first token that is taken out to the one behind the last


def count_spans(length: int, noise: float, mean_span: float) -> tuple[int, int]:
    """How many tokens of a text of `length` are taken out, and in how many spans: at least one of each.

    noise: a share, between 0 and 1; mean_span: tokens, 1 or more.
    UserError when the text is not longer than one span.

    >>> count_spans(100, noise=0.15, mean_span=3.0)
    (15, 5)
    """
    if length <= mean_span:
        raise UserError(f"the text has {length} tokens: too short to take a span of {mean_span:g} out of it")
    n_out = min(max(1, round(noise * length)), length - 1)
    # between two spans one token is left at least, so there are at most one more spans than tokens that are left
    return n_out, max(1, min(round(n_out / mean_span), n_out, length - n_out + 1))


def draw_spans(length: int, noise: float, mean_span: float, rng: np.random.Generator) -> list[Span]:
    """Spans to take out of a text of `length` tokens, in order: every choice of that many tokens and spans alike."""
    n_out, n_spans = count_spans(length, noise, mean_span)
    widths = divide(n_out, n_spans, rng)
    # what is left lies before, between and behind the spans: one token at least between two, and any number at the ends
    left = divide(length - n_out + 2, n_spans + 1, rng)
    starts = np.cumsum(left[:-1] + np.append(0, widths[:-1])) - 1
    return [(int(start), int(start + width)) for start, width in zip(starts, widths)]


def divide(n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """n as a sum of `parts` numbers, each at least 1; every such sum is equally likely."""
    cuts = np.sort(rng.choice(n - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [n]]))


def corrupt(tokens: Sequence[int], spans: Sequence[Span], sentinels: Sequence[int],
            eos_id: int) -> tuple[list[int], list[int]]:
    """What the encoder reads, and what the decoder is to write. UserError for more spans than sentinels.

    >>> corrupt([1, 2, 3, 4, 5], [(1, 3)], sentinels=[99, 98], eos_id=0)
    ([1, 99, 4, 5, 0], [99, 2, 3, 98, 0])
    """
    if len(spans) >= len(sentinels):
        raise UserError(f"{len(spans)} spans and the end take {len(spans) + 1} sentinels, and the vocabulary has "
                        f"{len(sentinels) or 'none'}; shorter texts, less noise or longer spans take fewer")
    source, target, done = [], [], 0
    for (start, end), sentinel in zip(spans, sentinels):
        source += [*tokens[done:start], sentinel]
        target += [sentinel, *tokens[start:end]]
        done = end
    return [*source, *tokens[done:], eos_id], [*target, sentinels[len(spans)], eos_id]


def spans_of(target: Sequence[int], sentinels: Sequence[int]) -> dict[int, list[int]]:
    """The spans of a target, or of what a model wrote in its place: sentinel -> the tokens behind it.

    The last one has the end token in it, where there is one. What stands before the first sentinel belongs to none; of
    a sentinel that comes twice the first span counts.
    """
    known, spans, current = set(sentinels), {}, []
    for token in target:
        if token in known:
            current = []
            spans.setdefault(token, current)
        else:
            current.append(token)
    return spans


def reassemble(source: Sequence[int], target: Sequence[int], sentinels: Sequence[int]) -> list[int]:
    """The text that `corrupt` took apart: each sentinel of the input becomes its span of the target.

    A sentinel that the target lacks stays where it is.

    >>> reassemble([1, 99, 4, 5, 0], [99, 2, 3, 98, 0], sentinels=[99, 98])
    [1, 2, 3, 4, 5]
    """
    spans = spans_of(target, sentinels)
    return [token for place in source[:-1] for token in spans.get(place, [place])]
