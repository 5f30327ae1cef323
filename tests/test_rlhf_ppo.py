"""The loop of PPO: that it goes the right way, from where it says, and that what is wrong with its input is said."""

from itertools import islice

import pytest
import torch

from common.command import UserError
from minigpt import GPT, GPTConfig
from rlhf.answers import log_probs
from rlhf.policy import Policy, frozen_copy
from rlhf.ppo_loop import PPOConfig, ppo
from rlhf.rollout import sample
from tests.explain import close, equal, same

V, EOS, PAD = 8, 1, 0
PROMPTS = [[2, 3], [4], [5, 6, 7]]


def policy() -> Policy:
    model = GPT(GPTConfig(V, 16, 1, 2, max_len=12, dropout=0.0, eos_id=EOS))
    for p in model.parameters():
        if p.ndim == 2:
            torch.nn.init.normal_(p, std=0.2)
    return Policy(model)


def prompts(n: int, rng: torch.Generator) -> list[list[int]]:
    return [PROMPTS[i] for i in torch.randint(len(PROMPTS), (n,), generator=rng)]


def run(made: Policy, score, **settings):
    """The measured figures of each iteration."""
    config = PPOConfig(**{"iterations": 20, "batch_size": 64, "lr": 5e-3, "value_lr": 2e-2, "beta": 0.0, **settings})
    return [measured for _, measured in ppo(made, score, prompts, config, max_new=6, eos_id=EOS, pad_id=PAD)]


def first_is_four(answers) -> torch.Tensor:
    return (answers.tokens[:, 0] == 4).float()


@pytest.mark.parametrize(("sign", "low", "high"), [(1.0, 0.95, 1.0), (-1.0, -0.02, 0.0)])
def test_the_sign(sign, low, high):
    """Reward "the first token is 4": nearly always in twenty iterations; punished, nearly never."""
    measured = run(policy(), lambda answers: sign * first_is_four(answers))
    last = measured[-1]["objective/scores"]  # of 64 answers
    assert low <= last <= high, f"expected {low} to {high}, came {last}: an advantage, a loss or a clip is turned round"


def test_the_first_iteration_begins_at_the_reference():
    first = run(policy(), first_is_four, iterations=1)[0]
    close(torch.tensor(first["objective/kl"]), torch.tensor(0.0), "KL to a copy of itself", atol=1e-5)
    close(torch.tensor(first["val/ratio_first"]), torch.tensor(1.0), "the ratio before the first step", atol=1e-5)
    close(torch.tensor(first["val/explained_variance"]), torch.tensor(0.0), "a value head of zeros", atol=1e-6)


def test_at_first_every_token_is_as_probable_as_under_the_reference():
    made = policy()
    came = sample(made, PROMPTS * 10, 6, EOS, PAD)
    close(came.logp, log_probs(frozen_copy(made.model), came.answers), "KL of each token at step 0", rtol=0, atol=1e-5)


def test_dropout_is_off_in_the_update_too():
    """Else the policy that is updated is not the one that wrote the answers."""
    model = GPT(GPTConfig(V, 16, 1, 2, max_len=12, dropout=0.5, eos_id=EOS)).eval()
    made = Policy(model)
    equal(model.training, False, "a value head on a model does not switch its dropout on")
    for line in run(made, first_is_four, iterations=2):
        close(torch.tensor(line["val/ratio_first"]), torch.tensor(1.0), "the ratio before the first step", atol=1e-5)


def test_what_the_update_learns_from(monkeypatch):
    """Returns are made before whitening, advantages after; both are those of the whole batch, made by hand here."""
    from rlhf import ppo_loop

    seen = {"policy_loss": [], "value_loss": []}
    for name in seen:
        real = getattr(ppo_loop, name)
        monkeypatch.setattr(ppo_loop, name, lambda *a, real=real, name=name: seen[name].append(a) or real(*a))
    made = policy()
    torch.nn.init.normal_(made.value.weight)
    config = PPOConfig(iterations=1, batch_size=32, minibatches=1, beta=0.0, lam=1.0)
    [(rollout, _)] = ppo(made, first_is_four, prompts, config, max_new=6, eos_id=EOS, pad_id=PAD)
    scores, mask = first_is_four(rollout.answers), rollout.answers.mask
    returns = scores.unsqueeze(1).expand(mask.shape)[mask]  # lambda 1, gamma 1, no KL: what came, at every token
    raw = returns - rollout.values[mask]
    [(_, _, advantages, of_policy, _)], [(_, of_value, same_mask)] = seen["policy_loss"], seen["value_loss"]
    white = (raw - raw.mean()) / raw.std(correction=0)
    close(of_value[same_mask].sort().values, returns.sort().values, "returns are made before whitening", atol=1e-5)
    close(advantages[of_policy].sort().values, white.sort().values, "the policy learns whitened ones", atol=1e-4)


