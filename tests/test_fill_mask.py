"""`python -m minibert.fill_mask`: the blank before [MASK], the guesses, the newest run, a published checkpoint."""

import os

import pytest
import torch

from common.command import UserError
from common.tokenizer import BLANK
from common.wordpiece import WordPiece
from minibert import BertForPreTraining, fill_mask
from minibert.fill_mask import load
from minibert.recipe import load_run
from tests import tiny
from tests.explain import close, equal
from tests.oracle import oracle

TEXT = "the old dog [MASK] a bird ."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a trained run."""
    made = tmp_path_factory.mktemp("fill_mask")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        tiny.train("--max-len", "32")
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def loaded(folder):
    return load_run(folder / "runs" / "minibert")


# ---- the blank before [MASK]


def seen_by(model, tokenizer, text) -> list[str]:
    """The pieces that the model gets to read."""
    class Watched(BertForPreTraining):
        def hidden(self, ids, *rest):
            seen.append(ids)
            return super().hidden(ids, *rest)

    seen, model.__class__ = [], Watched
    fill_mask.fill_mask(model, tokenizer, text)
    return [tokenizer.piece(i) for i in seen[0][0].tolist()]


@pytest.mark.parametrize("text", ["the dog [MASK] a bird .", "the dog[MASK] a bird .", "the dog  [MASK] a bird ."])
def test_the_blank_before_the_mask_leaves_no_lone_piece(loaded, text):
    model, tokenizer = loaded
    pieces = seen_by(model, tokenizer, text)
    mask = pieces.index("[MASK]")
    assert pieces[mask - 1] != BLANK, f"a lone {BLANK} before [MASK] is something the model never saw: {pieces}"
    equal(pieces[:mask], ["[CLS]", *map(tokenizer.piece, tokenizer.encode("the dog"))], "what stands before the mask")
    equal(pieces[mask + 1:], [*map(tokenizer.piece, tokenizer.encode("a bird .")), "[SEP]"], "what stands behind it")


@pytest.mark.parametrize("text", ["[MASK] dog sees a bird .", " [MASK] dog", "dog [MASK]", "[MASK]"])
def test_the_mask_may_stand_at_either_end(loaded, text):
    pieces = seen_by(*loaded, text)
    equal((pieces[0], pieces[-1], pieces.count("[MASK]")), ("[CLS]", "[SEP]", 1), "[CLS] text [SEP]")
    assert pieces[pieces.index("[MASK]") - 1] != BLANK, f"a lone {BLANK} came before the mask: {pieces}"


# ---- the guesses


def test_guesses_are_the_most_probable_pieces(loaded):
    model, tokenizer = loaded
    ids = [tokenizer.cls_id, *tokenizer.encode_masked(TEXT), tokenizer.sep_id]
    logits, _ = model(torch.tensor([ids]))
    expected = logits[0, ids.index(tokenizer.mask_id)].softmax(-1).topk(5)
    guesses = fill_mask.fill_mask(model, tokenizer, TEXT)
    close(torch.tensor([p for p, _, _ in guesses]), expected.values.detach(), "softmax over all pieces, at the mask")
    equal([piece for _, piece, _ in guesses], [tokenizer.piece(i) for i in expected.indices.tolist()], "best first")


def test_probabilities_fall_and_all_together_are_one(loaded):
    p = [p for p, _, _ in fill_mask.fill_mask(*loaded, TEXT, top=tiny.V)]
    equal(len(p), tiny.V, "as many guesses as were asked for")
    equal(p, sorted(p, reverse=True), "the best guess comes first")
    assert abs(sum(p) - 1) < 1e-5, f"expected probabilities that add up to 1, came {sum(p)}"


def test_the_piece_is_put_into_the_text(loaded):
    for _, piece, filled in fill_mask.fill_mask(*loaded, TEXT, top=tiny.V):
        if piece == "▁sees":
            equal(filled, "the old dog sees a bird .", "the guess stands in place of [MASK], its blank included")
            return
    pieces = [piece for _, piece, _ in fill_mask.fill_mask(*loaded, TEXT, top=tiny.V) if piece.startswith(BLANK)]
    piece = next(p for p in pieces if p != BLANK)
    filled = next(f for _, p, f in fill_mask.fill_mask(*loaded, TEXT, top=tiny.V) if p == piece)
    equal(filled, f"the old dog {piece[1:]} a bird .", "the guess stands in place of [MASK], its blank included")


def test_korean_text_is_asked_and_shown_unharmed(loaded):
    model, tokenizer = loaded
    filled = fill_mask.fill_mask(model, tokenizer, "나는 [MASK]", top=tiny.V)
    assert any(text.startswith("나는") for _, _, text in filled), "byte pieces spell what the vocabulary lacks"


# ---- the command


def test_five_guesses_are_printed(here, capsys):
    fill_mask.main([TEXT])
    lines = capsys.readouterr().out.splitlines()
    equal(lines[0].split(), ["p", "piece", "text"], "the header")
    p = [float(line.split()[0]) for line in lines[1:]]
    assert len(p) == 5 and p == sorted(p, reverse=True), f"expected five falling probabilities, came {p}"


def test_the_number_of_guesses_can_be_chosen(here, capsys):
    fill_mask.main([TEXT, "--top", "2"])
    equal(len(capsys.readouterr().out.splitlines()), 3, "a header and two guesses")


def test_the_newest_run_answers(here, capsys):
    tiny.train("--max-len", "32", "--seed", "3", "--name", "minibert-b")
    old, new = here / "runs" / "minibert", here / "runs" / "minibert-b"
    answers = {}
    for run in (old, new):
        capsys.readouterr()
        fill_mask.main([TEXT, "--model", str(run)])
        answers[run] = capsys.readouterr().out
    assert answers[old] != answers[new], "the two runs should answer differently, or the test shows nothing"
    for newest, other in ((new, old), (old, new)):
        os.utime(other / "best.pt", (1000, 1000))
        os.utime(newest / "best.pt", (2000, 2000))
        fill_mask.main([TEXT])
        equal(capsys.readouterr().out, answers[newest], "the run saved last answers, not the last by name")


def test_the_command_runs_in_a_process_of_its_own_on_a_plain_terminal(folder):
    """ascii: a Windows pipe knows neither ✓ nor 한; that must not end the command."""
    done = tiny.run_in_process("minibert.fill_mask", "한 [MASK] a bird .", folder=folder, PYTHONIOENCODING="ascii")
    equal(done.returncode, 0, f"it ended with an error: {done.stderr.decode()[-500:]}")
    equal(len(done.stdout.splitlines()), 6, "a header and five guesses")


# ---- published checkpoints

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
          "the", "a", "old", "dog", "cat", "sees", "bird", ".", "##s", "##ing"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A random BERT, written by transformers, with its vocab.txt."""
    transformers = oracle("transformers")
    made = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(PIECES), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                                     intermediate_size=40, max_position_embeddings=16, initializer_range=0.5)
    transformers.BertForPreTraining(config).save_pretrained(made)
    (made / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return made


def test_a_published_checkpoint_answers_as_in_transformers(published):
    transformers = oracle("transformers")
    model, tokenizer = load(published)
    guesses = fill_mask.fill_mask(model, tokenizer, "The dogs [MASK] a Bird.", top=len(PIECES))
    ids = [PIECES.index(p) for p in ("[CLS]", "the", "dog", "##s", "[MASK]", "a", "bird", ".", "[SEP]")]
    theirs = transformers.BertForPreTraining.from_pretrained(published).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).prediction_logits[0, 4].softmax(-1).sort(descending=True)
    close(torch.tensor([p for p, _, _ in guesses]), expected.values, "the probabilities of transformers' fill-mask")
    equal([piece for _, piece, _ in guesses], [PIECES[i] for i in expected.indices.tolist()], "in the same order")


