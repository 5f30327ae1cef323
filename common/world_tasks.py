"""Labelled sentences of the world, for every task of the lecture (see world.py).

Their sentences are others than those of the documents: what a model is asked after pre-training it has not read.
"""

import re

from common import world_words as w
from common.grammar import Draw, Template, fill, values
from common.labelled import Answered, Classified, Tagged
from common.world_texts import FEELING, LISTS

SENTIMENT: tuple[str, ...] = (
    "이 {item_ko} {very} {adj_ko.plain}요!", "이 {item_ko} {very} {adj_ko.formal}!",
    "이 {item_ko} {very} {adj_ko.plain}요.", "이 {item_ko:은/는} {very} {adj_ko.plain}요.",
    "이 {item_ko:은/는} {very} {adj_ko.formal}.",
    "{very} {adj_ko.before} {item_ko:이에요/예요}!", "{aspect:이/가} {very} {reason} {end}어요.",
    "{aspect:이/가} {very} {reason} {end}습니다.", "{aspect:이/가} {reason} {very} {end}어요.",
    "I {like} this {item}!", "I really {like} this {item}!", "I {like} this!", "I really {like} this!", "I {like} it!",
    "This {item} is {adj}!", "This is {adj}!", "What {adj:a} {item}!", "The {item} was really {adj}.",
    "It was {adj:a} {item}.")


def sentiment(draw: Draw) -> Classified:
    """A sentence about a thing, and what it says: positive or negative."""
    label = draw.one(list(FEELING))
    return Classified(fill((draw.one(SENTIMENT),), FEELING[label], draw)[0], label)


ENTITIES: tuple[str, ...] = (
    "{per} lives in {city}", "{per} works for {org} in {city}", "{per} and {per2} met at {org}",
    "Yesterday {per} travelled from {city} to {city2}", "{org} has opened an office in {city}",
    "The director of {org} is {per}", "In {city} everyone knows {per}", "{per} studied at {org}",
    "We visited {per} in {city}", "{per} sold {org} to {per2}", "The weather in {city} is good",
    "{per_ko:은/는} {city_ko}에 살아요", "{per_ko:이/가} {city_ko}에 있는 {org_ko}에서 일해요",
    "{org_ko:은/는} {city_ko}에 새 건물을 지었어요", "{per_ko:과/와} {per_ko2:은/는} {org_ko}에서 만났어요",
    "{org_ko}의 대표는 {per_ko:이에요/예요}", "{city_ko}의 날씨가 좋아요",
    "{per_ko:은/는} {city_ko}에서 {city_ko2:으로/로} 갔어요")
ENTITY_KINDS = {"per": "PER", "per_ko": "PER", "city": "LOC", "city_ko": "LOC", "org": "ORG", "org_ko": "ORG"}


def entities(draw: Draw) -> Tagged:
    """A sentence as words, each with its tag. A Korean particle belongs to the word that it is written with."""
    template = draw.one(ENTITIES)
    chosen = values((template,), LISTS, draw)
    words: list[str] = []
    tags: list[str] = []
    for part in template.split():
        new = part.format(**chosen).split()
        slot = re.match(r"\{(\w+?)[2-9]?[}:]", part)
        kind = ENTITY_KINDS[slot[1]] if slot else None
        words += new
        tags += [f"{'BI'[i > 0]}-{kind}" for i in range(len(new))] if kind else ["O"] * len(new)
    return Tagged(tuple(words), tuple(tags))


