"""What the published T5s call things, in the Hugging Face layout (see common/hub.py): v1.0, and v1.1 with Flan-T5."""

from common.hub import Layout


def stack(side: str, cross_attention: bool) -> dict[str, str | tuple[str, ...]]:
    """The modules of one side: `layer.0` is self-attention, then cross-attention if any, then the feed-forward."""
    ours, theirs = f"{side}.blocks.{{i}}", f"{side}.block.{{i}}.layer"
    modules = {f"{side}_bias.table": f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias",
               f"{side}.final_norm": f"{side}.final_layer_norm"}
    parts = [("attention", "attention_norm", "SelfAttention")]
    if cross_attention:
        parts.append(("cross_attention", "cross_norm", "EncDecAttention"))
    for n, (attention, norm, name) in enumerate(parts):
        modules |= {f"{ours}.{attention}.qkv": tuple(f"{theirs}.{n}.{name}.{letter}" for letter in "qkv"),
                    f"{ours}.{attention}.out": f"{theirs}.{n}.{name}.o",
                    f"{ours}.{norm}": f"{theirs}.{n}.layer_norm"}
    last = f"{theirs}.{len(parts)}"
    return modules | {f"{ours}.feed_forward.up": f"{last}.DenseReluDense.wi",
                      f"{ours}.feed_forward.gate_up": (f"{last}.DenseReluDense.wi_0", f"{last}.DenseReluDense.wi_1"),
                      f"{ours}.feed_forward.down": f"{last}.DenseReluDense.wo",
                      f"{ours}.feed_forward_norm": f"{last}.layer_norm"}


T5_LAYOUT = Layout(
    architecture="T5ForConditionalGeneration",
    modules={"token": "shared", "head": "lm_head"} | stack("encoder", False) | stack("decoder", True),
    config={
        "vocab_size": "vocab_size",
        "d_model": "d_model",
        "d_head": "d_kv",
        "d_ff": "d_ff",
        "n_layers": "num_layers",
        "n_decoder_layers": "num_decoder_layers",
        "n_heads": "num_heads",
        "n_buckets": "relative_attention_num_buckets",
        "max_distance": "relative_attention_max_distance",
        "dropout": "dropout_rate",
        "norm_eps": "layer_norm_epsilon",
        "gated": "feed_forward_proj",
        # `transformers` 5 says so by a word of its own, and that embeddings are tied of every T5
        "tied": ("scale_decoder_outputs", "tie_word_embeddings"),
        "pad_id": "pad_token_id",
        "eos_id": "eos_token_id",
        "start_id": "decoder_start_token_id",
    },
    words={"gated": {False: "relu", True: "gated-gelu"}},
    constants={"model_type": "t5"},
    copies={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight",
            "lm_head.weight": "shared.weight"},
    stands_in={"lm_head.weight": "shared.weight"},  # version 1.1 made anew in `transformers` 5: one matrix
    # Mesh TensorFlow gave cross-attention a table as well, and never used it
    left_out=frozenset({"decoder.block.{i}.layer.1.EncDecAttention.relative_attention_bias.weight"}))
