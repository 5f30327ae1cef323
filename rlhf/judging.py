"""What a policy is worth: its answers, judged by the gold score and by the reward model, and how far it has moved."""

from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor

from common.batches import torch_random_state
from common.report import table
from rlhf import language
from rlhf.answers import Answers, log_probs
from rlhf.comparisons import answer
from rlhf.kl import k1
from rlhf.policy import Policy

N = 1000  # answers that are judged
HEADER = ("", "gold", "asked never", "proxy", "KL", "tokens", "ended", "rollout s", "score s", "update s")
LEGEND = ("gold: the hidden truth; asked never: the same for animals that training never asked about\n"
          "proxy: the reward model that was maximised (PPO on gold: the strong one), in deviations above SFT\n"
          "KL: nats an answer from SFT; s: CPU-seconds")


@torch.no_grad()
def judge(model: nn.Module, reference: nn.Module, proxy: Callable[[Answers], Tensor] | None = None, n: int = N,
          seed: int = 0) -> dict[str, float]:
    """Means over n sampled answers to questions that training asks, and n / 2 to those that it never asks."""
    policy, rng = Policy(model), torch_random_state(seed, 2**20)
    answers = answer(policy, language.prompts(n, rng), rng)
    never = answer(policy, language.prompts(n // 2, rng, language.HELD_OUT), rng)
    kl = k1(log_probs(model, answers), log_probs(reference, answers)).sum(dim=1).mean().item()
    return {"gold": language.gold_of(answers).mean().item(), "held_out_gold": language.gold_of(never).mean().item(),
            "proxy": float("nan") if proxy is None else proxy(answers).mean().item(), "kl": kl,
            "length": answers.lengths.float().mean().item(),
            "ended": answers.ended(language.EOS_ID).float().mean().item()}


def row(name: str, judged: dict[str, float], history: list[dict[str, float]] = ()) -> list[str]:
    """A line of the table; `history`: what PPO measured in each iteration, for the seconds."""
    seconds = [f"{sum(line[f'seconds/{part}'] for line in history):.1f}" if history else "-"
               for part in ("rollout", "score", "update")]
    proxy = "-" if judged["proxy"] != judged["proxy"] else f"{judged['proxy']:+.2f}"  # NaN is not equal to itself
    return [name, f"{judged['gold']:+.2f}", f"{judged['held_out_gold']:+.2f}", proxy, f"{judged['kl']:.2f}",
            f"{judged['length']:.1f}", f"{judged['ended']:.3f}", *seconds]


@torch.no_grad()
def samples(models: dict[str, nn.Module], animals: tuple[str, ...] = ("fox", "owl", "lynx"), seed: int = 0) -> str:
    """The answers of several models to the same questions, side by side with their gold scores."""
    rows = []
    for i, animal in enumerate(animals):
        for name, model in models.items():
            said = answer(Policy(model), [language.prompt(animal)], torch_random_state(seed, 2**21, i))
            text = language.decode(said.tokens[0, : int(said.lengths)].tolist())
            rows.append([f"tell about {animal}" + " (never asked)" * (animal in language.HELD_OUT), name, text,
                         f"{language.gold_of(said).item():+.2f}"])
    return table(["question", "model", "answer", "gold"], rows)


def normalised_gold(answers: Answers) -> Callable[[Answers], Tensor]:
    """The gold score on the scale of a reward model: on these answers mean 0 and standard deviation 1."""
    scores = language.gold_of(answers)
    mean, std = scores.mean(), scores.std()
    return lambda other: (language.gold_of(other) - mean) / std


def answers_to_scale(model: nn.Module, n: int, seed: int) -> Answers:
    """The answers on which scores get their zero and their unit."""
    rng = torch_random_state(seed, 2**22)
    return answer(Policy(model), language.prompts(n, rng), rng)
