"""GPT-2 against `transformers` (outputs, gradients, files both ways), and what must hold of any model like it.

The second half runs for LLaMA as well; what LLaMA alone has is in tests/test_llama.py.

    python -m pytest -s tests/test_gpt.py      also prints the largest differences
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

import minigpt
from common import hub
from common.command import UserError
from minigpt import GPT, GPTConfig, Llama, LlamaConfig
from tests.explain import close, equal, same
from tests.oracle import oracle

SIZES = {  # no two alike within a model; eps large enough to be seen
    "d_ff given": GPTConfig(vocab_size=61, d_model=24, n_layers=2, n_heads=3, d_ff=40, max_len=17, norm_eps=1e-2,
                            eos_id=7),
    "d_ff four times d_model": GPTConfig(vocab_size=101, d_model=32, n_layers=3, n_heads=2, max_len=33, dropout=0.0,
                                         eos_id=9),
    "one layer, one head": GPTConfig(vocab_size=53, d_model=12, n_layers=1, n_heads=1, d_ff=30, max_len=14, eos_id=0),
}
size = pytest.mark.parametrize("config", SIZES.values(), ids=SIZES.keys())

SMALL_GPT = GPTConfig(vocab_size=61, d_model=24, n_layers=2, n_heads=3, max_len=17, dropout=0.1, eos_id=7)
SMALL_LLAMA = LlamaConfig(vocab_size=61, d_model=24, n_layers=2, n_heads=6, n_kv_heads=2, d_ff=40, max_len=17)
KINDS = {"GPT": (GPT, SMALL_GPT), "Llama": (Llama, SMALL_LLAMA),
         "tied Llama": (Llama, replace(SMALL_LLAMA, tied=True, n_kv_heads=None))}
every_kind = pytest.mark.parametrize("kind", KINDS)


def new(kind: str, **changes) -> GPT:
    """A fresh small model, dropout off."""
    model_class, config = KINDS[kind]
    return model_class(replace(config, **changes)).eval()


def random_weights(model: nn.Module) -> nn.Module:
    """Every parameter is random, as after a training: fresh biases of 0 and norms of 1 could be left out unseen."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3 if parameter.ndim == 1 else 0.2)
            if parameter.ndim == 1 and name.endswith("weight"):  # of a norm
                parameter += 1
    return model.eval()


def random_batch(vocab_size: int) -> tuple[Tensor, Tensor]:
    """ids, mask (5, 13): rows of 13 tokens and fewer, padded with 0 on the right."""
    mask = torch.arange(13) < torch.tensor([13, 9, 2, 12, 5])[:, None]  # (B, T)
    return torch.randint(1, vocab_size, mask.shape) * mask, mask


def agree(what: str, came: Tensor, expected: Tensor, within: float, mistake: str) -> None:
    """At most `within` apart, and the largest difference printed."""
    if came.shape == expected.shape:
        print(f"\n{what}: largest difference {(came - expected).abs().max():.1e}, "
              f"numbers up to {expected.abs().max():.2f}", end="")
    close(came, expected, f"{what}: {mistake}", rtol=0, atol=within)


def agree_gradients(ours: GPT, theirs: nn.Module, within: float = 1e-4) -> None:
    """Every parameter of ours has the gradient of theirs, under the published name."""
    layout = ours.layout
    expected = {layout.bare(name): parameter.grad for name, parameter in theirs.named_parameters()}
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad)  # now the views are views of the gradients
    came = {layout.bare(name): view for name, view in hub.views(ours, layout).items()}
    assert came.keys() == expected.keys(), f"one side alone has {came.keys() ^ expected.keys()}"
    apart = {name: (came[name] - expected[name]).abs().max().item() for name in expected}
    worst = max(apart, key=apart.get)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    print(f"\ngradients: largest difference {apart[worst]:.1e} ({worst}), gradients up to {largest:.2f}", end="")
    assert apart[worst] <= within, (
        f"gradient of {worst}: expected a difference of at most {within:g}, came {apart[worst]:g}; likely mistake: "
        "right outputs with wrong gradients mean a detach, or a tied weight that is two")


