"""Fine-tune a BERT: label sentences, tag words, or find answers in a text.

    python -m minibert.finetune --task sentiment --model runs/minibert-world     a task of the small world
    python -m minibert.finetune --task sentiment                                 the same from random weights
    python -m minibert.finetune --task classify --train my.tsv --model DIR       own sentences, on a published BERT

Tasks of the small world (common/world.py): sentiment, next-sentence, entities, questions. With own files:

    classify   a line is label<TAB>sentence, label<TAB>sentence<TAB>second sentence, or label ||| sentence
    tag        CoNLL: a word and its BIO tag a line, a blank line behind each sentence
    answer     SQuAD's JSON, version 1.1
"""

import shlex
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from common import checkpoint, weight_files
from common.command import UserError, command, python
from common.config import option, parse, read_json
from common.labelled import text_of
from common.optim import adamw
from common.report import Metrics, add_sample, cut, draw_curves, table
from common.run import RunConfig, again, cached_vocabulary, folder, new_folder, says_how_to_go_on, settings, short_hash
from common.trainer import choose_device, fit
from minibert.heads import BertWithHead
from minibert.model import BertConfig
from minibert.pretrained import arguments_for, open_encoder, open_vocabulary, save_description, save_vocabulary
from minibert.rows import Shuffled, Vocabulary
from minibert.tasks import Task, load_task, predict, task_loss

MODULE = "minibert.finetune"
N_SHOWN = 6  # held-out examples in the table of each evaluation
WIDE = 100  # letters of one of them at most: the context of a question may be a page


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Settings of `python -m minibert.finetune`."""

    steps: int = option(0, "optimizer steps; 0: as many as the epochs have", low=0)
    warmup: int = option(-1, "steps over which the learning rate rises; -1: a tenth of all", low=-1)
    decay: float = option(1.0, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    eval_every: int = option(0, "steps between two evaluations; 0: one an epoch, ten at most", low=0)
    precision: str = option("bfloat16", "matrix products on a CPU: bfloat16 where it has them, or float32")
    name: str = option("task-minibert", "the run is kept in the folder runs/NAME")
    task: str = option("sentiment", "a task of the world, or classify, tag, answer with own files (see above)")
    train: str | None = option(None, "UTF-8 file to learn from")
    dev: str | None = option(None, "UTF-8 file that is held out (default: one in ten of --train)")
    labelled: int | None = option(None, "examples to learn from (default: all; of the world 2,000)", low=1)
    model: str | None = option(None, "folder of a run or of a published BERT to start from (default: random weights)")
    from_scratch: bool = option(False, "random weights in the place of the folder's: its sizes and vocabulary alone")
    frozen: bool = option(False, "train the new layer alone; the encoder stays as it is")
    epochs: int = option(3, "how often each example is read", low=1)
    batch_size: int = option(32, "rows of a batch", low=1)
    lr: float | None = option(None, "learning rate of AdamW (default: 0.00005 on a published BERT, else 0.001)", low=0)
    weight_decay: float = option(0.01, "weight decay of the matrices", low=0)
    dropout: float = option(0.1, "dropout", low=0, high=0.9)
    max_len: int | None = option(None, "tokens of a row (default: as many as the model reads, 128 at most)", low=8)
    vocab_size: int = option(1000, "pieces in the vocabulary, from random weights", low=1)
    d_model: int = option(160, "width of the model, from random weights", low=8)
    n_layers: int = option(2, "blocks, from random weights", low=1)
    n_heads: int = option(5, "attention heads of a block, from random weights", low=1)
    d_ff: int = option(640, "inner width of the feed-forward networks, from random weights", low=1)

    def __post_init__(self) -> None:
        if self.from_scratch and self.model is None:
            raise UserError("--from-scratch takes sizes and vocabulary of a folder: --model DIR")
        if self.d_model % self.n_heads:
            raise UserError(f"n_heads = {self.n_heads} should divide d_model = {self.d_model}")


@command
def main(argv: list[str] | None = None) -> None:
    config = settings(parse(FinetuneConfig, argv, __doc__))
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing

    task = load_task(config.task, config.train, config.dev, config.labelled, config.seed)
    labels = task.head.labels_of(task.train, task.dev)
    model, vocabulary = start(config, task, labels)
    max_len = min(config.max_len or 128, model.config.max_len)
    rows, not_read = task.head.rows_of(task.train, labels, vocabulary, max_len)
    questions, not_asked = task.head.rows_of(task.dev, labels, vocabulary, max_len)
    for what, lost in (("to learn from", not_read), ("held out", not_asked)):
        if lost:
            print(f"{what}: {lost}")
    batches = Shuffled(rows, config.batch_size, vocabulary.pad_id, config.seed)
    per_epoch = -(-batches.per_epoch // config.accumulate)
    steps = config.steps or config.epochs * per_epoch
    timed = replace(config, steps=steps, warmup=steps // 10 if config.warmup < 0 else config.warmup,
                    eval_every=config.eval_every or max(per_epoch, steps // 10))
    if config.frozen:
        for p in model.bert.parameters():
            p.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    print(f"{config.task}: {len(task.train):,} examples to learn from, {len(task.dev):,} held out"
          + (f"; labels {', '.join(labels)}" if len(labels) <= 12 else f"; {len(labels)} labels"))
    n_all, n_trained = (sum(p.numel() for p in some) for some in (model.parameters(), trained))
    print(f"model: {n_all:,} parameters, {n_trained:,} of them trained, from {origin(config)}, on {choose_device()} "
          f"with {torch.get_num_threads()} threads")
    model.to(choose_device())

    run = folder(config.name) if config.resume else new_folder(config)  # made when nothing can be refused any more
    if not config.resume:
        save_description(run, model.config, labels, vocabulary)
    made_from = {"examples": short_hash(repr([task.train, task.dev]).encode())}

    def look(step: int) -> dict[str, float]:
        given, loss = predict(model, task.head, questions, task.dev, vocabulary.pad_id)
        measured = task.head.scores(given, task.dev)
        every = max(1, len(given) // N_SHOWN)
        shown = table(["held out", "answered", "truth", ""], [
            [cut(text, WIDE), answered, truth, "✓" if answered == truth else ""]
            for text, answered, truth in map(task.head.shown, task.dev[::every][:N_SHOWN], given[::every])])
        print(f"\nstep {step:,}: held-out loss {loss:.3f}, "
              + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in measured.items()) + f"\n{shown}\n")
        add_sample(run / "samples.txt", step, shown)
        return {"held_out_loss": loss, **measured}

    with says_how_to_go_on(MODULE, run):
        fit(model, task_loss, batches, [adamw(trained, rate(config), config.weight_decay)], timed, run, look,
            config.resume, made_from)
    finish(model, vocabulary, config, run, task)


def start(config: FinetuneConfig, task: Task, labels: list[str]) -> tuple[BertWithHead, Vocabulary]:
    """The model to begin with, and its vocabulary: those of a folder, or new ones, pieces of the examples' own text."""
    if config.resume:
        run = folder(config.name)
        return task.head.Model(read_json(BertConfig, run / "model.json"), labels), open_vocabulary(run)
    if config.model is None:
        # labelled texts are few: with bpe a frequent word is a piece all the same (see Tokenizer.train)
        vocabulary = cached_vocabulary(list(map(text_of, task.train)), config.vocab_size, "bpe")
        sizes = BertConfig(vocabulary.vocab_size, config.d_model, config.n_layers, config.n_heads, config.d_ff,
                           config.max_len or 128, dropout=config.dropout)
        return task.head.Model(sizes, labels), vocabulary
    encoder, vocabulary = open_encoder(Path(config.model), config.dropout)
    model = task.head.Model(encoder.config, labels)
    if not config.from_scratch:
        model.bert.load_state_dict(encoder.state_dict(), strict=False)  # the head of tokens has no pooler
    return model, vocabulary


