"""Answering from the prompt alone (minigpt/in_context.py, prompting.py): scores by hand, and no gradient anywhere."""

import contextlib
import io
from pathlib import Path

import pytest
import torch

from common.command import UserError
from minigpt import GPT, GPTConfig, Llama, LlamaConfig, in_context, prompting
from minigpt.in_context import (
    choose,
    complete,
    few_shot,
    log_probabilities,
    permuted,
    self_consistent,
    shuffled_answers,
    start_of,
    vote,
)
from minigpt.prompting import (
    asked_percentages,
    final_answer,
    game_accuracy,
    game_table,
    own_table,
    percentage_accuracy,
    percentage_table,
    read_examples,
)
from tests import tiny
from tests.explain import close, equal, same
from tests.test_bad_input import refused, says

PAIRS = [("milk", "lait"), ("apple", "pomme"), ("honey", "miel"), ("salt", "sel"), ("tea", "thé")]


@pytest.fixture
def vocabulary():
    return tiny.tokenizer()


@pytest.fixture
def model(vocabulary):
    return GPT(GPTConfig(vocabulary.vocab_size, d_model=24, n_layers=2, n_heads=3, max_len=200, dropout=0.0,
                         eos_id=vocabulary.eos_id)).eval()


def test_prompts():
    equal(few_shot(PAIRS[:1], "tea"), "milk → lait, tea →", "one-shot")
    equal(few_shot([], "tea"), "tea →", "zero-shot")
    equal(few_shot(PAIRS[:2], "tea", arrow=":", between="\n"), "milk: lait\napple: pomme\ntea:", "another form")


def test_the_order_of_examples_is_seeded():
    equal(permuted(PAIRS, 3), permuted(PAIRS, 3), "the same seed, the same order")
    equal(sorted(permuted(PAIRS, 3)), sorted(PAIRS), "the same examples")
    assert len({tuple(permuted(PAIRS, seed)) for seed in range(20)}) > 10


def test_shuffled_answers_keep_the_texts_and_the_answers():
    for seed in range(10):
        wrong = shuffled_answers(PAIRS, seed)
        equal([text for text, _ in wrong], [text for text, _ in PAIRS], "the texts stay in their order")
        equal(sorted(a for _, a in wrong), sorted(a for _, a in PAIRS), "the answers are the same ones")
    assert any(shuffled_answers(PAIRS, seed) != PAIRS for seed in range(10))


@pytest.mark.parametrize("answers", [["cat"], ["cat", "the old river", "Xyzzy 밥"]])
def test_the_score_of_an_answer_is_the_sum_of_its_tokens(model, vocabulary, answers):
    prompt = "the old cat sees"
    came = log_probabilities(model, vocabulary, prompt, answers)
    for answer, score in zip(answers, came):
        text, total = [vocabulary.eos_id, *vocabulary.encode(prompt)], 0.0
        for token in vocabulary.encode(answer):  # a token at a time, each from the whole text before it
            total += model(torch.tensor([text]))[0, -1].log_softmax(-1)[token].item()
            text.append(token)
        close(score, torch.tensor(total), "the score is shifted by one token, or counts padding", rtol=1e-4)


def test_the_company_of_other_answers_changes_nothing(model, vocabulary):
    alone = log_probabilities(model, vocabulary, "the cat", ["river"])
    among = log_probabilities(model, vocabulary, "the cat", ["a very long answer with many pieces", "river", "dog"])
    close(among[1:2], alone, "padding of the batch entered the score")


def test_many_answers_are_read_in_portions(model, vocabulary, monkeypatch):
    answers = ["cat", "dog", "the river", "old"]
    whole = log_probabilities(model, vocabulary, "a", answers)
    monkeypatch.setattr(in_context, "BATCH", 2)
    close(log_probabilities(model, vocabulary, "a", answers), whole, "portions lost or mixed answers")


