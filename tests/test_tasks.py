"""Tasks as text to text: files of them, what is held out, how often each is drawn, batches, limits."""

import hashlib
import random
from collections import Counter

import numpy as np
import pytest
import torch

from common.command import UserError
from minit5.objective import Pair
from minit5.tasks import Example, Mixture, encode, rates, read_examples, split
from minit5.vocabulary import SentinelVocabulary
from tests import tiny
from tests.explain import close, equal, same

VOCABULARY = SentinelVocabulary(tiny.tokenizer())


def refused(call, *arguments) -> str:
    """What a user is told, on one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value), f"expected one line, came {caught.value}"
    return str(caught.value)


# ---- the file


LINES = "copy\tthe old dog\tthe old dog\n번역\tthe dog: it sees\t개가 본다\n"
EXAMPLES = [Example("copy", "the old dog", "the old dog"), Example("번역", "the dog: it sees", "개가 본다")]


@pytest.mark.parametrize("content", [
    LINES, LINES.rstrip("\n"), LINES.replace("\n", "\r\n"), "\ufeff" + LINES, "\n \n" + LINES.replace("\n", "\n\t\n\n"),
    LINES.replace("\t", " \t "), "\ufeff\r\n" + LINES.replace("\n", " \r\n\r\n")],
    ids=["plain", "no last line break", "Windows", "byte-order mark", "blank lines", "blanks around", "all of it"])
def test_a_line_is_a_task_an_input_and_a_target(tmp_path, content):
    (tmp_path / "my.tsv").write_bytes(content.encode())
    equal(read_examples(tmp_path / "my.tsv"), EXAMPLES, "three columns, whatever the editor did to the lines")


def test_what_the_encoder_reads():
    equal(EXAMPLES[1].text, "번역: the dog: it sees", "the task is a prefix of the input")


def test_only_line_breaks_end_a_line(tmp_path):
    (tmp_path / "my.tsv").write_text("copy\ta\u2028b\x85c\x0bd\te\n", encoding="utf-8")
    equal(read_examples(tmp_path / "my.tsv"), [Example("copy", "a\u2028b\x85c\x0bd", "e")], "not all that Python's "
          "splitlines takes for one")


@pytest.mark.parametrize(("line", "words"), [
    ("copy\tthe dog", ("2 columns",)), ("copy\ta\tb\tc", ("4 columns",)), ("copy", ("1 column;",)),
    ("copy\t\tthe dog", ("3 columns", "empty")), ("copy\tthe dog\t", ("3 columns", "empty")),
    ("\tthe dog\tthe dog", ("3 columns", "empty")), ("copy\tthe dog\t \u3000", ("3 columns", "empty"))], ids=repr)
def test_a_line_that_is_none(tmp_path, line, words):
    (tmp_path / "my.tsv").write_text(f"{LINES}\n{line}\n{LINES}", encoding="utf-8")
    came = refused(read_examples, tmp_path / "my.tsv")
    for word in ("my.tsv, line 4:", "task<TAB>input<TAB>target", *words):
        assert word in came, f"expected {word!r}, came {came!r}"


@pytest.mark.parametrize(("content", "word"), [
    (None, "not there"), (b"", "empty"), (b" \n\t\n", "empty"), (b"\xef\xbb\xbf", "empty"),
    (LINES.encode() + b"\0", "binary"), (LINES.encode("cp949"), "UTF-8"), (LINES.encode("utf-16"), "UTF-8")], ids=repr)
def test_a_file_that_is_none(tmp_path, content, word):
    if content is not None:
        (tmp_path / "my.tsv").write_bytes(content)
    came = refused(read_examples, tmp_path / "my.tsv")
    assert "my.tsv" in came and word in came, f"expected {word!r}, came {came!r}"
    assert "is a directory" in refused(read_examples, tmp_path), "nor is a folder"


# ---- what is held out


def examples(**inputs) -> list[Example]:
    """Examples of each task with these inputs."""
    return [Example(task, str(i), f"{task} of {i}") for task, numbers in inputs.items() for i in numbers]


MANY = examples(a=range(25), b=range(100, 110), c=range(200, 202), d=range(300, 340), e=range(0, 25))


def inputs_of(chosen: list[Example], task: str) -> list[str]:
    return [e.source for e in chosen if e.task == task]


def test_one_input_in_ten_of_each_task_is_held_out():
    train, held_out = split(MANY)
    equal({task: len(inputs_of(held_out, task)) for task in "abcde"}, {"a": 2, "b": 1, "c": 1, "d": 4, "e": 2},
          "a tenth, and at least one")
    equal(sorted(map(str, train + held_out)), sorted(map(str, MANY)), "each example stands on one side")
    equal([e for e in MANY if e in train], train, "in the order of the file")
    train, held_out = split(MANY, one_in=4)
    equal({task: len(inputs_of(held_out, task)) for task in "abcd"}, {"a": 6, "b": 2, "c": 1, "d": 10}, "or a fourth")


def test_a_held_out_input_is_never_learned_from():
    """Neither in another task, nor with another target."""
    again = [Example("a", str(i), "another target") for i in range(25)]
    for file in (MANY, MANY + again, again + MANY[::-1]):
        train, held_out = split(file)
        both = {e.source for e in train} & {e.source for e in held_out}
        assert not both, f"the model has seen {both} in training, so it is judged on what it knows by heart"
    equal(len(inputs_of(held_out, "a")), 4, "two inputs with both of their targets")


def test_inputs_are_counted_not_lines():
    """One input with many targets is one input."""
    file = [Example("a", "0", str(i)) for i in range(50)] + examples(a=range(1, 10))
    equal(len({e.source for e in split(file)[1]}), 1, "one of ten")


def test_the_smallest_hashes_are_held_out():
    """So it is the same on every machine, and a line more or less changes little."""
    train, held_out = split(examples(a=range(40)))
    by_hash = sorted(map(str, range(40)), key=lambda source: hashlib.sha256(source.encode()).hexdigest())
    equal(set(inputs_of(held_out, "a")), set(by_hash[:4]), "SHA-256 of the input alone")
    file = MANY.copy()
    for seed in range(5):
        random.Random(seed).shuffle(file)
        equal([set(side) for side in split(file)], [set(side) for side in split(MANY)], "not of the order of the lines")


def test_tasks_that_share_inputs_hold_out_the_same_ones():
    _, held_out = split(examples(a=range(40), b=range(40)))
    equal(set(inputs_of(held_out, "a")), set(inputs_of(held_out, "b")), "or each would take a tenth from the other")


@pytest.mark.parametrize("file", [examples(a=[1]), examples(a=range(9), b=[5]),
                                  [Example("b", "1", "x"), Example("b", "1", "y"), *examples(a=range(9))]])
def test_a_task_with_one_input(file):
    came = refused(split, file)
    assert f'"{file[0].task if len(file) == 1 else "b"}"' in came and "one input" in came, f"which task; came {came!r}"


def test_a_task_that_has_nothing_to_learn_from():
    """Three tasks share their inputs in a ring: a holds out x, and c holds out y, so b has nothing left."""
    x, y, z = sorted("123", key=lambda source: hashlib.sha256(source.encode()).hexdigest())
    with pytest.raises(UserError, match='"b" has nothing to learn from'):
        split(examples(a=[x, z], b=[x, y], c=[y, z]))


# ---- how often each task is drawn


@pytest.mark.parametrize(("sizes", "temperature", "expected"), [
    ([100, 300], 1.0, [0.25, 0.75]), ([100, 900], 2.0, [0.25, 0.75]), ([1, 8, 27], 3.0, [1 / 6, 2 / 6, 3 / 6]),
    ([16, 81], 4.0, [0.4, 0.6]), ([7], 2.0, [1.0]), ([5, 5, 5, 5], 1.7, [0.25] * 4)])
def test_rates_by_hand(sizes, temperature, expected):
    close(torch.tensor(rates(sizes, temperature)), torch.tensor(expected, dtype=torch.float64), "size^(1 / T), summing "
          "to 1", rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 1.5, 2.0, 10.0])
def test_rates_by_the_formula_of_the_paper(temperature):
    """Section 3.5.2: each task's share, raised to the power 1 / T, and all of them scaled so that they sum to 1."""
    sizes = np.array([3, 1000, 40, 250_000])
    shares = sizes / sizes.sum()
    expected = shares ** (1 / temperature) / (shares ** (1 / temperature)).sum()
    close(torch.tensor(rates(sizes.tolist(), temperature)), torch.tensor(expected), "T-scaled mixing", rtol=1e-12)


