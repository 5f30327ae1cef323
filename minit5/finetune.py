"""Teach a T5 tasks, all of them as text to text, in one model:

    python -m minit5.finetune --tasks my.tsv                          from random weights
    python -m minit5.finetune --tasks my.tsv --model runs/minit5      from a run of minit5.pretrain, or a published T5
    python -m minit5.finetune --tasks world --vocab-size 2000         the tasks of the small world (common/world.py)

A line of the file is task<TAB>input<TAB>target, for example

    translate English to Korean<TAB>Hello.<TAB>안녕하세요.

The model reads "translate English to Korean: Hello." and learns to write the target. One input in ten of each task is
held out.
"""

import shlex
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch

from common.command import UserError, command, python
from common.config import option, parse, read_json
from common.corpus import WORLD
from common.report import Metrics, add_sample, draw_curves, table
from common.run import again, cached_vocabulary, folder, new_folder, says_how_to_go_on, settings, short_hash
from common.trainer import choose_device, fit
from minit5.model import T5, T5Config
from minit5.objective import Pair, first_loss, in_batches, target_loss
from minit5.pretrained import open_model, open_vocabulary, publish, save_description
from minit5.recipe import T5RunConfig, optimizers
from minit5.scores import chrf, exact_match, rouge_l
from minit5.tasks import Example, Mixture, encode, read_examples, split, world_examples
from minit5.vocabulary import SentinelVocabulary
from minit5.writer import answer

MODULE = "minit5.finetune"
SCORES = {"exact match": exact_match, "chrF": chrf, "ROUGE-L": rouge_l}
N_ANSWERED = 200  # held-out examples of a task that are answered at each evaluation
N_SHOWN = 4  # of them in the table


@dataclass(frozen=True)
class FinetuneConfig(T5RunConfig):
    """Settings of `python -m minit5.finetune`."""

    steps: int = option(700, "optimizer steps: steps, not seconds, so that a run can be repeated", low=1)
    eval_every: int = option(175, "steps between two evaluations; the run is saved at each", low=1)
    name: str = option("minit5-tasks", "the run is kept in the folder runs/NAME")
    tasks: str | None = option(None, "UTF-8 file, a line is task<TAB>input<TAB>target; or world, the small world's")
    model: str | None = option(None, "folder to start from, which has its own sizes (default: random weights)")
    batch_size: int = option(64, "rows of a batch", low=1)
    dropout: float = option(0.1, "dropout", low=0, high=0.9)
    muon_lr: float = option(0.006, "learning rate of Muon, for the matrices between hidden states", low=0)
    adam_lr: float = option(0.005, "learning rate of AdamW, for embeddings, head, norms and relative positions", low=0)
    temperature: float = option(2.0, "how tasks are mixed: 1 by their sizes, higher more evenly", low=1)
    max_input: int = option(256, "tokens of an input at most", low=2)
    max_target: int = option(128, "tokens of a target at most; answers end there", low=2)


@command
def main(argv: list[str] | None = None) -> None:
    config = settings(parse(FinetuneConfig, argv, __doc__))
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
    if config.tasks is None:
        raise UserError("give a file of tasks: --tasks my.tsv (--help shows what stands in it), or --tasks world")

    train, held_out = world_examples() if config.tasks == WORLD else split(read_examples(Path(config.tasks)))
    model, vocabulary = start(config, train)
    encoded = encode(train + held_out, vocabulary, config.max_input, config.max_target)
    pairs, questions = encoded[: len(train)], encoded[len(train) :]
    names = list(dict.fromkeys(e.task for e in train))
    sizes = [sum(e.task == name for e in train) for name in names]
    batches = Mixture([[pair for e, pair in zip(train, pairs) if e.task == name] for name in names], vocabulary,
                      config.batch_size, config.temperature, config.seed)
    print(table(["task", "to learn from", "held out", "share of a batch"],
                [[name, size, sum(e.task == name for e in held_out), f"{rate:.2f}"]
                 for name, size, rate in zip(names, sizes, batches.rates)]))
    print(f"model: {sum(p.numel() for p in model.parameters()):,} parameters, from "
          f"{config.model or 'random weights'}, on {choose_device()} with {torch.get_num_threads()} threads")
    if not config.resume:
        print("first loss:", first_loss(model, batches(0)))
    model.to(choose_device())

    run = folder(config.name) if config.resume else new_folder(config)  # made when nothing can be refused any more
    if not config.resume:
        save_description(run, model.config, vocabulary, names)
    made_from = {"vocabulary": short_hash(vocabulary.pieces.model),
                 "file of tasks": short_hash(repr([train, held_out]).encode())}

    def look(step: int) -> dict[str, float]:
        loss = held_out_loss(model, questions, vocabulary)
        measured, shown = score(model, held_out, questions, vocabulary, config.max_target)
        print(f"\nstep {step:,}: held-out loss {loss:.3f} nats a token\n{shown}\n")
        add_sample(run / "samples.txt", step, shown)
        return {"held_out_loss": loss, **measured}

    with says_how_to_go_on(MODULE, run):
        fit(model, target_loss, batches, optimizers(model, config), config, run, look, config.resume, made_from)
    finish(model, vocabulary, config, run, held_out[0])


