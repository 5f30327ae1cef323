"""LoRA (lora/lora.py, merging.py): W' = W + (alpha / r) B A, on all three models, and what is refused."""

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from common.command import UserError
from common.layers import Stacked
from lora import add_lora, merge, trainable_parameters, unload, unmerge
from lora.lora import LoRA, LoRAEmbedding, LoRALinear
from lora.wrapping import trainable_line
from minibert import BertConfig, BertForPreTraining, BertModel
from minigpt import GPT, GPTConfig, Llama, LlamaConfig
from minit5 import T5, T5Config
from tests.explain import close, equal, same

V = 50
MODELS = {
    "bert": lambda: BertModel(BertConfig(V, 24, 2, 3, 40, 16)),
    "gpt": lambda: GPT(GPTConfig(V, 24, 2, 3, max_len=16, eos_id=0)),
    "llama": lambda: Llama(LlamaConfig(V, 24, 2, 3, 1, d_ff=40, max_len=16)),
    "t5": lambda: T5(T5Config(V, 24, 8, 40, 2, n_heads=3, gated=True, tied=False)),
}
each = pytest.mark.parametrize("name", MODELS)
TARGETS = {"q and v": ("q", "v"), "stacked as a whole": ("qkv",), "all of a block": ("q", "k", "v", "out", "down"),
           "a table of vectors": ("token",)}


