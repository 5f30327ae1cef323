"""What RLHF came to, over seeds:  python -m tests.benchmarks.bench_rlhf --seeds 3

Every figure is of the settings that the commands of rlhf have by default. CPU-seconds are those of one thread
(OMP_NUM_THREADS=1); gold scores are means over 1,000 answers.
"""

import argparse
import copy
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from common.command import command
from common.report import table
from minigpt import GPT, GPTConfig
from rlhf import bandit, language
from rlhf.closed_form import small_gpt
from rlhf.comparisons import RewardConfig, draw_pairs
from rlhf.imitation import SFTConfig
from rlhf.judging import answers_to_scale, judge, normalised_gold
from rlhf.overoptimisation import Run
from rlhf.policy import Policy
from rlhf.ppo_loop import PPOConfig
from rlhf.rollout import sample
from rlhf.stages import N_SCALE, learn_by_ppo, learn_demonstrations, learn_preferences

WEAK_PAIRS, LONG = 7_400, 64


def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bench_rlhf"))


def improved(sft: GPT, score, proxy, seed: int, **settings) -> tuple[Run, float]:
    """A run of PPO and the CPU-seconds that it took, judging not counted."""
    policy, start = Policy(copy.deepcopy(sft)), time.process_time()
    history = learn_by_ppo(policy, score, PPOConfig(seed=seed, **settings), folder())
    seconds = time.process_time() - start
    return Run(history, judge(policy.model, sft, proxy, seed=seed)), seconds


def sampler_gap(sft: GPT) -> float:
    """The largest difference between a log-probability of the sampler and that of a full pass."""
    policy = Policy(sft)
    rollout = sample(policy, language.prompts(512, torch.Generator().manual_seed(0)), language.MAX_NEW,
                     language.EOS_ID, language.PAD_ID)
    with torch.no_grad():
        return (policy(rollout.answers)[0] - rollout.logp).abs().max().item()


def measured(seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    config = SFTConfig(seed=seed)
    sft = GPT(GPTConfig(**config.sizes()))
    learn_demonstrations(sft, config, folder())
    pairs = draw_pairs(sft, RewardConfig.n_pairs, seed, 0)
    models = {}
    for name, n in (("", RewardConfig.n_pairs), ("weak ", WEAK_PAIRS)):
        steps = n // RewardConfig.batch_size
        settings = RewardConfig(seed=seed, n_pairs=n, steps=steps, eval_every=steps)
        models[name] = learn_preferences(sft, config.sizes(), settings, folder(), pairs[torch.arange(n)])
    (proxy, of_proxy), (weak, of_weak) = models.values()
    before = judge(sft, sft, proxy, seed=seed)
    ppo, seconds = improved(sft, proxy, proxy, seed)
    gold, _ = improved(sft, normalised_gold(answers_to_scale(sft, N_SCALE, seed)), proxy, seed)
    unheld, _ = improved(sft, weak, weak, seed, beta=0.0, iterations=LONG)
    gain, possible, (fall, rise) = (ppo.judged["gold"] - before["gold"], gold.judged["gold"] - before["gold"],
                                    unheld.fall())
    return {"reward model: accuracy": of_proxy["accuracy"], "  ceiling": of_proxy["ceiling"],
            "  accuracy - ceiling": of_proxy["accuracy"] - of_proxy["ceiling"],
            "  7.4 k pairs: accuracy - ceiling": of_weak["accuracy"] - of_weak["ceiling"],
            "gold of SFT": before["gold"], "gold of PPO": ppo.judged["gold"],
            "gold of PPO on gold": gold.judged["gold"],
            "PPO - SFT": gain, "  as a share of PPO on gold": gain / possible, "  CPU-seconds of PPO": seconds,
            "  KL": ppo.judged["kl"], "never asked: SFT": before["held_out_gold"],
            "  PPO": ppo.judged["held_out_gold"], "beta 0, 7.4 k pairs: gold falls from its peak by": fall,
            "  proxy rises meanwhile by": rise, "sampler against a full pass": sampler_gap(sft),
            "first ratio - 1": max(abs(line["val/ratio_first"] - 1) for line in ppo.history)}


def closed_form(seed: int) -> dict[str, float]:
    found = {}
    for name, make, settings in (("table", bandit.Table, bandit.FOR_TABLE), ("GPT", small_gpt, bandit.FOR_GPT)):
        torch.manual_seed(seed)
        r = torch.randn(len(bandit.ANSWERS))
        came = bandit.train(make(), r, replace(settings, seed=seed))
        found |= {f"closed form, {name}: J / J*": came["J / J*"], f"  {name}: KL(pi, pi*)": came["KL(pi, pi*)"]}
    return found


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, 2 ...")
    args = parser.parse_args(argv)
    torch.set_flush_denormal(True)
    runs = [{**measured(seed), **closed_form(seed)} for seed in range(args.seeds)]
    print(table(["", "mean", *(f"seed {seed}" for seed in range(args.seeds))], [
        [name, f"{sum(run[name] for run in runs) / len(runs):.4g}", *(f"{run[name]:.4g}" for run in runs)]
        for name in runs[0]]))


if __name__ == "__main__":
    main()
