"""The Hugging Face layout: names, cuts, ties, both file formats, and every file that is refused.

Whether `transformers` opens what is written here, and the other way round, is in tests/test_bert.py.
"""

import copy
import json
import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn as nn

from common import hub
from common.command import UserError
from common.layers import Stacked
from minibert import BertConfig, BertForPreTraining, BertModel
from minibert.published import BERT_FOR_PRETRAINING, BERT_MODEL
from minit5 import T5, T5Config
from minit5.published import T5_LAYOUT
from tests.oracle import oracle

safetensors = oracle("safetensors.torch")

V, D, FF, P, N = 37, 12, 20, 11, 12  # no two alike; N layers, so that a layer number of two digits occurs
CONFIG = BertConfig(vocab_size=V, d_model=D, n_layers=N, n_heads=3, d_ff=FF, max_len=P, dropout=0.25, norm_eps=1e-6)


def random_model(model_class=BertForPreTraining):
    """A model in which no two parameters are alike; fresh ones have zeros and ones."""
    model = model_class(CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def same(expected, came) -> None:
    """Every parameter is bit for bit the same."""
    theirs = dict(came.named_parameters())
    for name, parameter in expected.named_parameters():
        assert parameter.equal(theirs[name]), (
            f"{name}: expected {parameter.flatten()[:3].tolist()}..., came {theirs[name].flatten()[:3].tolist()}...; "
            "likely mistake: two names of the table are swapped, or the cut of qkv is")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A random BertForPreTraining, written."""
    random_model().save_pretrained(tmp_path)
    return tmp_path


def stored(folder: Path) -> dict:
    mapped = safetensors.load_file(folder / "model.safetensors")
    return {name: tensor.clone() for name, tensor in mapped.items()}


def store(folder: Path, tensors: dict, pickled: bool = False) -> None:
    """Put other tensors in the folder, in the one format or the other."""
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        safetensors.save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def refused(folder: Path, *words: str, model_class=BertForPreTraining) -> None:
    """Reading ends in a UserError of one line that holds all the words."""
    with pytest.raises(UserError) as caught:
        model_class.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message, f"expected one line, came {message!r}"
    lacking = [word for word in words if word not in message]
    assert not lacking, f"expected a message with {lacking}, came {message!r}"


# ------------------------------------------------ there and back


@pytest.mark.parametrize("model_class", [BertModel, BertForPreTraining])
def test_round_trip(tmp_path, model_class):
    model = random_model(model_class)
    model.save_pretrained(tmp_path / "a" / "b")  # folders are made
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"config.json", "model.safetensors"}
    again = model_class.from_pretrained(str(tmp_path / "a" / "b"))  # a string will do
    assert again.config == CONFIG, f"expected {CONFIG}, came {again.config}; likely mistake: a field is not written"
    assert type(again) is model_class
    assert not again.training, "a model that was read must have its dropout off, or its answers are random"
    same(model, again)


def test_what_the_file_holds(folder):
    tensors, model = stored(folder), BertForPreTraining.from_pretrained(folder)
    assert len(tensors) == 7 + 16 * N + 7, f"expected {14 + 16 * N} tensors, came {len(tensors)}"
    qkv = model.bert.encoder.blocks[10].attention.qkv
    for i, name in enumerate(("query", "key", "value")):
        for kind, ours in (("weight", qkv.weight), ("bias", qkv.bias)):
            expected = ours[i * D : (i + 1) * D]
            came = tensors[f"bert.encoder.layer.10.attention.self.{name}.{kind}"]
            assert came.equal(expected), f"{name}.{kind} is not third {i} of qkv.{kind}; likely mistake: the order"
    shapes = {
        "bert.embeddings.word_embeddings.weight": (V, D),
        "bert.embeddings.position_embeddings.weight": (P, D),
        "bert.embeddings.token_type_embeddings.weight": (2, D),
        "bert.encoder.layer.11.intermediate.dense.weight": (FF, D),
        "bert.encoder.layer.0.output.dense.weight": (D, FF),
        "cls.predictions.bias": (V,),
        "cls.seq_relationship.weight": (2, D),
    }
    assert {name: tuple(tensors[name].shape) for name in shapes} == shapes
    assert "cls.predictions.decoder.weight" not in tensors, "the tied weight is written once"


def test_config_json(folder):
    came = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    expected = {
        "architectures": ["BertForPreTraining"], "model_type": "bert", "vocab_size": V, "hidden_size": D,
        "num_hidden_layers": N, "num_attention_heads": 3, "intermediate_size": FF, "max_position_embeddings": P,
        "type_vocab_size": 2, "hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.25, "layer_norm_eps": 1e-6,
        "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
        "tie_word_embeddings": True,
    }  # fmt: skip
    assert came == expected


def test_absent_fields_of_config_json_have_the_published_defaults(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({  # Google's own files say no more than the sizes
        "model_type": "bert", "vocab_size": V, "hidden_size": D, "num_hidden_layers": N, "num_attention_heads": 3,
        "intermediate_size": FF, "max_position_embeddings": P}), encoding="utf-8")
    came = BertForPreTraining.from_pretrained(folder).config
    assert (came.dropout, came.norm_eps, came.n_segments) == (0.1, 1e-12, 2)


def test_views_share_the_memory_of_the_model():
    model = random_model()
    for view in hub.views(model, BERT_FOR_PRETRAINING).values():
        view.fill_(7.0)
    wrong = [name for name, parameter in model.named_parameters() if not (parameter == 7).all()]
    assert not wrong, f"writing into the views did not reach {wrong}; likely mistake: a view is a copy"


def test_translate_serves_names_of_modules_too():
    came = BERT_FOR_PRETRAINING.translate("bert.encoder.blocks.10.attention.qkv")
    assert came == tuple(f"bert.encoder.layer.10.attention.self.{name}" for name in ("query", "key", "value"))
    assert BERT_MODEL.translate("pooler") == ("pooler.dense",)


# ------------------------------------------------ files that others wrote


@pytest.mark.parametrize("pickled", [False, True])
def test_old_files(folder, pickled):
    """gamma and beta, position ids, the tied decoder written out, half precision; all of it is in bert-base-uncased."""
    expected = BertForPreTraining.from_pretrained(folder).half()
    old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor.half()
           for name, tensor in stored(folder).items()}
    old["bert.embeddings.position_ids"] = torch.arange(P)[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].clone()
    store(folder, old, pickled)
    for model_class, part in ((BertForPreTraining, expected), (BertModel, expected.bert)):
        came = model_class.from_pretrained(folder)
        assert {parameter.dtype for parameter in came.parameters()} == {torch.float32}
        same(part.float(), came)


@pytest.mark.parametrize("head", ["", "classifier", "qa_outputs"])
def test_base_model_with_and_without_prefix(folder, head):
    expected, tensors = BertForPreTraining.from_pretrained(folder).bert, stored(folder)
    same(expected, BertModel.from_pretrained(folder))  # prefix and both heads
    base = {name: tensor for name, tensor in tensors.items() if name.startswith("bert.")}
    head = {f"{head}.weight": torch.ones(2, D), f"{head}.bias": torch.ones(2)} if head else {}
    store(folder, base | head)
    same(expected, BertModel.from_pretrained(folder))
    store(folder, {name.removeprefix("bert."): tensor for name, tensor in base.items()})
    same(expected, BertModel.from_pretrained(folder))


def test_a_file_without_pooler_is_read_with_a_warning(folder):
    """BertForMaskedLM has neither pooler nor NSP head."""
    expected, tensors = BertForPreTraining.from_pretrained(folder).bert, stored(folder)
    tensors = {name: tensor for name, tensor in tensors.items() if "pooler" not in name and "seq_rel" not in name}
    store(folder, tensors)
    with pytest.warns(UserWarning, match="lacks pooler.dense.weight and pooler.dense.bias: random until") as seen:
        came = BertModel.from_pretrained(folder)
    assert seen[0].filename == __file__, f"the warning should point at the caller, not at {seen[0].filename}"
    came.pooler = expected.pooler
    same(expected, came)
    refused(folder, "lacks bert.pooler.dense.weight (12, 12), which BertForPreTraining needs")
    store(folder, tensors | {"bert.pooler.dense.bias": torch.ones(D)})
    refused(folder, "lacks pooler.dense.weight (12, 12), which BertModel needs", model_class=BertModel)


def test_heads_are_not_made_up(folder):
    BertModel.from_pretrained(folder).save_pretrained(folder)
    refused(folder, "lacks cls.predictions.transform.dense.weight (12, 12), which BertForPreTraining needs",
            "saved as ['BertModel']")


# ------------------------------------------------ the tied weight


@pytest.mark.parametrize("way", ["loaded", "to", "state_dict", "deepcopy", "fresh"])
def test_decoder_and_embedding_stay_one_parameter(folder, way):
    model = BertForPreTraining(CONFIG) if way == "fresh" else BertForPreTraining.from_pretrained(folder)
    if way == "to":
        model.to(torch.float64)
    elif way == "deepcopy":
        model = copy.deepcopy(model)
    elif way == "state_dict":
        other = BertForPreTraining(CONFIG)
        other.load_state_dict(model.state_dict())
        same(model, other)
        model = other
    embedding, decoder = model.bert.embeddings.token.weight, model.mlm.decoder.weight
    assert embedding is decoder, "expected one parameter, came two; likely mistake: the tie is not renewed after a copy"
    assert embedding.data_ptr() == decoder.data_ptr()
    assert model.mlm.decoder.bias.shape == (V,), "the bias of the decoder is its own"

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    parameters = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert parameters.count(id(embedding)) == 1, "a weight that the optimizer holds twice takes two steps"
    before = embedding.detach().clone()
    model.mlm.decoder(torch.ones(D, dtype=embedding.dtype)).sum().backward()
    optimizer.step()
    assert model.bert.embeddings.token.weight.allclose(before - 1), "a step of the decoder must move the embedding"


# ------------------------------------------------ tensors that are refused


def without(name):
    return lambda tensors: tensors.pop(name)


def with_(name, *shape):
    return lambda tensors: tensors.update({name: torch.zeros(shape)})


QUERY = "bert.encoder.layer.1.attention.self.query.weight"
WRONG_TENSORS = {
    "missing": (without(QUERY), f"lacks {QUERY} (12, 12), which BertForPreTraining needs"),
    "missing at the end": (without("bert.encoder.layer.11.output.dense.bias"), "layer.11.output.dense.bias (12,)"),
    "missing position": (without("bert.embeddings.position_embeddings.weight"), "position_embeddings.weight (11, 12)"),
    "no decoder bias": (without("cls.predictions.bias"), "lacks cls.predictions.bias (37,)"),
    "extra": (with_("bert.encoder.extra.weight", 5, 4), "holds bert.encoder.extra.weight (5, 4), which has no place"),
    "extra layer": (with_("bert.encoder.layer.12.output.dense.bias", D), "holds bert.encoder.layer.12.output."),
    "another head": (with_("classifier.weight", 3, D), "holds classifier.weight (3, 12)"),
    "twice": (with_(QUERY.removeprefix("bert."), D, D), f"{QUERY.removeprefix('bert.')} (12, 12), which has no place"),
    "transposed": (with_("bert.encoder.layer.0.output.dense.weight", FF, D), "is (20, 12), expected (12, 20)"),
    "one third too large": (with_(QUERY, D + 1, D), f"{QUERY} is (13, 12), expected (12, 12)"),
    "a scalar": (with_("cls.seq_relationship.bias"), "cls.seq_relationship.bias is (), expected (2,)"),
    "untied weight": (with_("cls.predictions.decoder.weight", V, D), "cls.predictions.decoder.weight differs from"),
    "untied bias": (with_("cls.predictions.decoder.bias", V), "cls.predictions.decoder.bias differs from"),
}  # fmt: skip


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("case", WRONG_TENSORS)
def test_wrong_tensors(folder, case, pickled):
    change, message = WRONG_TENSORS[case]
    tensors = stored(folder)
    change(tensors)
    store(folder, tensors, pickled)
    refused(folder, message, str(folder / ("pytorch_model.bin" if pickled else "model.safetensors")))


# ------------------------------------------------ configs that are refused

WRONG_CONFIGS = {
    "another model": ({"model_type": "roberta"}, "says model_type = 'roberta'", "'bert'"),
    "another activation": ({"hidden_act": "gelu_new"}, "says hidden_act = 'gelu_new'", "'gelu'"),
    "relative positions": ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
    "a decoder": ({"is_decoder": True}, "is_decoder = True"),
    "cross-attention": ({"add_cross_attention": True}, "add_cross_attention = True"),
    "untied": ({"tie_word_embeddings": False}, "tie_word_embeddings = False"),
    "a word for a number": ({"layer_norm_eps": "tiny"}, "layer_norm_eps = 'tiny', which is not a number"),
    "null": ({"num_hidden_layers": None}, "num_hidden_layers = None, which is not a number"),
    "a broken size": ({"hidden_size": 12.5}, "does not fit together"),
    "heads that do not divide": ({"num_attention_heads": 5}, "n_heads = 5 must divide d_model = 12"),
    "no heads": ({"num_attention_heads": 0}, "does not fit together"),
    "a negative size": ({"vocab_size": -1}, "does not fit together"),
    "too much dropout": ({"hidden_dropout_prob": 2}, "does not fit together"),
    "too few layers": ({"num_hidden_layers": 11}, "holds bert.encoder.layer.11."),
    "too many layers": ({"num_hidden_layers": 13}, "lacks bert.encoder.layer.12."),
    "another vocabulary": ({"vocab_size": 36}, "word_embeddings.weight is (37, 12), expected (36, 12)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_CONFIGS)
def test_wrong_configs(folder, case):
    changes, *words = WRONG_CONFIGS[case]
    change_config(folder, **changes)
    refused(folder, str(folder), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        (b"", "is not JSON"),
        (b'{"model_type": "bert",', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'["bert"]', "names no model_type"),
        (b'{"d_model": 12, "steps": 900}', "names no model_type"),  # the config.json of a run
    ],
)
def test_files_that_are_no_config(folder, content, words):
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_bytes(content)
    refused(folder, words, str(folder / "config.json"))


# ------------------------------------------------ files that are refused


def test_absent_files(folder):
    refused(folder / "bert-base-uncased", "is not a directory", "hf download")
    refused(folder / "config.json", "is not a directory")
    (folder / "model.safetensors").unlink()
    refused(folder, "holds neither model.safetensors nor pytorch_model.bin")


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("damage", ["half", "head", "empty", "garbage"])
def test_damaged_weights(folder, pickled, damage):
    store(folder, stored(folder), pickled)
    path = folder / ("pytorch_model.bin" if pickled else "model.safetensors")
    whole = path.read_bytes()
    left = {"half": whole[: len(whole) // 2], "head": whole[:7], "empty": b"", "garbage": b"\x13\x37" * 999}
    path.write_bytes(left[damage])
    refused(folder, str(path))


class Code:
    """Unpickling it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_with_code_is_not_run(folder):
    store(folder, stored(folder) | {"cls.code": Code(folder / "hacked")}, pickled=True)
    refused(folder, "pytorch_model.bin", "not opened")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Code(folder / "hacked"), protocol=2))
    refused(folder, "pytorch_model.bin")
    assert not (folder / "hacked").exists(), "code of the file ran; likely mistake: no weights_only=True"


