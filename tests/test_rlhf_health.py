"""A run that goes wrong says so, and a healthy one is left alone."""

import pytest

from rlhf import health
from tests.explain import equal

WELL = {"objective/kl": 3.0, "policy/entropy_avg": 0.8, "val/explained_variance": 0.3, "val/ended": 0.99,
        "val/ratio_first": 1.0}


def after(n: int, **last: float) -> list[str]:
    return health.warnings([{**WELL, **last}] * n)


def test_a_healthy_run_is_left_alone():
    equal(after(30), [], "no warning")
    equal(health.warnings([]), [], "nothing was measured yet")


@pytest.mark.parametrize(("name", "value", "word"), [
    ("objective/kl", 10.1, "alarm line"), ("policy/entropy_avg", 0.14, "collapsed"),
    ("val/ratio_first", 0.99, "two different policies"),
    ("val/explained_variance", 0.0, "explains nothing"), ("val/ended", 0.4, "40% of the answers"),
])
def test_each_alarm_by_itself(name, value, word):
    found = after(30, **{name: value})
    equal(len(found), 1, "one line")
    assert word in found[0] and "\n" not in found[0], f"expected {word!r}, came {found}"


def test_the_value_head_gets_time():
    lagging = {**WELL, "val/explained_variance": -1.0}
    equal(health.warnings([lagging] * (health.PATIENCE - 1)), [], "a zero head cannot explain anything at first")
    equal(health.warnings([lagging] * 30 + [WELL]), [], "it explains something now")


def test_every_figure_has_its_meaning():
    for name, lines in health.MEANING.items():
        equal(len(lines), 3, f"{name}: what it is, healthy, alarming")
        assert all(lines), f"{name} has an empty line"
