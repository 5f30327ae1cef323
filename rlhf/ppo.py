"""Stage 3, PPO: the model of stage 1 is trained against the reward model of stage 2, about ten seconds.

    python -m rlhf.ppo
    python -m rlhf.ppo --beta 0        without the KL: the reward model is fooled
    python -m rlhf.ppo --gold          against the hidden truth, to see what the reward model costs
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from common import checkpoint
from common.command import command, python
from common.config import option, parse, read_json
from common.report import Metrics, draw_curves, table
from common.run import new_folder
from minigpt import GPT, GPTConfig
from rlhf import health
from rlhf.comparisons import RewardConfig
from rlhf.judging import HEADER, LEGEND, answers_to_scale, judge, normalised_gold, row, samples
from rlhf.policy import Policy
from rlhf.ppo_loop import PPOConfig
from rlhf.saved import POLICY, REWARD_MODEL, load, save
from rlhf.stages import N_SCALE, learn_by_ppo, learning


@dataclass(frozen=True)
class PPORunConfig(PPOConfig):
    """Settings of `python -m rlhf.ppo`."""

    name: str = option("ppo", "the run is kept in the folder runs/NAME")
    sft: str | None = option(None, "run of rlhf.sft to begin with (default: the one that the reward model is from)")
    reward_model: str | None = option(None, "run of rlhf.reward_model that scores (default: the newest)")
    gold: bool = option(False, "maximise the gold score itself, on the reward model's scale")


@command
def main(argv: list[str] | None = None) -> None:
    config = parse(PPORunConfig, argv, __doc__)
    checkpoint.check_name(config.name)
    torch.set_flush_denormal(True)
    scorer = Path(config.reward_model) if config.reward_model else checkpoint.newest_run("reward_model")
    proxy, _ = load(scorer, REWARD_MODEL, new_model)
    source = Path(config.sft or read_json(RewardConfig, scorer / "config.json").sft)
    sft, sizes = load(source, POLICY, new_model)
    score = normalised_gold(answers_to_scale(sft, N_SCALE, config.seed)) if config.gold else proxy
    for _ in learning(Policy(copy.deepcopy(sft)), score, replace(config, iterations=1)):
        pass  # what is refused is refused before a folder is made
    run = new_folder(replace(config, sft=source.as_posix(), reward_model=scorer.as_posix()))
    policy = Policy(copy.deepcopy(sft))
    try:
        history = learn_by_ppo(policy, score, config, run)
    except KeyboardInterrupt:
        print("\nstopped; PPO is not taken up again, it takes ten seconds from the begin")
        raise
    save(policy.model, POLICY, sizes, run)
    print(table(HEADER, [row("SFT", judge(sft, sft, proxy, seed=config.seed)),
                         row("PPO", judge(policy.model, sft, proxy, seed=config.seed), history)]), LEGEND, sep="\n")
    print(samples({"SFT": sft, "PPO": policy.model}, seed=config.seed))
    print(health.explained(history[-1]))
    print(draw_curves(Metrics(run / "metrics.jsonl"), {
        "scores": ["objective/scores", "gold"], "nats": ["objective/kl", "policy/entropy_avg"],
        "value head": ["val/explained_variance"]}, run / "curve.png"))
    print(f"next:  {python()} -m rlhf.sample --model {run.as_posix()}")


def new_model(sizes: dict) -> GPT:
    return GPT(GPTConfig(**sizes))


if __name__ == "__main__":
    main()
