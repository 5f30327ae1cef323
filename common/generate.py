"""Writing text with a model that predicts the next token: greedy, by sampling, and by beam search.

It works with any model that has `hidden`, `head`, `new_cache` and a `config`, as GPT has them (minigpt/model.py).
Texts are lists of token numbers here; nothing in this file knows a vocabulary.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from common.cache import KVCache
from common.command import UserError

Choice = Callable[[Tensor, list[list[int]]], Tensor]  # logits (B, V) and the texts so far -> the next tokens (B,)


def greedy(logits: Tensor, texts: list[list[int]]) -> Tensor:
    """The most probable token, always."""
    return logits.argmax(dim=-1)


@dataclass(frozen=True)
class Sampling:
    """A token drawn by its probability, after the logits were changed in this order:

    repetition_penalty   tokens that stand in the text already are made less likely: a positive logit is divided by it,
                         a negative one multiplied (Keskar et al. 2019, CTRL, arXiv:1909.05858, section 4.1)
    temperature          logits / temperature: below 1 surer, above 1 bolder, towards 0 as `greedy`
    top_k                only the k most probable tokens (Fan et al. 2018, arXiv:1805.04833)
    top_p                only the fewest most probable tokens that together have at least the probability p
                         (Holtzman et al. 2019, arXiv:1904.09751); the first one stays in any case

    Draws from `rng`, torch's own generator when not given. UserError for settings that make no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    rng: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise UserError(f"temperature = {self.temperature} should be above 0; top_k = 1 always takes the likeliest")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k = {self.top_k} should be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p = {self.top_p} should be above 0 and at most 1")
        if not 0 < self.repetition_penalty < math.inf:
            raise UserError(f"repetition_penalty = {self.repetition_penalty} should be above 0; 1 changes nothing")

    def __call__(self, logits: Tensor, texts: list[list[int]]) -> Tensor:
        return torch.multinomial(self.probabilities(logits, texts), 1, generator=self.rng).squeeze(1)

    def probabilities(self, logits: Tensor, texts: list[list[int]]) -> Tensor:
        """(B, V) -> (B, V): what is drawn from. UserError when top_k is larger than V."""
        if self.top_k is not None and self.top_k > logits.shape[-1]:
            raise UserError(f"top_k = {self.top_k}, but the vocabulary has {logits.shape[-1]:,} tokens")
        logits = logits.float()  # in bfloat16 thousands of probabilities would not sum to 1
        if self.repetition_penalty != 1.0:
            seen = torch.zeros_like(logits, dtype=torch.bool)
            for row, text in zip(seen, texts):
                row[text] = True  # once or ten times in the text, it is punished once
            weaker = torch.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
            logits = torch.where(seen, weaker, logits)
        logits = logits - logits.amax(dim=-1, keepdim=True)  # now at most 0: a tiny temperature overflows nothing
        logits = logits / max(self.temperature, 1e-30)  # less would be 0 in float32; the draw is greedy long before
        if self.top_k is not None:
            logits = logits.masked_fill(logits < logits.topk(self.top_k).values[:, -1:], -math.inf)
        p = logits.softmax(dim=-1)
        if self.top_p is not None and self.top_p < 1:  # at 1 rounding would drop the rarest tokens
            ordered, order = p.sort(dim=-1, descending=True)
            before = ordered.cumsum(dim=-1) - ordered  # what the more probable tokens have together
            p = torch.zeros_like(p).scatter(1, order, ordered.masked_fill(before >= self.top_p, 0.0))
        return p  # multinomial needs no sum of 1


def stream(model: nn.Module, prompts: list[list[int]], max_new: int, choose: Choice = greedy,
           eos_id: int | None = None) -> Iterator[dict[int, int]]:
    """Continue each prompt by up to max_new tokens; after each step yield {row: its new token} of the rows still going.

    A row ends with eos_id, which is yielded; from then on it costs nothing. When a row fills the context, its older
    half is forgotten, all rows are read anew, and the writing goes on (a sliding window).
    UserError for an empty prompt, one longer than the context, a token outside the vocabulary.
    """
    check_prompts(prompts, model.config.max_len, model.config.vocab_size)
    if max_new < 0:
        raise UserError(f"max_new = {max_new} should be at least 0")
    return _stream(model, prompts, max_new, choose, eos_id) if prompts and max_new else iter(())