def equals_theirs(ours: GPT, theirs: nn.Module, mistake: str) -> None:
    """Outputs, loss and gradients of the two, on a batch padded on the right."""
    ids, mask = random_batch(ours.config.vocab_size)
    came, expected = ours(ids, mask=mask), theirs(ids, attention_mask=mask.long()).logits
    agree("logits", came[mask], expected[mask], 1e-5, mistake)
    real = mask[:, 1:]  # places whose next token is a real one
    for logits in (came, expected):
        F.cross_entropy(logits[:, :-1][real], ids[:, 1:][real]).backward()
    agree_gradients(ours, theirs)


def opened_by_transformers(model: GPT, folder: Path, name: str) -> nn.Module:
    """Our model as `transformers` opens it; nothing may be missing or left over."""
    model.save_pretrained(folder)
    theirs, info = getattr(oracle("transformers"), name).from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), f"expected nothing missing and nothing unexpected, came {info}"
    return theirs.eval()


def same_models(came: GPT, expected: GPT, mistake: str) -> None:
    """Of one class, with one config, and every parameter bit for bit the same."""
    equal(type(came), type(expected), mistake)
    equal(came.config, expected.config, f"a field of config.json got lost; {mistake}")
    theirs = dict(expected.named_parameters())
    assert dict(came.named_parameters()).keys() == theirs.keys(), mistake
    for name, parameter in came.named_parameters():
        same(parameter, theirs[name], f"{name}: {mistake}")


def stored(folder: Path) -> dict[str, Tensor]:
    tensors = oracle("safetensors.torch").load_file(folder / "model.safetensors")
    return {name: tensor.clone() for name, tensor in tensors.items()}


def store(folder: Path, tensors: dict[str, Tensor], pickled: bool = False) -> None:
    """Put other tensors in the folder, in the one format or the other."""
    if pickled:
        (folder / "model.safetensors").unlink(missing_ok=True)
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        oracle("safetensors.torch").save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, without: tuple[str, ...] = (), **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in without}), encoding="utf-8")


def refused(folder: Path, *words: str) -> None:
    """minigpt.load ends in a UserError of one line that holds all the words."""
    with pytest.raises(UserError) as caught:
        minigpt.load(folder)
    message = str(caught.value)
    assert "\n" not in message, f"expected one line, came {message!r}"
    lacking = [word for word in words if word not in message]
    assert not lacking, f"expected a message with {lacking}, came {message!r}"


# ------------------------------------------------ the same numbers as transformers


@size
def test_equals_transformers(tmp_path, config):
    ours = random_weights(GPT(config))
    theirs = opened_by_transformers(ours, tmp_path, "GPT2LMHeadModel")
    equals_theirs(ours, theirs, "GELU by tanh, eps, pre-norm and the final norm, matrices stored as (in, out)")


@size
def test_their_files_open_here(tmp_path, config):
    transformers = oracle("transformers")
    theirs = random_weights(transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=config.vocab_size, n_embd=config.d_model, n_layer=config.n_layers, n_head=config.n_heads,
        n_inner=config.d_ff, n_positions=config.max_len, layer_norm_epsilon=config.norm_eps,
        resid_pdrop=config.dropout, embd_pdrop=config.dropout, attn_pdrop=config.dropout,
        bos_token_id=config.eos_id, eos_token_id=config.eos_id)))
    theirs.save_pretrained(tmp_path)
    ours = minigpt.load(tmp_path)
    equal(type(ours), GPT, "load picks the class by model_type")
    equal(ours.config, config, "a field of config.json is read under another name; n_inner is null for 4 * n_embd")
    assert not ours.training, "a model that was read must have its dropout off, or its answers are random"
    equals_theirs(ours, theirs, "a name of the table")


