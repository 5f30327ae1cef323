"""What a GPT reads and is judged on: the texts, the windows, the held-out figure, and the counts it has to beat."""

import math
from collections import Counter, defaultdict

import pytest
import torch

from common.batches import cut
from common.bpe import ByteBPE
from common.characters import Characters
from common.command import UserError
from common.corpus import Corpus
from minigpt import GPT, GPTConfig, Llama, LlamaConfig, texts
from minigpt.baselines import pair_bits_per_byte
from minigpt.objective import Windows, evaluate, ids_and_answers, next_token_loss
from minigpt.texts import Text, read_texts, tokenize
from tests import tiny
from tests.explain import close, equal, same

N, LENGTH, ROWS = 503, 10, 4
NUMBERS = torch.arange(N)  # a text in which every token says where it stands


def windows(tokens=NUMBERS, length=LENGTH, batch_size=ROWS, seed=0) -> Windows:
    return Windows(tokens, length, batch_size, seed)


def batch(tokens: torch.Tensor, starts: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
    return ids_and_answers(cut(tokens, starts, length + 1))


def gpt(v: int = 13, max_len: int = 12, **sizes) -> GPT:
    """A random GPT that is far from guessing, so that a wrong token shows."""
    model = GPT(GPTConfig(v, 16, 2, 2, max_len=max_len, dropout=0.0, eos_id=0, **sizes)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


# ---- windows


def test_the_answer_to_a_token_is_the_one_that_follows_it():
    for t in (0, 1, 50):
        b = windows()(t)
        equal({name: tuple(x.shape) for name, x in b.items()}, {"ids": (ROWS, LENGTH), "answers": (ROWS, LENGTH)},
              "rows of `length` tokens, each with an answer")
        same(b["answers"], b["ids"] + 1, "in 0, 1, 2 ... the answer is id + 1: shifted once, not twice, not never")
        same(b["ids"], b["ids"][:, :1] + torch.arange(LENGTH), "a window is a piece of the text as it stands")


def starts_of(made: Windows, epoch: int) -> list[int]:
    n = made.batches_per_epoch
    return [int(row[0]) for t in range(epoch * n, (epoch + 1) * n) for row in made(t)["ids"]]


@pytest.mark.parametrize(("n", "length", "rows"), [(503, 10, 4), (101, 10, 9), (100, 7, 1), (50, 2, 3), (41, 20, 1)])
def test_every_token_is_asked_for_once_an_epoch(n, length, rows):
    made = windows(torch.arange(n), length, rows)
    for epoch in range(25):
        asked = [a for start in starts_of(made, epoch) for a in range(start + 1, start + length + 1)]
        equal(len(asked), len(set(asked)), f"epoch {epoch}: a token was asked for twice")
        equal(len(asked), made.batches_per_epoch * rows * length, "batches are full")
        assert max(asked) < n, f"expected tokens of the text, came number {max(asked)} of {n}"
        assert n - len(asked) <= (rows + 2) * length, f"only {len(asked)} of {n} tokens are asked for"


@pytest.mark.parametrize(("length", "rows"), [(10, 1), (7, 3), (2, 5), (20, 2)])
def test_the_shortest_text_that_is_enough(length, rows):
    shortest = (rows + 1) * length
    made = windows(torch.arange(shortest), length, rows)
    for t in range(60):  # every offset comes up
        equal(tuple(made(t)["ids"].shape), (rows, length), "whatever the offset, one batch is full")
    with pytest.raises(UserError, match="too short") as caught:
        windows(torch.arange(shortest - 1), length, rows)
    message = str(caught.value)
    assert str(shortest) in message and str(shortest - 1) in message, f"how long, and how long it should be: {message}"
    assert "\n" not in message, f"expected one line, came {message!r}"


def test_an_epoch_is_shuffled():
    starts = starts_of(windows(), 0)
    assert starts != sorted(starts), "the windows come in the order of the text"
    assert starts != starts_of(windows(), 1), "another epoch should have another order"


def test_each_epoch_cuts_at_another_offset():
    made = windows()
    offsets = [starts_of(made, epoch)[0] % LENGTH for epoch in range(40)]
    assert len(set(offsets)) >= 8, f"expected nearly all of {LENGTH} offsets in 40 epochs, came {sorted(set(offsets))}"
    for epoch in range(3):
        equal({start % LENGTH for start in starts_of(made, epoch)}, {offsets[epoch]}, "one offset within an epoch")


def test_a_batch_is_a_pure_function_of_seed_and_number():
    one, n = windows(seed=3), windows().batches_per_epoch
    for t in (2 * n + 1, 0, n, n - 1, 2 * n + 1, 2, 0):  # epochs back and forth
        torch.manual_seed(t)  # global random numbers must play no part
        came, expected = one(t), windows(seed=3)(t)
        for name in expected:
            same(came[name], expected[name], f"batch {t} depends on what was asked before: a run cannot be resumed")


def test_another_seed_gives_another_order():
    a, b = windows(seed=1)(0)["ids"], windows(seed=2)(0)["ids"]
    assert not torch.equal(a, b), "the same windows for two seeds"


# ---- the loss


@pytest.mark.parametrize("make", [gpt, lambda: Llama(LlamaConfig(13, 16, 2, 2, d_ff=24, max_len=12)).eval()],
                         ids=["GPT", "Llama"])
def test_the_loss_is_a_sum_over_tokens(make):
    model, b = make(), batch(torch.randint(13, (60,)), torch.tensor([0, 7, 31]), 12)
    total, count = next_token_loss(model, b)["loss"]
    log_p = model(b["ids"]).log_softmax(-1)  # (B, T, V)
    expected = -sum(log_p[i, t, b["answers"][i, t]] for i in range(3) for t in range(12))
    close(total, expected, "-log P(answer | the tokens up to here), added up over rows and places")
    equal(count, 36, "every token of a window counts")
    total.backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not lacking, f"no gradient reaches {lacking}"


def test_an_answer_sees_only_what_stands_before_it():
    model, b = gpt(), batch(torch.randint(13, (40,)), torch.tensor([3]), 12)
    other = {"ids": b["ids"].clone(), "answers": b["answers"]}
    other["ids"][0, 8:] = (other["ids"][0, 8:] + 1) % 13
    with torch.no_grad():
        first = [next_token_loss(model, {name: x[:, :8] for name, x in each.items()})["loss"][0] for each in (b, other)]
        p, q = (model(each["ids"]).log_softmax(-1)[0, :8] for each in (b, other))
    same(first[0], first[1], "the loss of the first eight tokens")
    close(p, q, "later tokens change earlier predictions: is attention causal?")


def test_the_first_loss_of_random_weights_is_that_of_guessing():
    model, b = GPT(GPTConfig(200, 32, 2, 2, max_len=16)).eval(), windows(torch.randint(200, (3000,)), 16, 20)(0)
    total, count = next_token_loss(model, b)["loss"]
    assert abs(total.item() / count - math.log(200)) < 0.1, f"expected ln V = {math.log(200):.3f}, came {total / count}"


# ---- held-out text


def slowly(model, tokens, length: int) -> float:
    """Nats of all tokens but the first, read in windows that begin at 0, length, 2 length ..."""
    nats, n = 0.0, len(tokens)
    for i in range(1, n):
        begin = (i - 1) // length * length
        log_p = model(tokens[None, begin:i])[0, -1].log_softmax(-1)
        nats -= log_p[tokens[i]].item()
    return nats


@pytest.mark.parametrize("n", [2, 3, 9, 10, 11, 12, 29, 31, 40, 41, 42])
def test_each_token_but_the_first_is_predicted_once(n):
    model, tokens = gpt(), torch.randint(13, (n,))
    with torch.no_grad():
        nats = slowly(model, tokens, 10)
    for batch_size in (1, 2, 3, 64):
        came = evaluate(model, Text(tokens, n_bytes=77), 10, batch_size)
        close(torch.tensor([came["bits_per_byte"], came["held_out_loss"]]),
              torch.tensor([nats / math.log(2) / 77, nats / (n - 1)]),
              f"the last window may be shorter, but is read; batches of {batch_size} change nothing")


def test_the_first_value_is_the_one_that_chooses_the_best_weights():
    equal(list(evaluate(gpt(), Text(torch.randint(13, (30,)), 30), 10)), ["bits_per_byte", "held_out_loss"],
          "the trainer keeps the weights whose first value is smallest")


def uniform(v: int) -> GPT:
    """All tokens are equally probable, whatever came before."""
    model = GPT(GPTConfig(v, 8, 1, 1, max_len=64)).eval()
    torch.nn.init.zeros_(model.head.weight)
    return model


@pytest.mark.parametrize(("v", "bits"), [(256, 8.0), (16, 4.0), (2, 1.0)])
def test_guessing_among_v_tokens_of_a_byte_takes_log2_v_bits(v, bits):
    n = 100
    came = evaluate(uniform(v), Text(torch.randint(v, (n + 1,)), n_bytes=n), 16)
    close(torch.tensor(came["bits_per_byte"]), torch.tensor(bits), "nats / ln 2 / bytes: 256 guesses are 8 bits")
    close(torch.tensor(came["held_out_loss"]), torch.tensor(math.log(v)), "ln V nats a token")


def test_bits_per_byte_do_not_depend_on_the_cut_into_tokens():
    """A text in bytes, and the same in pairs of bytes: guessing pairs among 65,536 is as hard as guessing bytes."""
    single = torch.randint(256, (200,))
    pairs = single[0::2] * 256 + single[1::2]
    one = evaluate(uniform(256), Text(torch.cat([single[:1], single]), 200), 10)
    two = evaluate(uniform(65_536), Text(torch.cat([pairs[:1], pairs]), 200), 7)
    close(torch.tensor(two["bits_per_byte"]), torch.tensor(one["bits_per_byte"]), "divide by bytes, not by tokens")
    assert two["held_out_loss"] > 1.9 * one["held_out_loss"], "the loss a token does depend on the cut"


def test_nothing_outside_the_windows_is_read():
    model, tokens = gpt(), torch.randint(13, (200,))
    tokens[:100] = 10**6  # an id that would be an IndexError
    starts = torch.tensor([100, 115, 188])
    b = batch(tokens, starts, 11)
    for row, start in enumerate(starts.tolist()):
        same(b["ids"][row], tokens[start:start + 11], "the window begins at its start")
        same(b["answers"][row], tokens[start + 1:start + 12], "and its answers one token later")
    next_token_loss(model, b)
    text = Text(tokens[100:].clone(), 100)
    before = text.tokens.clone()
    evaluate(model, text, 10)
    same(text.tokens, before, "evaluation changes the text")


def test_evaluation_leaves_no_gradient():
    model = gpt()
    evaluate(model, Text(torch.randint(13, (40,)), 40), 10)
    assert all(p.grad is None for p in model.parameters()), "evaluate should run under no_grad"


# ---- texts


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "text.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_texts(str(path))
    return write


@pytest.mark.parametrize("n", [2, 9, 10, 11, 19, 101, 1003])
def test_a_file_is_cut_as_nanogpt_cuts_it(file, n):
    text = "".join("가나다라 abc\n"[i % 9] for i in range(n))
    equal(file(text), ([text[: int(n * 0.9)]], [text[int(n * 0.9):]]), "the first int(0.9 n) characters, and the rest")


def test_line_breaks_and_blank_lines_are_part_of_the_text(file):
    text = "\n\nFirst Citizen:\nBefore we proceed\n\n\n  indented\t\nlast line without end"
    [train], [held_out] = file(text)
    equal(train + held_out, text, "a file is taken as it stands: nothing stripped, nothing joined")


def test_line_breaks_of_windows_become_those_of_all_others(file):
    [train], [held_out] = file(b"a line\r\n\r\nanother\r\n" * 5)
    equal(train + held_out, "a line\n\nanother\n" * 5, "CRLF is LF, or a model learns to write \\r")


def test_a_byte_order_mark_is_no_text(file):
    [train], [held_out] = file(b"\xef\xbb\xbfsome text here")
    equal(train + held_out, "some text here", "Windows editors put it first")


def test_without_a_file_the_documents_are_read(monkeypatch):
    corpus = Corpus(train=[["one", "two"], ["three"]], held_out=[["four", "five", "six"]])
    monkeypatch.setattr(texts, "load_corpus", lambda: corpus)
    equal(read_texts(None), (["one\ntwo", "three"], ["four\nfive\nsix"]), "a paragraph a line, a text a document")


VOCABULARY = Characters.of(["abcdefg 나무\n"])


def test_an_end_stands_before_between_and_behind_documents():
    a, b, c = (VOCABULARY.encode(text) for text in ("ab", "cde", "나"))
    end = [VOCABULARY.eos_id]
    equal(tokenize(["ab", "cde", "나"], VOCABULARY).tokens.tolist(), [*end, *a, *end, *b, *end, *c, *end],
          "one more end than documents: the first word of a text is predicted from an end as well")


def test_one_text_is_part_of_a_longer_one():
    equal(tokenize(["abc"], VOCABULARY).tokens.tolist(), VOCABULARY.encode("abc"), "it gets no end")


@pytest.mark.parametrize("vocabulary", [VOCABULARY, tiny.tokenizer(), ByteBPE.train(["a dog"], 257)],
                         ids=["characters", "pieces", "bytes"])
def test_bytes_are_those_of_utf8_whatever_the_tokens(vocabulary):
    text = "나무 bed\n"  # 3 + 3 + 1 + 3 + 1
    equal([tokenize(given, vocabulary).n_bytes for given in (["bed"], [text], [text, "ab"], [""])], [3, 11, 13, 0],
          "a Korean syllable has three bytes; the ends of texts are no bytes")
    equal(vocabulary.decode(tokenize([text], vocabulary).tokens.tolist()), text, "the tokens are those of the text")


# ---- counted pairs


def counted(train: list[int], v: int):
    """P(j | i), slowly, from dictionaries."""
    times, n, frequency = defaultdict(Counter), Counter(), Counter(train)
    for i, j in zip(train, train[1:]):
        times[i][j] += 1
        n[i] += 1

    def p(i: int, j: int) -> float:
        alone = (frequency[j] + 1) / (len(train) + v)
        kinds = len(times[i])
        return (times[i][j] + kinds * alone) / (n[i] + kinds) if n[i] else alone
    return p


def bits(train: list[int], held_out: list[int], v: int, n_bytes: int = 1) -> float:
    return pair_bits_per_byte(Text(torch.tensor(train), 99), Text(torch.tensor(held_out), n_bytes), v)


@pytest.mark.parametrize("v", [3, 8, 40])
def test_counted_pairs_equal_a_slow_count(v):
    train, held_out = torch.randint(min(v, 6), (120,)).tolist(), torch.randint(v, (50,)).tolist()
    p = counted(train, v)
    expected = -sum(math.log2(p(i, j)) for i, j in zip(held_out, held_out[1:]))
    close(torch.tensor(bits(train, held_out, v, 17)), torch.tensor(expected / 17), "method C, in bits, per byte")


def test_counted_pairs_by_hand():
    # 0 1 0 1 0 2: after 0 come 1, 1, 2 (n = 3, two kinds); P alone of 2 is (1 + 1) / (6 + 4)
    close(torch.tensor(bits([0, 1, 0, 1, 0, 2], [0, 2], 4)), torch.tensor(-math.log2((1 + 2 * 0.2) / (3 + 2))),
          "(n(i, j) + t(i) P(j)) / (n(i) + t(i))")
    # 3 never came: P alone of it is (0 + 1) / 10, and nothing is known of what follows it
    close(torch.tensor(bits([0, 1, 0, 1, 0, 2], [0, 3, 0], 4)), torch.tensor(-math.log2(2 * 0.1 / 5 * 0.4)),
          "a token that was never seen is possible, and says nothing about the next one")


@pytest.mark.parametrize("i", range(6))
def test_the_probabilities_behind_a_token_add_up_to_one(i):
    train = [0, 1, 2, 3, 0, 1, 1, 4, 2, 2, 0, 3, 4]  # 4 ends it, 5 is never seen
    total = sum(2 ** -bits(train, [i, j], 6) for j in range(6))
    close(torch.tensor(total), torch.tensor(1.0), f"the sum over all tokens that may follow {i}")


def test_the_first_token_is_not_predicted():
    train = [0, 1, 2, 0, 1, 2]
    close(torch.tensor(bits(train, [0, 1, 2], 3)), torch.tensor(bits(train, [0, 1], 3) + bits(train, [1, 2], 3)),
          "n tokens are n - 1 predictions, as of a model")


def test_the_largest_pair_and_one_above_it():
    """Pairs are looked up in a sorted list: the ends of the list are where that goes wrong."""
    train = [0, 0, 1, 0]
    p = counted(train, 3)
    for pair in ([0, 0], [1, 0], [2, 2], [1, 2]):
        close(torch.tensor(bits(train, pair, 3)), torch.tensor(-math.log2(p(*pair))), f"the pair {pair}")
