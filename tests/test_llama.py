"""LLaMA against `transformers`, against a LLaMA without a tensor library's help, and a trained one that tells a story.

What holds of GPT and LLaMA alike is in tests/test_gpt.py.

    python -m pytest -s tests/test_llama.py      also prints the largest differences
"""

import cmath
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import minigpt
from common import hub
from common.generate import generate
from minigpt import Llama, LlamaConfig
from tests.explain import close, equal
from tests.oracle import oracle
from tests.test_gpt import (
    agree,
    change_config,
    equals_theirs,
    opened_by_transformers,
    random_batch,
    random_weights,
    refused,
    same_models,
    store,
    stored,
)

SIZES = {  # no two alike within a model; eps and base so that they are seen
    "multi-head": LlamaConfig(vocab_size=61, d_model=24, n_layers=2, n_heads=3, d_ff=40, max_len=17, norm_eps=1e-2),
    "grouped, tied": LlamaConfig(vocab_size=53, d_model=24, n_layers=2, n_heads=6, n_kv_heads=2, d_ff=38, max_len=14,
                                 norm_eps=1e-3, rope_base=321.0, tied=True, bos_id=5, eos_id=7),
    "grouped, head width given": LlamaConfig(vocab_size=71, d_model=20, n_layers=2, n_heads=4, n_kv_heads=2, d_head=8,
                                             d_ff=50, max_len=33, norm_eps=1e-5, rope_base=500_000.0),
    "one key-value head": LlamaConfig(vocab_size=47, d_model=16, n_layers=1, n_heads=4, n_kv_heads=1, d_head=2,
                                      d_ff=26, max_len=13, tied=True),
}
size = pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())
CONFIG = SIZES["grouped, head width given"]


# ------------------------------------------------ the same numbers as transformers


@size
def test_equals_transformers(tmp_path, config):
    ours = random_weights(Llama(config))
    theirs = opened_by_transformers(ours, tmp_path, "LlamaForCausalLM")
    equals_theirs(ours, theirs, "pairs (i, i + Dh/2), the base of the angles, gate before up, which heads share keys")