@pytest.mark.parametrize("temperature", [1e9, float("inf")])
def test_at_a_large_temperature_all_tasks_are_equal(temperature):
    close(torch.tensor(rates([1, 50, 1_000_000], temperature)), torch.tensor([1 / 3] * 3, dtype=torch.float64),
          "whatever their sizes", rtol=1e-7)


# ---- batches


def pairs(*sizes: int) -> list[list[Pair]]:
    """Pairs of several tasks, told apart by their first token; no two are the same, and their lengths differ."""
    return [[([7 + task, *[20 + i] * (1 + i % 3), 6], [7 + task, 20 + i, 6]) for i in range(n)]
            for task, n in enumerate(sizes)]


def drawn(made: Mixture, steps: int) -> Counter:
    """How often each pair came: (task, which one) -> times."""
    times = Counter()
    for t in range(steps):
        b = made(t)
        mask = b.get("mask", torch.ones_like(b["ids"], dtype=torch.bool))
        for ids, real, answers in zip(b["ids"].tolist(), mask.tolist(), b["answers"].tolist()):
            pair = ([i for i, here in zip(ids, real) if here], answers)
            task, number = answers[0] - 7, answers[1] - 20
            equal(pair, made.tasks[task][number], "an input with the target of another, or of another task")
            times[task, number] += 1
    return times


