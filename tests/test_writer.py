"""A T5 that writes: with the cache against without, all inputs at once against one by one, beams against all texts.

    python -m pytest -s tests/test_writer.py      also prints the largest differences
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from common.attention import Attention
from common.command import UserError
from common.generate import Sampling, beam_search
from minit5 import T5, T5Config
from minit5.writer import Writer, answer, answer_by_beam
from tests.explain import equal
from tests.test_cache import randomise
from tests.test_generate import PENALTY, Beams, agree, all_texts, beams_that_never_stop, next_log_p, slowly
from tests.test_gpt import agree as close_enough
from tests.test_gpt import opened_by_transformers

V, START = 31, 3
INPUTS = [[5, 9, 2, 1], [7, 1], [30, 4, 0, 0, 11, 8, 12, 3, 1], [12, 3, 1]]  # 0 is the padding token: a real token here
CONFIG = T5Config(vocab_size=V, d_model=18, d_head=5, d_ff=41, n_layers=2, n_heads=3, n_buckets=8, max_distance=12,
                  dropout=0.0, start_id=START)
VERSIONS = {"v1.0": CONFIG, "v1.1": replace(CONFIG, gated=True, tied=False)}
version = pytest.mark.parametrize("version", VERSIONS)


def t5(version: str, seed: int = 27, **changes) -> T5:
    """A random T5 that writes more than one and the same token."""
    torch.manual_seed(seed)
    model = randomise(T5(replace(VERSIONS[version], **changes)), 0.2, seed)
    with torch.no_grad():
        model.decoder.final_norm.weight.normal_()  # of both signs: a tied head would repeat the token just read
        if not model.config.tied:
            model.head.weight *= 0.3  # logits of about 1, as those of a tied head
    return model


class Answering:
    """A T5 with one input as a model of one text, without a cache: reads everything anew at each call."""

    def __init__(self, model: T5, ids: list[int]) -> None:
        self.model, self.ids, self.config = model, ids, model.config

    @torch.no_grad()
    def __call__(self, texts: Tensor) -> Tensor:
        return self.model(torch.tensor([self.ids]).expand(len(texts), -1), texts)


def one_by_one(model: T5, inputs: list[list[int]], max_new: int) -> list[list[int]]:
    """Greedy answers, each input alone, everything read anew for each token; up to the end token, which is left out."""
    end = model.config.eos_id
    texts = [slowly(Answering(model, ids), [model.config.start_id], max_new, end) for ids in inputs]
    return [text[:-1] if text[-1] == end else text for text in texts]


def an_end_token(version: str) -> int:
    """A token that some answers hold, but not all, and none at once: as eos_id it ends some rows, early and late."""
    texts = one_by_one(t5(version, eos_id=V - 1), INPUTS, 8)
    return next(t for text in texts for t in text[1:-1] if t != text[0] and any(t not in other for other in texts))


# ---- with the cache = without


@version
@torch.no_grad()
def test_each_step_with_the_cache_equals_reading_all_anew(version):
    """Ragged inputs at once; after some tokens rows are swapped, repeated, dropped, as beams and ended answers are."""
    model, texts, inputs = t5(version), [[]] * 4, INPUTS
    cache = Writer(model, INPUTS).eval().new_cache(4, 20)
    for step, rows in enumerate([[0, 1, 2, 3]] * 14 + [[2, 0, 3, 1], [0, 0, 3, 2], [1, 3], [0, 1, 1]]):
        if step >= 14:
            cache.select(rows)
        new = torch.randint(V, (len(rows), 1))
        inputs = [inputs[i] for i in rows]
        texts = [[*texts[i], token] for i, token in zip(rows, new.flatten().tolist())]
        came = model.head(model.decode(new, cache=cache))[:, -1]
        expected = torch.stack([Answering(model, ids)(torch.tensor([text]))[0, -1] for ids, text in zip(inputs, texts)])
        close_enough(f"step {step}", came, expected, 1e-5, "each row has its own input, of its own length, and its own "
                     "past; `select` chooses the rows of memory and mask as it chooses the keys; distances go on")


# ---- greedy


@version
@pytest.mark.parametrize("max_new", [1, 5, 30])
def test_answers_equal_a_slow_loop_one_by_one(version, max_new):
    model, inputs = t5(version, eos_id=V - 1), [list(ids) for ids in INPUTS]
    expected = one_by_one(model, INPUTS, max_new)
    equal(answer(model, inputs, max_new), expected, "the argmax of the whole model at each step: it reads the start "
                                                    "token, then what it wrote; padding of the inputs is never seen")
    equal(inputs, INPUTS, "the caller's inputs were changed")
    for ids, row in zip(INPUTS, expected):
        equal(answer(model, [ids], max_new), [row], "an input has the same answer alone and in company")
    equal(answer(model, INPUTS[::-1], max_new), expected[::-1], "in another order")
    assert len({tuple(row) for row in expected}) == 4 or max_new == 1, "this test should write four texts"


@version
def test_the_end_token_ends_a_row_and_is_left_out(version):
    end = an_end_token(version)
    model = t5(version, eos_id=end)
    expected = one_by_one(model, INPUTS, 8)
    came = answer(model, INPUTS, 8)
    equal(came, expected, "a row stops at the end token of the config, the others go on")
    assert all(end not in row for row in came), f"the end token {end} belongs to no answer: {came}"
    lengths = {len(row) for row in came}
    assert 8 in lengths and len(lengths) > 1, "in this test some rows should end, others not"
    at_once = one_by_one(t5(version, eos_id=V - 1), INPUTS, 1)[2][0]
    equal(answer(t5(version, eos_id=at_once), INPUTS[2:3], 5), [[]], "an answer may be empty")


@version
def test_the_start_token_is_that_of_the_config(version):
    model, other = t5(version), t5(version, start_id=9)
    assert answer(model, INPUTS, 9) != answer(other, INPUTS, 9), "the first token that the decoder reads is start_id"
    equal(answer(other, INPUTS, 9), one_by_one(other, INPUTS, 9), "start_id")


@version
def test_the_padding_token_fills_up_and_is_not_read(version):
    expected = answer(t5(version), INPUTS, 9)
    for pad in (1, 7, 30):
        equal(answer(t5(version, pad_id=pad), INPUTS, 9), expected, "what stands behind a shorter input is never seen")


@pytest.mark.needs_data
@version
def test_greedy_equals_transformers(tmp_path, version):
    end = an_end_token(version)
    model = t5(version, eos_id=end)
    theirs = opened_by_transformers(model, tmp_path, "T5ForConditionalGeneration")
    writer = Writer(model, INPUTS)
    out = theirs.generate(writer.ids, attention_mask=writer.mask.long(), max_new_tokens=12, do_sample=False)
    expected = []
    for row in out.tolist():
        equal(row[0], START, "the start token stands in their output")
        row = row[1:]
        expected.append(row[:row.index(end)] if end in row else row)
    equal(answer(model, INPUTS, 12), expected, "the same weights, the same tokens")


def test_another_choice_than_the_likeliest():
    model = t5("v1.0")
    rng = torch.Generator().manual_seed(3)
    equal(answer(model, INPUTS, 6, Sampling(top_k=1, rng=rng)), answer(model, INPUTS, 6), "choose is handed on")
    texts = {tuple(answer(model, INPUTS[:1], 6, Sampling(3.0, rng=rng))[0]) for _ in range(5)}
    equal(len(texts), 5, "a bold draw writes another text each time")


# ---- what is worked out once


@version
@pytest.mark.parametrize("by_beam", [False, True], ids=["greedy", "beams"])
def test_inputs_are_read_once_and_their_keys_and_values_too(version, by_beam, monkeypatch):
    model, calls, seen = t5(version, eos_id=V - 1), [], []
    encode, keys_values = T5.encode, Attention.keys_values
    monkeypatch.setattr(T5, "encode", lambda self, *a: calls.append(tuple(a[0].shape)) or encode(self, *a))
    monkeypatch.setattr(Attention, "keys_values", lambda self, x: seen.append(self) or keys_values(self, x))
    if by_beam:
        answer_by_beam(model, INPUTS[2], 6, 4)
    else:
        answer(model, INPUTS, 6)
    equal(calls, [(1, 9)] if by_beam else [(4, 9)], "the encoder runs once for all inputs, not once a token or a beam")
    assert seen == [block.cross_attention for block in model.decoder.blocks], (
        f"expected keys and values of the memory once for each decoder layer, came {len(seen)} times; likely mistake: "
        "cross-attention is given the memory, and works them out at each token")


def test_each_token_is_read_once_and_an_ended_row_costs_nothing(monkeypatch):
    model, end, shapes, decode = t5("v1.0"), CONFIG.eos_id, [], T5.decode
    script = iter([[9, 9, 9, 9], [9, end, 9, 9], [9, 9, end], [9, 9]])
    monkeypatch.setattr(T5, "decode", lambda self, ids, *a, **how: shapes.append(tuple(ids.shape))
                        or decode(self, ids, *a, **how))
    came = answer(model, INPUTS, 4, lambda logits, texts: torch.tensor(next(script)))
    equal(came, [[9] * 4, [9], [9] * 4, [9, 9]], "a row ends with the end token, which is left out")
    equal(shapes, [(4, 1), (4, 1), (3, 1), (2, 1)], "the start tokens, then one token of each row still going")


# ---- beam search


def without_end(beams: Beams, end: int) -> Beams:
    return [(score, tokens[:-1] if tokens[-1] == end else tokens) for score, tokens in beams]


@version
@PENALTY
def test_enough_beams_find_the_best_of_all_answers(version, penalty):
    for seed, n in ((0, 1), (1, 2), (2, 4), (3, 4)):
        model = t5(version, seed, vocab_size=4, start_id=0)
        expected = without_end(all_texts(Answering(model, [2, 3, 3]), [0], n, 1, penalty), 1)
        agree(answer_by_beam(model, [2, 3, 3], n, 4**n, penalty), expected,
              f"{n} tokens: log P / length^{penalty}, the end token counted, the start token not; best first")


@version
@pytest.mark.parametrize("n_beams", [1, 2, 3])
def test_few_beams_are_those_of_a_search_without_a_cache(version, n_beams):
    for seed, penalty in ((0, 1.0), (1, 0.0), (2, 2.0), (3, -1.0)):
        model = t5(version, seed, vocab_size=5, start_id=3)
        expected = beams_that_never_stop(Answering(model, [2, 4, 3]), [3], 5, n_beams, 1, penalty)
        came = answer_by_beam(model, [2, 4, 3], 5, n_beams, penalty)
        agree(came, without_end(expected, 1), "memory and cache were not selected with the beams, or it stopped early")
        equal(came, sorted(came, reverse=True), "best first")


@pytest.mark.needs_data
@version
@PENALTY
def test_beams_equal_those_of_transformers(tmp_path, version, penalty):
    """Without an end, both keep the likeliest n_beams at each step, and divide by the number of new tokens."""
    model = t5(version)
    theirs = opened_by_transformers(model, tmp_path, "T5ForConditionalGeneration")
    out = theirs.generate(torch.tensor(INPUTS[:1]), max_new_tokens=6, num_beams=4, num_return_sequences=4,
                          length_penalty=penalty, early_stopping="never", do_sample=False, eos_token_id=None,
                          return_dict_in_generate=True, output_scores=True)
    expected = list(zip(out.sequences_scores.tolist(), out.sequences[:, 1:].tolist()))
    agree(beam_search(Writer(model, INPUTS[:1]), [START], 6, 4, None, penalty), expected, "4 beams, the same weights")


@pytest.mark.needs_data
@version
@PENALTY
def test_answers_that_end_have_the_scores_of_transformers(tmp_path, version, penalty):
    """With an end the two keep other texts, unless there are beams for all of them: 40 of up to 3 out of 4 tokens."""
    model, n = t5(version, 2, vocab_size=4, start_id=0), 40
    theirs = opened_by_transformers(model, tmp_path, "T5ForConditionalGeneration")
    out = theirs.generate(torch.tensor([[2, 3, 3]]), max_new_tokens=3, num_beams=n, num_return_sequences=n,
                          length_penalty=penalty, early_stopping="never", do_sample=False,
                          return_dict_in_generate=True, output_scores=True)
    expected = [(score, tokens[1:]) for score, tokens in zip(out.sequences_scores.tolist(), out.sequences.tolist())]
    expected = [(score, tokens[:tokens.index(1)] if 1 in tokens else tokens) for score, tokens in expected]
    agree(answer_by_beam(model, [2, 3, 3], 3, n, penalty), expected,
          "the length holds the end token and not the start token")


# ---- the state of the model

WRITE = {"greedy": lambda model: answer(model, INPUTS, 8),
         "beams": lambda model: answer_by_beam(model, INPUTS[0], 4, 3)}


@pytest.mark.parametrize("how", WRITE)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_dropout_is_off_and_the_mode_comes_back(how, training):
    model = t5("v1.0", dropout=0.5)
    expected = WRITE[how](model)
    model.train(training)
    equal(WRITE[how](model), expected, "dropout was on, in the encoder or in the decoder")
    wrong = [name or "the model" for name, module in model.named_modules() if module.training != training]
    assert not wrong, (f"expected {'train' if training else 'eval'} mode as before, and {wrong[0]} is in the other; "
                       "likely mistake: a module around the model has a mode of its own, which begins as training")


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_mode_comes_back_after_an_error(training):
    def fail(*_):
        raise RuntimeError("as planned")

    model = t5("v1.1").train(training)
    with pytest.raises(RuntimeError, match="as planned"):
        answer(model, INPUTS, 5, fail)
    assert all(module.training == training for module in model.modules()), (
        "the mode that the model was in should come back after an error too; likely mistake: no try ... finally")


def test_writing_takes_no_gradients_and_leaves_the_weights_alone():
    model = t5("v1.0")
    before = {name: p.clone() for name, p in model.named_parameters()}
    answer(model, INPUTS, 3)
    answer_by_beam(model, INPUTS[0], 3, 2)
    assert torch.is_grad_enabled(), "the caller's gradients are on as before"
    changed = [name for name, p in model.named_parameters() if p.grad is not None or not p.equal(before[name])]
    equal(changed, [], "writing moves nothing")
    model(torch.tensor(INPUTS[:1]), torch.tensor([[START]])).sum().backward()  # no inference tensor was left behind
    assert model.decoder_bias.table.weight.grad is not None


# ---- what is refused, and what is not


@pytest.mark.parametrize(("ids", "named"), [([], "is empty"), ([5, V], f"token {V},"), ([-1, 5], "token -1,")])
def test_inputs_that_make_no_sense_are_refused_in_one_line(ids, named):
    model = t5("v1.0").train()
    for write in (lambda: answer(model, [[1, 2], ids, [3]], 3), lambda: answer_by_beam(model, ids, 3, 2)):
        with pytest.raises(UserError) as error:
            write()
        message = str(error.value)
        assert named in message and len(message.splitlines()) == 1, f"expected one line with {named!r}, came: {message}"
        assert "input" in message, f"the user gave an input, not a prompt: {message}"
        assert model.training, "a refusal leaves the model as it was"


def test_the_smallest_of_everything():
    model = t5("v1.1")
    equal(answer(model, [], 5), [], "no inputs, no answers")
    equal(answer(model, INPUTS, 0), [[], [], [], []], "no new tokens, empty answers")
    equal(answer(model, [[V - 1]], 3), one_by_one(model, [[V - 1]], 3), "one token, the last of the vocabulary")
    [(score, tokens)] = answer_by_beam(model, [0], 1, 1)
    log_p = next_log_p(Answering(model, [0]), [START])
    equal([tokens or [CONFIG.eos_id]], [[log_p.argmax().item()]], "one beam, one token: the likeliest")
    assert abs(score - log_p.max().item()) < 1e-5, "its score is its log-probability"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_of_the_model_is_kept(dtype):
    model = t5("v1.1").to(dtype)
    cache = Writer(model, INPUTS).new_cache(4, 5)
    types = {x.dtype for pair in cache.memory for x in pair} | {layer.keys.dtype for layer in cache.layers}
    equal(types, {dtype}, "keys and values, of the memory and of the answer, are of the model's type")
    if dtype == torch.float64:
        equal(answer(model, INPUTS, 9), one_by_one(model, INPUTS, 9), "the same in float64")
