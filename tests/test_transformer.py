"""Blocks and stacks against torch's own layers with the same weights."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from common.attention import Attention
from common.layers import FeedForward
from common.masks import causal_mask, padding_mask
from common.transformer import Block, Stack
from tests.explain import close, equal, same

B, H, T, S, D_FF = 2, 3, 5, 7, 20
D = 12
REAL = torch.tensor([[True] * T, [True] * 3 + [False] * (T - 3)])  # (B, T)
REAL_MEMORY = torch.tensor([[True] * 4 + [False] * (S - 4), [True] * S])  # (B, S)


def block(pre_norm: bool, cross: bool = False, dropout: float = 0.0) -> Block:
    return Block(Attention(D, H), FeedForward(D, D_FF, F.gelu), lambda: nn.LayerNorm(D), pre_norm,
                 Attention(D, H) if cross else None, dropout)


def random_weights(module: nn.Module) -> nn.Module:
    for p in module.parameters():  # norms begin as ones and zeros, which would hide a swapped one
        nn.init.normal_(p, std=0.3)
    return module


# torch's names -> ours; a decoder's second norm belongs to its cross-attention
ENCODER = {"self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.", "norm1.": "attention_norm.",
           "linear1.": "feed_forward.up.", "linear2.": "feed_forward.down.", "norm2.": "feed_forward_norm."}
DECODER = ENCODER | {"multihead_attn.in_proj_": "cross_attention.qkv.", "multihead_attn.out_proj.":
                     "cross_attention.out.", "norm2.": "cross_norm.", "norm3.": "feed_forward_norm."}


def translate(weights: dict, names: dict) -> dict:
    def ours(name: str) -> str:
        return next(our + name.removeprefix(their) for their, our in names.items() if name.startswith(their))
    return {ours(name): x for name, x in weights.items()}


def same_gradients(ours: nn.Module, theirs: nn.Module, names: dict) -> None:
    expected = translate({name: p.grad for name, p in theirs.named_parameters()}, names)
    for name, p in ours.named_parameters():
        close(p.grad, expected[name], f"gradient of {name}")


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("masking", ["none", "padding", "causal"])
def test_block_equals_torch_encoder_layer(pre_norm, masking):
    theirs = random_weights(nn.TransformerEncoderLayer(D, H, D_FF, dropout=0.0, activation=F.gelu, batch_first=True,
                                                       norm_first=pre_norm))
    ours = block(pre_norm)
    ours.load_state_dict(translate(theirs.state_dict(), ENCODER))
    x, weight = torch.randn(B, T, D), torch.randn(B, T, D)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    if masking == "padding":
        expected, came = theirs(a, src_key_padding_mask=~REAL), ours(b, mask=padding_mask(REAL))
    elif masking == "causal":
        expected, came = theirs(a, src_mask=~causal_mask(T, T)), ours(b, causal=True)
    else:
        expected, came = theirs(a), ours(b)
    close(came, expected, "post-norm: norm(x + f(x)); pre-norm: x + f(norm(x)), and x itself is not normed")
    (expected * weight).sum().backward()
    (came * weight).sum().backward()
    close(b.grad, a.grad, "gradient of x")
    same_gradients(ours, theirs, ENCODER)


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post-norm", "pre-norm"])
def test_block_equals_torch_decoder_layer(pre_norm):
    theirs = random_weights(nn.TransformerDecoderLayer(D, H, D_FF, dropout=0.0, activation=F.gelu, batch_first=True,
                                                       norm_first=pre_norm))
    ours = block(pre_norm, cross=True)
    ours.load_state_dict(translate(theirs.state_dict(), DECODER))
    x, memory, weight = torch.randn(B, T, D), torch.randn(B, S, D), torch.randn(B, T, D)
    (a, c), (b, d) = ([y.clone().requires_grad_() for y in (x, memory)] for _ in range(2))
    expected = theirs(a, c, tgt_mask=~causal_mask(T, T), memory_key_padding_mask=~REAL_MEMORY)
    came = ours(b, d, memory_mask=padding_mask(REAL_MEMORY), causal=True)
    close(came, expected, "order: self-attention (causal), cross-attention (reads the whole memory), feed-forward")
    (expected * weight).sum().backward()
    (came * weight).sum().backward()
    close(b.grad, a.grad, "gradient of x")
    close(d.grad, c.grad, "gradient of memory: in a pre-norm block the memory itself is not normed")
    same_gradients(ours, theirs, DECODER)


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post-norm", "pre-norm"])
def test_stack_equals_torch_encoder(pre_norm):
    layer = nn.TransformerEncoderLayer(D, H, D_FF, dropout=0.0, activation=F.gelu, batch_first=True,
                                       norm_first=pre_norm)
    theirs = nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(D) if pre_norm else None, enable_nested_tensor=False)
    random_weights(theirs)
    ours = Stack([block(pre_norm) for _ in range(3)], nn.LayerNorm(D) if pre_norm else None)
    for mine, their in zip(ours.blocks, theirs.layers, strict=True):
        mine.load_state_dict(translate(their.state_dict(), ENCODER))
    if pre_norm:
        ours.final_norm.load_state_dict(theirs.norm.state_dict())
    x = torch.randn(B, T, D)
    close(ours(x, mask=padding_mask(REAL)), theirs(x, src_key_padding_mask=~REAL),
          "every block gets the same mask; a pre-norm stack ends with a norm of its own")


def test_stack_hands_everything_to_every_block():
    stack = random_weights(Stack([block(True, cross=True) for _ in range(2)]))
    x, memory, bias = torch.randn(B, T, D), torch.randn(B, S, D), torch.randn(1, H, T, T)
    masks = {"mask": padding_mask(REAL), "memory_mask": padding_mask(REAL_MEMORY), "bias": bias, "causal": True}
    expected = x
    for part in stack.blocks:
        expected = part(expected, memory, **masks)
    same(stack(x, memory, **masks), expected, "an argument got lost on the way to a block, or two were swapped")
    for name in masks:
        without = {key: value for key, value in masks.items() if key != name}
        assert not torch.equal(stack(x, memory, **without), expected), f"{name} has no effect on a stack"


class Spy(Attention):
    """Notes with what it was called."""

    def forward(self, x, context=None, **how):
        self.given = how
        return super().forward(x, context, **{name: how[name] for name in ("mask", "bias", "causal") if name in how})


def test_every_argument_of_self_attention_is_handed_on():
    stack = Stack(Block(Spy(D, H), FeedForward(D, D_FF, F.gelu), lambda: nn.LayerNorm(D), True) for _ in range(3))
    how = {"mask": padding_mask(REAL), "bias": torch.randn(1, H, T, T), "causal": True, "positions": torch.arange(T)}
    stack.blocks[1](torch.randn(B, T, D), cache="a layer's cache", **how)
    equal(set(stack.blocks[1].attention.given), {*how, "cache"}, "Block hands on what it is given")
    stack(torch.randn(B, T, D), **how)
    for i, each in enumerate(stack.blocks):
        assert each.attention.given.pop("cache") is None, f"block {i}: without a cache there is none"
        assert each.attention.given.keys() == how.keys(), f"block {i} was given {list(each.attention.given)}"
        wrong = [name for name in how if each.attention.given[name] is not how[name]]
        assert not wrong, f"block {i}: {wrong} came changed; an argument is handed on as it is"


def test_every_layer_has_its_own_part_of_the_cache():
    stack = Stack(Block(Spy(D, H), FeedForward(D, D_FF, F.gelu), lambda: nn.LayerNorm(D), True) for _ in range(3))
    stack(torch.randn(B, T, D), cache=SimpleNamespace(layers=["first", "second", "third"]))
    equal([each.attention.given["cache"] for each in stack.blocks], ["first", "second", "third"], "cache.layers[i]")


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post-norm", "pre-norm"])
def test_padding_and_batch_mates_change_nothing(pre_norm):
    stack = random_weights(Stack([block(pre_norm) for _ in range(2)], nn.LayerNorm(D)))
    x = torch.randn(1, T, D)
    alone = stack(x)
    padded = torch.randn(4, T + 6, D) * 5  # junk where the padding is, and other sentences beside it
    padded[2, :T] = x
    real = torch.ones(4, T + 6, dtype=torch.bool)
    real[2, T:] = False
    close(stack(padded, mask=padding_mask(real))[2:3, :T], alone,
          "padding must be hidden as keys in every layer, and nothing may mix the sentences of a batch")


def test_padding_of_the_memory_changes_nothing():
    stack = random_weights(Stack([block(True, cross=True) for _ in range(2)], nn.LayerNorm(D)))
    x, memory = torch.randn(1, T, D), torch.randn(1, S, D)
    longer = torch.cat([memory, torch.randn(1, 4, D) * 5], dim=1)
    real = torch.arange(S + 4)[None] < S
    close(stack(x, longer, memory_mask=padding_mask(real)), stack(x, memory), "memory_mask hides keys of the memory")


def test_the_future_changes_no_bit_of_the_past():
    stack = random_weights(Stack([block(True) for _ in range(3)], nn.LayerNorm(D)))
    x = torch.randn(B, T, D) * 10
    before = stack(x, causal=True)
    for t in range(T):
        changed = x.clone()
        changed[:, t:] = torch.randn(B, T - t, D) * 10
        same(stack(changed, causal=True)[:, :t], before[:, :t], f"an output before position {t} saw what came later")


def test_a_block_without_cross_attention_has_no_weights_for_it():
    names = {name.split(".")[0] for name, _ in block(False).named_parameters()}
    equal(names, {"attention", "attention_norm", "feed_forward", "feed_forward_norm"}, "only a decoder cross-attends")


def test_dropout_drops_what_a_sublayer_adds_and_not_the_stream():
    # dropping everything that is added leaves the residual stream as it was
    x = torch.randn(B, T, D)
    same(block(True, dropout=1.0).train()(x), x, "dropout acts on sublayer(norm(x)), never on x + sublayer(norm(x))")


def test_dropout_acts_in_training_only():
    unsure, sure = block(False, dropout=0.5), block(False)
    sure.load_state_dict(unsure.state_dict())
    x = torch.randn(B, T, D)
    same(unsure.eval()(x), sure(x), "dropout must be off after model.eval()")
    assert not torch.equal(unsure.train()(x), unsure(x)), "expected two training passes to differ, they are the same"


def test_feed_forward_by_hand():
    network = FeedForward(2, 3, F.relu)
    with torch.no_grad():
        network.up.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
        network.up.bias.copy_(torch.tensor([0.0, 1, -10]))
        network.down.weight.copy_(torch.tensor([[1.0, 1, 1], [2, 0, 5]]))
        network.down.bias.copy_(torch.tensor([0.5, 0]))
    # (2, 3) -> relu(2, 4, -5) = (2, 4, 0) -> (2 + 4 + 0.5, 4)
    same(network(torch.tensor([[2.0, 3]])), torch.tensor([[6.5, 4.0]]), "act(x W1 + b1) W2 + b2")
