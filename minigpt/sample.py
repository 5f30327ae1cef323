"""Let a trained GPT write:

    python -m minigpt.sample "Return the"                    goes on from a prompt, with the newest runs/minigpt*
    python -m minigpt.sample --file prompt.txt               the prompt from a file
    echo "Return the" | python -m minigpt.sample -           the prompt from standard input, without its line break
    python -m minigpt.sample --model DIR "Once upon a time"  another run, or a published GPT-2 or LLaMA
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.checkpoint import newest_run
from common.command import UserError, command
from common.config import from_dict, option, parser
from common.corpus import read_file
from common.generate import Sampling, stream
from common.trainer import choose_device
from minigpt.model import GPT
from minigpt.pretrained import begin, open_model
from minigpt.texts import Vocabulary


@dataclass(frozen=True)
class SampleConfig:
    """Who writes, and how."""

    model: str | None = option(None, "folder of a run, or of a published checkpoint (default: the newest run)")
    file: str | None = option(None, "UTF-8 text file with the prompt")
    max_new: int = option(200, "tokens to write at most; beyond the context the oldest text is forgotten", low=1)
    samples: int = option(1, "how many texts to write, each with a seed one higher", low=1)
    temperature: float = option(0.8, "below 1 surer, above 1 bolder")
    top_k: int | None = option(None, "only the k most probable tokens")
    top_p: float | None = option(0.95, "only the most probable tokens that together have the probability p")
    repetition_penalty: float = option(1.0, "above 1: what stands in the text already becomes less likely")
    seed: int = option(0, "seed of the draws", low=0, high=2**62)


@command
def main(argv: list[str] | None = None) -> None:
    arguments = parser(SampleConfig, __doc__)
    arguments.add_argument("prompt", nargs="?", help='the begin of the text; "-" reads standard input')
    arguments.add_argument("--stop", action="append", default=[], metavar="STR",
                           help="end before this text, once it is written; may be given several times")
    values = vars(arguments.parse_args(argv))
    prompt, stops = values.pop("prompt"), values.pop("stop")
    config = from_dict(SampleConfig, values, "command line")
    if "" in stops:
        raise UserError("--stop is empty: every text would end at once")
    model, vocabulary = open_model(Path(config.model) if config.model else newest_run("minigpt"))
    model.to(choose_device())
    text = read_prompt(prompt, config.file)
    tokens = begin(model, vocabulary, text)
    for i in range(config.samples):
        rng = torch.Generator(device=next(model.parameters()).device).manual_seed(config.seed + i)
        choose = Sampling(config.temperature, config.top_k, config.top_p, config.repetition_penalty, rng)
        if i:
            print("\n---")
        pieces = write(model, vocabulary, tokens, config.max_new, choose, stops)
        first = next(pieces, "")  # before the prompt is printed: should an option be refused, no half line stands there
        print((text or "") + first, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
    print()


def read_prompt(prompt: str | None, file: str | None) -> str | None:
    """The text to go on from; None when none was given. UserError for an empty one, and for two at once."""
    if prompt is not None and file is not None:
        raise UserError("give the prompt on the command line or in a file, not both")
    if file is not None:
        return read_file(Path(file)).removesuffix("\n")  # which editors put there
    try:
        if prompt == "-":
            prompt = sys.stdin.read().removesuffix("\n")
        (prompt or "").encode()
    except UnicodeError:
        raise UserError("the prompt is not UTF-8 text") from None
    if prompt == "":
        raise UserError("the prompt is empty; leave it out to let the model begin by itself")
    return prompt


def write(model: GPT, vocabulary: Vocabulary, tokens: list[int], max_new: int, choose: Sampling,
          stops: Sequence[str] = ()) -> Iterator[str]:
    """The continuation, piece by piece as it is written; together the new text, up to the first of `stops`.

    A character may take several tokens (a Korean syllable has three bytes), and a stop text as well: what may still
    change, or may turn out to belong to a stop text, waits for the next token.
    """
    def known(logits: torch.Tensor, texts: list[list[int]]) -> torch.Tensor:
        return choose(logits[:, : vocabulary.vocab_size], texts)  # some published heads have more rows than tokens

    written, text = list(tokens), vocabulary.decode(tokens)
    shown = len(text)
    for step in stream(model, [tokens], max_new, known, model.config.eos_id):
        if step[0] == model.config.eos_id:
            break
        written.append(step[0])
        text = vocabulary.decode(written)
        if ends := [end for stop in stops if (end := text.find(stop, shown)) >= 0]:
            text = text[: min(ends)]
            break
        whole = text.rstrip("\ufffd")  # what a character cut in the middle is decoded to
        may_be_stop = max((n for stop in stops for n in range(1, len(stop)) if whole.endswith(stop[:n])), default=0)
        yield whole[shown : len(whole) - may_be_stop]
        shown = max(shown, len(whole) - may_be_stop)
    yield text[shown:]


if __name__ == "__main__":
    main()
