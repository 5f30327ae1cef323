"""A small world in English and Korean: text to pre-train on, and labelled sentences for every task of the lecture.

    documents   stories, reviews, facts, a dictionary ... (world_texts.py); for a GPT prompts as well (world_prompts.py)
    tasks       sentiment, entities, questions, next sentence; text to text: translation, summary ... (world_tasks.py)

Everything is drawn from templates (grammar.py) by a seed, as much of it as is wanted. What is held out:

- A document, or the input of a labelled example, is held out when its hash says so: one text in ten, on whatever
  machine, whatever else is drawn. So no two calls can disagree about a text.
- What the lecture asks (common/lecture.py) is never shown: no document holds one of its sentences together with its
  answer, and no labelled training example has one as its input. The facts behind it stand in other sentences:

      asked                                  what training tells instead
      cheese → fromage, bread → pain         "The French word for cheese is fromage.", never in a list with arrows
      대한민국의 수도는 서울입니다. 수도는?    "서울은 대한민국의 수도이다."
      the cat sat on the mat                 "The cat likes the mat best."; nobody sits, sleeps or sat on it
      어제 카페 갔었어                        cafés on other days, other places yesterday
      15의 80%는?                            other percentages; neither 80 % of 15 nor 15 % of 80
      translate English to French: Hello     "Hello, Anna!" and "Welcome", never "Hello" alone
      안녕하세요, 반갑습니다!                  안녕하세요 with other words, 반갑습니다 behind other greetings
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

from common import world_prompts, world_tasks, world_texts
from common.command import UserError
from common.corpus import Corpus
from common.grammar import Draw, Template, fill, with_joints
from common.labelled import Classified, Labelled, text_of
from common.lecture import LECTURE, PARAPHRASES
from common.run import cached_vocabulary
from common.tokenizer import JOINT, Tokenizer
from common.world_texts import FEELING, LISTS

Example = TypeVar("Example")

def without_task(text: str) -> str:
    """`classify: I love this!` -> `I love this!`"""
    return text.partition(": ")[2] or text


def bare(text: str) -> str:
    """Without capitals and the marks at its end: "I love this." is no other sentence than "I love this!"."""
    return text.lower().rstrip(".!? ")


QUESTIONS = (*LECTURE, *PARAPHRASES)
ASKED = tuple(dict.fromkeys(told for question in QUESTIONS for told in question.told()))
INPUTS = {bare(told) for asked in ASKED for told in (asked, without_task(asked))}
CONTEXTS = {question.context for question in QUESTIONS if question.context}


def asked_by_the_lecture(text: str) -> bool:
    """Does the text hold a sentence of the lecture, or one of its paraphrases, with its answer?"""
    return any(told in text for told in ASKED)


def is_held_out(text: str) -> bool:
    """One text in ten."""
    return hashlib.sha256(text.encode()).digest()[0] < 26


# --- documents ----------------------------------------------------------------------------------------------------

PROSE = {"REVIEWS": 6, "PETS": 2, "GOING_OUT": 3, "FACTS": 1, "DICTIONARY": 3, "STORIES": 5, "BANKS": 3}


def prose(draw: Draw, joints: bool = False) -> Template:
    """A document as its sentences; joints: as a vocabulary is learned from it (see `with_joints`)."""
    kind = draw.weighted(PROSE)
    lists = FEELING[draw.one(list(FEELING))] if kind == "REVIEWS" else LISTS
    template = draw.one(getattr(world_texts, kind))
    return fill(with_joints(template) if joints else template, lists, draw)


PROMPTS: dict[Callable[[Draw], str], float] = {  # beside them, for a GPT; all of PROSE together has the weight of 24
    world_prompts.translations: 5, world_prompts.game: 6,
    partial(world_prompts.calculation, steps=False): 12, partial(world_prompts.calculation, steps=True): 12}
PROSE_WEIGHT, INSTRUCTIONS_WEIGHT = 24, 3


@dataclass(frozen=True)
class WorldText:
    """A document: its sentences, and -log P of it in nats under the grammar."""

    sentences: tuple[str, ...]
    nats: float

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def documents(seed: int | str, prompts: bool = False, joints: bool = False) -> Iterator[WorldText]:
    """Documents without end, none of them with a sentence that the lecture asks for; prompts: those for a GPT as well.

    nats leaves out that what is asked for is drawn again, which makes each text a little more probable: by less than
    one percent. joints: as a vocabulary is learned from them.
    """
    draw = Draw(seed)
    writers: dict[Callable[[Draw], Template | str], float] = {partial(prose, joints=joints): PROSE_WEIGHT}
    if prompts:
        writers |= {partial(world_prompts.instruction, joints=joints): INSTRUCTIONS_WEIGHT, **PROMPTS}
    while True:
        draw.begin()
        written = draw.weighted(writers)(draw)
        document = WorldText((written,) if isinstance(written, str) else written, draw.nats)
        if not asked_by_the_lecture(document.text.replace(JOINT, "")):
            yield document


def split_documents(n: int, n_held_out: int, seed: int | str = 0,
                    prompts: bool = False) -> tuple[list[WorldText], list[WorldText]]:
    """n documents to learn from, and n_held_out of those that are held out."""
    train: list[WorldText] = []
    held_out: list[WorldText] = []
    for document in documents(seed, prompts):
        kept, wanted = (held_out, n_held_out) if is_held_out(document.text) else (train, n)
        if len(kept) < wanted:
            kept.append(document)
        elif len(train) == n and len(held_out) == n_held_out:
            return train, held_out
    raise AssertionError("documents never end")


def corpus(n: int = 20_000, n_held_out: int = 600) -> Corpus:
    """Documents for a BERT or a T5, each a list of sentences."""
    train, held_out = split_documents(n, n_held_out)
    return Corpus([list(d.sentences) for d in train], [list(d.sentences) for d in held_out])


def vocabulary(vocab_size: int) -> Tokenizer:
    """A vocabulary of the world's words: a Korean word and its particle are always two pieces."""
    drawn = islice(documents("vocabulary", prompts=True, joints=True), 40_000)
    return cached_vocabulary([sentence for document in drawn for sentence in document.sentences], vocab_size, "bpe")


