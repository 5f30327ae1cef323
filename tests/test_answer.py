"""`python -m minit5.answer`: gaps and tasks, greedy and with beams, warnings, and whose models answer."""

import contextlib
import io
import json
import runpy
import shutil
from pathlib import Path

import pytest
import sentencepiece as spm

from common.report import table
from minit5 import T5, T5Config, answer
from minit5.answer import AnswerConfig
from minit5.pretrained import PIECES, known_tasks, open_model
from minit5.vocabulary import SentinelVocabulary
from minit5.writer import answer as write
from minit5.writer import answer_by_beam
from tests import tiny
from tests.explain import equal
from tests.test_bad_input import refused, says

VOCABULARY = SentinelVocabulary(tiny.tokenizer())
X, Y, *_ = VOCABULARY.sentinels
EOS = VOCABULARY.eos_id
QUESTION = "animal: old dog sees the river"  # of one of the two tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with two runs: minit5, pre-trained, and the newer minit5-tasks."""
    made = tmp_path_factory.mktemp("answer")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(made)
        tiny.train_t5("--steps", "1")
        tiny.teach_t5("--steps", "1")
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def asks(capsys):
    """What the command prints, and its warnings."""
    def run(*argv: str) -> tuple[str, str]:
        capsys.readouterr()
        answer.main(["--max-new", "12", *argv])
        return capsys.readouterr()
    return run


@pytest.fixture
def published(tmp_path):
    """A published T5, without the list of tasks that a run has; `sizes` are those of its config."""
    def make(name: str = "published", pieces: bytes = VOCABULARY.pieces.model, **sizes) -> str:
        directory = tmp_path / name
        T5(T5Config(**{"vocab_size": tiny.V + 100, "d_model": 12, "d_head": 4, "d_ff": 16, "n_layers": 1, "n_heads": 2,
                       "eos_id": EOS} | sizes)).save_pretrained(directory)
        (directory / PIECES[pieces != VOCABULARY.pieces.model]).write_bytes(pieces)
        return str(directory)
    return make


# ---- what a known model writes


@pytest.fixture
def writes(tmp_path, monkeypatch):
    """A model that writes token j behind token i with the probability after[i][j] answers from now on."""
    def run(after: dict[int, dict[int, float]]) -> None:
        model = tiny.t5_that_writes(after, VOCABULARY.vocab_size, EOS)
        monkeypatch.setattr(answer, "open_model", lambda directory: (model, VOCABULARY))
        monkeypatch.chdir(tmp_path)
        Path("runs/minit5").mkdir(parents=True)
        Path("runs/minit5/best.pt").touch()
    return run


def ids(text: str) -> list[int]:
    return VOCABULARY.encode(text)[:-1]


def chain(text: str) -> dict[int, dict[int, float]]:
    """This text and the end, surely. ("with", "a" and "b" are words of one piece.)"""
    tokens = [0, *VOCABULARY.encode(text)]
    assert len(set(tokens)) == len(tokens), "what stands behind a token must be one token"
    return {i: {j: 1.0} for i, j in zip(tokens, tokens[1:])}


def test_an_answer_is_one_line(writes, asks):
    writes(chain("with a b"))
    equal(asks("which animal"), ("with a b\n", ""), "the text alone, without its end")
    for n, text in ((1, "with"), (2, "with a"), (3, "with a b")):
        equal(asks("which animal", "--max-new", str(n))[0], text + "\n", f"{n} tokens at most")


def test_the_answers_of_beams_with_their_scores(writes, asks):
    """P(a b) = .6 * .5, P(a) = .6 * .5, P(b) = .4 * .9: the logarithm divided by the length, the end counted."""
    [a], [b] = ids("a"), ids("with")
    writes({0: {a: 0.6, b: 0.4}, a: {b: 0.5, EOS: 0.5}, b: {EOS: 0.9, 9: 0.1}})
    out = asks("which", "--beams", "3")[0]
    equal(out, table(["score", "answer"], [["-0.44", "a with"], ["-0.51", "with"], ["-0.60", "a"]]) + "\n",
          "ln .27 / 3 = -.44, ln .36 / 2 = -.51, ln .3 / 2 = -.60")
    out = asks("which", "--beams", "3", "--length-penalty", "0")[0]
    equal(out, table(["score", "answer"], [["-1.02", "with"], ["-1.20", "a"], ["-1.31", "a with"]]) + "\n",
          "the plain logarithms prefer what is short")