def outputs(model):
    """States of two rows of 7 tokens, the second one padded."""
    ids = torch.randint(1, V, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    return (model.hidden(ids, ids, mask, mask) if isinstance(model, T5) else model.hidden(ids, mask=mask))[mask]


def learned(model, std=0.3):
    """As after a training: no B is zero any more."""
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.normal_(std=std)
    return model


def untied(name, targets):
    """GPT-2's token vectors are its head as well, and refused; it has a table of positions."""
    return ("position",) if (name, targets) == ("gpt", ("token",)) else targets


def frozen(name):
    """A model whose fused kernels are those that it has with a LoRA in it: they depend on what needs a gradient."""
    return MODELS[name]().eval().requires_grad_(False)


# ---- the formula


def test_worked_by_hand():
    """W = [[1, 2]], A = [[3, 4]], B = [[5]], r = 1, alpha = 2: W' = W + 2 · 5 · [3, 4] = [31, 42]."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    add_lora(model, ["0"], r=1, alpha=2.0)
    with torch.no_grad():
        model[0].base.weight.copy_(torch.tensor([[1.0, 2.0]]))
        model[0].pairs["all"].A.copy_(torch.tensor([[3.0, 4.0]]))
        model[0].pairs["all"].B.copy_(torch.tensor([[5.0]]))
    close(model(torch.eye(2)).flatten(), torch.tensor([31.0, 42.0]), "the factor is alpha / r")
    close(model[0].weight, torch.tensor([[31.0, 42.0]]), "weight is W'")


def test_twice_the_rank_halves_the_change():
    """The same product B A counts half as much when r is 4 and not 2."""
    changes = []
    for r in (2, 4):
        model = nn.Sequential(nn.Linear(6, 6))
        add_lora(model, ["0"], r=r, alpha=8.0)
        with torch.no_grad():
            model[0].pairs["all"].A.zero_()[0, 0] = 1
            model[0].pairs["all"].B.zero_()[0, 0] = 1
        changes.append((model[0].weight - model[0].base.weight)[0, 0].item())
    assert changes == pytest.approx([4.0, 2.0]), f"expected [4, 2], came {changes}: the factor is alpha / r"


def test_gradients_are_those_of_w_by_the_chain_rule():
    """dL/dB = s dL/dW' Aᵀ and dL/dA = s Bᵀ dL/dW', with s = alpha / r."""
    model = nn.Sequential(nn.Linear(6, 4))
    add_lora(model, ["0"], r=2, alpha=6.0)
    learned(model)
    x, target = torch.randn(9, 6), torch.randn(9, 4)
    F.mse_loss(model(x), target).backward()
    W = model[0].weight.detach().requires_grad_()
    F.mse_loss(F.linear(x, W, model[0].bias), target).backward()
    pair = model[0].pairs["all"]
    close(pair.B.grad, 3 * W.grad @ pair.A.T, "dL/dB")
    close(pair.A.grad, 3 * pair.B.T @ W.grad, "dL/dA")


def test_at_first_only_b_moves():
    """B = 0 gives A no gradient; once B has moved, A moves too."""
    model = nn.Sequential(nn.Linear(6, 4))
    add_lora(model, ["0"], r=2)
    pair, x = model[0].pairs["all"], torch.randn(9, 6)
    assert not pair.B.any() and pair.A.any(), "expected A random and B zero"
    optimizer, moved = torch.optim.SGD(trainable_parameters(model), lr=0.1), []
    for _ in range(2):
        before = pair.A.detach().clone(), pair.B.detach().clone()
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        moved.append(tuple(not now.equal(then) for now, then in zip((pair.A, pair.B), before)))
    equal(moved, [(False, True), (True, True)], "A and B begin the wrong way round, or both at random")


def test_full_rank_fits_what_full_fine_tuning_fits():
    """A linear problem: with r = d the change can be any matrix, with r = 1 only one of rank one."""
    x = torch.randn(40, 5)
    target = F.linear(x, torch.randn(5, 5))

    def left(r):
        model = nn.Sequential(nn.Linear(5, 5, bias=False))
        add_lora(model, ["0"], r=r, alpha=float(r))
        optimizer = torch.optim.LBFGS(trainable_parameters(model), max_iter=500, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), target)
            loss.backward()
            return loss
        optimizer.step(closure)
        return closure().item()

    assert left(5) < 1e-4 < 0.05 < left(1), f"expected almost nothing and something, came {left(5)} and {left(1)}"


def test_dropout_is_in_front_of_a_and_in_training_alone():
    model = nn.Sequential(nn.Linear(50, 4))
    add_lora(model, ["0"], r=2, dropout=0.5)
    x, base = torch.ones(1, 50), model[0].base
    same(model(x), base(x), "with B = 0 nothing is added: dropout must leave what W sees alone")
    learned(model)
    passes = {round(model(x)[0, 0].item(), 4) for _ in range(20)}
    assert len(passes) > 2, "dropout behind B gives two values only; it is in front of A"
    model.eval()
    close(model(x), F.linear(x, model[0].weight, base.bias), "dropout is still on in eval()")


# ---- on the models


@each
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_at_first_nothing_changes(name, targets):
    model = frozen(name)
    before = outputs(model)
    add_lora(model, untied(name, targets), r=4)
    same(outputs(model), before, "B begins at zero, so nothing is added at first")
    assert (outputs(learned(model)) - before).abs().max() > 1e-3, "what is learned must be seen"


@each
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_merged_is_the_same_and_unmerged_the_base(name, targets):
    model = MODELS[name]()
    base = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    add_lora(model, untied(name, targets), r=4, dropout=0.3)
    learned(model, std=0.1).eval()
    before = outputs(model)
    merge(model)
    close(outputs(model), before, "W' is W + (alpha / r) B A, in the rows that are its own", rtol=1e-4, atol=1e-5)
    model.train()
    model.eval()
    close(outputs(model), before, "nothing merges or unmerges by itself", rtol=1e-4, atol=1e-5)
    unmerge(model)
    unload(model)
    equal(list(model.state_dict()), list(base), "unload puts the layers themselves back")
    for key, tensor in model.state_dict().items():
        close(tensor, base[key], f"{key} after merge and unmerge", rtol=0, atol=1e-6)


@each
def test_merged_and_unloaded_it_is_an_ordinary_model(name):
    model = MODELS[name]().eval()
    add_lora(model, r=4)
    before = outputs(learned(model))
    merge(model)
    unload(model)
    assert not any(isinstance(layer, LoRA) for layer in model.modules())
    close(outputs(model), before, "unload after merge keeps what was learned", rtol=1e-4, atol=1e-5)


@each
def test_only_the_pairs_are_trained_and_the_base_stays_to_the_bit(name):
    model = MODELS[name]()
    base = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    add_lora(model, r=2)
    names = [key for key, p in model.named_parameters() if p.requires_grad]
    assert names and all(key.endswith((".A", ".B")) for key in names), f"came {names}"
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=0.01, weight_decay=0.1)
    equal(len(optimizer.param_groups[0]["params"]), len(names), "the optimizer holds a frozen weight")
    for _ in range(3):
        outputs(model).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    unload(model)
    for key, tensor in model.state_dict().items():
        same(tensor, base[key], f"{key} is frozen")


def test_q_and_v_have_pairs_of_their_own_and_k_none():
    model = frozen("gpt")
    add_lora(model, ("q", "v"), r=4)
    layer = model.decoder.blocks[0].attention.qkv
    equal([tuple(p.shape) for p in layer.pairs.parameters()], [(4, 24), (24, 4)] * 2, "A and B for Q, A and B for V")
    learned(model)
    change = layer.weight - layer.base.weight
    q, k, v = change.split(24)
    assert q.any() and v.any() and not k.any(), "expected a change of Q and V alone"
    equal([int(torch.linalg.matrix_rank(part, atol=1e-4)) for part in (q, v)], [4, 4], "the change has rank r")


def test_some_of_a_stacked_matrix():
    """Cross-attention asks for Q alone, and for K and V alone; a pair across both is cut."""
    for targets in (["0.q", "0.v"], ["0"], ["0.k"]):
        model = nn.Sequential(Stacked(6, (4, 2, 3), names=("q", "k", "v")))
        add_lora(model, targets, r=2)
        layer, x = learned(model)[0], torch.randn(2, 5, 6)
        whole = F.linear(x, layer.weight, layer.bias)
        for first, end, rows in ((0, 1, slice(0, 4)), (1, 3, slice(4, 9)), (0, 3, slice(0, 9)), (2, 3, slice(6, 9))):
            close(layer.some(x, first, end), whole[..., rows], f"parts {first} to {end - 1} with {targets}")
        close(layer(x), whole, f"all parts with {targets}")


def test_a_weight_that_is_read_and_not_called():
    """GPT adds rows of its position table without calling it: it must read W'."""
    model = frozen("gpt")
    add_lora(model, ["position"], r=2)
    before = outputs(model)
    layer = learned(model).position
    close(layer(torch.arange(3)), layer.weight[:3], "weight is W'")
    assert (outputs(model) - before).abs().max() > 1e-3, "the model reads W and not W'"


@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_a_table_of_positions(name):
    """BERT asks its own table how long it is."""
    model = frozen(name)
    add_lora(model, ["position"], r=2)
    before = outputs(model)
    assert (outputs(learned(model)) - before).abs().max() > 1e-3


def test_a_single_vector_and_a_model_that_is_one_layer():
    model = nn.Sequential(nn.Linear(6, 4))
    add_lora(model, ["0"], r=2)
    x = torch.randn(6)
    close(learned(model)(x), model(x.unsqueeze(0))[0], "a vector without a batch, as nn.Linear takes it")
    with pytest.raises(UserError, match="no such modules"):
        add_lora(nn.Linear(6, 6), ["*"])


def test_gpt_3_175b():
    """r = 8 on Q and V: 96 layers · 2 matrices · 8 · (12,288 + 12,288) = 37,748,736 (Hu et al., table 4: 37.7 M)."""
    with torch.device("meta"):
        model = GPT(GPTConfig.gpt3())
    add_lora(model, ("q", "v"), r=8)
    n, total = sum(p.numel() for p in trainable_parameters(model)), sum(p.numel() for p in model.parameters())
    equal(n, 37_748_736, "one pair too many, or W_k adapted too")
    equal(f"{100 * n / total:.2f} %", "0.02 %", "share of all")
    assert trainable_line(model).startswith("trainable: 37,748,736 of 174,6"), trainable_line(model)


def test_the_lecture_says_a_tenth_of_a_percent():
    """Not with Q and V: with r = 8 on every matrix of each block."""
    with torch.device("meta"):
        model = GPT(GPTConfig.gpt3())
    add_lora(model, ("q", "k", "v", "out", "up", "down"), r=8)
    n, total = sum(p.numel() for p in trainable_parameters(model)), sum(p.numel() for p in model.parameters())
    equal((n, f"{100 * n / total:.1f} %"), (169_869_312, "0.1 %"), "96 · 8 · (4 · 2 + 2 · 5) · 12,288")


# ---- what is refused


REFUSED = {
    "matches nothing": ({"patterns": ["qvq"]}, ["'qvq' matches nothing", "decoder.blocks.{i}.attention.qkv.q"]),
    "one of two": ({"patterns": ["q", "nope"]}, ["'nope' matches nothing"]),
    "no alpha": ({"alpha": 0.0}, ["alpha = 0 should be more than 0"]),
    "no rank": ({"r": 0}, ["r = 0 should be from 1 to 24", "decoder.blocks.0.attention.qkv.q"]),
    "rank too large": ({"r": 25}, ["r = 25 should be from 1 to 24"]),
    "tied": ({"patterns": ["token"]}, ["token is tied to head"]),
    "tied, from the other side": ({"patterns": ["head"]}, ["head is tied to token"]),
    "whole and part": ({"patterns": ["qkv", "q"]}, ["as a whole and in parts"]),
}


@pytest.mark.parametrize(("how", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(how, words):
    model = MODELS["gpt"]()
    with pytest.raises(UserError) as error:
        add_lora(model, **how)
    assert all(word in str(error.value) for word in words), f"expected {words}, came {error.value}"
    assert "\n" not in str(error.value)
    assert all(p.requires_grad for p in model.parameters()), "a refusal leaves the model as it was"


def test_twice_is_refused():
    model = MODELS["llama"]()
    with pytest.raises(UserError, match="has no LoRA"):
        merge(model)
    add_lora(model)
    with pytest.raises(UserError, match="has LoRAs already"):
        add_lora(model, ["out"])
    with pytest.raises(ValueError, match="not merged"):
        unmerge(model)
    merge(model)
    weight = model.decoder.blocks[0].attention.qkv.base.weight.clone()
    with pytest.raises(ValueError, match="merged already"):
        merge(model)
    same(model.decoder.blocks[0].attention.qkv.base.weight, weight, "what is refused must change nothing")


def test_everything_frozen_is_refused():
    with pytest.raises(UserError, match="every parameter is frozen"):
        trainable_parameters(frozen("bert"))


def test_a_model_with_loras_is_not_saved_as_an_ordinary_one(tmp_path):
    model = BertForPreTraining(BertConfig(V, 24, 1, 3, 40, 16))
    add_lora(model)
    with pytest.raises(UserError, match="take it out of the model first"):
        model.save_pretrained(tmp_path)


def test_kinds():
    model = MODELS["llama"]()
    add_lora(model, ["token", "q"], r=2)
    assert isinstance(model.token, LoRAEmbedding) and isinstance(model.decoder.blocks[1].attention.qkv, LoRALinear)
