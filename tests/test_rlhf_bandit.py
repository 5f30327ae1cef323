"""PPO comes to the optimum that is known in closed form, and the KL put in wrongly does not."""

from dataclasses import replace

import pytest
import torch

from rlhf import bandit
from rlhf.advantages import gae
from rlhf.answers import log_probs
from rlhf.bandit import ANSWERS, Table, distribution, divergence, every_answer, objective, optimum, train
from rlhf.closed_form import small_gpt
from rlhf.kl import k3
from rlhf.policy import Policy
from rlhf.rollout import sample
from tests.explain import close, equal

R = torch.randn(40, generator=torch.Generator().manual_seed(0))


def test_all_answers_are_listed():
    equal(len({tuple(answer) for answer in ANSWERS}), 40, "1 + 3 + 9 that end, and 27 that are full")
    for model in (Table(), small_gpt()):
        total = distribution(model).exp().sum()
        close(total, torch.tensor(1.0, dtype=torch.double), "they are all there is", atol=1e-6)


def test_the_optimum_is_one():
    """pi* has J = beta log Z, and any other policy has less, by beta KL(pi || pi*)."""
    ref, beta = distribution(Table()), 0.5
    best = optimum(ref, R, beta)
    log_z = torch.logsumexp(ref + R.double() / beta, 0).item()
    close(torch.tensor(objective(best, ref, R, beta)), torch.tensor(beta * log_z), "J* = beta log Z")
    for _ in range(20):
        other = torch.randn(40, dtype=torch.double).log_softmax(0)
        gap = beta * log_z - objective(other, ref, R, beta)
        close(torch.tensor(gap), torch.tensor(beta * divergence(other, best)), "J* - J = beta KL(pi || pi*)")


def test_the_table_keeps_the_protocol_of_a_model():
    made = Policy(Table())
    torch.nn.init.normal_(made.value.weight)
    came = sample(made, [bandit.PROMPT] * 200, bandit.MAX_NEW, bandit.EOS, bandit.PAD)
    logp, values, _ = made(came.answers)
    close(came.logp, logp, "log-probabilities with and without the cache")
    close(came.values, values, "values with and without the cache")
    answers = every_answer()
    states = answers.states_before(Table().hidden(answers.ids))[answers.mask]
    equal(len(states.unique(dim=0)), 13, "a state for each beginning that goes on: none, 3 of one token, 9 of two")
    before = distribution(made.model)
    with torch.no_grad():
        made.model.head.weight[3, 7] += 1.0
    changed = (distribution(made.model) - before).abs() > 1e-6
    assert 0 < changed.sum() <= 4, "what is learned of one beginning changes another"


@pytest.mark.parametrize(("make", "settings"), [(Table, bandit.FOR_TABLE), (small_gpt, bandit.FOR_GPT)],
                         ids=["table", "GPT"])
def test_ppo_comes_to_the_optimum(make, settings):
    came = train(make(), R, settings)
    assert came["J / J*"] >= 0.995, f"expected J* to half a percent, came {came}"
    assert came["KL(pi, pi*)"] < 0.01, f"expected the optimal policy itself, came {came}"


def test_k3_in_the_reward_fails():
    """The negative control: the estimator that varies less, put where it does not belong."""
    came = train(Table(), R, replace(bandit.FOR_TABLE, iterations=50), penalty=k3)
    assert came["J / J*"] < 0.9 and came["KL(pi, pi*)"] > 0.1, f"k3 in the reward should miss the optimum, came {came}"


def expected_gradient(model: Table, r: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The exact policy gradient of E[r] over all answers, from the log-probabilities of the tokens that count."""
    logp = log_probs(model, every_answer())
    weights = (logp.detach().sum(1).exp() * r).unsqueeze(1)
    return torch.autograd.grad((weights * logp * counts).sum(), model.head.weight)[0].flatten()


def test_without_eos_in_the_loss_the_gradient_points_elsewhere():
    """The commonest bug: EOS taken for padding."""
    model, answers = Table(), every_answer()
    true, = torch.autograd.grad((log_probs(model, answers).sum(1).exp() * R).sum(), model.head.weight)
    whole = expected_gradient(model, R, answers.mask)
    close(whole, true.flatten(), "with all tokens the policy gradient is the gradient of E[r]")
    without = expected_gradient(model, R, answers.mask & (answers.tokens != bandit.EOS))
    cosine = torch.cosine_similarity(without, true.flatten(), dim=0)
    assert cosine < 0.9, f"EOS left out should be visible, cosine came {cosine:.3f}"


def values_of_beginnings(log_p: torch.Tensor) -> torch.Tensor:
    """The exact V: for every answer and place the mean score of all answers that begin the same way, (40, 3)."""
    p, values = log_p.exp().float(), torch.zeros(40, 3)
    for i, answer in enumerate(ANSWERS):
        for t in range(len(answer)):
            same = torch.tensor([other[:t] == answer[:t] for other in ANSWERS])
            values[i, t] = (p * R)[same].sum() / p[same].sum()
    return values


@pytest.mark.parametrize("lam", [1.0, 0.95, 0.5])
def test_gae_is_right_for_any_lambda_if_the_values_are(lam):
    """With the exact V the expected gradient is the true one; with a wrong V only for lambda 1."""
    model, answers = Table(), every_answer()
    logp = log_probs(model, answers)
    p = logp.detach().sum(1).exp()
    true, = torch.autograd.grad((logp.sum(1).exp() * R).sum(), model.head.weight, retain_graph=True)
    rewards = torch.zeros(40, 3).scatter(1, answers.lengths.unsqueeze(1) - 1, R.unsqueeze(1))

    def error(values: torch.Tensor) -> float:
        advantages, _ = gae(rewards, values.masked_fill(~answers.mask, 0.0), answers.mask, 1.0, lam)
        came, = torch.autograd.grad((p.unsqueeze(1) * advantages * logp).sum(), model.head.weight, retain_graph=True)
        return ((came - true).norm() / true.norm()).item()

    assert error(values_of_beginnings(logp.detach().double().sum(1))) < 1e-5, "the exact V adds no error"
    wrong = {tuple(answer[:t]): torch.randn(()) for answer in ANSWERS for t in range(len(answer))}
    off = error(torch.tensor([[wrong.get(tuple(answer[:t]), 0.0) if t < len(answer) else 0.0 for t in range(3)]
                              for answer in ANSWERS]))
    assert off < 1e-5 if lam == 1.0 else off > 0.02, f"lambda {lam}: a wrong V gave an error of {off:.3f}"
