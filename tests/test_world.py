"""The small world: what is drawn, what it is worth, and above all what it never shows (common/world*.py)."""

import math
from collections import Counter
from itertools import islice

import pytest

from common import world, world_prompts, world_tasks, world_texts
from common import world_words as w
from common.command import UserError
from common.grammar import Draw, fill, slots_of
from common.labelled import Answered, Classified, Tagged, breaks_bio, text_of
from common.lecture import LECTURE, PARAPHRASES
from tests.explain import equal

N = 30_000
KINDS = {"sentiment": Classified, "next-sentence": Classified, "entities": Tagged, "questions": Answered}
TASKS = [*KINDS, "text-to-text"]


@pytest.fixture(scope="module")
def drawn():
    """Many documents, prompts among them."""
    return list(islice(world.documents(0, prompts=True), N))


@pytest.fixture(scope="module")
def learned():
    """Labelled examples to learn from, of each task."""
    return {task: world.examples(task, 3_000) for task in TASKS}


# ---- what is never shown


def test_no_document_answers_what_the_lecture_asks(drawn):
    for question in (*LECTURE, *PARAPHRASES):
        for told in question.told():
            shown = next((d.text for d in drawn if told in d.text), None)
            assert shown is None, f"{told!r} is asked for, and stands in the training text {shown!r}"


def test_no_labelled_example_is_what_the_lecture_asks(learned):
    asked = {told for question in (*LECTURE, *PARAPHRASES) for told in question.told()}
    contexts = {question.context for question in (*LECTURE, *PARAPHRASES) if question.context}
    sentences = asked | {told.partition(": ")[2] for told in asked if ": " in told}
    spelled = {sentence.rstrip(".!?").lower() for sentence in sentences}
    for task, examples in learned.items():
        for example in examples:
            whole = world.input_of(example)
            source = example[1] if isinstance(example, tuple) else whole
            assert whole not in asked and source not in sentences, f"{task} learns {whole!r}, which is asked for"
            assert not any(context in whole for context in contexts), f"{task} reads {whole!r}, which is asked for"
            assert source.rstrip(".!?").lower() not in spelled, f"{task} learns {whole!r}, spelled otherwise"
            if task == "next-sentence":
                assert not any(told in whole for told in asked), f"{task} reads {whole!r}"


def test_without_the_rule_the_grammar_would_show_it():
    """The tests above could not fail if the grammar could not write these sentences anyway."""
    draw, found = Draw(3), set()
    for _ in range(20_000):
        text = " ".join(world.prose(draw))
        found.update(told for told in world.ASKED if told in text)
    sentiments = {world_tasks.sentiment(draw).text for _ in range(20_000)}
    assert any("갔었어" in told for told in found) and any("은행의 뜻" in told for told in found)
    assert sentiments & set(world.ASKED)
    assert {world_tasks.text_to_text(draw)[1] for _ in range(40_000)} >= {"Hello", "안녕하세요, 반갑습니다!"}


FACTS = [  # what is asked, in a form that training never has; the words of the sentence that tells it instead
    ("cheese → fromage", ("cheese", "fromage")), ("bread → pain", ("bread", "pain")),
    ("cheese → Käse", ("cheese", "Käse")),
    ("대한민국의 수도는 서울", ("서울은 대한민국의 수도",)), ("cat sat on the mat", ("The cat likes the mat best.",)),
    ("어제 카페 갔었어", ("카페", "갔었어")), ("은행에 갔다. 은행의 뜻: 금융기관", ("돈을 찾으려고 금융기관",))]


@pytest.mark.parametrize(("asked", "told"), FACTS, ids=[asked for asked, _ in FACTS])
def test_facts_stand_in_other_sentences(drawn, asked, told):
    assert any(all(part in d.text for part in told) for d in drawn), f"nothing tells {told}"
    if asked != FACTS[-1][0]:  # its other purposes do stand there
        assert not any(asked in d.text for d in drawn), f"{asked!r} stands in a training text"


def test_percentages_of_the_evaluation_are_never_calculated(drawn):
    """Neither 80 % of 15 nor 15 % of 80: what is held out is the pair."""
    asked = [(n, p) for n in range(10, 100) for p in range(10, 100) if world_prompts.is_asked(n, p)]
    assert {(15, 80), (80, 15), (25, 40), (40, 25), (48, 75), (75, 48)} <= set(asked)
    assert all((p, n) in asked for n, p in asked), "a mirror image would give it away"
    assert 0.08 < len(asked) / 8_100 < 0.13
    shown = {d.text.partition("?")[0] + "?" for d in drawn}
    calculated = shown & {world_prompts.percentage_question(n, p) for n, p in asked}
    assert not calculated, f"{calculated} are calculated"
    others = {world_prompts.percentage_question(n, p) for n in range(10, 100) for p in range(10, 100)} - calculated
    assert len(shown & others) > 5_000, "the others are"


