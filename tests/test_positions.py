"""Position vectors and rotations against numbers worked by hand, complex numbers and `transformers`."""

import math

import pytest
import torch

from common.positions import RelativeBias, Rotary, relative_bucket, sinusoidal
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


# ------------------------------------------------ buckets of distances

# the published sizes, 32 buckets up to distance 128: the first distance of each bucket
ONE_WAY = [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]  # 16 * 8^(i/16) from 16 on
BOTH_WAYS = [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]  # 8 * 16^(i/8) from 8 on; keys behind: 16 buckets later


def buckets(distances, *sizes, both_directions: bool) -> list[int]:
    return relative_bucket(torch.tensor(list(distances)), *sizes, both_directions).tolist()


def test_buckets_of_one_direction_by_hand():
    expected = [sum(first <= d for first in ONE_WAY) - 1 for d in range(300)]
    equal(buckets((-d for d in range(300)), 32, 128, both_directions=False), expected,
          "distances 0 to 15 one by one, then wider and wider, and from 113 on all in the last")
    equal(buckets([1, 2, 15, 16, 128, 999], 32, 128, both_directions=False), [0] * 6, "the future: bucket 0")


def test_buckets_of_both_directions_by_hand():
    expected = [sum(first <= d for first in BOTH_WAYS) - 1 for d in range(300)]
    equal(buckets((-d for d in range(300)), 32, 128, both_directions=True), expected,
          "keys before the query: 16 buckets, 8 of them for one distance each")
    equal(buckets(range(1, 300), 32, 128, both_directions=True), [16 + b for b in expected[1:]],
          "keys behind the query: distance = key minus query > 0, the second half of the buckets")
    equal(buckets([0], 32, 128, both_directions=True), [0], "a token and itself: bucket 0, and 16 is for nobody")


def test_a_small_table_by_hand():
    # 8 buckets up to 16: one way 0 1 2 3 | 4, 6, 8, 12 and on (4 * 4^(i/4)); both ways 0 1 | 2, 6 (2 * 8^(i/2))
    equal(buckets(range(-20, 3), 8, 16, both_directions=False),
          [7] * 9 + [6] * 4 + [5] * 2 + [4] * 2 + [3, 2, 1, 0, 0, 0], "one direction, from -20 to 2")
    equal(buckets(range(-8, 9), 8, 16, both_directions=True),
          [3] * 3 + [2] * 4 + [1, 0, 5] + [6] * 4 + [7] * 3, "both directions, from -8 to 8")


@pytest.mark.parametrize("both_directions", [False, True])
@pytest.mark.parametrize("sizes", [(32, 128), (8, 16), (16, 64), (64, 256), (32, 1_000), (12, 50), (4, 7)], ids=str)
def test_buckets_equal_transformers(sizes, both_directions):
    theirs = oracle("transformers").models.t5.modeling_t5.T5Attention._relative_position_bucket
    distance = torch.arange(-600, 601)
    expected = theirs(distance, both_directions, *sizes)
    equal(buckets(range(-600, 601), *sizes, both_directions=both_directions), expected.tolist(),
          "the same buckets, with the same roundings where a distance is the first of its bucket")
    same(relative_bucket(distance[1:].view(3, -1), *sizes, both_directions), expected[1:].view(3, -1), "any shape")


@pytest.mark.parametrize("both_directions", [False, True])
def test_buckets_are_all_used_in_order(both_directions):
    came = buckets(range(-500, 501), 32, 128, both_directions=both_directions)
    past, future = came[500::-1], came[501:]
    equal(past, sorted(past), "farther away, never in an earlier bucket")
    equal(set(past), set(range(16 if both_directions else 32)), "no bucket is left empty")
    equal(set(future), set(range(17, 32)) if both_directions else {0}, "keys behind the query")


# ------------------------------------------------ the bias of distances


def test_relative_bias_by_hand():
    bias = RelativeBias(n_heads=2, n_buckets=8, max_distance=16, both_directions=True)
    with torch.no_grad():
        bias.table.weight.copy_(torch.stack([torch.arange(8.0), -torch.arange(8.0)], dim=1))  # head 0: b; head 1: -b
    expected = torch.tensor([[0.0, 5, 6, 6], [1, 0, 5, 6], [2, 1, 0, 5]])  # queries at 0, 1, 2; keys at 0 to 3
    same(bias(torch.arange(3).unsqueeze(0), 4), torch.stack([expected, -expected])[None],
         "(1, H, T, S): row the query, column the key, by the bucket of key minus query; each head has its own column")


@pytest.mark.parametrize("both_directions", [False, True])
def test_relative_bias_looks_every_distance_up(both_directions):
    bias = RelativeBias(H, 32, 128, both_directions)
    queries = torch.tensor([[0, 1, 2, 3], [400, 7, 130, 399]])  # far beyond max_distance, each row its own
    came = bias(queries, 401)
    equal(tuple(came.shape), (2, H, 4, 401), "one bias a row where the positions differ by row")
    for row in range(2):
        for t, query in enumerate(queries[row].tolist()):
            bucket = relative_bucket(torch.arange(401) - query, 32, 128, both_directions)
            same(came[row, :, t], bias.table.weight[bucket].T, f"row {row}: the query at {query}, the keys at 0 to 400")


@pytest.mark.parametrize("both_directions", [False, True])
def test_relative_bias_equals_transformers(both_directions):
    transformers = oracle("transformers")
    config = transformers.T5Config(num_heads=H, d_kv=4, d_model=12, is_decoder=not both_directions,
                                   relative_attention_num_buckets=12, relative_attention_max_distance=30)
    theirs = transformers.models.t5.modeling_t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = RelativeBias(H, 12, 30, both_directions)
    ours.table.load_state_dict(theirs.relative_attention_bias.state_dict())
    for t, s, past in ((50, 50, 0), (1, 50, 49), (3, 40, 37), (7, 7, 0)):
        same(ours(torch.arange(past, past + t).unsqueeze(0), s), theirs.compute_bias(t, s, past_seen_tokens=past),
             f"{t} queries behind {past} tokens, {s} keys")


def test_relative_bias_learns_its_table_and_saves_nothing_else():
    bias = RelativeBias(H, 8, 16, both_directions=False)
    equal({name: tuple(x.shape) for name, x in bias.state_dict().items()}, {"table.weight": (8, H)},
          "one number for each bucket and head; what is computed stays out of checkpoints: persistent=False")
    bias(torch.arange(6).unsqueeze(0), 6).sum().backward()
    # six queries, six keys: bucket 0 for 6 tokens and 15 of their future; 5, 4, 3 pairs; those 4 and 5 apart share one
    same(bias.table.weight.grad, torch.tensor([21.0, 5, 4, 3, 3, 0, 0, 0])[:, None].expand(8, H),
         "the gradient of a number is how often it was looked up")


def test_relative_bias_follows_the_model():
    bias, places = RelativeBias(H, 8, 16, both_directions=True).to("meta"), torch.arange(5, device="meta")
    equal(bias(places.unsqueeze(0), 5).device.type, "meta", "buckets are worked out where the positions are")
    bias = RelativeBias(H, 8, 16, both_directions=True).bfloat16()
    equal(bias(torch.arange(5).unsqueeze(0), 5).dtype, torch.bfloat16, "the type of the table")
