"""Adapters, soft prompts and prefixes (lora/adapter.py, prompt_tuning.py, prefix_tuning.py), on all three models."""

import pytest
import torch
import torch.nn as nn

from common.command import UserError
from common.generate import generate
from lora import trainable_parameters
from lora.adapter import Bottleneck, ParallelAdapter, SerialAdapter, add_parallel_adapters, add_serial_adapters
from lora.prefix_tuning import PrefixedAttention, add_prefix
from lora.prompt_tuning import add_soft_prompt
from lora.saved import load_trained, save_trained
from minit5 import T5
from tests.explain import close, equal, same
from tests.test_lora import MODELS, V, each, frozen, learned, outputs

WORDS = [3, 4, 5]
METHODS = {"serial": add_serial_adapters, "parallel": add_parallel_adapters,
           "prompt": lambda model: add_soft_prompt(model, WORDS), "prefix": lambda model: add_prefix(model, WORDS)}
D, LAYERS = 24, 2


def states(model, ids, mask, **how):
    return model.hidden(ids, ids, mask, mask) if isinstance(model, T5) else model.hidden(ids, mask=mask, **how)


# ---- adapters


def test_the_formulas():
    base, x = nn.Linear(6, 6), torch.randn(2, 6)
    for made in (SerialAdapter(base, 6, 2), ParallelAdapter(base, 6, 2)):
        same(made(x), base(x), "an adapter begins as nothing: its last layer is zero")
        learned(made)
        down, up, y = made.adapter.down, made.adapter.up, base(x)
        read = y if isinstance(made, SerialAdapter) else x  # behind the layer, or beside it
        change = (read @ down.weight.T + down.bias).clamp(min=0) @ up.weight.T + up.bias
        close(made(x), y + change * (1 if isinstance(made, SerialAdapter) else 4), "y + f(y), or y + 4 f(x)")
    equal(sum(p.numel() for p in Bottleneck(6, 2).parameters()), 2 * 6 * 2 + 2 + 6, "2 D m + m + D")


@each
@pytest.mark.parametrize("method", ["serial", "parallel"])
def test_at_first_an_adapter_changes_nothing(name, method):
    model = frozen(name)
    before = outputs(model)
    METHODS[method](model)
    close(outputs(model), before, "the last layer of an adapter begins at zero", rtol=1e-5, atol=1e-5)
    assert (outputs(learned(model)) - before).abs().max() > 1e-3, "what is learned must be seen"


@pytest.mark.parametrize(("name", "sublayers"), {"bert": 2, "gpt": 2, "llama": 2, "t5": 5}.items())
def test_what_adapters_train(name, sublayers):
    """Serial: two a block (three in a decoder of T5), and the norms; parallel: one a block."""
    per_adapter = 2 * D * 8 + 8 + D
    model = MODELS[name]()
    norms = sum(p.numel() for key, p in model.named_parameters() if "norm" in key)
    add_serial_adapters(model, 8)
    equal(sum(p.numel() for p in trainable_parameters(model)), LAYERS * sublayers * per_adapter + norms, "serial")
    model = MODELS[name]()
    add_parallel_adapters(model, 8)
    n = LAYERS * (2 if name == "t5" else 1)
    equal(sum(p.numel() for p in trainable_parameters(model)), n * per_adapter, "parallel")


# ---- soft prompts


@each
def test_new_words_with_old_vectors_are_old_words(name):
    """At first a soft prompt reads as the words that it began with."""
    model, ids = frozen(name), torch.randint(1, V, (2, 5))
    real = torch.ones(2, 8).bool()
    old = states(model, torch.cat([torch.tensor([WORDS] * 2), ids], dim=1), real)
    new = add_soft_prompt(model, WORDS)
    equal(new, [V, V + 1, V + 2], "the new words stand behind the vocabulary")
    close(states(model, torch.cat([torch.tensor([new] * 2), ids], dim=1), real), old, "the vectors of the words",
          rtol=1e-5, atol=1e-5)
    equal([tuple(p.shape) for p in trainable_parameters(model)], [(3, D)], "nothing but the prompt is trained")
    states(model, torch.cat([torch.tensor([new] * 2), ids], dim=1), real).square().sum().backward()
    assert all(row.any() for row in trainable_parameters(model)[0].grad), "each vector of the prompt gets a gradient"


# ---- prefixes


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_a_prefix_of_real_tokens_is_as_if_they_stood_there(name):
    model, ids = frozen(name), torch.randint(1, V, (2, 5))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    real = torch.ones(2, 3).bool()
    expected = states(model, torch.cat([torch.tensor([WORDS] * 2), ids], dim=1), torch.cat([real, mask], dim=1))[:, 3:]
    add_prefix(model, WORDS)
    came = model.hidden(ids, mask=mask, positions=torch.arange(3, 8).unsqueeze(0))
    close(came[mask], expected[mask], "keys and values of the tokens, seen by all", rtol=1e-4, atol=1e-5)


