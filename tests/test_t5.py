"""T5 against `transformers` (outputs, gradients, files both ways), and what must hold of it by itself.

    python -m pytest -s tests/test_t5.py      also prints the largest differences

How it writes is in tests/test_writer.py; the buckets of distances are in tests/test_positions.py.
"""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

import common.attention
from common import hub
from common.attention import Attention
from common.command import UserError
from common.layers import RMSNorm
from common.positions import relative_bucket
from minit5 import T5, T5Config
from minit5.objective import collate, target_loss
from minit5.published import T5_LAYOUT
from minit5.writer import answer
from tests.explain import close, equal, same
from tests.oracle import oracle
from tests.test_gpt import (
    agree,
    agree_gradients,
    change_config,
    opened_by_transformers,
    random_batch,
    random_weights,
    same_models,
    store,
    stored,
)

V, D = 61, 24
SIZES = {  # no two alike within a model; eps large enough to be seen, texts of 13 tokens longer than max_distance
    "v1.0": T5Config(vocab_size=V, d_model=D, d_head=5, d_ff=40, n_layers=2, n_heads=3, n_buckets=8, max_distance=10,
                     dropout=0.25, norm_eps=1e-2, eos_id=7),
    "v1.0, uneven": T5Config(vocab_size=53, d_model=16, d_head=6, d_ff=22, n_layers=1, n_decoder_layers=3, n_heads=2,
                             n_buckets=12, max_distance=9, norm_eps=1e-3, pad_id=2, eos_id=5, start_id=4),
    "v1.1": T5Config(vocab_size=V, d_model=D, d_head=6, d_ff=38, n_layers=3, n_decoder_layers=2, n_heads=5,
                     n_buckets=8, max_distance=10, dropout=0.0, norm_eps=1e-2, gated=True, tied=False, start_id=3),
}
size = pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())
SMALL = {"v1.0": replace(SIZES["v1.0"], dropout=0.1), "v1.1": replace(SIZES["v1.1"], dropout=0.1)}
version = pytest.mark.parametrize("version", SMALL)
OLD = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # old files repeat shared.weight so


def new(version: str, **changes) -> T5:
    """A fresh small model, dropout off."""
    return T5(replace(SMALL[version], **changes)).eval()


def randomised(model: T5) -> T5:
    """Random weights in all places, as after a training; logits of about 1, whether the head is tied or not."""
    random_weights(model)
    if not model.config.tied:
        with torch.no_grad():
            model.head.weight *= 0.3
    return model


def trained(version: str, **changes) -> T5:
    return randomised(new(version, **changes))


