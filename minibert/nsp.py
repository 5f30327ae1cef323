"""The next-sentence task: text cut into pairs (A, B), where B follows A in half of them and comes from elsewhere
in the other half.

Devlin et al. 2018, section 3.1. A "sentence" is there "an arbitrary span of contiguous text": we cut each document
into equal windows and each window into A and B, so that nearly nothing is padding; in half of the windows B gives way
to as many tokens of another document. Google's code cuts at the ends of sentences; here the last piece of A and the
first of B are one more clue.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.command import UserError


@dataclass(frozen=True)
class Pairs:
    """N pairs as places in the text: a, b (N, 2): begin and end; is_random (N,): True where B is from elsewhere."""

    a: np.ndarray
    b: np.ndarray
    is_random: np.ndarray


def windows(lengths: list[int], width: int) -> np.ndarray:
    """Cut documents that lie one behind the other into equal windows of at most `width` tokens.

    Returns (N, 4): begin and end of the window, begin and end of its document.

    >>> windows([5, 4], width=4).tolist()  # five tokens make two windows, not one of four and a rest of one
    [[0, 2, 0, 5], [2, 5, 0, 5], [5, 9, 5, 9]]
    """
    found, start = [], 0
    for length in lengths:
        n = -(-length // width)
        cuts = [start + i * length // n for i in range(n + 1)] if n else []
        found += [(begin, end, start, start + length) for begin, end in zip(cuts, cuts[1:])
                  if end - begin >= 2]  # at least one token for A and one for B
        start += length
    return np.array(found).reshape(-1, 4)


def draw_pairs(spans: np.ndarray, rng: np.random.Generator, random_share: float = 0.5) -> Pairs:
    """Cut each window (see `windows`) into A and B, and replace B by text of another document in half of them.

    The cut falls into the middle half of the window. A random B is as long as the true one was, so it comes from a
    document that holds as much (from a shorter one only where no other does): otherwise the lengths alone would tell
    the two classes apart. Raises UserError when all windows are of one document.
    """
    begin, end, doc_begin, doc_end = spans.T
    if len(spans) == 0 or (doc_begin == doc_begin[0]).all():
        raise UserError("next-sentence prediction needs at least two documents (a blank line ends a document)")
    cut = begin + np.clip((end - begin) * rng.uniform(0.25, 0.75, len(spans)), 1, end - begin - 1).astype(int)
    a, b = np.stack([begin, cut], 1), np.stack([cut, end], 1)

    is_random = np.zeros(len(spans), dtype=bool)
    is_random[rng.permutation(len(spans))[: int(len(spans) * random_share)]] = True
    # Put the windows of long documents last, those of one document side by side: draw among the last ones, and step
    # over the own document, which is one of them.
    length, doc_length = (end - cut)[is_random], doc_end - doc_begin
    order = np.lexsort((doc_begin, doc_length))
    own = np.searchsorted(doc_begin, doc_begin[is_random], side="left")
    n_own = np.searchsorted(doc_begin, doc_begin[is_random], side="right") - own
    own = np.argsort(order)[own]  # from here on: the place of its first window in that order
    enough = np.searchsorted(doc_length[order], length)  # from this place on
    enough[enough + n_own == len(spans)] = 0  # the own document is the only one that long: draw among all others
    other = rng.integers(enough, len(spans) - n_own)
    other = order[other + n_own * (other >= own)]  # ... stepping over the windows of the own one
    # B begins where the other window is cut, or earlier where its document would end too soon.
    start = np.maximum(np.minimum(cut[other], doc_end[other] - length), doc_begin[other])
    b[is_random] = np.stack([start, np.minimum(start + length, doc_end[other])], 1)
    return Pairs(a, b, is_random)


def assemble(pairs: Pairs, rows: np.ndarray, tokens: np.ndarray, cls_id: int, sep_id: int, pad_id: int,
             ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[CLS] A [SEP] B [SEP] for each of `rows`, padded to the longest.

    Returns ids, segments (B, T), special (B, T): True at [CLS], [SEP] and [PAD], and is_random (B,).
    Segment 0 is [CLS] A [SEP], segment 1 is B [SEP]; padding has segment 0.
    """
    lengths = np.diff(pairs.a[rows])[:, 0] + np.diff(pairs.b[rows])[:, 0] + 3
    ids = np.full((len(rows), lengths.max()), pad_id)
    segments = np.zeros_like(ids)
    special = np.ones(ids.shape, dtype=bool)
    for i, row in enumerate(rows):
        (a0, a1), (b0, b1), n = pairs.a[row], pairs.b[row], lengths[i]
        first, second = slice(1, a1 - a0 + 1), slice(a1 - a0 + 2, n - 1)
        ids[i, 0], ids[i, first.stop], ids[i, n - 1] = cls_id, sep_id, sep_id
        ids[i, first], ids[i, second] = tokens[a0:a1], tokens[b0:b1]
        special[i, first] = special[i, second] = False
        segments[i, second.start : n] = 1
    return (torch.from_numpy(ids), torch.from_numpy(segments), torch.from_numpy(special),
            torch.from_numpy(pairs.is_random[rows]))