def origin(config: FinetuneConfig) -> str:
    """What the weights are at first: a folder, or chance."""
    return "random weights" if config.model is None or config.from_scratch else config.model


def rate(config: FinetuneConfig) -> float:
    """The learning rate: published models are large and know much; ours are small and move further."""
    published = origin(config) == config.model and not (Path(config.model) / "best.pt").exists()
    return config.lr if config.lr is not None else 5e-5 if published else 1e-3


def finish(model: BertWithHead, vocabulary: Vocabulary, config: FinetuneConfig, run: Path, task: Task) -> None:
    """The curve, and what to do next."""
    metrics = Metrics(run / "metrics.jsonl")
    measured = [line for line in metrics.read() if "held_out_loss" in line]
    panels = [name for name in measured[-1] if name not in ("step", "held_out_loss")]
    print(draw_curves(metrics, {"loss (nats)": ["loss", "held_out_loss"], "held out": panels}, run / "curve.png"))
    best = min(measured, key=lambda line: line["held_out_loss"])
    if best["step"] != measured[-1]["step"]:
        print(f"the weights of step {best['step']:,} have the smallest held-out loss, {best['held_out_loss']:.3f}, "
              f"with {panels[0].replace('_', ' ')} {best[panels[0]]:.3f}: they are in best.pt, and predict takes them")
    which = [] if run.name == FinetuneConfig().name else ["--model", run.as_posix()]
    shortest = min(task.dev, key=lambda example: len(text_of(example)))
    rows = [[shlex.join([python(), "-m", "minibert.predict", *which, *arguments_for(shortest)]), "ask this model"],
            [again(MODULE, run), "go on with a run that was stopped"]]
    if find_spec("safetensors"):
        checkpoint.load_weights(model, run / "best.pt")  # those that predict takes
        model.save_pretrained(run / "published")
        save_vocabulary(vocabulary, run / "published")
        rows.append([f"{run / 'published'}", f"the same model for transformers' {model.layout.architecture}"])
    else:
        print(f"{run / 'published'} {weight_files.INSTALL}")
    print(table(["next:", ""], [[f"  {line}", what] for line, what in rows]))


if __name__ == "__main__":
    main()
