"""RLHF in three stages, and what becomes of it where the reward model is trusted too much; about four minutes.

    python -m rlhf.pipeline          the same as: make rlhf

1. A small GPT learns from mediocre demonstrations (SFT). 2. A reward model learns from comparisons of its answers.
3. PPO trains it against that reward model, for several beta; against a weaker one; and, to compare, against the hidden
truth itself, with the same beta and as many answers. All on the CPU: a model this small is no faster elsewhere.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from common.batches import torch_random_state
from common.checkpoint import check_name, new_run
from common.command import command
from common.config import option, parse, write_json
from common.report import table
from minigpt import GPT, GPTConfig
from rlhf import health, language
from rlhf.answers import Answers
from rlhf.comparisons import RewardConfig, draw_pairs, written
from rlhf.imitation import SFTConfig
from rlhf.judging import HEADER, LEGEND, answers_to_scale, judge, normalised_gold, row, samples
from rlhf.overoptimisation import Curve, Run, best_of_n, draw, trained, what_happened
from rlhf.policy import Policy
from rlhf.ppo_loop import PPOConfig
from rlhf.preferences import report
from rlhf.saved import POLICY, save
from rlhf.scorer import RewardModel
from rlhf.stages import N_SCALE, learn_by_ppo, learn_demonstrations, learn_preferences

WEAK_PAIRS = 7_400  # a reward model from so few pairs is fooled sooner
LONG = 64  # iterations where there is no KL: long enough to see what comes of it
QUESTIONS, BEST_OF = 64, 256  # best-of-n


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of `python -m rlhf.pipeline`."""

    seed: int = option(0, "seed of everything random", low=0, high=2**31)
    name: str = option("rlhf", "the runs are kept in the folder runs/NAME")
    short: bool = option(False, "a few steps of each stage: only to see that everything runs")


@dataclass
class Pipeline:
    """The state between the stages."""

    config: PipelineConfig
    run: Path
    sft: GPT
    sizes: dict
    lines: list[list[str]] = field(default_factory=list)  # of the table
    runs: dict[str, Run] = field(default_factory=dict)  # of PPO
    models: dict[str, GPT] = field(default_factory=dict)  # whose answers are shown

    def folder(self, name: str) -> Path:
        (self.run / name).mkdir()
        return self.run / name

    def show(self, title: str) -> None:
        print(f"\n{title}\n", table(HEADER, self.lines), LEGEND, sep="\n")

    def judged(self, model: GPT, proxy: RewardModel | None = None) -> dict[str, float]:
        return judge(model, self.sft, proxy, n=20 if self.config.short else 1000, seed=self.config.seed)


@command
def main(argv: list[str] | None = None) -> None:
    config, start = parse(PipelineConfig, argv, __doc__), time.perf_counter()
    check_name(config.name)
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
    how = {"steps": 20, "eval_every": 20} if config.short else {}
    sft_config = SFTConfig(seed=config.seed, **how)
    sft, run = GPT(GPTConfig(**sft_config.sizes())), new_run(config.name)
    write_json(replace(config, name=run.name), run / "config.json")
    pipeline = Pipeline(config, run, sft, sft_config.sizes())

    learn_demonstrations(sft, sft_config, pipeline.folder("sft"))
    pipeline.lines.append(row("SFT", pipeline.judged(sft)))
    pipeline.show("1. supervised fine-tuning")

    proxy, weak = reward_models(pipeline)
    pipeline.lines[0] = row("SFT", pipeline.judged(sft, proxy))
    pipeline.show("2. reward model")

    scale = answers_to_scale(sft, N_SCALE, config.seed)
    gold = normalised_gold(scale)
    improve(pipeline, "PPO", proxy, proxy, beta=0.1)
    for beta in (0.3, 0.03, 0.0):
        improve(pipeline, f"beta {beta}", proxy, proxy, beta, LONG if beta == 0 else 32)
    improve(pipeline, f"{WEAK_PAIRS / 1000} k pairs", weak, weak, beta=0.1)
    improve(pipeline, f"{WEAK_PAIRS / 1000} k, beta 0", weak, weak, beta=0.0, iterations=LONG)
    improve(pipeline, "PPO on gold", gold, proxy, beta=0.1)
    pipeline.show("3. PPO, by default with beta 0.1")
    print("\nthe last iteration of PPO", health.explained(pipeline.runs["PPO"].history[-1]), sep="\n")
    print("\nanswers before and after", samples(
        {"SFT": sft, **{name: pipeline.models[name] for name in ("PPO", f"{WEAK_PAIRS / 1000} k, beta 0")}},
        seed=config.seed), sep="\n")
    finish(pipeline, proxy, weak, gold, scale)
    print(f"\n{time.perf_counter() - start:.0f} seconds in all, on {torch.get_num_threads()} threads; "
          f"everything is in {run}")


