from minigpt.llama import Llama, LlamaConfig
from minigpt.model import GPT, GPTConfig
from minigpt.pretrained import load
from minigpt.qwen3 import Qwen3, Qwen3Config

__all__ = ["GPT", "GPTConfig", "Llama", "LlamaConfig", "Qwen3", "Qwen3Config", "load"]
