"""What the published BERTs call things: Google's names, as the Hugging Face layout has them (see common/hub.py)."""

from common.hub import Layout, as_tuple

Table = dict[str, str | tuple[str, ...]]

# Our module -> theirs. Where they have three matrices, ours is one: query, key and value stacked in this order.
BASE: Table = {
    "embeddings.token": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "encoder.blocks.{i}.attention.qkv": ("encoder.layer.{i}.attention.self.query",
                                         "encoder.layer.{i}.attention.self.key",
                                         "encoder.layer.{i}.attention.self.value"),
    "encoder.blocks.{i}.attention.out": "encoder.layer.{i}.attention.output.dense",
    "encoder.blocks.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "encoder.blocks.{i}.feed_forward.up": "encoder.layer.{i}.intermediate.dense",
    "encoder.blocks.{i}.feed_forward.down": "encoder.layer.{i}.output.dense",
    "encoder.blocks.{i}.feed_forward_norm": "encoder.layer.{i}.output.LayerNorm",
    "pooler": "pooler.dense",
}
HEADS: Table = {
    "mlm.dense": "cls.predictions.transform.dense",
    "mlm.norm": "cls.predictions.transform.LayerNorm",
    "mlm.decoder": "cls.predictions",  # its bias alone: its weight is that of embeddings.token
    "nsp": "cls.seq_relationship",
}

CONFIG: Table = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
    "max_len": "max_position_embeddings",
    "n_segments": "type_vocab_size",
    "dropout": ("hidden_dropout_prob", "attention_probs_dropout_prob"),  # one rate here, as the paper has it
    "norm_eps": "layer_norm_eps",
}
CONSTANTS = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}

# The tied decoder, which files of older versions write out a second time.
COPIES = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
NO_PARAMETERS = {"embeddings.position_ids"}  # 0, 1, 2 ...
OLD_SPELLING = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # bert-base-uncased itself

# Heads that a file may have on top of the encoder; BertModel passes them over.
OTHER_HEADS = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions",
               "cls.predictions.decoder", "cls.seq_relationship", "classifier", "qa_outputs")


def below(prefix: str, table: Table) -> Table:
    """The same table for modules that lie in a larger one."""
    return {prefix + ours: tuple(prefix + name for name in as_tuple(theirs)) for ours, theirs in table.items()}


BERT_MODEL = Layout(
    architecture="BertModel", modules=BASE, config=CONFIG, constants=CONSTANTS, prefix="bert.", respelled=OLD_SPELLING,
    left_out=frozenset(NO_PARAMETERS | {f"{head}.{kind}" for head in OTHER_HEADS for kind in ("weight", "bias")}),
    optional=frozenset({"pooler.dense.weight", "pooler.dense.bias"}))  # BertForMaskedLM files have none

BERT_FOR_PRETRAINING = Layout(
    architecture="BertForPreTraining", modules=below("bert.", BASE) | HEADS, config=CONFIG, constants=CONSTANTS,
    prefix="bert.", respelled=OLD_SPELLING, copies=COPIES, left_out=frozenset(NO_PARAMETERS))


def with_head(architecture: str, head: str, pooler: bool) -> Layout:
    """A fine-tuned BERT: the encoder, and one new layer that is published as `head`."""
    modules = BASE if pooler else {ours: theirs for ours, theirs in BASE.items() if ours != "pooler"}
    left_out = NO_PARAMETERS | (set() if pooler else {"pooler.dense.weight", "pooler.dense.bias"})
    return Layout(architecture=architecture, modules=below("bert.", modules) | {"head": head}, config=CONFIG,
                  constants=CONSTANTS, prefix="bert.", respelled=OLD_SPELLING, left_out=frozenset(left_out))


BERT_FOR_SEQUENCE_CLASSIFICATION = with_head("BertForSequenceClassification", "classifier", pooler=True)
BERT_FOR_TOKEN_CLASSIFICATION = with_head("BertForTokenClassification", "classifier", pooler=False)
BERT_FOR_QUESTION_ANSWERING = with_head("BertForQuestionAnswering", "qa_outputs", pooler=False)