def test_labels_of_the_evaluation_were_never_given(drawn):
    """In training no kind has one of the labels that the evaluation gives it; both halves of the rule occur."""
    kind_of = {thing: kind for kind, things in w.KINDS.items() for thing in things}
    pairs = Counter()
    for d in drawn:
        for part in d.text.split(", "):
            thing, arrow, label = part.partition(" → ")
            if arrow and label in w.LABELS and thing in kind_of:
                pairs[kind_of[thing], label] += 1
    assert len(pairs) == len(w.KINDS) * len(w.LABELS) * 3 / 4, "three pairs in four occur"
    assert not any(world_prompts.never_shown(*pair) for pair in pairs)
    draw = Draw(0)
    for _ in range(200):
        rules = world_prompts.rules(draw, held_out=True)
        assert len(rules) == world_prompts.N_KINDS == len(set(rules.values()))
        assert all(world_prompts.never_shown(*pair) for pair in rules.items())


def test_as_many_percentages_at_once_as_step_by_step(drawn):
    steps = sum(world_prompts.STEPWISE in d.text for d in drawn)
    direct = sum(d.text.partition("?")[2].startswith(world_prompts.DIRECTLY) for d in drawn)
    assert min(steps, direct) > 4_000
    assert abs(steps - direct) < 4 * math.sqrt(steps + direct), f"{steps} step by step, {direct} at once"


def test_held_out_and_training_never_meet(learned):
    train, held_out = world.split_documents(3_000, 300, prompts=True)
    assert len(train) == 3_000 and len(held_out) == 300
    assert not {d.text for d in train} & {d.text for d in held_out}
    for task in TASKS:
        asked = {world.input_of(e) for e in world.examples(task, 300, held_out=True)}
        assert not asked & {world.input_of(e) for e in learned[task]}, task
        assert not asked & {world.input_of(e) for e in world.examples(task, 1_000, seed=7)}, "whatever the seed"


def test_what_is_evaluated_was_not_read_before(drawn):
    """No sentence of the labelled evaluation examples stands in a document of pre-training."""
    text = "\n".join(d.text for d in drawn)
    for task in ("sentiment", "entities", "questions"):
        for example in world.examples(task, 500, held_out=True):
            sentence = example.context if isinstance(example, Answered) else text_of(example)
            assert sentence not in text, f"{task}: {sentence!r}"


# ---- what is drawn


def test_the_same_seed_the_same_world():
    for prompts in (False, True):
        first, second = (list(islice(world.documents(5, prompts), 200)) for _ in range(2))
        equal(first, second, "a world depends on its seed alone")
        assert first != list(islice(world.documents(6, prompts), 200))
    for task in TASKS:
        equal(world.examples(task, 100, 1), world.examples(task, 100, 1), "the same for labelled examples")
        assert world.examples(task, 100, 1) != world.examples(task, 100, 2)


def test_one_text_has_one_probability(drawn):
    """A text that two derivations made would be more probable than each of them says."""
    nats: dict[str, float] = {}
    for d in drawn:
        assert nats.setdefault(d.text, d.nats) == pytest.approx(d.nats), f"{d.text!r} was made in two ways"
    assert len(nats) < len(drawn), "some texts came twice, else this test saw nothing"


def test_frequent_texts_are_as_frequent_as_said(drawn):
    counts = Counter(d.text for d in drawn)
    nats = {d.text: d.nats for d in drawn}
    for text, times in counts.most_common(30):
        expected = N * math.exp(-nats[text])
        assert abs(times - expected) < 5.5 * math.sqrt(expected), f"{text!r}: {times} times, expected {expected:.1f}"


def test_the_probability_of_a_game_by_counting_its_choices():
    draw = Draw(1)
    text = world_prompts.game(draw)
    shown = [part.partition(" → ") for part in text.split(", ")]
    kind_of = {thing: kind for kind, things in w.KINDS.items() for thing in things}
    kinds = sorted({kind_of[thing] for thing, _, _ in shown})
    if len(kinds) < 3:
        pytest.skip("not all three kinds came")
    p = 1 / math.comb(len(w.KINDS), 3)
    labels: list[str] = []
    for kind in kinds:
        label = next(label for thing, _, label in shown if kind_of[thing] == kind)
        p /= len([x for x in w.LABELS if not world_prompts.never_shown(kind, x) and x not in labels])
        labels.append(label)
    came = Counter()
    for thing, _, _ in shown:
        kind = kind_of[thing]
        p /= 3 * (len(w.KINDS[kind]) - came[kind])
        came[kind] += 1
    assert draw.nats == pytest.approx(-math.log(p))


