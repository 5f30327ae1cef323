"""`python -m minigpt.sample`: prompts, text that appears as it is written, where it ends, and whose models write."""

import contextlib
import io
import os
import random
import sys

import pytest
import torch

from common.bpe import ByteBPE
from common.characters import Characters
from common.corpus import Corpus
from common.generate import Sampling, generate, greedy
from minigpt import GPT, GPTConfig, Llama, LlamaConfig, sample, texts
from minigpt.pretrained import begin, open_model
from minigpt.sample import write
from tests import tiny
from tests.explain import equal
from tests.oracle import oracle

BYTES = ByteBPE.train(["a"], 257)  # every byte is a token, so a Korean syllable is three
LETTERS = Characters.of(["abcdefghijklmnopqrstuvwxyz .!\n나무"])
PIECES = tiny.tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a trained run."""
    made = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        tiny.train_gpt("--max-len", "32")
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def says(capsys):
    """What the command prints."""
    def run(*argv: str) -> str:
        capsys.readouterr()
        sample.main(["--max-new", "25", *argv])
        return capsys.readouterr().out
    return run


# ---- piece by piece, with a model that follows a script


def model_for(vocabulary, max_len: int = 64) -> GPT:
    return GPT(GPTConfig(vocabulary.vocab_size, 8, 1, 1, max_len=max_len, eos_id=vocabulary.eos_id))


@pytest.fixture
def scripted(monkeypatch):
    """The pieces of a continuation that is known beforehand; `asked` counts the tokens that were made."""
    asked = []

    def pieces(vocabulary, ids, stop=None, prompt="a"):
        def stream(model, prompts, max_new, choose, eos_id):
            for token in ids[:max_new]:
                asked.append(token)
                yield {0: token}

        asked.clear()
        monkeypatch.setattr(sample, "stream", stream)
        return write(model_for(vocabulary), vocabulary, vocabulary.encode(prompt), 10_000, greedy,
                     [] if stop is None else [stop])

    pieces.asked = asked
    return pieces


@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES, PIECES], ids=["characters", "bytes", "pieces"])
@pytest.mark.parametrize("text", ["", "bc", " the old dog sees a bird .\n\nnext", "나무 나무 b 나", "나"])
def test_the_pieces_together_are_the_text(scripted, vocabulary, text):
    ids = vocabulary.encode("a" + text)[len(vocabulary.encode("a")):]
    expected = vocabulary.decode(vocabulary.encode("a") + ids)[1:]
    equal("".join(scripted(vocabulary, ids)), expected, "nothing is lost and nothing comes twice")


@pytest.mark.parametrize("vocabulary", [BYTES, PIECES], ids=["bytes", "pieces"])
def test_whatever_the_model_writes_the_pieces_are_its_text(scripted, vocabulary):
    """Random tokens: half characters, bytes that are none, blanks."""
    draw = random.Random(4)
    for _ in range(300):
        ids = [draw.randrange(7, vocabulary.vocab_size - 1) for _ in range(12)]
        whole = vocabulary.decode(vocabulary.encode("a") + ids)
        equal("a" + "".join(scripted(vocabulary, ids)), whole, "what was shown must never have to be taken back")


def test_text_appears_as_soon_as_it_is_sure(scripted):
    seen = []
    for piece in scripted(LETTERS, LETTERS.encode("dog")):
        seen.append((piece, len(scripted.asked)))
    equal(seen, [("d", 1), ("o", 2), ("g", 3), ("", 3)], "a piece for each token, before the next one is made")


@pytest.mark.parametrize("vocabulary", [BYTES, PIECES], ids=["bytes", "pieces"])
def test_a_korean_character_is_never_shown_half(scripted, vocabulary):
    text = "나무는 학교에 🙂"
    ids = vocabulary.encode("a" + text)[len(vocabulary.encode("a")):]
    shown = [piece for piece in scripted(vocabulary, ids) if piece]
    assert not any("\ufffd" in piece for piece in shown), f"half a character was shown: {shown}"
    equal("".join(shown), text, "and each appears once it is whole")
    assert len(shown) > 8, f"each by itself, not all at the end: {shown}"


def test_bytes_that_are_no_character_are_shown_as_such(scripted):
    [lone] = [i for i in range(256) if BYTES.decode_bytes([i]) == b"\x82"]
    equal("".join(scripted(BYTES, [lone, *BYTES.encode("b")])), "\ufffdb", "what can become no character any more")


# ---- where it ends


@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES, PIECES], ids=["characters", "bytes", "pieces"])
def test_the_end_token_ends_the_text_and_is_not_shown(scripted, vocabulary):
    ids = vocabulary.encode("ab")[len(vocabulary.encode("a")):]
    rest = vocabulary.encode("zz")
    came = "".join(scripted(vocabulary, [*ids, vocabulary.eos_id, *rest]))
    equal(came, vocabulary.decode(vocabulary.encode("a") + ids)[1:], "the text up to the end, without its name")
    assert len(scripted.asked) <= len(ids) + 1, "nothing is written behind the end"


@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES], ids=["characters", "bytes"])
@pytest.mark.parametrize(("text", "stop", "expected"), [
    ("bc.d", ".", "bc"), ("bc\n\nde", "\n\n", "bc"), ("bc\nd\n\ne", "\n\n", "bc\nd"), (".bc", ".", ""),
    ("bcd", "bcd", ""), ("bcd", "xyz", "bcd"), ("bc.", "..", "bc."), ("babac", "bac", "ba"), ("nonono!", "no!", "nono"),
    ("bc the end", "the end", "bc "), ("bc the enough", "the end", "bc the enough"),
    ("b나무c", "나무", "b"), ("b나나무c", "나무", "b나"), ("b나.c", "나무", "b나.c"), ("b\n나c", "\n나", "b"),
    ("b나", "나무", "b나"), ("b나!나무", "나!나무", "b"),
], ids=repr)
def test_it_ends_before_the_stop_text(scripted, vocabulary, text, stop, expected):
    ids, shown = vocabulary.encode(text), ""
    for piece in scripted(vocabulary, ids, stop):
        shown += piece
        assert expected.startswith(shown), f"{shown!r} was shown; no part of {stop!r} may be, expected {expected!r}"
    equal(shown, expected, f"the text up to {stop!r}; all of it when that never comes")
    if stop in text:
        end = len(vocabulary.encode(text[:text.index(stop) + len(stop)]))
        equal(len(scripted.asked), end, "nothing is made behind it")


def test_a_stop_text_inside_the_prompt_does_not_end_it(scripted):
    equal("".join(scripted(LETTERS, LETTERS.encode("cd.e"), ".", prompt="a.b")), "cd", "only what is written counts")
    equal("".join(scripted(LETTERS, LETTERS.encode(".e"), "..", prompt="a.")), ".e", "nor does half of it")


def test_pieces_with_a_stop_text_in_the_middle_of_a_piece(scripted):
    ids = PIECES.encode("a the old dog")[len(PIECES.encode("a")):]
    for stop in ("ld", "e o", "dog", " "):
        expected = " the old dog".partition(stop)[0]
        equal("".join(scripted(PIECES, ids, stop)), expected, f"what the last piece holds before {stop!r} is shown")


def test_it_writes_as_many_tokens_as_it_was_asked_for():
    model = model_for(LETTERS)
    for n in (1, 2, 9):
        rng = torch.Generator().manual_seed(1)
        expected = generate(model, [LETTERS.encode("abc")], n, Sampling(rng=rng), LETTERS.eos_id)[0]
        rng.manual_seed(1)
        came = "".join(write(model, LETTERS, LETTERS.encode("abc"), n, Sampling(rng=rng)))
        equal(came, LETTERS.decode(expected), f"max_new = {n}")


@pytest.mark.parametrize("n", [15, 16, 17, 60])
def test_beyond_the_context_the_writing_goes_on(n):
    model = model_for(LETTERS, max_len=16)
    torch.nn.init.normal_(model.position.weight)
    model.config = GPTConfig(**{**vars(model.config), "eos_id": None})  # it never ends by itself
    expected = LETTERS.decode(generate(model, [LETTERS.encode("abc")], n, greedy)[0])
    equal("".join(write(model, LETTERS, LETTERS.encode("abc"), n, greedy)), expected, "the oldest text is forgotten")


# ---- where it begins


def test_what_stands_before_the_first_word():
    gpt = model_for(LETTERS)
    llama = Llama(LlamaConfig(40, 8, 1, 1, d_ff=8, max_len=16, bos_id=1, eos_id=2))
    ours = Llama(LlamaConfig(40, 8, 1, 1, d_ff=8, max_len=16, bos_id=0, eos_id=0))
    equal(begin(gpt, LETTERS, None), [0], "without a prompt: what stands before any text, its end")
    equal(begin(gpt, LETTERS, "ab"), LETTERS.encode("ab"), "GPT-2 reads a prompt as it is")
    equal(begin(llama, LETTERS, None), [1], "LLaMA: its begin")
    equal(begin(llama, LETTERS, "ab"), [1, *LETTERS.encode("ab")], "and that before every prompt")
    equal(begin(ours, LETTERS, "ab"), LETTERS.encode("ab"), "ours reads an end only where nothing else is")


def test_a_prompt_on_the_command_line(here, says):
    out = says("the old dog")
    assert out.startswith("the old dog") and out.endswith("\n"), f"prompt, continuation, one line break: {out!r}"
    assert len(out) > len("the old dog\n") + 5, f"nothing was written: {out!r}"


def test_the_same_prompt_from_a_file_and_from_standard_input(here, says, monkeypatch, tmp_path):
    expected = says("the old dog")
    for content in (b"\xef\xbb\xbfthe old dog", b"the old dog\n"):
        (tmp_path / "prompt.txt").write_bytes(content)
        equal(says("--file", str(tmp_path / "prompt.txt")), expected, "a file, as editors write it")
    for typed in ("the old dog\n", "the old dog"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        equal(says("-"), expected, "standard input without the line break that echo adds")


def test_only_one_line_break_of_standard_input_is_taken_off(here, says, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the dog\n\n"))
    assert says("-").startswith("the dog\n"), "the others are part of the prompt"


def test_without_a_prompt_the_model_begins_by_itself(tmp_path, monkeypatch, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(texts, "load_corpus", lambda: Corpus(tiny.documents(54), tiny.documents(6, seed=2)))
    at = tiny.GPT_FLAGS.index("--corpus")  # of several documents, not of one file
    monkeypatch.setattr(tiny, "GPT_FLAGS", [*tiny.GPT_FLAGS[:at], *tiny.GPT_FLAGS[at + 2:]])
    tiny.train_gpt()
    out = says("--max-new", "40")
    assert len(out) > 20 and "[" not in out and "</s>" not in out, f"text without special tokens, came {out!r}"
    model, vocabulary = open_model(tmp_path / "runs" / "minigpt")
    rng = torch.Generator().manual_seed(0)
    ids = generate(model, [[vocabulary.eos_id]], 40, Sampling(0.8, None, 0.95, 1.0, rng), vocabulary.eos_id)[0]
    equal(out, vocabulary.decode([vocabulary.eos_id, *ids]).removesuffix("</s>") + "\n", "from the end token on")


def test_a_model_of_one_long_text_wants_a_prompt(here, capsys):
    """Its text had no begin and no end, so no token stands for them."""
    with pytest.raises(SystemExit) as ended:
        sample.main([])
    equal((ended.value.code, "give a prompt" in capsys.readouterr().err), (2, True), "one line that says what to do")


def test_the_first_of_several_stop_texts_ends_it(here, says):
    plain = says("the", "--max-new", "60").removesuffix("\n")
    stops = plain[20:23], plain[12:15], "no such text"
    flags = [flag for stop in stops for flag in ("--stop", stop)]
    first = min(plain.index(stop, 3) for stop in stops[:2])
    equal(says("the", "--max-new", "60", *flags), plain[:first] + "\n", "each --stop counts, and the earliest ends it")


def test_a_run_that_was_stopped_before_its_first_evaluation(here, tmp_path, capsys):
    for name in ("config.json", "last.pt", "tokenizer.model"):
        (tmp_path / name).write_bytes((here / "runs" / "minigpt" / name).read_bytes())
    with pytest.raises(SystemExit):
        sample.main(["the", "--model", str(tmp_path)])
    error = capsys.readouterr().err
    assert "--resume" in error and len(error.splitlines()) == 1, f"say how to go on, came {error!r}"


def test_a_byte_level_vocabulary_of_another_model_is_refused(tmp_path, capsys):
    """Qwen and LLaMA 3 have a vocab.json as well, and cut words by other rules: better no ids than wrong ones."""
    oracle("safetensors")
    bpe = ByteBPE.train(["the old dog sees a bird"], 270)
    bpe.save(tmp_path)
    Llama(LlamaConfig(bpe.vocab_size, 12, 1, 2, d_ff=16, max_len=20)).save_pretrained(tmp_path)
    with pytest.raises(SystemExit):
        sample.main(["the", "--model", str(tmp_path)])
    error = capsys.readouterr().err
    assert "no vocabulary known here" in error and len(error.splitlines()) == 1, f"came {error!r}"


def test_text_appears_on_the_screen_while_it_is_written(here, monkeypatch):
    """What is on the screen is noted each time the model is asked for one more token."""
    screen, seen = [], []

    class Screen(io.StringIO):
        def flush(self):
            screen.append(self.getvalue())

    real = sample.stream

    def slow(*arguments):
        for step in real(*arguments):
            seen.append(screen[-1] if screen else "")
            yield step

    monkeypatch.setattr(sample, "stream", slow)
    with contextlib.redirect_stdout(Screen()):
        sample.main(["the old", "--max-new", "12", "--seed", "3"])
    assert seen[1].startswith("the old"), "the prompt comes with the first token, once nothing can be refused any more"
    assert len(set(seen)) > 6, f"each print wants flush=True, or all appears at the end; came {seen}"


# ---- draws


def test_a_seed_repeats_and_another_one_does_not(here, says):
    a, b, c = says("the", "--seed", "1"), says("the", "--seed", "1"), says("the", "--seed", "2")
    equal(a, b, "all draws come from --seed")
    assert a != c, "--seed has no effect"
    torch.manual_seed(99)
    equal(says("the", "--seed", "1"), a, "torch's own random state plays no part")


def test_several_samples_are_runs_with_seeds_one_higher(here, says):
    alone = [says("the", "--seed", str(seed)) for seed in (5, 6, 7)]
    equal(len(set(alone)), 3, "each is another text")
    equal(says("the", "--seed", "5", "--samples", "3"), "\n---\n".join(text[:-1] for text in alone) + "\n",
          "--samples 3 is seeds 5, 6, 7, one under the other")


def test_the_settings_of_the_draws_reach_the_model(here, says):
    plain = says("the")
    greedily = says("the", "--top-k", "1")
    equal(says("the", "--top-k", "1", "--seed", "8"), greedily, "only one token is left to draw")
    equal(says("the", "--top-p", "0.0001", "--seed", "8"), greedily, "--top-p")
    equal(says("the", "--temperature", "0.001", "--seed", "8"), greedily, "--temperature")
    assert says("the", "--top-k", "1", "--repetition-penalty", "5") != greedily, "--repetition-penalty has no effect"
    stop = plain[6:9]
    equal(says("the", "--stop", stop), plain[: plain.index(stop, 3)] + "\n", "--stop")
    assert len(says("the", "--max-new", "3")) < len(plain), "--max-new has no effect"


# ---- whose models


def test_the_newest_run_writes(here, says):
    tiny.train_gpt("--max-len", "32", "--seed", "3", "--name", "minigpt-b")
    old, new = here / "runs" / "minigpt", here / "runs" / "minigpt-b"
    texts = {run: says("the old", "--model", str(run)) for run in (old, new)}
    assert texts[old] != texts[new], "the two runs should write differently, or the test shows nothing"
    for newest, other in ((new, old), (old, new)):
        os.utime(other / "best.pt", (1000, 1000))
        os.utime(newest / "best.pt", (2000, 2000))
        equal(says("the old"), texts[newest], "the run saved last, not the last by name")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A random GPT-2 with a vocabulary of its own, in the Hugging Face layout."""
    made = tmp_path_factory.mktemp("published")
    vocabulary = ByteBPE.train([p for document in tiny.documents(20) for p in document], 300)
    torch.manual_seed(2)
    model = GPT(GPTConfig(300, 16, 2, 2, max_len=24, eos_id=vocabulary.eos_id))
    torch.nn.init.normal_(model.token.weight)
    model.save_pretrained(made)
    vocabulary.save(made)
    return made


