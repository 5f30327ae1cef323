"""`python -m minit5.span_corruption`: the labels fill the gaps of the input, the flags count, mistakes are one line."""

import re

import pytest

from minit5 import span_corruption
from tests.explain import equal
from tests.test_bad_input import refused, says
from tests.tiny import run_in_process

PAPER = "Thank you for inviting me to your party last week."
LONG = " ".join(f"word{i}" for i in range(20))
KOREAN = "나는 오늘 친구와 함께 학교에 가서 밥을 먹었다"
SENTINEL = re.compile(r"<extra_id_(\d+)>")


@pytest.fixture
def shown(capsys):
    """The four rows of the table: name -> (number of tokens, tokens)."""
    def show(*argv: str) -> dict[str, tuple[int, list[str]]]:
        span_corruption.main(list(argv))
        rows = re.findall(r"^(text|encoder input|decoder input|labels) +(\d+)  (.*)$", capsys.readouterr().out, re.M)
        return {name: (int(n), tokens.split()) for name, n, tokens in rows}
    return show


@pytest.mark.parametrize("text", [PAPER, LONG, KOREAN, "one two three four"])
@pytest.mark.parametrize("seed", ["0", "1", "2", "3"])
def test_the_labels_fill_the_gaps_of_the_input(shown, text, seed):
    rows = shown(text, "--seed", seed, "--noise", "0.3")
    equal(list(rows), ["text", "encoder input", "decoder input", "labels"], "from the text to what the model learns")
    for name, (n, tokens) in rows.items():
        equal(n, len(tokens), f"{name}: how many tokens stand there")
    _, source = rows["encoder input"]
    _, labels = rows["labels"]
    spans = SENTINEL.split(" ".join(labels[:-1]))  # "", "0", its span, "1", its span ...
    put_back = [spans[2 * int(found[1]) + 2] if (found := SENTINEL.fullmatch(word)) else word for word in source[:-1]]
    equal(" ".join(put_back).split(), text.split(), "each <extra_id_k> of the input becomes what stands behind it")
    equal(" ".join(rows["text"][1]), text, "the text as it was given")
    equal(spans[1::2], [str(k) for k in range(len(spans) // 2)], "sentinels are numbered from 0 on, from left to right")
    equal((source[-1], labels[-1], spans[-1]), ("</s>", "</s>", ""), "a last sentinel ends the labels; </s> ends both")


def test_the_decoder_reads_the_labels_one_place_later(shown):
    rows = shown(PAPER)
    equal(rows["decoder input"][1], ["[PAD]", *rows["labels"][1][:-1]], "it begins with [PAD], and never reads its end")


@pytest.mark.parametrize(("flags", "n_out", "n_spans"), [
    ([], 3, 1), (["--noise", "0.5", "--mean-span", "2"], 10, 5), (["--noise", "0.3", "--mean-span", "1"], 6, 6),
    (["--noise", "0.01"], 1, 1), (["--noise", "0.99", "--mean-span", "19"], 19, 1)])
def test_as_much_is_taken_out_as_asked_for(shown, flags, n_out, n_spans):
    rows = shown(LONG, *flags)
    equal({name: n for name, (n, _) in rows.items()},
          {"text": 20, "encoder input": 20 - n_out + n_spans + 1, "decoder input": n_out + n_spans + 2,
           "labels": n_out + n_spans + 2}, f"{n_out} of 20 words in {n_spans} spans, a sentinel for each, the ends")


def test_the_seed_decides(shown):
    first = shown(LONG, "--seed", "5")
    equal(shown(LONG, "--seed", "5"), first, "the same seed, the same spans")
    others = {" ".join(shown(LONG, "--seed", str(seed))["encoder input"][1]) for seed in range(30)}
    assert len(others) > 10, f"3 of 20 words can be taken out in 18 ways; 30 seeds gave {len(others)}"
    equal(shown(LONG, "--seed", "0"), shown(LONG), "the default seed is 0")


def test_the_command_of_the_docstring_runs(tmp_path, capsys):
    command = f'python -m minit5.span_corruption "{PAPER}"'
    assert command in span_corruption.__doc__, f"expected {command} in the docstring, which --help shows"
    span_corruption.main([PAPER])
    expected = capsys.readouterr().out
    done = run_in_process("minit5.span_corruption", PAPER, folder=tmp_path, PYTHONIOENCODING="utf-8")
    equal((done.returncode, done.stdout.decode().splitlines()), (0, expected.splitlines()), done.stderr.decode())
    equal(list(tmp_path.iterdir()), [], "a look at an example leaves nothing behind")


def test_help_shows_every_field_with_its_default(capsys):
    with pytest.raises(SystemExit) as ended:
        span_corruption.main(["--help"])
    equal(ended.value.code, 0, "asking for help is no mistake")
    out = capsys.readouterr().out
    for flag, default in (("--noise", "0.15"), ("--mean-span", "3.0"), ("--seed", "0")):
        assert re.search(rf"  {flag} [A-Z]+\s[^-]*\(default:\s+{default}\)", out), f"expected {flag} {default} in {out}"


@pytest.mark.parametrize(("argv", "expected"), [
    ([], ["text", "required"]), ([""], ["empty"]), (["  \n\t "], ["empty"]), (["one two three"], ["3", "too short"]),
    (["a b c d e", "--mean-span", "5"], ["5", "too short"]),
    ([" ".join("a" * 202), "--noise", "0.5", "--mean-span", "1"], ["101 spans", "102 sentinels", "has 100"]),
    ([PAPER, "--noise", "0"], ["noise", "0.01 to 0.99"]), ([PAPER, "--noise", "1"], ["noise", "0.01 to 0.99"]),
    ([PAPER, "--noise", "nan"], ["noise", "nan"]), ([PAPER, "--noise", "15%"], ["noise", "15%"]),
    ([PAPER, "--mean-span", "0.5"], ["mean_span", "at least 1"]), ([PAPER, "--mean-span", "inf"], ["inf"]),
    ([PAPER, "--seed", "-1"], ["seed"]), ([PAPER, "--rate", "0.15"], ["--rate"]), ([PAPER, "more"], ["more"])])
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, argv, expected):
    monkeypatch.chdir(tmp_path)
    says(refused(capsys, span_corruption.main, *argv), *expected)


def test_the_longest_text_that_the_sentinels_cover(shown):
    rows = shown(" ".join("a" * 198), "--noise", "0.5", "--mean-span", "1")
    equal(rows["labels"][1][-2:], ["<extra_id_99>", "</s>"], "99 spans, and the last of 100 sentinels ends the labels")