def test_a_published_checkpoint_is_asked_from_the_command_line(published, capsys):
    fill_mask.main(["the dog [MASK] a bird .", "--model", str(published), "--top", str(len(PIECES))])
    shown = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]]
    equal(sorted(shown), sorted(PIECES), "WordPiece pieces are shown as they are: ## continues a word")


def test_a_vocabulary_of_another_size_is_refused(published, tmp_path):
    for path in published.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "vocab.txt").write_text("\n".join([*PIECES, "more"]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="do not belong together"):
        load(tmp_path)


def test_a_published_vocabulary_is_word_piece(published):
    model, tokenizer = load(published)
    equal((type(tokenizer), model.training), (WordPiece, False), "vocab.txt beside the weights; dropout off")


def test_a_model_trained_here_answers_the_same_in_transformers(folder, loaded):
    transformers = oracle("transformers")
    tokenizer = loaded[1]
    run = folder / "runs" / "minibert" / "published"
    guesses = fill_mask.fill_mask(BertForPreTraining.from_pretrained(run), tokenizer, TEXT, top=tiny.V)
    ids = [tokenizer.cls_id, *tokenizer.encode_masked(TEXT), tokenizer.sep_id]
    with torch.no_grad():
        logits = transformers.BertForPreTraining.from_pretrained(run).eval()(torch.tensor([ids])).prediction_logits
    expected = logits[0, ids.index(tokenizer.mask_id)].softmax(-1).sort(descending=True).values
    close(torch.tensor([p for p, _, _ in guesses]), expected, "the published form is the same model")