def test_choosing(model, vocabulary):
    answers = ["cat", "dog", "river"]
    best = int(log_probabilities(model, vocabulary, "the", answers).argmax())
    equal(choose(model, vocabulary, "the", answers), answers[best], "the most probable one")


def test_too_long_is_refused(model, vocabulary):
    with pytest.raises(UserError, match="fewer examples may fit"):
        log_probabilities(model, vocabulary, "the cat " * 100, ["dog"])


def test_a_text_begins_behind_the_end_of_another(model):
    equal(start_of(model), [model.config.eos_id], "GPT's end token")
    equal(start_of(GPT(GPTConfig(20, 8, 1, 2, eos_id=None))), [], "a model of one long text knows none")
    equal(start_of(Llama(LlamaConfig(20, 8, 1, 2, d_ff=8, bos_id=3))), [3], "LLaMA's begin token")


def test_completing(model, vocabulary):
    prompts = ["the cat", "a", "the old river and the dog"]
    written = complete(model, vocabulary, prompts, max_new=6)
    equal(written, [complete(model, vocabulary, [prompt], max_new=6)[0] for prompt in prompts], "prompts mixed up")


def test_completing_up_to_a_stop(model, vocabulary, monkeypatch):
    tokens = vocabulary.encode("cat river, dog")
    monkeypatch.setattr(in_context, "stream", lambda *_: ({0: token} for token in [*tokens, vocabulary.eos_id]))
    equal(complete(model, vocabulary, ["the"], stop=","), ["cat river"], "up to the stop, blanks and end left out")
    equal(complete(model, vocabulary, ["the"]), ["cat river, dog"], "up to the end")


def test_the_vote():
    equal(vote(["a", "b", "b", "c"]), "b", "the most frequent")
    equal(vote(["a", "b"]), "a", "of equals the first")
    equal(vote(["", "b", "b"]), "b", "a chain without an answer votes for nothing")


def test_self_consistency_is_seeded_and_votes(model, vocabulary):
    def read(chain):
        seen.append(chain)
        return chain[:1]

    seen: list[str] = []
    first = self_consistent(model, vocabulary, "the", 7, read, seed=1, temperature=2.0, max_new=4)
    equal(len(seen), 7, "so many chains")
    assert len(set(seen)) > 1, "chains are sampled, not repeated"
    equal(first, vote([chain[:1] for chain in seen]), "the answer that most chains come to")
    equal(self_consistent(model, vocabulary, "the", 7, read, seed=1, temperature=2.0, max_new=4), first, "seeded")
    equal(seen[7:], seen[:7], "seeded")


def test_final_answers():
    cases = {"37×43. 답은 15.91": "15.91", "답은 12": "12", "15×80=1200": "", "답은 1. 답은 2": "2"}
    equal({chain: final_answer(chain) for chain in cases}, cases, "what stands behind the last 답은")


def test_no_gradient_step_anywhere(model, vocabulary, monkeypatch):
    """Every weight is as before, bit for bit, has no gradient, and nothing ever asks for one."""
    def forbidden(*_, **__):
        raise AssertionError("a gradient was asked for")

    monkeypatch.setattr(torch.Tensor, "backward", forbidden)
    monkeypatch.setattr(torch.autograd, "grad", forbidden)
    monkeypatch.setattr(torch.optim.Optimizer, "__init__", forbidden)
    monkeypatch.setattr(prompting, "CHAIN", 3)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    assert all(p.requires_grad for p in model.parameters()), "it could be trained"
    game_table(model, vocabulary, n=2, seed=0)
    percentage_table(model, vocabulary, n=2, votes=2, seed=0)
    own_table(model, vocabulary, PAIRS, n=2, seed=0)
    for name, p in model.state_dict().items():
        same(p, before[name], f"{name} was changed by a prompt")
    assert all(p.grad is None for p in model.parameters())


