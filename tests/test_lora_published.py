"""LoRAs in the layout of `peft` (lora/published.py): ours opens there, theirs here, and what is refused."""

import json

import pytest
import torch

from common.command import UserError
from lora import add_lora, load_adapter, save_adapter, trainable_parameters
from lora.lora import loras
from minibert import BertConfig, BertForPreTraining, BertModel
from minigpt import GPT, GPTConfig, Llama, LlamaConfig
from minit5 import T5, T5Config
from tests.explain import close, equal
from tests.oracle import oracle

V = 50
CASES = {  # ours, the class of transformers, what `peft` adapts in it
    "bert": (lambda: BertModel(BertConfig(V, 24, 2, 3, 40, 16)), "BertModel", ["query", "value", "word_embeddings"]),
    "bert with heads": (lambda: BertForPreTraining(BertConfig(V, 24, 2, 3, 40, 16)), "BertForPreTraining",
                        ["key", "output.dense"]),
    "gpt": (lambda: GPT(GPTConfig(V, 24, 2, 3, max_len=16, eos_id=0)), "GPT2LMHeadModel", ["c_attn", "c_proj"]),
    "llama": (lambda: Llama(LlamaConfig(V, 24, 2, 3, 1, d_ff=40, max_len=16)), "LlamaForCausalLM",
              ["q_proj", "up_proj", "down_proj"]),
    "t5": (lambda: T5(T5Config(V, 24, 8, 40, 2, n_heads=3, gated=True, tied=False)), "T5ForConditionalGeneration",
           ["q", "v", "wi_0"]),
}
TARGETS = [("q", "v"), ("qkv", "*out", "down"), ("q", "up")]
TABLES = {"bert": "embeddings.token", "llama": "token", "gpt": "position"}  # of vectors, which are not tied
each = pytest.mark.parametrize("name", CASES)


def first(out):
    """The logits or states that a model gives, whatever it wraps them in."""
    if isinstance(out, torch.Tensor):
        return out
    return out[0] if isinstance(out, tuple) else out.logits if hasattr(out, "logits") else next(iter(out.values()))


def run(model):
    ids = torch.randint(1, V, (2, 7), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        if isinstance(model, T5):
            return model(ids, ids)
        both = "T5" in type(model).__name__
        return first(model(input_ids=ids, decoder_input_ids=ids) if both else model(ids))


def learned(model):
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.normal_(std=0.2)
    return model


@pytest.fixture
def libraries():
    transformers, peft = oracle("transformers"), oracle("peft")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers, peft


ADAPTED = [*((name, targets) for name in CASES for targets in TARGETS),
           *((name, ("q", table)) for name, table in TABLES.items())]


@pytest.mark.parametrize(("name", "targets"), ADAPTED, ids=lambda x: x if isinstance(x, str) else " ".join(x))
@pytest.mark.filterwarnings("ignore")
def test_ours_opens_there(name, targets, tmp_path, libraries):
    transformers, peft = libraries
    make, architecture, _ = CASES[name]
    model = make().eval()
    model.save_pretrained(tmp_path / "base")
    base = run(model)
    add_lora(model, targets, r=4, alpha=8)
    expected = run(learned(model))
    assert (expected - base).abs().max() > 1e-2, "the adapter must matter"
    save_adapter(model, tmp_path / "adapter", base="base")
    other = getattr(transformers, architecture).from_pretrained(tmp_path / "base")
    other = peft.PeftModel.from_pretrained(other, tmp_path / "adapter").eval()
    close(run(other.base_model.model), expected, "names, alpha / r, or the rows of a part", rtol=1e-4, atol=1e-5)
    again = load(name, tmp_path)
    close(run(again), expected, "and it opens here", rtol=1e-4, atol=1e-5)
    assert {p.name for p in (tmp_path / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


@each
@pytest.mark.filterwarnings("ignore")
def test_theirs_opens_here(name, tmp_path, libraries):
    transformers, peft = libraries
    make, architecture, theirs = CASES[name]
    make().save_pretrained(tmp_path / "base")
    other = getattr(transformers, architecture).from_pretrained(tmp_path / "base")
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=theirs, lora_dropout=0.1,
                             rank_pattern={theirs[0]: 2}, alpha_pattern={theirs[1]: 3})
    other = peft.get_peft_model(other, config)
    learned(other).eval().save_pretrained(tmp_path / "adapter")
    model = load(name, tmp_path)
    close(run(model), run(other.base_model.model), "names, alpha / r, or the rows of a part", rtol=1e-4, atol=1e-5)
    equal({len(pair.A) for layer in loras(model).values() for pair in layer.pairs.values()}, {2, 4}, "ranks")
    equal({layer.dropout.p for layer in loras(model).values()}, {0.1}, "dropout")
    expected = run(model)
    save_adapter(model, tmp_path / "adapter")
    close(run(load(name, tmp_path)), expected, "written again, with ranks and alphas that differ", rtol=1e-4, atol=1e-5)


def load(name, folder):
    model = type(CASES[name][0]()).from_pretrained(folder / "base")
    load_adapter(model, folder / "adapter")
    return model.eval()


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_itself(tmp_path, libraries):
    """GPT-2 there keeps its matrices as (in, out), in a class of its own; ours wraps it, `peft` reads the file."""
    transformers, peft = libraries
    GPT(GPTConfig(V, 24, 2, 3, max_len=16, eos_id=0)).save_pretrained(tmp_path / "base")
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base").eval()
    base = run(model)
    add_lora(model, ["c_attn"], r=4)
    close(run(model), base, "B begins at zero", rtol=0, atol=0)
    expected = run(learned(model))
    save_adapter(model, tmp_path / "adapter")
    other = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    other = peft.PeftModel.from_pretrained(other, tmp_path / "adapter").eval()
    close(run(other.base_model.model), expected, "a matrix as (in, out)", rtol=1e-4, atol=1e-5)


def test_q_and_v_of_gpt_2_are_one_pair_in_the_file(tmp_path):
    safetensors = oracle("safetensors.torch")
    model = CASES["gpt"][0]()
    add_lora(model, ("q", "v"), r=4, alpha=8)
    learned(model)
    save_adapter(model, tmp_path)
    tensors = safetensors.load_file(tmp_path / "adapter_model.safetensors")
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_{}.weight"
    A, B = tensors[name.format("A")], tensors[name.format("B")]
    equal((tuple(A.shape), tuple(B.shape), len(tensors)), ((8, 24), (72, 8), 4), "rank 2r, and nothing of the base")
    assert not B[:24, 4:].any() and not B[24:48].any() and not B[48:, :4].any(), "Q's half for Q, V's for V, none for K"
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    equal((config["r"], config["lora_alpha"], config["fan_in_fan_out"]), (8, 16, True), "alpha / r stays 2")


# ---- what is refused


@pytest.fixture
def adapter(tmp_path):
    """A folder with an adapter of a small Llama."""
    oracle("safetensors")
    model = CASES["llama"][0]()
    add_lora(model, r=4)
    save_adapter(model, tmp_path)
    return tmp_path


def refused(folder, *words, model=None):
    model = model or CASES["llama"][0]()
    before = [p.requires_grad for p in model.parameters()]
    with pytest.raises(UserError) as error:
        load_adapter(model, folder)
    assert all(word in str(error.value) for word in words), f"expected {words}, came {error.value}"
    assert "\n" not in str(error.value)
    equal([p.requires_grad for p in model.parameters()], before, "a refusal leaves the model as it was")


def test_another_base(adapter):
    wider = Llama(LlamaConfig(V, 48, 2, 6, 2, d_ff=40, max_len=16))
    refused(adapter, "the pair for model.layers.0.self_attn.q_proj is (4, 24) and (24, 4)", "(48, 48)", model=wider)
    fewer = Llama(LlamaConfig(V, 24, 1, 3, 1, d_ff=40, max_len=16))
    refused(adapter, "holds a pair for model.layers.1.self_attn.q_proj, which this model has not", model=fewer)
    refused(adapter, "holds a pair for model.layers.0.self_attn.q_proj", model=CASES["bert"][0]())


def test_nothing_there(tmp_path):
    refused(tmp_path, "cannot read", "adapter_config.json")


def test_no_weights(adapter):
    (adapter / "adapter_model.safetensors").unlink()
    refused(adapter, "holds neither adapter_model.safetensors nor adapter_model.bin")


def test_weights_cut_off(adapter):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    refused(adapter, "adapter_model.safetensors is missing or damaged")


class Harmful:
    def __reduce__(self):
        return print, ("code has run",)


def test_code_in_the_file(adapter, capsys):
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"base_model.model.model.norm.lora_A.weight": Harmful()}, adapter / "adapter_model.bin")
    refused(adapter, "adapter_model.bin was not opened", "more than plain tensors")
    assert "code has run" not in capsys.readouterr().out


