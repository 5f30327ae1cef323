"""Cross-entropy in chunks against F.cross_entropy of the whole: value, gradients, and how it is used."""

import math

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from common import head_loss as in_chunks
from common.head_loss import head_loss
from common.trainer import gradient
from tests.explain import close, equal, same

D, V, CHUNK = 6, 11, 8
SIZES = [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(in_chunks, "CHUNK", CHUNK)


class Inner(nn.Module):
    """A head with a layer inside, as BERT has."""

    def __init__(self):
        super().__init__()
        self.dense, self.norm, self.out = nn.Linear(D, D), nn.LayerNorm(D), nn.Linear(D, V)

    def forward(self, x):
        return self.out(self.norm(F.gelu(self.dense(x))))


HEADS = {"plain": lambda: nn.Linear(D, V, bias=False), "with a bias": lambda: nn.Linear(D, V), "inner layer": Inner}


@pytest.fixture(params=HEADS)
def head(request):
    return HEADS[request.param]()


def inputs(n: int, dtype=torch.float32):
    return torch.randn(n, D, dtype=dtype, requires_grad=True), torch.randint(V, (n,))


def whole(head, hidden, answers):
    return F.cross_entropy(head(hidden), answers, reduction="sum")


def compare(head, hidden, answers, scale=1.0) -> None:
    """Value and all gradients."""
    wanted = [hidden, *(p for p in head.parameters() if p.requires_grad)]
    names = ["hidden", *(name for name, p in head.named_parameters() if p.requires_grad)]
    came, expected = head_loss(head, hidden, answers), whole(head, hidden, answers)
    close(came, expected, "the sum over all tokens, none left out and none twice")
    grads = torch.autograd.grad(scale * came, wanted)
    for name, a, b in zip(names, grads, torch.autograd.grad(scale * expected, wanted)):
        close(a, b, f"gradient of {name}: every chunk adds to it, times the gradient that comes from above", atol=2e-5)


@pytest.mark.parametrize("n", SIZES)
def test_it_equals_the_cross_entropy_of_the_whole(head, n):
    compare(head, *inputs(n))


@pytest.mark.parametrize("scale", [0.0, 1 / 7, -3.0])
def test_a_loss_that_is_scaled(head, scale):
    compare(head, *inputs(19), scale)


def test_the_chunk_as_it_is(monkeypatch):
    monkeypatch.undo()
    compare(nn.Linear(D, V), *inputs(2 * in_chunks.CHUNK + 3))


def test_a_head_is_never_asked_for_more_than_a_chunk(head):
    seen = []
    head.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    with torch.enable_grad():
        head_loss(head, *inputs(19)).backward()
    with torch.no_grad():
        head_loss(head, *inputs(19))
    equal(seen, [8, 8, 3] * 2, "all logits at once are the memory that this is there to save; and once each")


def test_by_hand():
    # logits are logs of weights, so a softmax is read off: 2/4, 6/8, 1/5
    head = nn.Linear(3, 3, bias=False)
    nn.init.eye_(head.weight)
    hidden = torch.tensor([[0, math.log(2), 0], [math.log(6), 0, 0], [0, 0, math.log(3)]])
    came = head_loss(head, hidden, torch.tensor([1, 0, 1]))
    close(came, torch.tensor(math.log(2) + math.log(8 / 6) + math.log(5)), "a sum in nats, not a mean, not bits")


def test_a_tied_head_gets_both_gradients():
    """The embeddings are the head: their gradient is that of both uses together."""
    table, ids, answers = nn.Embedding(V, D), torch.randint(V, (19,)), torch.randint(V, (19,))
    head = nn.Linear(D, V, bias=False)
    head.weight = table.weight
    [came] = torch.autograd.grad(head_loss(head, torch.tanh(table(ids)), answers), [table.weight])
    [expected] = torch.autograd.grad(whole(head, torch.tanh(table(ids)), answers), [table.weight])
    close(came, expected, "the gradient through hidden and that of the head are added", atol=2e-5)


@pytest.mark.parametrize("frozen", [["dense.weight"], ["out.weight", "out.bias"], "all"], ids=str)
def test_frozen_parameters_get_no_gradient(frozen):
    head = Inner()
    for name, p in head.named_parameters():
        p.requires_grad_(not (frozen == "all" or name in frozen))
    hidden, answers = inputs(19)
    compare(head, hidden, answers)
    head_loss(head, hidden, answers).backward()
    got = [name for name, p in head.named_parameters() if p.grad is not None]
    equal(got, [name for name, p in head.named_parameters() if p.requires_grad], "only what is trained has a gradient")
    assert hidden.grad is not None, "a frozen head still hands the gradient down"


def test_hidden_that_needs_no_gradient(head):
    """A frozen model under a head that is trained."""
    hidden, answers = inputs(19)
    hidden = hidden.detach()
    head_loss(head, hidden, answers).backward()
    params = list(head.parameters())
    for p, expected in zip(params, torch.autograd.grad(whole(head, hidden, answers), params)):
        close(p.grad, expected, "the head learns though hidden does not", atol=2e-5)


def test_without_gradients(head):
    hidden, answers = inputs(19)
    expected = whole(head, hidden, answers).detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            came = head_loss(head, hidden, answers)
        assert not came.requires_grad, "nothing is to be differentiated here"
        close(came, expected, "the same value without gradients")


def test_gradcheck_in_float64(head):
    head = head.double()
    hidden, answers = inputs(11, torch.float64)
    params = list(head.parameters())
    assert torch.autograd.gradcheck(lambda h, *_: head_loss(head, h, answers), (hidden, *params)), "by differences"


def test_with_logits_in_bfloat16_the_sum_is_exact(head):
    """Under autocast a head gives bfloat16; its three digits are enough for one logit, not for a sum of thousands."""
    hidden, answers = inputs(2000)
    with torch.no_grad():
        expected = whole(head, hidden, answers)
    for grad in (True, False):
        with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
            came = head_loss(head, hidden, answers)
        equal(came.dtype, torch.float32, "the sum is kept in float32")
        close(came.detach(), expected, "errors of single logits cancel; those of a rounded sum do not", rtol=2e-3)
    with torch.autocast("cpu", torch.bfloat16):
        total = head_loss(head, hidden, answers)
    wanted = [hidden, *head.parameters()]
    grads = torch.autograd.grad(total, wanted)
    for a, b in zip(grads, torch.autograd.grad(whole(head, hidden, answers), wanted)):
        equal(a.dtype, torch.float32, "gradients are float32, as the weights")
        assert (a - b).norm() < 0.02 * b.norm(), f"off by {(a - b).norm() / b.norm():.1%}: chunks are added in float32"


def test_the_state_is_not_changed(head):
    """What is differentiated inside must leave no trace: neither in .grad nor in the inputs."""
    hidden, answers = inputs(19)
    before = hidden.detach().clone()
    head_loss(head, hidden, answers)
    assert hidden.grad is None and all(p.grad is None for p in head.parameters()), "forward wrote into .grad"
    same(hidden.detach(), before, "forward changed its input")


def test_it_can_be_asked_twice(head):
    """retain_graph: the gradients that are kept must not be spent, or scaled in place."""
    hidden, answers = inputs(19)
    total = head_loss(head, hidden, answers)
    wanted = [hidden, *head.parameters()]
    first = torch.autograd.grad(3 * total, wanted, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(3 * total, wanted)):
        same(a, b, "the second backward pass gives the same as the first")


# ---- through the trainer


class Model(nn.Module):
    def __init__(self, tied: bool):
        super().__init__()
        self.token, self.inner, self.output = nn.Embedding(V, D), nn.Linear(D, D), nn.Linear(D, V, bias=False)
        if tied:
            self.output.weight = self.token.weight


def loss_with(kind):
    def loss(model, batch):
        hidden = torch.tanh(model.inner(model.token(batch["ids"])))
        return {"loss": (kind(model.output, hidden, batch["answers"]), len(batch["ids"])),
                "small": (hidden.square().sum(), hidden.numel())}  # a second loss on the same graph
    return loss


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
@pytest.mark.parametrize("sizes", [(19,), (8, 13), (3, 20, 8)], ids=str)
def test_in_the_trainer_with_one_batch_and_with_several(tied, sizes):
    batches = [{"ids": torch.randint(V, (n,)), "answers": torch.randint(V, (n,))} for n in sizes]
    model, grads, means = Model(tied), {}, {}
    for kind in (head_loss, whole):
        model.zero_grad()
        means[kind] = gradient(model, loss_with(kind), batches, {"small": 0.5})
        grads[kind] = {name: p.grad.clone() for name, p in model.named_parameters()}
    close(means[head_loss]["loss"], means[whole]["loss"], "the mean over all batches")
    for name, expected in grads[whole].items():
        close(grads[head_loss][name], expected, f"{name}: autograd.grad for each loss, with retain_graph", atol=1e-5)
