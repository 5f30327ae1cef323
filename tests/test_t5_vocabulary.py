"""Sentinels behind a vocabulary: numbers and names as published, and texts that hold them, there and back."""

import io
from itertools import accumulate
from types import SimpleNamespace

import pytest
import sentencepiece as spm
from hypothesis import given

from common.batches import random_state
from common.command import UserError
from common.published_pieces import PublishedPieces
from minit5.spans import corrupt, draw_spans, reassemble
from minit5.vocabulary import SentinelVocabulary
from tests import tiny
from tests.explain import equal
from tests.oracle import oracle
from tests.test_tokenizer import ANY_TEXT

MARKED = ["the old dog <extra_id_0> a bird", "<extra_id_0> the", "the <extra_id_0> <extra_id_1> dog", "the cat .",
          "the <extra_id_1> old <extra_id_0> dog", "<extra_id_99> dog <extra_id_42> cat", "나는 <extra_id_3> 간다", ""]
MARK_LAST = ["the old dog <extra_id_0>", "<extra_id_0>", "<extra_id_0> <extra_id_1>", "나는 <extra_id_7>"]


def numbers(vocab_size: int, pad_id: int = 0, eos_id: int = 1) -> SimpleNamespace:
    """Pieces without text."""
    return SimpleNamespace(vocab_size=vocab_size, pad_id=pad_id, eos_id=eos_id)


@pytest.fixture(scope="module")
def ours() -> SentinelVocabulary:
    return SentinelVocabulary(tiny.tokenizer())


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> SentinelVocabulary:
    """Pieces like the spiece.model of T5: <pad> 0, </s> 1, <unk> 2, no bytes; small, since that one is a download."""
    model = io.BytesIO()
    texts = [paragraph for document in tiny.documents(50) for paragraph in document] + ["나는 학교에 간다"] * 9
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=150, hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="identity", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    path = tmp_path_factory.mktemp("pieces") / "spiece.model"
    path.write_bytes(model.getvalue())
    return SentinelVocabulary(PublishedPieces(path))


@pytest.fixture(params=["ours", "published"])
def vocabulary(request) -> SentinelVocabulary:
    return request.getfixturevalue(request.param)


# ---- numbers


def test_the_numbers_of_the_published_t5():
    v = SentinelVocabulary(numbers(32_000))
    equal((v.vocab_size, v.sentinels[0], v.sentinels[1], v.sentinels[99]), (32_100, 32_099, 32_098, 32_000),
          "<extra_id_0> is the last number, and they count down to the first one behind the pieces")
    equal(len(v.sentinels), 100, "a hundred of them")
    equal((v.pad_id, v.eos_id), (0, 1), "as the pieces have them")


def test_their_order_is_that_of_transformers():
    tokenizer = oracle("transformers").T5Tokenizer()  # without a file: four pieces, and its sentinels behind them
    v = SentinelVocabulary(numbers(4))
    equal(len(tokenizer), v.vocab_size, "four pieces, a hundred sentinels")
    equal(v.sentinels, tokenizer.convert_tokens_to_ids([f"<extra_id_{k}>" for k in range(100)]), "they count down")


@pytest.mark.parametrize("n", [0, 1, 5])
def test_as_many_sentinels_as_asked_for(n):
    v = SentinelVocabulary(tiny.tokenizer(), n)
    equal((v.vocab_size, v.sentinels), (tiny.V + n, [tiny.V + n - 1 - k for k in range(n)]), "behind the pieces")


# ---- text to numbers


def test_each_mark_becomes_its_sentinel(ours):
    pieces, (x, y, *_) = ours.pieces, ours.sentinels
    thank, me, week = (pieces.encode(part) for part in ("Thank you", "me to your party", "week"))
    equal(ours.encode("Thank you <extra_id_0> me to your party <extra_id_1> week"),
          [*thank, x, *me, y, *week, pieces.eos_id], "pieces as anywhere else, sentinels between them, the end behind")
    equal(ours.encode("<extra_id_1><extra_id_0>"), [y, x, pieces.eos_id], "sentinels alone")
    equal(ours.encode("나는 <extra_id_0> 간다"), [*pieces.encode("나는"), x, *pieces.encode("간다"), pieces.eos_id],
          "the same for Korean")


def test_the_blank_before_a_sentinel_says_nothing(vocabulary):
    equal(vocabulary.encode("the dog<extra_id_0> sees"), vocabulary.encode("the dog <extra_id_0> sees"),
          "a lone ▁ before a sentinel is something that no span leaves behind")


def test_numbers_as_transformers_has_them(published):
    library = spm.SentencePieceProcessor(model_proto=published.pieces.model)
    scored = [(library.id_to_piece(i), library.get_score(i)) for i in range(library.vocab_size())]
    sentinels = [(f"<extra_id_{k}>", 0.0) for k in range(99, -1, -1)]
    tokenizer = oracle("transformers").T5Tokenizer(vocab=scored + sentinels)
    equal(published.vocab_size, len(tokenizer), "pieces and sentinels")
    equal((published.pad_id, published.eos_id), (tokenizer.pad_token_id, tokenizer.eos_token_id), "padding and end")
    for text in [*MARKED, *MARK_LAST, "the<extra_id_0>old", "  the  old ", "the dog <extra_id_0>, <extra_id_1>.",
                 "<extra_id_0><extra_id_1> 학교에<extra_id_2>", "the <extra_id_> <extra_id_x>", "zz Q"]:
        equal(published.encode(text), tokenizer(text).input_ids, f"{text!r}")


