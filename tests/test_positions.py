"""Position vectors and rotations against numbers worked by hand, complex numbers and `transformers`."""

import math

import pytest
import torch

from common.positions import Rotary, sinusoidal
from tests.explain import close, equal, same
from tests.oracle import oracle

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


# ------------------------------------------------ rotary positions

B, H, T, DH, MAX = 2, 3, 7, 8, 40
PLACES = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [39, 3, 17, 17, 0, 8, 25]])  # (B, T)


def test_rotary_by_hand():
    # Dh = 4: the pair (0, 2) turns by 1 a position, the pair (1, 3) by 1 / 100^(2/4) = 1/10
    x = torch.tensor([1.0, 0, 0, 2]).expand(1, 1, 4, 4)
    expected = [[math.cos(p), -2 * math.sin(p / 10), math.sin(p), 2 * math.cos(p / 10)] for p in range(4)]
    close(Rotary(4, 4, base=100.0)(x), torch.tensor(expected)[None, None],
          "(a, b) -> (a cos - b sin, b cos + a sin), where a and b stand half a head apart; angle p / base^(2i/Dh)")


def test_rotary_leaves_position_zero_alone():
    x = torch.randn(B, H, 1, DH)
    same(Rotary(DH, MAX)(x), x, "position 0 turns by the angle 0")


@pytest.mark.parametrize("positions", [None, PLACES], ids=["counted", "given"])
def test_rotary_keeps_lengths(positions):
    x = torch.randn(B, H, T, DH)
    close(Rotary(DH, MAX)(x, positions).norm(dim=-1), x.norm(dim=-1), "turning makes nothing longer or shorter")


def test_products_of_rotated_vectors_depend_on_the_distance_only():
    rotary, q, k = Rotary(DH, MAX), torch.randn(DH), torch.randn(DH)
    q, k = (rotary(x.expand(1, 1, MAX, DH))[0, 0] for x in (q, k))  # the same vector at every position
    products = q @ k.T  # (MAX, MAX)
    for distance in range(-MAX + 1, MAX):
        along = products.diagonal(distance)
        close(along, along[:1].expand_as(along), f"keys {distance} behind the query, wherever the query stands",
              atol=2e-5)
    assert (products[0, 1] - products[1, 0]).abs() > 1e-3, "one before and one behind must not be the same"
    assert products[0].std() > 1e-1, "expected the product to change with the distance, it does not"


def test_rotary_equals_complex_multiplication():
    """The paper's and Meta's way: neighbours 2i and 2i + 1 are one complex number."""
    x, base = torch.randn(B, H, T, DH), 321.0
    order = [row for i in range(DH // 2) for row in (i, i + DH // 2)]  # our numbers in that order
    turn = torch.polar(torch.ones(T, DH // 2), torch.arange(T)[:, None] / base ** (torch.arange(0, DH, 2) / DH))
    pairs = torch.view_as_complex(x[..., order].unflatten(-1, (-1, 2)).contiguous())
    expected = torch.view_as_real(pairs * turn).flatten(-2)
    close(Rotary(DH, MAX, base)(x)[..., order], expected, "pair i is made of i and i + Dh/2, and turns anticlockwise")


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rotary_equals_transformers(base):
    llama = oracle("transformers").models.llama.modeling_llama
    theirs = llama.LlamaRotaryEmbedding(oracle("transformers").LlamaConfig(
        hidden_size=H * DH, num_attention_heads=H, max_position_embeddings=MAX,
        rope_parameters={"rope_type": "default", "rope_theta": base}))
    q, k, rotary = torch.randn(B, H, T, DH), torch.randn(B, 1, T, DH), Rotary(DH, MAX, base)
    expected = llama.apply_rotary_pos_emb(q, k, *theirs(q, PLACES))
    for name, x, turned in zip("qk", (q, k), expected):
        close(rotary(x, PLACES), turned, f"{name}: pairs, signs, angles, and one row of positions a text")


def test_rotary_at_given_positions():
    rotary, x = Rotary(DH, MAX), torch.randn(B, H, T, DH)
    counted = torch.arange(T)[None]
    for positions in (counted, counted.expand(B, T)):
        same(rotary(x, positions), rotary(x), "0, 1, 2 ... when not given")
    came = rotary(x, PLACES)
    for row in range(B):
        for t in range(T):
            expected = rotary(x[row, :, t:t + 1].expand(H, MAX, DH)[None])[0, :, PLACES[row, t]]
            same(came[row, :, t], expected, f"text {row}, token {t} stands at {PLACES[row, t]}")


def test_rotary_is_nothing_to_learn_or_to_save():
    rotary = Rotary(DH, MAX)
    equal(list(rotary.parameters()), [], "angles are computed")
    equal(list(rotary.state_dict()), [], "angles stay out of checkpoints: persistent=False")


def test_rotary_follows_the_model():
    rotary, x = Rotary(DH, MAX), torch.randn(B, H, T, DH, dtype=torch.float64)
    close(rotary.to(torch.float64)(x).float(), Rotary(DH, MAX)(x.float()), ".to() moves buffers, not plain tensors")
    equal(rotary(x).dtype, torch.float64, "what comes in goes out")
    equal(Rotary(DH, MAX).to("meta")(x.to("meta")).device.type, "meta", "the angles follow to another device")


@pytest.mark.parametrize("d_head", [1, 5])
def test_rotary_refuses_a_width_that_has_no_pairs(d_head):
    with pytest.raises(ValueError, match=str(d_head)):
        Rotary(d_head, MAX)
