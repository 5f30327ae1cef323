"""Pre-train a BERT on real text, about five minutes on a laptop:

    python -m minibert.pretrain                       on the documentation that every Python installation carries
    python -m minibert.pretrain --corpus my.txt       on your own text, a blank line between documents
"""

import json
import math
import shlex
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from common import checkpoint, weight_files, world
from common.batches import tokenize
from common.command import UserError, command, python
from common.config import parse
from common.corpus import WORLD, Corpus, load_corpus
from common.report import Metrics, add_sample, draw_curves, table, verdict
from common.run import again, cached_vocabulary, folder, new_folder, says_how_to_go_on, settings, short_hash
from common.tokenizer import Tokenizer
from common.trainer import choose_device, fit
from minibert.baselines import baselines
from minibert.evaluate import evaluate, masked_words
from minibert.model import BertForPreTraining
from minibert.objective import Examples, pretraining_loss
from minibert.recipe import PretrainConfig, optimizers
from minibert.start import counted_start

MODULE = "minibert.pretrain"

# Held-out figures of the default run: seeds 0, 1, 2 gave .376, .377, .375 and .835, .853, .832; some room on both sides
# for other machines, whose roundings lead to other models.
EXPECTED = {"mlm_top1": (0.365, 0.387), "nsp_accuracy": (0.80, 0.88)}


@command
def main(argv: list[str] | None = None) -> None:
    config = settings(parse(PretrainConfig, argv, __doc__))
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing

    corpus = load_corpus(config.corpus)
    if min(len(corpus.train), len(corpus.held_out)) < 2:  # where one alone is left, no B can come from another
        raise UserError("next-sentence prediction needs two documents to train on and two held out; "
                        f"this text gives {len(corpus.train)} + {len(corpus.held_out)}; a blank line ends a document")
    tokenizer = vocabulary(corpus, config)
    train, held_out = tokenize(corpus.train, tokenizer), tokenize(corpus.held_out, tokenizer)
    print(f"corpus: {corpus.describe()}, {len(train.tokens):,} + {len(held_out.tokens):,} pieces")
    examples = Examples(train, tokenizer, config.max_len, config.batch_size, config.mask_rate, config.seed)
    # evaluate brings its own rate, seed and batch size; 1 here, so that a short held-out text is not refused
    questions = Examples(held_out, tokenizer, config.max_len, 1, config.mask_rate, config.seed)

    model = BertForPreTraining(config.bert())
    print(f"model: {sum(p.numel() for p in model.parameters()):,} parameters, {config.n_layers} blocks of width "
          f"{config.d_model}, on {choose_device()} with {torch.get_num_threads()} threads")
    to_beat = baselines(train, questions)
    if not config.resume:
        report_first_loss("random weights", model, examples)
        if config.start == "counted":
            counted_start(model, train)
            report_first_loss("counted start", model, examples)

    model.to(choose_device())

    def look(step: int) -> dict[str, float]:
        measured = evaluate(model, questions)
        print(f"\nstep {step:,}: " + ", ".join(f"held-out {name} {value:.3f}" for name, value in measured.items()))
        guesses = masked_words(model, questions)
        print(guesses + "\n")
        add_sample(run / "samples.txt", step, guesses)
        return measured

    run = folder(config.name) if config.resume else new_folder(config)
    tokenizer.save(run / "tokenizer.model")
    made_from = {"vocabulary": short_hash(tokenizer.model),
                 "text": short_hash(json.dumps([corpus.train, corpus.held_out]).encode())}
    with says_how_to_go_on(MODULE, run):
        fit(model, pretraining_loss, examples, optimizers(model, config), config, run, look, config.resume, made_from,
            weights={"nsp": config.nsp_weight})
    finish(model, config, run, to_beat)


def vocabulary(corpus: Corpus, config: PretrainConfig) -> Tokenizer:
    """The vocabulary of the training text; the held-out text takes no part in it."""
    if config.resume:
        return Tokenizer.load(folder(config.name) / "tokenizer.model")
    if config.corpus == WORLD:
        return world.vocabulary(config.vocab_size)
    return cached_vocabulary([paragraph for document in corpus.train for paragraph in document], config.vocab_size)


def report_first_loss(weights: str, model: BertForPreTraining, examples: Examples) -> None:
    """With random weights both losses should be those of guessing; a bug in labels or scale shows here."""
    device = next(model.parameters()).device
    with torch.no_grad():
        losses = pretraining_loss(model, {name: tensor.to(device) for name, tensor in examples(0).items()})
    mlm, nsp = (total.item() / count for total, count in losses.values())
    v = model.config.vocab_size
    print(f"first loss, {weights}: MLM {mlm:.3f} (guessing among {v:,} pieces: ln V = {math.log(v):.3f}), "
          f"NSP {nsp:.3f} (guessing between two: ln 2 = {math.log(2):.3f})")


def finish(model: BertForPreTraining, config: PretrainConfig, run: Path, to_beat: dict[str, float]) -> None:
    """The last result beside what was expected, the curve, and what to do next.

    The last one, not the best of all evaluations: choosing on held-out text would flatter the run.
    """
    metrics = Metrics(run / "metrics.jsonl")
    result = next(line for line in reversed(metrics.read()) if "mlm_top1" in line)
    print("held-out mlm_top1 without a neural network: "
          + ", ".join(f"{name.replace('_', ' ')} {p:.3f}" for name, p in to_beat.items())
          + f"; this run is {result['mlm_top1'] - to_beat['trigram']:+.3f} from the trigram")
    default = replace(PretrainConfig(), name=config.name, seed=config.seed, resume=config.resume)
    for name, (low, high) in EXPECTED.items():
        print(verdict(f"held-out {name}", result[name], low, high) if config == default
              else f"held-out {name}: {result[name]:.3f} (no expectation for these settings)")
    print(draw_curves(metrics, {"loss of training (nats)": ["mlm", "nsp"], "held-out loss (nats)": ["mlm_loss"],
                                "held-out accuracy": ["mlm_top1", "nsp_accuracy"]}, run / "curve.png"))
    best = min((line for line in metrics.read() if "mlm_top1" in line), key=lambda line: line["mlm_loss"])
    if best["step"] != result["step"]:
        print(f"the weights of step {best['step']:,} did better, {best['mlm_top1']:.3f}: they are in best.pt, "
              "and fill_mask asks them")
    which = "" if run.name == PretrainConfig().name else f" --model {shlex.quote(run.as_posix())}"
    rows = [[f'{python()} -m minibert.fill_mask "The default [MASK] is used ."{which}', "ask this model"],
            [f"{python()} -m minibert.pretrain --corpus my.txt", "train on your own text"],
            [again(MODULE, run), "go on with a run that was stopped"]]
    if find_spec("safetensors"):
        checkpoint.load_weights(model, run / "best.pt")  # those that fill_mask asks
        model.save_pretrained(run / "published")
        rows.append([f"{run / 'published'}", "the same model for transformers' BertForPreTraining.from_pretrained"])
    else:
        print(f"{run / 'published'} {weight_files.INSTALL}")
    print(table(["next:", ""], [[f"  {command}", what] for command, what in rows]))


if __name__ == "__main__":
    main()
