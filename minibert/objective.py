"""What BERT is trained on: batches that hold both tasks, and the loss of both (Devlin et al. 2018, section 3.1)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.batches import TokenizedText, random_state, torch_random_state
from common.command import UserError
from common.tokenizer import SPECIAL, Tokenizer
from minibert.masking import mask_tokens
from minibert.model import BertForPreTraining
from minibert.nsp import Pairs, assemble, draw_pairs, windows


class Examples:
    """Batches of masked sentence pairs: examples(t) is the t-th one, a pure function of the seed and t.

    Each epoch draws its pairs anew and shuffles them; each batch draws its own masks, so a sentence that comes back
    is asked at other places (RoBERTa's "dynamic masking", arXiv:1907.11692, section 4.1).
    """

    def __init__(self, text: TokenizedText, tokenizer: Tokenizer, max_len: int, batch_size: int, mask_rate: float,
                 seed: int) -> None:
        self.text, self.tokenizer, self.batch_size = text, tokenizer, batch_size
        self.mask_rate, self.seed = mask_rate, seed
        self.spans = windows(text.lengths, max_len - 3)  # [CLS] and two [SEP] take three places
        if len(self.spans) < batch_size:
            raise UserError(f"the text is too short: it gives {len(self.spans)} rows of {max_len} tokens, "
                            f"and one batch takes {batch_size}")
        self.batches_per_epoch = len(self.spans) // batch_size
        self._epoch = -1

    def __call__(self, t: int) -> dict[str, Tensor]:
        epoch, i = divmod(t, self.batches_per_epoch)
        if epoch != self._epoch:
            rng = random_state(self.seed, epoch)
            self._pairs, self._order, self._epoch = draw_pairs(self.spans, rng), rng.permutation(len(self.spans)), epoch
        rows = self._order[i * self.batch_size : (i + 1) * self.batch_size]
        return self.batch(self._pairs, rows, self.mask_rate, self.seed, epoch, i)

    def batch(self, pairs: Pairs, rows: np.ndarray, mask_rate: float, *path: int) -> dict[str, Tensor]:
        """The given rows, masked: ids, segments, mask, selected, answers (B, T) and is_random (B,)."""
        t = self.tokenizer
        answers, segments, special, is_random = assemble(pairs, rows, self.text.tokens, t.cls_id, t.sep_id, t.pad_id)
        ids, selected = mask_tokens(answers, ~special, mask_rate, t.mask_id, (len(SPECIAL), t.vocab_size),
                                    torch_random_state(*path))
        return {"ids": ids, "segments": segments, "mask": answers != t.pad_id, "selected": selected,
                "answers": answers, "is_random": is_random.long()}


def pretraining_loss(model: BertForPreTraining, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """Cross-entropy of the selected tokens and of the sentence pairs: {name: (sum, count)}; the trainer divides.

    In nats, that is with natural logarithms.
    The two are counted apart: a mean over both together would drown the one NSP answer of a row in its masked tokens.
    Only the selected places and [CLS] are read, so only they go through the last feed-forward network, and only the
    selected ones are projected to the vocabulary, the largest product of the model: the same loss for much less work.
    """
    selected, is_random = batch["selected"], batch["is_random"]
    first = torch.zeros_like(selected)
    first[:, 0] = True  # [CLS]
    read = selected | first
    hidden = model.hidden(batch["ids"], batch["segments"], batch["mask"], only=read)  # (N, D)
    # of these N, selected[read] (N,) says which are asked for, and first[read] (N,) which are [CLS]
    answers = batch["answers"][selected]
    mlm = F.cross_entropy(model.head(hidden[selected[read]]), answers, reduction="sum")
    nsp = F.cross_entropy(model.next_sentence(hidden[first[read]]), is_random, reduction="sum")
    return {"mlm": (mlm, len(answers)), "nsp": (nsp, len(is_random))}
