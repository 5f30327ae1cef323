"""What a T5 learns from and is judged by: batches of pairs, the loss, the held-out figures, the counts to beat."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.command import UserError
from minit5 import T5, T5Config
from minit5.baselines import unigram
from minit5.objective import SpanBatches, collate, evaluate, held_out_pairs, pad, target_loss
from minit5.spans import count_spans, reassemble
from minit5.vocabulary import SentinelVocabulary
from tests.explain import close, equal, same

V, SENTINELS = 30, 8  # tokens in all, sentinels among them: pieces 0 to 21, of which 0 is padding and 1 the end


def vocabulary(n_pieces: int = V - SENTINELS, n_sentinels: int = SENTINELS) -> SentinelVocabulary:
    return SentinelVocabulary(SimpleNamespace(vocab_size=n_pieces, pad_id=0, eos_id=1), n_sentinels)


def t5(v: int = V, **sizes) -> T5:
    """A random T5 that is far from guessing, so that a wrong token shows."""
    model = T5(T5Config(v, d_model=16, d_head=5, d_ff=24, n_layers=1, n_heads=3, n_buckets=8, max_distance=20,
                        dropout=0.0, **sizes)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


def random_pairs(n: int) -> list[tuple[list[int], list[int]]]:
    """Inputs of 2 to 12 and targets of 3 to 9 tokens, of pieces and sentinels, each with its end."""
    def some(low: int, high: int) -> list[int]:
        return [*torch.randint(2, V, (int(torch.randint(low, high, ())),)).tolist(), 1]

    return [(some(1, 12), some(2, 9)) for _ in range(n)]


PAIRS = [([5, 29, 6, 1], [29, 7, 28, 1]), ([5, 1], [29, 7, 8, 9, 28, 1]), ([5, 6, 7, 29, 8, 1], [29, 1])]


# ---- batches


def test_a_batch_by_hand():
    came = collate([([5, 29, 6, 1], [29, 7, 8, 28, 1]), ([29, 5, 1], [29, 9, 1])], start_id=3, pad_id=0)
    expected = {"ids": [[5, 29, 6, 1], [29, 5, 1, 0]], "answers": [[29, 7, 8, 28, 1], [29, 9, 1, 0, 0]],
                "decoder_ids": [[3, 29, 7, 8, 28], [3, 29, 9, 1, 0]], "mask": [[True] * 4, [True] * 3 + [False]],
                "decoder_mask": [[True] * 5, [True] * 3 + [False] * 2]}
    equal({name: x.tolist() for name, x in came.items()}, expected,
          "the decoder reads the start token and the answers one place later: shifted once, to the right")
    equal({name: x.dtype for name, x in came.items()}, {name: torch.bool if "mask" in name else torch.long
                                                        for name in expected}, "numbers, and bool masks")


def test_padding_may_have_any_number_and_the_start_another():
    came = collate([([5, 1], [6, 1]), ([5, 6, 1], [7, 8, 1])], start_id=9, pad_id=4)
    equal((came["ids"][0].tolist(), came["answers"][0].tolist(), came["decoder_ids"][0].tolist()),
          ([5, 1, 4], [6, 1, 4], [9, 6, 1]), "pad_id behind a row, start_id before the answers")


@pytest.mark.parametrize(("pairs", "masks"), [
    ([([5, 1], [6, 7, 1]), ([8, 1], [9, 9, 1])], set()), ([([5, 1], [6, 1]), ([5, 5, 1], [6, 1])], {"mask"}),
    ([([5, 1], [6, 6, 1]), ([5, 1], [6, 1])], {"decoder_mask"}), (PAIRS, {"mask", "decoder_mask"}), (PAIRS[:1], set()),
    ([([0, 0, 1], [0, 1]), ([0, 5, 1], [0, 1])], set())])  # padding's number in a text is a token
def test_a_mask_is_there_where_rows_differ(pairs, masks):
    came = collate(pairs, 0, 0)
    equal(set(came), {"ids", "answers", "decoder_ids"} | masks, "a mask that hides nothing costs time")


def test_rows_of_any_lengths_are_padded_on_the_right():
    padded, real = pad([[7], [7, 8, 9], [7, 8]], 4)
    same(padded, torch.tensor([[7, 4, 4], [7, 8, 9], [7, 8, 4]]), "padding stands behind a row")
    same(real, torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]]).bool(), "True = a real token")


# ---- the loss


def slow_loss(model: T5, source: list[int], target: list[int]) -> torch.Tensor:
    """-log P of each token of one target, (T,); the decoder begins with token 0."""
    logits = model(torch.tensor([source]), torch.tensor([[0, *target[:-1]]]))[0]
    return F.cross_entropy(logits, torch.tensor(target), reduction="none")


@pytest.mark.parametrize("sizes", [{}, {"gated": True, "tied": False}], ids=["v1.0", "v1.1"])
@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[:1], [PAIRS[0]] * 2], ids=["ragged", "one", "equal"])
def test_the_loss_is_a_sum_over_the_tokens_of_the_targets(pairs, sizes):
    """And padding counts nothing: the same as each pair alone, in value and in gradients."""
    model = t5(**sizes)
    total, count = target_loss(model, collate(pairs, 0, 0))["loss"]
    total.backward()
    came = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    expected = sum(slow_loss(model, source, target).sum() for source, target in pairs)
    expected.backward()
    close(total, expected, "-log P(token | input, tokens before it), added up over the real tokens")
    equal(count, sum(len(target) for _, target in pairs), "sentinels and ends count, padding does not")
    for name, p in model.named_parameters():
        close(came[name], p.grad, f"{name}: padding, or the other rows, reach its gradient", rtol=1e-4, atol=1e-4)
        assert p.grad.abs().max() > 0, f"no gradient reaches {name}"


def test_what_padding_is_changes_nothing():
    model = t5()
    losses = [target_loss(model, collate(PAIRS, start_id=0, pad_id=number))["loss"] for number in (0, 1, 13)]
    for total, count in losses[1:]:
        close(total, losses[0][0], "a token that is masked is seen by nobody and is no answer")
        equal(count, losses[0][1], "the mask says what is real, not the number of the token")


def test_more_padding_changes_nothing():
    model, b = t5(), collate(PAIRS, 0, 0)
    wider = {name: F.pad(x, (0, 5), value=False if "mask" in name else 17) for name, x in b.items()}
    close(target_loss(model, wider)["loss"][0], target_loss(model, b)["loss"][0], "padding has no effect")


def test_the_whole_input_and_the_tokens_before_are_read():
    model = t5()
    with torch.no_grad():
        before = slow_loss(model, [5, 6, 7, 1], [29, 8, 9, 10, 1])
        for i in range(4):
            source = [5, 6, 7, 1]
            source[i] = 20
            after = target_loss(model, collate([(source, [29, 8, 9, 10, 1])], 0, 0))["loss"][0]
            assert (after - before.sum()).abs() > 1e-4, f"token {i} of the input has no effect on the loss"
        changed = slow_loss(model, [5, 6, 7, 1], [29, 8, 11, 10, 1])
    close(changed[:2], before[:2], "the decoder sees a token that it is to write")
    assert (changed[2:] - before[2:]).abs().min() > 1e-5, "later tokens depend on it, and its own loss as well"


# ---- batches of a text


def span_batches(n: int = 503, length: int = 20, rows: int = 4, noise=0.15, mean_span=3.0, seed=0) -> SpanBatches:
    """A text in which every token says where it stands: 2, 3, 4 ..."""
    return SpanBatches(torch.arange(2, n + 2), vocabulary(n + 2, 100), length, rows, noise, mean_span, seed)


def texts_of(made: SpanBatches, b: dict[str, torch.Tensor]) -> list[list[int]]:
    """The windows that a batch was made of."""
    return [reassemble(source, target, made.vocabulary.sentinels)
            for source, target in zip(b["ids"].tolist(), b["answers"].tolist())]


def gaps(made: SpanBatches, b: dict[str, torch.Tensor]) -> list[list[int]]:
    """The places of the sentinels in each row."""
    sentinels = made.vocabulary.sentinels
    return [[place for place, token in enumerate(row) if token in sentinels] for row in b["ids"].tolist()]


@pytest.mark.parametrize(("length", "noise", "mean_span"), [
    (20, 0.15, 3.0), (33, 0.5, 2.0), (9, 0.3, 1.0), (4, 0.15, 3.0)])
def test_each_row_is_a_window_taken_apart(length, noise, mean_span):
    made = span_batches(length=length, noise=noise, mean_span=mean_span)
    n_out, k = count_spans(length, noise, mean_span)
    sentinels = made.vocabulary.sentinels
    for t in range(30):
        b = made(t)
        equal({name: tuple(x.shape) for name, x in b.items()},
              {"ids": (4, length - n_out + k + 1), "answers": (4, n_out + k + 2), "decoder_ids": (4, n_out + k + 2)},
              "all windows are of one length, so inputs are, targets are, and no mask is needed")
        for text in texts_of(made, b):
            equal(text, list(range(text[0], text[0] + length)), "input and target make the window again")
        for source, target in zip(b["ids"].tolist(), b["answers"].tolist()):
            equal([i for i in source if i in sentinels], sentinels[:k], "sentinels of the vocabulary, in order")
            equal(target[-2:], [sentinels[k], 1], "the last sentinel and the end")
        equal(b["decoder_ids"][:, 0].tolist(), [0] * 4, "the decoder begins with padding, as published T5s do")
        same(b["decoder_ids"][:, 1:], b["answers"][:, :-1], "and reads the answers one place later")


def test_every_token_is_read_about_once_an_epoch():
    made = span_batches()
    each, n, epochs = made.windows.batches_per_epoch, 503, 40
    times = np.zeros(n + 2, dtype=int)
    for epoch in range(epochs):
        read = [i for t in range(epoch * each, (epoch + 1) * each) for text in texts_of(made, made(t)) for i in text]
        equal(len(read), len(set(read)), f"epoch {epoch}: a token was read twice")
        times[read] += 1
    assert times[22:-20].min() > 0.75 * epochs, f"a token was read {times[22:-20].min()} times in {epochs} epochs"
    assert times[2:].min() > 0, "the first and the last tokens are read as well, at some offsets"
    share = times.sum() / epochs / n
    assert 0.9 < share <= 1, f"expected nearly the whole text in an epoch, came {share:.0%}"


def test_spans_are_drawn_anew():
    made = span_batches(n=83, rows=3)
    places = [tuple(row) for t in range(60) for row in gaps(made, made(t))]
    assert len(set(places[:3])) > 1 or len(set(places[3:6])) > 1, "the rows of a batch have spans of their own"
    assert len(set(places)) > 12, f"a span of 3 of 20 tokens has 18 places; 180 rows took {len(set(places))}"


def same_batch(came: dict, expected: dict, mistake: str) -> None:
    equal(list(came), list(expected), mistake)
    for name in expected:
        same(came[name], expected[name], mistake)


def test_a_batch_is_a_pure_function_of_seed_and_number():
    one, each = span_batches(seed=3), span_batches().windows.batches_per_epoch
    for t in (2 * each + 1, 0, each, each - 1, 2 * each + 1, 2, 0):  # epochs back and forth
        torch.manual_seed(t)  # global random numbers must play no part
        np.random.seed(t)
        same_batch(one(t), span_batches(seed=3)(t), f"batch {t} depends on what was asked before: resuming differs")


def test_another_seed_gives_other_windows_and_other_spans():
    one, other = span_batches(seed=1), span_batches(seed=2)
    for what, of in (("windows", texts_of), ("spans", gaps)):
        a, b = ([of(made, made(t)) for t in range(4)] for made in (one, other))
        assert a != b, f"the same {what} for two seeds"


def test_spans_are_drawn_with_numbers_of_their_own():
    """Not with those that the windows are drawn with: then the offset would say where the first gap is."""
    drawn = []
    for seed in range(300):
        made = span_batches(n=50, rows=1, seed=seed)
        b = made(0)
        drawn.append((texts_of(made, b)[0][0] % 20, gaps(made, b)[0][0]))
    r = np.corrcoef(np.array(drawn).T)[0, 1]
    assert abs(r) < 5 / 300**0.5, f"offset of the windows and place of the gap: expected no correlation, came {r:.2f}"


def test_a_text_that_is_too_short_and_too_few_sentinels():
    def refused(make) -> str:
        with pytest.raises(UserError) as caught:
            make()
        assert "\n" not in str(caught.value), f"expected one line, came {caught.value}"
        return str(caught.value)

    assert "50 tokens" in refused(lambda: span_batches(n=50, length=20, rows=4)), "how long the text is"
    assert "3 tokens" in refused(lambda: span_batches(length=3)(0)), "a window of three has no room for a span of three"
    few = SpanBatches(torch.arange(2, 500), vocabulary(500, 2), 40, 2, 0.15, 3.0, 0)
    assert "has 2" in refused(lambda: few(0)), "two spans and the end take three sentinels"
    none = SpanBatches(torch.arange(2, 500), vocabulary(500, 0), 40, 2, 0.15, 3.0, 0)
    assert "has none" in refused(lambda: none(0)), "a vocabulary without sentinels"


# ---- held-out text


def held_out(n: int, length: int = 20) -> list[tuple[list[int], list[int]]]:
    return held_out_pairs(torch.arange(2, n + 2), vocabulary(n + 2, 100), length)


@pytest.mark.parametrize(("n", "asked"), [(4, 4), (20, 20), (24, 24), (39, 39), (200, 200), (217, 217),
                                          (1, 0), (3, 0), (21, 20), (23, 20), (43, 40)])
def test_the_held_out_text_is_asked_for_once(n, asked):
    sentinels = vocabulary(n + 2, 100).sentinels
    texts = [reassemble(source, target, sentinels) for source, target in held_out(n)]
    equal([i for text in texts for i in text], list(range(2, asked + 2)), "windows one after the other, the last one "
          "shorter; three tokens at most are left out, too few to take a span of three out of them")
    assert all(len(text) == 20 for text in texts[:-1]), "all but the last are of the length asked for"


def test_as_much_is_taken_out_as_in_the_paper():
    for length in (20, 100, 128):
        n_out, k = count_spans(length, 0.15, 3.0)
        for source, target in held_out(5 * length, length):
            equal((len(source), len(target)), (length - n_out + k + 1, n_out + k + 2), "15 %, spans of 3 on average")


def test_every_run_is_asked_the_same():
    torch.manual_seed(1)
    np.random.seed(1)
    first = held_out(217)
    torch.manual_seed(2)
    np.random.seed(2)
    equal(held_out(217), first, "the questions depend on nothing but the text and its windows")
    places = {tuple(i > 218 for i in source) for source, _ in first[:-1]}
    assert len(places) > 3, "each window has spans of its own"


# ---- the figures


def slow_figures(model: T5, pairs, v: SentinelVocabulary) -> dict[str, float]:
    """One prediction after the other: the decoder reads only what stands before."""
    every, inside, hits = [], [], []
    for source, target in pairs:
        for i, token in enumerate(target):
            p = model(torch.tensor([source]), torch.tensor([[0, *target[:i]]]))[0, -1].softmax(-1)
            every.append(-math.log(p[token].item()))
            if token not in v.sentinels and token != 1:
                inside.append(every[-1])
                hits.append(p.argmax().item() == token)
    mean = [sum(x) / len(x) for x in (every, inside, hits)]
    return dict(zip(("held_out_loss", "span_loss", "span_accuracy"), mean))


def same_figures(came: dict[str, float], expected: dict[str, float], mistake: str) -> None:
    equal(list(came), list(expected), "names of the figures; by the first one the trainer chooses the best weights")
    for name in expected:
        close(torch.tensor(came[name]), torch.tensor(expected[name]), f"{name}: {mistake}")


@pytest.mark.parametrize("n", [1, 3, 40])
def test_figures_equal_a_slow_loop(n):
    model, pairs = t5(), random_pairs(n)
    with torch.no_grad():
        expected = slow_figures(model, pairs, vocabulary())
    same_figures(evaluate(model, pairs, vocabulary()), expected, "means over tokens, not over rows or batches")


def test_figures_of_more_than_one_batch():
    """65 pairs are a batch of 64 and one of one, which must not count as much."""
    model, pairs, v = t5(), random_pairs(64) + [([5, 1], [2, 3, 4, 5, 6, 7, 8, 1])], vocabulary()
    one, other = evaluate(model, pairs[:64], v), evaluate(model, pairs[64:], v)
    n = sum(len(target) for _, target in pairs[:64])
    k = sum(i not in [1, *v.sentinels] for _, target in pairs[:64] for i in target)
    same_figures(evaluate(model, pairs, v), {name: (one[name] * n + other[name] * m) / (n + m) for name, n, m in (
        ("held_out_loss", n, 8), ("span_loss", k, 7), ("span_accuracy", k, 7))}, "each by its own count of tokens")
    same_figures(evaluate(model, pairs[::-1], v), evaluate(model, pairs, v), "the order of the pairs changes nothing")


def test_figures_of_a_text_with_a_ragged_last_window():
    model, v = t5(), vocabulary()
    for n in (4, 47, 64, 67):
        pairs = held_out_pairs(torch.randint(2, V - SENTINELS, (n,)), v, 20)
        with torch.no_grad():
            same_figures(evaluate(model, pairs, v), slow_figures(model, pairs, v), f"{n} tokens in windows of 20")


class Constant(torch.nn.Module):
    """Says of every place what it was told: log P of each token."""

    def __init__(self, log_p: torch.Tensor) -> None:
        super().__init__()
        self.head = torch.nn.Linear(1, len(log_p), bias=False)
        self.head.weight.data = log_p[:, None]

    def hidden(self, ids, decoder_ids, mask=None, decoder_mask=None) -> torch.Tensor:
        return torch.ones(*decoder_ids.shape, 1)


def test_guessing_takes_ln_v_nats():
    came = evaluate(Constant(torch.zeros(V)), random_pairs(9), vocabulary())
    close(torch.tensor([came["held_out_loss"], came["span_loss"]]), torch.full((2,), math.log(V)), "ln V nats a token")


def test_accuracy_counts_pieces_alone():
    pairs = [([5, 29, 1], [29, 7, 7, 8, 28, 1])]
    for best, share in ((7, 2 / 3), (8, 1 / 3), (29, 0.0), (1, 0.0), (5, 0.0)):
        came = evaluate(Constant(torch.eye(V)[best]), pairs, vocabulary())["span_accuracy"]
        close(torch.tensor(came), torch.tensor(share), f"it always writes {best}; three tokens were taken out")


def test_evaluation_keeps_nothing_for_gradients():
    class Watched(Constant):
        def hidden(self, *how):
            seen.append(torch.is_grad_enabled())
            return super().hidden(*how)

    seen = []
    evaluate(Watched(torch.zeros(V)), PAIRS, vocabulary())
    equal((seen, torch.is_grad_enabled()), ([False], True), "no_grad inside, and gradients again behind it")


# ---- counted tokens


SMALL = vocabulary(6, 2)  # 0 padding, 1 end, 2 to 5 pieces, <extra_id_0> is 7 and <extra_id_1> is 6
TRAIN = [([2, 7, 1], [7, 3, 3, 3, 6, 1]), ([2, 2, 7, 1], [7, 4, 6, 1])]
# counted, and once more each: 0 1 2 3 4 5 6 7 -> 1 3 1 4 2 1 3 3, which are 18; of the pieces 0 2 3 4 5 they are 9


def test_counted_tokens_by_hand():
    came = unigram(TRAIN, [([5, 7, 5, 1], [7, 3, 4, 5, 6, 1])], SMALL)
    same_figures(came, {
        "held_out_loss": -(3 * math.log(3 / 18) + math.log(4 / 18) + math.log(2 / 18) + math.log(1 / 18)) / 6,
        "span_loss": -(math.log(4 / 9) + math.log(2 / 9) + math.log(1 / 9)) / 3,
        "span_accuracy": 1 / 3}, "shares of all target tokens; inside the spans P among the pieces, without the end")


def test_inputs_are_not_counted():
    others = [([5] * 20, target) for _, target in TRAIN]
    asked = [([4] * 9, [7, 3, 6, 1])]
    same_figures(unigram(others, asked, SMALL), unigram(TRAIN, asked, SMALL), "targets alone count")


def test_the_end_is_never_the_most_frequent_piece():
    train = [([2, 1], [7, 4, 6, 1])] + [([2, 1], [7, 6, 1])] * 50
    equal(unigram(train, [([2, 1], [7, 4, 4, 6, 1])], SMALL)["span_accuracy"], 1.0, "sentinels and ends are no pieces, "
          "however often they come")


def test_counting_and_a_model_are_judged_alike():
    """A model that says P of each token, whatever it reads, has the loss of counting."""
    v = vocabulary()
    train, asked = (held_out_pairs(torch.randint(2, 9, (n,)), v, 20) for n in (400, 203))
    counts = torch.ones(V)
    for _, target in train:
        for i in target:
            counts[i] += 1
    model = evaluate(Constant((counts / counts.sum()).log()), asked, v)
    close(torch.tensor(unigram(train, asked, v)["held_out_loss"]), torch.tensor(model["held_out_loss"]),
          "nats a target token, sentinels and ends included, on both sides of the table")
