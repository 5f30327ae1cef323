"""The training loop: exact accumulation, exact resumption, Ctrl-C, what is saved when; with a model that is no BERT."""

import copy
import json
import math
import signal
import sys

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from common import checkpoint
from common.command import UserError
from common.interrupt import Stopped
from common.optim import Muon
from common.report import Metrics
from common.trainer import TrainConfig, fit, gradient, products_in_bfloat16, restore, save
from minibert import BertConfig, BertForPreTraining
from minibert.objective import Examples, pretraining_loss
from tests import tiny
from tests.explain import close, equal, same

STEPS, EVERY = 25, 7


class Net(nn.Module):
    """Two layers with dropout, so that the random state counts; the loop must not ask for more than a Module."""

    def __init__(self):
        super().__init__()
        self.a, self.dropout, self.b = nn.Linear(5, 6), nn.Dropout(0.3), nn.Linear(6, 3)

    def forward(self, x):
        return self.b(self.dropout(torch.tanh(self.a(x))))


def batch(t: int, rows: int = 4) -> dict:
    """A pure function of t, with labels that not every row has (-1)."""
    random = torch.Generator().manual_seed(t)
    labels = torch.randint(-1, 3, (rows,), generator=random)
    labels[0] = t % 3
    return {"ids": torch.randn(rows, 5, generator=random), "labels": labels}


def losses(model, batch):
    """Two losses with different counts: the labelled rows, and all numbers that come out."""
    out = model(batch["ids"])
    labelled = batch["labels"] >= 0
    return {"right": (F.cross_entropy(out[labelled], batch["labels"][labelled], reduction="sum"), int(labelled.sum())),
            "small": (out.square().sum(), out.numel())}


def parts(seed: int = 1):
    """A model and its two optimizers, always the same."""
    torch.manual_seed(seed)
    model = Net()
    return model, [Muon([model.a.weight, model.b.weight], lr=0.05),
                   torch.optim.AdamW([model.a.bias, model.b.bias], lr=0.01)]


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"steps": STEPS, "warmup": 3, "eval_every": EVERY, "seed": 0} | changes)


def held_out(model):
    """An `evaluate` that measures something of the weights."""
    return lambda step: {"loss": losses(model, batch(999))["small"][0].item()}


def train(run, loss_fn=losses, evaluate=None, resume=False, seed=1, batches=batch, **changes):
    model, optimizers = parts(seed)
    run.mkdir(exist_ok=True)
    fit(model, loss_fn, batches, optimizers, config(**changes), run, evaluate or held_out(model), resume)
    return model


def stopping(at: int, loss_fn=losses):
    """The loss, and in the middle of step `at` somebody presses Ctrl-C."""
    calls = []

    def loss(model, batch):
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return loss_fn(model, batch)
    return loss


def stop(run, at: int, **options):
    with pytest.raises(Stopped):
        train(run, stopping(at), **options)


