"""`python -m minibert.finetune` and `predict`: what they learn, leave behind, say, repeat and refuse. Tiny sizes."""

import contextlib
import io
import json
import random
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common import checkpoint, world
from common.labelled import Answered, Classified, Tagged
from common.report import Metrics
from minibert import BertModel, classifying, finetune, predict
from minibert.finetune import FinetuneConfig, rate
from minibert.heads import BertForClassification
from minibert.pretrained import arguments_for, load_finetuned, open_encoder
from minibert.recipe import load_run
from minibert.tasks import HEADS, READERS, WORLD, load_task
from tests import tiny
from tests.explain import equal, same
from tests.oracle import oracle
from tests.test_bad_input import refused, says
from tests.test_labelled import squad

ANIMALS, PLACES = ("cat", "dog", "bird"), ("house", "river", "tree")
SMALL = ("--vocab-size", "400", "--d-model", "32", "--n-layers", "1", "--n-heads", "2", "--d-ff", "40", "--batch-size",
         "16",
         "--lr", "0.01", "--dropout", "0", "--max-len", "40")


def sentence(draw):
    words = [draw.choice(ANIMALS), draw.choice(PLACES), *draw.sample(tiny.SOME_WORDS.split()[:14], 2)]
    draw.shuffle(words)
    return words


