"""The KV-cache: what attention worked out about the tokens read so far, so that no token is read twice.

To write token t, attention needs its query, and the keys and values of all tokens up to t. Those of the earlier tokens
do not change any more (no token sees a later one), so they are kept. Each new token then costs one token's work.
"""

import torch
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]  # of one attention: keys and values, (B, Hkv, S, Dh) each


class KVCache:
    """Keys and values of B rows in every layer, in memory that is laid out once.

    Rows may hold different numbers of tokens: `lengths` has one number a row, and each row is written on at its own
    length. A prompt that is shorter than its neighbours is padded on the right; its padding is written, never seen, and
    written over by the next tokens.

    An encoder-decoder keeps one thing more, once: the keys and values that each layer's cross-attention reads of the
    encoder's output, `memory`, and which of its places are real, `memory_mask` (B, S).

        positions, mask = cache.reserve(t)      before a forward pass over t tokens a row
        keys, values = cache.layers[i].update(keys, values)      in the attention of each layer
        cache.advance(t, real)                  after it
    """

    def __init__(self, n_layers: int, batch: int, n_kv_heads: int, d_head: int, max_len: int,
                 dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> None:
        self.max_len = max_len
        self.lengths = [0] * batch
        def empty() -> Tensor:  # of zeros: a hidden place counts 0 times what stands there, and 0 times NaN is NaN
            return torch.zeros(batch, n_kv_heads, max_len, d_head, dtype=dtype, device=device)
        self.layers = [LayerCache(empty(), empty()) for _ in range(n_layers)]
        self.memory: list[KeysValues] | None = None  # one a layer
        self.memory_mask: Tensor | None = None

    def reserve(self, t: int) -> tuple[Tensor, Tensor | None]:
        """Make room for t more tokens a row: their positions (B or 1, T), and who sees whom (B, 1, T, S) or None.

        None where all rows are of one length: there `causal` says it all, and faster. ValueError when a row is full.
        """
        start, longest = min(self.lengths), max(self.lengths)
        if longest + t > self.max_len:
            raise ValueError(f"the cache has room for {self.max_len} tokens a row: {t} more than {longest} do not fit")
        device = self.layers[0].keys.device
        if start == longest:
            places = slice(start, start + t)
            positions, mask = torch.arange(start, start + t, device=device).unsqueeze(0), None  # (1, T)
        else:
            places = torch.tensor(self.lengths, device=device).unsqueeze(1) + torch.arange(t, device=device)
            positions = places  # (B, T)
            mask = torch.arange(longest + t, device=device) <= positions[:, None, :, None]  # (B, 1, T, S)
        for layer in self.layers:
            layer.places, layer.end = places, longest + t
        return positions, mask

    def advance(self, t: int, real: Tensor | None = None) -> None:
        """Count the t tokens a row that were read; of those only the ones that `real` (B, T), bool, says are real."""
        new = [t] * len(self.lengths) if real is None else real.sum(dim=1).tolist()
        self.lengths = [old + more for old, more in zip(self.lengths, new)]

    def select(self, rows: list[int]) -> None:
        """Go on with these rows, in this order; a row may come twice (beam search) or not at all (it has ended)."""
        self.lengths = [self.lengths[row] for row in rows]
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        if self.memory is not None:
            self.memory = [(keys[rows], values[rows]) for keys, values in self.memory]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[rows]


class LayerCache:
    """The part of one layer: keys and values (B, Hkv, max_len, Dh)."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values
        self.places: slice | Tensor = slice(0)  # where the next tokens go; KVCache.reserve says it
        self.end = 0  # the end of the longest row after that

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take in k and v of the new tokens (B, Hkv, T, Dh); return those of all tokens so far (B, Hkv, S, Dh)."""
        if isinstance(self.places, slice):
            self.keys[:, :, self.places] = k
            self.values[:, :, self.places] = v
        else:  # each row at its own length
            rows = torch.arange(len(k), device=k.device).unsqueeze(1)  # (B, 1), beside places (B, T)
            # two index tensors around a slice: their (B, T) comes first, so this is (B, T, Hkv, Dh)
            self.keys[rows, :, self.places] = k.transpose(1, 2)
            self.values[rows, :, self.places] = v.transpose(1, 2)
        return self.keys[:, :, :self.end], self.values[:, :, :self.end]
