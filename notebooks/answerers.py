"""The five models that answer the lecture's questions (see lecture.py), and beside each one that only counts.

An answerer has two methods: `guesses(question)`, its answers, the best one first (five to an open question, one to a
closed one), and `counted(question)`, those of an n-gram model of the same training text, in the same tokens.
"""

from functools import cached_property
from pathlib import Path

import torch

from common import world
from common.config import read_json
from common.generate import generate
from common.labelled import Answered
from common.lecture import Question
from common.ngram import NGram
from minibert import answering, classifying
from minibert.evaluate import show
from minibert.fill_mask import fill_mask, load
from minibert.finetune import FinetuneConfig
from minibert.predict import ask, probabilities
from minibert.pretrained import load_finetuned
from minibert.tasks import N_WORLD
from minigpt.in_context import complete, start_of
from minigpt.pretrained import open_model as open_gpt
from minigpt.prompting import CHAIN, final_answer
from minigpt.texts import world_documents
from minit5.pretrained import open_model as open_t5
from minit5.tasks import world_examples
from minit5.writer import answer

K = 5  # guesses to an open question
LONGEST = 64  # tokens of an answer


class FillMask:
    """A BERT after pre-training: what stands at [MASK]?"""

    def __init__(self, run: Path) -> None:
        self.model, self.vocabulary = load(run)

    def guesses(self, question: Question) -> list[str]:
        return [show(piece) for _, piece, _ in fill_mask(self.model, self.vocabulary, question.text, K)]

    @cached_property
    def ngram(self) -> NGram:
        return NGram([i for sentence in document for i in self.vocabulary.encode(sentence)]
                     for document in world.corpus().train)

    def counted(self, question: Question) -> list[str]:
        ids = self.vocabulary.encode_masked(question.text)
        gap = ids.index(self.vocabulary.mask_id)
        return [show(self.vocabulary.piece(i)) for i in self.ngram.best_between(ids[:gap], ids[gap + 1 :], K)]


class Labels:
    """A BERT fine-tuned to sentiment: positive or negative?"""

    def __init__(self, run: Path) -> None:
        self.model, self.vocabulary = load_finetuned(run, classifying.Model)
        self.seed = read_json(FinetuneConfig, run / "config.json").seed

    def guesses(self, question: Question) -> list[str]:
        return [label for label, _ in probabilities(self.model, self.vocabulary, question.text, None)][:1]

    @cached_property
    def ngram(self) -> NGram:
        return NGram([*self.vocabulary.encode(e.text), e.label]
                     for e in world.examples("sentiment", N_WORLD, self.seed))

    def counted(self, question: Question) -> list[str]:
        before = self.vocabulary.encode(question.text)
        return [max(self.model.labels, key=lambda label: self.ngram.score(label, before))]


class Spans:
    """A BERT fine-tuned to questions: which part of the text answers?"""

    def __init__(self, run: Path) -> None:
        self.model, self.vocabulary = load_finetuned(run, answering.Model)
        self.seed = read_json(FinetuneConfig, run / "config.json").seed

    def guesses(self, question: Question) -> list[str]:
        return ask(self.model, answering, self.vocabulary, Answered(question.text, question.context, "", 0))

    def both(self, question: str, context: str) -> list:
        return [*self.vocabulary.encode(question), "|", *self.vocabulary.encode(context), "|"]

    @cached_property
    def ngram(self) -> NGram:
        return NGram([*self.both(e.question, e.context), *self.vocabulary.encode(e.answer), "|"]
                     for e in world.examples("questions", N_WORLD, self.seed))

    def counted(self, question: Question) -> list[str]:
        written = self.ngram.write(self.both(question.text, question.context), LONGEST, stop="|")
        return [self.vocabulary.decode(written)]


class Prompted:
    """A GPT: what follows?"""

    def __init__(self, run: Path) -> None:
        self.model, self.vocabulary = open_gpt(run)

    def guesses(self, question: Question) -> list[str]:
        if question.kind == "next":
            return self.next_words(question.text)
        [written] = complete(self.model, self.vocabulary, [self.prompt(question)], CHAIN,
                             stop="," if question.kind == "prompt" else "")
        return [self.read(question, written)]

    @staticmethod
    def prompt(question: Question) -> str:
        return question.text + " 답은" if question.kind == "direct" else question.text  # "the answer is"

    @staticmethod
    def read(question: Question, written: str) -> str:
        return final_answer(written) if question.kind == "steps" else written

    @torch.inference_mode()
    def next_words(self, text: str) -> list[str]:
        """The words that begin with the K most probable next tokens, each finished greedily."""
        prompt = start_of(self.model) + self.vocabulary.encode(text)
        first = self.model.head(self.model.hidden(torch.tensor([prompt]))[0, -1]).topk(K).indices.tolist()
        behind = generate(self.model, [[*prompt, token] for token in first], 4, eos_id=self.model.config.eos_id)
        return [self.first_word([token, *new]) for token, new in zip(first, behind)]

    def first_word(self, tokens: list[int]) -> str:
        return (self.vocabulary.decode(tokens).split() or [""])[0]

    @cached_property
    def ngram(self) -> NGram:
        end = self.vocabulary.eos_id
        return NGram([end, *self.vocabulary.encode(document.text), end] for document in world_documents()[0])

    def counted(self, question: Question) -> list[str]:
        end = self.vocabulary.eos_id
        before = [end, *self.vocabulary.encode(self.prompt(question))]
        if question.kind == "next":
            return [self.first_word([token, *self.ngram.write([*before, token], 4, stop=end)])
                    for token in self.ngram.best(before, K)]
        written = self.vocabulary.decode(self.ngram.write(before, CHAIN, stop=end)).strip()
        return [self.read(question, written.partition(",")[0] if question.kind == "prompt" else written)]


class TextToText:
    """A T5: text in, text out."""

    def __init__(self, run: Path) -> None:
        self.model, self.vocabulary = open_t5(run)

    def guesses(self, question: Question) -> list[str]:
        return [self.vocabulary.decode(answer(self.model, [self.vocabulary.encode(question.text)], LONGEST)[0])]

    @cached_property
    def ngram(self) -> NGram:
        return NGram([*self.vocabulary.encode(e.text), *self.vocabulary.encode(e.target)] for e in world_examples()[0])

    def counted(self, question: Question) -> list[str]:
        written = self.ngram.write(self.vocabulary.encode(question.text), LONGEST, stop=self.vocabulary.eos_id)
        return [self.vocabulary.decode(written)]
