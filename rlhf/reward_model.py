"""Stage 2, the reward model: a person compares answers of stage 1, and a model learns what they like. Half a minute.

    python -m rlhf.reward_model
"""

from dataclasses import replace
from pathlib import Path

import torch

from common import checkpoint
from common.command import command, python
from common.config import parse
from common.run import folder, new_folder, says_how_to_go_on, settings
from minigpt import GPT, GPTConfig
from rlhf.comparisons import RewardConfig
from rlhf.preferences import report
from rlhf.saved import POLICY, load
from rlhf.stages import learn_preferences

MODULE = "rlhf.reward_model"


@command
def main(argv: list[str] | None = None) -> None:
    config = settings(parse(RewardConfig, argv, __doc__))
    torch.set_flush_denormal(True)
    source = Path(config.sft) if config.sft else checkpoint.newest_run("sft")
    sft, sizes = load(source, POLICY, lambda sizes: GPT(GPTConfig(**sizes)))
    print(f"{config.n_pairs:,} pairs of answers of {source} are drawn and compared")
    run = folder(config.name) if config.resume else new_folder(replace(config, sft=source.as_posix()))
    with says_how_to_go_on(MODULE, run):
        _, measured = learn_preferences(sft, sizes, config, run)
    print(report(measured))
    print(f"next:  {python()} -m rlhf.ppo --reward-model {run.as_posix()}")


if __name__ == "__main__":
    main()
