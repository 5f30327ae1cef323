# %% [markdown]
# # Pre-train once, adapt to each task
#
# *Lecture 14, sections 1 and 4. Paper: Devlin et al. 2018, [BERT](https://arxiv.org/abs/1810.04805), section 4.*
#
# The lecture's claim: a model that has read much text without labels needs few labels. We let a small BERT read a small
# world (`common/world.py`), and then teach it three tasks with one new layer each:
#
# 1. What it reads before it is taught
# 2. Three heads: a label, a tag for each word, a part of the text
# 3. How few labels are enough
# 4. Where the answer begins and ends
# 5. Three exercises
#
# It takes about three minutes on a laptop without a GPU. How attention and the masking rule work is in
# [03_bert.ipynb](03_bert.ipynb).

# %%
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
from minibert import BertConfig, BertForPreTraining, answering, classifying, tagging
from minibert.counting import cooccurrence, embeddings_from_counts
from minibert.objective import Examples, pretraining_loss
from minibert.recipe import PretrainConfig, optimizers
from minibert.rows import Shuffled
from minibert.start import counted_start
from minibert.tasks import predict, task_loss

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS, DOCUMENTS, TAUGHT, HELD_OUT, SEEDS = (3, 2_000, 3, 40, 1) if SHORT else (600, 15_000, 100, 400, 3)

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#BBBBBB"  # Okabe and Ito's colours: safe for all eyes

# %% [markdown]
# ## 1. What it reads before it is taught
#
# Reviews, stories, facts, in English and Korean. Nothing says which review is a good one; but the words of a good
# review keep company with each other.

# %%
corpus = world.corpus(DOCUMENTS, 100)
print(table(["some documents"], [[" ".join(document)[:110]] for document in corpus.train[:8]]))
vocabulary = world.vocabulary(3_000)
text = tokenize(corpus.train, vocabulary)

# %% [markdown]
# Counting alone shows it. The vectors of some adjectives, made of nothing but which words stand near each other
# (`minibert/counting.py`), drawn in their two strongest directions. Nobody told the colours:

# %%
words = {"good": ["wonderful", "lovely", "superb", "charming", "splendid", "amazing"],
         "bad": ["terrible", "awful", "boring", "dreadful", "lousy", "tedious"]}
vectors = embeddings_from_counts(cooccurrence(torch.from_numpy(text.tokens), vocabulary.vocab_size), 64)
ids = {kind: [vocabulary.encode(word)[0] for word in some] for kind, some in words.items()}
chosen = vectors[[i for some in ids.values() for i in some]]
plane = torch.linalg.svd(chosen - chosen.mean(0), full_matrices=False)
places = (chosen - chosen.mean(0)) @ plane.Vh[:2].T
figure, axis = plt.subplots(figsize=(5, 3.2))
for (kind, some), colour, left in zip(words.items(), (BLUE, ORANGE), (False, True)):
    of_kind = places[[list(words).index(kind) * len(some) + i for i in range(len(some))]]
    axis.scatter(*of_kind.T, color=colour, s=12)
    levels = torch.linspace(places[:, 1].min(), places[:, 1].max(), len(some))  # names apart from each other
    for place, level in zip(of_kind[:, 1].argsort().tolist(), levels.tolist()):
        axis.annotate(some[place], of_kind[place].tolist(), (0.6 * of_kind[:, 0].mean().item(), level), color=colour,
                      ha="left" if left else "right", va="center", arrowprops={"arrowstyle": "-", "color": colour})
axis.set_xticks([])
axis.set_yticks([])
plt.show()

# %% [markdown]
# Now the pre-training of [03_bert.ipynb](03_bert.ipynb): masked words and next sentences, no label anywhere.

# %%
config = PretrainConfig()
bert = BertForPreTraining(BertConfig(vocabulary.vocab_size, 160, 2, 5, 640, 64, dropout=0.0))
counted_start(bert, text)
examples = Examples(text, vocabulary, 64, 32, config.mask_rate, seed=0)
steppers, losses = optimizers(bert, config), []
for step in range(STEPS):
    sums = pretraining_loss(bert, examples(step))
    (sum(weight * sums[name][0] / sums[name][1] for name, weight in (("mlm", 1.0), ("nsp", 2.0)))).backward()
    torch.nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * min(1.0, (STEPS - step) / (0.9 * STEPS))
        stepper.step()
        stepper.zero_grad()
    losses.append(sums["mlm"][0].item() / sums["mlm"][1])
plt.figure(figsize=(6, 2.4))
plt.plot(losses, color=BLUE)
plt.xlabel("step")
plt.ylabel("loss of the masked words")
plt.show()