def test_the_value_head_learns_to_foresee():
    """What the first token will be cannot be foreseen, but behind it all is known."""
    made = policy()
    before = made.value.weight.clone()
    measured = run(made, first_is_four, lr=0.0, iterations=80)
    assert not torch.equal(made.value.weight, before), "the value head is not trained"
    late = sum(line["val/explained_variance"] for line in measured[-40:]) / 40
    assert late > 0.2, f"the value head should explain what is known, explained variance came {late:.2f}"


def test_an_update_that_diverges():
    with pytest.raises(UserError, match="the update of PPO diverges"):
        run(policy(), first_is_four, beta=float("inf"))


def test_the_reference_stays_and_the_policy_leaves_it(monkeypatch):
    from rlhf import ppo_loop

    kept, real = [], ppo_loop.frozen_copy
    monkeypatch.setattr(ppo_loop, "frozen_copy", lambda model: kept.append(real(model)) or kept[0])
    made = policy()
    before = {name: p.clone() for name, p in made.model.state_dict().items()}
    measured = run(made, first_is_four, iterations=8)
    for name, p in kept[0].state_dict().items():
        same(p, before[name], f"{name} of the reference was trained")
    ours = {p.data_ptr() for p in made.parameters()}
    assert not ours & {p.data_ptr() for p in kept[0].parameters()}, "reference and policy share memory"
    changed = {name for name, p in made.model.state_dict().items() if not torch.equal(p, before[name])}
    equal(changed, set(before), "every weight of the policy is trained")
    assert measured[-1]["objective/kl"] > 0.1, "after training the KL is positive"


def test_beta_holds_the_policy_back():
    free, held = (run(policy(), first_is_four, beta=beta)[-1]["objective/kl"] for beta in (0.0, 2.0))
    assert held < 0.2 * free, f"expected a small KL at beta = 2, came {held:.3f} beside {free:.3f} at beta = 0"


def test_the_stop_action_gets_a_gradient():
    """Reward short answers: that can only be learned where EOS itself is in the loss."""
    measured = run(policy(), lambda answers: -answers.lengths.float())
    assert measured[-1]["val/length"] < 1.2, f"expected answers of one token, came {measured[-1]['val/length']}"
    measured = run(policy(), lambda answers: answers.lengths.float())
    assert measured[-1]["val/length"] > 5.8, f"expected answers of six tokens, came {measured[-1]['val/length']}"


def test_the_score_sees_the_answer_and_its_question():
    seen = []

    def score(answers):
        seen.append(answers)
        return first_is_four(answers)

    run(policy(), score, iterations=1)
    for ids, start, n in zip(seen[0].ids.tolist(), seen[0].starts.tolist(), seen[0].lengths.tolist()):
        equal(ids[:start] in PROMPTS, True, "a row begins with its question")
        equal(EOS in ids[start : start + n - 1], False, "EOS is the last token of an answer")


def test_a_seed_repeats_a_run():
    def once(seed: int):
        torch.manual_seed(5)
        lines = run(policy(), first_is_four, iterations=3, seed=seed)
        return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in lines]

    equal(once(1), once(1), "the same seed, the same figures")
    assert once(1) != once(2), "another seed"


def test_the_figures_belong_together():
    for line in run(policy(), first_is_four, iterations=3, beta=0.3):
        reward, score, rest, kl = (torch.tensor(line[f"objective/{name}"]) for name in (
            "rlhf_reward", "scores", "non_score_reward", "kl"))
        close(reward, score + rest, "they add up")
        close(rest, -0.3 * kl, "- beta x KL")
        assert 0 < line["policy/entropy_avg"] <= torch.log(torch.tensor(8.0)), "entropy of a vocabulary of 8"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number(bad):
    def score(answers):
        return torch.where(torch.arange(len(answers.ids)) == 3, bad, 1.0)

    with pytest.raises(UserError, match="the reward of 1 of 64 answers is NaN or infinite"):
        run(policy(), score)


def test_a_first_batch_without_any_end():
    made = policy()
    real = made.model.head.forward
    made.model.head.forward = lambda states: real(states).index_fill(-1, torch.tensor([EOS]), -1e9)
    with pytest.raises(UserError, match="none of 64 answers came to its end within 6 tokens"):
        run(made, first_is_four)


def test_iterations_can_be_stopped_at_any_time():
    config = PPOConfig(iterations=100, batch_size=8)
    equal(len(list(islice(ppo(policy(), first_is_four, prompts, config, 6, EOS, PAD), 2))), 2, "it is a generator")