@torch.inference_mode()
def _stream(model: nn.Module, prompts: list[list[int]], max_new: int, choose: Choice,
            eos_id: int | None) -> Iterator[dict[int, int]]:
    limit = model.config.max_len
    rows, texts = list(range(len(prompts))), [list(prompt) for prompt in prompts]
    begins = [0] * len(prompts)  # where in its text the window of each row begins
    with dropout_off(model):
        cache, last = read(model, texts, max_new)
        for left in range(max_new - 1, -1, -1):
            new = choose(model.head(last), texts)  # (B,)
            written = new.tolist()
            for text, token in zip(texts, written):
                text.append(token)
            yield dict(zip(rows, written))
            going = [i for i, token in enumerate(written) if token != eos_id]
            if not going or not left:
                return
            if len(going) < len(rows):
                rows, texts, begins = ([of_row[i] for i in going] for of_row in (rows, texts, begins))
                new = new[going]
                cache.select(going)
            if max(cache.lengths) < limit:
                last = model.hidden(new.unsqueeze(1), cache=cache).squeeze(1)  # (B, D)
            else:
                begins = [begin if len(text) - begin <= limit else len(text) - max(1, limit // 2)
                          for text, begin in zip(texts, begins)]
                cache, last = read(model, [text[begin:] for text, begin in zip(texts, begins)], left)


def generate(model: nn.Module, prompts: list[list[int]], max_new: int, choose: Choice = greedy,
             eos_id: int | None = None) -> list[list[int]]:
    """As `stream`; returns for each prompt its new tokens, eos_id included where the row came to it."""
    new: list[list[int]] = [[] for _ in prompts]
    for step in stream(model, prompts, max_new, choose, eos_id):
        for row, token in step.items():
            new[row].append(token)
    return new


@contextmanager
def dropout_off(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def read(model: nn.Module, texts: list[list[int]], room: int) -> tuple[KVCache, Tensor]:
    """Read texts of any lengths at once: a cache with room for `room` more, and the state (B, D) of each last token."""
    lengths = [len(text) for text in texts]
    longest = max(lengths)
    device = next(model.parameters()).device
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=device)  # (B, T), padded with 0
    ends = torch.tensor(lengths, device=device)
    mask = None if min(lengths) == longest else torch.arange(longest, device=device) < ends.unsqueeze(1)  # (B, T)
    cache = model.new_cache(len(texts), min(longest + room, model.config.max_len))
    hidden = model.hidden(ids, mask=mask, cache=cache)  # (B, T, D)
    return cache, hidden[torch.arange(len(texts), device=device), ends - 1]


def check_prompts(prompts: list[list[int]], max_len: int, vocab_size: int) -> None:
    for prompt in prompts:
        if not prompt:
            raise UserError("the prompt is empty: there is nothing to go on from")
        if len(prompt) > max_len:
            raise UserError(f"the prompt has {len(prompt):,} tokens, and this model reads at most {max_len:,}")
        if outside := next((token for token in prompt if not 0 <= token < vocab_size), None):
            raise UserError(f"the prompt holds token {outside}, and the vocabulary ends at {vocab_size - 1}")


@torch.inference_mode()
def beam_search(model: nn.Module, prompt: list[int], max_new: int, n_beams: int, eos_id: int | None = None,
                length_penalty: float = 1.0) -> list[tuple[float, list[int]]]:
    """The best continuations found: (score, new tokens), best first, at most n_beams of them.

    The score is log P(new tokens | prompt) / length^length_penalty: with 0 the plain log-probability, which likes short
    texts; 1 gives the mean of a token. At each step every unfinished text is continued by every token, and the n_beams
    most probable ones are kept. What ends with eos_id, or reaches max_new tokens, is finished.
    It stops when no unfinished text can still get ahead of the n_beams best finished ones.
    UserError as `stream`, and when prompt and continuation do not fit into the context.
    """
    check_prompts([prompt], model.config.max_len, model.config.vocab_size)
    if len(prompt) + max_new > model.config.max_len:
        raise UserError(f"a prompt of {len(prompt):,} tokens and {max_new:,} new ones do not fit into the context of "
                        f"{model.config.max_len:,}")
    if n_beams < 1 or max_new < 1:
        raise UserError(f"n_beams = {n_beams} and max_new = {max_new} should be at least 1")
    beams: list[tuple[float, list[int]]] = [(0.0, [])]  # log-probability, new tokens
    finished: list[tuple[float, list[int]]] = []  # score, new tokens
    with dropout_off(model):
        cache, last = read(model, [prompt], max_new)
        for length in range(1, max_new + 1):
            log_p = model.head(last).float().log_softmax(dim=-1)  # (beams, V)
            log_p = log_p + torch.tensor([p for p, _ in beams], device=log_p.device).unsqueeze(1)
            # twice as many as are kept: at most n_beams of them end here, so n_beams are left to go on
            best = log_p.flatten().topk(min(2 * n_beams, log_p.numel()))
            origins, going = [], []
            for p, place in zip(best.values.tolist(), best.indices.tolist()):
                origin, token = divmod(place, log_p.shape[1])
                tokens = [*beams[origin][1], token]
                if token == eos_id or length == max_new:
                    finished.append((p / length**length_penalty, tokens))
                elif len(going) < n_beams:
                    going.append((p, tokens))
                    origins.append(origin)
            finished = sorted(finished, reverse=True)[:n_beams]
            # log P is negative and only falls; divided by the greatest length it is nearest to 0: no text can beat this
            at_best = max_new if length_penalty > 0 else length
            hope = max((p / at_best**length_penalty for p, _ in going), default=-math.inf)
            if not going or (len(finished) == n_beams and finished[-1][0] >= hope):
                break
            beams = going
            cache.select(origins)
            new = torch.tensor([tokens[-1] for _, tokens in beams], device=last.device)
            last = model.hidden(new.unsqueeze(1), cache=cache).squeeze(1)  # (beams, D)
    return finished
