"""Ask a trained BERT what stands at [MASK]:

    python -m minibert.fill_mask "The default [MASK] is used ."
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from common.checkpoint import newest_run
from common.command import UserError, command
from common.config import from_dict, option, parser
from common.report import table
from common.tokenizer import Tokenizer
from common.wordpiece import WordPiece
from minibert.evaluate import show
from minibert.model import BertForPreTraining
from minibert.recipe import load_run


@dataclass(frozen=True)
class FillMaskConfig:
    """Who answers, and at what length."""

    model: str | None = option(None, "folder of a run, or of a published checkpoint (default: the newest run)")
    top: int = option(5, "number of guesses")


@command
def main(argv: list[str] | None = None) -> None:
    arguments = parser(FillMaskConfig, __doc__)
    arguments.add_argument("text", help="a text with one [MASK] in it")
    values = vars(arguments.parse_args(argv))
    text = values.pop("text")
    config = from_dict(FillMaskConfig, values, "command line")
    model, tokenizer = load(Path(config.model) if config.model else newest_run("minibert"))
    guesses = fill_mask(model, tokenizer, text, config.top)
    shown = show if isinstance(tokenizer, Tokenizer) else str  # "##able" says already that it continues a word
    print(table(["p", "piece", "text"], [[f"{p:.3f}", shown(piece), filled] for p, piece, filled in guesses]))


def load(folder: Path) -> tuple[BertForPreTraining, Tokenizer | WordPiece]:
    """A run made here, or a published checkpoint with its vocab.txt."""
    if not (folder / "vocab.txt").exists():
        model, tokenizer = load_run(folder)
    else:
        model, tokenizer = BertForPreTraining.from_pretrained(folder), WordPiece.load(folder / "vocab.txt")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise UserError(f"{folder} holds a vocabulary of {tokenizer.vocab_size:,} pieces and a model of "
                        f"{model.config.vocab_size:,}: they do not belong together")
    return model, tokenizer


@torch.no_grad()
def fill_mask(model: BertForPreTraining, tokenizer: Tokenizer | WordPiece, text: str,
              top: int = 5) -> list[tuple[float, str, str]]:
    """The most probable pieces for the one [MASK] of `text`: (probability, piece, text with the piece put in).

    Raises UserError for a text with no [MASK] or several, or one that is longer than the model reads.
    """
    masks = text.count("[MASK]")
    if masks != 1:
        raise UserError(f'the text needs one [MASK] and has {masks or "none"}, as in "The default [MASK] is used ."')
    if not 1 <= top <= tokenizer.vocab_size:
        raise UserError(f"--top {top}: the vocabulary has {tokenizer.vocab_size:,} pieces")
    # WordPiece drops all blanks, also the one before [MASK]
    encode = tokenizer.encode_masked if isinstance(tokenizer, Tokenizer) else tokenizer.encode
    ids = [tokenizer.cls_id, *encode(text), tokenizer.sep_id]
    if len(ids) > model.config.max_len:
        raise UserError(f"the text has {len(ids)} tokens, and this model reads at most {model.config.max_len}")
    place = ids.index(tokenizer.mask_id)
    hidden = model.hidden(torch.tensor([ids], device=next(model.parameters()).device))  # (1, T, D)
    probabilities = model.head(hidden[0, place]).softmax(-1)  # (V,)
    best = probabilities.topk(top)
    return [(p, tokenizer.piece(i), tokenizer.decode([*ids[1:place], i, *ids[place + 1 : -1]]))
            for p, i in zip(best.values.tolist(), best.indices.tolist())]


if __name__ == "__main__":
    main()
