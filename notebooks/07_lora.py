# %% [markdown]
# # LoRA: why a thin change is enough
#
# *Lecture 14, section 7. Paper: Hu et al. 2021, [LoRA](https://arxiv.org/abs/2106.09685), sections 4 and 7.*
#
# The lecture says: freeze the model, and learn W + BA with two thin matrices. That a model can be adapted by so little
# is a claim about what fine-tuning does. We look at it first, and then leave out what it does not need:
#
# 1. A model that is fine-tuned without it
# 2. What has changed: singular values
# 3. The change, cut down to rank 1, 2, 4 ...
# 4. Learned thin from the beginning: LoRA
# 5. Merged, it costs nothing
# 6. Three exercises
#
# It takes about three minutes on a laptop without a GPU.

# %%
import copy
import os
from pathlib import Path

import matplotlib.pyplot as plt
import torch

if not Path("common").is_dir():
    os.chdir("..")  # opened inside notebooks/: work from the root of the repository

from common import world
from common.batches import tokenize
from common.optim import adamw
from common.report import table
from lora import add_lora, merge, trainable_parameters, unload
from lora.classifier import Classifier, pooled_state
from lora.lora import loras
from lora.wrapping import freeze, trainable_line
from minibert import BertConfig, BertForPreTraining, classifying
from minibert.objective import Examples, pretraining_loss
from minibert.recipe import PretrainConfig, optimizers
from minibert.rows import Shuffled
from minibert.start import counted_start
from minibert.tasks import predict, task_loss

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS, DOCUMENTS, LABELLED, TAUGHT, HELD_OUT = (3, 2_000, 64, 3, 40) if SHORT else (600, 15_000, 2_000, 250, 600)

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
# Okabe and Ito's colours: safe for all eyes
BLUE, ORANGE, GREEN, VIOLET, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#BBBBBB"

# %% [markdown]
# ## 1. A model that is fine-tuned without it
#
# First the pre-training of [03_bert.ipynb](03_bert.ipynb), on the small world of
# [04_finetuning.ipynb](04_finetuning.ipynb): masked words and next sentences, no label anywhere.

# %%
corpus = world.corpus(DOCUMENTS, 100)
vocabulary = world.vocabulary(3_000)
text = tokenize(corpus.train, vocabulary)
config = PretrainConfig()
bert = BertForPreTraining(BertConfig(vocabulary.vocab_size, 160, 2, 5, 640, 64, dropout=0.0))
counted_start(bert, text)
examples = Examples(text, vocabulary, 64, 32, config.mask_rate, seed=0)
steppers = optimizers(bert, config)
for step in range(STEPS):
    sums = pretraining_loss(bert, examples(step))
    (sum(weight * sums[name][0] / sums[name][1] for name, weight in (("mlm", 1.0), ("nsp", 2.0)))).backward()
    torch.nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * min(1.0, (STEPS - step) / (0.9 * STEPS))
        stepper.step()
        stepper.zero_grad()
base = bert.bert

# %% [markdown]
# Then the task: is a review positive or negative? A new layer reads it off [CLS]. We train everything, the matrices of
# the blocks alone, and the new layer alone.

# %%
train, held_out = world.examples("sentiment", LABELLED), world.examples("sentiment", HELD_OUT, held_out=True)
labels = classifying.labels_of(train, train)
rows, questions = (classifying.rows_of(some, labels, vocabulary, 64)[0] for some in (train, held_out))


def accuracy(model):
    given, _ = predict(model.eval(), classifying, questions, held_out, vocabulary.pad_id)
    return classifying.scores(given, held_out)["accuracy"]


def taught(change, lr):
    """A copy of the base with a new layer, changed, then trained on the task."""
    torch.manual_seed(0)
    model = Classifier(copy.deepcopy(base), pooled_state, labels)
    change(model.model)
    batches, stepper = Shuffled(rows, 32, vocabulary.pad_id, 0), adamw(trainable_parameters(model), lr, 0.0)
    for step in range(TAUGHT):
        for group in stepper.param_groups:
            group["lr"] = lr * (1 - step / TAUGHT)
        total, count = task_loss(model.train(), batches(step))["loss"]
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        stepper.step()
        stepper.zero_grad()
    return model


def blocks_alone(model):
    freeze(model)
    for name, p in model.named_parameters():
        p.requires_grad_(p.ndim == 2 and ".blocks." in name)


everything, full, head_alone = taught(lambda model: None, 1e-3), taught(blocks_alone, 1e-3), taught(freeze, 1e-2)
print(table(["trained", "accuracy", ""], [[name, f"{accuracy(model):.3f}", trainable_line(model)] for name, model in (
    ("everything", everything), ("the matrices of the blocks", full), ("the new layer alone", head_alone))]))

# %% [markdown]
# What is between the first two lines is in the word vectors: in a world of a few hundred words, which of them is kind
# is best written into the word itself. First we look at the second model, whose blocks alone have changed.

