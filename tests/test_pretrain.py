"""`python -m minibert.pretrain`: what a run leaves behind, says, and repeats. All sizes are tiny here."""

import json
import math
import shlex

import pytest
import torch

from common import checkpoint
from common.command import UserError
from common.corpus import load_corpus
from common.report import Metrics
from common.tokenizer import Tokenizer
from minibert import BertForPreTraining, fill_mask, pretrain
from minibert.recipe import PretrainConfig, load_run, optimizers
from tests import tiny
from tests.explain import equal, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory in which one run was trained, and what it printed."""
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def printed(folder):
    """What the run in `folder` printed; its errors are let through."""
    import contextlib
    import io

    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        tiny.train(curve=True)
    return out.getvalue()


@pytest.fixture
def run(folder, printed):
    return folder / "runs" / "minibert"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- what a run leaves behind


def test_a_run_leaves_its_files(run):
    came = {path.name for path in run.iterdir()}
    expected = {"config.json", "metrics.jsonl", "last.pt", "best.pt", "tokenizer.model", "curve.png", "samples.txt",
                "published"}
    assert expected <= came, f"missing: {expected - came}"
    assert not [name for name in came if name.endswith(".part")], f"a temporary file stayed behind: {came}"


def test_the_settings_are_kept_beside_the_run(run):
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    equal({name: settings[name] for name in ("d_model", "steps", "corpus", "name")},
          {"d_model": 24, "steps": 8, "corpus": "my.txt", "name": "minibert"}, "config.json holds the flags")


def test_metrics_hold_losses_and_held_out_figures(run):
    lines = Metrics(run / "metrics.jsonl").read()
    judged = [line for line in lines if "mlm_loss" in line]
    equal([line["step"] for line in judged], [3, 6, 8], "every third step and the last one")
    equal(set(judged[0]), {"step", "mlm_loss", "mlm_top1", "nsp_accuracy"}, "what `evaluate` measures")
    assert all({"mlm", "nsp", "tokens_per_s"} <= set(line) for line in lines if line not in judged), f"came {lines}"


def test_the_run_can_be_loaded_and_asked(run):
    model, tokenizer = load_run(run)
    equal((model.training, tokenizer.vocab_size), (False, tiny.V), "dropout off, its own vocabulary")
    same(model.state_dict()["nsp.weight"], checkpoint.load(run / "best.pt")["model"]["nsp.weight"], "the best weights")


def test_the_published_form_opens_again(run):
    model = BertForPreTraining.from_pretrained(run / "published")
    equal(model.config.vocab_size, tiny.V, "the Hugging Face layout of the model just trained")


def test_the_vocabulary_is_that_of_the_training_text_alone(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    paragraphs = [paragraph for document in load_corpus("my.txt").train for paragraph in document]
    equal((run / "tokenizer.model").read_bytes(), Tokenizer.train(paragraphs, tiny.V).model,
          "held-out text must have no part in it")


def test_the_table_of_each_evaluation_is_kept(run, printed):
    samples = (run / "samples.txt").read_text(encoding="utf-8")
    equal([line for line in samples.splitlines() if line.startswith("---")],
          ["--- step 3", "--- step 6", "--- step 8"], "each evaluation adds its table")
    for table in samples.split("--- step")[1:]:
        assert table.partition("\n")[2].strip() in printed, f"what is kept is what was printed, came {table}"


# ---- what it says


@pytest.mark.parametrize("part", [
    "corpus: 57 + 3 documents", "pieces", "parameters", "2 blocks of width 24", f"ln V = {math.log(tiny.V):.3f}",
    f"ln 2 = {math.log(2):.3f}", "held-out text", "____", "truth", "most frequent", "trigram", "held-out mlm_top1",
    "held-out nsp_accuracy", "no expectation for these settings", "curve.png", "python -m minibert.fill_mask", "[MASK]",
    "python -m minibert.pretrain --corpus my.txt"])
def test_the_run_says(printed, part):
    assert part in printed, f"expected {part!r} in what the run prints; came:\n{printed}"


def test_what_is_published_and_asked_is_the_best_and_what_is_reported_the_last(here, monkeypatch, capsys):
    looks = iter([(1.0, 0.5), (3.0, 0.25), (2.0, 0.125)])  # the first look is the best one
    monkeypatch.setattr(pretrain, "evaluate", lambda *_: dict(zip(("mlm_loss", "mlm_top1"), next(looks)),
                                                              nsp_accuracy=0.5))
    tiny.train()
    run = here / "runs" / "minibert"
    published = BertForPreTraining.from_pretrained(run / "published").state_dict()
    for name, tensor in load_run(run)[0].state_dict().items():
        same(published[name], tensor, f"{name}: fill_mask asks best.pt, so that is what should be published")
    printed = capsys.readouterr().out
    assert "held-out mlm_top1: 0.125" in printed, "the last: the best of several looks at held-out text would flatter"
    assert "0.500: they are in best.pt" in printed, "where best and last differ, the run says so"


@pytest.mark.parametrize("name", ["mine", "a b"])
def test_the_printed_command_asks_this_run(here, monkeypatch, capsys, name):
    tiny.train("--name", name, "--steps", "1", "--max-len", "32")
    line = next(line for line in capsys.readouterr().out.splitlines() if "minibert.fill_mask" in line)
    argv = shlex.split(line.partition("python -m minibert.fill_mask ")[2].rpartition("  ")[0])
    text, *flags = argv
    fill_mask.main([text, *flags])
    assert "--model" in flags and flags[-1].endswith(name), f"without --model the newest minibert* answers: {line}"


def test_a_run_without_safetensors_ends_well_and_says_how_to_get_it(here, monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "find_spec", lambda name: None)  # as if it were not installed
    tiny.train("--steps", "1")
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "safetensors" in line]
    assert len(lines) == 1 and "pip install" in lines[0], f"one line that says how to get it, came {lines}"
    assert "minibert.fill_mask" in out and "from_pretrained" not in out, f"the run itself is finished: {out}"


def test_the_table_is_printed_at_each_evaluation(printed):
    equal(printed.count("1st guess"), 3, "after steps 3, 6 and 8")


def test_the_first_loss_of_random_weights_is_that_of_guessing(here, capsys):
    tiny.train("--start", "random", "--steps", "1")
    line = next(line for line in capsys.readouterr().out.splitlines() if "first loss" in line and "random" in line)
    mlm = float(line.split("MLM ")[1].split()[0])
    assert abs(mlm - math.log(tiny.V)) < 0.3, f"expected about {math.log(tiny.V):.3f}, came: {line}"


# ---- repeating and resuming


def test_the_same_seed_gives_the_same_run_and_takes_no_folder_away(run, folder, monkeypatch):
    before = (run / "last.pt").read_bytes()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Tokenizer, "train", lambda *_: pytest.fail("the vocabulary was trained before: it is cached"))
    tiny.train()
    equal((run / "last.pt").read_bytes(), before, "a new run never writes into an old folder")
    tiny.same_weights(folder / "runs" / "minibert-2", run, "everything random must come from the seed")
    equal(tiny.without_speed(folder / "runs" / "minibert-2"), tiny.without_speed(run), "the metrics too")


def test_another_seed_gives_another_run(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    tiny.train("--seed", "1", "--name", "other")
    a, b = (checkpoint.load(folder / "runs" / name / "last.pt")["model"] for name in ("minibert", "other"))
    assert not torch.equal(a["nsp.weight"], b["nsp.weight"]), "the seed has no effect"


def test_a_stopped_and_resumed_run_equals_one_without_a_stop(here, monkeypatch, capsys):
    tiny.train("--name", "whole", "--dropout", "0.2")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        tiny.press_ctrl_c(5, patch)
        tiny.train("--name", "part", "--dropout", "0.2")
    equal(checkpoint.load(here / "runs" / "part" / "last.pt")["step"], 5, "the step is finished and saved")
    monkeypatch.setattr(pretrain, "draw_curves", lambda *_: "no curve in this test")
    pretrain.main(["--name", "part", "--resume"])
    tiny.same_weights(here / "runs" / "part", here / "runs" / "whole", "resumed runs go on bit for bit")
    equal(tiny.without_speed(here / "runs" / "part"), tiny.without_speed(here / "runs" / "whole"), "the metrics too")
    samples = [(here / "runs" / name / "samples.txt").read_bytes() for name in ("part", "whole")]
    equal(samples[0], samples[1], "and the samples")
    out = capsys.readouterr().out
    assert "held-out mlm_top1" in out.rsplit("without a neural network", 1)[1], "a resumed run ends as any other"


def test_resuming_keeps_the_settings_of_the_run(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    config = pretrain.settings(PretrainConfig(name="minibert", resume=True))
    equal((config.d_model, config.corpus, config.resume), (24, "my.txt", True), "read from config.json")
    with pytest.raises(UserError, match="--resume"):
        pretrain.settings(PretrainConfig(name="minibert", resume=True, n_layers=3))


# ---- the recipe


def test_every_parameter_is_trained_by_exactly_one_optimizer(run):
    model, _ = load_run(run)
    came = [id(p) for optimizer in optimizers(model, PretrainConfig(n_heads=3, d_model=24))
            for group in optimizer.param_groups for p in group["params"]]
    equal(sorted(came), sorted(id(p) for p in model.parameters()), "each once; the tied embedding is one parameter")


def test_every_size_reaches_the_model():
    config = PretrainConfig(vocab_size=300, d_model=24, n_layers=3, n_heads=2, d_ff=40, max_len=18, dropout=0.25).bert()
    equal((config.vocab_size, config.d_model, config.n_layers, config.n_heads, config.d_ff, config.max_len,
           config.dropout), (300, 24, 3, 2, 40, 18, 0.25), "a flag is lost on its way into BertConfig")


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        pretrain.main(["--help"])
    equal(ended.value.code, 0, "--help is no error")
    shown = capsys.readouterr().out
    for name in PretrainConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in shown, f"{name} is not in --help"
    missing = len(PretrainConfig.__dataclass_fields__) - " ".join(shown.split()).count("(default: ")
    assert missing <= 0, f"{missing} flags do not show their defaults"


def test_the_command_runs_in_a_process_of_its_own(tmp_path):
    (tmp_path / "my.txt").write_text(tiny.text(tiny.documents(60)), encoding="utf-8")
    done = tiny.run_in_process("minibert.pretrain", *tiny.FLAGS, folder=tmp_path)
    equal(done.returncode, 0, f"it ended with an error: {done.stderr.decode()[-500:]}")
    assert b"python -m minibert.fill_mask" in done.stdout, "the next command"
    assert b"step" in done.stderr and b"mlm" in done.stderr and b"tokens/s" in done.stderr, "a progress bar"
