"""What can be guessed without a neural network: the figures that a BERT has to beat."""

import numpy as np
import torch
from torch import Tensor

from common.batches import TokenizedText
from common.command import UserError
from common.tokenizer import SPECIAL
from minibert.evaluate import held_out_batches
from minibert.objective import Examples


def baselines(train: TokenizedText, examples: Examples) -> dict[str, float]:
    """Held-out top-1 of two guessers, on the very tokens that `evaluate` asks for.

    most_frequent: always the most frequent piece.
    trigram: the piece that stood most often between these two neighbours; where they never met, the best product
    P(piece | left) P(right | piece). Where the input does not show [MASK], it answers what it sees, which is right
    for one half of these tokens.
    """
    v, tokens = examples.tokenizer.vocab_size, torch.from_numpy(train.tokens)
    frequency = torch.bincount(tokens, minlength=v)
    between = most_frequent_between(train.tokens, v)
    pairs, times = torch.unique(tokens[:-1] * v + tokens[1:], return_counts=True)  # few of the V² pairs occur
    first, second = pairs // v, pairs % v
    unseen = 1e-3
    total = torch.bincount(tokens[:-1], minlength=v) + unseen * v
    hits = dict.fromkeys(("most_frequent", "trigram"), 0)
    asked = 0
    for batch in held_out_batches(examples, random_share=0.0):
        ids, answers, selected = batch["ids"], batch["answers"], batch["selected"]
        left, right = ids.roll(1, 1)[selected], ids.roll(-1, 1)[selected]
        seen, truth = ids[selected], answers[selected]
        met = torch.tensor([between.get((a, b), -1) for a, b in zip(left.tolist(), right.tolist())], dtype=torch.long)
        guess = torch.where(seen == examples.tokenizer.mask_id, met, seen)
        never = guess < 0
        left, right = left[never], right[never]
        after = (counts_beside(left, first, second, times, v) + unseen) / total[left, None]  # P(piece | left), (N, V)
        before = (counts_beside(right, second, first, times, v) + unseen) / total  # P(right | piece), (N, V)
        # a special token as neighbour ([MASK], [SEP]) says nothing: it then drops out of the product
        score = torch.where((left < len(SPECIAL))[:, None], frequency + 1, after)
        score *= torch.where((right < len(SPECIAL))[:, None], 1.0, before)
        guess[never] = score.argmax(1)
        hits["most_frequent"] += (truth == frequency.argmax()).sum().item()
        hits["trigram"] += (truth == guess).sum().item()
        asked += len(truth)
    if not asked:
        raise UserError("the held-out text is too short: none of its tokens is asked for")
    return {name: count / asked for name, count in hits.items()}


def counts_beside(asked: Tensor, here: Tensor, there: Tensor, times: Tensor, v: int) -> Tensor:
    """For each of `asked` (N,) how often each piece stood beside it, (N, V): the pair here[k], there[k] times[k] times.

    Only these rows are written out: all V² numbers would take four gigabytes for a vocabulary of 32,000.

    >>> counts_beside(torch.tensor([2, 0]), torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([5, 7]), v=3)
    tensor([[7, 0, 0],
            [0, 5, 0]])
    """
    different, place = asked.unique(return_inverse=True)
    row = torch.full((v,), -1)
    row[different] = torch.arange(len(different))
    row = row[here]
    wanted = row >= 0
    counts = torch.zeros(len(different), v, dtype=times.dtype)
    counts[row[wanted], there[wanted]] = times[wanted]
    return counts[place]


def most_frequent_between(tokens: np.ndarray, v: int) -> dict[tuple[int, int], int]:
    """For each pair of neighbours (left, right) the piece that stood most often between them.

    >>> most_frequent_between(np.array([1, 2, 3, 1, 2, 3, 1, 4, 3]), v=5)[1, 3]
    2
    """
    keys, counts = np.unique((tokens[:-2] * v + tokens[2:]) * v + tokens[1:-1], return_counts=True)
    keys = keys[np.argsort(counts, kind="stable")]  # ascending: the most frequent one is written last
    left, right, piece = keys // v**2, keys // v % v, keys % v
    return dict(zip(zip(left.tolist(), right.tolist()), piece.tolist()))
