from minibert.model import BertConfig, BertForPreTraining, BertModel

__all__ = ["BertConfig", "BertForPreTraining", "BertModel"]
