"""`python -m minigpt.train`: the two recipes, what a run leaves behind, says, and repeats. All sizes are tiny here."""

import contextlib
import io
import json
import math
import shlex

import pytest
import torch

from common import checkpoint
from common.characters import Characters
from common.command import UserError
from common.corpus import Corpus
from common.report import Metrics
from common.tokenizer import Tokenizer
from minigpt import GPT, Qwen3, Qwen3Config, load, pretrained, sample, texts, train
from minigpt.objective import evaluate
from minigpt.recipe import GPTRunConfig, load_run, new_model, optimizers
from minigpt.texts import read_texts, tokenize
from tests import tiny
from tests.explain import close, equal, same
from tests.oracle import oracle

RUNS = {"minigpt": (), "letters": ("--tokens", "characters"), "classic": ("--recipe", "gpt2"),
        "classic letters": ("--recipe", "gpt2", "--tokens", "characters")}
SIZES = ("steps", "d_model", "n_layers", "n_heads", "d_ff", "max_len")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def printed(folder):
    """What each of the four runs in `folder` printed; their errors are let through."""
    said = {}
    for name, flags in RUNS.items():
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            patch.chdir(folder)
            tiny.train_gpt("--name", name, *flags, curve=name == "minigpt")
        said[name] = out.getvalue()
    return said


@pytest.fixture(params=RUNS)
def run(request, folder, printed):
    return folder / "runs" / request.param


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- the recipes


def config(**changes) -> GPTRunConfig:
    return GPTRunConfig(**{"d_model": 24, "n_layers": 2, "n_heads": 3, "max_len": 20, "vocab_size": tiny.V} | changes)


