"""Parameter-efficient fine-tuning: LoRA, adapters, soft prompts and prefixes, around any model of this project."""

from lora.lora import add_lora
from lora.merging import merge, unload, unmerge
from lora.published import load_adapter, save_adapter
from lora.wrapping import trainable_parameters

__all__ = ["add_lora", "load_adapter", "merge", "save_adapter", "trainable_parameters", "unload", "unmerge"]
