"""Prefix tuning: in every layer each token may also attend to P places that no token stands on; their keys and values
are learned, and all else stays as it is.

Li & Liang 2021 (arXiv:2101.00190), section 4. With the keys and values of real tokens this is what a KV-cache does
(common/cache.py): the model goes on as if it had read them. So a prefix is a cache that is filled beforehand, by
learning. It stands on no position: the text keeps its own, 0, 1, 2 ... (In the paper's code they move on by P.)

The paper learns keys and values through a network that is thrown away afterwards, since learning them directly was
unstable; here they are learned directly, and begin with those of real tokens (section 7.4: a better start).
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from common.attention import Attention
from common.cache import KeysValues, LayerCache
from common.command import UserError
from lora.wrapping import freeze, wrap


class Before(LayerCache):
    """One layer's prefix: to attention it is a cache that holds P places already. Behind it may be a real cache."""

    def __init__(self, keys: Tensor, values: Tensor, behind: LayerCache | None) -> None:
        self.keys, self.values, self.behind = keys, values, behind

    def update(self, k: Tensor, v: Tensor) -> KeysValues:
        """k, v (B, Hkv, T, Dh) of the tokens -> those of the prefix, of what the real cache holds, and they."""
        if self.behind is not None:
            k, v = self.behind.update(k, v)
        return tuple(torch.cat([own.expand(len(new), -1, -1, -1), new], dim=2)
                     for own, new in ((self.keys, k), (self.values, v)))  # (B, Hkv, P + S, Dh)


class Recorder:
    """Stands where a cache would, and keeps the keys and values that come by."""

    def update(self, k: Tensor, v: Tensor) -> KeysValues:
        self.keys, self.values = k, v
        return k, v


class PrefixedAttention(nn.Module):
    """Self-attention whose tokens see the prefix too: keys and values (1, Hkv, P, Dh)."""

    def __init__(self, base: Attention) -> None:
        super().__init__()
        self.base = base
        self.n_kv_heads, self.d_head = base.n_kv_heads, base.d_head  # by them a model sizes its cache
        self.recorder: Recorder | None = None

    def fill(self) -> None:
        """Begin with what was recorded."""
        self.keys, self.values = nn.Parameter(self.recorder.keys.clone()), nn.Parameter(self.recorder.values.clone())
        self.recorder = None

    def forward(self, x: Tensor, mask: Tensor | None = None, bias: Tensor | None = None,
                cache: LayerCache | None = None, **how: Tensor | bool | None) -> Tensor:
        """As Attention; mask and bias get P more keys, which all may see."""
        if self.recorder is not None:
            return self.base(x, mask=mask, bias=bias, cache=self.recorder, **how)
        p = self.keys.shape[2]
        mask = None if mask is None else F.pad(mask, (p, 0), value=True)
        bias = None if bias is None else F.pad(bias, (p, 0))
        return self.base(x, mask=mask, bias=bias, cache=Before(self.keys, self.values, cache), **how)


def add_prefix(model: nn.Module, words: Sequence[int]) -> None:
    """Freeze the model, and give each self-attention a prefix: the keys and values that it has for the tokens `words`.

    An encoder-decoder gets one in both. UserError when there are no words, or more than the model reads.
    """
    if not words or len(words) > model.config.max_len:
        raise UserError(f"a prefix of {len(words)} places: from 1 to {model.config.max_len} are possible here")
    freeze(model)
    ids = torch.tensor([list(words)], device=next(model.parameters()).device)
    names = [name for name, layer in model.named_modules()
             if isinstance(layer, Attention) and name.endswith(".attention")]  # cross-attention has its own memory
    layers = [wrap(model, name, PrefixedAttention) for name in names]
    for layer in layers:
        layer.recorder = Recorder()
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model.hidden(ids, ids) if hasattr(model, "encode") else model.hidden(ids)
    model.train(was_training)
    for layer in layers:
        layer.fill()