@pytest.mark.parametrize("content", [[torch.ones(2)], {"model": {"a": torch.ones(2)}}, torch.ones(2), {"step": 3}])
def test_a_pickle_of_something_else(folder, content):
    store(folder, content, pickled=True)
    refused(folder, "pytorch_model.bin", "is not a checkpoint of a model")


def test_without_safetensors(folder, tmp_path, monkeypatch):
    expected, tensors = BertForPreTraining.from_pretrained(folder), stored(folder)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    refused(folder, "model.safetensors needs the package safetensors: pip install")
    with pytest.raises(UserError, match="writing model.safetensors needs the package safetensors: pip install"):
        expected.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists(), "half a checkpoint was written"
    torch.save(tensors, folder / "pytorch_model.bin")  # beside the other, which cannot be read
    same(expected, BertForPreTraining.from_pretrained(folder))


# ------------------------------------------------ writing is all or nothing


def test_a_full_disk_leaves_the_previous_checkpoint(folder):
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of a file")
    expected = BertForPreTraining.from_pretrained(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        with pytest.raises(UserError, match="safetensors could not be written .*; the previous one, .* is intact"):
            random_model().save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}, "a part was left over"
    same(expected, BertForPreTraining.from_pretrained(folder))


def test_a_crash_while_writing_leaves_the_previous_checkpoint(folder, monkeypatch):
    expected = BertForPreTraining.from_pretrained(folder)

    def half(tensors, path, metadata=None):
        Path(path).write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        random_model().save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}, "a part was left over"
    same(expected, BertForPreTraining.from_pretrained(folder))