@pytest.mark.parametrize("text", ["<extra_id_>", "<extra_id_x>", "extra_id_0", "<EXTRA_ID_0>", "<extra_id_0", "<X>",
                                  "< extra_id_0 >", "<extra_id_-1>"])
def test_what_only_looks_like_a_sentinel_is_text(ours, text):
    ids = ours.encode(text)
    assert max(ids) < tiny.V, f"expected pieces alone, came {ids}"
    equal(ours.decode(ids), text, "and it comes back")


@pytest.mark.parametrize(("n", "text", "mark"), [
    (5, "the <extra_id_4> dog <extra_id_5>", "<extra_id_5>"), (100, "<extra_id_100>", "<extra_id_100>"),
    (0, "the <extra_id_0> dog", "<extra_id_0>"), (2, "<extra_id_1><extra_id_12>", "<extra_id_12>")])
def test_a_sentinel_that_is_lacking(n, text, mark):
    with pytest.raises(UserError) as caught:
        SentinelVocabulary(tiny.tokenizer(), n).encode(text)
    line = str(caught.value)
    last = f"<extra_id_{n - 1}>" if n else "none at all"
    assert mark in line and last in line and "\n" not in line, f"which, and how many: {line}"


def test_the_last_sentinel_of_few():
    v = SentinelVocabulary(tiny.tokenizer(), 5)
    equal(v.encode("<extra_id_4>"), [tiny.V, v.eos_id], "5 sentinels are <extra_id_0> to <extra_id_4>")
    equal(v.decode([tiny.V]), "<extra_id_4>", "and back")


def test_without_sentinels_text_is_text():
    v = SentinelVocabulary(tiny.tokenizer(), 0)
    equal(v.encode("the old dog"), [*tiny.tokenizer().encode("the old dog"), v.eos_id], "pieces and the end")
    equal(v.decode([*v.encode("the old dog"), tiny.V]), "the old dog", "and back; no number behind the pieces shows")


# ---- and back


@pytest.mark.parametrize("text", [*MARKED, *MARK_LAST])
def test_a_text_with_sentinels_comes_back(vocabulary, text):
    equal(vocabulary.decode(vocabulary.encode(text)), text, "one blank around a sentinel, none at the ends of a text")


@given(ANY_TEXT)
def test_any_text_comes_back(text):
    v = SentinelVocabulary(tiny.tokenizer())
    equal(v.decode(v.encode(text)), text, "the end token adds nothing")


def test_padding_end_and_unused_numbers_show_nothing(vocabulary):
    v = vocabulary
    *dog, _ = v.encode("the dog")
    *cat, _ = v.encode("a cat")
    x = v.sentinels[0]
    for ids, expected in (([v.pad_id, *dog, v.eos_id, v.pad_id, v.pad_id], "the dog"), ([v.pad_id, v.eos_id], ""),
                          ([*dog, v.vocab_size, v.vocab_size + 27], "the dog"),  # 28 rows of the published table
                          ([*dog, x, *cat, v.eos_id, v.pad_id], "the dog <extra_id_0> a cat"), ([], ""),
                          ([v.pad_id, x, *cat, v.eos_id], "<extra_id_0> a cat"), ([x, v.eos_id], "<extra_id_0>")):
        equal(v.decode(ids), expected, f"{ids}: no text for padding and end, and no blanks either")


@pytest.mark.parametrize("text", ["the old dog sees a bird and the new cat finds a stone near the river .",
                                  "나는 오늘 학교에 가서 친구를 만났다 .", "a▁b  two blanks\nand a line 😀"])
def test_a_corrupted_text_is_put_together_again(ours, text):
    ids = ours.pieces.encode(text)
    for seed in range(20):
        source, target = corrupt(ids, draw_spans(len(ids), 0.3, 2.0, random_state(seed)), ours.sentinels, ours.eos_id)
        equal(ours.pieces.decode(reassemble(source, target, ours.sentinels)), text, "no byte of a letter gets lost")
        for side in (source, target):
            assert "<extra_id_0>" in ours.decode(side), "sentinels are shown by their names"


def test_the_papers_example_as_text(ours):
    parts = [ours.pieces.encode(part) for part in ("Thank you", "for inviting", "me to your party", "last", "week")]
    _, a, b, c, d, _ = accumulate(map(len, parts), initial=0)
    source, target = corrupt([i for part in parts for i in part], [(a, b), (c, d)], ours.sentinels, ours.eos_id)
    texts = ("Thank you <extra_id_0> me to your party <extra_id_1> week",
             "<extra_id_0> for inviting <extra_id_1> last <extra_id_2>")
    equal((ours.decode(source), ours.decode(target)), texts, "figure 2")
    equal((source, target), tuple(map(ours.encode, texts)), "the same texts typed by hand are the same numbers")
