"""Pairs, the loss of Bradley and Terry, and a reward model that reads the right place."""

import math

import pytest
import torch

from common.command import UserError
from minigpt import GPT, GPTConfig
from rlhf import language
from rlhf.answers import Answers, lay_out
from rlhf.comparisons import draw_pairs
from rlhf.epochs import Epochs
from rlhf.preferences import PairBatches, Pairs, agreement, compare, pair_loss, preference_loss
from rlhf.scorer import RewardModel
from tests.explain import close, equal, same

QUESTIONS = [[5], [6], [5, 7]]
FIRST, SECOND = [[2, 1], [3, 3, 1], [4, 1]], [[3, 1], [2, 1], [2, 2, 2, 1]]


def scores_by(gold: dict[int, float]):
    """A gold score that reads the first token of an answer."""
    return lambda answers: torch.tensor([gold[token] for token in answers.tokens[:, 0].tolist()])


def compared(gold: dict[int, float], seed: int = 0) -> Pairs:
    return compare(QUESTIONS, FIRST, SECOND, scores_by(gold), 0, torch.Generator().manual_seed(seed))


def model(v: int = 9) -> RewardModel:
    made = RewardModel(GPT(GPTConfig(v, 16, 2, 2, max_len=32, dropout=0.0, eos_id=1)))
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return made.eval()


def test_the_better_one_stands_first():
    pairs = compared({2: 100.0, 3: 0.0, 4: -100.0})
    first_tokens = pairs.answers.tokens[:, 0].tolist()
    equal(first_tokens, [2, 3, 2, 3, 2, 4], "preferred, other, preferred, other ...")
    equal(pairs.answers.starts.tolist(), [1, 1, 1, 1, 2, 2], "both stand behind their own question")
    close(pairs.p, torch.ones(3), "they are sure")
    equal(pairs.ceiling(), 1.0, "and can be foreseen")


def test_the_person_is_as_unsure_as_bradley_and_terry_say():
    n, gap = 20_000, 0.8
    pairs = compare([[5]] * n, [[2, 1]] * n, [[3, 1]] * n, scores_by({2: gap, 3: 0.0}), 0,
                    torch.Generator().manual_seed(1))
    p = 1 / (1 + math.exp(-gap))
    share = (pairs.answers.tokens[0::2, 0] == 2).float().mean().item()
    assert abs(share - p) < 0.01, f"P(first preferred) = sigmoid(gap) = {p:.3f}, came {share:.3f}"
    close(torch.tensor(pairs.ceiling()), torch.tensor(p), "the mean of max(p, 1 - p)")
    close(pairs.p.sort().values.unique(), torch.tensor([1 - p, p]), "p belongs to the one that was preferred")


def test_two_equal_answers_are_refused():
    with pytest.raises(UserError, match="pair 1: both answers are the same"):
        compare([[5], [6]], [[2, 1], [3, 1]], [[3, 1], [3, 1]], scores_by({2: 0.0, 3: 0.0}), 0, torch.Generator())


def test_the_loss_by_hand():
    scores = torch.tensor([2.0, 2.0, 3.0, 1.0, 0.0, 1.0])
    expected = torch.tensor([math.log(2), math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))])
    close(preference_loss(scores), expected, "-log sigmoid(preferred - other); log 2 where they are equal")
    close(preference_loss(scores + 17.0), expected, "a constant added to all scores changes nothing")
    equal(preference_loss(torch.tensor([-300.0, 300.0])).isfinite().all().item(), True, "log of a sigmoid overflows")


