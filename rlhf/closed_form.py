"""The proof that PPO does what it says: a task whose best policy is known, reached by PPO; about half a minute.

    python -m rlhf.closed_form

A table of logits and a GPT start from random policies. Both must come to pi* = ref exp(r / beta) / Z (bandit.py). The
last row puts the KL into the reward by another estimator that looks just as good, k3 (kl.py), and must fail.
"""

import time
from dataclasses import dataclass, replace

import torch
import torch.nn as nn

from common.command import command
from common.config import option, parse
from common.report import table
from minigpt import GPT, GPTConfig
from rlhf import bandit
from rlhf.kl import k3


@dataclass(frozen=True)
class ClosedFormConfig:
    """Settings of `python -m rlhf.closed_form`."""

    seed: int = option(0, "seed of scores, policies and draws", low=0, high=2**31)


@command
def main(argv: list[str] | None = None) -> None:
    config = parse(ClosedFormConfig, argv, __doc__)
    rows = []
    for name, make, settings, how in (("table", bandit.Table, bandit.FOR_TABLE, {}),
                                      ("GPT", small_gpt, bandit.FOR_GPT, {}),
                                      ("table, k3 in the reward", bandit.Table, bandit.FOR_TABLE, {"penalty": k3})):
        torch.manual_seed(config.seed)
        r = torch.randn(len(bandit.ANSWERS))
        start = time.process_time()
        came = bandit.train(make(), r, replace(settings, seed=config.seed), **how)
        rows.append([name, f"{came['J']:.4f}", f"{came['J*']:.4f}", f"{came['J / J*']:.4f}",
                     f"{came['KL(pi, pi*)']:.5f}", f"{came['KL(pi, ref)']:.2f}", f"{time.process_time() - start:.1f}"])
    print(f"PPO on {len(bandit.ANSWERS)} answers, beta {bandit.BETA}; J = E[r] - beta KL(pi, ref), 0 at first")
    print(table(["policy", "J", "J*", "J / J*", "KL(pi, pi*)", "KL(pi, ref)", "CPU-s"], rows))


def small_gpt() -> nn.Module:
    """A GPT whose first policy is not uniform, and tries every answer now and then."""
    model = GPT(GPTConfig(bandit.V, 64, 2, 2, max_len=4, dropout=0.0, eos_id=bandit.EOS))
    for p in model.parameters():
        if p.ndim == 2:
            nn.init.normal_(p, std=0.07)
    return model


if __name__ == "__main__":
    main()
