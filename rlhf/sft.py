"""Stage 1, supervised fine-tuning: a small GPT learns to answer as the demonstrations do, about ten seconds.

    python -m rlhf.sft
"""

import math

import torch

from common.command import command, python
from common.config import parse
from common.report import Metrics, draw_curves, table, verdict
from common.run import folder, new_folder, says_how_to_go_on, settings
from minigpt import GPT, GPTConfig
from rlhf import language
from rlhf.imitation import Demonstrations, SFTConfig, answer_loss
from rlhf.judging import HEADER, LEGEND, judge, row, samples
from rlhf.stages import learn_demonstrations

MODULE = "rlhf.sft"
EXPECTED = (1.03, 1.07)  # held-out nats a token; seeds 0, 1, 2 gave 1.049, 1.046, 1.058


@command
def main(argv: list[str] | None = None) -> None:
    config = settings(parse(SFTConfig, argv, __doc__))
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
    model = GPT(GPTConfig(**config.sizes()))
    print(f"model: GPT, {sum(p.numel() for p in model.parameters()):,} parameters, {len(language.WORDS)} words")
    if not config.resume:
        [(total, count)] = answer_loss(model, Demonstrations(config)(0)).values()
        print(f"first loss: {total.item() / count:.3f} (guessing among {len(language.WORDS)} words: "
              f"{math.log(len(language.WORDS)):.3f})")
    run = folder(config.name) if config.resume else new_folder(config)
    with says_how_to_go_on(MODULE, run):
        measured = learn_demonstrations(model, config, run)
    default = SFTConfig(name=config.name, seed=config.seed, resume=config.resume)
    print(verdict("held-out loss", measured["held_out_loss"], *EXPECTED) if config == default
          else f"held-out loss: {measured['held_out_loss']:.3f} (no expectation for these settings)")
    print(table(HEADER, [row("SFT", judge(model, model, seed=config.seed))]), LEGEND, sep="\n")
    print(samples({"SFT": model}, seed=config.seed))
    print(draw_curves(Metrics(run / "metrics.jsonl"), {"nats a token": ["loss", "held_out_loss"]}, run / "curve.png"))
    print(f"next:  {python()} -m rlhf.reward_model --sft {run.as_posix()}")


if __name__ == "__main__":
    main()
