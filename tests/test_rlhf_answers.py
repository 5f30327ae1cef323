"""Where an answer stands in its row: everything that can be wrong by one place."""

import pytest
import torch

from common.command import UserError
from minigpt import GPT, GPTConfig
from rlhf.answers import Answers, check_ends, lay_out, log_probs
from tests.explain import close, equal, same

PAIRS = [([5, 6, 7], [8, 9, 1]), ([5], [4, 4, 4, 4, 1]), ([3, 2], [1]), ([9, 9, 9, 9], [0, 0])]  # 1 = EOS, 0 = PAD


def gpt(v: int = 11, max_len: int = 16) -> GPT:
    """A random GPT that is far from guessing, so that a wrong place shows."""
    model = GPT(GPTConfig(v, 16, 2, 2, max_len=max_len, dropout=0.0, eos_id=1)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


def slow_log_probs(model: GPT, question: list[int], answer: list[int]) -> torch.Tensor:
    """One token after the other, each row by itself, without padding."""
    return torch.stack([model(torch.tensor([question + answer[:t]]))[0, -1].log_softmax(-1)[token]
                        for t, token in enumerate(answer)])


def test_the_log_probability_of_every_token_of_an_answer():
    model, answers = gpt(), lay_out(PAIRS, 0)
    came = log_probs(model, answers)
    for row, (question, answer) in enumerate(PAIRS):
        close(came[row, : len(answer)], slow_log_probs(model, question, answer),
              "token t is predicted by the state one place before it: not shifted, or shifted twice", atol=1e-5)
        same(came[row, len(answer) :], torch.zeros(5 - len(answer)), "behind the answer there is nothing")


def test_padding_and_neighbours_change_nothing():
    model, alone = gpt(), [lay_out([pair], 0) for pair in PAIRS]
    together = lay_out(PAIRS, 0)
    random_padding = Answers(torch.where(together.ids == 0, torch.randint(11, together.ids.shape), together.ids),
                             together.starts, together.mask)
    random_padding.ids[3] = together.ids[3]  # its zeros are the answer itself
    for answers in (together, random_padding, together[torch.arange(4)]):
        came, hidden = log_probs(model, answers), model.hidden(answers.ids)
        for row, one in enumerate(alone):
            n = int(one.lengths)
            close(came[row, :n], log_probs(model, one)[0], "a log-probability depends on padding", atol=1e-5)
            close(answers.last_state(hidden)[row], one.last_state(model.hidden(one.ids))[0],
                  "the state at the last real token depends on padding", atol=1e-5)


def test_the_last_state_is_that_of_the_last_real_token():
    answers = lay_out(PAIRS, 0)
    hidden = torch.arange(4 * answers.ids.shape[1]).float().view(4, -1, 1)
    width = answers.ids.shape[1]
    expected = [row * width + len(q) + len(a) - 1 for row, (q, a) in enumerate(PAIRS)]
    equal(answers.last_state(hidden).squeeze(1).tolist(), [float(place) for place in expected],
          "EOS, or the last token where there is no EOS: not the padding behind it, not the token before it")


def test_what_an_answer_is_made_of():
    answers = lay_out(PAIRS, 0)
    equal(answers.lengths.tolist(), [3, 5, 1, 2], "EOS counts; so does a PAD that stands in an answer")
    equal(answers.ended(1).tolist(), [True, True, True, False], "who came to EOS")
    equal([row[mask].tolist() for row, mask in zip(answers.tokens, answers.mask)], [a for _, a in PAIRS], "the tokens")


def test_rows_are_taken_out_without_empty_columns():
    some = lay_out(PAIRS, 0)[torch.tensor([2, 0])]
    equal(some.ids.tolist(), [[3, 2, 1, 0, 0, 0], [5, 6, 7, 8, 9, 1]], "those rows, in that order, as wide as needed")
    equal(some.mask.int().tolist(), [[1, 0, 0], [1, 1, 1]], "their masks")


@pytest.mark.parametrize(("pair", "word"), [(([], [1]), "prompt"), (([1], []), "answer")])
def test_an_empty_prompt_or_answer_is_refused(pair, word):
    with pytest.raises(UserError, match=f"the {word} is empty"):
        lay_out([([2], [3]), pair], 0)


def test_answers_have_to_be_able_to_end():
    check_ends(1, 0, 5)
    for eos in (None, 5, -1):
        with pytest.raises(UserError, match="no EOS"):
            check_ends(eos, 0, 5)
    with pytest.raises(UserError, match="PAD and EOS are one token"):
        check_ends(3, 3, 5)
