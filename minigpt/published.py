"""What the published GPTs, LLaMAs and Qwens call things, in the Hugging Face layout (see common/hub.py)."""

from dataclasses import replace

from common.hub import Layout

GPT2 = Layout(
    architecture="GPT2LMHeadModel",
    modules={
        "token": "transformer.wte",
        "position": "transformer.wpe",
        "decoder.blocks.{i}.attention_norm": "transformer.h.{i}.ln_1",
        "decoder.blocks.{i}.attention.qkv": "transformer.h.{i}.attn.c_attn",  # they stack query, key and value as well
        "decoder.blocks.{i}.attention.out": "transformer.h.{i}.attn.c_proj",
        "decoder.blocks.{i}.feed_forward_norm": "transformer.h.{i}.ln_2",
        "decoder.blocks.{i}.feed_forward.up": "transformer.h.{i}.mlp.c_fc",
        "decoder.blocks.{i}.feed_forward.down": "transformer.h.{i}.mlp.c_proj",
        "decoder.final_norm": "transformer.ln_f",
    },
    config={
        "vocab_size": "vocab_size",
        "d_model": "n_embd",
        "n_layers": "n_layer",
        "n_heads": "n_head",
        "d_ff": "n_inner",  # null there, and None here, says four times d_model
        "max_len": "n_positions",
        "dropout": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),  # one rate here
        "norm_eps": "layer_norm_epsilon",
        "eos_id": ("eos_token_id", "bos_token_id"),
    },
    constants={
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    prefix="transformer.",
    copies={"lm_head.weight": "wte.weight"},
    left_out=frozenset({"h.{i}.attn.bias", "h.{i}.attn.masked_bias"}),  # the causal mask, which old files carry
    # GPT-2 came with TensorFlow's kind of matrix, (in, out), which `transformers` kept (its Conv1D)
    transposed=frozenset(f"decoder.blocks.{{i}}.{name}" for name in ("attention.qkv", "attention.out",
                                                                     "feed_forward.up", "feed_forward.down")))

LLAMA = Layout(
    architecture="LlamaForCausalLM",
    modules={
        "token": "model.embed_tokens",
        "decoder.blocks.{i}.attention_norm": "model.layers.{i}.input_layernorm",
        "decoder.blocks.{i}.attention.qkv": ("model.layers.{i}.self_attn.q_proj", "model.layers.{i}.self_attn.k_proj",
                                             "model.layers.{i}.self_attn.v_proj"),
        "decoder.blocks.{i}.attention.out": "model.layers.{i}.self_attn.o_proj",
        "decoder.blocks.{i}.feed_forward_norm": "model.layers.{i}.post_attention_layernorm",
        "decoder.blocks.{i}.feed_forward.gate_up": ("model.layers.{i}.mlp.gate_proj", "model.layers.{i}.mlp.up_proj"),
        "decoder.blocks.{i}.feed_forward.down": "model.layers.{i}.mlp.down_proj",
        "decoder.final_norm": "model.norm",
        "head": "lm_head",
    },
    config={
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "d_head": "head_dim",
        "d_ff": "intermediate_size",
        "max_len": "max_position_embeddings",
        "norm_eps": "rms_norm_eps",
        "rope_base": ("rope_parameters.rope_theta", "rope_theta"),  # today's place, and that of older files
        "tied": "tie_word_embeddings",
        "bos_id": "bos_token_id",
        "eos_id": "eos_token_id",
    },
    constants={
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_scaling": None,  # LLaMA 3.1 stretches its rotary positions; this one does not
        "rope_parameters.rope_type": "default",
    },
    prefix="model.",
    copies={"lm_head.weight": "embed_tokens.weight"},
    left_out=frozenset({"layers.{i}.self_attn.rotary_emb.inv_freq"}))  # computed, not learned

QWEN3 = replace(
    LLAMA, architecture="Qwen3ForCausalLM",
    modules=LLAMA.modules | {
        "decoder.blocks.{i}.attention.q_norm": "model.layers.{i}.self_attn.q_norm",
        "decoder.blocks.{i}.attention.k_norm": "model.layers.{i}.self_attn.k_norm",
    },
    constants={
        "model_type": "qwen3",
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
        "rope_scaling": None,
        "rope_parameters.rope_type": "default",
    })
