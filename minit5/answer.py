"""Ask a trained T5:

    python -m minit5.answer "translate English to Korean: Hello."       a task that it was taught
    python -m minit5.answer "Return the <extra_id_0> of the file."      gaps to fill, as in pre-training
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from common.checkpoint import newest_run
from common.command import UserError, command
from common.config import from_dict, option, parser
from common.report import table
from common.trainer import choose_device
from minit5.pretrained import known_tasks, open_model
from minit5.spans import reassemble, spans_of
from minit5.vocabulary import SentinelVocabulary
from minit5.writer import answer, answer_by_beam


@dataclass(frozen=True)
class AnswerConfig:
    """Who answers, and how."""

    model: str | None = option(None, "folder of a run, or of a published T5 (default: the newest run)")
    max_new: int = option(64, "tokens to write at most", low=1, high=100_000)
    beams: int = option(1, "answers that are followed at once; 1 always takes the most probable token", low=1)
    length_penalty: float = option(1.0, "score of a beam = log P / length^length_penalty; 0 likes short answers",
                                   low=0, high=10)


@command
def main(argv: list[str] | None = None) -> None:
    arguments = parser(AnswerConfig, __doc__)
    arguments.add_argument("text", help="the input, as the model was taught it")
    values = vars(arguments.parse_args(argv))
    text = values.pop("text")
    config = from_dict(AnswerConfig, values, "command line")
    if not text.strip():
        raise UserError("the text is empty")
    try:
        text.encode()
    except UnicodeError:
        raise UserError("the text is not UTF-8") from None
    folder = Path(config.model) if config.model else newest_run("minit5")
    model, vocabulary = open_model(folder)
    source = vocabulary.encode(text)
    gaps = [token for token in source if token in vocabulary.sentinels]
    if not gaps:
        warn_of_unknown_task(text, known_tasks(folder), folder)
    model.to(choose_device())
    if config.beams == 1:
        found = [(None, answer(model, [source], config.max_new)[0])]
    else:
        found = answer_by_beam(model, source, config.max_new, config.beams, config.length_penalty)
    scores: dict[tuple[str, ...], float | None] = {}  # by what the reader sees, the best one first
    for score, new in found:
        scores.setdefault(filled(source, new, gaps, vocabulary) if gaps else (vocabulary.decode(new),), score)
    header = ["gaps", "text"] if gaps else ["answer"]
    if config.beams > 1:
        print(table(["score", *header], [[f"{score:.2f}", *texts] for texts, score in scores.items()]))
    elif gaps:
        print(table(header, list(scores)))
    else:
        print(*(text for [text] in scores))


def filled(source: list[int], new: list[int], gaps: list[int], v: SentinelVocabulary) -> tuple[str, str]:
    """What was written for each gap, and the whole text with it; a gap that was not answered stays as it is."""
    spans = spans_of(new, v.sentinels)
    return (" | ".join(v.decode(spans.get(gap, [])) or "-" for gap in gaps),
            v.decode(reassemble(source, new, v.sentinels)))


def warn_of_unknown_task(text: str, tasks: list[str] | None, folder: Path) -> None:
    """One line on stderr where the model cannot know what it is asked for. It answers all the same: it is only text."""
    if tasks is None or any(text.startswith(f"{task}: ") for task in tasks):
        return
    prefixes = ", ".join(f'"{task}: "' for task in tasks)
    lack = (f"the tasks of {folder} are {prefixes}; this text begins with none of them" if tasks
            else f"{folder} has learned no task but to fill gaps, and this text has none (<extra_id_0> ...)")
    print(f"warning: {lack}; it is taken as mere text", file=sys.stderr)


if __name__ == "__main__":
    main()