def test_planted_scores_are_recovered():
    """Comparisons alone bring back the scores that they were drawn from, up to a constant."""
    planted = torch.randn(12)
    first, second = torch.randint(12, (2, 20_000))
    wins = torch.rand(20_000) < torch.sigmoid(planted[first] - planted[second])
    order = torch.stack([torch.where(wins, first, second), torch.where(wins, second, first)], dim=1).flatten()
    scores = torch.zeros(12, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = preference_loss(scores[order]).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    gaps = scores.detach() - scores.detach().mean() - (planted - planted.mean())
    assert gaps.abs().max() < 0.15, f"largest error {gaps.abs().max():.3f}"


def test_the_score_is_read_at_the_last_real_token():
    made, pairs = model(), [([5, 6], [2, 3, 1]), ([5], [4, 1]), ([5, 6, 7], [2, 2, 2, 2, 2])]
    together = made(lay_out(pairs, 0))
    for row, (question, answer) in enumerate(pairs):
        state = made.trunk.hidden(torch.tensor([question + answer]))[0, -1]
        close(together[row], made.head(state).squeeze(), "EOS, or the last token of an answer without it", atol=1e-5)
    padded = lay_out([*pairs, ([5] * 9, [2] * 12)], 0)
    noise = Answers(torch.where(padded.ids == 0, 8, padded.ids), padded.starts, padded.mask)
    for answers in (padded, noise):
        close(made(answers)[:3], together, "padding, or what stands in it, changed a score", atol=1e-5)


def test_scores_get_a_zero_and_a_unit():
    made, answers = model(), lay_out([([5], [token, other, 1]) for token in range(2, 9) for other in range(2, 9)], 0)
    before = made(answers).detach()
    for _ in range(2):  # the second time changes nothing
        made.normalise(answers)
        after = made(answers).detach()
        close(after.mean(), torch.tensor(0.0), "mean 0 on these answers", atol=1e-5)
        close(after.std(), torch.tensor(1.0), "standard deviation 1", atol=1e-5)
        close(after, (before - before.mean()) / before.std(), "the order and the gaps stay", atol=1e-4)
    equal({name for name, _ in made.named_buffers()}, {"mean", "std"}, "kept with the weights")
    torch.nn.init.zeros_(made.head.weight)
    with pytest.raises(UserError, match="the same score"):
        made.normalise(answers)


def test_the_head_begins_small():
    head = RewardModel(GPT(GPTConfig(9, 400, 1, 2, max_len=8, eos_id=1))).head
    assert abs(head.weight.std().item() * math.sqrt(401) - 1) < 0.15, "N(0, 1 / (d + 1))"
    same(head.bias, torch.zeros(1), "bias 0")


def test_what_is_measured():
    pairs = compared({2: 1.0, 3: 0.0, 4: -1.0}, seed=3)
    truth = scores_by({2: 1.0, 3: 0.0, 4: -1.0})
    came = agreement(truth, pairs)
    close(torch.tensor(came["true_order"]), torch.tensor(1.0), "who knows the gold score orders all pairs rightly")
    close(torch.tensor(came["accuracy"]), (pairs.p > 0.5).float().mean(), "and agrees where the person was not odd")
    close(torch.tensor(came["held_out_loss"]), preference_loss(truth(pairs.answers)).mean(), "mean loss of a pair")
    equal(list(came)[0], "held_out_loss", "the trainer keeps the weights whose first value is smallest")


def test_the_loss_of_a_batch():
    made, pairs = model(), compared({2: 1.0, 3: 0.0, 4: -1.0})
    batch = PairBatches(pairs, 2, seed=0)(0)
    total, count = pair_loss(made, batch)["loss"]
    scores = made(Answers(**batch))
    close(total, -torch.log(torch.sigmoid(scores[0] - scores[1])) - torch.log(torch.sigmoid(scores[2] - scores[3])),
          "summed over the pairs")
    equal(count, 2, "pairs, not answers")


def test_pairs_of_a_model():
    torch.manual_seed(0)
    sft = GPT(GPTConfig(len(language.WORDS), 16, 1, 2, max_len=27, dropout=0.0, eos_id=language.EOS_ID))
    one, again, other = (draw_pairs(sft, 60, *seed) for seed in ((0, 0), (0, 0), (0, 1)))
    same(again.answers.ids, one.answers.ids, "a seed repeats its pairs")
    assert one.answers.ids.shape != other.answers.ids.shape or not one.answers.ids.equal(other.answers.ids)
    equal(len(one.answers.ids), 120, "two answers a pair")
    same(one.answers.ids[0::2, :3], one.answers.ids[1::2, :3], "to the same question")
    g = language.gold_of(one.answers)
    close(one.p, torch.sigmoid(g[0::2] - g[1::2]), "the person judges by the gold score")


def test_epochs():
    made = Epochs(10, 3, seed=1)
    for epoch in range(4):
        rows = torch.cat([made(3 * epoch + i) for i in range(3)]).tolist()
        equal(len(set(rows)), 9, "no row twice in an epoch, and all but what makes no full batch")
    same(made(7), Epochs(10, 3, seed=1)(7), "batch t depends on the seed and t alone")
    assert not torch.equal(torch.cat([made(0), made(1)]), torch.cat([made(3), made(4)])), "another order each epoch"
    equal(len(Epochs(2, 64, seed=0)(0)), 2, "a batch is never larger than the data")