def reward_models(pipeline: Pipeline) -> tuple[RewardModel, RewardModel]:
    """One from all pairs, and one from the first few of them."""
    n = 400 if pipeline.config.short else RewardConfig.n_pairs
    pairs, made = draw_pairs(pipeline.sft, n, pipeline.config.seed, 0), []
    for name, some in (("reward_model", n), ("weak_reward_model", min(n, WEAK_PAIRS))):
        steps = max(1, some // RewardConfig.batch_size)
        config = RewardConfig(seed=pipeline.config.seed, n_pairs=some, steps=steps, eval_every=steps)
        model, measured = learn_preferences(pipeline.sft, pipeline.sizes, config, pipeline.folder(name),
                                            pairs[torch.arange(some)])
        print(f"\nfrom {some:,} pairs", report(measured), sep="\n")
        made.append(model)
    return made[0], made[1]


def improve(pipeline: Pipeline, name: str, score: Callable[[Answers], Tensor], proxy: RewardModel, beta: float,
            iterations: int = 32) -> None:
    """One run of PPO from SFT against `score`."""
    config = PPOConfig(beta=beta, seed=pipeline.config.seed, iterations=2 if pipeline.config.short else iterations)
    policy, run = Policy(copy.deepcopy(pipeline.sft)), pipeline.folder(name.replace(" ", "-").replace(",", ""))
    history = learn_by_ppo(policy, score, config, run, title=name)
    save(policy.model, POLICY, pipeline.sizes, run)
    judged = pipeline.judged(policy.model, proxy)
    pipeline.lines.append(row(name, judged, history))
    pipeline.runs[name], pipeline.models[name] = Run(history, judged), policy.model


def finish(pipeline: Pipeline, proxy: RewardModel, weak: RewardModel, gold: Callable[[Answers], Tensor],
           scale: Answers) -> None:
    """The plot of over-optimisation, and what happened in plain words."""
    scores = language.gold_of(scale)
    mean, std = scores.mean().item(), scores.std().item()
    weak_name = f"{WEAK_PAIRS / 1000} k"
    names = {"beta 0.3": "beta 0.3", "PPO": "beta 0.1", "beta 0.03": "beta 0.03", "beta 0.0": "beta 0"}
    weak_names = {f"{weak_name} pairs": "beta 0.1", f"{weak_name}, beta 0": "beta 0"}
    panels = {}
    for model, shown, title in ((proxy, names, f"{RewardConfig.n_pairs:,} pairs"), (weak, weak_names,
                                                                                  f"{WEAK_PAIRS:,} pairs")):
        panels[f"reward model of {title}"] = [best_of(pipeline, model, gold), *(
            trained(label, pipeline.runs[name].history, mean, std) for name, label in shown.items())]
    print(draw(panels, pipeline.run / "overoptimisation.png"))
    best = panels[f"reward model of {RewardConfig.n_pairs:,} pairs"][0]
    print("\n" + what_happened(pipeline.judged(pipeline.sft, proxy), pipeline.runs["PPO"], pipeline.runs["PPO on gold"],
                               pipeline.runs[f"{weak_name}, beta 0"], mean + std * max(best.gold)))


@torch.no_grad()
def best_of(pipeline: Pipeline, proxy: RewardModel, gold: Callable[[Answers], Tensor]) -> Curve:
    """Best-of-n of SFT by a reward model: no training at all, n answers to each question."""
    rng, (m, n) = torch_random_state(pipeline.config.seed, 3), (4, 8) if pipeline.config.short else (QUESTIONS, BEST_OF)
    asked = [question for question in language.prompts(m, rng) for _ in range(n)]
    made = list(zip(asked, written(pipeline.sft, asked, rng)))
    pairs = [made[i : i + 1024] for i in range(0, len(made), 1024)]
    answers = [language.laid_out(some) for some in pairs]
    return best_of_n(torch.cat([proxy(some) for some in answers]).view(m, n),
                     torch.cat([gold(some) for some in answers]).view(m, n))


if __name__ == "__main__":
    main()
