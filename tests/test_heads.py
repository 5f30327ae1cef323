"""Three heads on a BERT (minibert/heads.py): equal to those of `transformers`, both ways, outputs and gradients."""

import json

import pytest
import torch

from common.command import UserError
from minibert import BertConfig
from minibert.heads import BertForClassification, BertForSpans, BertForTagging
from tests.explain import close, equal
from tests.oracle import oracle

SIZES = {"vocab_size": 60, "d_model": 24, "n_layers": 2, "n_heads": 3, "d_ff": 40, "max_len": 16, "dropout": 0.0}
LABELS = ("bad", "fine", "좋음")
CASES = {"BertForSequenceClassification": (BertForClassification, LABELS), "BertForTokenClassification":
         (BertForTagging, LABELS), "BertForQuestionAnswering": (BertForSpans, ("begin", "end"))}
each = pytest.mark.parametrize("name", CASES)


def batch():
    mask = torch.arange(10) < torch.tensor([10, 7, 1])[:, None]
    ids = torch.randint(1, 60, (3, 10)).masked_fill(~mask, 0)
    return ids, (torch.arange(10) >= 4).long().expand(3, 10), mask


def theirs(model, ids, segments, mask):
    out = model(input_ids=ids, token_type_ids=segments, attention_mask=mask.long())
    return out.logits if hasattr(out, "logits") else torch.stack([out.start_logits, out.end_logits], dim=-1)


def compare(ours, other):
    ids, segments, mask = batch()
    came, expected = ours(ids, segments, mask), theirs(other, ids, segments, mask)
    if came.ndim == 3:  # padding has no answer
        came, expected = came[mask], expected[mask]
    close(came, expected, "the pooler in front of the labels, or the order of the layers")
    weights = torch.randn(came.shape)
    (came * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, published in (("head.weight", list(other.named_parameters())[-2][1]),
                            ("bert.embeddings.token.weight", other.bert.embeddings.word_embeddings.weight)):
        close(dict(ours.named_parameters())[mine].grad, published.grad, f"the gradient of {mine}")


@each
def test_ours_opens_there(name, tmp_path):
    transformers = oracle("transformers")
    model_class, labels = CASES[name]
    ours = model_class(BertConfig(**SIZES), labels).eval()
    ours.save_pretrained(tmp_path)
    other = getattr(transformers, name).from_pretrained(tmp_path).eval()
    equal([other.config.id2label[i] for i in range(len(labels))], list(labels), "labels belong into config.json")
    compare(ours, other)


@each
def test_theirs_opens_here(name, tmp_path):
    transformers = oracle("transformers")
    model_class, labels = CASES[name]
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **({"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
           if model_class is not BertForSpans else {}))
    other = getattr(transformers, name)(config).eval()
    other.save_pretrained(tmp_path)
    ours = model_class.from_pretrained(tmp_path)
    equal(ours.labels, labels, "labels stand in config.json")
    assert name != "BertForQuestionAnswering" or "id2label" not in json.loads((tmp_path / "config.json").read_text())
    compare(ours, other)


def test_no_labels_is_one_clear_line(tmp_path):
    oracle("safetensors")
    BertForClassification(BertConfig(**SIZES), LABELS).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for broken in ({"id2label": {"0": "a", "2": "b"}}, {"id2label": ["a"]}):
        path.write_text(json.dumps({k: v for k, v in config.items() if k != "id2label"} | broken))
        with pytest.raises(UserError, match="has no labels"):
            BertForClassification.from_pretrained(tmp_path)


@each
def test_padding_and_batch_mates_change_nothing(name):
    model_class, labels = CASES[name]
    model = model_class(BertConfig(**SIZES), labels).eval()
    ids, segments, mask = batch()
    alone = model(ids[1:2, :7], segments[1:2, :7])
    among = model(ids, segments, mask)[1:2]
    close(among if among.ndim == 2 else among[:, :7], alone, "padding was attended to")


def test_the_last_layer_is_read_only_where_it_is_needed():
    """The shortcut of the classifier gives the numbers of the long way."""
    model = BertForClassification(BertConfig(**SIZES), LABELS).eval()
    ids, segments, mask = batch()
    whole = model.bert.hidden(ids, segments, mask)
    close(model(ids, segments, mask), model.head(model.bert.pool(whole[:, 0])), "another token than [CLS] was pooled")