def test_a_place_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="taken cannot be made"):
        random_model().save_pretrained(tmp_path / "taken")
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


# ------------------------------------------------ what BERT has not: turned matrices, dots, unequal cuts, null


@dataclass(frozen=True)
class ToyConfig:
    width: int = 4
    base: float = 10.0
    shared: int | None = None  # may be null
    end: int = 2  # may not


class Toy(nn.Module):
    """Eleven layers, each with two stacked matrices, cut unequally, and two square ones."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(nn.ModuleDict({
            "three": Stacked(config.width, (5, 2, 3)), "two": Stacked(config.width, (1, 6)),
            "turned": nn.Linear(config.width, config.width), "plain": nn.Linear(config.width, config.width)})
            for _ in range(11))
        for parameter in self.parameters():
            nn.init.normal_(parameter)


TOY = hub.Layout(
    architecture="ToyModel",
    modules={
        "layers.{i}.three": ("base.h.{i}.a", "base.h.{i}.b", "base.h.{i}.c"),
        "layers.{i}.two": ("base.h.{i}.gate", "base.h.{i}.up"),
        "layers.{i}.turned": "base.h.{i}.turned",
        "layers.{i}.plain": "base.h.{i}.plain",
    },
    config={"width": "n_embd", "base": ("rope.theta", "theta"), "shared": "n_shared", "end": ("end", "begin")},
    constants={"model_type": "toy", "rope.kind": "default", "scaling": None},
    prefix="base.",
    left_out=frozenset({"h.{i}.buffer"}),
    transposed=frozenset({"layers.{i}.turned", "layers.{i}.two"}))


@pytest.fixture
def toy(tmp_path) -> Path:
    """A random Toy, written."""
    hub.save(Toy(ToyConfig(base=7.0, shared=3, end=5)), TOY, tmp_path)
    return tmp_path


def load_toy(folder: Path, layout: hub.Layout = TOY) -> Toy:
    return hub.load(Toy, ToyConfig, layout, folder)


def toy_refused(folder: Path, *words: str, layout: hub.Layout = TOY) -> None:
    with pytest.raises(UserError) as caught:
        load_toy(folder, layout)
    message = str(caught.value)
    assert "\n" not in message, f"expected one line, came {message!r}"
    assert all(word in message for word in words), f"expected a message with {words}, came {message!r}"


def test_unequal_parts_and_turned_matrices(toy):
    tensors, layer = stored(toy), load_toy(toy).layers[10]
    three, two = layer["three"], layer["two"]
    expected = {
        "a.weight": three.weight[:5], "b.weight": three.weight[5:7], "c.weight": three.weight[7:],
        "a.bias": three.bias[:5], "b.bias": three.bias[5:7], "c.bias": three.bias[7:],
        "gate.weight": two.weight[:1].T, "up.weight": two.weight[1:].T,
        "gate.bias": two.bias[:1], "up.bias": two.bias[1:],
        "turned.weight": layer["turned"].weight.T, "turned.bias": layer["turned"].bias,
        "plain.weight": layer["plain"].weight, "plain.bias": layer["plain"].bias,
    }  # fmt: skip
    came = {name.removeprefix("base.h.10."): x for name, x in tensors.items() if name.startswith("base.h.10.")}
    assert came.keys() == expected.keys()
    for name in expected:
        assert came[name].shape == expected[name].shape and came[name].equal(expected[name]), (
            f"{name}: likely mistake: cut into equal thirds, cut in another order, or not turned")


def test_a_toy_comes_back(toy):
    model = Toy(ToyConfig(base=7.0, shared=3, end=5))
    hub.save(model, TOY, toy)
    came = load_toy(toy)
    assert came.config == model.config
    same(model, came)


def test_a_turned_matrix_of_another_shape_is_refused(toy):
    name = "base.h.3.up.weight"
    store(toy, stored(toy) | {name: torch.zeros(6, 4)})
    toy_refused(toy, f"{name} is (6, 4), expected (4, 6)")


def test_a_name_with_a_dot_is_a_field_of_an_object(toy):
    came = json.loads((toy / "config.json").read_text(encoding="utf-8"))
    assert came == {"architectures": ["ToyModel"], "model_type": "toy", "rope": {"kind": "default", "theta": 7.0},
                    "scaling": None, "n_embd": 4, "theta": 7.0, "n_shared": 3, "end": 5, "begin": 5}


TOY_CONFIGS = {  # changes to config.json, what is read
    "the object comes first": ({"theta": 1.0}, {"base": 7.0}),
    "an object without it": ({"rope": {"kind": "default"}, "theta": 1.0}, {"base": 1.0}),
    "no object": ({"rope": None, "theta": 1.0}, {"base": 1.0}),
    "an object that is none": ({"rope": 3, "theta": 1.0}, {"base": 1.0}),
    "null where our default is None": ({"n_shared": None}, {"shared": None}),
    "the second name is not looked at": ({"begin": 9}, {"end": 5}),
}


@pytest.mark.parametrize("case", TOY_CONFIGS)
def test_rules_of_config_json(toy, case):
    changes, expected = TOY_CONFIGS[case]
    change_config(toy, **changes)
    came = load_toy(toy).config
    assert {name: getattr(came, name) for name in expected} == expected


@pytest.mark.parametrize(("changes", "words"), [
    ({"rope": {"kind": "llama3"}}, "rope.kind = 'llama3'; this ToyModel has 'default' only"),
    ({"scaling": {"kind": "linear"}}, "scaling = {'kind': 'linear'}; this ToyModel has None only"),
    ({"n_embd": None}, "n_embd = None, which is not a number"),
    ({"rope": {"theta": None}}, "rope.theta = None, which is not a number"),
    ({"n_shared": "three"}, "n_shared = 'three', which is not a number"),
    ({"n_shared": [3]}, "n_shared = [3], which is not a number"),
    ({"end": None}, "end = None, which is not a number"),
], ids=str)  # fmt: skip
def test_configs_that_break_the_rules(toy, changes, words):
    change_config(toy, **changes)
    toy_refused(toy, str(toy / "config.json"), words)


def test_what_is_left_out_is_left_out_in_every_layer(toy):
    expected, tensors = load_toy(toy), stored(toy)
    store(toy, tensors | {"base.h.0.buffer": torch.ones(2), "h.10.buffer": torch.ones(2)})
    same(expected, load_toy(toy))
    store(toy, tensors | {"base.h.0.buffers": torch.ones(2)})
    toy_refused(toy, "holds base.h.0.buffers (2,), which has no place in ToyModel")


# ------------------------------------------------ words for values, and a tensor that stands in for another

SPOKEN = replace(TOY, words={"end": {5: "five", 2: "two"}})


def test_a_value_is_written_and_read_by_its_word(toy):
    for end, word in ((5, "five"), (2, "two")):
        hub.save(Toy(ToyConfig(end=end)), SPOKEN, toy)
        came = json.loads((toy / "config.json").read_text(encoding="utf-8"))
        assert (came["end"], came["begin"]) == (word, word), f"expected {word!r} under both names, came {came}"
        assert came["n_embd"] == 4, "a field without words is written as it is"
        assert load_toy(toy, SPOKEN).config.end == end, "the word is turned back into our value"


def test_an_absent_word_is_our_default(toy):
    hub.save(Toy(ToyConfig(end=5)), SPOKEN, toy)
    path = toy / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({name: x for name, x in config.items() if name not in ("end", "begin")}))
    assert load_toy(toy, SPOKEN).config.end == 2


@pytest.mark.parametrize("value", ["six", "", 5, None, True, ["five"], {"five": 5}], ids=str)
def test_another_word_is_refused(toy, value):
    hub.save(Toy(ToyConfig()), SPOKEN, toy)
    change_config(toy, end=value)
    toy_refused(toy, str(toy / "config.json"), f"end = {value!r}; known here are five, two", layout=SPOKEN)


LENT = replace(TOY, stands_in={"h.0.plain.weight": "h.10.turned.weight"})  # both square


def test_a_tensor_that_is_absent_is_taken_from_another(toy):
    tensors = stored(toy)
    expected = load_toy(toy)
    absent = tensors.pop("base.h.0.plain.weight")
    store(toy, tensors)
    came = load_toy(toy, LENT)
    for name, parameter in came.named_parameters():
        if name == "layers.0.plain.weight":
            other = tensors["base.h.10.turned.weight"]
            assert parameter.equal(other) and not parameter.equal(absent), "the tensor as the file has it stands in"
        else:
            assert parameter.equal(expected.get_parameter(name)), f"{name} is read as ever"
    with torch.no_grad():
        came.layers[0]["plain"].weight += 1
    assert came.layers[10]["turned"].weight.equal(expected.layers[10]["turned"].weight), "two parameters, not one"
    store(toy, {name.removeprefix("base."): tensor for name, tensor in tensors.items()})
    assert load_toy(toy, LENT).layers[0]["plain"].weight.equal(other), "with the prefix or without"


def test_a_tensor_that_is_there_needs_nobody(toy):
    same(load_toy(toy), load_toy(toy, LENT))


def test_what_has_no_stand_in_is_still_missed(toy):
    tensors = stored(toy)
    tensors.pop("base.h.0.plain.weight")
    store(toy, tensors)
    toy_refused(toy, "lacks base.h.0.plain.weight (4, 4)")
    for other, message in (({"h.1.plain.weight": "h.0.turned.weight"}, "lacks base.h.0.plain.weight (4, 4)"),
                           ({"h.0.plain.weight": "h.0.a.weight"}, "base.h.0.plain.weight is (5, 4), expected (4, 4)")):
        toy_refused(toy, message, layout=replace(TOY, stands_in=other))
    del tensors["base.h.10.turned.weight"]
    store(toy, tensors)
    toy_refused(toy, "lacks base.h.0.plain.weight (4, 4)", layout=LENT)


# ------------------------------------------------ T5: two stacks, names of two kinds, a head that comes and goes

OLD_T5 = T5Config(vocab_size=V, d_model=D, d_head=5, d_ff=FF, n_layers=2, n_decoder_layers=11, n_heads=3, n_buckets=6,
                  max_distance=9, dropout=0.25, norm_eps=1e-5, pad_id=2, eos_id=3, start_id=4)
T5S = {"v1.0": OLD_T5, "v1.1": replace(OLD_T5, gated=True, tied=False)}
t5_version = pytest.mark.parametrize("version", T5S)


def random_t5(version: str) -> T5:
    model = T5(T5S[version]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def published_t5(model: T5) -> dict[str, torch.Tensor]:
    """Every tensor of a published T5, by its name, cut out of our model by hand."""
    inner = 3 * 5  # heads, wide
    expected = {"shared.weight": model.token.weight}
    if not model.config.tied:
        expected["lm_head.weight"] = model.head.weight

    def add(place: str, attention: nn.Module, norm: nn.Module, layer: str) -> None:
        for i, letter in enumerate("qkv"):
            expected[f"{layer}.{place}.{letter}.weight"] = attention.qkv.weight[i * inner : (i + 1) * inner]
        expected[f"{layer}.{place}.o.weight"] = attention.out.weight
        expected[f"{layer}.layer_norm.weight"] = norm.weight

    for side, last in (("encoder", 1), ("decoder", 2)):
        stack, bias = getattr(model, side), getattr(model, f"{side}_bias")
        expected[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = bias.table.weight
        expected[f"{side}.final_layer_norm.weight"] = stack.final_norm.weight
        for n, block in enumerate(stack.blocks):
            at = f"{side}.block.{n}.layer"
            add("SelfAttention", block.attention, block.attention_norm, f"{at}.0")
            if side == "decoder":
                add("EncDecAttention", block.cross_attention, block.cross_norm, f"{at}.1")
            inside = f"{at}.{last}.DenseReluDense"
            if model.config.gated:
                expected[f"{inside}.wi_0.weight"], expected[f"{inside}.wi_1.weight"] = (
                    block.feed_forward.gate_up.weight.split(FF))
            else:
                expected[f"{inside}.wi.weight"] = block.feed_forward.up.weight
            expected[f"{inside}.wo.weight"] = block.feed_forward.down.weight
            expected[f"{at}.{last}.layer_norm.weight"] = block.feed_forward_norm.weight
    return expected


@t5_version
def test_what_a_t5_file_holds(tmp_path, version):
    model = random_t5(version)
    model.save_pretrained(tmp_path)
    came, expected = stored(tmp_path), published_t5(model)
    assert came.keys() == expected.keys(), f"one side alone has {sorted(came.keys() ^ expected.keys())[:5]}"
    for name, tensor in expected.items():
        assert came[name].equal(tensor), f"{name}; likely mistake: q, k, v or wi_0, wi_1 in another order"


@t5_version
@pytest.mark.parametrize("pickled", [False, True])
def test_a_t5_file_is_read(tmp_path, version, pickled):
    model = random_t5(version)
    model.save_pretrained(tmp_path)  # for config.json
    store(tmp_path, {name: tensor.detach().clone() for name, tensor in published_t5(model).items()}, pickled)
    came = T5.from_pretrained(tmp_path)
    assert came.config == T5S[version], f"expected {T5S[version]}, came {came.config}"
    assert not came.training, "a model that was read must have its dropout off, or its answers are random"
    same(model, came)
    assert (came.head.weight is came.token.weight) == (version == "v1.0"), "v1.0 has one matrix for both"


@t5_version
def test_config_json_of_a_t5(tmp_path, version):
    random_t5(version).save_pretrained(tmp_path)
    came = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    expected = {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": V, "d_model": D, "d_kv": 5,
        "d_ff": FF, "num_layers": 2, "num_decoder_layers": 11, "num_heads": 3, "relative_attention_num_buckets": 6,
        "relative_attention_max_distance": 9, "dropout_rate": 0.25, "layer_norm_epsilon": 1e-5, "pad_token_id": 2,
        "eos_token_id": 3, "decoder_start_token_id": 4,
        "feed_forward_proj": {"v1.0": "relu", "v1.1": "gated-gelu"}[version],
        "scale_decoder_outputs": version == "v1.0", "tie_word_embeddings": version == "v1.0",
    }  # fmt: skip
    assert came == expected


def test_views_of_a_t5_share_the_memory_of_the_model():
    model = random_t5("v1.1")
    for view in hub.views(model, T5_LAYOUT).values():
        view.fill_(7.0)
    wrong = [name for name, parameter in model.named_parameters() if not (parameter == 7).all()]
    assert not wrong, f"writing into the views did not reach {wrong}; likely mistake: a view is a copy"


def test_the_head_of_a_t5(tmp_path):
    """In the file or not; equal to the embeddings or not."""
    head = {"lm_head.weight": torch.randn(V, D)}
    for version in T5S:
        random_t5(version).save_pretrained(tmp_path / version)
        tensors = stored(tmp_path / version)
        tensors.pop("lm_head.weight", None)
        shared = tensors["shared.weight"]
        for case, more, expected in (("absent", {}, shared), ("repeated", {"lm_head.weight": shared.clone()}, shared),
                                     ("of its own", head, head["lm_head.weight"])):
            store(tmp_path / version, tensors | more)
            if version == "v1.0" and case == "of its own":
                refused(tmp_path / version, "lm_head.weight differs from shared.weight", model_class=T5)
                continue
            came = T5.from_pretrained(tmp_path / version)
            assert came.head.weight.equal(expected), f"{version}, {case}: expected another head"
            assert came.token.weight.equal(shared), f"{version}, {case}: the embeddings are their own"
            assert (came.head.weight is came.token.weight) == (version == "v1.0"), f"{version}, {case}: the tie"


def test_what_says_whether_a_t5_is_tied(tmp_path):
    """transformers 5 has a word of its own for it, which goes before; older files have one, or none."""
    random_t5("v1.1").save_pretrained(tmp_path / "v1.1")
    random_t5("v1.0").save_pretrained(tmp_path / "v1.0")
    for version, words in (("v1.1", {"scale_decoder_outputs": False, "tie_word_embeddings": True}),
                           ("v1.1", {"tie_word_embeddings": False}), ("v1.0", {"tie_word_embeddings": True}),
                           ("v1.0", {"scale_decoder_outputs": True, "tie_word_embeddings": True}), ("v1.0", {})):
        path = tmp_path / version / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config = {name: x for name, x in config.items() if name not in ("scale_decoder_outputs", "tie_word_embeddings")}
        path.write_text(json.dumps(config | words), encoding="utf-8")
        assert T5.from_pretrained(tmp_path / version).config == T5S[version], f"{words} is {version}"


def test_a_t5_is_no_bert_and_no_mt5(folder, tmp_path):
    refused(folder, "says model_type = 'bert'; this T5ForConditionalGeneration has 't5' only", model_class=T5)
    random_t5("v1.0").save_pretrained(tmp_path / "t5")
    refused(tmp_path / "t5", "says model_type = 't5'; this BertForPreTraining has 'bert' only")
    change_config(tmp_path / "t5", model_type="mt5")
    refused(tmp_path / "t5", "says model_type = 'mt5'", model_class=T5)