# %% [markdown]
# ## 2. Three heads
#
# A label is read off [CLS], a tag off each word, an answer off two places. The new layer is one matrix; all else is
# what pre-training left.


# %%
def taught(head, name, labelled, seed=0, pretrained=True, steps=TAUGHT):
    """A model fine-tuned on so many labelled examples: (scores on held-out ones, the answers, the examples)."""
    torch.manual_seed(seed)
    train, held_out = world.examples(name, labelled, seed), world.examples(name, HELD_OUT, held_out=True)
    labels = head.labels_of(train, train)
    model = head.Model(bert.config, labels)
    if pretrained:
        model.bert.load_state_dict(bert.bert.state_dict(), strict=False)  # spans and tags have no pooler
    rows, questions = (head.rows_of(some, labels, vocabulary, 64)[0] for some in (train, held_out))
    batches, stepper = Shuffled(rows, 32, vocabulary.pad_id, seed), adamw(list(model.parameters()), 1e-3, 0.01)
    for step in range(steps):
        for group in stepper.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        total, count = task_loss(model, batches(step))["loss"]
        (total / count).backward()
        stepper.step()
        stepper.zero_grad()
    given, _ = predict(model.eval(), head, questions, held_out, vocabulary.pad_id)
    return head.scores(given, held_out), given, held_out


for head, name in ((classifying, "sentiment"), (tagging, "entities"), (answering, "questions")):
    scores, given, held_out = taught(head, name, 200 if SHORT else 1_000, steps=TAUGHT if SHORT else 2 * TAUGHT)
    print(f"{name}: " + ", ".join(f"{score} {value:.2f}" for score, value in scores.items()))
    print(table(["held out", "answered", "truth"], [head.shown(*pair) for pair in zip(held_out[:4], given[:4])]), "\n")

# %% [markdown]
# ## 3. How few labels are enough
#
# The same sentiment task with 16 to 256 labelled sentences, from the pre-trained encoder and from random weights: the
# same sizes, sentences, batches and steps. The points are means, the bars the best and the worst seed.

# %%
numbers = [16, 32] if SHORT else [16, 32, 64, 128, 256]
plt.figure(figsize=(6, 3))
for pretrained, colour, label in ((True, BLUE, "pre-trained"), (False, ORANGE, "from scratch")):
    scores = torch.tensor([[taught(classifying, "sentiment", n, seed, pretrained)[0]["accuracy"]
                            for seed in range(SEEDS)] for n in numbers])
    low, high = scores.mean(1) - scores.amin(1), scores.amax(1) - scores.mean(1)
    plt.errorbar(numbers, scores.mean(1), yerr=[low, high], fmt="o-", color=colour, label=label)
    print(f"{label}: " + ", ".join(f"{n} labels {value:.2f}" for n, value in zip(numbers, scores.mean(1).tolist())))
plt.axhline(0.5, color=GREY)
plt.xscale("log", base=2)
plt.xlabel("labelled sentences")
plt.ylabel("accuracy on held-out sentences")
plt.legend()
plt.show()

# %% [markdown]
# Most adjectives of the held-out sentences stand in none of a few labelled ones. From scratch the model cannot know
# what they mean; the pre-trained one has met them in the company of others.
#
# ## 4. Where the answer begins and ends
#
# A span is the pair of places with the largest sum of two scores, first before last, and only inside the context
# (`best_span`). All pairs at once are a matrix; its upper triangle is what is allowed:

# %%
torch.manual_seed(1)
logits = torch.randn(12, 2)
score, first, last = answering.best_span(logits, 3, 12)
figure, axis = plt.subplots(figsize=(3.6, 3))
pairs = logits[:, 0, None] + logits[:, 1]
allowed = torch.ones(12, 12).triu().bool()
allowed[:3] = allowed[:, :3] = False  # the question
axis.imshow(pairs.masked_fill(~allowed, torch.nan), cmap="Blues")
axis.scatter([last], [first], marker="s", s=90, facecolors="none", edgecolors=ORANGE)
axis.set_xlabel("last place")
axis.set_ylabel("first place")
plt.show()
print(f"from place {first} to place {last}, score {score:.2f}")
assert score == pairs.masked_fill(~allowed, -torch.inf).max().item()

# %% [markdown]
# ## 5. Three exercises
#
# - Freeze the encoder (`requires_grad_(False)`) and train the new layer alone. What is lost, at 16 labels and at 256?
# - Fine-tune a published BERT on your own sentences: `python -m minibert.finetune --task classify --train my.tsv
# --model DIR`.
# - Empty `entities` in [minibert/tagging.py](../minibert/tagging.py), write your own, and run `pytest
# tests/test_tagging.py`.
