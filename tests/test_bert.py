"""BERT against `transformers` (outputs, gradients, files both ways) and against what must hold of any BERT.

    python -m pytest -s tests/test_bert.py      also prints the largest differences
"""

import math
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common import hub
from common.wordpiece import WordPiece
from minibert import BertConfig, BertForPreTraining, BertModel
from minibert.published import BERT_FOR_PRETRAINING, BERT_MODEL
from tests.oracle import oracle

SIZES = [  # no two alike within a model
    BertConfig(vocab_size=61, d_model=24, n_layers=2, n_heads=3, d_ff=40, max_len=17, dropout=0.1),
    BertConfig(vocab_size=101, d_model=64, n_layers=4, n_heads=2, d_ff=96, max_len=33, n_segments=3, dropout=0.0),
    BertConfig(vocab_size=307, d_model=48, n_layers=1, n_heads=6, d_ff=210, max_len=13, norm_eps=1e-5),
]
SENTENCES = [
    "The capital of France is Paris.",
    "A man is playing a guitar on the stage, and nobody listens to him at all.",
    "No.",
    "def attend(q, k, v): return softmax(q @ k.T / sqrt(d)) @ v",
    "Crème brûlée, 한국어 and 北京 in one unaffable sentence!",
]
size = partial(pytest.mark.parametrize, "config", SIZES, ids=lambda c: f"{c.n_layers}x{c.d_model}")


