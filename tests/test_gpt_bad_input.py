"""What a user of minigpt can get wrong: each ends in one clear line on stderr and exit code 2, and nothing is lost."""

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from common import checkpoint
from common.bpe import ByteBPE
from common.characters import Characters
from common.tokenizer import Tokenizer
from minibert import pretrain
from minigpt import GPT, GPTConfig, sample, train
from tests import tiny
from tests.explain import equal
from tests.test_bad_input import DAMAGE, refused, says


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing takes longer than all the rest."""
    for command in (train, pretrain):
        monkeypatch.setattr(command, "draw_curves", lambda *_: "no curve in this test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with two trained runs: of pieces, and of characters."""
    made = tmp_path_factory.mktemp("bad_input")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        tiny.train_gpt()
        tiny.train_gpt("--tokens", "characters", "--name", "letters")
    return made


def copied(folder: Path, name: str, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_bytes((folder / "my.txt").read_bytes())
    made = tmp_path / "runs" / name
    made.mkdir(parents=True)
    for path in (folder / "runs" / name).glob("*.*"):
        (made / path.name).write_bytes(path.read_bytes())
    return made


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A copy of the run of pieces, to be damaged."""
    return copied(folder, "minigpt", tmp_path, monkeypatch)


@pytest.fixture
def letters(folder, tmp_path, monkeypatch):
    """A copy of the run of characters."""
    return copied(folder, "letters", tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def published_here(tmp_path_factory):
    made = tmp_path_factory.mktemp("published")
    GPT(GPTConfig(257, 8, 1, 1, max_len=24, eos_id=256)).save_pretrained(made)
    ByteBPE.train(["a"], 257).save(made)
    return made


@pytest.fixture
def published(published_here, tmp_path):
    """A copy of a published GPT-2 with its vocabulary, to be damaged."""
    made = tmp_path / "gpt2"
    made.mkdir()
    for path in published_here.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    return made


def asked(capsys, *argv: str) -> str:
    """The one line with which sample refuses."""
    return refused(capsys, sample.main, *argv)


# ---- sample: the prompt


@pytest.mark.parametrize("how", ["command line", "standard input", "standard input, a line break", "file"])
def test_an_empty_prompt(run, capsys, monkeypatch, how):
    Path("empty.txt").write_text("")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n" if "break" in how else ""))
    argv = {"command line": [""], "file": ["--file", "empty.txt"]}.get(how, ["-"])
    says(asked(capsys, *argv), "empty")


def test_a_prompt_and_a_file(run, capsys):
    Path("prompt.txt").write_text("the dog")
    says(asked(capsys, "the", "--file", "prompt.txt"), "not both")
    says(asked(capsys, "-", "--file", "prompt.txt"), "not both")
    says(asked(capsys, "", "--file", "prompt.txt"), "not both")


def test_a_prompt_of_several_words_without_quotes(run, capsys):
    says(asked(capsys, "the", "dog"), "dog", "--help")


@pytest.mark.parametrize(("content", "words"), [(None, ("not there",)), (b"a\xff", ("UTF-8",)), (b"a\0", ("binary",)),
                                                ("folder", ("directory",)), (b" \n", ("empty",))], ids=str)
def test_a_file_that_is_no_prompt(run, capsys, content, words):
    if content == "folder":
        Path("prompt.txt").mkdir()
    elif content is not None:
        Path("prompt.txt").write_bytes(content)
    says(asked(capsys, "--file", "prompt.txt"), "prompt.txt", *words)


def test_a_prompt_longer_than_the_context(run, capsys):
    says(asked(capsys, "old dog " * 40), "prompt", "tokens", "at most 20")


def test_a_character_that_the_vocabulary_lacks(letters, capsys):
    says(asked(capsys, "the DOG", "--model", str(letters)), "'D'", "character")
    says(asked(capsys, "나무", "--model", str(letters)), "'나'")


@pytest.mark.parametrize("kind", ["pieces", "characters", "bytes"])
def test_a_prompt_with_a_byte_that_is_no_character(run, folder, published, capsys, kind):
    """What Python makes of a stray byte on a Linux command line."""
    model = {"pieces": run, "characters": folder / "runs" / "letters", "bytes": published}[kind]
    asked(capsys, "the \udcff", "--model", str(model))


def test_standard_input_that_is_not_utf8(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \xff"), encoding="utf-8"))
    says(asked(capsys, "-"), "UTF-8")


@pytest.mark.parametrize("argv", [["old dog " * 40], ["the", "--top-k", "999"]], ids=["too long", "top_k"])
def test_what_is_refused_prints_no_prompt(run, capsys, argv):
    with pytest.raises(SystemExit):
        sample.main(argv)
    came = capsys.readouterr()
    equal(came.out, "", f"the error stands behind the prompt on one line of the terminal: {came.out[-20:]}{came.err}")


# ---- sample: the settings


@pytest.mark.parametrize(("flag", "value", "word"), [
    ("--temperature", "0", "temperature = 0"), ("--temperature", "-1", "temperature = -1"),
    ("--temperature", "nan", "temperature = nan"), ("--temperature", "inf", "temperature = inf"),
    ("--top-p", "0", "top_p = 0"), ("--top-p", "1.5", "top_p = 1.5"), ("--top-p", "nan", "top_p = nan"),
    ("--top-k", "0", "top_k = 0"), ("--top-k", "-2", "top_k = -2"), ("--top-k", "999", "top_k = 999"),
    ("--repetition-penalty", "0", "repetition_penalty = 0"), ("--repetition-penalty", "nan", "repetition_penalty"),
    ("--stop", "", "--stop is empty"), ("--max-new", "0", "max_new = 0"), ("--samples", "0", "samples = 0"),
    ("--seed", "-1", "seed = -1"), ("--seed", str(2**63), "seed = "), ("--seed", "one", "--seed"),
    ("--nonsense", "1", "--help"), ("--temp", "1", "--help")], ids=lambda value: value.strip("-") or "empty")
def test_a_value_that_makes_no_sense(run, capsys, flag, value, word):
    line = asked(capsys, "the", flag, value)
    says(line, word)
    if flag == "--top-k" and value == "999":
        says(line, str(tiny.V))


def test_the_largest_values_that_make_sense(run, capsys):
    for argv in (["--top-k", str(tiny.V)], ["--top-p", "1"], ["--seed", str(2**62), "--samples", "2"]):
        sample.main(["the", "--max-new", "2", *argv])
        assert capsys.readouterr().out.startswith("the"), f"{argv} should be taken"


# ---- sample: whose model


def test_no_run_yet(here, capsys):
    says(asked(capsys, "the"), "no trained model", "runs/minigpt", "train")


def test_a_run_of_minibert_is_no_minigpt(here, capsys):
    tiny.train("--steps", "1")
    says(asked(capsys, "the"), "no trained model", "runs/minigpt")
    says(asked(capsys, "the", "--model", "runs/minibert"), "minibert")
    says(asked(capsys, "the", "--model", "runs/minibert/published"), "bert", "gpt2")


def test_a_model_that_is_not_there(here, capsys):
    says(asked(capsys, "the", "--model", "nowhere"), "nowhere")


@pytest.mark.parametrize("what", ["an empty folder", "a file", "a folder of something else"])
def test_what_is_no_checkpoint(here, capsys, what):
    if what == "a file":
        Path("thing").write_text("hello")
    else:
        Path("thing").mkdir()
        if "else" in what:
            Path("thing", "config.json").write_text('{"name": "an app"}')
    says(asked(capsys, "the", "--model", "thing"), "thing")


def test_a_published_model_without_a_vocabulary(run, folder, capsys, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / "runs" / "minigpt" / "published" / name).read_bytes())
    says(asked(capsys, "the", "--model", str(tmp_path)), "no vocabulary", "vocab.json")


def test_a_published_vocabulary_larger_than_its_model(published, capsys):
    GPT(GPTConfig(250, 8, 1, 1, max_len=24, eos_id=249)).save_pretrained(published)
    says(asked(capsys, "a", "--model", str(published)), "257", "250", "do not belong together")


def test_a_published_vocabulary_smaller_than_its_model(published, capsys):
    """Some models are padded to a round size. What the vocabulary cannot spell is never written, or refused."""
    GPT(GPTConfig(400, 8, 1, 1, max_len=24, eos_id=256)).save_pretrained(published)
    try:
        sample.main(["a", "--model", str(published), "--top-p", "1", "--max-new", "40"])
    except SystemExit as ended:
        equal(ended.code, 2, "one line, or a text")
        says(capsys.readouterr().err, "error: ")


@pytest.mark.parametrize("difference", [-6, 6])
def test_a_run_with_the_vocabulary_of_another(run, capsys, difference):
    other = Tokenizer.train((p for document in tiny.documents(50) for p in document), tiny.V + difference)
    other.save(run / "tokenizer.model")
    says(asked(capsys, "the"), str(tiny.V), str(tiny.V + difference))


def test_a_run_with_the_characters_of_another(letters, capsys):
    Characters.of(["abc"]).save(letters / "characters.json")
    says(asked(capsys, "a", "--model", str(letters)), "best.pt", "another model")


# ---- damaged files


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "missing"])
def test_a_damaged_checkpoint_does_not_write(run, capsys, damage):
    DAMAGE[damage](run / "best.pt")
    says(asked(capsys, "the", "--model", str(run)), "best.pt")
    assert not Path("mark").exists(), "the code in the checkpoint was run"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_not_resumed(run, capsys, damage):
    DAMAGE[damage](run / "last.pt")
    before = (run / "metrics.jsonl").read_bytes()
    says(refused(capsys, train.main, "--name", "minigpt", "--resume"), "last.pt")
    equal((run / "metrics.jsonl").read_bytes(), before, "what the run has measured must not be lost")
    assert not Path("mark").exists(), "the code in the checkpoint was run"


BROKEN = {"missing": None, "empty": b"", "half": "half", "text": b"hello", "a list": b"[]",
          "not UTF-8": b'{"a": "\xff"}'}


def break_(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if BROKEN[how] is not None:
        path.write_bytes(content[: len(content) // 2] if how == "half" else BROKEN[how])


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("name", ["tokenizer.model", "config.json"])
def test_a_damaged_file_of_a_run(run, capsys, name, how):
    break_(run / name, how)
    word = "tokenizer" if name == "tokenizer.model" else name
    says(asked(capsys, "the", "--model", str(run)), word)
    says(refused(capsys, train.main, "--name", "minigpt", "--resume"), word)


@pytest.mark.parametrize("how", BROKEN)
def test_damaged_characters(letters, capsys, how):
    break_(letters / "characters.json", how)
    says(asked(capsys, "the", "--model", str(letters)), "characters.json")
    says(refused(capsys, train.main, "--name", "letters", "--resume"), "characters.json")


@pytest.mark.parametrize(("name", "how"), [
    *((name, how) for name in ("vocab.json", "config.json", "model.safetensors") for how in BROKEN),
    *(("merges.txt", how) for how in ("missing", "text", "a list", "not UTF-8"))])  # fewer merges do not show
def test_a_damaged_file_of_a_published_model(published, capsys, name, how):
    break_(published / name, how)
    says(asked(capsys, "a", "--model", str(published)), "vocab" if name == "vocab.json" else name)


# ---- train: the text


def text(capsys, content: str | bytes, *flags: str) -> str:
    """What train says to a text file that it cannot use."""
    Path("bad.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    return refused(capsys, train.main, *tiny.GPT_FLAGS, "--corpus", "bad.txt", *flags)


BOTH = pytest.mark.parametrize("tokens", ["pieces", "characters"])


def test_a_missing_text(here, capsys):
    says(refused(capsys, train.main, *tiny.GPT_FLAGS, "--corpus", "no.txt"), "no.txt", "not there")


def test_a_directory_as_text(here, capsys):
    Path("texts").mkdir()
    says(refused(capsys, train.main, *tiny.GPT_FLAGS, "--corpus", "texts"), "texts", "directory")


@pytest.mark.parametrize("content", ["", "\n \n\t\n", "\ufeff"], ids=["no bytes", "blanks", "byte-order mark"])
def test_an_empty_text(here, capsys, content):
    says(text(capsys, content), "bad.txt", "empty")


@pytest.mark.parametrize("content", [b"some text\0more", "한국어".encode("cp949") * 99, "text".encode("utf-16")],
                         ids=["binary", "cp949", "utf-16"])
def test_what_is_no_text(here, capsys, content):
    says(text(capsys, content), "bad.txt", "text")


@BOTH
def test_a_text_of_one_character(here, capsys, tokens):
    says(text(capsys, "a", "--tokens", tokens), "too short")


@BOTH
def test_a_text_too_short_for_one_batch(here, capsys, tokens):
    says(text(capsys, tiny.text(tiny.documents(20)), "--tokens", tokens, "--batch-size", "700"), "too short", "700")


@BOTH
@pytest.mark.parametrize("n", [90, 120, 200, 260])
def test_a_held_out_tenth_shorter_than_the_context(here, capsys, tokens, n):
    """It is read as far as it goes, or refused in one line."""
    Path("my.txt").write_text(("a dog " * 99)[:n], encoding="utf-8")
    try:
        tiny.train_gpt("--tokens", tokens, "--batch-size", "1", "--max-len", "30", "--vocab-size", "268")
    except SystemExit as ended:
        equal(ended.code, 2, "one line, or a run")
        says(capsys.readouterr().err.splitlines()[-1], "error: ")


# ---- train: sizes and values


@pytest.mark.parametrize(("flag", "value"), [
    ("--steps", "0"), ("--batch-size", "0"), ("--max-len", "1"), ("--max-len", "-64"), ("--n-heads", "0"),
    ("--d-model", "0"), ("--n-layers", "0"), ("--d-ff", "-1"), ("--vocab-size", "0"), ("--dropout", "1.5"),
    ("--dropout", "nan"), ("--warmup", "-1"), ("--decay", "2"), ("--clip", "0"), ("--accumulate", "0"),
    ("--eval-every", "0"), ("--seed", "-1"), ("--muon-lr", "-0.1"), ("--adam-lr", "nan"), ("--n-heads", "5"),
    ("--d-model", "25"), ("--recipe", "bert"), ("--tokens", "words"), ("--precision", "high")],
    ids=lambda value: value.strip("-"))
def test_a_setting_that_makes_no_sense(here, capsys, flag, value):
    says(refused(capsys, train.main, *tiny.GPT_FLAGS, flag, value), flag.strip("-").replace("-", "_"), " should be ")
    assert not Path("runs").exists(), "no folder should be made for a run that cannot begin"


@pytest.mark.parametrize("max_len", [2, 3])
def test_the_shortest_contexts_are_trained(here, max_len):
    tiny.train_gpt("--max-len", str(max_len), "--steps", "2")
    equal(Path("runs", "minigpt", "last.pt").exists(), True, "what the settings allow should work")


def test_a_vocabulary_larger_than_the_text_supports(here, capsys):
    says(text(capsys, tiny.text(tiny.documents(40)), "--vocab-size", "5000"), "5,000", "at most")
    says(text(capsys, tiny.text(tiny.documents(40)), "--vocab-size", "100"), "100", "larger")


@pytest.mark.parametrize("argv", [["--nonsense", "1"], ["--step", "3"], ["--steps", "many"], ["--steps"], ["my.txt"]],
                         ids=" ".join)
def test_an_unknown_flag_or_a_value_that_is_no_number(here, capsys, argv):
    says(refused(capsys, train.main, *argv), "--help")


@pytest.mark.parametrize("name", ["", "..", "a/b"], ids=repr)
def test_a_name_that_is_no_folder_name(here, capsys, name):
    says(refused(capsys, train.main, *tiny.GPT_FLAGS, "--name", name), repr(name))


@pytest.mark.parametrize("recipe", ["modern", "gpt2"])
def test_a_learning_rate_that_breaks_the_model(here, capsys, recipe):
    with pytest.raises(SystemExit) as ended:
        tiny.train_gpt("--recipe", recipe, "--adam-lr", "1e30", "--muon-lr", "1e30")
    last = capsys.readouterr().err.splitlines()[-1]  # above it stands the progress bar
    equal(ended.value.code, 2, "exit code")
    says(last, "error: ", "nan", "learning rate")


# ---- resuming


@BOTH
def test_resuming_a_run_that_is_not_there(here, capsys, tokens):
    says(refused(capsys, train.main, "--name", "nothing", "--resume"), "nothing", "not there")


def test_resuming_with_other_settings(run, capsys):
    for flags in (["--steps", "99"], ["--tokens", "characters"], ["--recipe", "gpt2"], ["--corpus", "other.txt"]):
        says(refused(capsys, train.main, "--name", "minigpt", "--resume", *flags), "--name and --resume")


@pytest.mark.parametrize("place", ["training", "held-out"])
@pytest.mark.parametrize("kind", ["minigpt", "letters"])
def test_resuming_on_another_text(folder, tmp_path, monkeypatch, capsys, kind, place):
    run = copied(folder, kind, tmp_path, monkeypatch)
    content = Path("my.txt").read_text(encoding="utf-8")
    at = 100 if place == "training" else len(content) - 100
    changed = content[:at] + ("o" if content[at] == "a" else "a") + content[at + 1:]  # one letter
    Path("my.txt").write_text(changed, encoding="utf-8")
    before = (run / "last.pt").read_bytes()
    says(refused(capsys, train.main, "--name", kind, "--resume"), kind, "cannot be resumed", "its text has changed")
    equal((run / "last.pt").read_bytes() == before, True, "nothing is lost")


def test_resuming_without_the_text(run, capsys):
    Path("my.txt").unlink()
    says(refused(capsys, train.main, "--name", "minigpt", "--resume"), "my.txt", "not there")


def test_resuming_a_run_of_minibert(here, capsys):
    tiny.train("--steps", "1")
    says(refused(capsys, train.main, "--name", "minibert", "--resume"), "minibert")


# ---- Ctrl-C


@pytest.mark.parametrize(("step", "says_so", "saved"), [(2, "nothing was saved", None),
                                                        (5, "go on from the last save", 3)])
def test_a_second_ctrl_c_in_a_step_does_not_say_that_it_saved(here, capsys, monkeypatch, step, says_so, saved):
    tiny.press_ctrl_c_gpt(step, monkeypatch, times=2)
    with pytest.raises(SystemExit) as ended:
        tiny.train_gpt("--name", "mine")
    out, last = capsys.readouterr().out, here / "runs" / "mine" / "last.pt"
    equal(ended.value.code, 130, "exit code")
    says(out, "stopped at once", says_so)
    assert "stopped and saved" not in out, "the step was not finished, and nothing was saved"
    equal(checkpoint.load(last)["step"] if last.exists() else None, saved, "the save of the evaluation after step 3")


def test_ctrl_c_while_writing_ends_with_130(run, capsys, monkeypatch):
    def pressed(*_):
        yield {0: 20}
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "stream", pressed)
    with pytest.raises(SystemExit) as ended:
        sample.main(["the"])
    equal(ended.value.code, 130, "the exit code of Ctrl-C")
    came = capsys.readouterr()
    assert came.out.startswith("the") and "Traceback" not in came.err, f"what was written stays: {came}"


def test_settings_of_a_run_that_do_not_fit_its_weights(run, capsys):
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (run / "config.json").write_text(json.dumps(settings | {"recipe": "gpt2"}), encoding="utf-8")
    says(asked(capsys, "the"), "best.pt", "another model")
    equal(torch.is_grad_enabled(), True, "a refusal leaves torch as it was")
