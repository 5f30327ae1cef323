"""Settings: a dataclass, a command line and a JSON file that hold the same values, and refuse all others."""

import dataclasses
import json
import math

import pytest

from common.command import UserError
from common.config import from_dict, option, parse, parser, read_json, write_json
from tests.explain import equal


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field of each kind."""

    n_steps: int = option(7, "how many steps", low=1)
    rate: float = option(0.5, "share of the tokens, 100 % and %s at most", low=0, high=1)
    name: str = option("run", "name of the run")
    corpus: str | None = option(None, "a file")
    limit: int | None = option(None, "an upper end", low=2)
    resume: bool = option(False, "go on")


ALL = Settings(n_steps=3, rate=0.25, name="x", corpus="a b.txt", limit=9, resume=True)


def refused(settings: dict, *words: str) -> None:
    """The plain values end in a UserError of one line that holds all the words."""
    with pytest.raises(UserError) as caught:
        from_dict(Settings, settings, "file.json")
    lacking = [word for word in words if word not in str(caught.value)]
    assert not lacking and "\n" not in str(caught.value), f"expected {words} on one line, came {caught.value}"


def test_every_field_is_a_flag():
    argv = ["--n-steps", "3", "--rate", "0.25", "--name", "x", "--corpus", "a b.txt", "--limit", "9", "--resume"]
    equal(parse(Settings, argv), ALL, "field `n_steps` is the flag `--n-steps`; a bool is a flag without a value")


def test_no_flags_give_the_defaults():
    equal(parse(Settings, []), Settings(), "the defaults of the flags are those of the fields")


@pytest.mark.parametrize("argv", [["--steps", "3"], ["--n-step", "3"], ["--n_steps", "3"], ["3"], ["--n-steps"],
                                  ["--n-steps", "3.5"], ["--rate", "much"]], ids=" ".join)
def test_a_command_line_that_is_not_understood_is_a_user_error(argv):
    with pytest.raises(UserError) as caught:
        parse(Settings, argv)
    assert "--help" in str(caught.value), f"expected a line that points to --help, came {caught.value}"


def test_help_lists_every_flag_with_its_default_and_survives_percent_signs(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(Settings, ["--help"])
    equal(ended.value.code, 0, "--help is no error")
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("--n-steps INT how many steps (default: 7)", "100 % and %s at most (default: 0.5)",
                 "(default: run)", "--corpus STR a file (default: None)", "--limit INT", "--resume go on"):
        assert part in shown, f"expected {part!r} in the help; came {shown}; a % in a help text is written %% there"


def test_a_file_gives_back_what_was_written(tmp_path):
    for settings in (Settings(), ALL):
        write_json(settings, tmp_path / "config.json")
        equal(read_json(Settings, tmp_path / "config.json"), settings, "JSON must hold every field as it is")


def test_the_file_is_json_for_people(tmp_path):
    write_json(ALL, tmp_path / "config.json")
    lines = (tmp_path / "config.json").read_text(encoding="utf-8").splitlines()
    assert '  "n_steps": 3,' in lines, f"expected one setting a line, came {lines}"


def test_an_unknown_key_is_named_with_the_known_ones():
    refused({"n_stepz": 3}, "file.json", "n_stepz", "n_steps")


@pytest.mark.parametrize(("name", "value"), [("n_steps", "3"), ("n_steps", 3.0), ("n_steps", True), ("n_steps", None),
                                             ("rate", "0.5"), ("rate", True), ("name", 3), ("name", None),
                                             ("corpus", 3), ("limit", True), ("resume", 1), ("resume", "no")])
def test_a_value_of_another_type_is_refused(name, value):
    refused({name: value}, "file.json", name, repr(value))


@pytest.mark.parametrize(("name", "value"), [("rate", 1), ("corpus", None), ("limit", None), ("limit", 2)])
def test_a_value_that_fits_is_taken(name, value):
    equal(getattr(from_dict(Settings, {name: value}, "file.json"), name), value,
          "an int is a float in JSON (1 for 1.0), and null is the None of `int | None`")


@pytest.mark.parametrize(("name", "value", "bound"), [("n_steps", 0, "at least 1"), ("n_steps", -4, "at least 1"),
                                                      ("rate", 1.5, "from 0 to 1"), ("rate", -0.1, "from 0 to 1"),
                                                      ("rate", math.nan, "from 0 to 1"), ("limit", 1, "at least 2")])
def test_a_value_out_of_range_is_refused_and_the_range_named(name, value, bound):
    refused({name: value}, "file.json", name, bound)


def test_the_command_line_is_held_to_the_same_ranges():
    with pytest.raises(UserError, match="n_steps = 0 should be at least 1"):
        parse(Settings, ["--n-steps", "0"])


def test_the_ends_of_a_range_belong_to_it():
    for rate in (0.0, 1.0):
        equal(from_dict(Settings, {"rate": rate}, "file.json").rate, rate, "low and high are both allowed")


@pytest.mark.parametrize(("content", "word"), [("{", "JSON"), ("", "JSON"), ("[1]", "settings"),
                                               (json.dumps({"rate": "x"}), "rate")])
def test_a_damaged_file_is_a_user_error_that_names_it(tmp_path, content, word):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=word) as caught:
        read_json(Settings, tmp_path / "config.json")
    assert "config.json" in str(caught.value), f"expected the file's name, came {caught.value}"


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="config.json is not there"):
        read_json(Settings, tmp_path / "config.json")


def test_a_command_can_add_arguments_of_its_own():
    arguments = parser(Settings, "what it does")
    arguments.add_argument("text")
    equal(arguments.parse_args(["hello"]).text, "hello", "parser() gives an argparse parser")