def same_state(came, expected, mistake: str, path: str = "") -> None:
    """Nested dicts and lists of tensors and values, equal bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(came, expected), f"{path} differs; likely mistake: {mistake}"
    elif isinstance(expected, (dict, list, tuple)):
        equal(len(came), len(expected), f"{path}: {mistake}")
        keys = expected.keys() if isinstance(expected, dict) else range(len(expected))
        for key in keys:
            same_state(came[key], expected[key], mistake, f"{path}.{key}")
    else:
        equal(came, expected, f"{path}: {mistake}")


def without_speed(run) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "tokens_per_s"}
            for line in Metrics(run / "metrics.jsonl").read()]


# ---- the gradient


@pytest.mark.parametrize("weights", [{}, {"small": 3.0}])
def test_accumulation_of_unequal_batches_equals_one_large_batch(weights):
    several = [batch(t, rows) for t, rows in enumerate((2, 7, 4))]
    large = {name: torch.cat([b[name] for b in several]) for name in several[0]}
    model = Net().eval()
    means = gradient(model, losses, several, weights)
    came = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    expected = gradient(model, losses, [large], weights)
    for name, p in model.named_parameters():
        close(came[name], p.grad, f"{name}: divide the sum by the count of all batches; a mean of means weighs wrong")
    for name in expected:
        close(means[name], expected[name], f"the mean loss {name!r} over all batches")


def test_the_gradient_is_that_of_the_weighted_sum_of_the_means():
    model, b = Net().eval(), batch(3, 6)
    gradient(model, losses, [b], {"small": 3.0})
    came = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    (right, n), (small, m) = losses(model, b).values()
    (right / n + 3 * small / m).backward()
    for name, p in model.named_parameters():
        close(came[name], p.grad, f"{name}: each loss is divided by its own count, then they are added")


def test_a_loss_that_nothing_counts_for_is_zero():
    def nothing(model, batch):
        return losses(model, batch) | {"nothing": (model(batch["ids"])[:0].sum(), 0)}

    for batches in ([batch(0)], [batch(0), batch(1)]):
        equal(gradient(Net(), nothing, batches)["nothing"].item(), 0.0, "0 / 0 is NaN")


def test_accumulation_takes_the_batches_in_order(tmp_path):
    asked = []

    def batches(t):
        asked.append(t)
        return batch(t)

    train(tmp_path, steps=3, accumulate=2, batches=batches)
    equal(asked, [0, 1, 2, 3, 4, 5], "step s reads the batches 2s and 2s + 1, each once")


def test_a_run_with_accumulation_equals_a_run_with_large_batches(tmp_path):
    def large(t):
        return {name: torch.cat([batch(2 * t)[name], batch(2 * t + 1, 7)[name]]) for name in batch(0)}

    def small(t):
        return batch(t, 7 if t % 2 else 4)

    def no_dropout(model, batch):
        return losses(model.eval(), batch)

    one = train(tmp_path / "one", no_dropout, batches=large, steps=6)
    two = train(tmp_path / "two", no_dropout, batches=small, steps=6, accumulate=2)
    for name, p in one.state_dict().items():
        close(two.state_dict()[name], p, f"{name} after six steps", atol=1e-5)


# ---- the steps


def test_long_gradients_are_clipped(tmp_path):
    def steep(model, batch):
        return {name: (1e4 * total, count) for name, (total, count) in losses(model, batch).items()}

    model = Net()
    before = copy.deepcopy(model.state_dict())
    fit(model, steep, batch, [torch.optim.SGD(model.parameters(), lr=1.0)], config(steps=1, warmup=0, decay=0.0,
        clip=0.25), tmp_path, held_out(model))
    moved = sum((p - before[name]).square().sum() for name, p in model.state_dict().items()).sqrt()
    close(moved, torch.tensor(0.25), "the norm over all parameters together is at most `clip`", rtol=1e-4)


def test_the_learning_rate_follows_the_schedule(tmp_path):
    rates = []

    class Watch(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            super().step()

    model = Net()
    fit(model, losses, batch, [Watch(model.parameters(), lr=2.0)], config(steps=8, warmup=2, decay=0.5),
        tmp_path, held_out(model))
    close(torch.tensor(rates), torch.tensor([1, 2, 2, 2, 2, 1.5, 1, 0.5]), "lr of the optimizer times trapezoid(step)")


def has_bfloat16(monkeypatch, has: bool) -> None:
    """As if this CPU had products in bfloat16, or had none; torch computes them in any case, if slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})


def bfloat16_here() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


@pytest.mark.parametrize(("precision", "has", "expected"), [
    ("bfloat16", True, True), ("bfloat16", False, False), ("float32", True, False)])
def test_losses_alone_are_computed_in_bfloat16(tmp_path, monkeypatch, precision, has, expected):
    seen = {}
    has_bfloat16(monkeypatch, has)

    class Watch(torch.optim.SGD):
        def step(self):
            seen.setdefault("step", set()).add(bfloat16_here())
            equal({p.grad.dtype for p in model.parameters()}, {torch.float32}, "gradients stay float32")
            super().step()

    def loss(model, batch):
        seen.setdefault("loss", set()).add(bfloat16_here())
        return losses(model, batch)

    def evaluate(step):
        seen.setdefault("evaluation", set()).add(bfloat16_here())
        return {"loss": 1.0}

    model = Net()
    for accumulate in (1, 2):
        fit(model, loss, batch, [Watch(model.parameters(), lr=0.001)],
            config(precision=precision, accumulate=accumulate), tmp_path, evaluate)
    equal(seen, {"loss": {expected}, "step": {False}, "evaluation": {False}},
          "weights move, and what is reported is measured, in float32, whatever the losses are computed in")
    equal({p.dtype for p in model.parameters()}, {torch.float32}, "the weights stay float32")