def test_best_bits_per_byte():
    a, b = world.WorldText(("ab", "c"), 2.0), world.WorldText(("밥",), 1.0)
    equal(a.text, "ab c", "sentences are joined by blanks")
    assert world.best_bits_per_byte([a, b]) == pytest.approx(3.0 / math.log(2) / 7), "a Korean syllable has three bytes"


@pytest.mark.parametrize("task", KINDS)
def test_labelled_examples_are_well_formed(learned, task):
    for example in learned[task]:
        assert isinstance(example, KINDS[task])
        if isinstance(example, Answered):
            equal(example.context[example.start :][: len(example.answer)], example.answer,
                  "the answer stands at `start`")
            assert example.answer not in example.context[: example.start], "and not before"
        if isinstance(example, Tagged):
            equal(len(example.words), len(example.tags), "a tag for each word")
            assert not any(breaks_bio(a, b) for a, b in zip(("O", *example.tags), example.tags))
    if task in ("sentiment", "next-sentence"):
        labels = Counter(example.label for example in learned[task])
        assert len(labels) == 2 and min(labels.values()) > 0.4 * len(learned[task]), labels


def test_more_examples_than_there_are(monkeypatch):
    monkeypatch.setitem(world.TASKS, "sentiment", lambda draw: Classified(draw.one("abcdefgh"), "positive"))
    with pytest.raises(UserError, match="no 20 different examples of sentiment, only about"):
        world.examples("sentiment", 20)


def test_entity_tags_by_hand():
    draw = Draw(0)
    found = {}
    while len(found) < 3:
        example = world_tasks.entities(draw)
        if example.words[0] in ("Yesterday", "We", "In"):
            found[example.words[0]] = example
    for example in found.values():
        names = {name for kind in ("per", "city", "org") for name in world_texts.LISTS[kind]}
        tagged = " ".join(word for word, tag in zip(example.words, example.tags) if tag != "O")
        rest = [word for word, tag in zip(example.words, example.tags) if tag == "O"]
        assert not any(word in names for word in rest), f"{example}: a name without a tag"
        assert any(name in tagged for name in names)


def test_some_names_are_of_two_kinds():
    """Only the sentence tells whether Paris is a person."""
    assert len(set(w.PEOPLE) & set(w.CITIES)) >= 4
    assert any(set(organisation.split()) & set(w.CITIES) for organisation in w.ORGANISATIONS)


def test_text_to_text_has_every_task(learned):
    tasks = Counter(task for task, _, _ in learned["text-to-text"])
    equal(set(tasks), {"classify", "sentiment", "summarize", "question", "translate English to French",
                       "translate English to German", "translate English to Korean", "translate Korean to English"}, "")
    assert min(tasks.values()) > 20
    for task, source, target in learned["text-to-text"]:
        assert source and target and task.partition(":")[0] == task


def test_every_template_can_be_filled():
    draw = Draw(0)
    for kind in world.PROSE:
        for template in getattr(world_texts, kind):
            lists = world_texts.FEELING["positive"] if kind == "REVIEWS" else world_texts.LISTS
            for _ in range(5):
                assert not set("{}") & set("".join(fill(template, lists, draw)))
    for parallel in world_tasks.PARALLEL:
        slots = {slot for text in parallel.values() for slot in slots_of((text,))}
        for language, text in parallel.items():
            equal(set(slots_of((text,))), slots, f"{language} leaves out a word of {parallel['English']!r}")


def test_steps_are_right():
    for number in range(10, 100, 7):
        for percent in range(10, 100):
            answer = world_prompts.percentage_answer(number, percent)
            assert float(answer) == pytest.approx(number * percent / 100) and not answer.endswith(".")
            for step in world_prompts.steps_of(number, percent).partition(". 답")[0].split(", "):
                left, _, right = step.partition("=")
                assert eval(left.replace("×", "*").replace("÷", "/")) == pytest.approx(float(right)), step
            assert world_prompts.steps_of(number, percent).endswith(f"÷100={answer}. 답은 {answer}")


def test_the_vocabulary_cuts_particles_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vocabulary = world.vocabulary(3_000)
    pieces = [vocabulary.piece(i) for i in vocabulary.encode("학교에서 커피를 15의 80%")]
    assert "▁학교" in pieces and "▁커피" in pieces, pieces
    assert all(sum(letter.isdigit() for letter in piece) <= 1 for piece in pieces), "each digit is a piece"
