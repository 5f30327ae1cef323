"""Adapt a trained model to a task, with few trained numbers: LoRA, adapters, a soft prompt, a prefix.

    python -m lora.finetune --model runs/minigpt                          LoRA, on sentiment of the small world
    python -m lora.finetune --model runs/minibert --method prefix --train my.tsv
    python -m lora.finetune --model runs/minit5 --method all --seeds 3    all methods, and a table that compares them

Methods: full (everything is trained), head (the new layer alone), lora, serial-adapter, parallel-adapter, prompt and
prefix.
The model is a run of minibert, minigpt or minit5, or a published BERT, GPT-2, LLaMA, Qwen3 or T5 with its vocabulary.
A line of an own file is label<TAB>sentence, label<TAB>sentence<TAB>second sentence, or label ||| sentence.
"""

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn as nn

from common import checkpoint
from common.batches import random_state
from common.command import UserError, command
from common.config import option, parse, write_json
from common.labelled import Classified, text_of
from common.optim import adamw
from common.report import Metrics
from common.trainer import TrainConfig, choose_device, fit
from lora.classifier import Classifier, Read, first_decoder_state, last_state, pooled_state
from lora.comparison import Result, comparison, draw_comparison
from lora.methods import METHODS, Sizes
from lora.published import save_adapter
from lora.saved import save_trained
from lora.wrapping import trainable_line, trainable_parameters
from minibert import classifying
from minibert.classifying import too_long
from minibert.pretrained import open_encoder, save_labels
from minibert.rows import Row, Shuffled
from minibert.tasks import Task, load_task, predict, task_loss
from minigpt.in_context import start_of
from minigpt.pretrained import MODELS
from minigpt.pretrained import open_model as open_gpt
from minit5.pretrained import open_model as open_t5

