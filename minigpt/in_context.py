"""Answering from the prompt alone: examples in the text, and no gradient step (Brown et al. 2020, section 2).

    zero-shot    "cheese →"
    one-shot     "milk → lait, cheese →"
    few-shot     "milk → lait, apple → pomme, honey → miel, cheese →"

A model answers in two ways. It writes on (`complete`), or it is asked how probable it finds each possible answer
(`log_probabilities`), which is surer where there are few. Texts are given and returned as text here.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from common.batches import random_state
from common.command import UserError
from common.generate import Choice, Sampling, greedy, stream
from minigpt.model import GPT
from minigpt.texts import Vocabulary

BATCH = 64  # texts that are read at once


def few_shot(examples: Sequence[tuple[str, str]], query: str, arrow: str = " →", between: str = ", ") -> str:
    """The prompt: examples with their answers, and the query without.

    >>> few_shot([("milk", "lait"), ("apple", "pomme")], "cheese")
    'milk → lait, apple → pomme, cheese →'
    """
    return between.join([*(f"{text}{arrow} {answer}" for text, answer in examples), f"{query}{arrow}"])


def shuffled_answers(examples: Sequence[tuple[str, str]], *seed: int) -> list[tuple[str, str]]:
    """The same examples with the answers shuffled among them: some stay right by chance, most do not."""
    order = random_state(*seed).permutation(len(examples))
    return [(text, examples[j][1]) for (text, _), j in zip(examples, order)]


def permuted(examples: Sequence[tuple[str, str]], *seed: int) -> list[tuple[str, str]]:
    """The same examples in another order, which should not matter and often does (Lu et al. 2021, arXiv:2104.08786)."""
    return [examples[i] for i in random_state(*seed).permutation(len(examples))]


def start_of(model: GPT) -> list[int]:
    """What a text begins behind: the end of the text before it, or the begin token that some models have."""
    first = getattr(model.config, "bos_id", model.config.eos_id)
    return [] if first is None else [first]


@torch.inference_mode()
def log_probabilities(model: GPT, vocabulary: Vocabulary, prompt: str, answers: Sequence[str]) -> Tensor:
    """log P(answer | prompt) of each answer, in nats, summed over its tokens: (number of answers,).

    An answer stands behind the prompt and a blank. UserError when the two are longer than the context.
    """
    begin = start_of(model) + vocabulary.encode(prompt)
    rows = [start_of(model) + vocabulary.encode(f"{prompt} {answer}") for answer in answers]
    if (longest := max(map(len, rows))) > model.config.max_len:
        raise UserError(f"prompt and answer have {longest:,} tokens, and this model reads at most "
                        f"{model.config.max_len:,}; fewer examples may fit")
    device = model.token.weight.device
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)  # (A, T), padded on the right
    log_p = torch.cat([model.head(model.hidden(some)[:, len(begin) - 1 : -1]).float().log_softmax(-1)
                       for some in ids.split(BATCH)])  # (A, T - prompt, V): those of the tokens behind the prompt
    of_tokens = log_p.gather(-1, ids[:, len(begin) :, None]).squeeze(-1)  # (A, T - prompt)
    real = torch.arange(len(begin), longest, device=device) < torch.tensor(list(map(len, rows)), device=device)[:, None]
    return of_tokens.masked_fill(~real, 0.0).sum(-1)


def choose(model: GPT, vocabulary: Vocabulary, prompt: str, answers: Sequence[str]) -> str:
    """The most probable of the answers."""
    return answers[int(log_probabilities(model, vocabulary, prompt, answers).argmax())]


def complete(model: GPT, vocabulary: Vocabulary, prompts: Sequence[str], max_new: int = 64, stop: str = "",
             choice: Choice = greedy) -> list[str]:
    """What the model writes behind each prompt, up to the end token, or to the first `stop` where one is given."""
    written = []
    for i in range(0, len(prompts), BATCH):
        begins = [start_of(model) + vocabulary.encode(prompt) for prompt in prompts[i : i + BATCH]]
        new: list[list[int]] = [[] for _ in begins]
        for step in stream(model, begins, max_new, choice, model.config.eos_id):
            for row, token in step.items():
                new[row].append(token)
        for begin, tokens in zip(begins, new):
            tokens = [token for token in tokens if token != model.config.eos_id]
            text = vocabulary.decode(begin + tokens)[len(vocabulary.decode(begin)) :].strip()
            written.append(text.partition(stop)[0].strip() if stop else text)
    return written


def vote(answers: Sequence[str]) -> str:
    """The most frequent answer; of equally frequent ones the first (Wang et al. 2022, arXiv:2203.11171).

    >>> vote(["12", "1.2", "12"])
    '12'
    """
    return Counter(answers).most_common(1)[0][0]


def self_consistent(model: GPT, vocabulary: Vocabulary, prompt: str, n: int, answer_of, seed: int,
                    temperature: float = 0.7, max_new: int = 64) -> str:
    """The answer that most of n sampled chains of thought come to; answer_of(text) reads it off a chain."""
    rng = torch.Generator(device=model.token.weight.device).manual_seed(seed)
    chains = complete(model, vocabulary, [prompt] * n, max_new, choice=Sampling(temperature, rng=rng))
    return vote([answer_of(chain) for chain in chains])
