"""How close is what a model wrote to reference texts? Each score reads a whole list of pairs.

    exact_match   is it the same text?             one right answer: a class, a name, a number
    chrf          does it share runs of letters?   translation; Korean too, where a word has many endings
    rouge_l       does it share words in order?    summaries

All lie between 0 and 1 (best); papers print them times 100. A letter is a character of a Python string: of Korean one
syllable, as it is usually stored. ValueError for empty lists, and for more texts than references or fewer.
"""

from collections import Counter
from collections.abc import Sequence


def exact_match(written: Sequence[str], references: Sequence[str]) -> float:
    """Share of equal pairs. Outer blanks do not count, and a run of blanks or line ends is as good as one blank.

    Capitals and full stops do count. (SQuAD's score of that name drops capitals, punctuation and "a", "an", "the".)

    >>> exact_match(["  a new\\nhouse ", "A house"], ["a new house", "a house"])
    0.5
    """
    same = [text.split() == reference.split() for text, reference in pairs_of(written, references)]
    return sum(same) / len(same)


def chrf(written: Sequence[str], references: Sequence[str]) -> float:
    """F-score of letter n-grams (Popovic 2015, "chrF: character n-gram F-score for automatic MT evaluation").

    For n = 1 to 6: precision is the share of the n-grams written that the reference has, recall the share of the
    reference's that were written. Their means over n are P and R, and F = (1 + beta²) P R / (beta² P + R); beta = 2
    gives recall twice the weight. Blanks are left out, capitals count.

    As in sacrebleu's corpus_chrf the n-grams of the whole list are counted together, so a long text weighs more; an n
    that the texts are too short for is left out of the means; and 0 where no n remains, as for empty texts.

    "ab" for "abc": P = (2/2 + 1/1) / 2 = 1, R = (2/3 + 1/2) / 2 = 7/12, F = 5 P R / (4 P + R) = 7/11.

    >>> round(chrf(["ab"], ["abc"]), 4)
    0.6364
    """
    pairs, precisions, recalls = pairs_of(written, references), [], []
    for n in range(1, 7):
        n_written = n_reference = n_common = 0
        for text, reference in pairs:
            ours, theirs = letter_ngrams(text, n), letter_ngrams(reference, n)
            n_written += ours.total() if theirs else 0  # sacrebleu's rule: no fault where the reference has no n-gram
            n_reference += theirs.total()
            n_common += (ours & theirs).total()  # each n-gram as often as both have it
        if n_written and n_reference:
            precisions.append(n_common / n_written)
            recalls.append(n_common / n_reference)
    if not any(precisions):
        return 0.0
    p, r = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 5 * p * r / (4 * p + r)


def rouge_l(written: Sequence[str], references: Sequence[str]) -> float:
    """Mean F1 of the longest common subsequence of words (Lin 2004, "ROUGE", section 3.1, with beta = 1).

    Of n words written and m of the reference, L stand in both in the same order, gaps allowed: P = L / n, R = L / m,
    F1 = 2 P R / (P + R) = 2 L / (n + m), and 0 for an empty text. Capitals do not count, as in Google's rouge_score.
    That one keeps only a to z and digits, which leaves nothing of a Korean text; here words are what stands between
    blanks, full stops and all: "end." is not "end".

    The paper's example; "police the gunman" is common to both, so 2 * 3 / (4 + 4):

    >>> rouge_l(["Police kill the gunman"], ["police killed the gunman"])
    0.75
    """
    scores = []
    for text, reference in pairs_of(written, references):
        ours, theirs = text.lower().split(), reference.lower().split()
        scores.append(2 * common_length(ours, theirs) / max(1, len(ours) + len(theirs)))
    return sum(scores) / len(scores)


def pairs_of(written: Sequence[str], references: Sequence[str]) -> list[tuple[str, str]]:
    """Each text beside its reference."""
    if not written or len(written) != len(references):
        raise ValueError(f"as many texts as references, and one at least: came {len(written)} and {len(references)}")
    return list(zip(written, references))


def letter_ngrams(text: str, n: int) -> Counter[str]:
    """How often each run of n letters stands in the text, blanks left out."""
    letters = "".join(text.split())
    return Counter(letters[i : i + n] for i in range(len(letters) - n + 1))


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, by the table over all beginnings of a and b, row by row."""
    row = [0] * (len(b) + 1)  # row[j]: for the words of a so far and the first j words of b
    for x in a:
        above, row = row, [0]
        for j, y in enumerate(b):
            row.append(above[j] + 1 if x == y else max(above[j + 1], row[j]))
    return row[-1]
