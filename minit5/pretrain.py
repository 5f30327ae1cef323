"""Pre-train a T5 on real text by span corruption, about five minutes on a laptop:

    python -m minit5.pretrain                      on the documentation that every Python carries
    python -m minit5.pretrain --corpus my.txt      on your own text
"""

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from common.batches import tokenize
from common.command import UserError, command, python
from common.config import option, parse, read_json
from common.corpus import load_corpus
from common.report import Metrics, add_sample, draw_curves, table, verdict
from common.run import again, cached_vocabulary, folder, new_folder, says_how_to_go_on, settings, short_hash
from common.trainer import choose_device, fit, has_bfloat16
from minit5.baselines import unigram
from minit5.filled import filled_spans
from minit5.model import T5, T5Config
from minit5.objective import SpanBatches, evaluate, first_loss, held_out_pairs, target_loss
from minit5.pretrained import open_vocabulary, publish, save_description
from minit5.recipe import T5RunConfig, optimizers
from minit5.start import counted_start
from minit5.vocabulary import SentinelVocabulary

MODULE = "minit5.pretrain"

# Held-out loss of the default run: seeds 0, 1, 2 gave 3.298, 3.293, 3.299; some room on both sides for other
# machines, whose roundings lead to other models.
EXPECTED = (3.26, 3.34)


