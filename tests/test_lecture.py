"""The lecture's questions, and how answers to them are judged (common/lecture.py, notebooks/lecture.py)."""

import hashlib
from collections import Counter

import pytest

from common.command import UserError
from common.lecture import LECTURE, PARAPHRASES, Question
from notebooks import lecture
from notebooks.lecture import MODELS, answered, is_right
from tests.explain import equal


def test_the_questions_are_those_that_were_fixed():
    """Changing one of them would be changing the exam after the lesson."""
    text = repr([(q.kind, q.text, q.answers, q.context) for q in (*LECTURE, *PARAPHRASES)])
    equal(hashlib.sha256(text.encode()).hexdigest()[:16], "1a385e0f5686df44",
          "a question or an expected answer was changed")
    equal((len(LECTURE), len(PARAPHRASES)), (19, 50), "rows")
    assert not {q.text + q.context for q in LECTURE} & {q.text + q.context for q in PARAPHRASES}


def test_the_sentences_of_the_lecture_are_there():
    asked = "\n".join(f"{q.text} {q.context}" for q in LECTURE)
    for sentence in ("The [MASK] sat on the mat", "어제 [MASK] 갔었어", "어제 카페에 갔었어 거기",
                     "이 영화 정말 재미있어요!",
                     "이 제품 정말 만족스럽습니다!", "배송이 너무 느려서 실망했어요.",
                     "수도는 어디인가요? 대한민국의 수도는 서울입니다.",
                     "sea otter → loutre de mer, cheese →", "15의 80%는?", "translate English to French: Hello",
                     "translate English to German: Hello", "안녕하세요, 반갑습니다!", "classify: I love this!",
                     "sentiment: I love this!", "summarize: ", "Once upon a time", "은행에 갔다"):
        assert sentence in asked, sentence


def test_what_training_may_not_show():
    equal(Question("fill", "The [MASK] sat", ("cat", "dog")).told(), ["The cat sat", "The dog sat"], "the blank filled")
    equal(Question("prompt", "영어: a → b, cheese →", ("fromage",)).told(), ["cheese → fromage"], "the last pair alone")
    equal(Question("span", "수도는?", ("서울",), context="수도는 서울.").told(), ["수도는 서울."], "the context")
    equal(Question("next", "Once upon", ()).told(), [], "no answer, nothing to hide")
    equal(Question("text", "classify: x", ("y",)).told(), ["classify: x"], "the input")


FILL, TEXT = Question("fill", "[MASK]", ("사람", "분위기")), Question("text", "a", ("Hello",))


@pytest.mark.parametrize(("question", "guesses", "right"), [
    (FILL, ["a", "b", "c", "d", "사람"], True), (FILL, ["사람이"], True), (FILL, ["사람들"], False),
    (FILL, ["a"], False),
    (TEXT, ["Hello"], True), (TEXT, ["Hello!"], False), (TEXT, ["x", "Hello"], False), (TEXT, ["hello"], False)])
def test_judging(question, guesses, right):
    equal(is_right(question, guesses), right, "open: among the best, particles allowed; closed: the best one, equal")


def test_every_kind_has_one_model():
    kinds = Counter(kind for model in MODELS for kind in model.kinds)
    equal(set(kinds), {q.kind for q in (*LECTURE, *PARAPHRASES)},
          "a kind without a model, or a model without questions")
    assert max(kinds.values()) == 1


class Fixed:
    def __init__(self, guess, counted):
        self.guess, self.count = guess, counted

    def guesses(self, question):
        return [self.guess]

    def counted(self, question):
        return [self.count]


def test_lines_of_the_table():
    line, result = answered(LECTURE[0], Fixed("cat", "the"))
    equal(result, (True, False), "model and n-gram are judged alike")
    equal([line[1], line[3], line[4], line[5], line[6], line[8], line[9]],
          ["fill", "cat", "cat", "✓", "bert", "the", "✗"], "")
    unanswered = next(q for q in LECTURE if not q.answers)
    line, result = answered(unanswered, Fixed("there", "a"))
    equal((result, line[5], line[4]), (None, "", "-"), "where the lecture gives no answer nothing is counted")


def test_what_is_trained_and_what_is_not(tmp_path, monkeypatch, capsys):
    """A finished run is left alone, a broken-off one is taken up, a missing one is trained."""
    monkeypatch.chdir(tmp_path)
    calls = []

    def train(argv):
        calls.append(argv)
        (tmp_path / "runs" / argv[argv.index("--name") + 1]).mkdir(parents=True, exist_ok=True)

    train.__module__ = "minibert.pretrain"
    model = lecture.Model("bert", train, "--corpus world", Fixed, ("fill",))
    config = lecture.LectureConfig(seed=2)
    run = lecture.trained(model, config, {})
    equal(calls, [["--corpus", "world", "--name", "lecture-bert-seed2", "--seed", "2"]], "flags, name and seed")
    lecture.trained(model, config, {})
    equal(len(calls), 1, "what is done is done")
    (run / "lecture.json").unlink()
    with pytest.raises(UserError, match="delete it"):  # nothing was saved, nothing can be taken up
        lecture.trained(model, config, {})
    (run / "last.pt").write_bytes(b"")
    lecture.trained(model, config, {})
    equal(calls[1], ["--name", "lecture-bert-seed2", "--resume"], "broken off: taken up")
    after = lecture.Model("sentiment", train, "--model {bert}", Fixed, ("label",))
    lecture.trained(after, lecture.LectureConfig(short=True), {"bert": run})
    equal(calls[2][:2], ["--model", run.as_posix()], "the run it starts from")
    assert "--steps" in calls[2] and "lecture-sentiment-short" in calls[2]
