"""`python -m minit5.finetune`: where it starts from, what it learns, leaves behind, says, and repeats."""

import contextlib
import io
import json
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import sentencepiece as spm
import torch

from common import checkpoint
from common.config import read_json
from common.published_pieces import PublishedPieces
from common.report import Metrics
from common.tokenizer import Tokenizer
from minit5 import T5, T5Config, answer, finetune
from minit5.finetune import SCORES, FinetuneConfig, held_out_loss, score, start
from minit5.objective import collate, target_loss
from minit5.pretrained import known_tasks, open_model
from minit5.scores import chrf, exact_match, rouge_l
from minit5.tasks import Example, Mixture, encode, read_examples, split
from minit5.vocabulary import SentinelVocabulary
from minit5.writer import answer as write
from tests import tiny
from tests.explain import close, equal, same
from tests.oracle import oracle
from tests.test_bad_input import refused, says
from tests.test_gpt_bad_input import copied

SHORT = ("--steps", "4", "--eval-every", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def drawn():
    """What was asked to be drawn: panels and path."""
    return []


@pytest.fixture(scope="module")
def printed(folder, drawn):
    """What the run in `folder` printed, which learned two tasks from random weights."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        patch.setattr(finetune, "draw_curves", lambda _, panels, path: drawn.append((panels, path)) or "curve: here")
        tiny.teach_t5(curve=True)
    return out.getvalue()


@pytest.fixture
def run(folder, printed, monkeypatch):
    """That run, with its folder as working directory."""
    monkeypatch.chdir(folder)
    return folder / "runs" / "minit5-tasks"


@pytest.fixture(scope="module")
def young(folder, printed):
    """A run of four steps in the same folder: it writes nonsense, up to the limit."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        tiny.teach_t5("--name", "young", "--dropout", "0.1", *SHORT)
    return folder / "runs" / "young"


@pytest.fixture(scope="module")
def pretrained(folder):
    """A run of pre-training in the same folder."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        tiny.train_t5("--steps", "1", "--n-heads", "2", "--d-ff", "44")
    return folder / "runs" / "minit5"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A T5 of version 1.0 as `transformers` writes it, with pieces like those of the published ones."""
    directory, model = tmp_path_factory.mktemp("published"), io.BytesIO()
    transformers = oracle("transformers")
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(tiny.tasks().splitlines()), model_writer=model, vocab_size=60, hard_vocab_limit=False,
        normalization_rule_name="identity", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2)
    (directory / "spiece.model").write_bytes(model.getvalue())
    n = PublishedPieces(directory / "spiece.model").vocab_size + 128  # 100 sentinels, and 28 rows that nobody uses
    transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=n, d_model=20, d_kv=6, d_ff=28, num_layers=1, num_decoder_layers=2, num_heads=3, dropout_rate=0.25,
        relative_attention_num_buckets=8, relative_attention_max_distance=12,
        decoder_start_token_id=0)).save_pretrained(directory)
    return directory


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(path: str = "my.tsv") -> list[Example]:
    """The held-out examples."""
    return split(read_examples(Path(path)))[1]


# ---- what it learns


def test_it_learns_two_tasks_that_only_their_prefix_tells_apart(run):
    last = Metrics(run / "metrics.jsonl").read()[-1]
    for task in ("animal", "place"):
        assert last[f"exact match: {task}"] > 0.9, f"sentences that it never saw; a third is guessing; came {last}"


def test_the_best_weights_answer(run):
    model, vocabulary = open_model(run)
    both = [e for e in asked() if e.source == asked()[0].source]
    equal([e.task for e in both], ["animal", "place"], "one sentence, two questions")
    written = [vocabulary.decode(ids) for ids in write(model, [vocabulary.encode(e.text) for e in both], 8)]
    equal(written, [e.target for e in both], "the prefix says which one it is")


# ---- what a run leaves behind


def test_a_run_leaves_its_files(run):
    equal({path.name for path in run.iterdir()}, {
        "config.json", "model.json", "tasks.json", "metrics.jsonl", "last.pt", "best.pt", "tokenizer.model",
        "samples.txt", "published"}, "what another command reads, and no temporary file")
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    flags = {"steps": 40, "tasks": "my.tsv", "model": None, "name": "minit5-tasks", "max_target": 8}
    equal({name: settings[name] for name in flags}, flags, "config.json holds the flags")
    equal(known_tasks(run), ["animal", "place"], "so that answer can warn of any other")