@size
def test_their_files_open_here(tmp_path, config):
    transformers = oracle("transformers")
    theirs = random_weights(transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=config.d_model, num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads, head_dim=config.d_head,
        intermediate_size=config.d_ff, max_position_embeddings=config.max_len, rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base}, tie_word_embeddings=config.tied,
        bos_token_id=config.bos_id, eos_token_id=config.eos_id)))
    theirs.save_pretrained(tmp_path)
    ours = minigpt.load(tmp_path)
    equal(type(ours), Llama, "load picks the class by model_type")
    written_out = replace(config, n_kv_heads=config.n_kv_heads or config.n_heads,
                          d_head=config.d_head or config.d_model // config.n_heads)
    equal(ours.config, written_out, "a field of config.json is read under another name")
    equals_theirs(ours, theirs, "a name of the table")


# ------------------------------------------------ a LLaMA in the most literal way


def literal_llama(weights: dict, config: LlamaConfig, ids: list[int]) -> list[list[float]]:
    """The logits at each place of one text, number by number, with rotation as the paper and Meta's code have it.

    weights: by their published names, as lists. There the rows of q and k are in Hugging Face's order; Meta's order
    is restored first, and then neighbours 2i and 2i + 1 are the real and imaginary part of one number.
    """
    d = config.d_head or config.d_model // config.n_heads
    n_kv_heads = config.n_kv_heads or config.n_heads
    metas_order = [row for i in range(d // 2) for row in (i, i + d // 2)]

    def times(matrix, x):
        return [sum(w * number for w, number in zip(row, x)) for row in matrix]

    def norm(weight, x):
        root = math.sqrt(sum(number * number for number in x) / len(x) + config.norm_eps)
        return [w * number / root for w, number in zip(weight, x)]

    def heads(x, n):
        return [x[h * d:(h + 1) * d] for h in range(n)]

    def turned(head, position):
        head = [head[row] for row in metas_order]
        pairs = [complex(head[2 * i], head[2 * i + 1]) for i in range(d // 2)]
        return [pair * cmath.exp(1j * position / config.rope_base ** (2 * i / d)) for i, pair in enumerate(pairs)]

    def product(q, k):
        return sum((a * b.conjugate()).real for a, b in zip(q, k))

    stream = [weights["model.embed_tokens.weight"][token] for token in ids]
    for layer in range(config.n_layers):
        w = {name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): matrix
             for name, matrix in weights.items() if name.startswith(f"model.layers.{layer}.")}
        normed = [norm(w["input_layernorm"], x) for x in stream]
        q = [[turned(h, p) for h in heads(times(w["self_attn.q_proj"], x), config.n_heads)]
             for p, x in enumerate(normed)]
        k = [[turned(h, p) for h in heads(times(w["self_attn.k_proj"], x), n_kv_heads)] for p, x in enumerate(normed)]
        v = [heads(times(w["self_attn.v_proj"], x), n_kv_heads) for x in normed]
        for p, x in enumerate(stream):
            read = []
            for h in range(config.n_heads):
                shared = h // (config.n_heads // n_kv_heads)
                likeness = [math.exp(product(q[p][h], k[s][shared]) / math.sqrt(d)) for s in range(p + 1)]
                read += [sum(a * v[s][shared][i] for s, a in enumerate(likeness)) / sum(likeness) for i in range(d)]
            x = [a + b for a, b in zip(x, times(w["self_attn.o_proj"], read))]
            normed_x = norm(w["post_attention_layernorm"], x)
            gate, up = times(w["mlp.gate_proj"], normed_x), times(w["mlp.up_proj"], normed_x)
            inner = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)]
            stream[p] = [a + b for a, b in zip(x, times(w["mlp.down_proj"], inner))]
    head = weights["model.embed_tokens.weight" if config.tied else "lm_head.weight"]
    return [times(head, norm(weights["model.norm.weight"], x)) for x in stream]


@size
def test_equals_a_literal_llama(config):
    model = random_weights(Llama(config))
    weights = {name: view.tolist() for name, view in hub.views(model, Llama.layout).items()}
    ids = torch.randint(config.vocab_size, (7,)).tolist()
    expected = torch.tensor(literal_llama(weights, config, ids))
    agree("logits", model(torch.tensor([ids]))[0], expected, 1e-5, "what the paper says, step by step")


# ------------------------------------------------ a trained model


def test_stories260k_tells_its_story_to_the_letter(shared_data):
    """255 tokens after <s>. One wrong bit of the architecture gives another text, or none."""
    folder = shared_data / "stories260K"
    tokenizer = oracle("sentencepiece").SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model = minigpt.load(folder)
    text = tokenizer.decode([model.config.bos_id, *generate(model, [[model.config.bos_id]], 255)[0]])
    expected = (folder / "EXPECTED.txt").read_text(encoding="utf-8")
    apart = next((i for i, (a, b) in enumerate(zip(text, expected)) if a != b), min(len(text), len(expected)))
    assert text == expected, (
        f"from character {apart} on expected {expected[apart:apart + 40]!r}, came {text[apart:apart + 40]!r}; likely "
        "mistake: pairs of rotary positions, eps, which query heads share a key-value head")


# ------------------------------------------------ positions


def test_only_distances_count():
    model = random_weights(Llama(CONFIG))
    ids, places = torch.randint(71, (2, 6)), torch.arange(6)[None]
    here = model.hidden(ids)
    agree("moved by 20", model.hidden(ids, places + 20), here, 1e-4, "rotary positions are relative")
    moved = (model.hidden(ids, places * 3) - here).abs().max().item()
    assert moved > 1e-2, f"three times the distance moved the output by {moved:.1e} only; likely mistake: no rotation"


# ------------------------------------------------ files


@pytest.fixture
def folder(tmp_path) -> Path:
    """A random Llama, written."""
    random_weights(Llama(CONFIG)).save_pretrained(tmp_path)
    return tmp_path


@size
def test_round_trip(tmp_path, config):
    model = random_weights(Llama(config))
    model.save_pretrained(tmp_path)
    same_models(minigpt.load(tmp_path), model, "what was written is not what was read")
    equal("lm_head.weight" in stored(tmp_path), not config.tied, "a tied weight is written once, two are written twice")


def test_each_matrix_is_published_by_itself(folder):
    tensors, block = stored(folder), minigpt.load(folder).decoder.blocks[1]
    q, k, v = block.attention.qkv.weight.split([32, 16, 16])
    gate, up = block.feed_forward.gate_up.weight.split(50)
    for name, expected in {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v,
                           "mlp.gate_proj": gate, "mlp.up_proj": up}.items():
        close(tensors[f"model.layers.1.{name}.weight"], expected, f"{name}: the matrix is cut at its parts, in order")


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pytorch_model.bin"])
def test_old_files(folder, pickled):
    """rope_theta flat, no rope_parameters, no head width, and the angles' frequencies among the tensors."""
    config = SIZES["multi-head"]
    expected = random_weights(Llama(replace(config, rope_base=123.0)))
    expected.save_pretrained(folder)
    change_config(folder, without=("rope_parameters", "head_dim", "num_key_value_heads", "mlp_bias", "attention_bias"),
                  rope_theta=123.0)
    store(folder, stored(folder) | {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.rand(4)
                                    for i in range(config.n_layers)}, pickled)
    same_models(minigpt.load(folder), expected, "rope_theta stood at the top once; inv_freq is computed, not learned")


def test_the_base_of_today_comes_first(folder):
    change_config(folder, without=("rope_theta",), rope_parameters={"rope_type": "default", "rope_theta": 77.0})
    equal(minigpt.load(folder).config.rope_base, 77.0, "rope_parameters.rope_theta is today's place")
    change_config(folder, rope_theta=66.0)
    equal(minigpt.load(folder).config.rope_base, 77.0, "with both, rope_parameters counts, as in transformers")
    change_config(folder, without=("rope_parameters",))
    equal(minigpt.load(folder).config.rope_base, 66.0, "without it the flat rope_theta of older files counts")
    change_config(folder, without=("rope_theta",))
    equal(minigpt.load(folder).config.rope_base, 10_000.0, "without any it is LLaMA's")


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8_192}


@pytest.mark.parametrize(("changes", "words"), [
    ({"rope_scaling": LLAMA3}, ["rope_scaling", "llama3"]),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, ["rope_scaling", "linear"]),
    ({"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}, ["rope_parameters.rope_type = 'llama3'", "'default'"]),
    ({"hidden_act": "gelu"}, ["hidden_act = 'gelu'", "'silu'"]),
    ({"attention_bias": True}, ["attention_bias = True"]),
    ({"mlp_bias": True}, ["mlp_bias = True"]),
    ({"intermediate_size": None}, ["intermediate_size = None, which is not a number"]),
    ({"rope_parameters": {"rope_theta": "far"}}, ["rope_parameters.rope_theta = 'far', which is not a number"]),
    ({"num_key_value_heads": 3}, ["n_kv_heads = 3 must divide n_heads = 4"]),
    ({"num_key_value_heads": None}, ["k_proj.weight is (16, 20), expected (32, 20)"]),
    ({"head_dim": 4}, ["q_proj.weight is (32, 20), expected (16, 20)"]),
    ({"tie_word_embeddings": True}, ["lm_head.weight differs from model.embed_tokens.weight"]),
], ids=str)
def test_wrong_configs(folder, changes, words):
    change_config(folder, **changes)
    refused(folder, str(folder), *words)


def test_an_untied_file_without_a_head_is_refused(folder):
    tensors = stored(folder)
    del tensors["lm_head.weight"]
    store(folder, tensors)
    refused(folder, "lacks lm_head.weight (71, 20), which LlamaForCausalLM needs")


def test_a_tied_file_may_repeat_its_head(tmp_path):
    expected = random_weights(Llama(SIZES["grouped, tied"]))
    expected.save_pretrained(tmp_path)
    tensors = stored(tmp_path)
    store(tmp_path, tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    same_models(minigpt.load(tmp_path), expected, "a repeated head is the same parameter")


def test_several_end_tokens(folder):
    change_config(folder, eos_token_id=[33, 8, 9])
    equal(minigpt.load(folder).config.eos_id, 33, "LLaMA 3 Instruct has a list of ends; the first one counts")


def test_no_key_value_heads_given(tmp_path):
    expected = random_weights(Llama(SIZES["multi-head"]))
    expected.save_pretrained(tmp_path)
    for changes in ({}, {"num_key_value_heads": None, "head_dim": None}):
        change_config(tmp_path, without=("num_key_value_heads", "head_dim") if not changes else (), **changes)
        same_models(minigpt.load(tmp_path), expected, "null and absent: as many key-value heads as heads")


# ------------------------------------------------ sizes


def llama_formula(V: int, D: int, L: int, H: int, F: int, Hkv: int | None = None) -> int:
    d = D // H
    queries_and_out, keys_and_values = 2 * D * H * d, 2 * D * (Hkv or H) * d
    return 2 * V * D + L * (queries_and_out + keys_and_values + 3 * D * F + 2 * D) + D


COUNTS = {
    "llama_7b": (6_738_415_616, llama_formula(32_000, 4_096, 32, 32, 11_008)),
    "llama_13b": (13_015_864_320, llama_formula(32_000, 5_120, 40, 40, 13_824)),
    "llama_33b": (32_528_943_616, llama_formula(32_000, 6_656, 60, 52, 17_920)),
    "llama_65b": (65_285_660_672, llama_formula(32_000, 8_192, 80, 64, 22_016)),
    "llama3_8b": (8_030_261_248, llama_formula(128_256, 4_096, 32, 32, 14_336, 8)),
    "llama3_70b": (70_553_706_496, llama_formula(128_256, 8_192, 80, 64, 28_672, 8)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    expected, by_formula = COUNTS[name]
    equal(by_formula, expected, "the formula of this test")
    with torch.device("meta"):  # sizes without memory
        came = sum(parameter.numel() for parameter in Llama(getattr(LlamaConfig, name)()).parameters())
    assert came == expected, (
        f"expected {expected:,}, came {came:,}; likely mistake: a bias too many, n_kv_heads, or a tied head")


@pytest.mark.parametrize(("name", "heads", "context", "eps", "base", "ends"), [
    ("llama_7b", 32, 2_048, 1e-6, 1e4, (1, 2)), ("llama_13b", 40, 2_048, 1e-6, 1e4, (1, 2)),
    ("llama_33b", 52, 2_048, 1e-6, 1e4, (1, 2)), ("llama_65b", 64, 2_048, 1e-6, 1e4, (1, 2)),
    ("llama3_8b", 32, 8_192, 1e-5, 5e5, (128_000, 128_001)), ("llama3_70b", 64, 8_192, 1e-5, 5e5, (128_000, 128_001))])
def test_published_sizes_that_no_parameter_count_shows(name, heads, context, eps, base, ends):
    config = getattr(LlamaConfig, name)()
    came = config.n_heads, config.max_len, config.norm_eps, config.rope_base, (config.bos_id, config.eos_id)
    equal(came, (heads, context, eps, base, ends), "heads, context, eps, base of the angles and special tokens")


def test_gradients_reach_every_parameter():
    model = random_weights(Llama(CONFIG))
    ids, mask = random_batch(CONFIG.vocab_size)
    model(ids, mask=mask)[mask].square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle, f"expected a gradient everywhere, came none in {idle}"
