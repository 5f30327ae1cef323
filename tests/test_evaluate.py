"""Held-out figures against a slow loop, and what can be guessed without a network."""

import copy
import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.batches import TokenizedText, random_state, tokenize
from common.command import UserError
from common.tokenizer import BLANK, SPECIAL
from minibert import BertConfig, BertForPreTraining
from minibert.baselines import baselines, most_frequent_between
from minibert.evaluate import SEED, evaluate, held_out_batches, masked_words, show, whole_words
from minibert.nsp import draw_pairs
from minibert.objective import Examples
from tests import tiny
from tests.explain import equal, same

MAX_LEN = 20


def questions(text=None, seed=0, mask_rate=0.15, max_len=MAX_LEN, tokenizer=None) -> Examples:
    return Examples(tiny.tokens(12, seed=5) if text is None else text, tokenizer or tiny.tokenizer(), max_len, 1,
                    mask_rate, seed)


@pytest.fixture
def model() -> BertForPreTraining:
    """Random weights, large ones, so that answers differ from place to place."""
    torch.manual_seed(0)
    made = BertForPreTraining(BertConfig(vocab_size=tiny.V, d_model=24, n_layers=2, n_heads=3, d_ff=40,
                                         max_len=MAX_LEN))
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return made.eval()


# ---- evaluate


def slowly(model, examples) -> dict[str, float]:
    """One row at a time, without padding, in float64."""
    model = copy.deepcopy(model).double()
    losses, hits, right = [], [], []
    for share in (0.0, 0.5):
        for batch in held_out_batches(examples, share):
            for row in range(len(batch["ids"])):
                n = int(batch["mask"][row].sum())
                mlm, nsp = model(batch["ids"][row : row + 1, :n], batch["segments"][row : row + 1, :n])
                if share:
                    right.append(int(nsp[0].argmax()) == int(batch["is_random"][row]))
                    continue
                for place in range(n):
                    if batch["selected"][row, place]:
                        answer = int(batch["answers"][row, place])
                        losses.append(-mlm[0, place].log_softmax(-1)[answer].item())
                        hits.append(int(mlm[0, place].argmax()) == answer)
    return {"mlm_loss": np.mean(losses), "mlm_top1": np.mean(hits), "nsp_accuracy": np.mean(right)}


def test_figures_equal_a_slow_loop(model):
    came, expected = evaluate(model, questions()), slowly(model, questions())
    equal(list(came), list(expected), "the loss comes first: it decides which weights are the best")
    assert abs(came["mlm_loss"] - expected["mlm_loss"]) < 1e-5 * expected["mlm_loss"], f"{came} against {expected}"
    equal(came["mlm_top1"], expected["mlm_top1"], "hits divided by all tokens asked, over all batches")
    equal(came["nsp_accuracy"], expected["nsp_accuracy"], "right classes divided by all pairs; 1 = random")
    assert came["nsp_accuracy"] != 0.5, "at exactly one half this test would not see the classes swapped"