def test_metrics_hold_losses_and_the_scores_of_each_task(run):
    lines = Metrics(run / "metrics.jsonl").read()
    judged = [line for line in lines if "held_out_loss" in line]
    equal([line["step"] for line in judged], [20, 40], "at each evaluation")
    equal(list(judged[0]), ["step", "held_out_loss", *(f"{name}: {task}" for task in ("animal", "place")
                                                       for name in ("exact match", "chrF", "ROUGE-L"))],
          "the loss first: by it the best weights are chosen")


@pytest.mark.parametrize("name", ["minit5-tasks", "young"])
def test_the_figures_are_those_of_what_the_last_weights_write(run, young, name):
    model, vocabulary = open_model(run.with_name(name))
    model.load_state_dict(checkpoint.load(run.with_name(name) / "last.pt")["model"])
    last, nats, count = Metrics(run.with_name(name) / "metrics.jsonl").read()[-1], 0.0, 0
    for task in ("animal", "place"):
        examples = [e for e in asked() if e.task == task]
        written = [vocabulary.decode(write(model, [vocabulary.encode(e.text)], 8)[0]) for e in examples]
        for name, function in (("exact match", exact_match), ("chrF", chrf), ("ROUGE-L", rouge_l)):
            equal(last[f"{name}: {task}"], function(written, [e.target for e in examples]), f"{name} of {task}")
        assert name != "young" or 0 < last[f"chrF: {task}"] < 1, f"or this test shows little; came {last}"
        for pair in encode(examples, vocabulary, 99, 99):
            with torch.no_grad():
                total, n = target_loss(model, collate([pair], 0, 0))["loss"]
            nats, count = nats + total.item(), count + n
    close(torch.tensor(last["held_out_loss"]), torch.tensor(nats / count), "nats a target token, dropout off")


def test_the_curve_shows_figures_that_were_measured(run, drawn):
    [(panels, path)] = drawn
    names = {name for line in Metrics(run / "metrics.jsonl").read() for name in line}
    shown = {name for panel in panels.values() for name in panel}
    equal(shown, names - {"step", "lr_factor", "tokens_per_s"}, "losses, and the scores of each task")
    equal(run.parents[1] / path, run / "curve.png", "beside the other files of the run")


def test_the_vocabulary_is_that_of_the_training_part(run):
    train, _ = split(read_examples(Path("my.tsv")))
    texts = [text for e in train for text in (f"{e.task}: {e.source}", e.target)]
    equal((run / "tokenizer.model").read_bytes(), Tokenizer.train(texts, 300).model, "inputs and targets of that part")


def test_the_published_form_is_the_same_model_here_and_in_transformers(run):
    ids, decoder_ids = torch.randint(7, 390, (2, 2, 15))
    ours, again = open_model(run)[0], T5.from_pretrained(run / "published")
    theirs = oracle("transformers").AutoModelForSeq2SeqLM.from_pretrained(run / "published").eval()
    with torch.no_grad():
        expected = ours(ids, decoder_ids)
        same(again(ids, decoder_ids), expected, "the best weights, in the Hugging Face layout")
        close(theirs(input_ids=ids, decoder_input_ids=decoder_ids).logits, expected,
              "what the file says is not what the model computes", atol=1e-4)


def test_the_tables_of_each_evaluation_are_kept(run, printed):
    parts = (run / "samples.txt").read_text(encoding="utf-8").split("--- step ")[1:]
    equal([part.split()[0] for part in parts], ["20", "40"], "each evaluation adds its tables")
    for part in parts:
        shown = part.partition("\n")[2].strip()
        assert shown in printed and "animal: " in shown, f"what is kept is what was printed, came {shown}"


# ---- the scores


TASKS = [Example("b" if i % 4 == 3 else "a", f"{i}", f"no {i}" if i % 5 else "the answer 0") for i in range(20)]


@pytest.fixture
def scored(monkeypatch):
    """The scores of TASKS where the model writes "the answer 0" to everything, and the inputs that were asked."""
    vocabulary, inputs = SentinelVocabulary(tiny.tokenizer()), []

    def write(model, sources, max_new):
        equal(max_new, 9, "answers end at --max-target")
        inputs.extend(vocabulary.decode(source) for source in sources)
        return [vocabulary.pieces.encode("the answer 0") for _ in sources]

    monkeypatch.setattr(finetune, "answer", write)
    return lambda: (*score(None, TASKS, encode(TASKS, vocabulary, 99, 99), vocabulary, 9), inputs)