# ------------------------------------------------ files


@pytest.fixture
def folder(tmp_path) -> Path:
    """A random GPT, written."""
    random_weights(GPT(SMALL_GPT)).save_pretrained(tmp_path)
    return tmp_path


@every_kind
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pytorch_model.bin"])
def test_round_trip(tmp_path, kind, pickled):
    model = random_weights(new(kind))
    model.save_pretrained(tmp_path)
    store(tmp_path, stored(tmp_path), pickled)
    same_models(minigpt.load(str(tmp_path)), model, "what was written is not what was read")
    same_models(type(model).from_pretrained(tmp_path), model, "what was written is not what was read")


@every_kind
def test_a_model_without_an_end_token_comes_back(tmp_path, kind):
    """eos_id may be None; config.json then says null, as those of `transformers` do."""
    model = new(kind, eos_id=None)
    model.save_pretrained(tmp_path)
    came = minigpt.load(tmp_path).config.eos_id
    assert came is None, f"expected no eos_id, came {came}; likely mistake: null is refused, or is our default"


def test_load_picks_the_class_by_model_type(tmp_path):
    for kind in KINDS:
        new(kind).save_pretrained(tmp_path / kind)
        equal(type(minigpt.load(tmp_path / kind)), KINDS[kind][0], "config.json says model_type")


@pytest.mark.parametrize("kind", ["bert", "gpt_neox", "", None, 3, ["gpt2"]])
def test_a_model_of_another_type_is_refused(folder, kind):
    change_config(folder, model_type=kind)
    refused(folder, str(folder), repr(kind), "gpt2", "llama")


def test_a_class_refuses_a_model_of_the_other(folder):
    with pytest.raises(UserError, match="model_type = 'gpt2'; this LlamaForCausalLM has 'llama' only"):
        Llama.from_pretrained(folder)