def test_a_model_that_always_says_one_class_is_right_in_half_of_the_pairs(model):
    for label in (0, 1):
        torch.nn.init.zeros_(model.nsp.weight)
        model.nsp.bias.data = torch.eye(2)[label]
        odd = questions()
        n = len(odd.spans)
        assert n % 2, "with an even number both classes would give one half"
        came = evaluate(model, odd)["nsp_accuracy"]
        expected = (n // 2 if label else n - n // 2) / n
        equal(came, expected, "half of the Bs are random, the others follow")


def test_the_same_questions_each_time_whatever_the_run(model):
    first = evaluate(model, questions(seed=0, mask_rate=0.15))
    torch.manual_seed(77)
    equal(evaluate(model, questions(seed=5, mask_rate=0.4)), first, "seed and masking rate of a run must not matter")


def test_the_model_is_left_as_it_was(model):
    before = copy.deepcopy(model.state_dict())
    evaluate(model, questions())
    for name, p in model.state_dict().items():
        same(p, before[name], f"{name} was changed by an evaluation")
    assert not model.training and all(p.grad is None for p in model.parameters()), "no gradients, no training mode"


def test_each_token_of_the_split_is_read_once():
    text = tiny.tokens(12, seed=5)
    read = [i for batch in held_out_batches(questions(text), 0.0)
            for i in batch["answers"][batch["answers"] >= len(SPECIAL)].tolist()]
    equal(read, text.tokens.tolist(), "on true pairs every token lies in exactly one window, in order")


def test_tokens_are_asked_at_fifteen_per_cent():
    text = tiny.tokens(50, seed=5)
    asked = sum(int(batch["selected"].sum()) for batch in held_out_batches(questions(text, mask_rate=0.9), 0.0))
    n = len(text.tokens)
    assert abs(asked - 0.15 * n) < 5 * (n * 0.15 * 0.85) ** 0.5, f"expected 15 % of {n}, came {asked / n:.1%}"


def test_unk_is_never_an_answer():
    """What no piece covers is spelled in bytes, so [UNK] cannot be scored as a hit."""
    tokenizer = tiny.tokenizer()
    strange = [tokenizer.encode(line) for line in ("한국어 中文 😀 \u0378 ∮ naïve", "\t\x01 Ω ▁ [UNK] <unk>") * 4]
    text = TokenizedText(np.array([i for ids in strange for i in ids]), [len(ids) for ids in strange])
    for batch in held_out_batches(questions(text), 0.0):
        assert (batch["answers"] != tokenizer.unk_id).all(), "[UNK] stands in the text: byte fallback is off"


# ---- the table of masked words


def test_the_table_shows_text_guesses_and_truth(model):
    lines = masked_words(model, questions(tiny.tokens(50, seed=5)), n=4).splitlines()
    equal(len(lines), 5, "a header and one line for each of n blanks")
    assert lines[0].split()[:2] == ["held-out", "text"] and "truth" in lines[0], f"came {lines[0]!r}"
    for line in lines[1:]:
        assert line.count("____") == 1, f"expected one blank in the text, came {line!r}"


def truths(lines: list[str]) -> list[str]:
    return [line.rstrip("✓ ").split("  ")[-1].strip() for line in lines]


def test_the_table_marks_a_hit(model):
    """A model that guesses the same two pieces everywhere, each the truth somewhere: the first alone is a hit."""
    t, held_out = tiny.tokenizer(), questions(tiny.tokens(50, seed=5))
    ids = {show(t.piece(i)): i for i in range(tiny.V)}
    asked = Counter(truths(masked_words(model, held_out, 30).splitlines()[1:]))
    frequent = [piece for piece, _ in asked.most_common(2)]
    model.mlm.decoder.bias.data[[ids[piece] for piece in frequent]] = torch.tensor([60.0, 50])
    lines = masked_words(model, held_out, 30).splitlines()[1:]
    for line, truth in zip(lines, truths(lines), strict=True):
        equal(line.endswith("✓"), truth == frequent[0], f"✓ where the first guess is the truth: {line!r}")


@pytest.fixture
def real_words() -> Examples:
    """Documents with words of one piece, words of several, and characters of three bytes."""
    documents = [[f"old dog {'가나다'[i % 3]} sees a slowest bird and {'猫' * (i % 4)} hears mediums , it 's a song",
                  f"every house keeps document{i} 수 near the river . the night follows a letter over that tree ."]
                 for i in range(24)]
    return questions(tokenize(documents, tiny.tokenizer()), max_len=40)


def asked_by(examples: Examples, n: int) -> list[tuple[int, list[int], int]]:
    """What `masked_words` hides: (number of the document, ids of the row, place)."""
    pairs = draw_pairs(examples.spans, random_state(SEED), 0.0)
    starts = sorted(set(examples.spans[:, 2].tolist()))
    rows = examples.batch(pairs, np.arange(len(examples.spans)), 0.0, SEED)["answers"].tolist()
    return [(starts.index(examples.spans[row, 2]), rows[row], column)
            for row, column in whole_words(examples, pairs, n, around=6)]


def test_blanks_come_from_different_documents_all_over_the_text(real_words):
    documents = [document for document, _, _ in asked_by(real_words, 8)]
    equal(len(set(documents)), 8, "one blank of each of eight documents")
    assert min(documents) < 4 and max(documents) >= 20, f"spread over 24 documents, came {documents}"
    many = asked_by(real_words, 30)
    equal(len({(document, *row, column) for document, row, column in many}), 30, "few documents: several of each")
    equal({document for document, _, _ in many}, set(range(24)), "and none left out")


def test_only_whole_words_are_asked_for(real_words):
    piece = real_words.tokenizer.piece
    for _, row, column in asked_by(real_words, 60):
        hidden, next_one = piece(row[column]), piece(row[column + 1])
        assert hidden.startswith(BLANK) and hidden[1:].isalpha(), f"{hidden!r} is no word"
        assert next_one.startswith(BLANK) or next_one in ",.", f"{hidden!r} goes on with {next_one!r}"


def test_the_text_around_a_blank_is_whole_words_and_characters(real_words, model):
    words = {"slowest", "mediums", *(word for i in range(24) for word in real_words.tokenizer.decode(
        real_words.text.tokens[sum(real_words.text.lengths[:i]):][:real_words.text.lengths[i]].tolist()).split())}
    model = BertForPreTraining(dataclasses.replace(model.config, max_len=40)).eval()
    for line in masked_words(model, real_words, 60).splitlines()[1:]:
        shown = line.split("  ")[0]
        strange = [word for word in shown.split() if word not in words | {"____"} and not {*word} <= {*",."}]
        assert not strange, f"{strange} is cut out of the middle of a word, in {shown!r}"


def test_a_character_that_lies_on_both_sides_of_a_sep_is_shown_whole(model):
    text = tokenize([["the dog 가 a 나 " * 9] * 2] * 12, tiny.tokenizer())
    assert "\ufffd" not in masked_words(model, questions(text), 60), "[SEP] cuts text anywhere; decode across it"


def test_the_same_blanks_whatever_the_model_answers(real_words, model):
    def shown(seed: int) -> list[tuple[str, str]]:
        torch.manual_seed(seed)
        other = BertForPreTraining(dataclasses.replace(model.config, max_len=40)).eval()
        lines = masked_words(other, real_words).splitlines()[1:]
        return [(line.split("  ")[0], truth) for line, truth in zip(lines, truths(lines), strict=True)]

    equal(shown(1), shown(2), "a table that moves cannot show how guesses improve")


@pytest.mark.parametrize("max_len", [8, 11, 20])
def test_a_table_without_room_is_short_but_no_error(model, max_len):
    text = TokenizedText(tiny.tokens(12, seed=5).tokens[:30], [15, 15])
    assert masked_words(model, questions(text, max_len=max_len)).startswith("held-out text"), "the header at least"


@pytest.mark.parametrize(("piece", "shown"), [("▁the", "the"), ("ing", "-ing"), ("▁", "▁"), (".", "-.")])
def test_pieces_as_people_read_them(piece, shown):
    equal(show(piece), shown, "▁ begins a word, - continues one, a lone ▁ is shown")


# ---- guessing without a network


def test_most_frequent_between_by_hand():
    between = most_frequent_between(np.array([1, 2, 3, 9, 1, 4, 3, 9, 1, 4, 3]), v=10)
    equal(between[1, 3], 4, "4 stood twice between 1 and 3, 2 once")
    equal(between[3, 1], 9, "keys are (left, right)")
    equal((1, 9) in between, False, "neighbours that never met have no entry")


class Letters:
    """A vocabulary of single letters, with the special ids of the real one."""

    pad_id, unk_id, cls_id, sep_id, mask_id, *_ = range(len(SPECIAL))
    vocab_size = 12


def letters(lengths, seed) -> TokenizedText:
    """A text in which some pieces follow others far more often than chance."""
    random = np.random.default_rng(seed)
    tokens = [7]
    for _ in range(sum(lengths) - 1):
        tokens.append(7 + (tokens[-1] - 7 + int(random.choice(4, p=[0.05, 0.8, 0.1, 0.05]))) % 5)
    return TokenizedText(np.array(tokens), list(lengths))


def guess_slowly(train: list[int], left: int, seen: int, right: int) -> int:
    if seen != Letters.mask_id:
        return seen
    between = Counter(b for a, b, c in zip(train, train[1:], train[2:], strict=False) if (a, c) == (left, right))
    if between:
        return max(between, key=between.get)
    v, pairs = Letters.vocab_size, Counter(zip(train, train[1:], strict=False))

    def follows(a, b):
        return (pairs[a, b] + 1e-3) / sum(pairs[a, c] + 1e-3 for c in range(v))

    count = Counter(train)
    return max(range(v), key=lambda b: (follows(left, b) if left >= len(SPECIAL) else count[b] + 1)
               * (follows(b, right) if right >= len(SPECIAL) else 1))


def test_baselines_equal_a_slow_loop():
    train, examples = letters([400], 0), questions(letters([90, 70, 3, 60], 1), tokenizer=Letters())
    most = Counter(train.tokens.tolist()).most_common(1)[0][0]
    asked, frequent, trigram = 0, 0, 0
    for batch in held_out_batches(examples, 0.0):
        for ids, answers, selected in zip(batch["ids"].tolist(), batch["answers"].tolist(), batch["selected"].tolist(),
                                          strict=True):
            for i in (i for i, chosen in enumerate(selected) if chosen):
                asked += 1
                frequent += answers[i] == most
                trigram += answers[i] == guess_slowly(train.tokens.tolist(), ids[i - 1], ids[i], ids[i + 1])
    equal(baselines(train, examples), {"most_frequent": frequent / asked, "trigram": trigram / asked},
          "both guessers answer the questions of `evaluate`, from counts of the training text alone")


def test_a_large_vocabulary_needs_no_table_of_all_pairs():
    """200,000² pairs would take 320 gigabytes."""
    class Many(Letters):
        vocab_size = 200_000

    train, text = letters([400], 0), letters([40, 30], 1)
    few, many = (baselines(train, questions(text, tokenizer=t)) for t in (Letters(), Many()))
    equal(list(many), list(few), "the two guessers")


def test_a_text_of_one_piece_is_guessed_by_all():
    text = TokenizedText(np.full(200, 8), [100, 100])
    came = baselines(text, questions(text, tokenizer=Letters()))
    equal(came["most_frequent"], 1.0, "there is but one piece")
    assert came["trigram"] >= 0.85, f"expected all but the 10 % with a random piece shown, came {came['trigram']:.2f}"


def test_the_held_out_text_does_not_count():
    """Trained on one piece, asked about another: a guesser that peeks would know it."""
    train, held_out = TokenizedText(np.full(50, 8), [50]), TokenizedText(np.full(200, 9), [100, 100])
    equal(baselines(train, questions(held_out, tokenizer=Letters()))["most_frequent"], 0.0, "count training text only")


def test_a_held_out_text_without_questions_is_a_user_error():
    text = TokenizedText(np.array([8, 9, 8, 9]), [2, 2])
    with pytest.raises(UserError, match="held-out text is too short"):
        baselines(letters([50], 0), SimpleNamespace(
            tokenizer=Letters(), spans=questions(text, tokenizer=Letters()).spans,
            batch=lambda pairs, rows, rate, *path: questions(text, tokenizer=Letters()).batch(pairs, rows, 0.0, *path)))
