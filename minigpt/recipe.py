"""The settings of a training run, and what they build. There are two recipes, for the same text, width and depth.

gpt2: the model of the paper (minigpt/model.py) from N(0, 0.02²), AdamW with weight decay 0.1, as nanoGPT has it; the
learning rate is the best of four that were tried. Clipping and schedule are those of all runs here: a linear fall to 0,
where GPT-2 and nanoGPT take a cosine. No dropout, where GPT-2 has 0.1: `--dropout` gives it back.

modern (the default): what reaches a good model soonest, of what was tried on text kept back from the training text.

- The model is a Qwen3 (minigpt/qwen3.py): RMSNorm, rotary positions, SwiGLU, QK-norm, no biases, head of its own. The
  clocks of the positions are faster than LLaMA's (base 100, not 10,000), since the context is short.
- The weights start from counts, not from chance (start.py).
- Muon moves the matrices between hidden states, AdamW the rest (common/optim.py). QK-norm bears a learning rate twice
  BERT's, and with so few steps a shorter momentum does better: 0.85, not 0.95.
- The learning rate falls from the end of the warm-up on.
- Weight decay three to five times the usual 0.1: the default run reads its text three times, and would learn it by
  heart (on text kept back: 1.54 bits per byte without, 1.47 with it).

Both multiply matrices in bfloat16 where the CPU has it (AVX-512 BF16): a step takes half the time.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from common import checkpoint
from common.characters import Characters
from common.command import UserError
from common.config import option, read_json
from common.optim import Muon, adamw, matrices_and_rest
from common.run import RunConfig
from common.tokenizer import Tokenizer
from minigpt.model import GPT, GPTConfig
from minigpt.qwen3 import Qwen3, Qwen3Config
from minigpt.texts import Vocabulary, ends


@dataclass(frozen=True)
class GPTRunConfig(RunConfig):
    """Settings of `python -m minigpt.train`."""

    steps: int = option(1800, "optimizer steps: steps, not seconds, so that a run can be repeated", low=1)
    decay: float = option(1.0, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    warmup: int = option(10, "steps over which the learning rate rises", low=0)
    eval_every: int = option(450, "steps between two evaluations; the run is saved at each", low=1)
    precision: str = option("bfloat16", "matrix products on a CPU: bfloat16 where it has them, or float32")
    name: str = option("minigpt", "the run is kept in the folder runs/NAME")
    corpus: str | None = option(None, "text file, the last tenth is held out; or world (default: documentation corpus)")
    recipe: str = option("modern", "modern (see minigpt/recipe.py) or gpt2, the classic one")
    tokens: str = option("pieces", "what a token is: pieces (SentencePiece) or characters")
    vocab_size: int = option(4096, "pieces in the vocabulary", low=1)
    d_model: int = option(256, "width of the model", low=8)
    n_layers: int = option(2, "blocks", low=1)
    n_heads: int = option(4, "attention heads of a block", low=1)
    d_ff: int | None = option(None, "inner width of the feed-forward networks (default: 4 d_model; gated, 8/3)", low=1)
    max_len: int = option(128, "the context: tokens of a row", low=2)
    dropout: float = option(0.0, "dropout of the recipe gpt2", low=0, high=0.9)
    batch_size: int = option(16, "rows of a batch", low=1)
    muon_lr: float = option(0.006, "learning rate of Muon, for the matrices between hidden states", low=0)
    adam_lr: float | None = option(None, "learning rate of AdamW (default: 0.005, recipe gpt2: 0.001)", low=0)

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads or self.d_model // self.n_heads % 2:
            raise UserError(f"d_model = {self.d_model} should be n_heads = {self.n_heads} times an even number")
        for name, known in (("recipe", ("modern", "gpt2")), ("tokens", ("pieces", "characters"))):
            if getattr(self, name) not in known:
                raise UserError(f"{name} = {getattr(self, name)} should be {' or '.join(known)}")
        if self.recipe == "modern" and self.dropout:
            raise UserError("dropout belongs to --recipe gpt2; the modern one has none")


def new_model(config: GPTRunConfig, vocabulary: Vocabulary) -> GPT:
    """The model of a recipe, with random weights."""
    v = vocabulary.vocab_size
    end = vocabulary.eos_id if ends(config.corpus) else None
    if config.recipe == "gpt2":
        return GPT(GPTConfig(v, config.d_model, config.n_layers, config.n_heads, config.d_ff, config.max_len,
                             config.dropout, eos_id=end))
    gated = round(config.d_model * 8 / 3 / 16) * 16  # three matrices of 8/3 D: as many numbers as two of 4 D
    return Qwen3(Qwen3Config(v, config.d_model, config.n_layers, config.n_heads, d_ff=config.d_ff or gated,
                             max_len=config.max_len, rope_base=100.0,
                             bos_id=end, eos_id=end))  # one token ends a text and begins the next


def optimizers(model: GPT, config: GPTRunConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between hidden states and AdamW for the rest; in the recipe gpt2 AdamW for all."""
    if config.recipe == "gpt2":
        return [adamw(list(model.parameters()), 0.001 if config.adam_lr is None else config.adam_lr, weight_decay=0.1)]
    matrices, rest = matrices_and_rest(model, ".blocks.")
    return [Muon(matrices, lr=config.muon_lr, momentum=0.85, weight_decay=0.3),
            adamw(rest, 0.005 if config.adam_lr is None else config.adam_lr, weight_decay=0.5)]


VOCABULARIES = {"pieces": ("tokenizer.model", Tokenizer), "characters": ("characters.json", Characters)}


def load_run(folder: Path) -> tuple[GPT, Vocabulary]:
    """The best weights of a run, dropout off, and its vocabulary."""
    config = read_json(GPTRunConfig, folder / "config.json")
    file, kind = VOCABULARIES[config.tokens]
    vocabulary = kind.load(folder / file)
    model = new_model(config, vocabulary)
    checkpoint.load_weights(model, folder / "best.pt")
    return model.eval(), vocabulary
