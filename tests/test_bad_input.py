"""What a user can get wrong: each ends in one clear line on stderr and exit code 2, and nothing is lost."""

import errno
import signal
from pathlib import Path

import pytest
import torch

from common import checkpoint
from common.command import UserError, command
from common.corpus import split
from common.tokenizer import Tokenizer
from minibert import fill_mask, pretrain
from minibert.evaluate import evaluate
from tests import tiny
from tests.explain import equal


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing takes longer than all the rest."""
    monkeypatch.setattr(pretrain, "draw_curves", lambda *_: "no curve in this test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a trained run."""
    made = tmp_path_factory.mktemp("bad_input")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        tiny.train()
    return made


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A copy of that run, to be damaged."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "runs" / "minibert"
    made.mkdir(parents=True)
    for path in (folder / "runs" / "minibert").glob("*.*"):
        (made / path.name).write_bytes(path.read_bytes())
    return made


def refused(capsys, main, *argv: str, code: int = 2) -> str:
    """The command ends with the exit code and one line on stderr; that line."""
    capsys.readouterr()
    before = set(Path("runs").glob("*"))
    with pytest.raises(SystemExit) as ended:
        main(list(argv))
    equal(ended.value.code, code, "exit code")
    lines = capsys.readouterr().err.splitlines()
    made = set(Path("runs").glob("*")) - before
    assert not made, f"a mistake leaves no empty folder behind, came {made}"
    assert len(lines) == 1 and lines[0].startswith("error: "), f'expected one line "error: ...", came {lines}'
    return lines[0]


def corpus(capsys, text: str | bytes, *flags: str) -> str:
    """What pretrain says to a text file that it cannot use."""
    content = text.encode() if isinstance(text, str) else text
    with open("bad.txt", "wb") as file:
        file.write(content)
    return refused(capsys, pretrain.main, *tiny.FLAGS, "--corpus", "bad.txt", *flags)


def says(line: str, *words: str) -> None:
    lacking = [word for word in words if word not in line]
    assert not lacking, f"expected {lacking} in the line, came {line!r}"


# ---- CORPUS


def test_a_missing_corpus(here, capsys):
    says(refused(capsys, pretrain.main, *tiny.FLAGS, "--corpus", "no.txt"), "no.txt", "not there")


def test_a_directory_as_corpus(here, capsys):
    (here / "texts").mkdir()
    says(refused(capsys, pretrain.main, *tiny.FLAGS, "--corpus", "texts"), "texts", "directory")


@pytest.mark.parametrize("text", ["", "\n \n\t\n", "\ufeff"], ids=["no bytes", "blanks", "byte-order mark"])
def test_an_empty_corpus(here, capsys, text):
    says(corpus(capsys, text), "bad.txt", "empty")


@pytest.mark.parametrize("content", [b"some text\0more", bytes(range(256)) * 9, b"\x89PNG\r\n\x1a\n\0\0"],
                         ids=["with a zero", "all bytes", "a picture"])
def test_a_binary_corpus(here, capsys, content):
    says(corpus(capsys, content), "bad.txt", "text")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp949"])
def test_a_corpus_that_is_not_utf8(here, capsys, encoding):
    text = "한국어 문장" if encoding == "cp949" else "café au lait"
    says(corpus(capsys, text.encode(encoding)), "bad.txt", "UTF-8")


def test_a_corpus_too_short_for_one_batch(here, capsys):
    says(corpus(capsys, tiny.text(tiny.documents(40, 1)), "--batch-size", "700"), "too short", "700")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_documents(here, capsys, n):
    """One document has no other; three leave one held out, which has no other there."""
    says(corpus(capsys, tiny.text(tiny.documents(n, 90))), "two documents", "blank line")


@pytest.mark.parametrize("n", [4, 10])
def test_a_few_documents_are_enough(here, n):
    (here / "my.txt").write_text(tiny.text(tiny.documents(n, 90)), encoding="utf-8")
    tiny.train("--steps", "1")
    equal((here / "runs" / "minibert" / "last.pt").exists(), True, "two are held out, whatever the share of one in 20")


# ---- sizes and values


def test_a_vocabulary_larger_than_the_text_supports(here, capsys):
    says(corpus(capsys, tiny.text(tiny.documents(40)), "--vocab-size", "5000"), "5,000", "at most")


def test_a_vocabulary_smaller_than_the_letters_of_the_text(here, capsys):
    says(corpus(capsys, tiny.text(tiny.documents(40)), "--vocab-size", "100"), "100", "larger")