def own_files(n=160):
    """Three files about the same sentences: which animal it names, tags for both names, where the place stands."""
    draw = random.Random(3)
    sentences = [sentence(draw) for _ in range(n)]
    animal = [next(w for w in words if w in ANIMALS) for words in sentences]
    place = [next(w for w in words if w in PLACES) for words in sentences]
    Path("labels.tsv").write_text("".join(f"{a}\t{' '.join(words)}\n" for a, words in zip(animal, sentences)))
    Path("tags.conll").write_text("\n".join("".join(
        f"{w} {'B-ANIMAL' if w in ANIMALS else 'B-PLACE' if w in PLACES else 'O'}\n" for w in words)
        for words in sentences))
    paragraphs = [{"context": " ".join(words), "qas": [{"id": str(i), "question": "where ?", "answers": [
        {"text": p, "answer_start": " ".join(words).index(p)}]}]} for i, (words, p) in enumerate(zip(sentences, place))]
    Path("answers.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


OWN = {"classify": "labels.tsv", "tag": "tags.conll", "answer": "answers.json"}
SCORE = {"classify": "accuracy", "tag": "entity_f1", "answer": "exact_match"}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(finetune, "draw_curves", lambda *_: "no curve in this test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with own files, and a run of each task on them."""
    made = tmp_path_factory.mktemp("bert_finetune")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(made)
        patch.setattr(finetune, "draw_curves", lambda *_: "")
        own_files()
        for task, file in OWN.items():
            finetune.main([*SMALL, "--task", task, "--train", file, "--epochs", "30", "--name", task])
        tiny.train()  # runs/minibert, a pre-trained one
    return made


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_files()
    return tmp_path


each = pytest.mark.parametrize("task", OWN)


@each
def test_it_learns_the_task(folder, task):
    lines = [line for line in Metrics(folder / "runs" / task / "metrics.jsonl").read() if "held_out_loss" in line]
    assert lines[-1][SCORE[task]] > 0.95, f"{task}: {lines[-1]}"
    assert lines[0]["held_out_loss"] > lines[-1]["held_out_loss"]


@each
def test_what_a_run_leaves_behind(folder, task, monkeypatch):
    monkeypatch.chdir(folder)
    run = Path("runs") / task
    have = {path.name for path in run.iterdir()}
    assert {"config.json", "metrics.jsonl", "last.pt", "best.pt", "tokenizer.model", "model.json", "labels.json",
            "samples.txt"} <= have, have
    if oracle("safetensors"):
        labels = json.loads((run / "labels.json").read_text())
        published = HEADS[task].Model.from_pretrained(run / "published")
        model, _ = load_finetuned(run, HEADS[task].Model)
        equal(published.labels, tuple(labels), "the same labels")
        for name, p in model.state_dict().items():
            same(published.state_dict()[name], p, f"{name} of the published form")


ASKED = {"classify": (["old cat river red"], "cat"), "tag": (["old cat river red"], "B-ANIMAL"),
         "answer": (["where ?", "--context", "old cat river red"], "river")}


@each
def test_asking(folder, task, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments, expected = ASKED[task]
    predict.main([*arguments, "--model", f"runs/{task}"])
    out, err = capsys.readouterr()
    equal(err, "", "all of it fits: no warning")
    assert expected in (out.splitlines()[1] if task == "classify" else out), out
    if task == "tag":
        equal([line.split() for line in out.splitlines()[1:]], [["old", "O"], ["cat", "B-ANIMAL"], ["river", "B-PLACE"],
                                                               ["red", "O"]], "a tag for each word")


def test_a_context_of_a_page_fits_into_a_line(here, capsys):
    pages = ["old cat river red " * n for n in (1, 200, 200)]
    data = [{"paragraphs": [{"context": page, "qas": [{"id": "1", "question": "where ?", "answers": [
        {"text": "river", "answer_start": 8}]}]}]} for page in pages]
    Path("pages.json").write_text(json.dumps({"data": data}))
    finetune.main([*SMALL, "--task", "answer", "--train", OWN["answer"], "--dev", "pages.json", "--steps", "1"])
    out = capsys.readouterr().out
    longest = max(map(len, out.splitlines()))
    assert longest < 250, f"a line of {longest} letters: contexts are cut, and the shortest one is offered for asking"
    assert "--context=old cat river red '" in out, out


def test_from_a_pretrained_run_and_frozen(folder, monkeypatch, capsys):
    """Frozen: the encoder is that of the run, bit for bit; else it has moved. From scratch it never was."""
    monkeypatch.chdir(folder)
    before = load_run(Path("runs/minibert"))[0].bert.state_dict()
    common = ("--task", "classify", "--train", "labels.tsv", "--model", "runs/minibert", "--epochs", "1",
              "--batch-size", "16")
    moved = {}
    for name, flags in (("full", ()), ("ice", ("--frozen",)), ("scratch", ("--from-scratch", "--frozen"))):
        finetune.main([*common, *flags, "--name", name])
        model, _ = load_finetuned(Path("runs") / name, BertForClassification)
        moved[name] = [not torch.equal(model.bert.state_dict()[key], p) for key, p in before.items()]
    assert any(moved["full"]) and not any(moved["ice"]) and any(moved["scratch"])
    out = capsys.readouterr().out
    n_head = 24 * 3 + 3
    assert f"{n_head} of them trained, from runs/minibert" in out, out


def test_the_head_of_tokens_takes_the_encoder_over(folder, monkeypatch):
    monkeypatch.chdir(folder)
    config = FinetuneConfig(task="tag", train="tags.conll", model="runs/minibert", dropout=0.0)
    task = load_task("tag", "tags.conll", None, None, 0)
    model, _ = finetune.start(config, task, ["B-ANIMAL", "O"])
    encoder, _ = open_encoder(Path("runs/minibert"), 0.0)
    for name, p in model.bert.state_dict().items():
        same(p, encoder.state_dict()[name], f"{name} was not taken over")


def test_a_resumed_run_continues_bit_for_bit(here, monkeypatch, capsys):
    flags = [*SMALL, "--task", "tag", "--train", "tags.conll", "--steps", "8", "--eval-every", "3", "--dropout", "0.1"]
    finetune.main([*flags, "--name", "whole"])
    tiny._press_ctrl_c(5, monkeypatch, 1, finetune, "task_loss")
    with pytest.raises(SystemExit):
        finetune.main([*flags, "--name", "cut"])
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(finetune, "draw_curves", lambda *_: "")
    finetune.main(["--name", "cut", "--resume"])
    tiny.same_weights(Path("runs/cut"), Path("runs/whole"), "resuming changed something")


def test_the_commands_that_are_printed_work(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    finetune.main([*SMALL, "--task", "answer", "--train", "answers.json", "--steps", "1", "--name", "said"])
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "minibert.predict" in line)
    argv = shlex.split(line.rpartition("  ask this model")[0].partition("minibert.predict")[2])
    predict.main(argv)
    assert capsys.readouterr().out.strip() != ""


def test_tasks_of_the_world():
    for name, head in WORLD.items():
        task = load_task(name, None, None, 40, seed=1)
        equal(len(task.train), 40, "--labelled")
        assert task.head is HEADS[head]
        assert not {world.input_of(e) for e in task.train} & {world.input_of(e) for e in task.dev}
    other = load_task("sentiment", None, None, 40, seed=2)
    assert other.train != load_task("sentiment", None, None, 40, seed=1).train and len(other.dev) == 1_000


def test_own_files_are_split_the_same_way_whatever_the_seed(here):
    tasks = [load_task("classify", "labels.tsv", None, None, seed) for seed in (0, 1)]
    equal(tasks[0].dev, tasks[1].dev, "a seed must not choose what is held out")
    equal((len(tasks[0].train), len(tasks[0].dev)), (144, 16), "one in ten")
    few = load_task("classify", "labels.tsv", None, 32, 1)
    equal(len(few.train), 32, "--labelled chooses by the seed")
    equal(load_task("classify", "labels.tsv", "labels.tsv", None, 0).dev, READERS["classify"](Path("labels.tsv")),
          "--dev")


def test_rates():
    equal(rate(FinetuneConfig()), 1e-3, "random weights")
    equal(rate(FinetuneConfig(model="/nowhere")), 5e-5, "a published model")
    equal(rate(FinetuneConfig(lr=0.5)), 0.5, "what is said")


def test_how_an_example_is_asked():
    equal(arguments_for(Classified("a", "x", "b")), ["--second=b", "--", "a"], "two sentences")
    equal(arguments_for(Classified("a", "x")), ["--", "a"], "one")
    equal(arguments_for(Answered("q", "c", "c", 0)), ["--context=c", "--", "q"], "a question")
    equal(arguments_for(Tagged(("a", "b"), ("O", "O"))), ["--", "a b"], "words")


def test_long_texts_are_cut_and_counted():
    t = tiny.tokenizer()
    examples = [Classified("the cat " * 20, "x"), Classified("the", "y", "cat " * 30), Classified("the", "x")]
    rows, lost = classifying.rows_of(examples, ["x", "y"], t, 16)
    assert [len(row.ids) for row in rows[:2]] == [16, 16] and lost.startswith("2 of 3 texts are longer than 16 tokens")
    equal(rows[1].ids[1], t.encode("the")[0], "the longer one of two sentences is cut")


# ---- bad input


BAD = {
    "unknown task": (("--task", "poetry"), "unknown task 'poetry'", "sentiment"),
    "no file": (("--task", "tag"), "needs a file", "--train"),
    "a file for the world": (("--task", "sentiment", "--train", "labels.tsv"), "needs no file"),
    "missing file": (("--task", "classify", "--train", "no.tsv"), "no.tsv is not there"),
    "unknown label": (("--task", "classify", "--train", "labels.tsv", "--dev", "other.tsv"), "the label 'horse'",
                      "never"),
    "one label": (("--task", "classify", "--train", "one.tsv"), "one label only"),
    "empty class": (("--task", "classify", "--train", "empty.tsv"), "line 2", "one of them empty"),
    "columns": (("--task", "classify", "--train", "columns.tsv"), "line 2", "3 columns"),
    "broken BIO": (("--task", "tag", "--train", "broken.conll"), "line 2", "I-X does not continue"),
    "answer not there": (("--task", "answer", "--train", "wrong.json"), "'Rome'", "does not stand"),
    "too many wanted": (("--task", "classify", "--train", "labels.tsv", "--labelled", "999"), "there are 144 examples"),
    "too few": (("--task", "classify", "--train", "single.tsv"), "too few examples: 0 to learn from, 1 held out"),
    "vocabulary": (("--task", "classify", "--train", "labels.tsv", "--vocab-size", "5000"), "at most"),
    "question too long": (("--task", "answer", "--train", "long.json", "--dev", "long.json", "--max-len", "8",
                           "--vocab-size", "300"), "no room"),
    "from scratch of nothing": (("--from-scratch",), "--model DIR"),
    "no model there": (("--model", "nowhere"), "nowhere is not a directory"),
    "heads": (("--d-model", "33"), "n_heads"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_clear_line(here, capsys, case):
    flags, *words = BAD[case]
    for name, text in {"other.tsv": "horse\told\n", "one.tsv": "a\tx\n" * 20, "empty.tsv": "a\tx\n\ty\n",
                       "columns.tsv": "a\tx\nb\ty\tz\n", "broken.conll": "a O\nb I-X\n",
                       "wrong.json": squad(answer="Rome"), "long.json": squad(question="which words are those ?"),
                       "single.tsv": "a\tx\n"}.items():
        Path(name).write_text(text)
    base = [] if "--vocab-size" in flags else ["--vocab-size", "400"]
    says(refused(capsys, finetune.main, *base, *flags), *words)


def test_predict_refuses(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for argv, words in (((" ",), ["empty"]), (("a", "--context", " ", "--model", "runs/answer"), ["empty"]),
                        (("a", "--context", "b", "--model", "runs/tag"), ["finds no answers"]),
                        (("a", "--model", "runs/answer"), ["--context"]),
                        (("a", "--second", "b", "--model", "runs/tag"), [
                            "labels no sentences"]), (("a", "--model", "runs/minibert"), ["not a fine-tuned run"])):
        says(refused(capsys, predict.main, *argv), *words)


def test_a_damaged_list_of_labels(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "runs" / "classify"
    made.mkdir(parents=True)
    for path in (folder / "runs" / "classify").glob("*.*"):
        (made / path.name).write_bytes(path.read_bytes())
    (made / "labels.json").write_text("[")
    says(refused(capsys, predict.main, "a", "--model", "runs/classify"), "damaged")


# ---- a real, trained BERT


def test_minilm_learns_a_little_of_real_text(minilm, shared_data, tmp_path, monkeypatch, capsys):
    """A few dozen sentences of SST-5 in a few steps: it only shows that the way from files to a score is open."""
    monkeypatch.chdir(tmp_path)
    lines = (shared_data / "sst5" / "sst-train.txt").read_text(encoding="utf-8").splitlines()
    far = [line for line in lines if line[0] in "04"]
    Path("train.txt").write_text("\n".join(far[:96]) + "\n", encoding="utf-8")
    Path("dev.txt").write_text("\n".join(far[96:160]) + "\n", encoding="utf-8")
    finetune.main(["--task", "classify", "--train", "train.txt", "--dev", "dev.txt", "--model", str(minilm), "--epochs",
                   "4",
                   "--lr", "0.0002", "--max-len", "40"])
    [accuracy] = [line["accuracy"] for line in Metrics(Path("runs/task-minibert/metrics.jsonl")).read()
                  if "accuracy" in line][-1:]
    assert accuracy > 0.7, f"worst and best reviews are told apart by {accuracy}"
    model, vocabulary = load_finetuned(Path("runs/task-minibert"), BertForClassification)
    equal(vocabulary.encode("Unaffable!"), open_encoder(minilm, 0.1)[1].encode("Unaffable!"),
          "its vocabulary came along")
    assert isinstance(BertModel.from_pretrained(minilm), BertModel)


def test_settings_of_time_follow_from_the_epochs(here, monkeypatch):
    seen = {}
    monkeypatch.setattr(finetune, "fit", lambda *a, **k: seen.update(config=a[4]))
    monkeypatch.setattr(finetune, "finish", lambda *_: None)
    finetune.main([*SMALL, "--task", "classify", "--train", "labels.tsv", "--epochs", "4"])
    equal((seen["config"].steps, seen["config"].warmup, seen["config"].eval_every), (36, 3, 9),
          "144 rows, 9 batches an epoch")
    equal(replace(seen["config"], steps=0, warmup=-1, eval_every=0).epochs, 4, "the epochs as said")
    kept = checkpoint.read_text(Path("runs/task-minibert/config.json"))
    assert '"steps": 0' in kept, "config.json keeps what was said"
