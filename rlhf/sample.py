"""Let a model of stage 1 or 3 answer:

    python -m rlhf.sample --animal owl
    python -m rlhf.sample --model runs/ppo --animal owl
"""

from dataclasses import dataclass
from pathlib import Path

from common import checkpoint
from common.batches import torch_random_state
from common.command import command
from common.config import option, parse
from common.report import table
from minigpt import GPT, GPTConfig
from rlhf import language
from rlhf.policy import Policy
from rlhf.rollout import sample
from rlhf.saved import POLICY, load


@dataclass(frozen=True)
class SampleConfig:
    """Settings of `python -m rlhf.sample`."""

    model: str | None = option(None, "run of rlhf.sft or rlhf.ppo (default: the newest of rlhf.ppo)")
    animal: str = option("fox", "whom to ask about")
    n: int = option(5, "how many answers", low=1)
    seed: int = option(0, "seed of the draws", low=0, high=2**63 - 1)


@command
def main(argv: list[str] | None = None) -> None:
    config = parse(SampleConfig, argv, __doc__)
    question = language.prompt(config.animal)
    source = Path(config.model) if config.model else checkpoint.newest_run("ppo")
    model, _ = load(source, POLICY, lambda sizes: GPT(GPTConfig(**sizes)))
    rollout = sample(Policy(model), [question] * config.n, language.MAX_NEW, language.EOS_ID, language.PAD_ID,
                     torch_random_state(config.seed))
    answers, gold = rollout.answers, language.gold_of(rollout.answers)
    print(table([language.decode(question), "gold", "log P"], [
        [language.decode(tokens[:n]), f"{score:+.2f}", f"{logp:.1f}"] for tokens, n, score, logp in zip(
            answers.tokens.tolist(), answers.lengths.tolist(), gold.tolist(), rollout.logp.sum(dim=1).tolist())]))
    print("the first one, token by token (nats):")
    print(table(["token", "log P"], [[language.WORDS[token], f"{logp:.2f}"] for token, logp, real in zip(
        answers.tokens[0].tolist(), rollout.logp[0].tolist(), answers.mask[0].tolist()) if real]))


if __name__ == "__main__":
    main()
