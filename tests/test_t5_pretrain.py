"""`python -m minit5.pretrain`: the recipe, what a run leaves behind, says, and repeats. All sizes are tiny here."""

import contextlib
import io
import json
import math
import shlex
from pathlib import Path

import pytest
import torch

from common import checkpoint
from common.config import parse, read_json
from common.corpus import load_corpus
from common.report import Metrics, table
from common.tokenizer import Tokenizer
from minit5 import T5, T5Config, answer, pretrained
from minit5 import pretrain as command
from minit5.baselines import unigram
from minit5.filled import filled_spans
from minit5.finetune import FinetuneConfig
from minit5.objective import SpanBatches, evaluate, held_out_pairs
from minit5.pretrain import EXPECTED, PretrainConfig, finish
from minit5.pretrained import open_model, publish
from minit5.recipe import T5RunConfig, optimizers
from minit5.vocabulary import SentinelVocabulary
from tests import tiny
from tests.explain import close, equal, same
from tests.oracle import oracle
from tests.test_bad_input import refused, says
from tests.test_gpt_bad_input import copied

VOCABULARY = SentinelVocabulary(tiny.tokenizer())
FIGURES = ("held_out_loss", "span_loss", "span_accuracy")
EOS = VOCABULARY.eos_id


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def drawn():
    """What was asked to be drawn: panels and path."""
    return []


