"""The sampler: what it says of its tokens is what a full pass says, and what it draws is what the model believes."""

import pytest
import torch

from common.cache import KVCache
from common.command import UserError
from minigpt import GPT, GPTConfig, Llama, LlamaConfig
from rlhf.answers import log_probs
from rlhf.optimizers import for_ppo
from rlhf.policy import Policy, entropy, frozen_copy
from rlhf.rollout import sample
from tests.explain import close, equal, same

V, EOS, PAD = 9, 1, 0
RAGGED = [[2, 3, 4], [5], [6, 7], [2, 3, 4, 5, 6], [8]] * 8
EVEN = [[2, 3, 4]] * 40


def policy(model=None, spread: float = 0.4) -> Policy:
    """A random policy that is far from guessing, with a value head that says something."""
    made = Policy(model or GPT(GPTConfig(V, 16, 2, 2, max_len=20, dropout=0.1, eos_id=EOS)))
    for p in made.parameters():
        torch.nn.init.normal_(p, std=spread)
    return made.eval()


def llama() -> Llama:
    return Llama(LlamaConfig(V, 16, 2, 4, n_kv_heads=2, d_ff=24, max_len=20, bos_id=None, eos_id=EOS))


@pytest.mark.parametrize("model", [None, llama], ids=["GPT", "Llama"])
@pytest.mark.parametrize("prompts", [RAGGED, EVEN], ids=["ragged", "even"])
def test_the_sampler_says_what_a_full_pass_says(prompts, model):
    made = policy(model and model())
    came = sample(made, prompts, 12, EOS, PAD)
    with torch.no_grad():
        logp, values, entropies = made(came.answers)
    assert came.answers.lengths.unique().numel() > 3, "rows should end at different times, or nothing is tested"
    close(came.logp, logp, "log-probabilities with the cache, early stop and dropped rows", rtol=0, atol=1e-4)
    close(came.values, values, "values of the states that the tokens were drawn from", rtol=0, atol=1e-4)
    ratio = torch.exp(logp - came.logp)[came.answers.mask]
    close(ratio, torch.ones_like(ratio), "the ratio in the first minibatch", rtol=0, atol=1e-5)
    close(log_probs(made.model, came.answers), logp, "the two ways to a log-probability")
    assert not came.logp.requires_grad and not came.values.requires_grad, "what is old gets no gradient"


def test_against_a_slow_pass_without_cache_or_padding():
    made = policy()
    came = sample(made, RAGGED[:5], 6, EOS, PAD)
    for row, prompt in enumerate(RAGGED[:5]):
        n = int(came.answers.lengths[row])
        ids = came.answers.ids[row, : len(prompt) + n]
        equal(ids[: len(prompt)].tolist(), prompt, "the row begins with its prompt")
        hidden = made.model.hidden(ids.unsqueeze(0))[0, len(prompt) - 1 : -1]
        log_p = made.model.head(hidden).log_softmax(-1)
        of_tokens = log_p.gather(1, ids[len(prompt) :, None]).squeeze(1)
        close(came.logp[row, :n], of_tokens, "log P of each token", atol=1e-5)
        close(came.values[row, :n], made.values(hidden), "V of the state before each token", atol=1e-5)


def test_an_answer_ends_with_eos_or_at_the_limit():
    came = sample(policy(), RAGGED, 5, EOS, PAD).answers
    for ids, start, n, ended in zip(came.ids, came.starts, came.lengths.tolist(), came.ended(EOS).tolist()):
        answer = ids[start : start + n].tolist()
        equal(EOS in answer[:-1], False, "nothing is written behind EOS")
        assert ended or n == 5, f"an answer without EOS has all {5} tokens, came {answer}"
        equal(set(ids[start + n :].tolist()) <= {PAD}, True, "padding behind the answer")
    assert 0 < came.ended(EOS).float().mean() < 1, "some end and some do not, or nothing is tested"


