"""Supervised fine-tuning: the model learns to write what the demonstrations answer. (Ouyang et al. 2022, section 3.5)

The loss counts the answer alone, EOS included. The question is what the model reads, not what it should learn to write;
without EOS it would never learn to stop.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from common.command import UserError
from common.config import option
from common.run import RunConfig
from common.trainer import Losses
from rlhf import language
from rlhf.answers import Answers, log_probs
from rlhf.epochs import Epochs


@dataclass(frozen=True)
class SFTConfig(RunConfig):
    """Settings of `python -m rlhf.sft`."""

    steps: int = option(250, "optimizer steps", low=1)
    warmup: int = option(10, "steps over which the learning rate rises", low=0)
    eval_every: int = option(125, "steps between two evaluations; the run is saved at each", low=1)
    decay: float = option(1.0, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    name: str = option("sft", "the run is kept in the folder runs/NAME")
    n_demonstrations: int = option(10_000, "demonstrations; as many as a twentieth of them are held out", low=20)
    batch_size: int = option(64, "demonstrations of a batch", low=1)
    d_model: int = option(64, "width of the model", low=8)
    n_layers: int = option(2, "blocks", low=1)
    n_heads: int = option(4, "attention heads of a block", low=1)
    muon_lr: float = option(0.02, "learning rate of Muon, for the matrices between hidden states", low=0)
    adam_lr: float = option(0.005, "learning rate of AdamW, for the rest", low=0)

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise UserError(f"n_heads = {self.n_heads} should divide d_model = {self.d_model}")

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
        self.shown = language.laid_out(language.demonstrations(config.n_demonstrations, config.seed))
        n_held_out = config.n_demonstrations // 20
        self.held_out = language.laid_out(language.demonstrations(n_held_out, config.seed + 2**40))
        self.rows = Epochs(config.n_demonstrations, config.batch_size, config.seed)

    def __call__(self, t: int) -> dict[str, Tensor]:
        return vars(self.shown[self.rows(t)])

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The mean loss of a token of the held-out demonstrations, in nats."""
        [(total, count)] = answer_loss(model, vars(self.held_out)).values()
        return {"held_out_loss": total.item() / count}