@dataclass(frozen=True)
class PretrainConfig(T5RunConfig):
    """Settings of `python -m minit5.pretrain`."""

    steps: int = option(1250, "optimizer steps: steps, not seconds, so that a run can be repeated", low=1)
    eval_every: int = option(250, "steps between two evaluations; the run is saved at each", low=1)
    name: str = option("minit5", "the run is kept in the folder runs/NAME")
    corpus: str | None = option(None, "UTF-8 text file, a blank line between documents (default: documentation corpus)")
    length: int = option(128, "tokens of a window of text, from which spans are taken out", low=4)
    start: str = option("counted", "weights to begin with: counted (see minit5/start.py) or random, as in the paper")
    noise: float = option(0.4, "share of the tokens taken out in training; the paper has 0.15", low=0.01, high=0.9)
    settle: float = option(0.3, "share of the steps, at the end, with the paper's noise", low=0, high=1)
    mean_span: float = option(3.0, "tokens of a span in training, on average; the paper's too", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start not in ("counted", "random"):
            raise UserError(f"start = {self.start} should be counted or random")
        if self.mean_span >= self.length:
            raise UserError(f"mean_span = {self.mean_span} should be less than length = {self.length}")


@command
def main(argv: list[str] | None = None) -> None:
    config = settings(parse(PretrainConfig, argv, __doc__))
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing

    corpus = load_corpus(config.corpus)
    if not corpus.train:
        raise UserError("the text is one document, and one is held out; a blank line ends a document")
    vocabulary = new_vocabulary(config, [paragraph for document in corpus.train for paragraph in document])
    train, held_out = (torch.from_numpy(tokenize(documents, vocabulary.pieces).tokens)
                       for documents in (corpus.train, corpus.held_out))
    print(f"corpus: {corpus.describe()}, {len(train):,} + {len(held_out):,} pieces")
    batches = SpanBatches(train, vocabulary, config.length, config.batch_size, config.noise, config.mean_span,
                          config.seed, settled=round((1 - config.settle) * config.steps) * config.accumulate)
    questions = held_out_pairs(held_out, vocabulary, config.length)
    if not questions:
        raise UserError("the text is too short: nothing is left to hold out")

    model = T5(config.sizes(vocabulary))
    print(f"model: T5 v1.1, {sum(p.numel() for p in model.parameters()):,} parameters, {config.n_layers} + "
          f"{config.n_decoder_layers} blocks of width {config.d_model}, on {choose_device()} with "
          f"{torch.get_num_threads()} threads, matrix products in "
          f"{'bfloat16' if has_bfloat16(choose_device(), config.precision) else 'float32'}")
    to_beat = unigram(held_out_pairs(train, vocabulary, config.length), questions, vocabulary)
    if not config.resume:
        print("first loss, random weights:", first_loss(model, batches(0)))
        if config.start == "counted":
            counted_start(model, batches, vocabulary)
            print("first loss, counted start:", first_loss(model, batches(0)))
    model.to(choose_device())

    run = folder(config.name) if config.resume else new_folder(config)  # made when nothing can be refused any more
    if not config.resume:
        save_description(run, model.config, vocabulary, tasks=[])
    made_from = {"vocabulary": short_hash(vocabulary.pieces.model),
                 "text": short_hash(json.dumps([corpus.train, corpus.held_out]).encode())}

    def look(step: int) -> dict[str, float]:
        measured = evaluate(model, questions, vocabulary)
        print(f"\nstep {step:,}: held-out loss {measured['held_out_loss']:.3f}; inside the spans loss "
              f"{measured['span_loss']:.3f}, accuracy {measured['span_accuracy']:.3f}")
        shown = filled_spans(model, questions, vocabulary)
        print(shown + "\n")
        add_sample(run / "samples.txt", step, shown)
        return measured

    with says_how_to_go_on(MODULE, run):
        fit(model, target_loss, batches, optimizers(model, config), config, run, look, config.resume, made_from)
    finish(model, vocabulary, config, run, to_beat)


def new_vocabulary(config: PretrainConfig, paragraphs: list[str]) -> SentinelVocabulary:
    """The vocabulary of the training text; the held-out text takes no part in it."""
    if config.resume:
        return open_vocabulary(folder(config.name), read_json(T5Config, folder(config.name) / "model.json"))
    return SentinelVocabulary(cached_vocabulary(paragraphs, config.vocab_size))


def finish(model: T5, vocabulary: SentinelVocabulary, config: PretrainConfig, run: Path,
           to_beat: dict[str, float]) -> None:
    """The last result beside what was expected, the curve, and what to do next.

    The last one, not the best of all evaluations: choosing on held-out text would flatter the run. What is kept for
    use are the best weights all the same.
    """
    metrics = Metrics(run / "metrics.jsonl")
    measured = [line for line in metrics.read() if "held_out_loss" in line]
    result = measured[-1]
    print(table(["held-out text", "a unigram", "this run", "difference"],
                [[name, *(f"{x:.3f}" for x in (to_beat[key], result[key])), f"{result[key] - to_beat[key]:+.3f}"]
                 for name, key in (("loss, nats a target token", "held_out_loss"),
                                   ("loss, nats a token inside the spans", "span_loss"),
                                   ("accuracy inside the spans", "span_accuracy"))]))
    default = replace(PretrainConfig(), name=config.name, seed=config.seed, resume=config.resume)
    print(verdict("held-out loss", result["held_out_loss"], *EXPECTED) if config == default
          else f"held-out loss: {result['held_out_loss']:.3f} (no expectation for these settings)")
    print(draw_curves(metrics, {"loss (nats a token)": ["loss", "held_out_loss"],
                                "inside the spans: loss": ["span_loss"], "accuracy": ["span_accuracy"]},
                      run / "curve.png"))
    best = min(measured, key=lambda line: line["held_out_loss"])
    if best["step"] != result["step"]:
        print(f"the weights of step {best['step']:,} did better, {best['held_out_loss']:.3f}: they are in best.pt, "
              "and answer takes them")
    which = [] if run.name == PretrainConfig().name else ["--model", run.as_posix()]
    gap = "Return the <extra_id_0> of the file."
    rows = [[shlex.join([python(), "-m", "minit5.answer", gap, *which]), "let this model fill a gap"],
            [f"{python()} -m minit5.finetune --tasks my.tsv --model {shlex.quote(run.as_posix())}", "teach it tasks"],
            [f"{python()} -m minit5.pretrain --corpus my.txt", "train on your own text"],
            [again(MODULE, run), "go on with a run that was stopped"]]
    rows += publish(model, vocabulary, run)
    print(table(["next:", ""], [[f"  {line}", what] for line, what in rows]))


if __name__ == "__main__":
    main()