# %% [markdown]
# ## 2. What has changed
#
# ΔW is the matrix after fine-tuning minus the matrix before. Its singular values say in how many directions it points:
# ΔW = Σ σᵢ uᵢ vᵢᵀ. The weights themselves (grey) use all of their directions; the changes (coloured) a few.

# %%
before, after = (dict(model.named_parameters()) for model in (base, full.model))
matrices = [name for name, p in before.items() if p.ndim == 2 and ".blocks." in name]
changes = {name: (after[name] - before[name]).detach() for name in matrices}
plt.figure(figsize=(6, 3))
for name in matrices:
    for matrix, colour in ((before[name].detach(), GREY), (changes[name], BLUE if "attention" in name else ORANGE)):
        values = torch.linalg.svdvals(matrix)
        plt.plot(range(1, len(values) + 1), values / values[0], color=colour, linewidth=1)
for label, colour in (("weights", GREY), ("change: attention", BLUE), ("change: feed-forward", ORANGE)):
    plt.plot([], [], color=colour, label=label)
plt.xscale("log")
plt.xlabel("singular value number")
plt.ylabel("σᵢ / σ₁")
plt.legend()
plt.show()

# %% [markdown]
# ## 3. The change, cut down
#
# The nearest matrix of rank r keeps the r largest singular values (Eckart and Young 1936). We put W + ΔW back together
# with that much of each ΔW, Q, K and V each by itself, and ask the fine-tuned model again. Nothing is trained here:


# %%
def cut(change, r):
    """The nearest matrix of rank r."""
    u, s, v = torch.linalg.svd(change, full_matrices=False)
    return u[:, :r] * s[:r] @ v[:r]


def with_cut_changes(r):
    model = copy.deepcopy(full)
    for name, p in model.model.named_parameters():
        if name in changes:
            parts = changes[name].split(160 if "qkv" in name else len(p))
            p.data = before[name].detach() + torch.cat([cut(part, r) for part in parts])
    return accuracy(model)


ranks = [1, 8] if SHORT else [1, 2, 4, 8, 16]
cut_down = {r: with_cut_changes(r) for r in [0, *ranks]}
print(table(["rank of each change", "accuracy"], [[r, f"{value:.3f}"] for r, value in cut_down.items()]))

# %% [markdown]
# ## 4. Learned thin from the beginning
#
# LoRA does not wait for ΔW to become thin: it learns BA of rank r in its place. B begins at zero, so the first step
# starts from the base itself. Which matrices, is a choice: the queries and values alone, as in the paper, or all. A
# table of word vectors is a matrix as well.

# %%
EVERYTHING = ("q", "k", "v", "attention.out", "up", "down")
learned = {name: {r: taught(lambda model, r=r, some=some: add_lora(model, some, r, 16), 2e-3) for r in ranks}
           for name, some in (("Q and V", ("q", "v")), ("all of the blocks", EVERYTHING),
                              ("and the word vectors", (*EVERYTHING, "token")))}
plt.figure(figsize=(6, 3))
scores = {name: {r: accuracy(model) for r, model in models.items()} for name, models in learned.items()}
for (name, values), colour in zip(scores.items(), (GREEN, BLUE, VIOLET)):
    plt.plot(values.keys(), values.values(), "o-", color=colour, label=f"LoRA, {name}")
plt.plot(ranks, [cut_down[r] for r in ranks], "o-", color=ORANGE, label="the change of section 1, cut down")
for model, label in ((everything, "everything trained"), (full, "the blocks trained")):
    plt.axhline(accuracy(model), color=GREY)
    plt.text(ranks[-1], accuracy(model), label, color="grey", va="bottom", ha="right")
plt.xscale("log", base=2)
plt.xlabel("rank")
plt.ylabel("accuracy on held-out sentences")
plt.legend(loc="lower right")
plt.show()
for name, models in learned.items():
    print(f"{name}, r = {ranks[1]}: {trainable_line(models[ranks[1]])}")

# %% [markdown]
# ## 5. Merged, it costs nothing
#
# W + BA is a matrix like any other. Added up once, the model has its old shape, and its old speed:

# %%
model = learned["and the word vectors"][ranks[-1]].eval()
example = torch.tensor([rows[0].ids])
real = torch.ones_like(example).bool()
with torch.no_grad():
    apart = model(example, torch.zeros_like(example), real)
    print(f"{len(loras(model.model))} LoRAs in the model")
    merge(model.model)
    unload(model.model)
    together = model(example, torch.zeros_like(example), real)
print(f"largest difference of the logits: {(apart - together).abs().max():.1e}")
assert list(model.model.state_dict()) == list(base.state_dict())  # an ordinary BERT again

# %% [markdown]
# ## 6. Three exercises
#
# - Begin with A zero too, or with B random too (`lora/lora.py: LowRank`). What happens at the first steps, and why?
# - Other ways to adapt: `lora.adapter`, `lora.prompt_tuning`, `lora.prefix_tuning`. Put them beside LoRA in section 4;
#   `make lora` does it for a GPT.
# - Empty `adapted` in [lora/lora.py](../lora/lora.py), write your own, and run `pytest tests/test_lora.py`.