@pytest.fixture(scope="module")
def printed(folder, drawn):
    """What the run in `folder` printed; its errors are let through."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        patch.setattr(command, "draw_curves", lambda _, panels, path: drawn.append((panels, path)) or "curve: here")
        tiny.train_t5("--dropout", "0.1", curve=True)
    return out.getvalue()


@pytest.fixture
def run(folder, printed, monkeypatch):
    """That run, with its folder as working directory."""
    monkeypatch.chdir(folder)
    return folder / "runs" / "minit5"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs_of(documents: list[list[str]], vocabulary: SentinelVocabulary):
    """Some documents of my.txt as the questions of an evaluation."""
    pieces = [i for document in documents for paragraph in document for i in vocabulary.pieces.encode(paragraph)]
    return held_out_pairs(torch.tensor(pieces), vocabulary, 20)


# ---- the recipe


def config(**changes) -> T5RunConfig:
    return T5RunConfig(**{"d_model": 24, "n_layers": 2, "n_heads": 3, "d_ff": 40} | changes)


def test_every_size_reaches_the_model():
    wanted = config(n_layers=3, n_decoder_layers=4, n_heads=2, d_ff=44, dropout=0.25).sizes(VOCABULARY)
    equal(wanted, T5Config(tiny.V + 100, d_model=24, d_head=12, d_ff=44, n_layers=3, n_decoder_layers=4, n_heads=2,
                           dropout=0.25, gated=True, tied=False, pad_id=0, eos_id=6, start_id=0),
          "v1.1, the ends of the pieces")


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_trained_by_exactly_one_optimizer(tied):
    model = T5(T5Config(50, 24, 8, 40, 2, n_heads=3, gated=True, tied=tied))
    made = optimizers(model, config())
    came = [id(p) for optimizer in made for group in optimizer.param_groups for p in group["params"]]
    equal(sorted(came), sorted(id(p) for p in model.parameters()), "each once; a tied head is the embeddings")


def names_of(model: T5, optimizer: torch.optim.Optimizer, decayed: bool) -> set[str]:
    wanted = {id(p) for group in optimizer.param_groups if group["weight_decay"] or not decayed
              for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in wanted}


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = T5(config().sizes(VOCABULARY))
    muon, adam = optimizers(model, config(muon_lr=0.123, adam_lr=0.456))
    inside = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
    across = ("cross_attention.qkv", "cross_attention.out")
    equal(names_of(model, muon, decayed=False),
          {f"{block}.{name}.weight" for block, names in (
              ("encoder.blocks.0", inside), ("encoder.blocks.1", inside), ("decoder.blocks.0", inside + across))
           for name in names}, "both sides and what joins them; no embeddings, head, norm, distances")
    equal(names_of(model, adam, decayed=True), {"token.weight", "head.weight", "encoder_bias.table.weight",
                                                "decoder_bias.table.weight"}, "a norm pulled to 0 would switch it off")
    equal([{group["lr"] for group in made.param_groups} for made in (muon, adam)], [{0.123}, {0.456}], "a lost flag")


def test_queries_move_in_smaller_steps():
    """They begin smaller by √d_head, and what is as large for Muon would be √d_head times too large for them."""
    model = T5(config().sizes(VOCABULARY))
    muon, _ = optimizers(model, config())
    names = {id(p): name for name, p in model.named_parameters()}
    equal({names[id(p)] for p in muon.smaller}, {name for name in names.values() if name.endswith("qkv.weight")},
          "attention and cross-attention of all blocks")
    for p, rows in muon.smaller.items():
        expected = torch.cat([torch.full((24, 1), 8**-0.5), torch.ones(48, 1)])
        same(rows, expected, f"{names[id(p)]}: 1 / √8 for the queries, 1 for keys and values")


# ---- what a run leaves behind


def test_a_run_leaves_its_files(run):
    equal({path.name for path in run.iterdir()}, {
        "config.json", "model.json", "tasks.json", "metrics.jsonl", "last.pt", "best.pt", "tokenizer.model",
        "samples.txt", "published"}, "what another command reads, and no temporary file")
    equal({path.name for path in (run / "published").iterdir()},
          {"config.json", "model.safetensors", "tokenizer.model"}, "a model and its vocabulary")


def test_the_settings_the_sizes_and_no_task(run):
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    flags = {"steps": 8, "length": 20, "corpus": "my.txt", "name": "minit5", "dropout": 0.1}
    equal({name: settings[name] for name in flags}, flags, "config.json holds the flags")
    equal(read_json(T5Config, run / "model.json"), config(dropout=0.1).sizes(VOCABULARY), "model.json holds the sizes")
    equal(json.loads((run / "tasks.json").read_text(encoding="utf-8")), [], "it has learned no task")


def test_metrics_hold_losses_and_held_out_figures(run):
    lines = Metrics(run / "metrics.jsonl").read()
    judged = [line for line in lines if "held_out_loss" in line]
    equal([line["step"] for line in judged], [3, 6, 8], "every third step and the last one")
    equal(set(judged[0]), {"step", *FIGURES}, "what `evaluate` measures")
    others = [line for line in lines if line not in judged]
    assert others and all({"step", "loss", "lr_factor", "tokens_per_s"} == set(line) for line in others), f"{others}"


def test_the_figures_are_those_of_the_last_weights_on_all_held_out_text(run):
    model, vocabulary = open_model(run)
    model.load_state_dict(checkpoint.load(run / "last.pt")["model"])
    expected = evaluate(model, pairs_of(load_corpus("my.txt").held_out, vocabulary), vocabulary)
    last = Metrics(run / "metrics.jsonl").read()[-1]
    for name in FIGURES:
        close(torch.tensor(last[name]), torch.tensor(expected[name]), f"{name}: dropout off, every held-out window")


def test_the_curve_shows_figures_that_were_measured(run, drawn):
    [(panels, path)] = drawn
    names = {name for line in Metrics(run / "metrics.jsonl").read() for name in line}
    shown = {name for panel in panels.values() for name in panel}
    equal((shown - names, {"loss", *FIGURES} - shown), (set(), set()), "a name without points draws an empty line")
    equal(run.parents[1] / path, run / "curve.png", "beside the other files of the run")


def test_the_vocabulary_is_that_of_the_training_text_alone(run):
    paragraphs = [paragraph for document in load_corpus("my.txt").train for paragraph in document]
    equal((run / "tokenizer.model").read_bytes(), Tokenizer.train(paragraphs, tiny.V).model,
          "held-out text must have no part in it")


def test_the_run_can_be_opened(run):
    model, vocabulary = open_model(run)
    equal((model.training, vocabulary.vocab_size), (False, tiny.V + 100), "dropout off; pieces, and 100 sentinels")
    best = checkpoint.load(run / "best.pt")["model"]
    for name, tensor in model.state_dict().items():
        same(tensor, best[name], f"{name}: the best weights")


def test_the_published_form_is_the_same_model_here_and_in_transformers(run):
    ids, decoder_ids = torch.randint(7, 400, (2, 2, 15))
    ours, again = open_model(run)[0], T5.from_pretrained(run / "published")
    theirs = oracle("transformers").AutoModelForSeq2SeqLM.from_pretrained(run / "published").eval()
    with torch.no_grad():
        expected = ours(ids, decoder_ids)
        same(again(ids, decoder_ids), expected, "the best weights, in the Hugging Face layout")
        close(theirs(input_ids=ids, decoder_input_ids=decoder_ids).logits, expected,
              "what the file says is not what the model computes", atol=1e-4)
    equal((theirs.config.pad_token_id, theirs.config.eos_token_id, theirs.config.decoder_start_token_id), (0, EOS, 0),
          "where their `generate` begins and ends")


def test_the_table_of_each_evaluation_is_kept(run, printed):
    parts = (run / "samples.txt").read_text(encoding="utf-8").split("--- step ")[1:]
    equal([part.split()[0] for part in parts], ["3", "6", "8"], "each evaluation adds its table")
    for part in parts:
        shown = part.partition("\n")[2].strip()
        equal(len(shown.splitlines()), 9, "the heading and eight gaps")
        assert shown in printed, f"what is kept is what was printed, came {shown}"


def test_what_is_published_is_the_best_and_what_is_reported_the_last(here, monkeypatch, capsys):
    looks = iter([3.0, 5.0, 4.0])  # the first look is the best one
    monkeypatch.setattr(command, "evaluate", lambda *_: dict.fromkeys(FIGURES, next(looks)))
    tiny.train_t5("--steps", "3", "--eval-every", "1", "--muon-lr", "0.1")
    run = here / "runs" / "minit5"
    published = T5.from_pretrained(run / "published").state_dict()
    best, last = checkpoint.load(run / "best.pt")["model"], checkpoint.load(run / "last.pt")["model"]
    assert any(not torch.equal(best[name], last[name]) for name in best), "or this test shows nothing"
    for name, tensor in best.items():
        same(published[name], tensor, f"{name}: answer takes best.pt, so that is what should be published")
    out = capsys.readouterr().out
    assert "held-out loss: 4.000" in out, "the last: the best of several looks at held-out text would flatter"
    assert "the weights of step 1 did better, 3.000" in out and "best.pt" in out, "where they differ, the run says so"


def test_without_safetensors_it_says_how_to_get_it(run, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)  # as if it were not installed
    equal(publish(*open_model(run), tmp_path), [], "nothing was published, so the table of what to do next has no row")
    [line] = capsys.readouterr().out.splitlines()
    assert "safetensors" in line and "pip install" in line, f"one line that says how to get it, came {line}"
    equal(list(tmp_path.iterdir()), [], "a folder without weights would mislead")


# ---- what it says


@pytest.mark.parametrize("part", [
    "corpus: 57 + 3 documents", "pieces", "model: T5 v1.1, 38,040 parameters", "2 + 1 blocks of width 24",
    f"ln V = {math.log(tiny.V + 100):.3f}", "step 3: held-out loss", "inside the spans", "____", "written", "truth",
    "a unigram", "no expectation for these settings", "curve: here", "T5ForConditionalGeneration"])
def test_the_run_says(printed, part):
    assert part in printed, f"expected {part!r} in what the run prints; came:\n{printed}"


def test_the_first_losses_stand_beside_that_of_guessing(printed):
    """Logits of random weights have a variance of 1, which costs half a nat on average."""
    lines = [line for line in printed.splitlines() if "first loss" in line]
    equal([line.split(":")[0] for line in lines], ["first loss, random weights", "first loss, counted start"], "both")
    random, counted = (float(line.split(": ")[1].split()[0]) for line in lines)
    guessing = math.log(tiny.V + 100)
    assert 0 < random - guessing < 0.7, f"expected ln V = {guessing:.3f} and about half a nat; came: {lines[0]}"
    assert counted < 0.7 * guessing, f"counts should help at once; came: {lines[1]}"


def test_the_paper_begins_from_chance(here, capsys):
    tiny.train_t5("--start", "random", "--steps", "1")
    out = capsys.readouterr().out
    assert "first loss, random weights" in out and "counted start" not in out, f"as it was asked for; came {out}"


def test_the_table_sets_the_last_figures_beside_those_of_counting(run, printed):
    corpus, vocabulary = load_corpus("my.txt"), open_model(run)[1]
    to_beat = unigram(pairs_of(corpus.train, vocabulary), pairs_of(corpus.held_out, vocabulary), vocabulary)
    last = Metrics(run / "metrics.jsonl").read()[-1]
    lines = printed.splitlines()
    first = next(i for i, line in enumerate(lines) if "a unigram" in line) + 1
    for name, line in zip(FIGURES, lines[first:]):
        expected = [f"{to_beat[name]:.3f}", f"{last[name]:.3f}", f"{last[name] - to_beat[name]:+.3f}"]
        equal(line.split()[-3:], expected, f"{name}: counted, learned, and how far apart")


@pytest.mark.parametrize(("changes", "judged"), [
    ({}, True), ({"seed": 7}, True), ({"name": "mine"}, True), ({"resume": True}, True), ({"steps": 1499}, False),
    ({"corpus": "my.txt"}, False), ({"d_model": 128}, False), ({"start": "random"}, False)], ids=str)
@pytest.mark.parametrize(("loss", "verdict"), [(sum(EXPECTED) / 2, "as expected"), (9.0, "above what is expected")])
def test_a_verdict_for_the_default_settings_alone(here, monkeypatch, capsys, changes, judged, loss, verdict):
    monkeypatch.setattr(command, "draw_curves", lambda *_: "no curve in this test")
    monkeypatch.setattr(command, "publish", lambda *_: [])
    figures = dict(zip(FIGURES, (loss, 4.5, 0.25)))
    Metrics(Path("metrics.jsonl")).write(1500, **figures)
    finish(None, None, PretrainConfig(**changes), here, figures)
    out = capsys.readouterr().out
    expected = (f"held-out loss: {loss:.3f}, expected {EXPECTED[0]:.3f} to {EXPECTED[1]:.3f}: {verdict}" if judged
                else f"held-out loss: {loss:.3f} (no expectation for these settings)")
    assert expected in out.splitlines(), f"expected {expected!r}, came:\n{out}"


def printed_commands(out: str) -> dict[str, list[str]]:
    """The commands under "next:", by their module."""
    lines = [shlex.split(line.partition("python -m ")[2].rpartition("  ")[0]) for line in out.splitlines()
             if line.startswith("  ") and "python -m " in line]
    return {f"{module} {argv[0]}" if module == "minit5.pretrain" else module: argv for module, *argv in lines}


@pytest.mark.parametrize("name", ["minit5", "a b"])
def test_the_printed_commands_can_be_typed(here, monkeypatch, capsys, name):
    tiny.train_t5("--name", name, "--steps", "1")
    came = printed_commands(capsys.readouterr().out)
    equal(list(came), ["minit5.answer", "minit5.finetune", "minit5.pretrain --corpus", "minit5.pretrain --name"],
          "ask it, teach it, train another one, go on")
    equal(parse(PretrainConfig, came["minit5.pretrain --name"]), PretrainConfig(name=name, resume=True), "this run")
    equal(parse(PretrainConfig, came["minit5.pretrain --corpus"]).corpus, "my.txt", "a flag that there is")
    asked = []
    monkeypatch.setattr(answer, "open_model", lambda path: asked.append(path.name) or open_model(path))
    answer.main([*came["minit5.answer"], "--max-new", "3"])
    equal((asked, "gaps" in capsys.readouterr().out), ([name], True), "this run fills the gap")


def test_the_printed_command_that_teaches(run, printed):
    taught = parse(FinetuneConfig, printed_commands(printed)["minit5.finetune"])
    equal((taught.tasks, taught.model), ("my.tsv", "runs/minit5"), "tasks for this run")


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    equal(ended.value.code, 0, "--help is no error")
    shown = capsys.readouterr().out
    for name in PretrainConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in shown, f"{name} is not in --help"
    missing = len(PretrainConfig.__dataclass_fields__) - " ".join(shown.split()).count("(default: ")
    assert missing <= 0, f"{missing} flags do not show their defaults"


def test_the_command_runs_in_a_process_of_its_own(tmp_path):
    (tmp_path / "my.txt").write_text(tiny.text(tiny.documents(60)), encoding="utf-8")
    done = tiny.run_in_process("minit5.pretrain", *tiny.T5_FLAGS, folder=tmp_path, PYTHONIOENCODING="ascii")
    equal(done.returncode, 0, f"it ended with an error: {done.stderr.decode()[-500:]}")
    assert b"python -m minit5.answer" in done.stdout, "the next command"
    assert b"step" in done.stderr and b"loss" in done.stderr and b"tokens/s" in done.stderr, "a progress bar"
    assert (tmp_path / "runs" / "minit5" / "curve.png").is_file(), "really drawn, this once"


# ---- the gaps that are filled


def t5_that_writes(text: str) -> T5:
    """A T5 that writes this text, whatever it reads."""
    ids = [0, *VOCABULARY.encode(text)]
    assert len(set(ids)) == len(ids), "what stands behind a token must be one token"
    return tiny.t5_that_writes({i: {j: 1.0} for i, j in zip(ids, ids[1:])}, VOCABULARY.vocab_size, EOS)


def pair(source: str, target: str) -> tuple[list[int], list[int]]:
    return VOCABULARY.encode(source), VOCABULARY.encode(target)


def shown(*rows: list[str]) -> str:
    return table(["held-out text", "written", "truth", ""], rows)


def test_what_the_model_wrote_stands_beside_the_truth():
    model = t5_that_writes("<extra_id_0>old cat<extra_id_1>")
    pairs = [pair("the <extra_id_0> sees a bird", f"<extra_id_0>{truth}<extra_id_1>")
             for truth in ("old cat", "cat", "old cats")]
    text = "the ____ sees a bird"
    equal(filled_spans(model, pairs, VOCABULARY),
          shown([text, "old cat", "old cat", "✓"], [text, "old cat", "cat", ""], [text, "old cat", "old cats", ""]),
          "the span that was written, the one that stood there, and a mark where the two are the same")


@pytest.mark.parametrize(("written", "came"), [("", ""), ("<extra_id_1>cat", ""), ("cat", ""), ("<extra_id_0>", ""),
                                               ("sun<extra_id_0>cat", "cat")])
def test_a_gap_that_was_not_filled(written, came):
    equal(filled_spans(t5_that_writes(written), [pair("the <extra_id_0> sees", "<extra_id_0> cat <extra_id_1>")],
                       VOCABULARY), shown(["the ____ sees", came, "cat", "✓" if came else ""]),
          "only what stands behind its sentinel is an answer")


@pytest.mark.parametrize(("source", "text", "span"), [
    ("<extra_id_0> a b <extra_id_1> c <extra_id_2>", "<0> a b ____ c <2>", "cat"),
    ("a <extra_id_0> b <extra_id_1> c", "a <0> b ____ c", "cat"),
    ("<extra_id_0> a b", "____ a b", "old"), ("a b <extra_id_0>", "a b ____", "old"),
    ("a b c d e f g h <extra_id_0> h g f e d c b a", "c d e f g h ____ h g f e d c", "old")])
def test_the_middle_gap_with_six_words_on_both_sides(source, text, span):
    target = "<extra_id_0>old<extra_id_1>cat<extra_id_2>sun<extra_id_3>"
    equal(filled_spans(t5_that_writes(target), [pair(source, target)], VOCABULARY), shown([text, span, span, "✓"]),
          "the other gaps by their numbers; the end of the input is no word")


@pytest.mark.parametrize(("n", "chosen"), [(20, [0, 2, 5, 7, 10, 12, 15, 17]), (8, range(8)), (3, range(3)), (1, [0])])
def test_eight_pairs_spread_over_the_text(n, chosen):
    pairs = [pair(f"word {i} <extra_id_0>", "<extra_id_0> cat") for i in range(n)]
    equal(filled_spans(t5_that_writes(""), pairs, VOCABULARY),
          shown(*([f"word {i} ____", "", "cat", ""] for i in chosen)), "or all of them, each once")


def test_a_model_that_does_not_end_may_write_twice_the_longest_target():
    x, y, *_ = VOCABULARY.sentinels
    [a], [b] = (VOCABULARY.pieces.encode(word) for word in ("with", "a"))
    endless = tiny.t5_that_writes({0: {x: 1.0}, x: {a: 1.0}, a: {b: 1.0}, b: {a: 1.0}}, VOCABULARY.vocab_size, EOS)
    pairs = [(VOCABULARY.encode("the <extra_id_0>"), target) for target in ([x, a, EOS], [x, a, b, y, EOS])]
    wrote = "with a " * 4 + "with"
    equal(filled_spans(endless, pairs, VOCABULARY),
          shown(["the ____", wrote, "with", ""], ["the ____", wrote, "with a", ""]), "10 tokens: the sentinel, and 9")


# ---- it learns


def test_it_learns_to_fill_gaps(here):
    """In a text that goes round and round, what stands around a gap says what stood there."""
    sentence = "the old dog sees a red bird near this house " * 3
    Path("my.txt").write_text("\n\n".join("\n".join([sentence] * 3) for _ in range(20)), encoding="utf-8")
    tiny.train_t5("--vocab-size", "281", "--d-model", "32", "--n-layers", "1", "--n-heads", "2", "--batch-size", "8",
                  "--muon-lr", "0.02", "--adam-lr", "0.02", "--steps", "40", "--eval-every", "40")
    figures = Metrics(here / "runs" / "minit5" / "metrics.jsonl").read()[-1]
    assert figures["span_accuracy"] > 0.5, f"it begins with .2, what counting reaches; came {figures}"
    assert figures["span_loss"] < 1.5, f"it begins with 2.2; came {figures}"


# ---- repeating and resuming


def test_the_same_seed_gives_the_same_run_and_takes_no_folder_away(run, monkeypatch):
    before = (run / "last.pt").read_bytes()
    monkeypatch.setattr(Tokenizer, "train", lambda *_: pytest.fail("the vocabulary was trained before: it is cached"))
    tiny.train_t5("--dropout", "0.1")
    again = run.with_name("minit5-2")
    equal((run / "last.pt").read_bytes() == before, True, "a new run never writes into an old folder")
    tiny.same_weights(again, run, "everything random must come from the seed")
    equal(tiny.without_speed(again), tiny.without_speed(run), "the metrics too")
    equal((again / "samples.txt").read_bytes(), (run / "samples.txt").read_bytes(), "and the samples")


def test_the_seed_decides_weights_windows_and_spans(run, monkeypatch):
    made = []
    monkeypatch.setattr(command, "SpanBatches", lambda *how, **more: made.append(SpanBatches(*how, **more)) or made[-1])
    flags = ("--start", "random", "--steps", "4", "--settle", "0.25", "--accumulate", "2")
    tiny.train_t5("--seed", "1", "--name", "other", "--noise", "0.3", "--mean-span", "2", *flags)
    [batches] = made
    expected = SpanBatches(batches.windows.tokens, batches.vocabulary, 20, 5, 0.3, 2.0, seed=1, settled=6)
    for t in range(8):
        same(batches(t)["ids"], expected(t)["ids"], f"batch {t}: a lost flag; three steps of two, one of paper's noise")
    tiny.train_t5("--name", "another", "--muon-lr", "0", "--adam-lr", "0", *flags)
    one, other = (checkpoint.load(run.with_name(name) / "last.pt")["model"] for name in ("other", "another"))
    assert (one["head.weight"] - other["head.weight"]).abs().max() > 0.5, "the seed has no effect on the first weights"


def test_a_stopped_and_resumed_run_equals_one_without_a_stop(run, monkeypatch, capsys):
    part = run.with_name("part")
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        tiny.press_ctrl_c_t5(5, patch, command)
        tiny.train_t5("--dropout", "0.1", "--name", "part")
    equal((ended.value.code, checkpoint.load(part / "last.pt")["step"]), (130, 5), "the step is finished and saved")
    argv = capsys.readouterr().out.rsplit("python -m minit5.pretrain ", 1)[1].split()
    equal(argv, ["--name", "part", "--resume"], "the command that goes on is printed")
    monkeypatch.setattr(command, "draw_curves", lambda *_: "no curve in this test")
    torch.manual_seed(4711)
    command.main(argv)
    tiny.same_weights(part, run, "resumed runs go on bit for bit, dropout included")
    equal(tiny.without_speed(part), tiny.without_speed(run), "the metrics too")
    equal((part / "samples.txt").read_bytes(), (run / "samples.txt").read_bytes(), "and the samples")
    out = capsys.readouterr().out
    assert "first loss" not in out, "a resumed run does not begin anew"
    assert "a unigram" in out and "minit5.answer" in out, "a resumed run ends as any other"


@pytest.mark.parametrize("place", ["training", "held-out"])
def test_resuming_on_another_text(folder, printed, tmp_path, monkeypatch, capsys, place):
    run = copied(folder, "minit5", tmp_path, monkeypatch)
    document = getattr(load_corpus("my.txt"), {"training": "train", "held-out": "held_out"}[place])[0]
    old = Path("my.txt").read_text(encoding="utf-8")
    Path("my.txt").write_text(old.replace(document[1], document[1] + " again"), encoding="utf-8")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    says(refused(capsys, command.main, "--name", "minit5", "--resume"), "minit5", "cannot be resumed", "its text has")
    equal({path.name: path.read_bytes() for path in run.iterdir()} == before, True, "nothing is lost, nothing changed")


# ---- what a user can get wrong


@pytest.mark.parametrize(("flags", "words"), [
    (["--length", "3"], ["length = 3", "at least 4"]), (["--noise", "0.95"], ["noise = 0.95", "0.01 to 0.9"]),
    (["--noise", "nan"], ["noise = nan"]), (["--mean-span", "0.5"], ["mean_span = 0.5", "at least 1"]),
    (["--mean-span", "20"], ["mean_span = 20.0", "length = 20"]), (["--n-heads", "5"], ["n_heads = 5", "24"]),
    (["--dropout", "1"], ["dropout = 1", "0.9"]), (["--start", "mine"], ["start = mine", "counted or random"]),
    (["--settle", "1.5"], ["settle = 1.5", "0 to 1"]), (["--precision", "half"], ["precision = half"]),
    (["--length", "300", "--noise", "0.5", "--mean-span", "1"], ["150 spans", "151 sentinels", "has 100"]),
    (["--batch-size", "700"], ["too short", "700"]), (["--vocab-size", "9999"], ["9,999", "at most"]),
    (["--max-len", "20"], ["--max-len", "--help"]), (["--steps", "0"], ["steps = 0"]), (["my.txt"], ["my.txt"]),
    (["--corpus", "no.txt"], ["no.txt", "not there"])], ids=" ".join)
def test_a_setting_that_makes_no_sense(run, capsys, flags, words):
    before = set(Path("runs").iterdir())
    says(refused(capsys, command.main, *tiny.T5_FLAGS, *flags), *words)
    equal(set(Path("runs").iterdir()), before, "no folder should be made for a run that cannot begin")


def test_a_vocabulary_that_is_too_large_to_be_counted(run, monkeypatch, capsys):
    monkeypatch.setattr("minit5.start.LARGEST_VOCABULARY", 411)
    before = set(Path("runs").iterdir())
    says(refused(capsys, command.main, *tiny.T5_FLAGS), "412", "--start random")
    equal(set(Path("runs").iterdir()), before, "no folder should be made for a run that cannot begin")


def test_a_held_out_text_without_room_for_a_gap(here, capsys):
    """Of two documents one is held out, here the one of two pieces."""
    long = tiny.text(tiny.documents(1, paragraphs=200))
    for documents in (["a", long], [long, "a"]):
        Path("my.txt").write_text("\n\n".join(documents), encoding="utf-8")
        if load_corpus("my.txt").held_out == [["a"]]:
            says(refused(capsys, command.main, *tiny.T5_FLAGS), "too short", "hold out")
            return
    pytest.fail("neither order holds out the short one")


def test_a_text_without_a_blank_line(here, capsys):
    Path("my.txt").write_text(tiny.text(tiny.documents(1, paragraphs=200)), encoding="utf-8")
    says(refused(capsys, command.main, *tiny.T5_FLAGS), "blank line")
