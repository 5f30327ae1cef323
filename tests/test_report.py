"""What a run tells its reader: metrics, tables, verdicts, curves."""

import sys

import pytest

from common.report import Metrics, add_sample, draw_curves, table, verdict
from tests.explain import equal
from tests.oracle import oracle


@pytest.fixture
def metrics(tmp_path) -> Metrics:
    made = Metrics(tmp_path / "metrics.jsonl")
    for step in (1, 10, 20):
        made.write(step, loss=5.0 / step)
    return made


def test_metrics_come_back_as_they_were_written(metrics):
    equal(metrics.read(), [{"step": 1, "loss": 5.0}, {"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}],
          "one JSON object a line, in order, the step first")


def test_a_run_without_metrics_has_none(tmp_path):
    equal(Metrics(tmp_path / "metrics.jsonl").read(), [], "a file that is not there yet is no error")


def test_a_torn_last_line_is_left_out(metrics):
    with metrics.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 30, "lo')  # the machine lost its power here
    equal([line["step"] for line in metrics.read()], [1, 10, 20], "the torn line cannot be read; the others can")


def test_a_resumed_run_drops_what_it_will_do_again(metrics):
    metrics.keep_until(10)
    metrics.write(20, loss=9.0)
    equal([(line["step"], line["loss"]) for line in metrics.read()], [(1, 5.0), (10, 0.5), (20, 9.0)],
          "lines up to the step are kept, that step included")


def test_dropping_keeps_the_old_file_when_it_cannot_be_written(metrics, monkeypatch):
    before = metrics.path.read_text(encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(Exception, match="No space left"):
        metrics.keep_until(1)
    equal(metrics.path.read_text(encoding="utf-8"), before, "write beside the file and rename: see checkpoint.py")


def test_samples_stand_one_behind_the_other_and_those_done_again_once(tmp_path):
    path = tmp_path / "samples.txt"
    for step, text in ((1, "a\nb"), (10, "c"), (20, "lost"), (30, "lost"), (20, "d")):  # killed and resumed behind 10
        add_sample(path, step, text)
    equal(path.read_text(encoding="utf-8"), "--- step 1\na\nb\n\n--- step 10\nc\n\n--- step 20\nd\n\n",
          "what a resumed run does again takes the place of what was there, and of all behind it")


def test_a_table_has_columns_of_equal_width():
    equal(table(["piece", "p"], [["the", 0.5], ["in", 0.125]]), "piece  p\nthe    0.5\nin     0.125",
          "a column is as wide as its widest cell; two blanks between columns; none at the end of a line")


def test_korean_letters_are_two_columns_wide():
    lines = table(["a", "b"], [["한국", "x"], ["abcd", "y"]]).splitlines()
    equal(lines, ["a     b", "한국  x", "abcd  y"], "a terminal shows 한 as wide as two Latin letters")


def test_a_table_without_rows_is_its_header():
    equal(table(["a", "bc"], []), "a  bc", "nothing to show is no error")


@pytest.mark.parametrize(("value", "place"), [(0.29, "below what is expected"), (0.30, "as expected"),
                                              (0.45, "as expected"), (0.46, "above what is expected")])
def test_verdict(value, place):
    equal(verdict("top-1", value, 0.3, 0.45), f"top-1: {value:.3f}, expected 0.300 to 0.450: {place}",
          "both ends count as expected")


def test_curves_are_drawn_into_a_file(metrics, tmp_path):
    oracle("matplotlib")
    said = draw_curves(metrics, {"training": ["loss", "never_measured"], "other": ["loss"]}, tmp_path / "curve.png")
    equal((tmp_path / "curve.png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n", "a PNG, also where a value is missing")
    assert str(tmp_path / "curve.png") in said, f"expected the path in the line that is printed, came {said}"


def test_without_matplotlib_the_line_says_how_to_get_it(metrics, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    said = draw_curves(metrics, {"training": ["loss"]}, tmp_path / "curve.png")
    assert "pip install" in said and "plots" in said, f"expected how to install it, came {said}"
    assert not (tmp_path / "curve.png").exists(), "nothing can have been drawn"
