"""Batches that hold both tasks, and the loss of both."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.batches import TokenizedText
from common.command import UserError
from common.tokenizer import SPECIAL
from minibert import BertConfig, BertForPreTraining
from minibert.objective import Examples, pretraining_loss
from tests import tiny
from tests.explain import close, equal, same

MAX_LEN, ROWS = 20, 6


def examples(seed=0, **changes) -> Examples:
    return Examples(**{"text": tiny.tokens(), "tokenizer": tiny.tokenizer(), "max_len": MAX_LEN, "batch_size": ROWS,
                       "mask_rate": 0.15, "seed": seed} | changes)


@pytest.fixture
def model() -> BertForPreTraining:
    torch.manual_seed(0)
    return BertForPreTraining(BertConfig(vocab_size=tiny.V, d_model=24, n_layers=2, n_heads=3, d_ff=40,
                                         max_len=MAX_LEN)).eval()


def same_batch(came: dict, expected: dict, mistake: str) -> None:
    for name, tensor in expected.items():
        assert torch.equal(came[name], tensor), f"{name!r} differs; likely mistake: {mistake}"


# ---- batches


def test_a_batch_holds_both_tasks():
    batch = examples()(0)
    shape = (ROWS, batch["ids"].shape[1])
    equal({name: tuple(tensor.shape) for name, tensor in batch.items()},
          {"ids": shape, "segments": shape, "mask": shape, "selected": shape, "answers": shape, "is_random": (ROWS,)},
          "one row a pair; labels and masks ride along")


def test_answers_are_the_text_before_masking():
    for t in range(5):
        batch = examples(mask_rate=0.5)(t)
        shown = ~batch["selected"]
        same(batch["ids"][shown], batch["answers"][shown], "what is not asked for is shown as it is")
        hidden = batch["ids"] == tiny.tokenizer().mask_id
        assert hidden.any() and not (hidden & shown).any(), "[MASK] stands at selected places only"


def test_special_tokens_are_never_asked_for():
    for t in range(20):
        batch = examples(mask_rate=1.0)(t)
        special = batch["answers"] < len(SPECIAL)
        same(batch["selected"], ~special, "[CLS], [SEP] and [PAD] are not maskable, all else is")


def test_random_pieces_are_ordinary_ones():
    drawn, made = set(), examples(mask_rate=1.0)
    for t in range(150):
        batch = made(t)
        drawn |= set(batch["ids"][batch["selected"]].tolist())
    equal(sorted(i for i in drawn if i < len(SPECIAL)), [tiny.tokenizer().mask_id],
          "of the special tokens only [MASK] may be put in; random pieces are drawn behind them")
    assert max(drawn) < tiny.V, f"expected ids below {tiny.V}, came {max(drawn)}"
    assert len(drawn) > 0.9 * (tiny.V - len(SPECIAL)), f"expected nearly all pieces to be drawn, came {len(drawn)}"


def test_the_mask_is_true_at_real_tokens():
    batch = examples(text=tiny.tokens(9))(0)
    same(batch["mask"], batch["answers"] != tiny.tokenizer().pad_id, "True = a real token")


def test_a_batch_is_a_pure_function_of_seed_and_number():
    straight = [examples(seed=3)(t) for t in range(3)]
    one = examples(seed=3)
    last = 2 * one.batches_per_epoch + 1
    for t in (last, 0, 2, 1, last, 2):  # epochs back and forth
        came = one(t)
        torch.manual_seed(t)  # global random numbers must play no part
        same_batch(came, examples(seed=3)(t), f"batch {t} depends on what was asked before")
        if t < 3:
            same_batch(came, straight[t], f"batch {t} depends on what was asked before")


def test_other_seeds_give_other_batches():
    a, b = examples(seed=1)(0), examples(seed=2)(0)
    assert a["answers"].tolist() != b["answers"].tolist(), "the same rows in the same order for two seeds"


def rows_of_an_epoch(examples: Examples, epoch: int) -> list[tuple]:
    n = examples.batches_per_epoch
    batches = [examples(t) for t in range(epoch * n, (epoch + 1) * n)]
    return [(tuple(answers[mask].tolist()), tuple(selected[mask].tolist()), bool(random)) for batch in batches
            for answers, selected, mask, random in zip(batch["answers"], batch["selected"], batch["mask"],
                                                       batch["is_random"], strict=True)]


def test_an_epoch_reads_each_window_once():
    made = examples()
    equal(made.batches_per_epoch, len(made.spans) // ROWS, "as many batches as are full")
    starts = []
    for t in range(made.batches_per_epoch):
        made(t)
    starts = made._pairs.a[made._order[: made.batches_per_epoch * ROWS], 0].tolist()
    equal(len(set(starts)), made.batches_per_epoch * ROWS, "a shuffle is a permutation, not draws with repetition")
    assert starts != sorted(starts), "an epoch should be shuffled"


def test_masks_are_fresh_in_every_epoch():
    """The same true pair, met again in another epoch, is asked at other places."""
    made = examples(mask_rate=0.3)
    first = {row: selected for row, selected, _ in rows_of_an_epoch(made, 0)}
    again = [(first[row], selected) for row, selected, _ in rows_of_an_epoch(made, 1) if row in first]
    assert len(again) >= 5, f"expected some pairs to come back, came {len(again)}: the test needs a larger text"
    unchanged = sum(a == b for a, b in again)
    assert unchanged == 0, f"{unchanged} of {len(again)} pairs have the masks of the epoch before: masks are drawn once"


def test_a_batch_draws_other_masks_than_its_counterpart_of_the_last_epoch():
    made = examples(mask_rate=0.5)
    a, b = (made(epoch * made.batches_per_epoch)["selected"] for epoch in (0, 1))
    differ = (a[:, : MAX_LEN - 4] != b[:, : MAX_LEN - 4]).float().mean().item()
    assert differ > 0.3, f"expected half of the places to differ, came {differ:.0%}: the epoch must be part of the seed"


def test_pairs_are_fresh_in_every_epoch():
    made = examples()
    a, b = ({row for row, _, _ in rows_of_an_epoch(made, epoch)} for epoch in (0, 1))
    assert len(a & b) < 0.5 * len(a), "an epoch should cut, pair and shuffle anew"


def test_both_classes_are_in_an_epoch():
    random = [random for _, _, random in rows_of_an_epoch(examples(), 0)]
    off = abs(sum(random) - len(random) / 2)
    assert off <= ROWS, f"expected half of the rows random, came {sum(random)} of {len(random)}"


def test_rows_are_no_longer_than_the_model_reads():
    for max_len in (8, 13, 20):
        widths = [examples(max_len=max_len)(t)["ids"].shape[1] for t in range(10)]
        equal(max(widths), max_len, "[CLS] and two [SEP] take three places of max_len")


def test_a_text_too_short_for_one_batch_is_a_user_error():
    with pytest.raises(UserError, match="too short"):
        examples(text=tiny.tokens(2), batch_size=500)


def test_one_document_is_a_user_error():
    text = TokenizedText(np.arange(7, 207), [200])
    with pytest.raises(UserError, match="two documents"):
        examples(text=text)(0)


# ---- the loss


class Fixed(torch.nn.Module):
    """A "model" whose logits are given: hidden states are places in a table of logits."""

    def __init__(self, mlm, nsp):
        super().__init__()
        self.mlm, self.nsp = mlm, nsp

    def hidden(self, ids, segments, mask, only):
        return self.mlm[only]

    def head(self, hidden):
        return hidden

    def next_sentence(self, hidden):
        return self.nsp


LN = math.log


def test_sums_and_counts_by_hand():
    # pieces 0, 1, 2; logits are logs of weights, so a softmax is read off
    mlm = torch.tensor([[[0, LN(2), 0], [9.0, 9, 9], [LN(6), 0, 0]], [[9.0, 9, 9], [0, 0, LN(3)], [9.0, 9, 9]]])
    nsp = torch.tensor([[LN(3), 0], [0.0, 0]])
    batch = {"ids": torch.zeros(2, 3), "segments": None, "mask": None, "is_random": torch.tensor([0, 1]),
             "selected": torch.tensor([[True, False, True], [False, True, False]]),
             "answers": torch.tensor([[1, 0, 0], [2, 0, 2]])}
    (mlm_sum, mlm_count), (nsp_sum, nsp_count) = pretraining_loss(Fixed(mlm, nsp), batch).values()
    # probabilities of the answers: 2/4, 6/8, 1/5; of the classes: 3/4, 1/2
    close(mlm_sum, torch.tensor(LN(2) + LN(8 / 6) + LN(5)), "the sum over selected tokens, in nats")
    close(nsp_sum, torch.tensor(LN(4 / 3) + LN(2)), "the sum over pairs; class 0 counts as well")
    equal((mlm_count, nsp_count), (3, 2), "each loss has its own count")


@pytest.mark.parametrize("label", [0, 1])
def test_each_class_of_the_pairs_gives_loss_and_gradient(model, label):
    batch = examples()(0)
    batch["is_random"] = torch.full((ROWS,), label)
    total, count = pretraining_loss(model, batch)["nsp"]
    total.backward()
    equal(count, ROWS, f"pairs of class {label} count")
    assert total.item() > ROWS * 0.1, f"class {label} gives no loss: it is not an ignore_index (BERT-pytorch issue 49)"
    assert model.nsp.weight.grad.abs().max() > 0, f"class {label} gives no gradient"


def test_nothing_at_unselected_places_changes_the_loss(model):
    batch = examples()(0)
    expected = pretraining_loss(model, batch)["mlm"][0]
    other = dict(batch, answers=torch.where(batch["selected"], batch["answers"], 9))
    same(pretraining_loss(model, other)["mlm"][0], expected, "an answer that is not asked for was read")

    class Disturbed(BertForPreTraining):
        def hidden(self, *arguments, only):
            hidden = torch.where(batch["selected"][..., None], super().hidden(*arguments), 1e3)
            return hidden[only]

    model.__class__ = Disturbed
    same(pretraining_loss(model, batch)["mlm"][0], expected, "logits at unselected places were read")


def test_projecting_the_selected_places_alone_equals_the_full_projection(model):
    batch = examples(mask_rate=0.3)(1)
    total, count = pretraining_loss(model, batch)["mlm"]
    came = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    logits, _ = model(batch["ids"], batch["segments"], batch["mask"])  # (B, T, V)
    labels = torch.where(batch["selected"], batch["answers"], -100)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    close(total, expected, "select first, project then: the same numbers for less work")
    equal(count, int((labels != -100).sum()), "how many tokens are asked for")
    gradients = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    for (name, _), a, b in zip(model.named_parameters(), came, gradients, strict=True):
        assert (a is None) == (b is None), f"{name}: only one of the two gives a gradient"
        if a is not None:
            close(a, b, f"gradient of {name}", atol=2e-5)


def test_padding_of_the_batch_changes_no_loss(model):
    batch = examples()(0)
    pads = {"ids": 0, "segments": 0, "mask": False, "selected": False, "answers": 0}
    shorter = {name: tensor if name not in pads else tensor[:2] for name, tensor in batch.items()}
    shorter["is_random"] = batch["is_random"][:2]
    plain = {name: tensor if tensor.ndim == 1 else tensor[:, : MAX_LEN - 3] for name, tensor in shorter.items()}
    padded = dict(plain, **{name: F.pad(plain[name], (0, 3), value=pad) for name, pad in pads.items()})
    for name in ("mlm", "nsp"):
        close(pretraining_loss(model, padded)[name][0], pretraining_loss(model, plain)[name][0],
              f"{name}: three [PAD]s more at the end of each row; is the mask handed to the model?", atol=1e-5)


def test_segments_reach_the_model(model):
    batch = examples()(0)
    other = dict(batch, segments=torch.zeros_like(batch["segments"]))
    assert pretraining_loss(model, batch)["mlm"][0] != pretraining_loss(model, other)["mlm"][0], "segments are ignored"


def test_the_first_losses_are_those_of_guessing(model):
    totals = {"mlm": [0.0, 0], "nsp": [0.0, 0]}
    for t in range(20):
        for name, (total, count) in pretraining_loss(model, examples()(t)).items():
            totals[name] = [totals[name][0] + total.item(), totals[name][1] + count]
    mlm, nsp = (total / count for total, count in totals.values())
    assert abs(mlm - LN(tiny.V)) < 0.1, f"expected ln V = {LN(tiny.V):.3f}, came {mlm:.3f}: initial weights too large?"
    assert abs(nsp - LN(2)) < 0.05, f"expected ln 2 = {LN(2):.3f}, came {nsp:.3f}: labels or scale are wrong"