def test_matrices_are_published_turned_round(folder):
    """GPT-2 came with TensorFlow's kind of matrix, (in, out)."""
    tensors, shapes = stored(folder), {"attn.c_attn": (24, 72), "mlp.c_fc": (24, 96), "mlp.c_proj": (96, 24)}
    for name, shape in shapes.items():
        equal(tuple(tensors[f"transformer.h.1.{name}.weight"].shape), shape, f"{name} is stored as (in, out)")
    block = GPT.from_pretrained(folder).decoder.blocks[1]
    same(tensors["transformer.h.1.attn.c_proj.weight"].T, block.attention.out.weight,
         "attn.c_proj is square: no shape tells that it is not turned")
    assert "lm_head.weight" not in tensors, "the tied weight is written once"


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pytorch_model.bin"])
def test_old_files(folder, pickled):
    """Without the prefix, with the causal mask as a buffer, the head repeated: as OpenAI's weights are published."""
    expected, tensors = GPT.from_pretrained(folder), stored(folder)
    old = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    for i in range(SMALL_GPT.n_layers):
        old[f"h.{i}.attn.bias"] = torch.ones(17, 17).tril().view(1, 1, 17, 17)
        old[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    store(folder, old, pickled)
    same_models(minigpt.load(folder), expected, "the buffers of old files are passed over, the prefix may be absent")
    old = {f"transformer.{name}": tensor for name, tensor in old.items()}
    old["lm_head.weight"] = old["transformer.wte.weight"].clone()
    store(folder, old, pickled)
    same_models(minigpt.load(folder), expected, "a repeated head is the same parameter; c_attn.bias is no buffer")


def test_a_head_that_differs_is_refused(folder):
    tensors = stored(folder)
    store(folder, tensors | {"lm_head.weight": tensors["transformer.wte.weight"] + 1})
    refused(folder, "lm_head.weight differs from transformer.wte.weight")


WRONG_CONFIGS = {
    "an exact GELU": ({"activation_function": "gelu"}, "activation_function = 'gelu'", "'gelu_new'"),
    "unscaled scores": ({"scale_attn_weights": False}, "scale_attn_weights = False"),
    "scores scaled by layer": ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
    "cross-attention": ({"add_cross_attention": True}, "add_cross_attention = True"),
    "untied": ({"tie_word_embeddings": False}, "tie_word_embeddings = False"),
    "heads that do not divide": ({"n_head": 5}, "n_heads = 5 must divide d_model = 24"),
    "no layers given": ({"n_layer": None}, "n_layer = None, which is not a number"),
    "an empty list of ends": ({"eos_token_id": []}, "eos_token_id = []"),
    "another width inside": ({"n_inner": 95}, "h.0.mlp.c_fc.weight is (24, 96), expected (24, 95)"),
}


@pytest.mark.parametrize("case", WRONG_CONFIGS)
def test_wrong_configs(folder, case):
    changes, *words = WRONG_CONFIGS[case]
    change_config(folder, **changes)
    refused(folder, str(folder), *words)


def test_absent_fields_of_config_json_are_gpt2s(folder):
    change_config(folder, without=("resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "eos_token_id",
                                   "bos_token_id", "n_inner", "activation_function", "tie_word_embeddings"))
    equal(minigpt.load(folder).config, replace(SMALL_GPT, eos_id=50_256), "an absent field has the published default")


# ------------------------------------------------ weights in several files


@pytest.fixture(params=["GPT", "Llama"])
def sharded(request, tmp_path) -> tuple[GPT, Path]:
    """A model, and a folder where transformers has cut it into several files."""
    model = random_weights(new(request.param))
    name = {"GPT": "GPT2LMHeadModel", "Llama": "LlamaForCausalLM"}[request.param]
    opened_by_transformers(model, tmp_path / "whole", name).save_pretrained(tmp_path / "cut", max_shard_size="15KB")
    files = sorted(path.name for path in (tmp_path / "cut").glob("model-*.safetensors"))
    assert len(files) > 2, f"this case should have several files, it has {files}"
    return model, tmp_path / "cut"


def test_several_files_are_one_model(sharded):
    model, folder = sharded
    came = dict(minigpt.load(folder).named_parameters())
    for name, parameter in model.named_parameters():  # the config has our dropout, theirs has all three rates
        same(came[name], parameter, f"{name}: model.safetensors.index.json names all files")


def test_a_missing_shard_is_named(sharded):
    _, folder = sharded
    gone = sorted(folder.glob("model-*.safetensors"))[1]
    gone.unlink()
    refused(folder, str(gone), "missing or damaged")


def test_an_index_reads_no_file_outside_its_folder(sharded):
    _, folder = sharded
    index, moved = folder / "model.safetensors.index.json", sorted(folder.glob("model-*.safetensors"))[0]
    text = index.read_text(encoding="utf-8")
    for place in (f"../{moved.name}", str(folder.parent / moved.name)):
        if moved.exists():
            moved.rename(folder.parent / moved.name)
        index.write_text(text.replace(moved.name, place), encoding="utf-8")
        refused(folder, str(moved))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": null}', '{"weight_map": ["a"]}',
                                     '{"weight_map": {"a": 3}}', '{"weight_map": {"a": ".."}}', '{"weight_map": {}}'])