@pytest.mark.parametrize(("flag", "value"), [
    ("--steps", "0"), ("--steps", "-3"), ("--batch-size", "0"), ("--batch-size", "-4"), ("--mask-rate", "0"),
    ("--mask-rate", "1.5"), ("--mask-rate", "nan"), ("--max-len", "4"), ("--max-len", "0"), ("--max-len", "-64"),
    ("--n-heads", "0"), ("--d-model", "0"), ("--n-layers", "0"), ("--d-ff", "-1"), ("--vocab-size", "0"),
    ("--dropout", "1.5"), ("--dropout", "-0.1"), ("--warmup", "-1"), ("--decay", "2"), ("--clip", "0"),
    ("--accumulate", "0"), ("--eval-every", "0"), ("--seed", "-1"), ("--muon-lr", "-0.1"), ("--adam-lr", "nan"),
], ids=lambda value: value.strip("-"))
def test_a_value_that_makes_no_sense(here, capsys, flag, value):
    line = refused(capsys, pretrain.main, *tiny.FLAGS, flag, value)
    says(line, flag.strip("-").replace("-", "_"), " should be ")
    assert not (here / "runs").exists(), "no folder should be made for a run that cannot begin"


def test_heads_that_do_not_divide_the_width(here, capsys):
    says(refused(capsys, pretrain.main, *tiny.FLAGS, "--n-heads", "5"), "n_heads = 5", "d_model = 24")


@pytest.mark.parametrize("argv", [["--nonsense", "1"], ["--step", "3"], ["--steps", "many"], ["--steps"], ["my.txt"]],
                         ids=" ".join)
@pytest.mark.parametrize("main", [pretrain.main, fill_mask.main], ids=["pretrain", "fill_mask"])
def test_an_unknown_flag_or_a_value_that_is_no_number(here, capsys, main, argv):
    argv = argv if main is pretrain.main else [*argv, "a [MASK]"]
    says(refused(capsys, main, *argv), "--help")


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a"], ids=repr)
def test_a_name_that_is_no_folder_name(here, capsys, name):
    says(refused(capsys, pretrain.main, *tiny.FLAGS, "--name", name), repr(name))


def test_a_learning_rate_that_breaks_the_model(here, capsys):
    with pytest.raises(SystemExit) as ended:
        tiny.train("--adam-lr", "1e30", "--muon-lr", "1e30")
    last = capsys.readouterr().err.splitlines()[-1]  # above it stands the progress bar
    equal(ended.value.code, 2, "exit code")
    says(last, "error: ", "nan", "learning rate")


# ---- fill_mask


@pytest.mark.parametrize(("text", "words"), [("no blank here", ("one [MASK]", "none")), ("", ("one [MASK]", "none")),
                                             ("a [MASK] and a [MASK] .", ("one [MASK]", "2")),
                                             ("a [mask] .", ("one [MASK]", "none"))], ids=repr)
def test_a_sentence_without_a_mask_or_with_several(run, capsys, text, words):
    says(refused(capsys, fill_mask.main, text), *words)


def test_a_text_longer_than_the_model_reads(run, capsys):
    says(refused(capsys, fill_mask.main, "old dog " * 30 + "[MASK]"), "tokens", "at most 20")


def test_no_text_at_all(run, capsys):
    says(refused(capsys, fill_mask.main), "text", "--help")


@pytest.mark.parametrize("top", ["0", "-1", "9999"])
def test_a_number_of_guesses_that_makes_no_sense(run, capsys, top):
    says(refused(capsys, fill_mask.main, "a [MASK]", "--top", top), "--top", str(tiny.V))


def test_no_run_to_ask(here, capsys):
    says(refused(capsys, fill_mask.main, "a [MASK]"), "no trained model", "train")


def test_a_model_that_is_not_there(here, capsys):
    says(refused(capsys, fill_mask.main, "a [MASK]", "--model", "nowhere"), "nowhere", "not there")


# ---- checkpoints


class Code:
    """Unpickled, it would leave a mark; a checkpoint from elsewhere could do anything here."""

    def __reduce__(self):
        return open, ("mark", "w")


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello\n"),
    "pickle with code": lambda path: torch.save({"model": Code()}, path),
    "list": lambda path: torch.save([1, 2], path),
    "other names": lambda path: torch.save({"model": {"x": torch.zeros(2)}}, path),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_not_asked(run, capsys, damage):
    DAMAGE[damage](run / "best.pt")
    says(refused(capsys, fill_mask.main, "a [MASK]", "--model", str(run)), "best.pt")
    assert not (run.parent.parent / "mark").exists(), "the code in the checkpoint was run"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_not_resumed(run, capsys, damage):
    (run.parent.parent / "my.txt").write_text(tiny.text(tiny.documents(60)), encoding="utf-8")
    DAMAGE[damage](run / "last.pt")
    before = (run / "metrics.jsonl").read_bytes()
    says(refused(capsys, pretrain.main, "--name", "minibert", "--resume"), "last.pt")
    equal((run / "metrics.jsonl").read_bytes(), before, "what the run has measured must not be lost")
    assert not (run.parent.parent / "mark").exists(), "the code in the checkpoint was run"