@each
def test_a_prefix_learns_and_nothing_else_does(name):
    model = MODELS[name]()
    add_prefix(model, WORDS)
    heads, width = (1 if name == "llama" else 3), 8
    shapes = {tuple(p.shape) for p in trainable_parameters(model)}
    equal(shapes, {(1, heads, 3, width)}, "keys and values of the heads, P places")
    equal(len(trainable_parameters(model)), 2 * LAYERS * (2 if name == "t5" else 1), "two in each self-attention")
    (outputs(model) * torch.randn(D)).sum().backward()
    assert all(p.grad.any() for p in trainable_parameters(model)), "keys and values get gradients"


@each
def test_padding_does_not_see_the_prefix_differently(name):
    """The same sentence with more padding, and other sentences beside it: the same states."""
    model, ids = frozen(name), torch.randint(1, V, (1, 5))
    add_prefix(model, WORDS)
    learned(model)
    alone = states(model, ids, torch.ones(1, 5).bool())
    padded = torch.cat([ids, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    both = torch.cat([padded, torch.randint(1, V, (1, 9))])
    mask = torch.tensor([[True] * 5 + [False] * 4, [True] * 9])
    close(states(model, both, mask)[:1, :5], alone, "the mask gets P places more, on the left", rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt", "llama"])
@pytest.mark.parametrize("method", ["prefix", "serial", "parallel"])
def test_an_adapted_model_writes(name, method):
    """Greedy text with the cache is what a full forward pass at each step gives."""
    model = frozen(name)
    METHODS[method](model)
    learned(model)
    prompts, n = [[5, 6, 7], [8]], 4
    written = generate(model, prompts, n, eos_id=None)
    for prompt, came in zip(prompts, written):
        expected = list(prompt)
        for _ in range(n):
            expected.append(int(model(torch.tensor([expected]))[0, -1].argmax()))
        equal(came, expected[len(prompt) :], "the prefix stands in front of what the cache holds")


# ---- all of them


@each
@pytest.mark.parametrize("method", METHODS)
def test_the_base_stays_to_the_bit_and_what_is_trained_is_saved(name, method, tmp_path):
    model = MODELS[name]()
    base = {id(p): (key, p.detach().clone()) for key, p in model.named_parameters()}
    begin = METHODS[method](model) or []
    kept = [p for p in model.parameters() if id(p) in base and not p.requires_grad]
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=0.01)
    ids = torch.tensor([[*begin, 7, 8, 9]])
    real = torch.ones_like(ids).bool()
    for _ in range(2):
        (states(model, ids, real) * torch.arange(D)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for p in kept:
        same(p, base[id(p)][1], f"{base[id(p)][0]} is frozen")
    save_trained(model, tmp_path / "adapter.pt")
    other = MODELS[name]()
    other.load_state_dict({key: p for _, (key, p) in base.items()}, strict=False)
    METHODS[method](other)
    load_trained(other, tmp_path / "adapter.pt")
    close(states(other.eval(), ids, real), states(model.eval(), ids, real), "what is saved", rtol=1e-5, atol=1e-5)
    assert (tmp_path / "adapter.pt").stat().st_size < 40_000, "the base was saved as well"


def test_another_models_file_is_refused(tmp_path):
    model, other = MODELS["gpt"](), MODELS["gpt"]()
    add_parallel_adapters(model, 4)
    save_trained(model, tmp_path / "adapter.pt")
    add_parallel_adapters(other, 5)
    with pytest.raises(UserError, match=r"adapter.down.weight is \(4, 24\) there and \(5, 24\) here"):
        load_trained(other, tmp_path / "adapter.pt")
    add_serial_adapters(third := MODELS["gpt"](), 4)
    with pytest.raises(UserError, match="missing"):
        load_trained(third, tmp_path / "adapter.pt")


REFUSED = {
    "no middle": (lambda m: add_serial_adapters(m, 0), "d_bottleneck = 0 should be from 1 to 23"),
    "no narrow middle": (lambda m: add_parallel_adapters(m, 24), "d_bottleneck = 24"),
    "no such place": (lambda m: add_parallel_adapters(m, 4, ["mlp"]), "'mlp' matches nothing"),
    "no prompt": (lambda m: add_soft_prompt(m, []), "a prompt of 0 vectors"),
    "too long a prompt": (lambda m: add_soft_prompt(m, [1] * 16), "a prompt of 16 vectors: from 1 to 15"),
    "no prefix": (lambda m: add_prefix(m, []), "a prefix of 0 places"),
    "too long a prefix": (lambda m: add_prefix(m, [1] * 17), "a prefix of 17 places: from 1 to 16"),
}


@pytest.mark.parametrize(("change", "word"), REFUSED.values(), ids=REFUSED)
def test_refused(change, word):
    model = MODELS["gpt"]()
    with pytest.raises(UserError) as error:
        change(model)
    assert word in str(error.value) and "\n" not in str(error.value), f"expected {word!r}, came {error.value}"
    assert all(p.requires_grad for p in model.parameters()), "a refusal leaves the model as it was"


def test_cross_attention_has_no_prefix():
    """Its keys are what the encoder wrote."""
    model = MODELS["t5"]()
    add_prefix(model, WORDS)
    names = [name for name, layer in model.named_modules() if isinstance(layer, PrefixedAttention)]
    equal(len(names), 2 * LAYERS, "one in each self-attention")
    assert not any("cross" in name for name in names), names