def test_rows_that_have_ended_leave_the_cache(monkeypatch):
    sizes, real = [], KVCache.reserve
    monkeypatch.setattr(KVCache, "reserve", lambda cache, t: sizes.append(len(cache.lengths)) or real(cache, t))
    came = sample(policy(), EVEN, 12, EOS, PAD).answers
    expected = [int((came.lengths > t).sum()) for t in range(int(came.lengths.max()))]
    equal(sizes, expected, "rows in each pass: those whose answer goes on; and no pass when all have ended")


def test_tokens_are_drawn_by_their_probabilities():
    """Chi-squared of 20,000 first tokens against the softmax; 8 degrees of freedom, 26.1 is passed once in 1,000."""
    made = policy()
    n = 20_000
    first = sample(made, [[2, 3, 4]] * n, 1, EOS, PAD).answers.tokens[:, 0]
    expected = n * made.model(torch.tensor([[2, 3, 4]]))[0, -1].softmax(-1).detach()
    chi2 = ((torch.bincount(first, minlength=V) - expected).square() / expected).sum()
    assert chi2 < 26.1, f"expected draws from the whole softmax at temperature 1, chi-squared came {chi2:.1f}"


def test_a_seed_repeats_its_answers():
    made = policy()
    one, again, other = (sample(made, RAGGED, 8, EOS, PAD, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    same(again.answers.ids, one.answers.ids, "the same seed")
    assert one.answers.ids.shape != other.answers.ids.shape or not torch.equal(one.answers.ids, other.answers.ids)


def test_dropout_is_off_while_answers_are_written():
    made = policy().train()
    came = sample(made, RAGGED, 8, EOS, PAD)
    equal(made.training, True, "and is back on afterwards")
    close(came.logp, log_probs(made.eval().model, came.answers), "dropout makes ratios other than 1", atol=1e-4)


BAD = {  # what is wrong: (prompts, max_new, eos, pad, a word of the line)
    "no EOS": (EVEN, 5, None, PAD, "no EOS"),
    "EOS out of the vocabulary": (EVEN, 5, V, PAD, "no EOS"),
    "PAD is EOS": (EVEN, 5, EOS, EOS, "PAD and EOS are one token"),
    "an empty prompt": ([[2], []], 5, EOS, PAD, "the prompt is empty"),
    "a token that is none": ([[2, V]], 5, EOS, PAD, f"token {V}"),
    "too long": (EVEN, 18, EOS, PAD, "do not fit into the context of 20"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(case):
    *given, word = BAD[case]
    with pytest.raises(UserError, match=word) as caught:
        sample(policy(), *given)
    assert "\n" not in str(caught.value)


def test_the_reference_is_a_copy_without_gradient():
    made = policy()
    reference = frozen_copy(made.model)
    ours = {p.data_ptr() for p in made.parameters()}
    equal([p.data_ptr() in ours or p.requires_grad for p in reference.parameters()], [False] * len(
        list(reference.parameters())), "no storage is shared, and nothing asks for a gradient")
    equal(reference.head.weight is reference.token.weight, True, "tied weights stay tied in the copy")


def test_the_value_head_begins_at_zero_and_has_its_own_rate():
    made = Policy(GPT(GPTConfig(V, 16, 1, 2, max_len=20, dropout=0.0, eos_id=EOS)))
    same(made.values(torch.randn(3, 16)), torch.zeros(3), "it expects nothing yet")
    adam = for_ppo(made, lr=1e-4, value_lr=1e-3)
    equal([group["lr"] for group in adam.param_groups], [1e-4, 1e-3], "trunk, value head")
    equal({id(p) for group in adam.param_groups for p in group["params"]}, {id(p) for p in made.parameters()},
          "every weight is trained once")


def test_entropy():
    close(entropy(torch.zeros(2, 8)), torch.log(torch.full((2,), 8.0)), "ln 8 of eight equal ones")
    p = torch.tensor([0.5, 0.25, 0.25])
    close(entropy(p.log()), -(p * p.log()).sum(), "- sum p log p")