QUESTIONS: tuple[Template, ...] = tuple(  # context, question, answer
    (context, question, answer) for context, pairs in {
        "{country.ko}의 수도는 {country.capital_ko}입니다.": (
            ("수도는 어디인가요?", "{country.capital_ko}"),
            ("{country.ko}의 수도는 어디인가요?", "{country.capital_ko}")),
        "{country.ko}의 수도는 {country.capital_ko:이에요/예요}.": (
            ("수도가 어디예요?", "{country.capital_ko}"), ("어느 나라의 수도예요?", "{country.ko}")),
        "{country.capital_ko:은/는} {country.ko}의 수도입니다.": (
            ("수도는 어디입니까?", "{country.capital_ko}"), ("어느 나라의 수도입니까?", "{country.ko}")),
        "The capital of {country.en} is {country.capital}.": (
            ("What is the capital?", "{country.capital}"), ("Which country is it?", "{country.en}")),
        "On {day} {woman} bought {food.en} for {man} in {city}. The {shop} was full.": (
            ("What did {woman} buy?", "{food.en}"), ("When did {woman} buy it?", "{day}"), ("Who got it?", "{man}"),
            ("What was full?", "{shop}"), ("Where was it?", "{city}"), ("Who bought {food.en}?", "{woman}")),
        "{per} works for {org} in {city}.": (
            ("Where does {per} work?", "{city}"), ("Who works in {city}?", "{per}"),
            ("For whom does {per} work?", "{org}")),
        "{day_ko}에 {friend:이/가} {place.ko}에서 {food.ko:을/를} 샀어요. 비가 왔어요.": (
            ("{friend:은/는} 무엇을 샀어요?", "{food.ko}"), ("누가 {food.ko:을/를} 샀어요?", "{friend}"),
            ("어디에서 샀어요?", "{place.ko}"), ("언제 샀어요?", "{day_ko}")),
        "{per_ko:은/는} {city_ko}에 살고 {org_ko}에서 일해요.": (
            ("{per_ko:은/는} 어디에 살아요?", "{city_ko}"), ("누가 {city_ko}에 살아요?", "{per_ko}"),
            ("어디에서 일해요?", "{org_ko}")),
    }.items() for question, answer in pairs)


def questions(draw: Draw) -> Answered:
    """A question to be answered by a part of the context: the first place where the answer stands."""
    context, question, answer = fill(draw.one(QUESTIONS), LISTS, draw)
    return Answered(question, context, answer, context.index(answer))


# --- text to text: (task, input, target) ------------------------------------------------------------------------------

PARALLEL: tuple[dict[str, str], ...] = (
    {"English": "I like {food.en}.", "Korean": "저는 {food.ko:을/를} 좋아해요.", "French": "J'aime {food.fr}.",
     "German": "Ich mag {food.de}."},
    {"English": "{first.en} likes {food.en} and {food2.en}.",
     "Korean": "{first.ko:은/는} {food.ko:과/와} {food2.ko:을/를} 좋아해요.",
     "French": "{first.en} aime {food.fr} et {food2.fr}.", "German": "{first.en} mag {food.de} und {food2.de}."},
    {"English": "{first.en} and {first2.en} eat {food.en}.",
     "Korean": "{first.ko:과/와} {first2.ko:은/는} {food.ko:을/를} 먹어요.",
     "German": "{first.en} und {first2.en} essen {food.de}."},
    {"English": "{first.en} sees the {thing.en}.", "Korean": "{first.ko:은/는} {thing.ko:을/를} 봐요.",
     "French": "{first.en} voit {thing.fr}."},
    {"English": "{first.en} and the {animal.en} look for the {thing.en}.",
     "Korean": "{first.ko:과/와} {animal.ko:은/는} {thing.ko:을/를} 찾아요.",
     "French": "{first.en} et {animal.fr} cherchent {thing.fr}."},
    {"English": "This is {first.en}.", "Korean": "이쪽은 {first.ko:이에요/예요}.", "French": "C'est {first.en}.",
     "German": "Das ist {first.en}."},
    {"English": "{noun.en}", "Korean": "{noun.ko}", "French": "{noun.fr_bare}", "German": "{noun.de}"},
    {"English": "{noun.en} and {noun2.en}", "Korean": "{noun.ko:과/와} {noun2.ko}",
     "French": "{noun.fr_bare} et {noun2.fr_bare}", "German": "{noun.de} und {noun2.de}"},
    {"English": "{hello.en}", "Korean": "{hello.ko}", "French": "{hello.fr}", "German": "{hello.de}"},
    {"English": "{hello.en}, {first.en}!", "Korean": "{hello.ko}, {first.ko} 씨!", "French": "{hello.fr}, {first.en}!",
     "German": "{hello.de}, {first.en}!"},
    {"English": "{hello.en}, {first.en} and {first2.en}!", "Korean": "{hello.ko}, {first.ko} 씨와 {first2.ko} 씨!",
     "French": "{hello.fr}, {first.en} et {first2.en}!", "German": "{hello.de}, {first.en} und {first2.en}!"},
    {"English": "{hello.en}, {well.en}!", "Korean": "{hello.ko}, {well.ko}!", "French": "{hello.fr}, {well.fr}!",
     "German": "{hello.de}, {well.de}!"},
    {"English": "{hello.en}, {first.en}, {well.en}!", "Korean": "{hello.ko}, {first.ko} 씨, {well.ko}!",
     "French": "{hello.fr}, {first.en}, {well.fr}!", "German": "{hello.de}, {first.en}, {well.de}!"},
)
DIRECTIONS = (("English", "French"), ("English", "German"), ("English", "Korean"), ("Korean", "English"))
SPEECH = {**LISTS, "hello": w.GREETINGS, "well": w.PLEASANTRIES}