def test_one_beam_always_takes_the_most_probable_token(writes, asks):
    [a], [b], [c] = ids("a"), ids("with"), ids("b")
    writes({0: {a: 1.0}, a: {EOS: 0.55, b: 0.45}, b: {c: 1.0}, c: {EOS: 1.0}})
    equal(asks("which")[0], "a\n", "as --help says, and as fine-tuning measures its scores; the end was more probable")


def test_one_gap(writes, asks):
    writes(chain("<extra_id_0> with a <extra_id_1>"))
    out, err = asks("the <extra_id_0> sees a dog")
    equal(out, table(["gaps", "text"], [["with a", "the with a sees a dog"]]) + "\n",
          "what fills the gap, and the whole text")
    equal(err, "", "no task is asked for, so nothing is to be warned of")


@pytest.mark.parametrize(("written", "gaps", "text"), [
    ("<extra_id_0> a <extra_id_1> b <extra_id_2>", "a | b", "the a sees b dog"),
    ("<extra_id_1> b <extra_id_2>", "- | b", "the <extra_id_0> sees b dog"),
    ("<extra_id_0> a with", "a with | -", "the a with sees <extra_id_1> dog"),
    ("with <extra_id_0> a <extra_id_2> b", "a | -", "the a sees <extra_id_1> dog"),
    ("with a", "- | -", "the <extra_id_0> sees <extra_id_1> dog"),
    ("", "- | -", "the <extra_id_0> sees <extra_id_1> dog"),
    ("<extra_id_1> b <extra_id_0> a", "a | b", "the a sees b dog"),
    ("<extra_id_0><extra_id_1> b", "- | b", "the sees b dog")])
def test_each_gap_and_the_whole_text(writes, asks, written, gaps, text):
    writes(chain(written))
    [_, row] = asks("the <extra_id_0> sees <extra_id_1> dog")[0].splitlines()
    equal(row.split("  "), [gaps, text], "a gap that was not answered stays as it is")


def test_the_gaps_stand_in_the_order_of_the_text(writes, asks):
    writes(chain("<extra_id_0> a <extra_id_1> b"))
    out = asks("the <extra_id_1> sees <extra_id_0> dog and <extra_id_1>")[0]
    equal(out.splitlines()[1], "b | a | b  the b sees a dog and b", "each by its number, as often as it comes")


def test_answers_that_differ_behind_the_last_gap_are_one(writes, asks):
    [a], [b], [c] = ids("a"), ids("with"), ids("b")
    writes({0: {X: 1.0}, X: {a: 0.7, c: 0.3}, a: {Y: 1.0}, c: {Y: 1.0}, Y: {EOS: 0.8, b: 0.2}, b: {EOS: 1.0}})
    rows = [["-0.14", "a", "the a dog"], ["-0.36", "b", "the b dog"]]
    equal(asks("the <extra_id_0> dog", "--beams", "4")[0], table(["score", "gaps", "text"], rows) + "\n",
          "ln(.7 * .8) / 4 = -.14, ln(.3 * .8) / 4 = -.36; the two with something behind <extra_id_1> are left out")


def test_answers_of_one_text_are_one(writes, asks):
    """Two ways to cut a text into pieces: the reader sees no difference."""
    whole, blank, letter = (next(i for i in range(tiny.V) if VOCABULARY.pieces.piece(i) == piece)
                            for piece in ("▁b", "▁", "b"))
    equal([VOCABULARY.decode(tokens) for tokens in ([whole], [blank, letter])], ["b", "b"], "or it shows nothing")
    writes({0: {whole: 0.6, blank: 0.4}, whole: {EOS: 1.0}, blank: {letter: 1.0}, letter: {EOS: 1.0}})
    answers = [line.split()[1] for line in asks("which", "--beams", "2")[0].splitlines()[1:]]
    equal(answers, ["b"], "once, with the better score")


# ---- what a run writes


def test_greedy_and_beams_are_those_of_the_writer(here, asks):
    model, vocabulary = open_model(here / "runs" / "minit5-tasks")
    source = vocabulary.encode(QUESTION)
    equal(asks(QUESTION)[0], vocabulary.decode(write(model, [source], 12)[0]) + "\n", "the most probable token, always")
    for n, penalty in ((2, 1.0), (3, 0.5)):
        found = answer_by_beam(model, source, 12, n, penalty)
        expected = [[f"{score:.2f}", vocabulary.decode(tokens)] for score, tokens in found]
        equal(asks(QUESTION, "--beams", str(n), "--length-penalty", str(penalty))[0],
              table(["score", "answer"], expected) + "\n", f"{n} beams, best first")