def test_every_held_out_example_of_a_small_task_is_answered(scored):
    measured, shown, inputs = scored()
    equal(sorted(inputs), sorted(e.text for e in TASKS), "each once, with its prefix")
    equal({name: measured[name] for name in ("exact match: a", "exact match: b")},
          {"exact match: a": 3 / 15, "exact match: b": 1 / 5}, "each task by itself: 0, 5, 10 of 15, and 15 of 5")
    for name, function in (("chrF", chrf), ("ROUGE-L", rouge_l)):
        expected = function(["the answer 0"] * 5, [e.target for e in TASKS if e.task == "b"])
        equal(measured[f"{name}: b"], expected, f"{name}: what was written first, then the targets")
    equal(set(measured), {f"{name}: {task}" for name in SCORES for task in "ab"}, "three scores a task")
    lines = [line.split() for line in shown.splitlines()]
    assert ["a", "15"] in [line[:2] for line in lines] and ["b", "5"] in [line[:2] for line in lines], f"came {shown}"


def test_of_a_large_task_examples_are_spread_over_the_file(scored, monkeypatch):
    monkeypatch.setattr(finetune, "N_ANSWERED", 4)
    measured, _, inputs = scored()
    right = ["the answer 0"] * 4
    of_a, of_b = ([e for e in TASKS if e.task == task] for task in "ab")
    chosen = [*of_a[::4], *of_b[::2]]
    equal(inputs, [e.text for e in chosen], "every fourth of 15, every second of 5: never more than 4")
    equal(measured["exact match: a"], exact_match(right, [e.target for e in of_a[::4]]), "of these alone")


def test_four_examples_of_each_task_are_shown(scored):
    rows = scored()[1].partition("\n\n")[2].splitlines()[1:]
    expected = ["a: 0", "a: 4", "a: 9", "a: 14", "b: 3", "b: 7", "b: 11", "b: 15"]
    equal([" ".join(row.split()[:2]) for row in rows], expected, "spread over those that were answered")
    for row in rows:
        right = int(row.split()[1]) % 5 == 0
        equal(row.endswith("✓"), right, f"a mark where the two are the same: {row}")


def test_the_held_out_loss_of_many_pairs():
    """More than a batch, of several lengths: tokens count alike."""
    vocabulary = SentinelVocabulary(tiny.tokenizer())
    model = T5(T5Config(vocabulary.vocab_size, 16, 4, 24, 1, n_heads=2, eos_id=vocabulary.eos_id)).eval()
    pairs = [([20 + i, 6], [30 + i] * (1 + i % 4) + [6]) for i in range(70)]
    with torch.no_grad():
        each = [target_loss(model, collate([pair], 0, 0))["loss"] for pair in pairs]
    expected = sum(total.item() for total, _ in each) / sum(n for _, n in each)
    close(torch.tensor(held_out_loss(model, pairs, vocabulary)), torch.tensor(expected), "nats a token, one mean")


# ---- where it starts from


def same_weights(came: T5, expected: T5) -> None:
    equal(came.config.n_layers, expected.config.n_layers, "sizes of the start")
    theirs = expected.state_dict()
    for name, tensor in came.state_dict().items():
        same(tensor, theirs[name], f"{name}: the weights of the start")


@pytest.mark.parametrize("kind", ["a run of pre-training", "its published form", "one of transformers"])
def test_it_starts_with_the_model_of_a_folder(folder, pretrained, published, kind):
    directory = {"a run of pre-training": pretrained, "its published form": pretrained / "published",
                 "one of transformers": published}[kind]
    expected, pieces = open_model(directory)
    model, vocabulary = start(FinetuneConfig(model=str(directory), dropout=0.33, d_model=99, n_heads=3), [])
    same_weights(model, expected)
    equal(model.config, T5Config(**{**vars(expected.config), "dropout": 0.33}), "all sizes but the dropout are its own")
    equal({m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}, {0.33}, "the dropout of this run")
    equal(vocabulary.pieces.model, pieces.pieces.model, "and its vocabulary")
    equal(vocabulary.sentinels, pieces.sentinels, "with as many sentinels")


