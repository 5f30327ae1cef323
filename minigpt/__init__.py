from minigpt.llama import Llama, LlamaConfig
from minigpt.model import GPT, GPTConfig
from minigpt.pretrained import load

__all__ = ["GPT", "GPTConfig", "Llama", "LlamaConfig", "load"]
