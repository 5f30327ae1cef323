"""The counted start: what is counted, and what the first block looks at before a step of training is made."""

import math

import torch

from common.attention import attend_explicit
from common.batches import TokenizedText
from minibert.counting import cooccurrence, embeddings_from_counts, positive_information
from minibert.model import BertConfig, BertForPreTraining
from minibert.start import OFFSETS, counted_start

V = 11


def test_cooccurrence_equals_a_slow_count():
    tokens = torch.randint(V, (200,))
    expected = torch.zeros(V, V)
    for i in range(len(tokens)):
        for distance in (1, 2, 3):
            if i + distance < len(tokens):
                expected[tokens[i], tokens[i + distance]] += 1 / distance
    torch.testing.assert_close(cooccurrence(tokens, V, reach=3), expected)


def test_information_by_hand():
    # "ab" twelve times, "ba" four times: p(b | a) against the frequency of b, to the power 0.75
    counts = torch.tensor([[0.0, 12.0], [4.0, 0.0]])
    q_b = 12**0.75 / (12**0.75 + 4**0.75)
    expected = torch.tensor([[0.0, math.log(1 / q_b)], [math.log(1 / (1 - q_b)), 0.0]])
    torch.testing.assert_close(positive_information(counts), expected)


def test_pieces_with_the_same_neighbours_get_the_same_direction():
    # 2 and 3 both stand between 0 and 1; 4 stands between 5 and 6
    text = torch.tensor([0, 2, 1, 0, 3, 1, 5, 4, 6] * 50)
    vectors = embeddings_from_counts(cooccurrence(text, V, reach=1), d=8)
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    assert vectors[2] @ vectors[3] > 0.95, f"pieces 2 and 3 are interchangeable, cosine {vectors[2] @ vectors[3]:.2f}"
    assert vectors[2] @ vectors[4] < 0.5, f"2 and 4 share no neighbour, cosine {vectors[2] @ vectors[4]:.2f}"


def test_every_vector_has_mean_square_one():
    vectors = embeddings_from_counts(cooccurrence(torch.randint(5, (300,)), V, reach=1), d=8)  # 5 .. 10 never occur
    assert torch.isfinite(vectors).all()
    torch.testing.assert_close(vectors[:5].pow(2).mean(1), torch.ones(5))
    assert (vectors[5:].pow(2).mean(1) > 0.1).all(), "a piece that was never seen got the zero vector"


def started(n_layers=2, n_heads=6):
    """A model after its counted start, one row of 50 tokens, half of it in segment 1, and the attention of a block."""
    config = BertConfig(300, d_model=32 * n_heads, n_layers=n_layers, n_heads=n_heads, d_ff=64, max_len=50, dropout=0.0)
    model = BertForPreTraining(config)
    tokens = torch.randint(7, 300, (5000,))
    counted_start(model, TokenizedText(tokens.numpy(), [5000]))
    ids = 7 + torch.randperm(290)[None, :50]  # all different
    ids[0, 40] = ids[0, 10]  # but for one
    return model, ids, (torch.arange(50) >= 25).long()[None]


def weights_of(attention, x):
    q, k, v = attention.project(x)
    return attend_explicit(q, k, v)[1][0].detach()  # (H, T, T)


def test_heads_look_at_their_neighbour():
    model, ids, segments = started()
    weights = weights_of(model.bert.encoder.blocks[0].attention, model.bert.embeddings(ids, segments))
    inner = torch.arange(5, 45)
    for head, offset in enumerate(OFFSETS):
        share = weights[head, inner, inner + offset].mean()
        found = (weights[head].argmax(-1)[inner] == inner + offset).float().mean()
        assert share > 0.7, f"head {head} gives its neighbour {offset} away only {share:.2f} of its attention"
        assert found > 0.9, f"head {head} looks most at its neighbour {offset} away in only {found:.0%} of the places"


def test_heads_find_the_same_piece_elsewhere():
    model, ids, segments = started()
    weights = weights_of(model.bert.encoder.blocks[0].attention, model.bert.embeddings(ids, segments))
    for head in (4, 5):  # the last third
        here, there = weights[head, 10, 10], weights[head, 10, 40]
        assert here > 0.3, f"head {head}: a piece gives itself {here:.2f}"
        assert there > 0.3, f"head {head}: a piece gives its copy thirty places on {there:.2f}, itself {here:.2f}"


def test_heads_of_the_last_block_tell_the_sentences_apart():
    model, ids, segments = started()
    x = model.bert.embeddings(ids, segments)
    weights = weights_of(model.bert.encoder.blocks[-1].attention, model.bert.encoder.blocks[0](x))
    same = segments[0, :, None] == segments[0, None, :]  # (T, T)
    own, other = ((weights[head] * same).sum(-1).mean() for head in (0, 1))
    assert own > 0.8, f"head 0 should read its own sentence, and gives it {own:.2f}"
    assert other < 0.2, f"head 1 should read the other sentence, and gives its own {other:.2f}"


def test_odd_sizes():
    for sizes in ({"n_layers": 1, "n_heads": 1}, {"n_layers": 1, "n_heads": 2}, {"n_layers": 3, "n_heads": 3}):
        model, ids, segments = started(**sizes)
        assert all(torch.isfinite(p).all() for p in model.parameters()), sizes


def test_a_model_wider_than_its_vocabulary():
    vectors = embeddings_from_counts(cooccurrence(torch.randint(V, (300,)), V), d=3 * V)
    assert vectors.shape == (V, 3 * V) and torch.isfinite(vectors).all()


def test_start_changes_numbers_only():
    config = BertConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, d_ff=64, max_len=16)
    model = BertForPreTraining(config)
    names = {name: p.shape for name, p in model.named_parameters()}
    tokens = torch.randint(7, 300, (5000,))
    counted_start(model, TokenizedText(tokens.numpy(), [5000]))
    assert {name: p.shape for name, p in model.named_parameters()} == names
    assert model.mlm.decoder.weight is model.bert.embeddings.token.weight, "the start untied the head"
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_output_bias_is_the_log_frequency():
    model = BertForPreTraining(BertConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_len=8))
    tokens = torch.tensor([7] * 29 + [8] * 9)  # one is added to each count
    counted_start(model, TokenizedText(tokens.numpy(), [len(tokens)]))
    p = model.mlm.decoder.bias.softmax(0)
    torch.testing.assert_close(p[7] / p[8], torch.tensor(3.0))
