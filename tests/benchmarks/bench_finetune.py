"""all-MiniLM-L6-v2 on SST-5, ours against `transformers`, by one recipe:

    python -m tests.benchmarks.bench_finetune sst-train.txt sst-dev.txt --seeds 0 1 2
    python -m tests.benchmarks.bench_finetune sst-train.txt sst-dev.txt --seeds 0 --side ours     one side alone

Both sides start from the same published weights and the same new layer, read the same batches in the same order, and go
through the same loop (common/trainer.py) with the same AdamW; only the model is another. Dropout is on in both.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from common.command import UserError, command
from common.optim import adamw
from common.report import table
from common.trainer import fit
from minibert import classifying
from minibert.finetune import FinetuneConfig, start
from minibert.heads import BertForClassification
from minibert.rows import Shuffled
from minibert.tasks import load_task, predict, task_loss
from tests.fetch_weights import minilm_directory

EPOCHS, LR = 2, 1e-4


class Theirs(nn.Module):
    """BertForSequenceClassification of `transformers` with the weights of one of ours, called as ours is."""

    def __init__(self, ours: BertForClassification) -> None:
        super().__init__()
        from transformers import BertForSequenceClassification

        self.labels = ours.labels
        with tempfile.TemporaryDirectory() as folder:
            ours.save_pretrained(folder)
            self.model = BertForSequenceClassification.from_pretrained(folder)

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        return self.model(input_ids=ids, token_type_ids=segments, attention_mask=mask.long()).logits


@dataclass(frozen=True)
class Result:
    accuracy: float
    seconds: float


def run(side: str, seed: int, train: str, dev: str) -> Result:
    """Fine-tune once; the accuracy on dev is that of the last weights."""
    torch.manual_seed(seed)
    config = FinetuneConfig(task="classify", train=train, dev=dev, model=str(minilm_directory()), epochs=EPOCHS, lr=LR,
                            seed=seed)
    task = load_task("classify", train, dev, None, seed)
    labels = classifying.labels_of(task.train, task.dev)
    model, vocabulary = start(config, task, labels)
    model = model if side == "ours" else Theirs(model)
    rows, _ = classifying.rows_of(task.train, labels, vocabulary, 128)
    questions, _ = classifying.rows_of(task.dev, labels, vocabulary, 128)
    batches = Shuffled(rows, config.batch_size, vocabulary.pad_id, seed)
    steps = EPOCHS * batches.per_epoch
    timed = replace(config, steps=steps, warmup=steps // 10, eval_every=steps)
    seen: dict[str, float] = {}

    def look(step: int) -> dict[str, float]:
        given, loss = predict(model, classifying, questions, task.dev, vocabulary.pad_id)
        seen.update(classifying.scores(given, task.dev))
        return {"held_out_loss": loss, **seen}

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fit(model, task_loss, batches, [adamw(list(model.parameters()), LR, config.weight_decay)], timed, Path(folder),
            look)
    return Result(seen["accuracy"], time.perf_counter() - begin)


@command
def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("train")
    arguments.add_argument("dev")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--side", choices=("ours", "theirs", "both"), default="both")
    options = arguments.parse_args(argv)
    if not (minilm_directory() / "model.safetensors").exists():
        raise UserError("the weights of all-MiniLM-L6-v2 are not there: make weights")
    torch.set_flush_denormal(True)
    sides = ("ours", "theirs") if options.side == "both" else (options.side,)
    results = {side: [run(side, seed, options.train, options.dev) for seed in options.seeds] for side in sides}
    rows = [[seed, *(f"{results[side][i].accuracy:.4f} in {results[side][i].seconds:.0f} s" for side in sides)]
            for i, seed in enumerate(options.seeds)]
    means = [sum(result.accuracy for result in results[side]) / len(results[side]) for side in sides]
    print(table(["seed", *sides], [*rows, ["mean", *(f"{mean:.4f}" for mean in means)]]))


if __name__ == "__main__":
    main()
