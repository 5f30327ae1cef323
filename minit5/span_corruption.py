"""One worked example of span corruption (minit5/spans.py), with your own sentence:

    python -m minit5.span_corruption "Thank you for inviting me to your party last week."
"""

from dataclasses import dataclass

from common.batches import random_state
from common.command import UserError, command
from common.config import from_dict, option, parser
from common.report import table
from minit5.spans import corrupt, draw_spans
from minit5.vocabulary import N_SENTINELS


@dataclass(frozen=True)
class ExampleConfig:
    """What is taken out."""

    noise: float = option(0.15, "share of the words that is taken out", low=0.01, high=0.99)
    mean_span: float = option(3.0, "words of a span, on average", low=1)
    seed: int = option(0, "seed of the draw", low=0)


@command
def main(argv: list[str] | None = None) -> None:
    arguments = parser(ExampleConfig, __doc__)
    arguments.add_argument("text", help="a sentence")
    values = vars(arguments.parse_args(argv))
    words = values.pop("text").split()
    config = from_dict(ExampleConfig, values, "command line")
    if not words:
        raise UserError("the text is empty")
    print(example(words, config.noise, config.mean_span, config.seed))


def example(words: list[str], noise: float, mean_span: float, seed: int) -> str:
    """Text, encoder input, decoder input and labels as a table. A token is a word here; a run cuts words in pieces."""
    spans = draw_spans(len(words), noise, mean_span, random_state(seed))
    end, sentinels = len(words), [len(words) + 1 + k for k in range(N_SENTINELS)]
    names = [*words, "</s>", *(f"<extra_id_{k}>" for k in range(N_SENTINELS))]
    source, target = corrupt(range(len(words)), spans, sentinels, end)

    def show(tokens: list[int]) -> str:
        return " ".join(names[i] for i in tokens)
    return table(["", "tokens", ""], [
        ["text", len(words), " ".join(words)],
        ["encoder input", len(source), show(source)],
        ["decoder input", len(target), "[PAD] " + show(target[:-1])],
        ["labels", len(target), show(target)]])


if __name__ == "__main__":
    main()