def parameters(optimizers) -> list[int]:
    return [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize("recipe", ["modern", "gpt2"])
def test_every_parameter_is_trained_by_exactly_one_optimizer(recipe):
    model = new_model(config(recipe=recipe), tiny.tokenizer())
    equal(sorted(parameters(optimizers(model, config(recipe=recipe)))), sorted(id(p) for p in model.parameters()),
          "each parameter once")


@pytest.mark.parametrize("recipe", ["modern", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_whether_the_head_is_tied_or_not(recipe, tied):
    model = Qwen3(Qwen3Config(50, 24, 2, 3, d_ff=40, max_len=20, tied=tied))
    equal(sorted(parameters(optimizers(model, config(recipe=recipe)))), sorted(id(p) for p in model.parameters()),
          "a tied weight is one parameter, and is moved once a step")


def names_of(model, params) -> set[str]:
    wanted = {id(p) for p in params}
    return {name for name, p in model.named_parameters() if id(p) in wanted}


def test_the_classic_recipe_decays_matrices_only():
    model = new_model(config(recipe="gpt2"), tiny.tokenizer())
    [adam] = optimizers(model, config(recipe="gpt2"))
    decayed = [p for group in adam.param_groups if group["weight_decay"] for p in group["params"]]
    layers = ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down")
    expected = {f"decoder.blocks.{i}.{name}.weight" for i in range(2) for name in layers}
    equal(names_of(model, decayed), {"token.weight", "position.weight", *expected},
          "nanoGPT: matrices and embeddings; a norm or a bias pulled to 0 would switch its layer off")
    equal(len(decayed), len({id(p) for p in decayed}), "the embeddings are the head as well: decayed once")
    equal(isinstance(adam, torch.optim.AdamW), True, "decay apart from the gradient")


def test_the_modern_recipe_gives_muon_the_matrices_of_the_blocks():
    model = new_model(config(), tiny.tokenizer())
    muon, adam = optimizers(model, config())
    came = names_of(model, [p for group in muon.param_groups for p in group["params"]])
    layers = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
    equal(came, {f"decoder.blocks.{i}.{name}.weight" for i in range(2) for name in layers},
          "no embeddings, no head, no norms")
    decayed = [p for group in adam.param_groups if group["weight_decay"] for p in group["params"]]
    equal(names_of(model, decayed), {"token.weight", "head.weight"}, "a norm pulled to 0 would switch its layer off")


def test_the_learning_rates_reach_the_optimizers():
    for recipe in ("modern", "gpt2"):
        wanted = config(recipe=recipe, adam_lr=0.123, muon_lr=0.456)
        made = optimizers(new_model(wanted, tiny.tokenizer()), wanted)
        rates = {type(o).__name__: {group["lr"] for group in o.param_groups} for o in made}
        equal(rates, {"AdamW": {0.123}} | ({"Muon": {0.456}} if recipe == "modern" else {}), f"{recipe}: a lost flag")
        assert optimizers(new_model(config(recipe=recipe), tiny.tokenizer()), config(recipe=recipe, adam_lr=0.0)
                          )[-1].param_groups[0]["lr"] == 0.0, "0 is a rate, not a missing one"


@pytest.mark.parametrize("vocabulary", [tiny.tokenizer(), Characters.of(["abc"])], ids=["pieces", "characters"])
def test_every_size_reaches_the_model(vocabulary):
    wanted = config(n_heads=2, n_layers=3, d_ff=44, max_len=18)
    for recipe, kind in (("gpt2", GPT), ("modern", Qwen3)):
        changes = {"recipe": recipe, "dropout": 0.25 if recipe == "gpt2" else 0.0}
        model = new_model(GPTRunConfig(**{**vars(wanted), **changes}), vocabulary)
        c = model.config
        equal(type(model), kind, f"the model of the recipe {recipe}")
        equal((c.vocab_size, c.d_model, c.n_layers, c.n_heads, c.d_ff, c.max_len, c.eos_id),
              (vocabulary.vocab_size, 24, 3, 2, 44, 18, vocabulary.eos_id), f"{recipe}: a size is lost on its way")
        if recipe == "gpt2":
            equal(c.dropout, 0.25, "dropout of the recipe gpt2")
        else:
            equal((c.bos_id, c.tied), (vocabulary.eos_id, False), "a text begins behind an end; a head of its own")


def test_the_gated_width_makes_as_many_numbers_as_the_plain_one():
    """Three matrices of 8/3 D beside two of 4 D."""
    for d, heads in ((48, 2), (96, 3), (192, 4), (400, 10)):
        plain, gated = (new_model(config(recipe=r, d_model=d, n_heads=heads, d_ff=None), Characters.of(["a"]))
                        for r in ("gpt2", "modern"))
        sizes = [sum(p.numel() for name, p in m.decoder.blocks[0].feed_forward.named_parameters()
                     if name.endswith("weight")) for m in (plain, gated)]
        equal(sizes[0], 8 * d * d, "GPT-2: four times as wide inside")
        assert abs(sizes[1] / sizes[0] - 1) < 16 / (8 / 3 * d), f"d_model = {d}: plain and gated have {sizes}"


@pytest.mark.parametrize(("changes", "words"), [
    ({"n_heads": 5}, ("d_model = 24", "n_heads = 5")), ({"d_model": 25}, ("d_model = 25", "n_heads = 3")),
    ({"d_model": 9}, ("d_model = 9", "even")), ({"recipe": "gpt3"}, ("recipe = gpt3", "modern or gpt2")),
    ({"tokens": "words"}, ("tokens = words", "pieces or characters")),
    ({"dropout": 0.1}, ("dropout", "--recipe gpt2")),
], ids=str)
def test_settings_that_make_no_sense_are_one_line(changes, words):
    with pytest.raises(UserError) as caught:
        config(**changes)
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, f"expected {words}, came {message!r}"


def test_a_large_vocabulary_suits_the_classic_recipe():
    equal(config(recipe="gpt2", vocab_size=50_257).vocab_size, 50_257, "it counts no pairs to begin with")


# ---- what a run leaves behind


def test_a_run_leaves_its_files(run, printed):
    came = {path.name for path in run.iterdir()}
    letters = run.name.endswith("letters")
    expected = {"config.json", "metrics.jsonl", "last.pt", "best.pt", "samples.txt", "published",
                "characters.json" if letters else "tokenizer.model", *(["curve.png"] if run.name == "minigpt" else [])}
    equal(came, expected, "what another command reads; no temporary file, no vocabulary of another kind")


def test_the_settings_are_kept_beside_the_run(run):
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    equal({name: settings[name] for name in (*SIZES, "corpus", "name")},
          {"steps": 8, "d_model": 24, "n_layers": 2, "n_heads": 3, "d_ff": 40, "max_len": 20, "corpus": "my.txt",
           "name": run.name}, "config.json holds the flags")


def test_metrics_hold_losses_and_held_out_figures(run):
    lines = Metrics(run / "metrics.jsonl").read()
    judged = [line for line in lines if "bits_per_byte" in line]
    equal([line["step"] for line in judged], [3, 6, 8], "every third step and the last one")
    equal(set(judged[0]), {"step", "bits_per_byte", "held_out_loss"}, "what `evaluate` measures")
    others = [line for line in lines if line not in judged]
    assert others and all({"step", "loss", "lr_factor", "tokens_per_s"} == set(line) for line in others), f"{others}"
    assert all(math.isfinite(value) for line in lines for value in line.values()), f"numbers only, came {lines}"


def test_the_figure_is_that_of_the_last_weights_on_the_last_tenth(run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    model, vocabulary = load_run(run)
    model.load_state_dict(checkpoint.load(run / "last.pt")["model"])
    held_out = tokenize(read_texts("my.txt")[1], vocabulary)
    expected = evaluate(model, held_out, 20)
    last = Metrics(run / "metrics.jsonl").read()[-1]
    for name, value in expected.items():
        close(torch.tensor(last[name]), torch.tensor(value), f"{name} of the whole last tenth of the file", rtol=1e-4)


def test_the_run_can_be_loaded(run):
    model, vocabulary = load_run(run)
    letters = run.name.endswith("letters")
    equal((model.training, type(vocabulary)), (False, Characters if letters else Tokenizer), "dropout off")
    best = checkpoint.load(run / "best.pt")["model"]
    for name, tensor in model.state_dict().items():
        same(tensor, best[name], f"{name}: the best weights")


def test_the_published_form_opens_again_with_the_same_logits(run):
    ids = torch.randint(7, 20, (2, 15))
    ours, again = load_run(run)[0], load(run / "published")
    equal(type(again), type(ours), "the class that config.json names")
    with torch.no_grad():
        same(again(ids), ours(ids), "the best weights, those that sample takes, in the Hugging Face layout")


def test_the_published_form_is_the_same_model_in_transformers(run):
    transformers = oracle("transformers")
    ids = torch.randint(7, 20, (2, 15))
    with torch.no_grad():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "published").eval()(ids).logits
        close(load_run(run)[0](ids), theirs, "what the file says is not what the model computes", atol=1e-4)


def test_the_vocabulary_is_that_of_the_training_text(folder, printed, monkeypatch):
    monkeypatch.chdir(folder)
    [text], [held_out] = read_texts("my.txt")
    equal((folder / "runs" / "minigpt" / "tokenizer.model").read_bytes(),
          Tokenizer.train(text.splitlines(), tiny.V).model, "held-out text must have no part in pieces")
    equal(load_run(folder / "runs" / "letters")[1].characters, Characters.of([text, held_out]).characters,
          "characters are listed from both, so that none is unknown")


def test_a_character_that_stands_in_the_held_out_text_alone(here):
    (here / "my.txt").write_text(tiny.text(tiny.documents(60)) + "@", encoding="utf-8")
    for recipe in ("modern", "gpt2"):
        tiny.train_gpt("--tokens", "characters", "--recipe", recipe, "--steps", "1", "--name", recipe)
        assert "@" in load_run(here / "runs" / recipe)[1].characters, "it would be unknown when the run is judged"
        figure = Metrics(here / "runs" / recipe / "metrics.jsonl").read()[-1]["bits_per_byte"]
        assert math.isfinite(figure), f"{recipe}: unseen is not impossible, came {figure}"


def test_the_samples_of_each_evaluation_are_kept(run, printed):
    samples = (run / "samples.txt").read_text(encoding="utf-8")
    parts = samples.split("--- step ")[1:]
    equal([part.split()[0] for part in parts], ["3", "6", "8"], "each evaluation adds its sample")
    for part in parts:
        text = part.partition("\n")[2].strip()
        assert " | " in text and text in printed[run.name], f"prompt | continuation, as it was printed; came {text!r}"


def test_what_is_published_is_the_best_and_what_is_reported_the_last(here, monkeypatch, capsys):
    looks = iter([0.5, 4.25, 2.125])  # the first look is the best one
    monkeypatch.setattr(train, "evaluate", lambda *_: {"bits_per_byte": next(looks)})
    tiny.train_gpt("--muon-lr", "0.1")
    run = here / "runs" / "minigpt"
    published = load(run / "published").state_dict()
    best, last = checkpoint.load(run / "best.pt")["model"], checkpoint.load(run / "last.pt")["model"]
    assert any(not torch.equal(best[name], last[name]) for name in best), "or this test shows nothing"
    for name, tensor in best.items():
        same(published[name], tensor, f"{name}: sample takes best.pt, so that is what should be published")
    out = capsys.readouterr().out
    assert "held-out bits per byte: 2.125" in out, "the last: the best of several looks at held-out text would flatter"
    assert "the weights of step 3 did better, 0.500" in out and "best.pt" in out, "where they differ, the run says so"


# ---- what it says


@pytest.mark.parametrize("part", [
    "text: 14,292 + 1,588 bytes", f"pieces of {tiny.V} different ones", "model: Qwen3", "parameters",
    "2 blocks of width 24", f"ln V = {math.log(tiny.V):.3f}", "first loss, random weights", "first loss, counted start",
    "step 3: held-out bits per byte", "counted pairs, no neural network", "no expectation for these settings",
    "curve.png", "python -m minigpt.sample", "python -m minigpt.train --corpus my.txt",
    "python -m minigpt.train --name minigpt --resume", "Qwen3ForCausalLM"])
def test_the_run_says(printed, part):
    assert part in printed["minigpt"], f"expected {part!r} in what the run prints; came:\n{printed['minigpt']}"


def test_the_classic_run_begins_from_chance(printed):
    said = printed["classic"]
    assert "model: GPT," in said and "GPT2LMHeadModel" in said, f"the recipe gpt2 trains a GPT, came:\n{said}"
    assert "first loss, random weights" in said and "counted start" not in said, "the paper begins from chance"


@pytest.mark.parametrize("name", RUNS)
def test_the_first_loss_of_random_weights_is_that_of_guessing(folder, printed, name):
    line = next(line for line in printed[name].splitlines() if "first loss, random" in line)
    v = load_run(folder / "runs" / name)[1].vocab_size
    came = float(line.split(": ")[1].split()[0])
    assert abs(came - math.log(v)) < 0.3, f"expected about ln V = {math.log(v):.3f}, came: {line}"
    assert f"ln V = {math.log(v):.3f}" in line, f"the line itself says what to expect: {line}"


@pytest.mark.parametrize("name", ["minigpt", "letters"])
def test_the_counted_start_is_far_from_guessing(folder, printed, name):
    line = next(line for line in printed[name].splitlines() if "first loss, counted" in line)
    v = load_run(folder / "runs" / name)[1].vocab_size
    assert float(line.split(": ")[1].split()[0]) < 0.7 * math.log(v), f"counts should help at once: {line}"


@pytest.mark.parametrize("flags", [(), ("--name", "mine"), ("--name", "a b"), ("--tokens", "characters")],
                         ids=" ".join)
def test_the_printed_command_asks_this_run(here, capsys, flags):
    tiny.train_gpt("--steps", "1", "--max-len", "32", *flags)
    line = next(line for line in capsys.readouterr().out.splitlines() if "minigpt.sample" in line)
    prompt, *rest = shlex.split(line.partition("python -m minigpt.sample ")[2].rpartition("  ")[0])
    with pytest.MonkeyPatch.context() as patch:
        asked = []
        patch.setattr(pretrained, "load_run", lambda directory: asked.append(directory.name) or load_run(directory))
        try:
            sample.main([prompt, *rest, "--max-new", "3"])
        except SystemExit:
            pytest.fail(f"the printed command {line!r} says: {capsys.readouterr().err}")
    equal(asked, [flags[1] if "--name" in flags else "minigpt"], "without --model the newest minigpt* answers")


def test_a_run_without_safetensors_ends_well_and_says_how_to_get_it(here, monkeypatch, capsys):
    monkeypatch.setattr(train, "find_spec", lambda name: None)  # as if it were not installed
    tiny.train_gpt("--steps", "1")
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "safetensors" in line]
    assert len(lines) == 1 and "pip install" in lines[0], f"one line that says how to get it, came {lines}"
    assert "minigpt.sample" in out, f"all else is done: {out}"
    assert not (here / "runs" / "minigpt" / "published").exists(), "a folder without weights would mislead"


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--help"])
    equal(ended.value.code, 0, "--help is no error")
    shown = capsys.readouterr().out
    for name in GPTRunConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in shown, f"{name} is not in --help"
    missing = len(GPTRunConfig.__dataclass_fields__) - " ".join(shown.split()).count("(default: ")
    assert missing <= 0, f"{missing} flags do not show their defaults"


def test_the_command_runs_in_a_process_of_its_own(tmp_path):
    (tmp_path / "my.txt").write_text(tiny.text(tiny.documents(60)), encoding="utf-8")
    done = tiny.run_in_process("minigpt.train", *tiny.GPT_FLAGS, folder=tmp_path, PYTHONIOENCODING="ascii")
    equal(done.returncode, 0, f"it ended with an error: {done.stderr.decode()[-500:]}")
    assert b"python -m minigpt.sample" in done.stdout, "the next command"
    assert b"step" in done.stderr and b"loss" in done.stderr and b"tokens/s" in done.stderr, "a progress bar"


# ---- the documentation corpus


@pytest.mark.parametrize("flags", [(), ("--tokens", "characters", "--recipe", "gpt2")], ids=["modern", "classic"])
def test_without_a_file_the_documents_are_read_and_kept_apart(here, monkeypatch, capsys, flags):
    documents = tiny.documents(60)
    monkeypatch.setattr(texts, "load_corpus", lambda: Corpus(documents[:54], documents[54:]))
    monkeypatch.setattr(train, "draw_curves", lambda *_: "no curve in this test")
    at = tiny.GPT_FLAGS.index("--corpus")
    asked = []
    real = train.Windows
    monkeypatch.setattr(train, "Windows", lambda tokens, *rest: asked.append(tokens) or real(tokens, *rest))
    train.main([*tiny.GPT_FLAGS[:at], *tiny.GPT_FLAGS[at + 2:], *flags])
    model, vocabulary = load_run(here / "runs" / "minigpt")
    ends = (asked[0] == vocabulary.eos_id).sum().item()
    equal(ends, 55, "an end before the first of 54 documents, and one behind each")
    n_bytes = sum(len("\n".join(document)) for document in documents[:54])
    assert f"text: {n_bytes:,} + " in capsys.readouterr().out, f"expected {n_bytes:,} bytes: the ends are none"
    equal(json.loads((here / "runs" / "minigpt" / "config.json").read_text())["corpus"], None, "the default")


# ---- it learns


@pytest.mark.parametrize("recipe", ["modern", "gpt2"])
def test_the_loss_falls_on_a_predictable_text(here, recipe):
    """Counted pairs cannot say what follows "ab" here: that takes the token two before."""
    (here / "my.txt").write_text("abcabdaceabfacd" * 400, encoding="utf-8")
    tiny.train_gpt("--tokens", "characters", "--recipe", recipe, "--steps", "80", "--eval-every", "80", "--warmup", "5")
    lines = Metrics(here / "runs" / "minigpt" / "metrics.jsonl").read()
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.75 * losses[0], f"expected the loss to fall, came {losses}"
    assert lines[-1]["held_out_loss"] < losses[0], f"on held-out text as well, came {lines[-1]}"


# ---- repeating and resuming


@pytest.mark.parametrize("name", RUNS)
def test_the_same_seed_gives_the_same_run_and_takes_no_folder_away(folder, printed, monkeypatch, name):
    run = folder / "runs" / name
    before = (run / "last.pt").read_bytes()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Tokenizer, "train", lambda *_: pytest.fail("the vocabulary was trained before: it is cached"))
    tiny.train_gpt("--name", name, *RUNS[name])
    equal((run / "last.pt").read_bytes() == before, True, "a new run never writes into an old folder")
    again = folder / "runs" / f"{name}-2"
    tiny.same_weights(again, run, "everything random must come from the seed")
    equal(tiny.without_speed(again), tiny.without_speed(run), "the metrics too")
    equal((again / "samples.txt").read_bytes(), (run / "samples.txt").read_bytes(), "and the samples")


def test_another_seed_gives_another_run(folder, printed, monkeypatch):
    monkeypatch.chdir(folder)
    tiny.train_gpt("--seed", "1", "--name", "other")
    a, b = (checkpoint.load(folder / "runs" / name / "last.pt")["model"] for name in ("minigpt", "other"))
    assert not torch.equal(a["token.weight"], b["token.weight"]), "the seed has no effect"


@pytest.mark.parametrize("flags", [
    (), ("--recipe", "gpt2", "--dropout", "0.2", "--accumulate", "2", "--precision", "float32"),
    ("--tokens", "characters", "--accumulate", "2")], ids=["modern", "gpt2 with dropout", "characters"])
def test_a_stopped_and_resumed_run_equals_one_without_a_stop(here, monkeypatch, capsys, flags):
    tiny.train_gpt("--name", "whole", *flags)
    half = 9 if "--accumulate" in flags else 5  # in step 5
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        tiny.press_ctrl_c_gpt(half, patch)
        tiny.train_gpt("--name", "part", *flags)
    equal(ended.value.code, 130, "the exit code of Ctrl-C")
    part, whole = here / "runs" / "part", here / "runs" / "whole"
    equal(checkpoint.load(part / "last.pt")["step"], 5, "the step is finished and saved")
    said = capsys.readouterr().out
    argv = said.rsplit("python -m minigpt.train ", 1)[1].split()
    equal(argv, ["--name", "part", "--resume"], "the command that goes on is printed")
    monkeypatch.setattr(train, "draw_curves", lambda *_: "no curve in this test")
    torch.manual_seed(4711)
    train.main(argv)
    tiny.same_weights(part, whole, "resumed runs go on bit for bit")
    equal(tiny.without_speed(part), tiny.without_speed(whole), "the metrics too")
    equal((part / "samples.txt").read_bytes(), (whole / "samples.txt").read_bytes(), "and the samples")
    out = capsys.readouterr().out
    assert "first loss" not in out, "a resumed run does not begin anew"
    assert "held-out bits per byte:" in out and "minigpt.sample" in out, "a resumed run ends as any other"


def test_resuming_keeps_the_settings_of_the_run(folder, printed, monkeypatch):
    monkeypatch.chdir(folder)
    saved = train.settings(GPTRunConfig(name="classic letters", resume=True))
    equal((saved.d_model, saved.corpus, saved.tokens, saved.recipe, saved.resume),
          (24, "my.txt", "characters", "gpt2", True), "read from config.json")
    with pytest.raises(UserError, match="--resume"):
        train.settings(GPTRunConfig(name="classic letters", resume=True, n_layers=3))


def test_a_run_may_be_renamed(folder, printed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_bytes((folder / "my.txt").read_bytes())
    moved = tmp_path / "runs" / "moved"
    moved.mkdir(parents=True)
    for path in (folder / "runs" / "letters").glob("*.*"):
        (moved / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(train, "draw_curves", lambda *_: "no curve in this test")
    train.main(["--name", "moved", "--resume"])  # nothing is left to do, and it says how the run ended
    assert "runs/moved" in capsys.readouterr().out.replace("\\", "/"), "the folder as it is called now"
