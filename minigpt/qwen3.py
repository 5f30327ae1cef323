"""Qwen3: what changes against LLaMA. (Yang et al. 2025, arXiv:2505.09388, section 2)

    queries and keys as they come   -> each normed, head by head, before it is turned (QK-norm)

QK-norm keeps the scores from growing without bound, so larger learning rates train stably (Henry et al. 2020,
arXiv:2010.04245): that is why our own recipe takes this model (recipe.py).
"""

from dataclasses import dataclass

from torch import Tensor

from common.attention import Attention, RotaryAttention
from common.layers import RMSNorm
from common.positions import Rotary
from minigpt.llama import Llama, LlamaConfig
from minigpt.published import QWEN3


@dataclass(frozen=True)
class Qwen3Config(LlamaConfig):
    """The sizes of a Qwen3."""

    @classmethod
    def qwen3_0_6b(cls) -> "Qwen3Config":
        """The smallest one that was published: 596 million parameters."""
        return cls(vocab_size=151_936, d_model=1_024, n_layers=28, n_heads=16, n_kv_heads=8, d_head=128, d_ff=3_072,
                   max_len=40_960, rope_base=1_000_000.0, tied=True, bos_id=151_643, eos_id=151_645)


class QKNormAttention(RotaryAttention):
    """RotaryAttention whose queries and keys are first scaled to a size that is learned: the weights of two norms."""

    def __init__(self, rotary: Rotary, *sizes: int | None, norm_eps: float) -> None:
        super().__init__(rotary, *sizes, bias=False)
        self.q_norm, self.k_norm = RMSNorm(self.d_head, norm_eps), RMSNorm(self.d_head, norm_eps)

    def project(self, x: Tensor, context: Tensor | None = None,
                positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = Attention.project(self, x, context)  # not super(): that would turn them before the norm
        return self.rotary(self.q_norm(q), positions), self.rotary(self.k_norm(k), positions), v


class Qwen3(Llama):
    """As Llama, with QK-norm."""

    layout = QWEN3
    config_class = Qwen3Config

    def new_attention(self, rotary: Rotary, *sizes: int | None) -> Attention:
        return QKNormAttention(rotary, *sizes, norm_eps=self.config.norm_eps)