def test_where_a_cpu_has_no_bfloat16_asking_for_it_changes_nothing(tmp_path, monkeypatch):
    has_bfloat16(monkeypatch, False)
    a, b = (train(tmp_path / precision, precision=precision).state_dict() for precision in ("bfloat16", "float32"))
    same_state(a, b, "emulated it would only be slow")


def test_with_bfloat16_nearly_the_same_is_learned(tmp_path, monkeypatch):
    has_bfloat16(monkeypatch, True)
    a, b = (train(tmp_path / precision, precision=precision).state_dict() for precision in ("bfloat16", "float32"))
    for name in b:
        close(a[name], b[name], f"{name} after {STEPS} steps", rtol=0, atol=0.1)
    assert any(not torch.equal(a[name], b[name]) for name in b), "precision has no effect"


@pytest.mark.parametrize("ends", [None, UserError("bad"), KeyboardInterrupt()], ids=["well", "error", "Ctrl-C"])
def test_the_precision_is_put_back(monkeypatch, ends):
    has_bfloat16(monkeypatch, True)
    try:
        with products_in_bfloat16(torch.device("cpu"), "bfloat16"):
            equal(bfloat16_here(), True, "inside the block")
            if ends:
                raise ends
    except (UserError, KeyboardInterrupt) as caught:
        assert caught is ends, "what ends the block is let through"
    equal((bfloat16_here(), torch.backends.cuda.flash_sdp_enabled()), (False, True), "all is as it was")


def test_without_a_setting_products_are_exact():
    equal(TrainConfig().precision, "float32", "rounding to bfloat16 is something to ask for")


def test_evaluation_happens_at_intervals_and_at_the_end_with_dropout_off(tmp_path):
    seen = []
    model, optimizers = parts()

    def evaluate(step):
        seen.append((step, model.training, torch.is_grad_enabled()))
        return {"loss": 1.0}

    fit(model, losses, batch, optimizers, config(), tmp_path, evaluate)
    equal(seen, [(7, False, False), (14, False, False), (21, False, False), (25, False, False)],
          "every eval_every steps and after the last one; model.eval() and no_grad() around it")
    assert model.training, "after an evaluation the model should train on with dropout: model.train()"


def test_a_model_that_comes_with_dropout_off_is_trained_with_dropout_on(tmp_path):
    model, optimizers = parts()
    seen = []

    def losses_and_mode(model, batch):
        seen.append(model.training)
        return losses(model, batch)

    fit(model.eval(), losses_and_mode, batch, optimizers, config(), tmp_path, lambda step: {"loss": 1.0})
    assert all(seen), "from_pretrained gives model.eval(): fit has to call model.train()"


def test_the_best_weights_are_kept_when_later_ones_are_worse(tmp_path):
    model, optimizers = parts()
    seen = {}

    def evaluate(step):
        seen[step] = copy.deepcopy(model.state_dict())
        return {"loss": {7: 3.0, 14: 1.0, 21: 2.0, 25: 1.5}[step], "other": -step}

    fit(model, losses, batch, optimizers, config(), tmp_path, evaluate)
    same_state(checkpoint.load(tmp_path / "best.pt")["model"], seen[14], "best.pt is written for a smaller first value")
    same_state(checkpoint.load(tmp_path / "last.pt")["model"], seen[25], "last.pt is written each time")


def test_a_loss_that_is_nan_ends_the_run_and_spoils_no_save(tmp_path):
    def loss(model, batch):
        found = losses(model, batch)
        return found | {"small": (found["small"][0] * math.nan, 1)} if (batch["ids"] == broken["ids"]).all() else found

    broken = batch(9)  # step 10
    with pytest.raises(UserError, match="step 10"):
        train(tmp_path, loss)
    state = checkpoint.load(tmp_path / "last.pt")
    equal(state["step"], 7, "the last save before the loss broke")
    assert all(p.isfinite().all() for p in state["model"].values()), "NaN weights were saved"


