"""Cross-entropy over a large vocabulary, a few hundred tokens at a time.

The logits are the largest tensor of a language model: 16 rows of 128 tokens and 8,192 pieces are 67 MB, and softmax,
loss and gradient go over them again and again. Cut into chunks they stay in the processor's own fast memory, and
there is never more than one chunk. That is possible because the gradient of a token's loss needs nothing but its own
logits: each chunk goes forward and backward at once, and only the gradients of the states and of the head are kept.
(The idea is that of Hsu et al. 2024, Liger Kernel, arXiv:2410.10989, section 3.2.)
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

CHUNK = 512  # tokens


def head_loss(head: nn.Module, hidden: Tensor, answers: Tensor) -> Tensor:
    """The sum over N tokens of -log softmax(head(hidden))[answer], in nats.

    hidden (N, D), answers (N,). The same value and gradients as F.cross_entropy(head(hidden), answers,
    reduction="sum"), in less memory and time. It can be differentiated once, not twice.
    """
    if not torch.is_grad_enabled():
        pairs = zip(hidden.split(CHUNK), answers.split(CHUNK))
        return sum(F.cross_entropy(head(h), a, reduction="sum") for h, a in pairs)
    return _InChunks.apply(hidden, answers, head, *(p for p in head.parameters() if p.requires_grad))


class _InChunks(torch.autograd.Function):
    """An operation of our own for autograd.

    Inside `forward` gradients are off, hence enable_grad. The parameters of the head are arguments, so that autograd
    asks for their gradients. `backward` gets the gradient of the sum, one number, and returns one gradient for each
    argument of `forward`: none for answers and head.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, answers: Tensor, head: nn.Module, *params: Tensor) -> Tensor:
        total, of_hidden, of_params = 0.0, [], [torch.zeros_like(p) for p in params]
        for h, a in zip(hidden.split(CHUNK), answers.split(CHUNK)):
            with torch.enable_grad():
                h = h.detach().requires_grad_()
                loss = F.cross_entropy(head(h), a, reduction="sum")
            of_h, *new = torch.autograd.grad(loss, [h, *params])
            total += loss.detach()
            of_hidden.append(of_h)
            for g, more in zip(of_params, new):
                g += more
        ctx.save_for_backward(torch.cat(of_hidden), *of_params)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_hidden, *of_params = ctx.saved_tensors
        return grad * of_hidden, None, None, *(grad * g for g in of_params)