LONGEST = 256  # tokens that a T5 reads here; it has no limit of its own
SHORTEST = 8  # tokens that a soft prompt has to leave for the text


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Settings of `python -m lora.finetune`."""

    steps: int = option(0, "optimizer steps; 0: as many as the epochs have", low=0)
    warmup: int = option(10, "steps over which the learning rate rises", low=0)
    decay: float = option(1.0, "share of the steps, at the end, in which the learning rate falls to 0", low=0, high=1)
    eval_every: int = option(0, "steps between two evaluations; 0: one, at the end", low=0)
    name: str = option("lora", "the runs are kept in folders runs/NAME-METHOD-SEED")
    model: str | None = option(None, "folder of a run or of a published model to adapt")
    method: str = option("lora", f"all, or one or several, with commas: {', '.join(METHODS)}")
    seeds: int = option(1, "runs of each method, with seeds SEED, SEED + 1 ...", low=1)
    task: str = option("sentiment", "a task of the small world: sentiment or next-sentence")
    train: str | None = option(None, "UTF-8 file to learn from, instead of a task of the world")
    dev: str | None = option(None, "UTF-8 file that is held out (default: one in ten of --train)")
    labelled: int | None = option(None, "examples to learn from (default: all; of the world 2,000)", low=1)
    epochs: int = option(3, "how often each example is read", low=1)
    batch_size: int = option(32, "rows of a batch", low=1)
    lr: float | None = option(None, "learning rate of AdamW (default: that of the method, lora/methods.py)", low=0)
    rank: int = option(8, "r of LoRA", low=1)
    alpha: float = option(16.0, "alpha of LoRA: what it adds is multiplied by alpha / r", low=0.001)
    targets: str = option("q,v", "what LoRA adapts: ends of names, with commas")
    d_bottleneck: int = option(8, "width of an adapter's middle", low=1)
    n_virtual: int = option(10, "vectors of a soft prompt, places of a prefix", low=1)


Rows = Callable[[Sequence[Classified], Sequence[str], int], tuple[list[Row], str]]


@dataclass(frozen=True)
class Base:
    """A trained model, how a state is read off it, and how it reads examples."""

    model: nn.Module
    read: Read
    rows: Rows  # examples, labels, most tokens -> rows, and one line that says what did not fit
    prompt_at: int  # where a soft prompt stands in a row: behind the token that begins every text, if there is one
    pad_id: int
    max_len: int


@command
def main(argv: list[str] | None = None) -> None:
    config = parse(FinetuneConfig, argv, __doc__)
    methods = list(METHODS) if config.method == "all" else config.method.split(",")
    if unknown := next((name for name in methods if name not in METHODS), None):
        raise UserError(f"unknown method {unknown!r}; there are all, {', '.join(METHODS)}")
    if config.model is None:
        raise UserError("name the model to adapt: --model runs/NAME, or the folder of a published one")
    if config.train is None and config.task not in ("sentiment", "next-sentence"):
        raise UserError(f"unknown task {config.task!r}; of the small world there are sentiment and next-sentence")
    checkpoint.check_name(config.name)
    torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing

    name = "classify" if config.train else config.task
    task = load_task(name, config.train, config.dev, config.labelled, config.seed)
    labels = classifying.labels_of(task.train, task.dev)
    base = open_base(Path(config.model))
    print(f"{len(task.train):,} examples to learn from, {len(task.dev):,} held out; labels {', '.join(labels)}\n"
          f"model: {config.model}, {sum(p.numel() for p in base.model.parameters()):,} parameters, "
          f"on {choose_device()} with {torch.get_num_threads()} threads")
    for method in methods:
        changed(method, config.seed, base, task, labels, config)  # what is refused is refused before any training
    results: dict[str, list[Result]] = {}
    try:
        for method in methods:
            for seed in range(config.seed, config.seed + config.seeds):
                result = adapt(method, seed, base, task, labels, config)
                results.setdefault(method, []).append(result)
    finally:  # after Ctrl-C as well: what is done is done
        if results:
            print("\n" + comparison(results))
    if len(results) > 1:
        print(draw_comparison(results, Path("runs") / f"{config.name}.png"))


def adapt(method: str, seed: int, base: Base, task: Task, labels: list[str], config: FinetuneConfig) -> Result:
    """One run: a copy of the base, changed by the method, trained, judged, and saved without the base."""
    model, words = changed(method, seed, base, task, labels, config)
    (rows, not_read), (questions, _) = (rows_of(some, labels, base, words) for some in (task.train, task.dev))
    batches = Shuffled(rows, config.batch_size, base.pad_id, seed)
    steps = config.steps or config.epochs * -(-batches.per_epoch // config.accumulate)
    timed = replace(config, steps=steps, eval_every=config.eval_every or steps, seed=seed)
    trained = trainable_parameters(model)
    print(f"\n{method}, seed {seed}; {trainable_line(model)}" + f"\n{not_read}" * bool(not_read))
    run = checkpoint.new_run(f"{config.name}-{method}-{seed}")
    write_json(replace(timed, method=method, seeds=1), run / "config.json")

    def look(step: int) -> dict[str, float]:
        given, loss = predict(model, classifying, questions, task.dev, base.pad_id)
        return {"held_out_loss": loss, **classifying.scores(given, task.dev)}

    start = time.perf_counter()
    rate = METHODS[method].lr if config.lr is None else config.lr
    fit(model, task_loss, batches, [adamw(trained, rate, weight_decay=0.0)], timed, run, look)
    seconds = time.perf_counter() - start
    accuracy = Metrics(run / "metrics.jsonl").read()[-1]["accuracy"]
    save_trained(model, run / "adapter.pt")
    for whole in ("last.pt", "best.pt"):  # they hold the base as well
        (run / whole).unlink()
    save_labels(labels, run)
    if method == "lora" and find_spec("safetensors"):
        save_adapter(model.model, run / "peft", config.model)
    megabytes = (run / "adapter.pt").stat().st_size / 1e6
    print(f"held-out accuracy {accuracy:.3f}; saved without the base: {run / 'adapter.pt'}, {megabytes:.3f} MB")
    return Result(sum(p.numel() for p in trained), sum(p.numel() for p in model.parameters()), accuracy, seconds,
                  megabytes)


def changed(method: str, seed: int, base: Base, task: Task, labels: list[str],
            config: FinetuneConfig) -> tuple[Classifier, list[int]]:
    """A copy of the base with a new layer for the labels, ready for the method; the words of a soft prompt, if any."""
    torch.manual_seed(seed)
    model = Classifier(copy.deepcopy(base.model), base.read, labels).to(choose_device())
    some, _ = base.rows(task.train[:200], labels, base.max_len)
    seen = [token for row in some for token in row.ids[base.prompt_at :]]
    start = [seen[i] for i in random_state(seed).choice(len(seen), min(config.n_virtual, len(seen)), replace=False)]
    targets = tuple(target.strip() for target in config.targets.split(","))
    sizes = Sizes(config.rank, config.alpha, targets, config.d_bottleneck)
    words = METHODS[method].change(model.model, sizes, start) or []
    if base.max_len - len(words) < SHORTEST:
        raise UserError(f"a prompt of {len(words)} vectors leaves no room for a text: the model reads {base.max_len} "
                        "tokens")
    return model, words


def rows_of(examples: Sequence[Classified], labels: list[str], base: Base, words: list[int]) -> tuple[list[Row], str]:
    """A row for each example, with the words of a soft prompt in it; and what did not fit, if anything."""
    rows, at = [], base.prompt_at
    made, not_read = base.rows(examples, labels, base.max_len - len(words))
    for row in made:
        rows.append(replace(row, ids=[*row.ids[:at], *words, *row.ids[at:]],
                            segments=[*row.segments[:at], *[0] * len(words), *row.segments[at:]]))
    return rows, not_read


def open_base(directory: Path) -> Base:
    """The model in a folder: a run of minibert, minigpt or minit5, or a published one."""
    kind = kind_of(directory)
    if kind == "bert":
        encoder, vocabulary = open_encoder(directory, dropout=0.0)
        def of_bert(examples: Sequence[Classified], labels: Sequence[str], max_len: int) -> tuple[list[Row], str]:
            return classifying.rows_of(examples, labels, vocabulary, max_len)
        return Base(encoder, pooled_state, of_bert, 1, vocabulary.pad_id, encoder.config.max_len)
    if kind == "t5":
        t5, pieces = open_t5(directory)
        rows = plain_rows(lambda text: pieces.encode(text)[:-1], [], [pieces.eos_id])
        return Base(t5, first_decoder_state, rows, 0, pieces.pad_id, LONGEST)
    gpt, tokens = open_gpt(directory)
    begin = start_of(gpt)
    return Base(gpt, last_state, plain_rows(tokens.encode, begin, []), len(begin), 0, gpt.config.max_len)


def plain_rows(encode: Callable[[str], list[int]], begin: list[int], end: list[int]) -> Rows:
    """How a model without [CLS] reads examples: two sentences are one text; the end of what is too long is cut off."""
    def rows(examples: Sequence[Classified], labels: Sequence[str], max_len: int) -> tuple[list[Row], str]:
        made, room, cut = [], max_len - len(begin) - len(end), 0
        for example in examples:
            ids = encode(text_of(example))
            cut += len(ids) > room
            ids = [*begin, *ids[:room], *end]
            made.append(Row(ids, [0] * len(ids), [labels.index(example.label)]))
        return made, too_long(cut, len(made), max_len)
    return rows


def kind_of(directory: Path) -> str:
    """bert, t5 or gpt, as the config.json of a folder shows. UserError when it is no model that can be adapted."""
    try:
        config = json.loads(checkpoint.read_text(directory / "config.json"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{directory / 'config.json'} is damaged")
    if "model_type" in config:
        published = {"bert": "bert", "t5": "t5", **dict.fromkeys(MODELS, "gpt")}
        if (name := config["model_type"]) not in published:
            raise UserError(f"{directory} holds a model of type {name!r}; known here are {', '.join(published)}")
        return published[name]
    if (directory / "labels.json").exists():
        raise UserError(f"{directory} has been fine-tuned already; adapt the model that it was made from")
    return "t5" if (directory / "model.json").exists() else "bert" if "mask_rate" in config else "gpt"


if __name__ == "__main__":
    main()
