"""Position vectors against numbers worked by hand."""

import math

import pytest
import torch

from common.positions import sinusoidal
from tests.explain import close, same

N = 20


def test_position_zero_is_zero_one_zero_one():
    same(sinusoidal(1, 6), torch.tensor([[0.0, 1, 0, 1, 0, 1]]),
         "sin 0 = 0 stands in the even columns, cos 0 = 1 in the odd ones")


def test_values_by_hand():
    # D = 4: the pairs turn by 1 and by 1 / 10000^(2/4) = 1/100 a position
    expected = torch.tensor([[math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in range(3)])
    close(sinusoidal(3, 4), expected, "PE(p, 2i) = sin(p / 10000^(2i/D)), PE(p, 2i+1) = cos of the same angle: "
                                      "sine and cosine alternate, and the exponent is 2i/D with i counting pairs")


@pytest.mark.parametrize("d_model", [2, 6, 10])
def test_a_fixed_rotation_moves_every_position_to_its_neighbour(d_model):
    table = sinusoidal(N, d_model)
    rotation = torch.zeros(d_model, d_model)
    for pair in range(d_model // 2):
        angle = 10_000 ** (-2 * pair / d_model)
        sin, cos, at = math.sin(angle), math.cos(angle), 2 * pair
        rotation[at:at + 2, at:at + 2] = torch.tensor([[cos, sin], [-sin, cos]])  # (sin a, cos a) -> (sin a+w, ...)
    close(table[:-1] @ rotation.T, table[1:], "the two members of a pair must share one angle")


def test_an_odd_width_drops_the_last_cosine():
    # D = 5: angles 1, 10000^(-2/5) and 10000^(-4/5); the third cosine has no column
    w = [10_000 ** (-2 * i / 5) for i in range(3)]
    row = [math.sin(w[0]), math.cos(w[0]), math.sin(w[1]), math.cos(w[1]), math.sin(w[2])]
    table = sinusoidal(N, 5)
    assert table.shape == (N, 5), f"expected a table of shape {(N, 5)}, came {tuple(table.shape)}"
    close(table[1], torch.tensor(row), "an odd width has one sine more than cosines")


def test_no_two_positions_are_alike():
    table = sinusoidal(100, 8)
    distances = torch.cdist(table, table) + torch.eye(100)
    assert distances.min() > 0.1, f"two positions are {distances.min():.4f} apart: the model could not tell them apart"
