"""Ask a fine-tuned BERT:

    python -m minibert.predict "이 영화 정말 재미있어요!"                                  a label, with its probability
    python -m minibert.predict "Anna Kim lives in Paris"                                a tag for each word
    python -m minibert.predict "What is the capital?" --context "The capital is Oslo."  the part that answers
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from common.checkpoint import newest_run, read_text
from common.command import UserError, command
from common.config import from_dict, option, parser
from common.labelled import Answered, Classified, Tagged
from common.report import table
from minibert import answering, classifying, tagging
from minibert.heads import BertWithHead
from minibert.pretrained import load_finetuned
from minibert.rows import Vocabulary, collate
from minibert.tasks import HEADS, WORLD, predict


@dataclass(frozen=True)
class PredictConfig:
    """Who answers, and what belongs to the text."""

    model: str | None = option(None, "folder of a fine-tuned run (default: the newest task-minibert*)")
    second: str | None = option(None, "the second sentence, where two are labelled together")
    context: str | None = option(None, "the text that holds the answer")


@command
def main(argv: list[str] | None = None) -> None:
    arguments = parser(PredictConfig, __doc__)
    arguments.add_argument("text", help="a sentence, or a question")
    values = vars(arguments.parse_args(argv))
    text = values.pop("text")
    config = from_dict(PredictConfig, values, "command line")
    if not all(part.strip() for part in (text, config.second, config.context) if part is not None):
        raise UserError("the text is empty")
    run = Path(config.model) if config.model else newest_run("task-minibert")
    head = head_of(run)
    if (head is answering) != (config.context is not None):
        raise UserError(f"{run} " + ("finds answers in a text: give it by --context" if head is answering
                                     else "finds no answers in a text; leave out --context"))
    if config.second is not None and head is not classifying:
        raise UserError(f"{run} labels no sentences; leave out --second")
    model, vocabulary = load_finetuned(run, head.Model)
    if head is classifying:
        rows = [[f"{p:.3f}", label] for label, p in probabilities(model, vocabulary, text, config.second)]
        print(table(["p", "label"], rows))
    elif head is tagging:
        words = tuple(text.split())
        [tags] = ask(model, head, vocabulary, Tagged(words, ("O",) * len(words)))
        print(table(["word", "tag"], list(zip(words, tags))))
    else:
        print(*ask(model, head, vocabulary, Answered(text, config.context, "", 0)))


def head_of(run: Path):
    """The module of the task that a run was fine-tuned to."""
    try:
        task = json.loads(read_text(run / "config.json"))["task"]
        return HEADS[WORLD.get(task, task)]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{run} is not a fine-tuned run") from None


def ask(model: BertWithHead, head, vocabulary: Vocabulary, example) -> list:
    """The answer to one example whose truth nobody knows."""
    rows = fitted(head.rows_of([example], model.labels, vocabulary, model.config.max_len))
    return predict(model, head, rows, [example], vocabulary.pad_id)[0]


def fitted(rows: tuple[list, str]) -> list:
    """The rows; what did not fit into them is said on stderr."""
    if rows[1]:
        print(f"warning: {rows[1]}", file=sys.stderr)
    return rows[0]


@torch.no_grad()
def probabilities(model: BertWithHead, vocabulary: Vocabulary, text: str,
                  second: str | None) -> list[tuple[str, float]]:
    """All labels with their probabilities, the most probable one first."""
    rows = fitted(classifying.rows_of([Classified(text, model.labels[0], second)], model.labels, vocabulary,
                                      model.config.max_len))
    batch = collate(rows, vocabulary.pad_id)
    p = model(batch["ids"], batch["segments"], batch["mask"])[0].softmax(-1).tolist()
    return sorted(zip(model.labels, p), key=lambda pair: -pair[1])


if __name__ == "__main__":
    main()