def start(config: FinetuneConfig, train: list[Example]) -> tuple[T5, SentinelVocabulary]:
    """The model to begin with, and its vocabulary: those of a folder, or new ones, pieces of the file's own text."""
    if config.resume:
        sizes = read_json(T5Config, folder(config.name) / "model.json")
        return T5(sizes), open_vocabulary(folder(config.name), sizes)
    if config.model is None:
        texts = [text for e in train for text in (e.text, e.target)]
        kind = "bpe" if config.tasks == WORLD else "unigram"  # few different words: see Tokenizer.train
        vocabulary = SentinelVocabulary(cached_vocabulary(texts, config.vocab_size, kind))
        return T5(config.sizes(vocabulary)), vocabulary
    trained, vocabulary = open_model(Path(config.model))
    model = T5(replace(trained.config, dropout=config.dropout))
    model.load_state_dict(trained.state_dict())
    return model, vocabulary


@torch.no_grad()
def held_out_loss(model: T5, questions: list[Pair], vocabulary: SentinelVocabulary) -> float:
    """Nats a token of the targets, all tasks together. Expects `model.eval()`."""
    device = next(model.parameters()).device
    losses = [target_loss(model, {name: x.to(device) for name, x in b.items()})["loss"]
              for b in in_batches(questions, vocabulary)]
    return sum(total.item() for total, _ in losses) / sum(count for _, count in losses)


def score(model: T5, examples: list[Example], questions: list[Pair], vocabulary: SentinelVocabulary,
          max_new: int) -> tuple[dict[str, float], str]:
    """Greedy answers to up to N_ANSWERED held-out examples of each task: the scores, and two tables of them."""
    measured, scores, shown = {}, [], []
    numbered = sorted(range(len(examples)), key=lambda i: examples[i].task)
    for task, group in groupby(numbered, key=lambda i: examples[i].task):
        all_of_it = list(group)
        chosen = all_of_it[:: -(-len(all_of_it) // N_ANSWERED)]
        written = [vocabulary.decode(new) for i in range(0, len(chosen), 64)
                   for new in answer(model, [questions[j][0] for j in chosen[i : i + 64]], max_new)]
        targets = [examples[i].target for i in chosen]
        values = {name: score(written, targets) for name, score in SCORES.items()}
        measured |= {f"{name}: {task}": value for name, value in values.items()}
        scores.append([task, len(chosen), *(f"{value:.3f}" for value in values.values())])
        shown += [[examples[chosen[i]].text, written[i], targets[i], "✓" if written[i] == targets[i] else ""]
                  for i in sorted({i * len(chosen) // N_SHOWN for i in range(N_SHOWN)})]
    return measured, "\n\n".join([table(["task", "answered", *SCORES], scores),
                                  table(["input", "written", "target", ""], shown)])


def finish(model: T5, vocabulary: SentinelVocabulary, config: FinetuneConfig, run: Path, example: Example) -> None:
    """The curve, and what to do next."""
    metrics = Metrics(run / "metrics.jsonl")
    measured = [line for line in metrics.read() if "held_out_loss" in line]
    panels = {name: [key for key in measured[-1] if key.startswith(f"{name}: ")] for name in SCORES}
    print(draw_curves(metrics, {"loss (nats a token)": ["loss", "held_out_loss"], **panels}, run / "curve.png"))
    best = min(measured, key=lambda line: line["held_out_loss"])
    if best["step"] != measured[-1]["step"]:
        print(f"the weights of step {best['step']:,} have the smallest held-out loss, {best['held_out_loss']:.3f}: "
              "they are in best.pt, and answer takes them")
    which = [] if run.name == FinetuneConfig().name else ["--model", run.as_posix()]
    rows = [[shlex.join([python(), "-m", "minit5.answer", example.text, *which]), "ask this model"],
            [again(MODULE, run), "go on with a run that was stopped"], *publish(model, vocabulary, run)]
    print(table(["next:", ""], [[f"  {line}", what] for line, what in rows]))


if __name__ == "__main__":
    main()