def translation(draw: Draw) -> tuple[str, str, str]:
    """A sentence and its translation; from Korean several words for one in English."""
    source, target = draw.one(DIRECTIONS)
    if source == "Korean" and draw.one((True, False, False, False)):
        return other_pleasantry(draw)
    parallel = draw.one([texts for texts in PARALLEL if target in texts])
    return f"translate {source} to {target}", *fill((parallel[source], parallel[target]), SPEECH, draw)


def other_pleasantry(draw: Draw) -> tuple[str, str, str]:
    """The same politeness in other Korean words, alone or behind a greeting."""
    meaning = draw.one(list(w.OTHER_PLEASANTRIES_KO))
    words = draw.one([next(p.ko for p in w.PLEASANTRIES if p.en == meaning), *w.OTHER_PLEASANTRIES_KO[meaning]])
    hello = draw.one([*w.GREETINGS, None, None])
    return ("translate Korean to English", *((f"{hello.ko}, {words}!", f"{hello.en}, {meaning}!") if hello else
                                             (f"{words}!", f"{meaning[0].upper()}{meaning[1:]}!")))


SUMMARIES: tuple[Template, ...] = tuple((" ".join(text), summary) for *text, summary in (
    ("On {day} {woman} went to the {shop}.", "{weather}", "She stayed there for {hours} hours.",
     "In the end she bought {food.en} and {food2.en}.", "Then she walked home.",
     "{woman} bought {food.en} and {food2.en} at the {shop}."),
    ("{man} got up early.", "{weather}", "He took the train to {city}.", "There he looked for {thing.en:a}.",
     "On {day} he came back.", "{man} looked for {thing.en:a} in {city}."),
    ("{per} is {job:a}.", "On {day} {org} called.", "{weather}", "After {hours} weeks {per} began to work there.",
     "{per} works at {org} as {job:a}."),
    ("{first.ko:은/는} 아침에 {place.ko}에 갔다.", "{weather_ko}", "거기서 {food.ko:과/와} {food2.ko:을/를} 샀다.",
     "그리고 집에 돌아왔다.",
     "{first.ko:은/는} {place.ko}에서 {food.ko:과/와} {food2.ko:을/를} 샀다."),
    ("{per_ko:은/는} 기차를 타고 {city_ko}에 갔다.", "{weather_ko}",
     "거기서 {per_ko2:을/를} 만났다.",
     "밤에 돌아왔다.",
     "{per_ko:은/는} {city_ko}에서 {per_ko2:을/를} 만났다."),
))


def text_to_text(draw: Draw) -> tuple[str, str, str]:
    """One example of any task that is put as text: its name, the input, the target."""
    kind = draw.weighted({"sentiment": 3, "translation": 6, "summary": 3, "question": 3})
    if kind == "sentiment":
        example = sentiment(draw)
        return draw.one(("classify", "sentiment")), example.text, example.label
    if kind == "translation":
        return translation(draw)
    if kind == "summary":
        return "summarize", *fill(draw.one(SUMMARIES), LISTS, draw)
    answered = questions(draw)
    return "question", f"{answered.question} context: {answered.context}", answered.answer