def test_a_checkpoint_from_another_vocabulary(run, capsys):
    """Of another size: with that many pieces the model has no row for some of the ids."""
    other = Tokenizer.train((p for document in tiny.documents(50) for p in document), tiny.V - 6)
    other.save(run / "tokenizer.model")
    says(refused(capsys, fill_mask.main, "a [MASK]"), "vocabulary", str(tiny.V), str(tiny.V - 6))


def test_weights_of_another_vocabulary(run, capsys):
    state = checkpoint.load(run / "best.pt")
    for name, tensor in state["model"].items():
        if tensor.shape[0] == tiny.V:
            state["model"][name] = torch.cat([tensor, tensor[:3]])
    checkpoint.save(state, run / "best.pt")
    says(refused(capsys, fill_mask.main, "a [MASK]"), "best.pt", str(tiny.V), str(tiny.V + 3))


@pytest.mark.parametrize("content", ["", "{", '{"d_modell": 24}', '{"d_model": "24"}', '{"steps": 0}', "[]"])
def test_damaged_settings(run, capsys, content):
    (run / "config.json").write_text(content, encoding="utf-8")
    says(refused(capsys, fill_mask.main, "a [MASK]"), "config.json")


def test_a_damaged_vocabulary(run, capsys):
    content = (run / "tokenizer.model").read_bytes()
    (run / "tokenizer.model").write_bytes(content[: len(content) // 2])
    says(refused(capsys, fill_mask.main, "a [MASK]"), "tokenizer")


# ---- resuming


def test_resuming_a_run_that_is_not_there(here, capsys):
    says(refused(capsys, pretrain.main, "--name", "nothing", "--resume"), "nothing", "not there")


def test_resuming_with_other_settings(run, capsys):
    says(refused(capsys, pretrain.main, "--name", "minibert", "--resume", "--steps", "99"), "--name and --resume")


@pytest.mark.parametrize("changed", ["text", "held-out text", "vocabulary"])
def test_resuming_on_another_text_or_vocabulary(run, capsys, changed):
    documents = tiny.documents(60)
    if changed == "vocabulary":
        other = Tokenizer.train((p for document in tiny.documents(50, seed=9) for p in document), tiny.V)
        other.save(run / "tokenizer.model")
    else:  # one word more in one document
        held_out = split({f"document {i}": document for i, document in enumerate(documents)}).held_out
        next(d for d in documents if (d in held_out) == (changed == "held-out text"))[0] += " dog"
    Path("my.txt").write_text(tiny.text(documents), encoding="utf-8")
    before = (run / "last.pt").read_bytes()
    says(refused(capsys, pretrain.main, "--name", "minibert", "--resume"), "minibert", "cannot be resumed",
         f"its {changed.split()[-1]} has changed")
    equal((run / "last.pt").read_bytes(), before, "nothing is lost")


# ---- Ctrl-C


@pytest.fixture
def pressed(monkeypatch):
    """Ctrl-C is pressed in the middle of step 4."""
    real, calls = pretrain.pretraining_loss, []

    def loss(model, batch):
        if torch.is_grad_enabled():
            calls.append(1)
            if len(calls) == 4:
                signal.raise_signal(signal.SIGINT)
        return real(model, batch)

    monkeypatch.setattr(pretrain, "pretraining_loss", loss)


def test_ctrl_c_saves_says_how_to_go_on_and_ends_with_130(here, capsys, pressed):
    with pytest.raises(SystemExit) as ended:
        tiny.train("--name", "mine")
    equal(ended.value.code, 130, "the exit code of Ctrl-C, as shells know it")
    equal(checkpoint.load(here / "runs" / "mine" / "last.pt")["step"], 4, "the step is finished and saved")
    came = capsys.readouterr()
    says(came.out, "stopped and saved", "python -m minibert.pretrain --name mine --resume")
    assert "Traceback" not in came.err, f"no traceback, please: {came.err}"


def test_the_printed_command_goes_on(here, capsys, pressed):
    with pytest.raises(SystemExit):
        tiny.train("--name", "mine")
    printed = capsys.readouterr().out
    argv = printed.rsplit("python -m minibert.pretrain ", 1)[1].split()
    pretrain.main(argv)
    equal(checkpoint.load(here / "runs" / "mine" / "last.pt")["step"], 8, "the run is finished")
    assert "first loss" not in capsys.readouterr().out, "a resumed run does not begin anew"


@pytest.mark.parametrize(("step", "says_so", "saved"), [(2, "nothing was saved", None),
                                                        (5, "go on from the last save", 3)])
def test_a_second_ctrl_c_in_a_step_does_not_say_that_it_saved(here, capsys, monkeypatch, step, says_so, saved):
    tiny.press_ctrl_c(step, monkeypatch, times=2)
    with pytest.raises(SystemExit) as ended:
        tiny.train("--name", "mine")
    out, last = capsys.readouterr().out, here / "runs" / "mine" / "last.pt"
    equal(ended.value.code, 130, "exit code")
    says(out, "stopped at once", says_so)
    assert "stopped and saved" not in out, "the step was not finished, and nothing was saved"
    equal(checkpoint.load(last)["step"] if last.exists() else None, saved, "the save of the evaluation after step 3")


def test_ctrl_c_before_training_ends_with_130(here, capsys, monkeypatch):
    def pressed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "load_corpus", pressed)
    with pytest.raises(SystemExit) as ended:
        tiny.train()
    equal(ended.value.code, 130, "the exit code of Ctrl-C")
    assert "Traceback" not in capsys.readouterr().err, "no traceback, please"


# ---- no space left


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]  # above it stands the progress bar


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_no_space_for_the_second_save_leaves_the_first_whole(here, capsys, monkeypatch, name):
    real = torch.save
    written, looks = [], iter((3.0, 2.0, 1.0))  # each look finds the weights better, so each saves best.pt
    monkeypatch.setattr(pretrain, "evaluate", lambda *_: {"mlm_loss": next(looks)})

    def save(state, path):
        if name in str(path):
            written.append(path)
            if len(written) == 2:
                path.write_bytes(b"half of a checkpoint")
                full()
        real(state, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(SystemExit) as ended:
        tiny.train()
    equal(ended.value.code, 2, "exit code")
    says(last_line(capsys), "error: ", name, "No space left", "intact")
    run = here / "runs" / "minibert"
    equal(set(checkpoint.load(run / name)) >= {"model"}, True, "the first save can still be read")
    equal([path.name for path in run.iterdir() if path.name.endswith(".part")], [], "no half file stays behind")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", real)
        patch.setattr(pretrain, "evaluate", evaluate)
        pretrain.main(["--name", "minibert", "--resume"])
    equal(checkpoint.load(run / "last.pt")["step"], 8, "with space again, the run goes on from the first save")


def test_no_space_for_the_metrics(here, capsys, monkeypatch):
    monkeypatch.setattr("common.report.Metrics.write", full)
    with pytest.raises(SystemExit) as ended:
        tiny.train()
    equal(ended.value.code, 2, "exit code")
    says(last_line(capsys), "error: ", "No space left")


def test_no_space_for_the_folder_of_the_run(here, capsys, monkeypatch):
    (here / "my.txt").write_text(tiny.text(tiny.documents(60)), encoding="utf-8")
    (here / ".cache").mkdir()
    real = Path.mkdir
    monkeypatch.setattr("pathlib.Path.mkdir", lambda path, *how, **more: full() if "runs" in path.parts else real(
        path, *how, **more))
    says(refused(capsys, pretrain.main, *tiny.FLAGS), "runs", "No space left")


def test_a_file_where_the_folder_of_runs_should_be(here, capsys):
    (here / "my.txt").write_text(tiny.text(tiny.documents(60)), encoding="utf-8")
    (here / "runs").write_text("not a folder")
    says(refused(capsys, pretrain.main, *tiny.FLAGS), "runs")


# ---- the decorator itself


def ends(error: BaseException, capsys) -> tuple[object, str]:
    @command
    def main(argv=None):
        raise error

    with pytest.raises(SystemExit) as ended:
        main([])
    return ended.value.code, capsys.readouterr().err


def test_a_user_error_is_one_line_and_code_2(capsys):
    equal(ends(UserError("do this"), capsys), (2, "error: do this\n"), "one line on stderr")


def test_what_the_system_refuses_is_one_line_and_code_2(capsys):
    code, err = ends(PermissionError(errno.EACCES, "Permission denied", "a.txt"), capsys)
    equal(code, 2, "exit code")
    assert err.startswith("error: ") and "a.txt" in err and len(err.splitlines()) == 1, f"came {err!r}"


def test_a_mistake_of_ours_keeps_its_traceback():
    @command
    def main(argv=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])