def both_sides(vocab_size: int = V) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids, decoder_ids, mask, decoder_mask, (5, 13) each, as T5.forward takes them; rows of other lengths per side."""
    (ids, mask), (decoder_ids, decoder_mask) = random_batch(vocab_size), random_batch(vocab_size)
    return ids, decoder_ids.flip(0), mask, decoder_mask.flip(0)


# ------------------------------------------------ the same numbers as transformers


def equals_theirs(ours: T5, theirs: nn.Module, mistake: str) -> None:
    """Outputs and gradients of the two, both sides padded on the right."""
    ids, decoder_ids, mask, real = both_sides(ours.config.vocab_size)
    came = ours(ids, decoder_ids, mask, real)
    expected = theirs(input_ids=ids, attention_mask=mask.long(), decoder_input_ids=decoder_ids,
                      decoder_attention_mask=real.long()).logits
    agree("logits", came[real], expected[real], 1e-5, mistake)
    answers = torch.randint(ours.config.vocab_size, (int(real.sum()),))
    for logits in (came, expected):
        F.cross_entropy(logits[real], answers).backward()
    agree_gradients(ours, theirs)


@size
def test_equals_transformers(tmp_path, config):
    ours = randomised(T5(config))
    theirs = opened_by_transformers(ours, tmp_path, "T5ForConditionalGeneration")
    equals_theirs(ours, theirs, "distances, no 1/√d, no bias in cross-attention, 1/√D before a tied head alone")


@size
def test_a_t5_comes_back_from_transformers(tmp_path, config):
    ours = randomised(T5(config))
    opened_by_transformers(ours, tmp_path / "a", "T5ForConditionalGeneration").save_pretrained(tmp_path / "b")
    written_out = replace(config, n_decoder_layers=config.n_decoder_layers or config.n_layers)
    came = T5.from_pretrained(tmp_path / "b")
    equal(came.config, written_out, "a field of config.json got lost")
    for (name, p), q in zip(came.named_parameters(), ours.parameters(), strict=True):
        same(p, q, f"{name} got lost between the two")


# what transformers is told to build, how its head is kept, and whether our two matrices must move as one
THEIRS = {
    "v1.0": ("relu", True, False),
    "v1.1, made anew": ("gated-gelu", False, False),  # transformers 5 ties every T5; v1.1 is unscaled all the same
    "v1.1, as published": ("gated-gelu", False, True),
}


def their_t5(kind: str) -> nn.Module:
    transformers, (activation, tied, own_head) = oracle("transformers"), THEIRS[kind]
    theirs = random_weights(transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=V, d_model=D, d_kv=5, d_ff=40, num_layers=2, num_decoder_layers=3, num_heads=3,
        relative_attention_num_buckets=8, relative_attention_max_distance=10, dropout_rate=0.25,
        layer_norm_epsilon=1e-2, feed_forward_proj=activation, tie_word_embeddings=tied, eos_token_id=7,
        decoder_start_token_id=3)))
    if own_head:
        theirs.lm_head.weight = nn.Parameter(torch.randn(V, D) * 0.06)
    return theirs


@pytest.mark.parametrize("kind", THEIRS)
def test_their_files_open_here(tmp_path, kind):
    theirs = their_t5(kind)
    theirs.save_pretrained(tmp_path)
    ours, tied, own_head = T5.from_pretrained(tmp_path), THEIRS[kind][1], THEIRS[kind][2]
    expected = replace(SIZES["v1.0"], n_decoder_layers=3, start_id=3, gated=not tied, tied=tied)
    equal(ours.config, expected, "a field of config.json is read under another name")
    equal("lm_head.weight" in stored(tmp_path), own_head, "this test should know what transformers writes")
    equal(ours.head.weight is ours.token.weight, tied, "v1.1 has a head of its own here, whatever it began as")
    assert not ours.training, "a model that was read must have its dropout off, or its answers are random"
    if not tied and not own_head:
        same(ours.head.weight, ours.token.weight, "without lm_head.weight the embeddings stand in for it")
        ours.head.weight = ours.token.weight  # one parameter there, and so one gradient
    equals_theirs(ours, theirs, "a name of the table, or the head is scaled where it should not be")


def test_an_unscaled_head_is_not_scaled_by_accident(tmp_path):
    """Two files that differ in one word of config.json; their logits differ by √D and by nothing else."""
    their_t5("v1.1, made anew").save_pretrained(tmp_path)
    plain = T5.from_pretrained(tmp_path)
    change_config(tmp_path, scale_decoder_outputs=True)
    ids, decoder_ids, *masks = both_sides()
    close(T5.from_pretrained(tmp_path)(ids, decoder_ids, *masks) * D**0.5, plain(ids, decoder_ids, *masks),
          "scale_decoder_outputs says whether the states are divided by √D; tie_word_embeddings says nothing there")


def test_config_json_says_what_transformers_says(tmp_path):
    """What we write and what transformers makes of it and writes again have no field that differs."""
    for config in SIZES.values():
        opened_by_transformers(T5(config), tmp_path, "T5ForConditionalGeneration").save_pretrained(tmp_path / "theirs")
        ours, theirs = (json.loads((folder / "config.json").read_text(encoding="utf-8"))
                        for folder in (tmp_path, tmp_path / "theirs"))
        apart = {name: (value, theirs.get(name)) for name, value in ours.items() if theirs.get(name) != value}
        apart.pop("num_decoder_layers", None)  # null is as many as the encoder has
        apart.pop("tie_word_embeddings", None)  # true of every T5 there
        equal(apart, {}, "a field of ours that transformers does not know, or reads otherwise")


# ------------------------------------------------ published files

# config.json of t5-small and of flan-t5-small as they are published, sizes changed
T5_SMALL = """{"architectures": ["T5ForConditionalGeneration"], "d_ff": 40, "d_kv": 5, "d_model": 24,
    "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0,
    "is_encoder_decoder": true, "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512, "num_heads": 3,
    "num_layers": 2, "output_past": true, "pad_token_id": 0, "relative_attention_num_buckets": 32,
    "task_specific_params": {"summarization": {"early_stopping": true, "length_penalty": 2.0, "max_length": 200,
        "min_length": 30, "no_repeat_ngram_size": 3, "num_beams": 4, "prefix": "summarize: "},
        "translation_en_to_de": {"early_stopping": true, "max_length": 300, "num_beams": 4,
        "prefix": "translate English to German: "}}, "vocab_size": 61}"""
FLAN_T5_SMALL = """{"architectures": ["T5ForConditionalGeneration"], "d_ff": 40, "d_kv": 5, "d_model": 24,
    "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0, "is_encoder_decoder": true, "layer_norm_epsilon": 1e-06, "model_type": "t5",
    "n_positions": 512, "num_decoder_layers": 2, "num_heads": 3, "num_layers": 2, "output_past": true,
    "pad_token_id": 0, "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
    "tie_word_embeddings": false, "transformers_version": "4.23.1", "use_cache": true, "vocab_size": 61}"""
OF_BOTH = T5Config(vocab_size=V, d_model=D, d_head=5, d_ff=40, n_layers=2, n_heads=3)  # the rest as we have it
PUBLISHED = {"t5-small": (T5_SMALL, OF_BOTH),
             "flan-t5-small": (FLAN_T5_SMALL, replace(OF_BOTH, n_decoder_layers=2, gated=True, tied=False))}


def published(name: str, folder: Path) -> T5:
    """A random model, and a folder that holds it as that model is published."""
    oracle("safetensors")
    text, config = PUBLISHED[name]
    model = randomised(T5(config))
    model.save_pretrained(folder)
    (folder / "config.json").write_text(text, encoding="utf-8")
    unused = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.randn(32, 3)}
    tensors = stored(folder)
    repeated = {name: tensors["shared.weight"].clone() for name in OLD + ("lm_head.weight",) * config.tied}
    store(folder, tensors | repeated | unused, pickled=True)
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_old_published_files_open_here(tmp_path, name):
    expected = published(name, tmp_path)
    came = T5.from_pretrained(str(tmp_path))
    same_models(came, expected, "an absent field of config.json has the published value, a repeated tensor is one, "
                                "and the table that cross-attention never used is passed over")
    theirs = oracle("transformers").T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    equals_theirs(came, theirs, "transformers reads the same folder")


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pytorch_model.bin"])
def test_round_trip(tmp_path, name, pickled):
    model = randomised(T5(PUBLISHED[name][1]))
    model.save_pretrained(tmp_path)
    store(tmp_path, stored(tmp_path), pickled)
    same_models(T5.from_pretrained(tmp_path), model, "what was written is not what was read")


def refused(folder: Path, *words: str) -> None:
    """T5.from_pretrained ends in a UserError of one line that holds all the words."""
    with pytest.raises(UserError) as caught:
        T5.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message, f"expected one line, came {message!r}"
    lacking = [word for word in words if word not in message]
    assert not lacking, f"expected a message with {lacking}, came {message!r}"


WRONG_CONFIGS = {
    "a gated SiLU": ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj = 'gated-silu'", "relu, gated-gelu"),
    "a plain GELU": ({"feed_forward_proj": "gelu"}, "feed_forward_proj = 'gelu'", "relu, gated-gelu"),
    "no activation": ({"feed_forward_proj": None}, "feed_forward_proj = None", "relu, gated-gelu"),
    "not that of the weights": ({"feed_forward_proj": "gated-gelu"}, "DenseReluDense.wi.weight (40, 24), which has no"),
    "another model": ({"model_type": "mt5"}, "model_type = 'mt5'", "'t5'"),
    "fewer decoder layers": ({"num_decoder_layers": 1}, "decoder.block.1."),
    "more decoder layers": ({"num_decoder_layers": 3}, "lacks decoder.block.2."),
    "another width of heads": ({"d_kv": 6}, "SelfAttention.q.weight is (15, 24), expected (18, 24)"),
    "other buckets": ({"relative_attention_num_buckets": 16}, "attention_bias.weight is (32, 3), expected (16, 3)"),
    "a word for a number": ({"d_ff": "wide"}, "d_ff = 'wide', which is not a number"),
}


@pytest.mark.parametrize("case", WRONG_CONFIGS)
def test_wrong_configs(tmp_path, case):
    published("t5-small", tmp_path)
    changes, *words = WRONG_CONFIGS[case]
    change_config(tmp_path, **changes)
    refused(tmp_path, str(tmp_path), *words)


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    published("t5-small", tmp_path)
    whole = torch.load(tmp_path / "pytorch_model.bin")
    unused = next(name for name in whole if "EncDecAttention.relative_attention_bias" in name)
    table = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    query = "decoder.block.1.layer.1.EncDecAttention.q.weight"
    for changed, words in (
        (whole | {table: whole[unused]}, f"{table} (32, 3), which has no place"),  # one table a stack
        ({name: x for name, x in whole.items() if name != query}, f"lacks {query} (15, 24)"),
        *((whole | {name: whole[name] + 1}, f"{name} differs from shared.weight") for name in (*OLD, "lm_head.weight")),
    ):
        torch.save(changed, tmp_path / "pytorch_model.bin")
        refused(tmp_path, words)
    del whole[unused]
    torch.save(whole, tmp_path / "pytorch_model.bin")
    T5.from_pretrained(tmp_path)  # v1.1 never had it


# ------------------------------------------------ sizes


def t5_formula(c: T5Config) -> int:
    inner = c.n_heads * c.d_head
    attention, feed_forward = 4 * c.d_model * inner, (3 if c.gated else 2) * c.d_model * c.d_ff
    encoder = c.n_layers * (attention + feed_forward + 2 * c.d_model)
    decoder = c.n_layers * (2 * attention + feed_forward + 3 * c.d_model)
    stacks = encoder + decoder + 2 * (c.d_model + 32 * c.n_heads)  # each with a last norm and a table of distances
    return (1 if c.tied else 2) * c.vocab_size * c.d_model + stacks


COUNTS = {
    "small": 60_506_624, "base": 222_903_552, "large": 737_668_096, "xl": 2_851_598_336, "xxl": 11_307_321_344,
    "v1_1_small": 76_961_152, "v1_1_base": 247_577_856, "v1_1_large": 783_150_080, "v1_1_xl": 2_849_757_184,
    "v1_1_xxl": 11_135_332_352,
}  # fmt: skip


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    config, expected = getattr(T5Config, name)(), COUNTS[name]
    equal(t5_formula(config), expected, "the formula of this test, or a size")
    with torch.device("meta"):  # sizes without memory
        came = count(T5(config))
    assert came == expected, (
        f"expected {expected:,}, came {came:,}; likely mistake: a head that is tied or not, a bias in a linear map, a "
        "norm too few, a table of distances in every layer")


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_transformers(name):
    transformers, c = oracle("transformers"), getattr(T5Config, name)()
    with torch.device("meta"):
        theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(
            vocab_size=c.vocab_size, d_model=c.d_model, d_kv=c.d_head, d_ff=c.d_ff, num_layers=c.n_layers,
            num_heads=c.n_heads, feed_forward_proj="gated-gelu" if c.gated else "relu"))
        if not c.tied:
            theirs.lm_head.weight = nn.Parameter(torch.empty(c.vocab_size, c.d_model))
    equal(count(theirs), COUNTS[name], "the count that this test expects")


def test_published_sizes_that_no_parameter_count_shows():
    for name in COUNTS:
        c = getattr(T5Config, name)()
        equal((c.vocab_size, c.n_buckets, c.max_distance, c.norm_eps, c.dropout), (32_128, 32, 128, 1e-6, 0.1), name)
        equal((c.pad_id, c.eos_id, c.start_id), (0, 1, 0), f"{name}: padding 0, end 1, and the decoder begins with 0")
        new = name.startswith("v1_1")
        equal((c.gated, c.tied), (new, not new), f"{name}: version 1.1 has a gate, and a head of its own")


# ------------------------------------------------ distances


class Spy:
    """Stands in for `attend`: notes bias and scale of every call, in order."""

    def __init__(self, monkeypatch) -> None:
        self.biases, self.scales = [], []
        real = common.attention.attend

        def attend(q, k, v, mask=None, bias=None, causal=False, scale=None, dropout_p=0.0):
            self.biases.append(bias)
            self.scales.append(scale)
            return real(q, k, v, mask, bias, causal, scale, dropout_p)

        monkeypatch.setattr(common.attention, "attend", attend)


def count_calls(module: nn.Module) -> list:
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@version
def test_one_bias_for_all_layers_and_rows_and_none_in_cross_attention(version, monkeypatch):
    model, spy = trained(version, n_layers=3, n_decoder_layers=4), Spy(monkeypatch)
    calls = count_calls(model.encoder_bias), count_calls(model.decoder_bias)
    ids, decoder_ids, *_ = both_sides()
    model(ids, decoder_ids)
    equal([len(c) for c in calls], [1, 1], "a stack works its bias out once, whatever the number of its layers")
    encoder, own, cross = spy.biases[:3], spy.biases[3::2], spy.biases[4::2]
    equal((len(own), cross), (4, [None] * 4), "a decoder layer attends to itself, with bias, then to the memory, with "
                                              "none")
    heads = model.config.n_heads
    for side, biases in (("encoder", encoder), ("decoder", own)):
        assert all(bias is biases[0] for bias in biases), f"{side}: all layers add the same bias, not one each"
        equal(tuple(biases[0].shape), (1, heads, 13, 13), f"{side}: the bias is the same for all rows of a batch")
        distance = torch.arange(13) - torch.arange(13).unsqueeze(1)  # key minus query
        bucket = relative_bucket(distance, 8, 10, both_directions=side == "encoder")
        expected = getattr(model, f"{side}_bias").table.weight[bucket].permute(2, 0, 1)[None]
        hidden = (distance > 0) & (side == "decoder")
        same(biases[0], expected.masked_fill(hidden, -math.inf), f"{side}: the encoder tells before from behind, the "
                                                                 "decoder hides what is behind")
    equal(spy.scales, [1.0] * (3 + 2 * 4), "T5 does not divide its scores by √d")
    model.new_cache(ids, None, 3)
    equal([len(c) for c in calls], [2, 1], "reading the inputs takes the encoder's bias, once, and not the decoder's")


@version
def test_cross_attention_reads_a_set(version):
    model, (_, decoder_ids, mask, _) = trained(version), both_sides()
    memory, order = torch.randn(5, 13, D), torch.randperm(13)
    agree("memory in another order", model.decode(decoder_ids, memory[:, order], mask[:, order]),
          model.decode(decoder_ids, memory, mask), 1e-5, "distances play no part between decoder and memory")


@version
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_order_matters_by_the_bias_alone(version, side):
    model, ids = trained(version), torch.tensor([[3, 4, 5, 6], [4, 3, 5, 6]])

    def last_moves() -> float:
        memory = torch.randn(1, 5, D).expand(2, -1, -1)
        states = model.encode(ids) if side == "encoder" else model.decode(ids, memory)
        return (states[0, -1] - states[1, -1]).abs().max().item()

    moved = last_moves()
    assert moved > 1e-3, f"swapping two words changed the last state by {moved:.1e}; are distances used at all?"
    getattr(model, f"{side}_bias").table.weight.data.fill_(1.7)
    if side == "encoder":  # a decoder knows order by its causal mask as well: later tokens see more than earlier ones
        moved = last_moves()
        assert moved < 1e-5, f"all distances alike, and yet the order moved the last state by {moved:.1e}"


@version
def test_distances_do_not_depend_on_where_a_text_stands(version):
    """Padding in front, hidden, moves a text to the right; nothing changes but rounding."""
    model, ids = trained(version), torch.randint(V, (2, 6))
    moved, real = F.pad(ids, (4, 0)), F.pad(torch.ones_like(ids), (4, 0)).bool()
    agree("a text moved by 4 places", model.encode(moved, real)[:, 4:], model.encode(ids), 1e-5,
          "the bias depends on position of the key minus position of the query only")


@version
def test_cached_decoding_keeps_the_distances(version):
    """60 tokens, far more than max_distance, read in portions; rows of different lengths."""
    model, (ids, _, mask, _) = trained(version), both_sides()
    text = torch.randint(V, (5, 60))
    expected, cache = model.head(model.decode(text, model.encode(ids, mask), mask)), model.new_cache(ids, mask, 64)
    parts, at = [], [0] * 5
    for portion in ([1] * 5, [4, 2, 1, 3, 5], [20, 1, 7, 30, 2], [0, 3, 1, 1, 0], [1] * 5):
        new = torch.zeros(5, max(portion), dtype=torch.long)
        for row, n in enumerate(portion):
            new[row, :n] = text[row, at[row]:at[row] + n]
        real = torch.arange(max(portion)) < torch.tensor(portion)[:, None]
        came = model.head(model.decode(new, mask=None if real.all() else real, cache=cache))
        parts += [(came[row, :n], expected[row, at[row]:at[row] + n]) for row, n in enumerate(portion)]
        at = [a + n for a, n in zip(at, portion)]
    equal(cache.lengths, at, "padding is not counted")
    came, expected = (torch.cat(rows) for rows in zip(*parts))
    agree("cached", came, expected, 1e-5, "the new tokens' queries stand behind all that were read: bias rows from "
                                          "`positions` on, each row's own")


# ------------------------------------------------ the start


def expected_std(name: str, c: T5Config) -> float:
    """How the published models began, by the end of a tensor's name (Mesh TensorFlow's rules)."""
    return {"q": (c.d_model * c.d_head) ** -0.5, "k": c.d_model**-0.5, "v": c.d_model**-0.5,
            "o": (c.n_heads * c.d_head) ** -0.5, "wi": c.d_model**-0.5, "wi_0": c.d_model**-0.5,
            "wi_1": c.d_model**-0.5, "wo": c.d_ff**-0.5, "relative_attention_bias": c.d_model**-0.5, "shared": 1.0,
            "lm_head": c.d_model**-0.5}[name.split(".")[-2]]


@version
def test_weights_begin_as_published(version):
    model = new(version, d_model=48, d_head=20, d_ff=130, n_buckets=600, n_layers=4)
    views = hub.views(model, T5_LAYOUT)
    for name, p in views.items():
        if p.ndim == 1:
            same(p, torch.ones_like(p), f"{name}: norms begin as 1")
            continue
        expected, noise = expected_std(name, model.config), 5 / math.sqrt(2 * p.numel())  # five sigma
        assert abs(p.std().item() / expected - 1) < noise, (
            f"{name}: expected a deviation of {expected:.4f}, came {p.std().item():.4f}; likely mistake: q is smaller "
            "than k and v by √d_head, embeddings have 1, a head of its own 1/√D, every other matrix 1/√(its inputs)")
        assert abs(p.mean().item()) < 5 * expected / math.sqrt(p.numel()), f"{name}: expected a mean of 0"
    equal("lm_head.weight" in views, version == "v1.1", "v1.0 has one matrix for embeddings and head")


@version
def test_scores_begin_with_a_deviation_of_one(version):
    """No 1/√d, and none is needed: the small queries are the 1/√d."""
    for d_head in (8, 64, 200):
        attention = new(version, d_model=96, d_head=d_head).encoder.blocks[0].attention
        q, k, _ = attention.project(torch.randn(40, 30, 96))
        came, heads = (q @ k.transpose(-2, -1) * attention.scale).std().item(), attention.n_heads
        assert abs(came - 1) < 5 / math.sqrt(2 * 96 * heads), (
            f"d_head {d_head}: expected scores with a deviation of about 1, came {came:.2f}; likely mistake: the scale "
            "and the start of the query matrix do not belong together")


def parts_of(model: nn.Module, kind: type) -> list:
    return [module for module in model.modules() if isinstance(module, kind)]


@version
def test_no_biases_and_rms_norms_only(version):
    model = new(version)
    wrong = [name for name, module in model.named_modules() if getattr(module, "bias", None) is not None]
    equal(wrong, [], "no linear map and no norm of a T5 has a bias")
    equal(parts_of(model, nn.LayerNorm), [], "T5 norms without a mean")
    c = model.config
    n_norms = 2 * c.n_layers + 3 * (c.n_decoder_layers or c.n_layers) + 2
    equal([norm.eps for norm in parts_of(model, RMSNorm)], [1e-2] * n_norms,
          "two norms in an encoder layer, three in a decoder layer, one at the end of each stack, all with norm_eps")
    equal({attention.scale for attention in parts_of(model, Attention)}, {1.0}, "T5 does not divide by √d")


def test_the_head_is_scaled_when_it_is_tied_and_not_else():
    x = torch.randn(2, 3, D)
    tied, untied = trained("v1.0"), trained("v1.1")
    close(tied.head(x), x @ tied.token.weight.T / D**0.5, "v1.0: states times 1/√D, before the embeddings")
    close(untied.head(x), x @ untied.head.weight.T, "v1.1: a head of its own needs no 1/√D")
    assert tied.head.weight is tied.token.weight, "v1.0: one parameter"


@torch.no_grad()
def first_loss(config: T5Config, seed: int, rows: int = 8) -> tuple[float, float]:
    """Of random targets: what it is, and what it should be by a closed form; in units of ln V, which is guessing.

    The logits begin with a variance of 1, so the softmax has V e^½ below its fraction line: half a nat more than
    guessing. One logit stands out where the head is tied: that of the token just read, whose embedding is a large part
    of the state.
    """
    torch.manual_seed(seed)
    model = T5(config).eval()
    ids, answers = torch.randint(2, config.vocab_size, (2, rows, 32))
    decoder_ids = F.pad(answers[:, :-1], (1, 0), value=config.start_id)
    states = model.hidden(ids, decoder_ids)
    came = F.cross_entropy(model.head(states).flatten(0, 1), answers.flatten())
    own = (states * model.token.weight[decoder_ids]).sum(-1) * config.d_model**-0.5 if config.tied else -math.inf
    expected = torch.logaddexp(torch.tensor(math.log(config.vocab_size) + 0.5), torch.as_tensor(own)).mean()
    print(f"\nfirst loss {came:.3f}, guessing {math.log(config.vocab_size):.3f}, closed form {expected:.3f}", end="")
    return came.item() / math.log(config.vocab_size), expected.item() / math.log(config.vocab_size)


@pytest.mark.parametrize("of", [T5Config.small, T5Config.v1_1_small], ids=["v1.0", "v1.1"])
@pytest.mark.parametrize(("vocab_size", "d_model", "n_layers"), [
    (32_128, 512, None), (4_096, 64, 2), (4_096, 128, 6), (8_192, 256, 4), (4_096, 64, 12)])
def test_the_first_loss_is_that_of_guessing(of, vocab_size, d_model, n_layers):
    config = replace(of(), vocab_size=vocab_size, d_model=d_model, n_layers=n_layers or of().n_layers)
    for seed in range(2 if d_model < 512 else 1):
        came, _ = first_loss(config, seed)
        assert abs(came - 1) < 0.1, (
            f"seed {seed}: expected about ln V, came {came:.2f} times that; likely mistake: a tied head without its "
            "1/√D, or a head of its own that begins with a variance of 1 as in transformers (issue 26441)")


def test_a_shallow_and_wide_tied_model_begins_by_repeating_itself():
    """Why v1.0 begins above guessing where it is wide for its depth: the token just read has a logit of up to √D.

    The published sizes are deep enough: each layer adds to the state, and the embedding becomes a smaller part of it.
    """
    ratios = []
    for n_layers in (1, 2, 6):
        config = replace(T5Config.small(), vocab_size=2_048, d_ff=256, n_layers=n_layers)
        came, expected = first_loss(config, seed=0)
        assert abs(came / expected - 1) < 0.03, (
            f"{n_layers} layers: expected {expected:.3f} x ln V from the logit of the token just read, came {came:.3f}")
        ratios.append(came)
    assert ratios[0] > 1.5 and ratios[2] < 1.1, f"expected more layers to mend it, came {ratios} for 1, 2, 6 layers"
    untied, _ = first_loss(replace(T5Config.v1_1_small(), vocab_size=2_048, d_ff=256, n_layers=1), seed=0)
    assert abs(untied - 1) < 0.1, f"a head of its own does not know the token just read; came {untied:.2f} x ln V"


# ------------------------------------------------ who sees whom


@version
@pytest.mark.parametrize("scale", [1, 200], ids=["fresh", "weights x 200"])
@torch.no_grad()
def test_what_is_hidden_changes_no_bit_even_with_large_scores(version, scale):
    model, (ids, _, mask, _) = new(version), both_sides()
    decoder_ids = torch.randint(V, (5, 9))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter *= scale  # a mask of -1e4 in place of -infinity leaks
    before = model(ids, decoder_ids, mask)
    assert before.isfinite().all(), "this test should not overflow"
    for t in range(9):
        changed = decoder_ids.clone()
        changed[:, t:] = (decoder_ids[:, t:] + torch.randint(1, V, (5, 9 - t))) % V  # every one is another token
        same(model(ids, changed, mask)[:, :t], before[:, :t], f"tokens from {t} on changed, an earlier output saw")
    for _ in range(3):
        other = torch.where(mask, ids, torch.randint(V, ids.shape))
        same(model.encode(other, mask)[mask], model.encode(ids, mask)[mask], "encoder: a real token saw a pad")
        same(model(other, decoder_ids, mask), before, "cross-attention saw what stands at a pad")


@version
def test_each_output_depends_on_the_whole_input_and_on_every_earlier_token(version):
    model, ids, decoder_ids = trained(version), torch.randint(V, (1, 7)), torch.randint(V, (1, 9))
    before = model(ids, decoder_ids)

    def moved(ids: Tensor, decoder_ids: Tensor) -> list[bool]:
        return ((model(ids, decoder_ids) - before)[0].abs().amax(-1) > 1e-6).tolist()

    for s in range(7):
        other = ids.clone()
        other[0, s] = (ids[0, s] + 1) % V
        equal(moved(other, decoder_ids), [True] * 9, f"every place of the decoder reads input token {s}")
    for t in range(9):
        other = decoder_ids.clone()
        other[0, t] = (decoder_ids[0, t] + 1) % V
        equal(moved(ids, other), [False] * t + [True] * (9 - t), f"which outputs see token {t}: itself and later ones")


@version
def test_padding_and_batch_mates_change_nothing(version):
    model, (ids, decoder_ids, mask, real) = trained(version), both_sides()
    came, states = model(ids, decoder_ids, mask, real), model.encode(ids, mask)
    other, decoder_other = (torch.where(m, x, torch.randint(V, x.shape)) for m, x in ((mask, ids), (real, decoder_ids)))
    same(model.encode(other, mask)[mask], states[mask], "encoder: what stands at a pad changed a real token")
    same(model(other, decoder_other, mask, real)[real], came[real], "what stands at a pad, on either side, was seen")
    same(model(ids, decoder_ids, mask)[real], came[real], "pads on the right of the decoder are never seen anyway")
    longer = [F.pad(x, (0, 6), value=9) for x in (ids, decoder_ids)] + [F.pad(x, (0, 6)) for x in (mask, real)]
    agree("six pads more", model(*longer)[:, :13][real], came[real], 1e-5, "the number of pads plays no part")
    for row, (s, t) in enumerate(zip(mask.sum(1).tolist(), real.sum(1).tolist())):
        agree(f"row of {s} -> {t}", came[row, :t], model(ids[row:row + 1, :s], decoder_ids[row:row + 1, :t])[0], 1e-5,
              "rows of a batch must not mix; encoder, cross-attention and decoder must not see padding")
    order = [3, 0, 4, 4, 1]
    agree("other batch-mates", model(ids[order], decoder_ids[order], mask[order], real[order])[real[order]],
          came[order][real[order]], 1e-5, "rows of a batch must not mix")


@version
def test_padding_of_the_memory_is_hidden_from_cross_attention(version):
    model, (ids, decoder_ids, mask, _) = trained(version), both_sides()
    memory = model.encode(ids, mask)
    junk = torch.where(mask.unsqueeze(-1), memory, torch.randn_like(memory) * 50)
    before = model.decode(decoder_ids, memory, mask)
    same(model.decode(decoder_ids, junk, mask), before, "memory_mask hides the padding of the encoder")
    shown = (model.decode(decoder_ids, junk) - before)[1].abs().max().item()
    assert shown > 1e-2, f"without memory_mask padding moved the states by {shown:.1e} only: was the memory read?"
    same(model.hidden(ids, decoder_ids, mask), before, "`hidden` hands the encoder's mask on to cross-attention")


@version
def test_a_row_of_padding_only_is_finite_and_alone(version):
    model, (ids, decoder_ids, mask, real) = trained(version), both_sides()
    before = model(ids, decoder_ids, mask, real)
    mask, real = mask.clone(), real.clone()
    mask[1], real[1] = False, False
    came = model(ids, decoder_ids, mask, real)
    came.sum().backward()
    for name, x in (("logits", came), *((name, p.grad) for name, p in model.named_parameters())):
        assert x.isfinite().all(), f"{name}: expected finite numbers, came NaN: softmax of -inf alone is 0 / 0"
    others = [0, 2, 3, 4]
    same(came[others][real[others]], before[others][real[others]], "one empty row changed its batch-mates")


@version
def test_padding_before_a_real_token_is_refused_in_the_decoder(version):
    model, ids = new(version), torch.ones(2, 3, dtype=torch.long)
    for row in ([False, True, True], [True, False, True]):
        mask, cache = torch.tensor([[True, True, True], row]), model.new_cache(ids, None, 5)
        for memory, kept in ((model.encode(ids), None), (None, cache)):
            with pytest.raises(ValueError, match="padding stands before a real token; put it on the right"):
                model.decode(ids, memory, None, mask, kept)
        equal(cache.lengths, [0, 0], "a refused call changed the cache")


# ------------------------------------------------ use


@version
def test_the_parts_are_forward(version):
    model, (ids, decoder_ids, mask, real) = trained(version), both_sides()
    memory, expected = model.encode(ids, mask), model(ids, decoder_ids, mask, real)
    equal((tuple(memory.shape), tuple(expected.shape)), ((5, 13, D), (5, 13, V)), "states (B, S, D), logits (B, T, V)")
    states = model.decode(decoder_ids, memory, mask, real)
    same(model.hidden(ids, decoder_ids, mask, real), states, "hidden = encode, then decode with the same mask")
    same(model.head(states), expected, "hidden + head = forward")
    close(model.head(states[real]), expected[real], "the head must not mix places", atol=1e-5)


@pytest.mark.parametrize("way", ["fresh", "loaded", "to", "deepcopy", "state_dict"])
def test_head_and_embeddings_are_one_parameter_in_v1_0_and_two_in_v1_1(tmp_path, way):
    for version, names in (("v1.0", ["token.weight"]), ("v1.1", ["token.weight", "head.weight"])):
        model = trained(version)
        if way == "loaded":
            oracle("safetensors")
            model.save_pretrained(tmp_path)
            model = T5.from_pretrained(tmp_path)
        elif way == "to":
            model.to(torch.float64)
        elif way == "deepcopy":
            model = copy.deepcopy(model)
        elif way == "state_dict":
            other = new(version)
            other.load_state_dict(model.state_dict())
            same_models(other, model, "load_state_dict")
            model = other
        equal([name for name, p in model.named_parameters() if p.shape == (V, D)], names, f"{version}: the tie")
        before = model.token.weight.detach().clone()
        model.head(torch.ones(D, dtype=before.dtype)).sum().backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        step = D**-0.5 if version == "v1.0" else 0.0
        close(model.token.weight, before - step, f"{version}: a step of a tied head moves the embeddings, of an own "
                                                 "head it does not")


def test_both_sides_read_the_same_embeddings():
    model, (ids, decoder_ids, *_) = trained("v1.1"), both_sides()
    model.encode(ids).sum().backward()
    seen = model.token.weight.grad.abs().sum(1) > 0
    equal(seen.nonzero().flatten().tolist(), ids.unique().tolist(), "the encoder looks its tokens up in `token`")
    model.token.weight.grad = None
    model.decode(decoder_ids, torch.randn(5, 3, D)).sum().backward()
    seen = model.token.weight.grad.abs().sum(1) > 0
    equal(seen.nonzero().flatten().tolist(), decoder_ids.unique().tolist(), "and so does the decoder")


# ------------------------------------------------ dropout


def dropped(model: nn.Module, run) -> list[tuple]:
    """The shapes of all that goes through a dropout module, in a run."""
    shapes = []
    for module in parts_of(model, nn.Dropout):
        module.register_forward_hook(lambda module, inputs, _: shapes.append(tuple(inputs[0].shape)))
    run()
    return sorted(shapes)


@version
def test_dropout_acts_where_it_acts_in_transformers(tmp_path, version):
    ours = new(version, n_decoder_layers=1)
    theirs = opened_by_transformers(ours, tmp_path, "T5ForConditionalGeneration")
    ids, decoder_ids = torch.randint(V, (2, 5)), torch.randint(V, (2, 3))
    came = dropped(ours, lambda: ours(ids, decoder_ids))
    expected = dropped(theirs, lambda: theirs(input_ids=ids, decoder_input_ids=decoder_ids))
    equal(came, expected, "of embeddings and last states on both sides, of what each sublayer adds, of inner values")
    equal({module.p for module in parts_of(ours, nn.Dropout)}, {0.1}, "all at the rate of the config")
    equal({attention.dropout for attention in parts_of(ours, Attention)}, {0.1}, "attention weights are dropped too")


@version
def test_dropout_is_off_in_eval_mode_and_on_in_training(version):
    model, (ids, decoder_ids, *_) = trained(version, dropout=0.5), both_sides()
    sure = model(ids, decoder_ids)
    same(model(ids, decoder_ids), sure, "eval() must give the same numbers twice")
    model.train()
    assert not model(ids, decoder_ids).equal(model(ids, decoder_ids)), "train() must drop at random"
    for part in parts_of(model, nn.Dropout):
        part.p = 0.0
    assert not model(ids, decoder_ids).equal(sure), "attention weights are dropped too; is the rate handed on?"
    for part in parts_of(model, Attention):
        part.dropout = 0.0
    same(model(ids, decoder_ids), sure, "something else is random in training")


# ------------------------------------------------ learning


@version
def test_learns_eight_pairs_by_heart(version):
    """A model whose gradients are right learns random answers to random inputs, and then writes them."""
    model = T5(T5Config(vocab_size=40, d_model=32, d_head=8, d_ff=64, n_layers=2, n_heads=4, dropout=0.0,
                        gated=version == "v1.1", tied=version == "v1.0"))
    pairs = [(torch.randint(2, 40, (3 + i % 4,)).tolist() + [1], torch.randint(2, 40, (2 + i % 5,)).tolist() + [1])
             for i in range(8)]
    b, optimizer = collate(pairs, start_id=0, pad_id=0), torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        total, n = target_loss(model, b)["loss"]
        optimizer.zero_grad()
        (total / n).backward()
        optimizer.step()
    loss = (total / n).item()
    print(f"\nloss {loss:.4f}", end="")
    assert loss < 0.02, f"expected a loss of nearly 0, came {loss:.3f}; likely mistake: gradients do not flow"
    equal(answer(model, [source for source, _ in pairs], 10), [target[:-1] for _, target in pairs],
          "what was learnt by heart is written by heart: the start token, the cache, the end token")