def test_without_a_model_the_newest_run_answers(here, asks, monkeypatch):
    opened = []
    monkeypatch.setattr(answer, "open_model", lambda path: opened.append(path) or open_model(path))
    asks(QUESTION)
    asks(QUESTION, "--model", "runs/minit5")
    equal(opened, [Path("runs/minit5-tasks"), Path("runs/minit5")], "the newest minit5*, or the one asked for")


# ---- warnings


def test_what_a_run_knows(here, published):
    equal([known_tasks(Path(path)) for path in ("runs/minit5", "runs/minit5-tasks", published())],
          [[], ["animal", "place"], None], "no task, two of them, nobody knows")


@pytest.mark.parametrize("text", ["animals: old dog", "Animal: old dog", "animal old dog", "animal:old dog", "old dog",
                                  " animal: old dog"])
def test_an_unknown_task_is_warned_of_and_answered(here, asks, text):
    out, err = asks(text)
    [line] = err.splitlines()
    says(line, "warning: ", "runs/minit5-tasks", '"animal: "', '"place: "')
    model, vocabulary = open_model(here / "runs" / "minit5-tasks")
    equal(out, vocabulary.decode(write(model, [vocabulary.encode(text)], 12)[0]) + "\n", "stdout holds the answer")


@pytest.mark.parametrize("text", [QUESTION, "place: ", "place: old <extra_id_0> dog", "old <extra_id_0> dog"])
def test_a_known_task_and_a_gap_are_not_warned_of(here, asks, text):
    equal(asks(text)[1], "", "nothing to say")


def test_pre_training_knows_gaps_only(here, asks):
    out, err = asks(QUESTION, "--model", "runs/minit5")
    [line] = err.splitlines()
    says(line, "warning: ", "runs/minit5", "<extra_id_0>", "no task")
    assert out.endswith("\n"), "it answers all the same"
    equal(asks("the <extra_id_0> dog", "--model", "runs/minit5")[1], "", "a gap is what it knows")


def test_of_a_published_model_nobody_knows_the_tasks(here, asks, published):
    for directory in (published(), "runs/minit5-tasks/published", "runs/minit5/published"):
        equal(asks("summarize: old dog", "--model", directory)[1], "", "no list, no warning")


# ---- published models


def test_a_vocabulary_without_sentinels(here, asks, capsys, published):
    directory = published(vocab_size=tiny.V)
    out, err = asks("the old dog", "--model", directory)
    equal((out.count("\n") > 0, err), (True, ""), "it works with text")
    line = refused(capsys, answer.main, "the <extra_id_0> dog", "--model", directory)
    says(line, "<extra_id_0>", "no such sentinel", "none at all")


def test_a_vocabulary_with_few_sentinels(here, asks, capsys, published):
    directory = published(vocab_size=tiny.V + 2)
    assert "gaps" in asks("the <extra_id_1> dog", "--model", directory)[0], "two are <extra_id_0> and <extra_id_1>"
    says(refused(capsys, answer.main, "<extra_id_2>", "--model", directory), "<extra_id_2>", "<extra_id_1>")


def test_rows_that_no_token_has(here, asks, published):
    """The published tables have 28 rows more than tokens; whatever is written, it can be shown."""
    directory = published(vocab_size=tiny.V + 128)
    equal(open_model(Path(directory))[1].sentinels[0], tiny.V + 99, "<extra_id_0> is the last token, not the last row")
    assert asks("the <extra_id_0> dog", "--model", directory)[0].startswith("gaps"), "an answer"


def test_pieces_as_published(here, asks, capsys, published):
    """spiece.model, with padding 0, the end 1, the unknown 2."""
    def pieces(**ends: int) -> bytes:
        model, texts = io.BytesIO(), iter(tiny.tasks().splitlines())
        spm.SentencePieceTrainer.train(sentence_iterator=texts, model_writer=model, vocab_size=60, bos_id=-1,
                                       hard_vocab_limit=False, minloglevel=2, **ends)
        return model.getvalue()

    own = pieces(pad_id=0, eos_id=1, unk_id=2)
    n = spm.SentencePieceProcessor(model_proto=own).vocab_size() + 100
    directory = published("good", own, vocab_size=n, eos_id=1)
    assert "old" in asks("old <extra_id_0> dog", "--model", directory)[0], "the text around the gap"
    for name, other in (("swapped", pieces(pad_id=1, eos_id=0, unk_id=2)), ("none", pieces(eos_id=1, unk_id=2))):
        line = refused(capsys, answer.main, "old", "--model", published(name, other, vocab_size=n, eos_id=1))
        says(line, name, "(0, 0, 1) of the model", "do not belong together")
    for start, end in ((2, 1), (0, 2)):
        other = published(f"{start}, {end}", own, vocab_size=n, start_id=start, eos_id=end)
        says(refused(capsys, answer.main, "old", "--model", other), f"(0, {start}, {end}) of the model", "(0, 0, 1) of")