def test_a_model_of_transformers_is_taught_and_published_again(folder, published, printed, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    tiny.teach_t5("--name", "flan", "--model", str(published), *SHORT)
    out = capsys.readouterr().out
    assert f"from {published}" in out, f"which model it is; came {out}"
    run = folder / "runs" / "flan"
    pieces = (published / "spiece.model").read_bytes()
    for directory in (run, run / "published"):
        equal((directory / "spiece.model").read_bytes(), pieces, "the vocabulary goes along, under the name it had")
        assert not (directory / "tokenizer.model").exists(), "that is the name of pieces that were made here"
    model, vocabulary = open_model(run)
    equal((model.config.tied, model.config.n_decoder_layers, len(vocabulary.sentinels)), (True, 2, 100), "version 1.0")
    assert not torch.equal(model.token.weight, open_model(published)[0].token.weight), "it has learned nothing"
    theirs = oracle("transformers").AutoModelForSeq2SeqLM.from_pretrained(run / "published").eval()
    ids = torch.tensor([vocabulary.encode("animal: old dog river")])
    with torch.no_grad():
        close(theirs(input_ids=ids, decoder_input_ids=ids).logits, model(ids, ids), "published again", atol=1e-4)
    answer.main(["animal: old dog river", "--model", str(run), "--max-new", "3"])


def test_a_run_of_pre_training_is_taught_and_goes_on_without_it(folder, pretrained, printed, tmp_path, monkeypatch):
    """Once a run has begun, nobody needs the folder that it started from."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / ".cache", ".cache")
    shutil.copytree(pretrained, "first")
    flags = ("--model", "first", "--dropout", "0.1", *SHORT)
    tiny.teach_t5("--name", "whole", *flags)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        tiny.press_ctrl_c_t5(3, patch, finetune)
        tiny.teach_t5("--name", "part", *flags)
    equal(ended.value.code, 130, "the exit code of Ctrl-C")
    shutil.rmtree("first")
    part, whole = Path("runs/part"), Path("runs/whole")
    equal(checkpoint.load(part / "last.pt")["step"], 3, "the step is finished and saved")
    monkeypatch.setattr(finetune, "draw_curves", lambda *_: "no curve in this test")
    torch.manual_seed(4711)
    finetune.main(["--name", "part", "--resume"])
    tiny.same_weights(part, whole, "resumed runs go on bit for bit, dropout included")
    equal(tiny.without_speed(part), tiny.without_speed(whole), "the metrics too")
    equal((part / "samples.txt").read_bytes(), (whole / "samples.txt").read_bytes(), "and the samples")
    equal(read_json(T5Config, part / "model.json"), read_json(T5Config, whole / "model.json"), "and the sizes")


# ---- what it says


def test_the_table_of_tasks_and_the_model(printed):
    lines = [line.split() for line in printed.splitlines()]
    equal(lines[:3], [["task", "to", "learn", "from", "held", "out", "share", "of", "a", "batch"],
                      ["animal", "108", "12", "0.50"], ["place", "108", "12", "0.50"]], "what there is to learn")
    assert "model: 45,920 parameters, from random weights" in printed, f"came {printed}"


def test_small_tasks_come_more_often_than_their_sizes_say(here, capsys):
    lines = tiny.tasks(100).splitlines()[::2]  # one a sentence
    Path("my.tsv").write_text("\n".join(lines[:90] + [f"few\t{line}" for line in lines[90:]]).replace(
        "few\tanimal", "few"), encoding="utf-8")
    for flags, shares in (((), ["0.75", "0.25"]), (("--temperature", "1"), ["0.90", "0.10"])):
        tiny.teach_t5("--steps", "1", *flags)
        shown = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
        expected = [["animal", "81", "9", shares[0]], ["few", "9", "1", shares[1]]]
        equal(shown, expected, "√81 to √9 where no temperature is given, 81 to 9 at 1")


@pytest.mark.parametrize("name", ["minit5-tasks", "a b"])
def test_the_printed_commands_can_be_typed(folder, printed, monkeypatch, capsys, name):
    monkeypatch.chdir(folder)
    out = printed
    if name != "minit5-tasks":
        tiny.teach_t5("--name", name, "--steps", "1")
        out = capsys.readouterr().out
    lines = [line for line in out.partition("next:")[2].splitlines() if "python -m " in line]
    (ask, *argv), (go_on, *flags) = (shlex.split(line.partition("python -m ")[2].rpartition("  ")[0]) for line in lines)
    equal((ask, go_on, flags), ("minit5.answer", "minit5.finetune", ["--name", name, "--resume"]), "ask it, or go on")
    equal(argv[1:], [] if name == "minit5-tasks" else ["--model", f"runs/{name}"], "without --model the newest answers")
    answer.main([argv[0], "--model", f"runs/{name}", "--max-new", "3"])
    came = capsys.readouterr()
    assert came.out and not came.err, f"a held-out example of a task that it knows; came {came}"


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        finetune.main(["--help"])
    equal(ended.value.code, 0, "--help is no error")
    shown = capsys.readouterr().out
    for name in FinetuneConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in shown, f"{name} is not in --help"
    missing = len(FinetuneConfig.__dataclass_fields__) - " ".join(shown.split()).count("(default: ")
    assert missing <= 0, f"{missing} flags do not show their defaults"


def test_what_is_published_is_the_best(here, monkeypatch, capsys):
    looks = iter([3.0, 5.0, 4.0])  # the first look is the best one
    monkeypatch.setattr(finetune, "held_out_loss", lambda *_: next(looks))
    tiny.teach_t5("--steps", "3", "--eval-every", "1")
    run = here / "runs" / "minit5-tasks"
    published = T5.from_pretrained(run / "published").state_dict()
    best, last = checkpoint.load(run / "best.pt")["model"], checkpoint.load(run / "last.pt")["model"]
    assert any(not torch.equal(best[name], last[name]) for name in best), "or this test shows nothing"
    for name, tensor in best.items():
        same(published[name], tensor, f"{name}: answer takes best.pt, so that is what should be published")
    assert "the weights of step 1 have the smallest held-out loss, 3.000" in capsys.readouterr().out, "and it says so"


# ---- repeating and resuming


def test_the_same_seed_gives_the_same_run(young, run, monkeypatch):
    tiny.teach_t5("--name", "again", "--dropout", "0.1", *SHORT)
    tiny.same_weights(run.with_name("again"), young, "everything random must come from the seed")
    equal(tiny.without_speed(run.with_name("again")), tiny.without_speed(young), "the metrics too")


def test_the_seed_decides_weights_and_batches(run, monkeypatch):
    made = []
    monkeypatch.setattr(finetune, "Mixture", lambda *how: made.append(how) or Mixture(*how))
    weights = []
    for seed in ("1", "2"):
        tiny.teach_t5("--name", f"seed {seed}", "--seed", seed, "--steps", "1", "--muon-lr", "0", "--adam-lr", "0")
        weights.append(open_model(run.with_name(f"seed {seed}"))[0].head.weight)
    assert (weights[0] - weights[1]).abs().max() > 0.5, "the seed has no effect on the weights to begin with"
    equal([how[-1] for how in made], [1, 2], "nor on the batches")


def changed(run: Path, old: str, new: str) -> dict[str, bytes]:
    """Change the first such line of my.tsv; -> what the run holds."""
    content = Path("my.tsv").read_text(encoding="utf-8")
    assert old in content, f"{old!r} is not there to be changed"
    Path("my.tsv").write_text(content.replace(old, new, 1), encoding="utf-8")
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.fixture
def copy(folder, printed, tmp_path, monkeypatch):
    """A copy of the run, with its file of tasks, in an empty folder."""
    shutil.copy(folder / "my.tsv", tmp_path)
    return copied(folder, "minit5-tasks", tmp_path, monkeypatch)


def test_resuming_on_another_file_of_tasks(copy, capsys):
    line = str(split(read_examples(Path("my.tsv")))[0][0].source)
    before = changed(copy, f"{line}\t", f"{line} again\t")
    says(refused(capsys, finetune.main, "--name", "minit5-tasks", "--resume"), "cannot be resumed", "file of tasks has")
    for name, content in before.items():
        equal((copy / name).read_bytes() == content, True, f"{name}: nothing is lost, nothing changed")


def test_resuming_with_another_name_of_a_task(copy, capsys):
    before = changed(copy, "", "new\tone\tyes\nnew\ttwo\tno\n")
    says(refused(capsys, finetune.main, "--name", "minit5-tasks", "--resume"), "cannot be resumed", "file of tasks has")
    equal((copy / "tasks.json").read_bytes(), before["tasks.json"], "what the run has learned must not be lost")


def test_resuming_with_other_questions(copy, capsys):
    e = asked()[0]
    changed(copy, f"{e.source}\t{e.target}", f"{e.source}\tfrog")
    says(refused(capsys, finetune.main, "--name", "minit5-tasks", "--resume"), "cannot be resumed")


# ---- what a user can get wrong


def teach(capsys, content: str | None, *flags: str) -> str:
    """What finetune says to a file of tasks, or to flags, that it cannot use."""
    if content is not None:
        Path("my.tsv").write_text(content, encoding="utf-8")
    line = refused(capsys, finetune.main, *tiny.TASK_FLAGS, *flags)
    assert not Path("runs").exists(), "no folder should be made for a run that cannot begin"
    return line


@pytest.mark.parametrize(("content", "words"), [
    (None, ("my.tsv", "not there")), ("", ("my.tsv", "empty")), ("copy\ta", ("my.tsv, line 1", "2 columns")),
    ("copy\ta\tb\nsay\tc\td", ('"copy"', "one input")), (tiny.tasks(9), ("300 pieces", "at most"))],
    ids=["missing", "empty", "columns", "one input", "too little text"])
def test_a_file_of_tasks_that_is_none(here, capsys, content, words):
    says(teach(capsys, content), *words)


def test_no_file_of_tasks(here, capsys):
    says(refused(capsys, finetune.main), "--tasks", "--help")
    says(refused(capsys, finetune.main, "my.tsv"), "my.tsv", "--help")


@pytest.mark.parametrize(("flags", "words"), [
    (("--max-input", "3"), ("240 of 240 inputs", "--max-input")), (("--max-target", "2"), ("targets", "--max-target")),
    (("--max-input", "1"), ("max_input = 1", "at least 2")), (("--temperature", "nan"), ("temperature = nan",)),
    (("--temperature", "0.5"), ("temperature = 0.5", "at least 1")), (("--n-heads", "5"), ("n_heads = 5",)),
    (("--length", "9"), ("--length", "--help")), (("--model", "nowhere"), ("nowhere", "not a directory"))],
    ids=" ".join)
def test_a_setting_that_makes_no_sense(here, capsys, flags, words):
    says(teach(capsys, tiny.tasks(), *flags), *words)


def test_a_model_to_start_from_that_is_none(here, pretrained, published, capsys):
    shutil.copytree(pretrained, "young")
    Path("young/best.pt").unlink()
    says(teach(capsys, tiny.tasks(), "--model", "young"), "young", "stopped before its first evaluation", "--resume")
    shutil.copytree(published, "bare")
    Path("bare/spiece.model").unlink()
    says(teach(capsys, None, "--model", "bare"), "bare has no vocabulary", "tokenizer.model", "spiece.model")
    Path("empty").mkdir()
    says(teach(capsys, None, "--model", "empty"), "empty")


def test_who_does_what_the_line_says_is_done_with_it(here, capsys):
    """The longest input of all is held out here."""
    for word in tiny.SOME_WORDS.split():
        lines = [f"count\t{' '.join([word] * n)}\t{n}" for n in range(1, 21)]
        Path("my.tsv").write_text("\n".join(lines), encoding="utf-8")
        if any(e.target == "20" for e in asked()):
            break
    Path("my.tsv").write_text(tiny.tasks() + "\n".join(lines), encoding="utf-8")
    enough = teach(capsys, None, "--max-input", "15").split("--max-input ")[1]
    tiny.teach_t5("--max-input", enough, "--steps", "1")


@pytest.mark.parametrize(("step", "says_so"), [(1, "nothing was saved"), (4, "go on from the last save with")])
def test_a_second_ctrl_c_in_a_step(folder, printed, monkeypatch, capsys, step, says_so):
    monkeypatch.chdir(folder)
    tiny.press_ctrl_c_t5(step, monkeypatch, finetune, times=2)
    with pytest.raises(SystemExit) as ended:
        tiny.teach_t5("--name", "mine", *SHORT)
    equal((ended.value.code, says_so in capsys.readouterr().out), (130, True), "it says what there is to go on with")


def test_the_file_is_a_command(here, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["finetune"])
    says(refused(capsys, lambda *_: runpy.run_path(finetune.__file__, run_name="__main__")), "--tasks my.tsv")