class Oracle:
    """In the place of the model: knows the rules of the game, if the examples tell them."""

    def __init__(self):
        self.prompts = []

    def choose(self, model, vocabulary, prompt, answers):
        from common import world_words as w

        self.prompts.append(prompt)
        kind_of = {thing: kind for kind, things in w.KINDS.items() for thing in things}
        *examples, query = [part.split(" →") for part in prompt.split(", ")]
        rules = {kind_of[thing.strip()]: label.strip() for thing, label in examples}
        return rules.get(kind_of[query[0].strip()], answers[0])


def test_who_understands_the_game_gets_better_with_every_example(monkeypatch):
    oracle = Oracle()
    monkeypatch.setattr(prompting, "choose", oracle.choose)
    right = [game_accuracy(None, None, shots, 300, 0) for shots in prompting.SHOTS]
    assert right == sorted(right) and right[0] < 0.45 and right[-1] > 0.95, right
    shuffled = game_accuracy(None, None, 8, 300, 0, shuffled=True)
    assert shuffled < 0.55, "with each other's labels the examples teach what is wrong"
    equal([len(prompt.split(", ")) for prompt in oracle.prompts[::300]], [1, 2, 5, 9, 9], "shots and the question")


def test_the_same_question_whatever_the_number_of_examples(monkeypatch):
    oracle = Oracle()
    monkeypatch.setattr(prompting, "choose", oracle.choose)
    for shots in prompting.SHOTS:
        game_accuracy(None, None, shots, 20, 0)
    queries = [[prompt.rpartition(", ")[2] for prompt in oracle.prompts[i : i + 20]] for i in range(0, 80, 20)]
    assert queries[0] == queries[1] == queries[2] == queries[3]


def test_percentages_are_read_off_both_ways(monkeypatch):
    pairs = asked_percentages(50, 0)
    from common.world_prompts import STEPWISE, percentage_answer

    def written(model, vocabulary, asked, max_new):
        truth = [percentage_answer(*pair) for pair in pairs]
        if asked[0].endswith(STEPWISE):
            return [f"1×1=1. 답은 {answer}" for answer in truth]
        return truth[:25] + ["7"] * 25

    monkeypatch.setattr(prompting, "complete", written)
    scores = percentage_accuracy(None, None, pairs)
    equal(scores["step by step"], 1.0, "the number behind the last 답은")
    assert 0.5 <= scores["directly"] < 0.6


# ---- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a trained GPT."""
    made = tmp_path_factory.mktemp("prompting")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(made)
        tiny.train_gpt("--max-len", "150", "--batch-size", "2")
    (made / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    return made


def test_own_examples(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    prompting.main(["--examples", "pairs.tsv"])
    lines = capsys.readouterr().out.splitlines()
    equal([line.split()[0] for line in lines], ["examples", "0", "1", "4"], "8 examples are more than there are")
    assert "right, of 5 answers" in lines[0]


def test_a_query(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    prompting.main(["--examples", "pairs.tsv", "--query", "bread"])
    out = capsys.readouterr().out
    assert "bread →" in out and all(f"{a} → {b}" in out for a, b in PAIRS)


def test_mistakes_are_one_clear_line(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    Path("one.tsv").write_text("a\tb\n")
    Path("three.tsv").write_text("a\tb\n\na\tb\tc\n")
    Path("hole.tsv").write_text("a\t\n")
    for flags, *words in ((("--query", "x"), "--examples"), (("--examples", "one.tsv"), "holds 1 example"),
                          (("--examples", "three.tsv"), "line 3: 3 columns"),
                          (("--examples", "hole.tsv"), "one of them empty"),
                          (("--examples", "no.tsv"), "not there"), (("--n", "0"), "at least 1"),
                          (("--model", "no"), "no")):
        says(refused(capsys, prompting.main, *flags), *words)


def test_examples_of_a_file(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a b\tc\n\n d \t e\n", encoding="utf-8")
    equal(read_examples(path), [("a b", "c"), ("d", "e")], "blank lines and blanks around are passed over")