CONFIGS = {"another method": ({"peft_type": "IA3"}, "peft_type = 'IA3'"), "biases": ({"bias": "all"}, "bias = 'all'"),
           "a changed base": ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
           "some tokens": ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
           "DoRA": ({"use_dora": True}, "use_dora"), "heads": ({"modules_to_save": ["score"]}, "modules_to_save")}


@pytest.mark.parametrize(("change", "word"), CONFIGS.values(), ids=CONFIGS)
def test_more_than_lora(adapter, change, word):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(adapter, "adapter_config.json", word)


DAMAGED = ["", "[]", "{}", *(json.dumps({"peft_type": "LORA", "lora_alpha": 8} | other) for other in (
    {"lora_alpha": "much"}, {"lora_alpha": 0}, {"lora_dropout": None}, {"lora_dropout": 2}, {"alpha_pattern": [1]},
    {"alpha_pattern": {"*.q": 3}}))]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_config(adapter, text):
    (adapter / "adapter_config.json").write_text(text)
    refused(adapter, "adapter_config.json is not the description of a LoRA")


def test_a_tensor_that_is_none_of_a_lora(adapter):
    safetensors = oracle("safetensors.torch")
    path = adapter / "adapter_model.safetensors"
    tensors = safetensors.load_file(path)
    safetensors.save_file(tensors | {"base_model.model.lm_head.weight": torch.zeros(2, 2)}, path)
    refused(adapter, "holds base_model.model.lm_head.weight (2, 2), which is no part of a LoRA")
    alone = {name: tensor for name, tensor in tensors.items() if "layers.1.self_attn.v_proj.lora_B" not in name}
    safetensors.save_file(alone, path)
    refused(adapter, "model.layers.1.self_attn.v_proj has A alone")


def test_the_table_of_a_t5_has_no_place(tmp_path):
    """`transformers` looks into copies of it: saved, the pair would do nothing there."""
    model = CASES["t5"][0]()
    add_lora(model, ["token", "q"], r=2)
    with pytest.raises(UserError, match="the LoRA of token cannot be saved"):
        save_adapter(model, tmp_path)


def test_a_second_adapter(adapter):
    model = CASES["llama"][0]()
    load_adapter(model, adapter)
    with pytest.raises(UserError, match="has LoRAs already"):
        load_adapter(model, adapter)


def test_nothing_to_save(tmp_path):
    with pytest.raises(UserError, match="has no LoRA"):
        save_adapter(CASES["llama"][0](), tmp_path)