def random_model(model_class, config: BertConfig):
    """Every parameter is random, as after a training: fresh biases of 0 and norms of 1 could be left out unseen."""
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def random_batch(config: BertConfig, n_segments: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """ids, segments, mask (5, 13): rows of 13 tokens and fewer, padded with 0 on the right."""
    lengths = torch.tensor([13, 9, 2, 12, 5])[:, None]  # (B, 1)
    mask = torch.arange(13) < lengths  # (B, T)
    ids = torch.randint(1, config.vocab_size, mask.shape) * mask
    segments = ((torch.arange(13) >= lengths // 2) & mask).long() * (n_segments - 1)
    return ids, segments, mask


def theirs_of(model, folder, name: str):
    """Our model as `transformers` opens it, and what it missed and did not expect."""
    model.save_pretrained(folder)
    theirs, info = getattr(oracle("transformers"), name).from_pretrained(
        folder, output_loading_info=True, attn_implementation="sdpa")
    return theirs.eval(), info


def close(what: str, expected: Tensor, came: Tensor, within: float, mistake: str) -> None:
    assert came.shape == expected.shape, f"{what}: expected the shape {expected.shape}, came {came.shape}"
    difference = (came - expected).abs().max().item()
    print(f"\n{what}: largest difference {difference:.1e}, numbers up to {expected.abs().max():.2f}", end="")
    assert difference <= within, (
        f"{what}: expected a difference of at most {within:g}, came {difference:g}; likely mistake: {mistake}")


def close_gradients(ours, theirs, layout: hub.Layout) -> None:
    """Every parameter of ours has the gradient of theirs, under the published name."""
    expected = {layout.bare(name): parameter.grad for name, parameter in theirs.named_parameters()}
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad)  # now the views are views of the gradients
    came = {layout.bare(name): view for name, view in hub.views(ours, layout).items()}
    assert came.keys() == expected.keys(), f"one side alone has {came.keys() ^ expected.keys()}"
    apart = {name: (came[name] - expected[name]).abs().max().item() for name in expected}
    worst = max(apart, key=apart.get)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    print(f"\ngradients: largest difference {apart[worst]:.1e} ({worst}), gradients up to {largest:.2f}", end="")
    assert apart[worst] <= 1e-5, (
        f"gradient of {worst}: expected a difference of at most 1e-5, came {apart[worst]:g}; likely mistake: "
        "right outputs with wrong gradients mean a detach, or a tied weight that is two")


# ------------------------------------------------ the same numbers as transformers


@size()
def test_encoder_equals_transformers(tmp_path, config):
    ours = random_model(BertModel, config)
    theirs, info = theirs_of(ours, tmp_path, "BertModel")
    assert not any(info.values()), f"expected nothing missing and nothing unexpected, came {info}"
    ids, segments, mask = random_batch(config, config.n_segments)

    hidden, pooled = ours(ids, segments, mask)
    out = theirs(ids, attention_mask=mask.long(), token_type_ids=segments)
    close("hidden states", out.last_hidden_state, hidden, 2e-6, "the place of a norm, its eps, GELU by tanh, the mask")
    close("pooled state", out.pooler_output, pooled, 2e-6, "the pooler reads the first token, then tanh")

    at_hidden, at_pooled = torch.randn_like(hidden) * mask[..., None] / 10, torch.randn_like(pooled) / 10
    ((hidden * at_hidden).sum() + (pooled * at_pooled).sum()).backward()
    ((out.last_hidden_state * at_hidden).sum() + (out.pooler_output * at_pooled).sum()).backward()
    close_gradients(ours, theirs, BERT_MODEL)


@size()
def test_pretraining_equals_transformers(tmp_path, config):
    ours = random_model(BertForPreTraining, config)
    theirs, info = theirs_of(ours, tmp_path, "BertForPreTraining")
    assert not any(info.values()), f"expected nothing missing and nothing unexpected, came {info}"
    ids, segments, mask = random_batch(config, config.n_segments)
    selected = mask & (torch.rand(mask.shape) < 0.4)
    answers, is_random = torch.randint(1, config.vocab_size, mask.shape), torch.tensor([0, 1, 1, 0, 1])

    mlm, nsp = ours(ids, segments, mask)
    out = theirs(ids, attention_mask=mask.long(), token_type_ids=segments,
                 labels=answers.masked_fill(~selected, -100), next_sentence_label=is_random)
    close("MLM logits", out.prediction_logits, mlm, 2e-6, "the norm after GELU in the head, the bias of the decoder")
    close("NSP logits", out.seq_relationship_logits, nsp, 2e-6, "the NSP head reads the pooled state")

    loss = F.cross_entropy(mlm[selected], answers[selected]) + F.cross_entropy(nsp, is_random)
    close("loss", out.loss, loss, 2e-6, "class 1 of NSP is the random pair; MLM is the mean over the selected tokens")
    loss.backward()
    out.loss.backward()
    close_gradients(ours, theirs, BERT_FOR_PRETRAINING)


@pytest.mark.parametrize("name", ["BertModel", "BertForPreTraining", "BertForMaskedLM"])
def test_their_files_open_here(tmp_path, name):
    transformers, config = oracle("transformers"), SIZES[0]
    theirs = getattr(transformers, name)(transformers.BertConfig(
        vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=17)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    ids, segments, mask = random_batch(config)
    expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments, output_hidden_states=True)

    with pytest.warns(UserWarning, match="pooler") if name == "BertForMaskedLM" else nullcontext():
        encoder = BertModel.from_pretrained(tmp_path)  # from a file with heads, too
    assert encoder.config == config
    close("hidden states", expected.hidden_states[-1], encoder.hidden(ids, segments, mask), 2e-6, "a name of the table")
    if name == "BertForPreTraining":
        mlm, nsp = BertForPreTraining.from_pretrained(tmp_path)(ids, segments, mask)
        close("MLM logits", expected.prediction_logits, mlm, 2e-6, "a name of the table of heads")
        close("NSP logits", expected.seq_relationship_logits, nsp, 2e-6, "a name of the table of heads")


def test_fill_mask_in_transformers_gives_the_same_probabilities(tmp_path):
    """From the same ids: transformers cannot read our tokenizer.model."""
    ours = random_model(BertForPreTraining, SIZES[0])
    theirs, info = theirs_of(ours, tmp_path, "BertForMaskedLM")
    others = {f"{head}.{kind}" for head in ("bert.pooler.dense", "cls.seq_relationship") for kind in ("weight", "bias")}
    assert not info["missing_keys"], f"transformers made up {info['missing_keys']}"
    assert info["unexpected_keys"] == others, f"expected what BertForMaskedLM has not, came {info['unexpected_keys']}"
    ids = torch.tensor([[2, 17, 4, 33, 58, 4, 9, 3]])  # [CLS] . [MASK] . . [MASK] . [SEP]
    expected = theirs(ids).logits[ids == 4].softmax(-1)
    came = ours.head(ours.hidden(ids)[ids == 4]).softmax(-1)
    close("probabilities", expected, came, 1e-6, "an input that one side has by default: segments 0, no mask")
    assert came.topk(5).indices.equal(expected.topk(5).indices)


def test_minilm_equals_transformers(minilm):
    """A trained model: its weights have outliers that random ones have not."""
    wordpiece = WordPiece.load(minilm / "vocab.txt")
    rows = [[wordpiece.cls_id, *wordpiece.encode(sentence), wordpiece.sep_id] for sentence in SENTENCES]
    width = max(map(len, rows)) + 3
    ids = torch.tensor([row + [wordpiece.pad_id] * (width - len(row)) for row in rows])
    mask = torch.arange(width) < torch.tensor([[len(row)] for row in rows])
    theirs = oracle("transformers").BertModel.from_pretrained(minilm, attn_implementation="sdpa").eval()
    ours = BertModel.from_pretrained(minilm)
    with torch.no_grad():
        hidden, pooled = ours(ids, mask=mask)
        out = theirs(ids, attention_mask=mask.long())
        exact = ours.double()(ids, mask=mask)[0], theirs.double()(ids, attention_mask=mask.long()).last_hidden_state
    mistake = "the table of names, or the eps of the norms"
    close("MiniLM, last hidden state", out.last_hidden_state[mask], hidden[mask], 1e-5, mistake)
    close("MiniLM, pooled state", out.pooler_output, pooled, 1e-5, "the pooler's names")
    # Pads too, in float64: in float32 their states are so sensitive that transformers' own sdpa and eager attention
    # are 3e-5 apart there, and both 7e-5 and more away from its float64.
    close("MiniLM in float64, pads too", exact[1], exact[0], 1e-11, mistake)


# ------------------------------------------------ what holds of any BERT


@pytest.mark.parametrize(
    ("model_class", "config", "expected"),
    [
        (BertModel, BertConfig.base(), 109_482_240),
        (BertForPreTraining, BertConfig.base(), 110_106_428),
        (BertModel, BertConfig.large(), 335_141_888),
        (BertForPreTraining, BertConfig.large(), 336_226_108),
    ],
)
def test_parameter_counts(model_class, config, expected):
    with torch.device("meta"):  # sizes without memory
        came = sum(parameter.numel() for parameter in model_class(config).parameters())
    assert came == expected, (
        f"expected {expected:,}, came {came:,}; likely mistake: the decoder is not tied (+{config.vocab_size:,} x "
        f"{config.d_model:,}), or it lacks its bias (-{config.vocab_size:,})")


@size()
def test_padding_changes_nothing(config):
    model = random_model(BertForPreTraining, config)
    ids, segments, mask = random_batch(config)
    mlm, nsp = model(ids, segments, mask)
    for row, n in enumerate(mask.sum(1).tolist()):
        alone_mlm, alone_nsp = model(ids[row : row + 1, :n], segments[row : row + 1, :n])  # no pads, no mask, no others
        close(f"row of {n}, MLM", alone_mlm[0], mlm[row, :n], 2e-6, "the mask is not used, or True means hidden in it")
        close(f"row of {n}, NSP", alone_nsp[0], nsp[row], 2e-6, "the mask is not used, or True means hidden in it")
    other = torch.where(mask, ids, torch.randint(1, config.vocab_size, ids.shape))
    again, _ = model(other, segments, mask)
    assert again[mask].equal(mlm[mask]), "what stands at a pad changed a real token; likely mistake: -1e4 for -infinity"


def test_first_losses_are_those_of_guessing():
    config = BertConfig(vocab_size=4_096, d_model=128, n_layers=2, n_heads=4, d_ff=512, max_len=64)
    mlm, nsp = BertForPreTraining(config)(torch.randint(7, 4_096, (16, 48)))
    mlm_loss = F.cross_entropy(mlm.flatten(0, 1), torch.randint(7, 4_096, (16 * 48,))).item()
    nsp_loss = F.cross_entropy(nsp, torch.randint(2, (16,))).item()
    mistake = "likely mistake: weights that do not start from N(0, 0.02²), as torch's own embeddings, or biases not 0"
    for task, expected, came in (("MLM", math.log(4_096), mlm_loss), ("NSP", math.log(2), nsp_loss)):
        print(f"\nfirst {task} loss {came:.3f}, guessing {expected:.3f}", end="")
        assert abs(came - expected) < 0.1, f"{task}: expected about {expected:.2f}, came {came:.2f}; {mistake}"


def test_logits_of_selected_positions_only():
    model = random_model(BertForPreTraining, SIZES[0])
    ids, segments, mask = random_batch(SIZES[0])
    selected = mask & (torch.rand(mask.shape) < 0.4)
    hidden = model.hidden(ids, segments, mask)
    mlm, nsp = model(ids, segments, mask)
    close("selected logits", mlm[selected], model.head(hidden[selected]), 1e-6, "the head mixes positions")
    assert nsp.equal(model.next_sentence(hidden[:, 0])), "hidden + next_sentence must be forward"
    close("only", model.hidden(ids, segments, mask, only=selected), hidden[selected], 1e-6,
          "what `only` leaves out was read by another place")


def test_segments():
    model = random_model(BertModel, SIZES[0])
    ids, segments, _ = random_batch(SIZES[0])
    assert model(ids)[0].equal(model(ids, torch.zeros_like(ids))[0]), "without segments all tokens are of segment 0"
    moved = (model(ids)[0] - model(ids, segments)[0]).abs().max()
    assert moved > 1e-2, f"segments changed the output by {moved:.1e} only; likely mistake: they are not added"


def test_positions_and_both_directions():
    model = random_model(BertModel, SIZES[0])
    ids = torch.full((1, 13), 5)
    hidden = model.hidden(ids)
    assert (hidden[0, 3] - hidden[0, 4]).abs().max() > 1e-2, "equal tokens have equal states; are positions added?"
    ids[0, 12] = 6
    moved = (model.hidden(ids) - hidden)[0, 0].abs().max()
    assert moved > 1e-4, "the last token does not reach the first state; likely mistake: a causal mask"


def test_longest_input():
    model = random_model(BertModel, SIZES[0])
    assert model.hidden(torch.ones(1, 17, dtype=torch.long)).shape == (1, 17, 24)
    with pytest.raises(ValueError, match="18 tokens, but the model reads at most 17"):
        model.hidden(torch.ones(1, 18, dtype=torch.long))


def test_dropout_is_off_in_eval_and_on_in_training():
    model, (ids, segments, mask) = random_model(BertModel, SIZES[0]), random_batch(SIZES[0])
    assert model(ids, segments, mask)[0].equal(model(ids, segments, mask)[0]), "eval() must give the same numbers twice"
    model.train()
    assert not model(ids, segments, mask)[0].equal(model(ids, segments, mask)[0]), "train() must drop at random"