@pytest.mark.parametrize("temperature", [1.0, 2.0, 100.0])
def test_tasks_are_drawn_at_their_rates_and_pairs_alike(temperature):
    sizes, n = (30, 5, 90), 300 * 32
    times = drawn(Mixture(pairs(*sizes), VOCABULARY, 32, temperature, seed=1), 300)
    equal(times.total(), n, "rows of the batch size")
    for task, (size, rate) in enumerate(zip(sizes, rates(sizes, temperature))):
        came = [times[task, i] for i in range(size)]
        for name, count, p in (("all", sum(came), rate), ("the rarest pair", min(came), rate / size),
                               ("the most frequent pair", max(came), rate / size)):
            far = 4 * (n * p * (1 - p)) ** 0.5  # four standard deviations
            assert abs(count - n * p) < far, f"of {size}, {name}: {count} times; expected {n * p:.0f}"


def test_a_batch_is_a_pure_function_of_seed_and_number():
    made = Mixture(pairs(9, 4), VOCABULARY, 8, 2.0, seed=3)
    for t in (5, 0, 5, 7, 0):
        torch.manual_seed(t)  # global random numbers must play no part
        np.random.seed(t)
        again = Mixture(pairs(9, 4), VOCABULARY, 8, 2.0, seed=3)(t)
        for name, tensor in made(t).items():
            same(tensor, again[name], f"batch {t} depends on what was asked before: no run can be resumed")
    batches = {str(Mixture(pairs(9, 4), VOCABULARY, 8, 2.0, seed)(t)["answers"].tolist()) for seed in (1, 2)
               for t in (0, 1, 2)}
    equal(len(batches), 6, "another one for each seed and each number")


def test_the_decoder_begins_with_padding():
    b = Mixture(pairs(9, 4), VOCABULARY, 8, 2.0, seed=3)(0)
    equal(b["decoder_ids"][:, 0].tolist(), [VOCABULARY.pad_id] * 8, "as published T5s do")
    same(b["decoder_ids"][:, 1:], b["answers"][:, :-1], "and reads the answers one place later")


# ---- numbers, and limits


def tokens(text: str) -> int:
    return len(VOCABULARY.encode(text))


def test_examples_as_numbers():
    [(source, target)] = encode([Example("copy", "the <extra_id_0> dog", "나 dog")], VOCABULARY, 99, 99)
    equal((source, target), (VOCABULARY.encode("copy: the <extra_id_0> dog"), VOCABULARY.encode("나 dog")),
          "prefix and input to read, the target to write, each with its end")


LONG = [Example("copy", "the old dog", "a"), Example("copy", "the old dog sees", "the cat"), Example("say", "a", "no")]
INPUT, TARGET = tokens("copy: the old dog sees"), tokens("the cat")


def test_exactly_at_the_limit():
    equal(len(encode(LONG, VOCABULARY, INPUT, TARGET)), 3, "a limit is what still passes, its end token included")


@pytest.mark.parametrize(("limits", "words"), [
    ((INPUT - 1, TARGET), ("1 of 3 inputs", f"more than {INPUT - 1} tokens", '"copy: the old dog sees',
                           f"--max-input {INPUT}")),
    ((INPUT, TARGET - 1), ("1 of 3 targets", f"more than {TARGET - 1} tokens", '"the cat', f"--max-target {TARGET}")),
    ((2, TARGET), ("3 of 3 inputs", '"copy: the old dog"', f"--max-input {INPUT}"))])
def test_what_is_too_long(limits, words):
    came = refused(encode, LONG, VOCABULARY, *limits)
    for word in words:
        assert word in came, f"how many, the first one, and the flag that takes all: expected {word!r}, came {came!r}"


def test_a_long_text_is_not_shown_whole():
    came = refused(encode, [Example("copy", "dog " * 500, "a")], VOCABULARY, 20, 20)
    assert '"copy: dog dog' in came and len(came) < 200, f"its begin is enough, came {came!r}"
