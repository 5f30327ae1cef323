"""Supervised fine-tuning: the model learns to write what the demonstrations answer. (Ouyang et al. 2022, section 3.5)

The loss counts the answer alone, EOS included. The question is what the model reads, not what it should learn to write;
without EOS it would never learn to stop.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from common.config import option
from common.run import RunConfig
from common.trainer import Losses
from rlhf import language
from rlhf.answers import Answers, lay_out, log_probs
from rlhf.epochs import Epochs


@dataclass(frozen=True)
class SFTConfig(RunConfig):
    """Settings of `python -m rlhf.sft`."""

    steps: int = option(350, "optimizer steps", low=1)
    warmup: int = option(20, "steps over which the learning rate rises", low=0)
    eval_every: int = option(175, "steps between two evaluations; the run is saved at each", low=1)
    name: str = option("sft", "the run is kept in the folder runs/NAME")
    n_demonstrations: int = option(10_000, "demonstrations; as many as a twentieth of them are held out", low=20)
    batch_size: int = option(64, "demonstrations of a batch", low=1)
    d_model: int = option(64, "width of the model", low=8)
    n_layers: int = option(2, "blocks", low=1)
    n_heads: int = option(4, "attention heads of a block", low=1)
    lr: float = option(2e-3, "learning rate", low=0)

    def sizes(self) -> dict[str, int | float]:
        """What a GPT of this run is built from: `GPTConfig(**config.sizes())`."""
        return {"vocab_size": len(language.WORDS), "d_model": self.d_model, "n_layers": self.n_layers,
                "n_heads": self.n_heads, "max_len": 3 + language.MAX_NEW, "dropout": 0.0, "eos_id": language.EOS_ID}


def answer_loss(model: nn.Module, batch: dict[str, Tensor]) -> Losses:
    """-log P(answer | question), in nats: {"loss": (sum over the tokens of the answers, how many)}."""
    answers = Answers(**batch)
    return {"loss": (-log_probs(model, answers).sum(), int(answers.mask.sum()))}


class Demonstrations:
    """Batches of demonstrations for the trainer, and as many as a twentieth of them to evaluate on."""

    def __init__(self, config: SFTConfig) -> None:
        self.shown = lay_out(language.demonstrations(config.n_demonstrations, config.seed), language.PAD_ID)
        n_held_out = config.n_demonstrations // 20
        self.held_out = lay_out(language.demonstrations(n_held_out, config.seed + 2**40), language.PAD_ID)
        self.rows = Epochs(config.n_demonstrations, config.batch_size, config.seed)

    def __call__(self, t: int) -> dict[str, Tensor]:
        return vars(self.shown[self.rows(t)])

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The mean loss of a token of the held-out demonstrations, in nats."""
        [(total, count)] = answer_loss(model, vars(self.held_out)).values()
        return {"held_out_loss": total.item() / count}