def test_a_published_gpt2_writes(published, says):
    model, vocabulary = open_model(published)
    equal((type(model), type(vocabulary), model.training), (GPT, ByteBPE, False), "vocab.json and merges.txt")
    out = says("the old", "--model", str(published), "--top-k", "1", "--max-new", "12")
    ids = generate(model, [vocabulary.encode("the old")], 12, greedy, vocabulary.eos_id)[0]
    ids = ids[:-1] if ids[-1] == vocabulary.eos_id else ids
    equal(out, "the old" + vocabulary.decode(ids) + "\n", "as the model and its vocabulary say")


def test_beyond_the_context_from_the_command_line(published, says):
    out = says("the old", "--model", str(published), "--max-new", "80", "--seed", "4")
    assert out.startswith("the old") and len(out) > 80, f"80 tokens with a context of 24, came {out!r}"


def test_stories260k_tells_its_story(shared_data, says):
    folder = shared_data / "stories260K"
    expected = (folder / "EXPECTED.txt").read_text(encoding="utf-8").strip()
    out = says("--model", str(folder), "--top-k", "1", "--max-new", "120").strip()
    assert len(out) > 200 and expected.startswith(out), f"expected the text that its author published, came {out!r}"
    again = says(out[:60], "--model", str(folder), "--top-k", "1", "--max-new", "30").strip()
    assert again.startswith(out[:60]) and len(again) > 80, f"from a prompt as well, came {again!r}"