# ---- what a user can get wrong


@pytest.mark.parametrize(("argv", "words"), [
    ([""], ["the text is empty"]), ([" \n"], ["the text is empty"]), ([], ["text", "--help"]),
    (["the", "dog"], ["dog", "--help"]), (["the <extra_id_100> dog"], ["<extra_id_100>", "<extra_id_99>"]),
    (["the", "--beams", "0"], ["beams = 0", "at least 1"]), (["the", "--max-new", "0"], ["max_new = 0", "from 1"]),
    (["the", "--model", "nowhere"], ["nowhere", "not a directory"]), (["the", "--model", "my.txt"], ["my.txt"]),
    (["the", "--model", "runs"], ["config.json"]), (["the", "--top-k", "1"], ["--top-k", "--help"])], ids=str)
def test_a_mistake_is_one_line(here, capsys, argv, words):
    says(refused(capsys, answer.main, *argv), *words)


@pytest.mark.parametrize("argv", [["the", "--length-penalty", "2000"], ["the", "--length-penalty", "-2000"],
                                  ["the", "--length-penalty", "nan", "--beams", "2"]], ids=" ".join)
def test_a_length_penalty_that_makes_no_sense(here, capsys, argv):
    says(refused(capsys, answer.main, *argv), "length_penalty")


def test_a_text_with_a_byte_that_is_no_character(here, capsys):
    """What Python makes of a stray byte on a Linux command line."""
    says(refused(capsys, answer.main, "the \udcff dog"), "UTF-8")


def test_no_run_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    says(refused(capsys, answer.main, "the dog"), "no trained model", "runs/minit5", "train one first")


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A copy of the run of tasks, to be damaged."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(folder / "runs" / "minit5-tasks", tmp_path / "runs" / "minit5-tasks"))


def test_a_run_that_was_stopped_before_its_first_evaluation(run, capsys):
    (run / "best.pt").unlink()
    says(refused(capsys, answer.main, "the", "--model", str(run)), "before its first evaluation", "--resume")


@pytest.mark.parametrize("name", ["model.json", "tokenizer.model", "best.pt"])
@pytest.mark.parametrize("damage", ["missing", "half"])
def test_a_damaged_run(run, capsys, name, damage):
    content = (run / name).read_bytes()
    (run / name).unlink()
    if damage == "half":
        (run / name).write_bytes(content[: len(content) // 2])
    words = {("best.pt", "missing"): "--resume", ("tokenizer.model", "half"): "tokenizer model"}
    says(refused(capsys, answer.main, QUESTION, "--model", str(run)), words.get((name, damage), name))


@pytest.mark.parametrize("content", ["[", "5"])
def test_a_damaged_list_of_tasks(run, capsys, content):
    (run / "tasks.json").write_text(content)
    says(refused(capsys, answer.main, QUESTION), "tasks.json")


def test_a_vocabulary_of_another_model(run, capsys):
    sizes = json.loads((run / "model.json").read_text()) | {"vocab_size": 299}
    (run / "model.json").write_text(json.dumps(sizes))
    T5(T5Config(**sizes)).save_pretrained(run / "published")
    says(refused(capsys, answer.main, "the", "--model", str(run / "published")), "300 pieces", "299", "do not belong")
    says(refused(capsys, answer.main, "the"), "best.pt", "another model")


def test_help_names_both_uses(capsys):
    with pytest.raises(SystemExit) as ended:
        answer.main(["--help"])
    shown = capsys.readouterr().out
    equal(ended.value.code, 0, "--help is no error")
    for part in ("translate English to Korean: ", "<extra_id_0>", "text", *(
            "--" + name.replace("_", "-") for name in AnswerConfig.__dataclass_fields__)):
        assert part in shown, f"{part} is not in --help"


def test_the_file_is_a_command(here, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["answer", ""])
    says(refused(capsys, lambda *_: runpy.run_path(answer.__file__, run_name="__main__")), "the text is empty")