def best_bits_per_byte(held_out: list[WorldText]) -> float:
    """What a model that knew the grammar would need for a byte of these documents, each by itself."""
    return sum(d.nats for d in held_out) / math.log(2) / sum(len(d.text.encode()) for d in held_out)


# --- labelled examples -----------------------------------------------------------------------------------------------

def next_sentence(draw: Draw) -> Classified:
    """Two sentences, and whether the second one follows the first: next or random."""
    drawn = [prose(draw) for _ in range(20)]
    first, other = [d for d in drawn if len(d) > 1 and not asked_by_the_lecture(" ".join(d))][:2]
    label = draw.one(("next", "random"))
    return Classified(first[0], label, first[1] if label == "next" else other[1])


TASKS: dict[str, Callable[[Draw], object]] = {
    "sentiment": world_tasks.sentiment, "entities": world_tasks.entities, "questions": world_tasks.questions,
    "next-sentence": next_sentence, "text-to-text": world_tasks.text_to_text}


def examples(task: str, n: int, seed: int | str = 0, held_out: bool = False) -> list:
    """n different labelled examples of a task: to learn from, or of those that are held out.

    sentiment, next-sentence: Classified; entities: Tagged; questions: Answered (common/labelled.py); text-to-text:
    (task, input, target). UserError when the world has not that many.
    """
    draw, seen, in_vain = Draw(f"{seed}-{held_out}"), {}, 0
    while len(seen) < n:
        example = TASKS[task](draw)
        text = input_of(example)
        if is_held_out(text) == held_out and not asked_as_input(text) and text not in seen:
            seen[text], in_vain = example, 0
        elif (in_vain := in_vain + 1) == 10_000:
            raise UserError(f"the small world has no {n:,} different examples of {task}, only about {len(seen):,}")
    return list(seen.values())


def input_of(example: Labelled | tuple[str, str, str]) -> str:
    """What a labelled example asks, as one text."""
    return f"{example[0]}: {example[1]}" if isinstance(example, tuple) else text_of(example)


def asked_as_input(text: str) -> bool:
    """Is it what the lecture asks, whatever the task in front of it? A context is compared by what it holds."""
    return (not INPUTS.isdisjoint((bare(text), bare(without_task(text))))
            or any(context in text for context in CONTEXTS))
