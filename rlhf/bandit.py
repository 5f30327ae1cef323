"""A task so small that every answer can be listed: what PPO should come to is then known, not hoped for.

For given scores r, reference ref and beta the best policy is known in closed form,

    pi*(y) = ref(y) exp(r(y) / beta) / Z,        J(pi*) = beta log Z        with J(pi) = E_pi[r] - beta KL(pi || ref)

(Rafailov et al. 2023, arXiv:2305.18290, eq. 4; the proof is one line: J(pi) = beta log Z - beta KL(pi || pi*)). The
vocabulary has four tokens, one of them EOS, and an answer has at most three: forty answers in all.
"""

from collections.abc import Callable
from itertools import product

import torch
import torch.nn as nn
from torch import Tensor

from common.cache import KVCache
from rlhf.answers import Answers, lay_out, log_probs
from rlhf.policy import Policy
from rlhf.ppo_loop import PPOConfig, ppo

V, EOS, PAD, MAX_NEW = 4, 1, 0, 3
PROMPT = [2]
BETA = 0.5
FOR_TABLE = PPOConfig(iterations=150, batch_size=512, epochs=2, minibatches=2, lr=0.05, value_lr=0.1, beta=BETA)
FOR_GPT = PPOConfig(iterations=100, batch_size=512, epochs=2, minibatches=2, lr=1e-3, value_lr=1e-2, beta=BETA)
ANSWERS = [list(answer) for n in range(1, MAX_NEW + 1) for answer in product(range(V), repeat=n)
           if EOS not in answer[:-1] and (answer[-1] == EOS or n == MAX_NEW)]  # 40: they end with EOS, or are full


def every_answer() -> Answers:
    return lay_out([(PROMPT, answer) for answer in ANSWERS], PAD)


@torch.no_grad()
def distribution(model: nn.Module) -> Tensor:
    """log pi(y) of all 40 answers, in double precision."""
    return log_probs(model, every_answer()).double().sum(dim=1)


def optimum(ref: Tensor, r: Tensor, beta: float) -> Tensor:
    """log pi*(y) = log ref(y) + r(y) / beta - log Z"""
    return (ref + r.double() / beta).log_softmax(dim=0)


def objective(log_p: Tensor, ref: Tensor, r: Tensor, beta: float) -> float:
    """J = E[r] - beta KL(pi || ref), exactly."""
    return (log_p.exp() * (r.double() - beta * (log_p - ref))).sum().item()


def divergence(log_p: Tensor, log_q: Tensor) -> float:
    """KL(p || q)"""
    return (log_p.exp() * (log_p - log_q)).sum().item()


def train(model: nn.Module, r: Tensor, config: PPOConfig, **how: Callable) -> dict[str, float]:
    """Let PPO maximise r (40,), and compare where it comes to with the optimum. `model` is trained in place.

    r is counted from its mean under the reference, so J(ref) = 0 and J / J* is the share of the possible gain.
    """
    numbers, ref = {tuple(answer): i for i, answer in enumerate(ANSWERS)}, distribution(model)
    r = r - (ref.exp() * r).sum().float()

    def score(answers: Answers) -> Tensor:
        rows = zip(answers.tokens.tolist(), answers.lengths.tolist())
        return r[[numbers[tuple(tokens[:n])] for tokens, n in rows]]

    for _ in ppo(Policy(model), score, lambda n, rng: [PROMPT] * n, config, MAX_NEW, EOS, PAD, **how):
        pass
    log_p, best = distribution(model), optimum(ref, r, config.beta)
    j, j_best = (objective(p, ref, r, config.beta) for p in (log_p, best))
    return {"J": j, "J*": j_best, "J / J*": j / j_best,
            "KL(pi, pi*)": divergence(log_p, best), "KL(pi, ref)": divergence(log_p, ref)}


class Table(nn.Module):
    """A policy with a row of logits for every beginning of an answer, and the protocol of a language model.

    The state of a place is which of the 21 beginnings has been read, as a one-hot vector. The head is then a table of
    logits, and a value head on these states a table of values: nothing that is learned of one beginning changes
    another.
    """

    class Config:
        vocab_size, max_len = V, len(PROMPT) + MAX_NEW
        d_model = sum(V**n for n in range(MAX_NEW))  # 1 + 4 + 16

    config = Config()

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(self.config.d_model, V, bias=False)
        self.head.weight.data.normal_()

    def new_cache(self, batch: int, max_len: int | None = None) -> KVCache:
        return KVCache(1, batch, 1, 1, max_len or self.config.max_len)

    def hidden(self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """ids (B, T) -> (B, T, 21). What it has to remember are the tokens; the cache keeps them as keys of width 1."""
        read = 0
        if cache is not None:
            read = cache.lengths[0]
            cache.reserve(ids.shape[1])
            kept = ids.float()[:, None, :, None]  # (B, 1, T, 1)
            ids = cache.layers[0].update(kept, kept)[0][:, 0, :, 0].long()  # all tokens so far
            cache.advance(ids.shape[1] - read)
        number = torch.zeros_like(ids[:, 0])
        states = [number]
        for token in ids[:, len(PROMPT) :].unbind(dim=1):  # 0 nothing, 1 .. 4 one token, 5 .. 20 two
            number = V * number + token + 1
            states.append(number.clamp(max=self.config.d_model - 1))  # behind three tokens nothing is predicted
        return nn.functional.one_hot(torch.stack(states, dim=1)[:, read:], self.config.d_model).float()
