"""The masked-language-model task: hide some tokens, keep what stood there as the answer.

Devlin et al. 2018, section 3.1 and appendix A.1: 15 % of the tokens are selected; of these 80 % become [MASK],
10 % a random token, 10 % stay as they are. [MASK] never occurs when the model is used, so it must not be the only
sign that something is asked; for the other 20 % the model has to judge whether the token that it sees is the true one.
"""

import torch
from torch import Tensor


def mask_tokens(ids: Tensor, maskable: Tensor, rate: float, mask_id: int, vocabulary: tuple[int, int],
                generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide tokens: ids (B, T) -> the corrupted copy (B, T) and what was selected (B, T), bool.

    maskable (B, T), bool: where a token may be selected; False at [CLS], [SEP] and [PAD].
    rate: the share of maskable tokens that is selected, each by a draw of its own.
    vocabulary: first and last + 1 id of the ordinary pieces, from which "a random token" is drawn, uniformly. Google's
    code draws from the whole vocabulary, [PAD] and [MASK] among them; a special token in the middle of a text is
    something that the model never meets, so we leave them out.
    The answer at a selected place is `ids` there; `ids` itself is not changed.
    """
    def draw() -> Tensor:
        return torch.rand(ids.shape, generator=generator)

    selected = (draw() < rate) & maskable
    kind = draw()  # decided for each selected token by itself
    corrupted = torch.where(selected & (kind < 0.8), mask_id, ids)
    random_ids = torch.randint(*vocabulary, ids.shape, generator=generator)
    corrupted = torch.where(selected & (kind >= 0.8) & (kind < 0.9), random_ids, corrupted)
    return corrupted, selected