def test_what_a_run_published_writes_what_the_run_writes(here, says):
    run = here / "runs" / "minigpt"
    equal(says("the old", "--model", str(run / "published"), "--top-k", "1"), says("the old", "--top-k", "1"),
          "our own tokenizer.model is read as ours: a blank goes before the first word")


def test_the_model_writes_with_dropout_off(tmp_path, monkeypatch, says):
    monkeypatch.chdir(tmp_path)
    tiny.train_gpt("--recipe", "gpt2", "--dropout", "0.9", "--steps", "1")
    equal(says("the", "--top-k", "1"), says("the", "--top-k", "1", "--seed", "2"), "dropout was on while writing")


def test_help_lists_every_setting(capsys):
    with pytest.raises(SystemExit) as ended:
        sample.main(["--help"])
    equal(ended.value.code, 0, "--help is no error")
    shown = capsys.readouterr().out
    for name in ("prompt", *("--" + n.replace("_", "-") for n in sample.SampleConfig.__dataclass_fields__)):
        assert name in shown, f"{name} is not in --help"


def test_the_command_runs_in_a_process_of_its_own_on_a_plain_terminal(folder):
    """ascii: a Windows pipe knows no 한; that must not end the command."""
    done = tiny.run_in_process("minigpt.sample", "한 dog", "--max-new", "5", folder=folder, PYTHONIOENCODING="ascii")
    equal(done.returncode, 0, f"it ended with an error: {done.stderr.decode()[-500:]}")
    assert b"? dog" in done.stdout, f"better ? than an end, came {done.stdout!r}"
