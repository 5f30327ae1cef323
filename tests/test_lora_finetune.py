"""`python -m lora.finetune`: all methods on runs of the three packages, what they leave, say and refuse. Tiny sizes."""

import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.config import read_json
from common.report import Metrics
from lora import finetune, load_adapter
from lora.comparison import Result, comparison, draw_comparison, mean
from lora.methods import METHODS
from lora.saved import load_trained
from minibert import classifying
from minibert.tasks import load_task, predict
from minigpt.pretrained import open_model
from tests import tiny
from tests.explain import close, equal
from tests.oracle import oracle
from tests.test_bad_input import refused, says
from tests.test_bert_finetune import own_files

RUNS = {"minibert": tiny.train, "minigpt": tiny.train_gpt, "minit5": tiny.train_t5}
FLAGS = ("--train", "labels.tsv", "--batch-size", "16", "--rank", "2", "--d-bottleneck", "3", "--n-virtual", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a file of labels, and a tiny run of each package."""
    made = tmp_path_factory.mktemp("lora_finetune")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(made)
        own_files()
        for train in RUNS.values():
            train()
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def adapt(capsys, *flags):
    """What the command says."""
    capsys.readouterr()
    finetune.main([*FLAGS, *flags])
    return capsys.readouterr().out


@pytest.mark.parametrize("package", RUNS)
def test_all_methods_on_a_run_of_each_package(package, here, capsys):
    said = adapt(capsys, "--model", f"runs/{package}", "--method", "all", "--steps", "2", "--name", f"all-{package}")
    lines = {words[0]: words for words in map(str.split, said.splitlines()) if words and words[0] in METHODS}
    equal(list(lines), list(METHODS), "a line a method")
    equal(lines["full"][2], "100.00", "full trains everything")
    for method in METHODS:
        assert re.search(rf"^{method}, seed 0; trainable: [\d,]+ of [\d,]+ parameters, [\d.]+ %$", said, re.M), said
        run = Path(f"runs/all-{package}-{method}-0")
        megabytes = (run / "adapter.pt").stat().st_size / 1e6
        equal(lines[method][-1], f"{megabytes:.3f}", "the size of what is saved")
        equal([path.name for path in run.glob("*.pt")], ["adapter.pt"], "the base is not kept a second time")
        equal(json.loads((run / "labels.json").read_text()), ["bird", "cat", "dog"], "what the outputs mean")
    assert Path(f"runs/all-{package}.png").stat().st_size > 5_000, "the picture"


def test_lora_learns_the_task_and_two_seeds_are_averaged(here, capsys):
    flags = ("--model", "runs/minigpt", "--epochs", "12", "--lr", "0.02")
    said = adapt(capsys, *flags, "--seeds", "2", "--name", "learns")
    found = [float(value) for value in re.findall(r"held-out accuracy ([\d.]+);", said)]
    assert len(found) == 2 and min(found) > 0.6, f"of three animals guessing finds .33; came {found}"
    last = said.splitlines()[-1].split()
    equal((last[0], last[3]), ("lora", f"{sum(found) / 2:.3f}"), "the mean of the seeds")
    says(adapt(capsys, *flags, "--name", "again"), f"held-out accuracy {found[0]:.3f};")  # the same seed, the same run


def test_what_is_saved_gives_the_same_model(here, capsys):
    """adapter.pt into a freshly changed model, and the layout of `peft` into the base alone."""
    adapt(capsys, "--model", "runs/minigpt", "--steps", "5", "--lr", "0.05", "--name", "saved")
    run, labels = Path("runs/saved-lora-0"), ["bird", "cat", "dog"]
    base = finetune.open_base(Path("runs/minigpt"))
    config = read_json(finetune.FinetuneConfig, run / "config.json")
    task = load_task("classify", "labels.tsv", None, None, 0)
    model, begin = finetune.changed("lora", 0, base, task, labels, config)
    load_trained(model, run / "adapter.pt")
    questions, _ = finetune.rows_of(task.dev, labels, base, begin)
    given, _ = predict(model.eval(), classifying, questions, task.dev, base.pad_id)
    reported = [line for line in Metrics(run / "metrics.jsonl").read() if "accuracy" in line][-1]["accuracy"]
    equal(classifying.scores(given, task.dev)["accuracy"], reported, "the accuracy that was reported")
    ids = torch.tensor([[5, 6, 7]])
    oracle("safetensors")
    other, _ = open_model(Path("runs/minigpt"))
    load_adapter(other, run / "peft")
    close(other(ids), model.model.eval()(ids), "the layout of peft")
    written = json.loads((run / "peft" / "adapter_config.json").read_text())
    equal(written["base_model_name_or_path"], "runs/minigpt", "the base is named")


def test_a_prompt_stands_behind_the_first_token_of_a_bert(here):
    task = load_task("classify", "labels.tsv", None, None, 0)
    base = finetune.open_base(Path("runs/minibert"))
    [row], _ = finetune.rows_of(task.train[:1], [task.train[0].label], base, [900, 901])
    [plain], _ = finetune.rows_of(task.train[:1], [task.train[0].label], base, [])
    equal(row.ids, [plain.ids[0], 900, 901, *plain.ids[1:]], "[CLS] stays the first one: there the state is read")


@pytest.mark.parametrize("package", RUNS)
def test_long_texts_are_cut_inside_their_frame_and_counted(package, here):
    task = load_task("classify", "labels.tsv", None, None, 0)
    base = finetune.open_base(Path(f"runs/{package}"))
    label = task.train[0].label
    [whole], nothing = finetune.rows_of(task.train[:1], [label], base, [])
    equal(nothing, "", "all of it fits")
    [cut], said = finetune.rows_of(task.train[:1], [label], replace(base, max_len=8), [900, 901])
    without = [token for token in cut.ids if token < 900]
    equal((len(cut.ids), len(cut.segments)), (8, 8), "with the prompt no longer than the model reads")
    end = [whole.ids[-1]] if package != "minigpt" else []
    equal(without, [*whole.ids[: 6 - len(end)], *end], "a BERT keeps its [SEP], a T5 its end token")
    equal(said, "1 of 1 texts are longer than 6 tokens: their ends are not read", "")


# ---- the table


def test_mean_and_deviation():
    equal(mean([1.0, 3.0]), (2.0, 2**0.5), "with n - 1 below")
    equal(mean([1.0]), (1.0, 0.0), "one run deviates from nothing")
    shown = comparison({"lora": [Result(10, 1000, 0.5, 2.0, 0.1), Result(10, 1000, 0.7, 4.0, 0.1)]})
    equal(shown.splitlines()[1].split(), ["lora", "10", "1.00", "0.600", "0.141", "3.0", "0.100"], "the line")


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    says(draw_comparison({}, tmp_path / "a.png"), "a.png needs matplotlib", "pip install")


# ---- what is refused


BAD = {
    "no model": ([], ["name the model to adapt", "--model"]),
    "no such folder": (["--model", "runs/nobody"], ["cannot read", "nobody"]),
    "unknown method": (["--model", "runs/minigpt", "--method", "lora,qlora"], ["unknown method 'qlora'", "prefix"]),
    "no such target": (["--model", "runs/minigpt", "--targets", "c_attn"], ["'c_attn' matches nothing", "qkv.q"]),
    "rank 0": (["--model", "runs/minigpt", "--rank", "0"], ["rank"]),
    "rank too large": (["--model", "runs/minigpt", "--rank", "99"], ["r = 99 should be from 1 to 24"]),
    "a wide middle": (["--model", "runs/minigpt", "--method", "serial-adapter", "--d-bottleneck", "24"], ["24"]),
    "no room for a text": (["--model", "runs/minigpt", "--method", "prompt", "--n-virtual", "14"], ["leaves no room"]),
    "alpha 0": (["--model", "runs/minigpt", "--alpha", "0"], ["alpha"]),
    "a long prompt": (["--model", "runs/minigpt", "--method", "prompt", "--n-virtual", "20"], ["a prompt of 20"]),
    "no file": (["--model", "runs/minigpt", "--train", "no.tsv"], ["no.tsv", "not there"]),
    "a run's name": (["--model", "runs/minigpt", "--name", "a/b"], ["'a/b'"]),
    "unknown flag": (["--model", "runs/minigpt", "--resume"], ["--resume"]),
}


@pytest.mark.parametrize(("flags", "words"), BAD.values(), ids=BAD)
def test_refused(flags, words, here, capsys):
    says(refused(capsys, finetune.main, *FLAGS, *flags), *words)


def test_few_examples_and_many_batches_a_step(here, capsys):
    """Fewer batches than make one step are one step all the same."""
    adapt(capsys, "--model", "runs/minigpt", "--labelled", "20", "--epochs", "1", "--accumulate", "8", "--name", "few")
    equal(Metrics(Path("runs/few-lora-0/metrics.jsonl")).read()[-1]["step"], 1, "rounded up")


def test_what_is_done_is_shown_when_it_is_broken_off(here, capsys, monkeypatch):
    real, calls = finetune.adapt, []

    def adapt_once(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(finetune, "adapt", adapt_once)
    with pytest.raises(SystemExit) as ended:
        finetune.main([*FLAGS, "--model", "runs/minigpt", "--method", "head,lora", "--steps", "1", "--name", "off"])
    equal(ended.value.code, 130, "exit code of Ctrl-C")
    says(capsys.readouterr().out.splitlines()[-1], "head")


@pytest.mark.parametrize(("config", "word"), {
    '{"model_type": "distilbert"}': "'distilbert'; known here are bert, t5, gpt2, llama, qwen3",
    '{"task": "sentiment"}': "has been fine-tuned already"}.items())
def test_models_that_cannot_be_adapted(config, word, here, capsys):
    Path("runs/other").mkdir(exist_ok=True)
    Path("runs/other/best.pt").write_bytes(b"")
    Path("runs/other/labels.json").write_text("[]")
    Path("runs/other/config.json").write_text(config)
    says(refused(capsys, finetune.main, *FLAGS, "--model", "runs/other"), word)


def test_an_unknown_task(here, capsys):
    says(refused(capsys, finetune.main, "--model", "runs/minigpt", "--task", "entities"), "unknown task 'entities'",
         "sentiment")


def test_a_damaged_run(here, capsys):
    Path("runs/damaged").mkdir(exist_ok=True)
    for text, words in (("no json", ["config.json is damaged"]), ("[]", ["config.json is damaged"])):
        Path("runs/damaged/config.json").write_text(text)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            finetune.main([*FLAGS, "--model", "runs/damaged"])
        equal(ended.value.code, 2, "exit code")
        says(capsys.readouterr().err, *words)
