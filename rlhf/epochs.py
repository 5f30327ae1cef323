"""Which rows of a data set make batch t."""

import torch
from torch import Tensor

from common.batches import random_state


class Epochs:
    """Row numbers of batch t, a pure function of the seed and t: each epoch takes every row once, in another order.

    The rows that are left over at the end of an epoch, fewer than a batch, wait for another epoch's order.
    """

    def __init__(self, n_rows: int, batch_size: int, seed: int) -> None:
        self.n_rows, self.batch_size, self.seed = n_rows, min(batch_size, n_rows), seed
        self.per_epoch = n_rows // self.batch_size
        self._epoch = -1

    def __call__(self, t: int) -> Tensor:
        epoch, i = divmod(t, self.per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = torch.from_numpy(random_state(self.seed, epoch).permutation(self.n_rows)), epoch
        return self._order[i * self.batch_size : (i + 1) * self.batch_size]