@pytest.mark.parametrize("event", ["evaluation", "Ctrl-C"])
def test_broken_weights_are_never_saved_at_a_step_that_is_not_shown(tmp_path, event):
    """Losses are read at every tenth step only; a save between two of them must look first."""
    count = []

    def loss(model, batch):
        count.append(1)
        if event == "Ctrl-C" and len(count) == 6:
            signal.raise_signal(signal.SIGINT)
        return {name: (total * (math.nan if len(count) >= 6 else 1), n)
                for name, (total, n) in losses(model, batch).items()}

    with pytest.raises((UserError, KeyboardInterrupt)) as ended:
        train(tmp_path, loss, eval_every=4)
    assert "nan" in str(ended.value), "expected an error about the loss, came Ctrl-C: it was saved without a look"
    equal(checkpoint.load(tmp_path / "last.pt")["step"], 4, "the last save before the loss broke at step 6")


# ---- resuming


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    train(run)
    return run


@pytest.mark.parametrize("at", [1, 7, 12, 21, 25])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, uninterrupted, at):
    stop(tmp_path, at)
    train(tmp_path, resume=True, seed=4711)  # other weights, another random state: all must come from the file
    for name in ("last.pt", "best.pt"):
        same_state(checkpoint.load(tmp_path / name), checkpoint.load(uninterrupted / name),
                   "weights, optimizers, learning rate, random state, best value: all are saved and put back", name)
    equal(without_speed(tmp_path), without_speed(uninterrupted), "the metrics of both runs, line by line")


def test_dropout_makes_the_random_state_count(tmp_path, uninterrupted):
    """If this fails, the test above proves less than it says."""
    stop(tmp_path, 12)
    state = checkpoint.load(tmp_path / "last.pt")
    checkpoint.save(state | {"random": torch.Generator().manual_seed(5).get_state()}, tmp_path / "last.pt")
    came = train(tmp_path, resume=True)
    expected = checkpoint.load(uninterrupted / "last.pt")["model"]
    assert not torch.equal(came.a.weight, expected["a.weight"]), "another random state should give other weights"


def test_a_run_that_was_killed_goes_on_from_its_last_save(tmp_path, uninterrupted):
    def power_cut(model, batch):
        if Metrics(tmp_path / "metrics.jsonl").read()[-1:] and len(calls) == 17:
            raise SystemError("power cut")
        calls.append(1)
        return losses(model, batch)

    calls = []
    with pytest.raises(SystemError):
        train(tmp_path, power_cut)
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 17, "ri')  # and a line was being written
    train(tmp_path, resume=True)
    equal(without_speed(tmp_path), without_speed(uninterrupted), "lines after the last save are dropped, then redone")


def test_ctrl_c_finishes_the_step_and_saves(tmp_path):
    stop(tmp_path, 12)
    equal(checkpoint.load(tmp_path / "last.pt")["step"], 12, "the step in which it was pressed is done to its end")