def test_a_broken_index_is_refused(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    refused(folder, str(folder))


# ------------------------------------------------ sizes


def gpt_formula(V: int, D: int, L: int, P: int) -> int:
    attention, feed_forward, norms = 4 * D * D + 4 * D, 8 * D * D + 5 * D, 4 * D
    return V * D + P * D + L * (attention + feed_forward + norms) + 2 * D


COUNTS = {
    "gpt2": (124_439_808, gpt_formula(50_257, 768, 12, 1_024)),
    "gpt2_medium": (354_823_168, gpt_formula(50_257, 1_024, 24, 1_024)),
    "gpt2_large": (774_030_080, gpt_formula(50_257, 1_280, 36, 1_024)),
    "gpt2_xl": (1_557_611_200, gpt_formula(50_257, 1_600, 48, 1_024)),
    "gpt3": (174_604_259_328, gpt_formula(50_257, 12_288, 96, 2_048)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    expected, by_formula = COUNTS[name]
    equal(by_formula, expected, "the formula of this test")
    config = getattr(GPTConfig, name)()
    with torch.device("meta"):  # sizes without memory
        came = sum(parameter.numel() for parameter in GPT(config).parameters())
    assert came == expected, (
        f"expected {expected:,}, came {came:,}; likely mistake: the head is not tied (+{config.vocab_size:,} x "
        f"{config.d_model:,}), a norm or a bias is missing")


@pytest.mark.parametrize(("name", "heads", "context"), [
    ("gpt2", 12, 1_024), ("gpt2_medium", 16, 1_024), ("gpt2_large", 20, 1_024), ("gpt2_xl", 25, 1_024),
    ("gpt3", 96, 2_048)])
def test_published_sizes_that_no_parameter_count_shows(name, heads, context):
    config = getattr(GPTConfig, name)()
    equal((config.n_heads, config.max_len, config.norm_eps, config.eos_id), (heads, context, 1e-5, 50_256),
          "heads, context, eps and end of text as published")


# ------------------------------------------------ GPT and LLaMA: who sees whom


@every_kind
@pytest.mark.parametrize("scale", [1, 20], ids=["fresh", "weights x 20"])
def test_the_future_changes_no_bit_of_the_past(kind, scale):
    model, ids = new(kind), torch.randint(61, (2, 9))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter *= scale  # large scores, as after a training: a mask of -1e4 in place of -infinity leaks
        before = model(ids)
        for t in range(9):
            changed = ids.clone()
            changed[:, t:] = (ids[:, t:] + torch.randint(1, 61, (2, 9 - t))) % 61  # every one is another token
            same(model(changed)[:, :t], before[:, :t], f"tokens from {t} on changed, and an earlier output noticed")


@every_kind
def test_each_output_depends_on_every_earlier_token(kind):
    model, ids = random_weights(new(kind)), torch.randint(61, (1, 9))
    before = model(ids)
    for t in range(9):
        changed = ids.clone()
        changed[0, t] = (ids[0, t] + 1) % 61
        moved = (model(changed) - before)[0].abs().amax(-1)
        equal((moved > 1e-5).tolist(), [False] * t + [True] * (9 - t),
              f"which outputs see token {t}: itself and all later ones, none before")


@every_kind
def test_order_matters(kind):
    model, ids = random_weights(new(kind)), torch.tensor([[3, 4, 5, 6], [4, 3, 5, 6]])
    came = model(ids)[:, -1]
    moved = (came[0] - came[1]).abs().max().item()
    assert moved > 1e-2, f"swapping two words changed the last output by {moved:.1e}; are positions used at all?"


@every_kind
def test_padding_and_batch_mates_change_nothing(kind):
    model = random_weights(new(kind))
    ids, mask = random_batch(61)
    came = model(ids, mask=mask)
    same(model(torch.where(mask, ids, torch.randint(61, ids.shape)), mask=mask)[mask], came[mask],
         "what stands at a pad changed a real token")
    same(model(ids)[mask], came[mask], "pads on the right are never seen, with the mask or without")
    for row, n in enumerate(mask.sum(1).tolist()):
        agree(f"row of {n}", came[row, :n], model(ids[row : row + 1, :n])[0], 1e-5, "rows of a batch must not mix")


@every_kind
def test_padding_on_the_left_is_refused(kind):
    model = new(kind)
    for row in ([False, True, True], [True, False, True]):
        mask = torch.tensor([[True, True, True], row])
        with pytest.raises(ValueError, match="padding stands before a real token; put it on the right"):
            model(torch.ones(2, 3, dtype=torch.long), mask=mask)


@every_kind
def test_longest_input(kind):
    model = new(kind)
    assert model(torch.ones(1, 17, dtype=torch.long)).shape == (1, 17, 61)
    with pytest.raises(ValueError, match="18 tokens, but the model reads at most 17"):
        model(torch.ones(1, 18, dtype=torch.long))


# ------------------------------------------------ GPT and LLaMA: positions


@every_kind
def test_positions_are_0_1_2_when_not_given(kind):
    model, ids = random_weights(new(kind)), torch.randint(61, (2, 6))
    for positions in (torch.arange(6)[None], torch.arange(6).expand(2, 6)):
        close(model.hidden(ids, positions), model.hidden(ids), "positions (1, T) and (B, T) count from 0")


@every_kind
def test_each_row_has_its_own_positions(kind):
    model, ids = random_weights(new(kind)), torch.randint(61, (2, 5))
    positions = torch.tensor([[0, 1, 2, 3, 4], [9, 2, 16, 5, 3]])
    came = model.hidden(ids, positions)
    for row in range(2):
        close(came[row], model.hidden(ids[row:row + 1], positions[row:row + 1])[0], f"positions of row {row}",
              atol=1e-5)
    moved = (came - model.hidden(ids))[1].abs().max().item()
    assert moved > 1e-2, f"other positions moved the output by {moved:.1e} only; likely mistake: they are not handed on"


def test_given_positions_pick_the_rows_of_the_table():
    model, ids = random_weights(new("GPT")), torch.randint(61, (2, 6))
    came = model.hidden(ids, torch.arange(6)[None] + 3)
    with torch.no_grad():
        model.position.weight.copy_(model.position.weight.roll(-3, dims=0))  # row p holds what was row p + 3
    close(came, model.hidden(ids), "position p takes row p of the table")


# ------------------------------------------------ GPT and LLaMA: the start


@every_kind
def test_weights_begin_as_the_paper_says(kind):
    model = new(kind, d_model=48, n_layers=8)
    added_up = 0
    for name, p in model.named_parameters():
        if p.ndim == 1:
            value = 1.0 if name.endswith("norm.weight") else 0.0
            same(p, torch.full_like(p, value), f"{name}: norms begin as 1, biases as 0")
            continue
        residual = name.split(".")[-3:-1] in (["attention", "out"], ["feed_forward", "down"])
        added_up += residual
        expected = 0.02 / math.sqrt(2 * 8) if residual else 0.02
        noise = 5 / math.sqrt(2 * p.numel())  # five sigma of a measured deviation
        assert abs(p.std().item() / expected - 1) < noise, (
            f"{name}: expected a deviation of {expected:.4f}, came {p.std().item():.4f}; likely mistake: "
            "0.02 / √(2L) is for what adds to the residual stream, attention.out and feed_forward.down, and 0.02 for "
            "all others, positions too; or a name in the rule matches nothing")
        assert abs(p.mean().item()) < 5 * expected / math.sqrt(p.numel()), f"{name}: expected a mean of 0"
    equal(added_up, 2 * 8, "two projections a layer add to the residual stream; this test knows them by name")


@every_kind
def test_the_first_loss_is_that_of_guessing(kind):
    model = new(kind, vocab_size=4_096, d_model=120)
    came = F.cross_entropy(model(torch.randint(4_096, (16, 17))).flatten(0, 1), torch.randint(4_096, (16 * 17,))).item()
    print(f"\nfirst loss {came:.3f}, guessing {math.log(4_096):.3f}", end="")
    assert abs(came - math.log(4_096)) < 0.1, (
        f"expected about {math.log(4_096):.2f}, came {came:.2f}; likely mistake: weights that do not start from "
        "N(0, 0.02²), as torch's own embeddings")


# ------------------------------------------------ GPT and LLaMA: the tied head


@pytest.mark.parametrize("kind", ["GPT", "tied Llama"])
@pytest.mark.parametrize("way", ["fresh", "loaded", "to", "deepcopy", "state_dict"])
def test_head_and_embeddings_stay_one_parameter(tmp_path, kind, way):
    model = random_weights(new(kind))
    if way == "loaded":
        oracle("safetensors")
        model.save_pretrained(tmp_path)
        model = minigpt.load(tmp_path)
    elif way == "to":
        model.to(torch.float64)
    elif way == "deepcopy":
        model = copy.deepcopy(model)
    elif way == "state_dict":
        other = new(kind)
        other.load_state_dict(model.state_dict())
        same_models(other, model, "load_state_dict")
        model = other
    embedding, head = model.token.weight, model.head.weight
    assert embedding is head, "expected one parameter, came two; likely mistake: the tie is not renewed"
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    parameters = [id(p) for group in optimizer.param_groups for p in group["params"]]
    equal(parameters.count(id(embedding)), 1, "a weight that the optimizer holds twice takes two steps")
    before = embedding.detach().clone()
    model.head(torch.ones(24, dtype=embedding.dtype)).sum().backward()
    optimizer.step()
    close(model.token.weight, before - 1, "a step of the head must move the embeddings")


def test_an_untied_llama_has_two_weights(tmp_path):
    model = random_weights(new("Llama"))
    model.save_pretrained(tmp_path)
    for way in (model, copy.deepcopy(model), minigpt.load(tmp_path)):
        names = [name for name, p in way.named_parameters() if p.shape == (61, 24)]
        equal(names, ["token.weight", "head.weight"], "tied = False: the head is a matrix of its own")
        assert not way.token.weight.equal(way.head.weight), "the head must not be a copy of the embeddings"
    fresh = new("Llama")
    assert not fresh.token.weight.equal(fresh.head.weight), "the two are drawn one by one"


# ------------------------------------------------ GPT and LLaMA: use


@every_kind
def test_hidden_and_head_are_forward(kind):
    model = random_weights(new(kind))
    ids, mask = random_batch(61)
    hidden = model.hidden(ids, mask=mask)
    equal(tuple(hidden.shape), (5, 13, 24), "hidden states, (B, T, D)")
    same(model.head(hidden), model(ids, mask=mask), "hidden + head must be forward")
    close(model.head(hidden[mask]), model(ids, mask=mask)[mask], "the head must not mix places", atol=1e-5)


@every_kind
def test_dropout_is_off_in_eval_mode(kind):
    model, ids = random_weights(new(kind)), torch.randint(61, (2, 9))
    same(model(ids), model(ids), "eval() must give the same numbers twice")


def test_dropout_in_training():
    model, ids = random_weights(new("GPT", dropout=0.5)), torch.randint(61, (2, 9))
    sure = model(ids)
    model.train()
    assert not model(ids).equal(model(ids)), "train() must drop at random"
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    assert not model(ids).equal(sure), "attention weights are dropped too; is the rate handed to Attention?"
    nothing = random_weights(new("GPT", dropout=1.0)).train()
    bias = nothing.decoder.final_norm.bias
    close(nothing.hidden(ids), bias.expand(2, 9, -1),
          "dropping everything leaves the bias of the final norm; the embeddings are dropped, before the first block")


@every_kind
def test_overfits_one_batch(kind):
    """A model whose gradients are right learns 4 texts by heart."""
    model, ids = new(kind).train(kind != "GPT"), torch.randint(61, (4, 12))  # no dropout
    ids[:, 0] = torch.arange(4)  # no two texts begin alike: every next token can be known
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"\nloss {loss.item():.4f}", end="")
    assert loss < 0.02, f"expected a loss of nearly 0, came {loss.item():.3f}; likely mistake: gradients do not flow"