def test_after_training_ctrl_c_is_as_before(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    stop(tmp_path, 2)
    assert signal.getsignal(signal.SIGINT) is before, "the old handler must be put back"


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    def impatient(model, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second Ctrl-C should have ended the step")

    with pytest.raises(KeyboardInterrupt) as ended:
        train(tmp_path, impatient)
    assert not isinstance(ended.value, Stopped), "Stopped says that all was saved, and nothing was"
    assert not (tmp_path / "last.pt").exists(), "half a step must not be saved"


def test_a_finished_run_can_be_resumed_and_does_nothing(tmp_path, uninterrupted):
    model, optimizers = parts()
    before = (uninterrupted / "last.pt").read_bytes()
    fit(model, losses, lambda t: pytest.fail("no step is left"), optimizers, config(), uninterrupted,
        held_out(model), resume=True)
    equal((uninterrupted / "last.pt").read_bytes(), before, "nothing is left to do")


def test_a_save_holds_plain_tensors_and_values_only(uninterrupted):
    state = torch.load(uninterrupted / "last.pt", weights_only=True)
    equal(set(state), {"step", "best", "made_from", "model", "optimizers", "random", "cuda_random", "mps_random"},
          "what the next step depends on")


def test_a_new_run_in_an_old_folder_forgets_its_metrics(tmp_path):
    for _ in range(2):
        train(tmp_path, steps=2)
    equal([line["step"] for line in without_speed(tmp_path)], [1, 2, 2], "metrics of an earlier run would mix in")


def test_another_model_is_refused(tmp_path):
    model, optimizers = parts()
    save(tmp_path / "last.pt", 3, 0.5, model, optimizers, {})
    other = nn.Linear(5, 4)
    with pytest.raises(UserError, match="does not belong to this run") as caught:
        restore(tmp_path / "last.pt", other, [], {})
    assert "\n" not in str(caught.value), f"expected one line, came {caught.value}"


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": 3}, {"model": {}}], ids=str)
def test_what_is_no_save_is_refused(tmp_path, content):
    checkpoint.save(content, tmp_path / "last.pt")
    with pytest.raises(UserError, match="last.pt does not belong to this run"):
        restore(tmp_path / "last.pt", *parts(), {})


def test_best_weights_are_no_save_to_resume_from(tmp_path):
    model, optimizers = parts()
    checkpoint.save({"model": model.state_dict()}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="optimizers"):
        restore(tmp_path / "last.pt", model, optimizers, {})


def test_a_run_made_from_something_else_is_refused_and_the_model_left_alone(tmp_path):
    save(tmp_path / "last.pt", 3, 0.5, *parts(), {"text": "a", "vocabulary": "b"})
    model, optimizers = parts(seed=2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="its vocabulary has changed"):
        restore(tmp_path / "last.pt", model, optimizers, {"text": "a", "vocabulary": "c"})
    same_state(model.state_dict(), before, "compare before anything is put back")
    equal(restore(tmp_path / "last.pt", model, optimizers, {"text": "a", "vocabulary": "b"}), (3, 0.5), "the same")


# ---- what is written


@pytest.mark.parametrize(("terminal", "least", "most"), [(True, 5, 99), (False, 1, 3)], ids=["terminal", "log file"])
def test_a_log_file_is_not_flooded_by_the_progress_bar(tmp_path, capsys, monkeypatch, terminal, least, most):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    train(tmp_path)
    states = capsys.readouterr().err.count("\r")
    assert least <= states <= most, f"expected {least} to {most} states of the bar in {STEPS} steps, came {states}"


def test_metrics_are_one_json_object_a_line(uninterrupted):
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    shown = [line["step"] for line in lines if "right" in line]
    equal(shown, [1, 7, 10, 14, 20, 21, 25], "the first step, every tenth, and wherever the run is judged")
    equal(set(lines[0]), {"step", "right", "small", "lr_factor", "tokens_per_s"}, "what is written for a step")
    equal([line["step"] for line in lines if "loss" in line], [7, 14, 21, 25], "what `evaluate` gave")


def test_the_loop_trains_any_module(tmp_path):
    model = nn.Linear(5, 1)
    target = torch.arange(5.0)

    def loss(model, batch):
        return {"mse": ((model(batch["ids"])[:, 0] - batch["ids"] @ target).square().sum(), len(batch["ids"]))}

    fit(model, loss, lambda t: batch(t, 16), [torch.optim.SGD(model.parameters(), lr=0.1)],
        config(steps=150, clip=100.0), tmp_path, lambda step: {"loss": 0.0})
    close(model.weight.detach()[0], target, "a line is fitted exactly", atol=1e-3)


@pytest.mark.parametrize("optimizer", ["AdamW", "Muon"])
def test_bert_learns_one_batch_by_heart(tmp_path, optimizer):
    """Both losses go to zero on six rows: what cannot learn these has a bug."""
    examples = Examples(tiny.tokens(), tiny.tokenizer(), 20, 6, 0.15, seed=0)
    model = BertForPreTraining(BertConfig(vocab_size=tiny.V, d_model=48, n_layers=2, n_heads=3, d_ff=96, max_len=20,
                                          dropout=0.0))
    matrices = [p for p in model.bert.encoder.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is q for q in matrices)]
    first = Muon(matrices, lr=0.01) if optimizer == "Muon" else torch.optim.AdamW(matrices, lr=0.003)
    fit(model, pretraining_loss, lambda t: examples(0), [first, torch.optim.AdamW(rest, lr=0.003)],
        config(steps=100, warmup=10, eval_every=100), tmp_path, lambda step: {"loss": 0.0})
    total = {name: (s / n).item() for name, (s, n) in pretraining_loss(model.eval(), examples(0)).items()}
    assert total["mlm"] < 0.02 and total["nsp"] < 0.02, f"expected losses near 0, came {total}"
    same(examples(0)["ids"], examples(0)["ids"], "the batch itself must stay")
