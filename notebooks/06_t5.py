# %% [markdown]
# # T5: text in, text out
#
# *Lecture 14, section 6 (encoder-decoder models). Paper: Raffel et al. 2020, [Exploring the Limits of Transfer Learning
# with a Unified Text-to-Text Transformer](https://arxiv.org/abs/1910.10683).*
#
# BERT reads, GPT writes. T5 does both, in two halves: an **encoder** reads a text, a **decoder** writes another one.
# And it puts every task that way: a text goes in, a text comes out. We look at its parts one by one, beside the code of
# this repository (`common/`, `minit5/`); an `assert` stops the notebook if our few lines and that code do not agree.
# Then a small T5 learns to translate English into Korean, and we watch where it looks. Attention itself is built up in
# [03_bert.ipynb](03_bert.ipynb), section 2, the causal mask in [05_gpt.ipynb](05_gpt.ipynb), section 4.
#
# 1. Every task is text
# 2. Span corruption
# 3. Distances in the place of positions
# 4. Three attentions
# 5. A T5 learns two tasks
# 6. Where it looks
# 7. Greedy and beam search
# 8. The same weights, another prefix
# 9. The real T5, and three exercises
#
# It runs in about a minute on a laptop without a GPU. `make notebooks` runs it and installs what it needs; then open it
# in an editor such as VS Code, with the Python of `.venv` as its kernel.

# %%
import copy
import inspect
import math
import os
import random
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
from IPython.display import Markdown
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle

if not Path("common").is_dir():
    os.chdir("..")  # opened inside notebooks/: work from the root of the repository

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS = 24 if SHORT else 600  # training steps of section 5
ASKED = 6 if SHORT else 100  # held-out sentences of each task in the longer comparisons

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
torch.set_printoptions(precision=2, sci_mode=False, linewidth=120)
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#BBBBBB"  # Okabe and Ito's colours: safe for all eyes


def source(thing):
    """The repository's own code, as it stands in its file."""
    return Markdown(f"```python\n{textwrap.dedent(inspect.getsource(thing))}```")


# %% [markdown]
# ## 1. Every task is text
#
# *Paper, section 2.4 and figure 1.* BERT needs a new head for every task: one that gives a class, one that labels each
# word, one that marks an answer. T5 needs none. The task is a **prefix** of the input, and the answer is written out,
# even when it is a class. Here are the examples of the lecture, as `minit5/tasks.py` puts them:

# %%
from minit5.tasks import Example

for example in (Example("classify", "I love this!", "positive"),
                Example("translate English to French", "Hello", "Bonjour"),
                Example("summarize", "[a long text]", "[a short one]")):
    print(f"encoder reads  {example.text!r:40}  decoder writes  {example.target!r}")

# %% [markdown]
# So there is one model, one loss (cross-entropy of the next token of the answer) and one way to use it. A new task is a
# file of examples, not a change of the code.
#
# What does that ask of the model? It should read the input as BERT does, each word in the light of *all* others, and
# write the answer as GPT does, where no word may see the ones behind it. Here is who may look at whom in the three
# models, for the input "reverse: a b c" and the answer "c b a":

# %%
reads, writes = ["reverse", ":", "a", "b", "c", "</s>"], ["[start]", "c", "b", "a"]
S, T = len(reads), len(writes)
NONE, BOTH, CAUSAL, CROSS = range(4)
bert, gpt, t5 = (np.full((S + T, S + T), NONE) for _ in range(3))
bert[:S, :S] = BOTH  # it reads, and cannot write
gpt[np.tril_indices(S + T)] = CAUSAL  # input and answer are one text
t5[:S, :S], t5[S:, :S] = BOTH, CROSS
t5[S:, S:][np.tril_indices(T)] = CAUSAL
KINDS = {BOTH: ("both directions", BLUE), CAUSAL: ("only back", ORANGE), CROSS: ("from the answer to the input", GREEN)}

figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True)
for axis, seen, name in zip(axes, (bert, gpt, t5), ("BERT: an encoder", "GPT: a decoder", "T5: both"), strict=True):
    axis.imshow(seen, cmap=ListedColormap(["white", BLUE, ORANGE, GREEN]), vmin=0, vmax=3)
    axis.set_xticks(range(S + T), reads + writes, rotation=90)
    axis.set_yticks(range(S + T), reads + writes)
    axis.set_xticks(np.arange(0.5, S + T - 1), minor=True)
    axis.set_yticks(np.arange(0.5, S + T - 1), minor=True)
    axis.grid(which="minor", color="white", linewidth=1)
    axis.tick_params(which="minor", length=0)
    axis.axhline(S - 0.5, color="black", linestyle=":")
    axis.axvline(S - 0.5, color="black", linestyle=":")
    axis.set_title(name)
axes[0].set_ylabel("this token ...")
axes[1].set_xlabel("... may look here")
figure.legend(handles=[Patch(facecolor=c, label=text) for text, c in KINDS.values()], ncols=3,
              loc="outside lower center")
plt.show()

# %% [markdown]
# **Look for:** BERT's square ends at the dotted line, for it has no answer to write. GPT sees everything through one
# triangle: while it reads "a", it does not know yet that "c" will come. T5 has BERT's square for what it reads, GPT's
# triangle for what it writes, and a third piece that neither of them has: **cross-attention**, in which the answer
# looks at the whole input, at each step.
#
# ## 2. Span corruption
#
# *Paper, sections 3.1.4 and 3.3.4, figure 2.* Before it is taught any task, a T5 learns from plain text, and that is
# put as text to text as well. Take some spans out of a sentence and mark each gap with a **sentinel**, a token of its
# own. The encoder reads the rest; the decoder writes what is missing, each span behind its sentinel. A token is a word
# here; a real run cuts words into pieces.

# %%
words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
names = [*words, "</s>", "<X>", "<Y>", "<Z>", "[PAD]"]  # a token's number is its place in this list
END, X, Y, Z, PAD = range(len(words), len(names))
spans = [(2, 4), (8, 9)]  # from the first token that is taken out to the one behind the last

encoder_input, target, place = [], [], 0
for (start, end), sentinel in zip(spans, (X, Y), strict=True):
    encoder_input += [*range(place, start), sentinel]
    target += [sentinel, *range(start, end)]
    place = end
encoder_input += [*range(place, len(words)), END]
target += [Z, END]  # a last sentinel says: there are no more gaps
decoder_input = [PAD, *target[:-1]]  # what it has written so far; it begins with padding, as in the published models

# %% [markdown]
# The repository's function gives the same, and its `batch` makes the decoder's input from the target:

# %%
from minit5.objective import collate
from minit5.spans import corrupt, reassemble

assert corrupt(range(len(words)), spans, [X, Y, Z], END) == (encoder_input, target)
tensors = collate([(encoder_input, target)], start_id=PAD, pad_id=PAD)
assert tensors["decoder_ids"][0].tolist() == decoder_input and tensors["answers"][0].tolist() == target
print({name: tuple(tensor.shape) for name, tensor in tensors.items()})

PALE, STRONG = ("#A9D0E8", "#F7DB9B"), (BLUE, ORANGE)


def colour(token):
    for k, ((start, end), sentinel) in enumerate(zip(spans, (X, Y), strict=True)):
        if token == sentinel:
            return STRONG[k]
        if start <= token < end:
            return PALE[k]
    return "white" if token < len(words) else "#E4E4E4"


figure, axis = plt.subplots(figsize=(11, 2.9))
lines = {"text": range(len(words)), "encoder input": encoder_input, "decoder input": decoder_input, "labels": target}
heights = (3.3, 2.3, 1.0, 0)
for height, line in zip(heights, lines.values(), strict=True):
    for i, token in enumerate(line):
        axis.add_patch(Rectangle((i - 0.48, height - 0.42), 0.96, 0.84, facecolor=colour(token), edgecolor=GREY))
        axis.text(i, height, names[token], ha="center", va="center", color="white" if token in (X, Y) else "black")
axis.set(xlim=(-0.6, len(words) - 0.4), ylim=(-0.6, 3.9))
axis.set_yticks(heights, lines)
axis.set_xticks([])
axis.spines[:].set_visible(False)
axis.tick_params(length=0)
plt.show()

# %% [markdown]
# **Look for:** pale cells are words that were taken out; they are in the labels and nowhere in the encoder input, where
# a strong cell of the same colour stands for them. The labels are the decoder input, one place further: at "<X>" the
# decoder is asked for "for", at "for" it is asked for "inviting". As in GPT, one row asks all its questions at once.
#
# Nothing is lost. Put each span back into its gap, and the text is whole again:

# %%
again = reassemble(encoder_input, target, [X, Y, Z])
assert again == list(range(len(words)))
print(" ".join(names[i] for i in again))

# %%
source(corrupt)

# %% [markdown]
# The paper takes out 15 % of the tokens, in spans of 3 on average; which ones is drawn anew each time. Here are draws
# for a text of 100 tokens, and below what it costs for one of 512 (the paper's length):

# %%
from common.batches import random_state
from minit5.spans import count_spans, draw_spans

rng = random_state(0)
draws = [draw_spans(100, noise=0.15, mean_span=3.0, rng=rng) for _ in range(200 if SHORT else 2000)]
widths = np.array([end - start for drawn in draws for start, end in drawn])
taken = np.zeros((len(draws), 100))
for row, drawn in zip(taken, draws, strict=True):
    for start, end in drawn:
        row[start:end] = 1

figure, axes = plt.subplots(1, 2, figsize=(11, 2.9), width_ratios=(2.2, 1))
axes[0].imshow(taken[:16], cmap=ListedColormap(["#EEEEEE", BLUE]), aspect="auto", interpolation="nearest")
axes[0].set_yticks(np.arange(0.5, 15), minor=True)
axes[0].grid(which="minor", axis="y", color="white", linewidth=2)
axes[0].tick_params(which="minor", length=0)
axes[0].set_yticks([])
axes[0].set(title=f"16 draws: blue is taken out (all draws: {taken.mean():.3f} of the tokens)", xlabel="token")
axes[1].bar(range(1, widths.max() + 1), np.bincount(widths)[1:] / len(widths), color=BLUE)
axes[1].axvline(widths.mean(), color="black", linestyle="--", label=f"mean {widths.mean():.2f}")
axes[1].set(title="how long the spans are", xlabel="tokens", ylabel="share of the spans")
axes[1].legend()
plt.show()

n_out, n_spans = count_spans(512, noise=0.15, mean_span=3.0)
print(f"of 512 tokens {n_out} are taken out, in {n_spans} spans: the encoder reads {512 - n_out + n_spans + 1} tokens, "
      f"the decoder writes {n_out + n_spans + 2}")

# %% [markdown]
# **Look for:** each row has 15 blue tokens in 5 spans, anywhere. A mean of 3 does not make 3 the commonest length: one
# word alone is, and some spans are long.
#
# BERT hides 15 % as well, and each [MASK] stands for one token. A sentinel does not tell how much is missing, so the
# decoder has to decide that too; and as it writes a span, each word can fit the one before. `make train-minit5`
# pre-trains a T5 in this way, and `python -m minit5.span_corruption "..."` shows it on a sentence of yours.
#
# ## 3. Distances in the place of positions
#
# *Paper, section 2.1.* BERT and GPT-2 add a vector for each position to the embeddings. T5 adds nothing to them. It
# tells each *pair* of places how far apart they are: a learned number for each distance, one for each head, is added to
# the score of attention. And not each distance has its own number. They are put into 32 **buckets**: near ones have one
# each, the further away the more share one.

# %%
from common.positions import RelativeBias, relative_bucket

distance = torch.arange(-160, 161)  # the place of the key minus the place of the query
encoder_buckets = relative_bucket(distance, n_buckets=32, max_distance=128, both_directions=True)
decoder_buckets = relative_bucket(distance, n_buckets=32, max_distance=128, both_directions=False)

figure, axes = plt.subplots(1, 2, figsize=(11, 3.3), sharey=True)
for axis, buckets, exact, title in ((axes[0], encoder_buckets, (-7.5, 7.5), "encoder: both directions"),
                                    (axes[1], decoder_buckets, (-15.5, 0.5), "decoder: only back")):
    axis.axvspan(*exact, color=GREEN, alpha=0.2, label="each distance has its own bucket")
    axis.step(distance, buckets, where="mid", color=BLUE)
    axis.set(title=title, xlabel="distance: the key is that many places before (-) or behind (+) the query")
    axis.legend(loc="upper right" if axis is axes[1] else "upper left")
axes[0].set_ylabel("bucket")
plt.show()

for name, buckets in (("encoder", encoder_buckets), ("decoder", decoder_buckets)):
    back = [distance[(buckets == b) & (distance <= 0)].abs() for b in buckets[distance <= 0].unique()]
    ranges = [f"{d.min()}" if len(d) == 1 else f"{d.min()}-{d.max()}" for d in back[:-1]]
    print(textwrap.fill(f"{name}, looking back: {', '.join(ranges)}, and all from {back[-1].min()} on", 110))

# %% [markdown]
# **Look for:** the curves are steep in the green part, one step a place, and flatter and flatter outside. The encoder
# has to split its 32 buckets between the two sides. The decoder does not see what is behind it, and spends all of them
# on looking back.
#
# Why so? Whether a word is the last one or the one before is a matter of grammar; whether it stands 60 or 65 places
# back hardly matters. Rare large distances share their examples with others like them. And the last bucket has no
# end: a text that is longer than any in training meets no distance without a number. The price is small:

# %%
for name, n in (("T5 small: 32 buckets, 8 heads", 32 * 8), ("BERT base: 512 positions of width 768", 512 * 768)):
    print(f"{n:8,} numbers for {name}{' (in each stack)' if n < 1000 else ''}")

torch.manual_seed(0)
places = torch.arange(48).unsqueeze(0)
figure, axes = plt.subplots(1, 2, figsize=(9, 4))
for axis, both, title in zip(axes, (True, False), ("encoder", "decoder"), strict=True):
    bias = RelativeBias(n_heads=1, n_buckets=32, max_distance=128, both_directions=both)(places, 48)[0, 0].detach()
    assert all(len(bias.diagonal(d).unique()) == 1 for d in range(-47, 48))  # the distance alone decides
    axis.imshow(bias, cmap="viridis")
    axis.set(title=f"what is added to the scores, {title}, random table", xlabel="place of the key")
axes[0].set_ylabel("place of the query")
plt.show()

# %% [markdown]
# **Look for:** stripes along the diagonal: the same distance gives the same number everywhere. They are one place wide
# in the middle and broader outside. In the decoder the upper right is one colour, bucket 0; the causal mask hides it
# anyway.
#
# This is *all* that the model knows about order. Set the table to 0, and an encoder takes a sentence for a bag of
# words: shuffle the words, and each has the same state as before, up to rounding.

# %%
from minit5 import T5, T5Config

torch.manual_seed(0)
tiny = T5(T5Config(vocab_size=50, d_model=32, d_head=8, d_ff=64, n_layers=2, n_heads=4)).eval()
ids, shuffle = torch.randint(2, 50, (1, 12)), torch.randperm(12)


@torch.no_grad()
def moved_by_shuffling():
    return (tiny.encode(ids[:, shuffle]) - tiny.encode(ids)[:, shuffle]).abs().max().item()


print(f"with its table: the states differ by up to {moved_by_shuffling():.2f}")
nn.init.zeros_(tiny.encoder_bias.table.weight)
print(f"table set to 0: the states differ by up to {moved_by_shuffling():.0e}")
assert moved_by_shuffling() < 1e-4
with torch.no_grad():
    print("no longest text:", tuple(tiny.encode(torch.randint(2, 50, (1, 700))).shape))

# %% [markdown]
# ## 4. Three attentions
#
# *Paper, section 2.1; Vaswani et al. 2017, section 3.2.3.* One block serves both sides. An encoder block has
# self-attention and a feed-forward network. A decoder block has one thing more between the two: cross-attention to the
# **memory**, which is what the encoder makes of the input.

# %%
from common.attention import Attention, attend_explicit
from common.transformer import Block

source(Block.forward)

# %% [markdown]
# Cross-attention is the same module as self-attention. The one difference is where keys and values come from:

# %%
source(Attention.project)

# %%
source(T5.encode)

# %%
source(T5.decode)

# %% [markdown]
# The three in numbers. We walk through both sides by hand, with `attend_explicit`, which returns the weights. Section 6
# will use this function to draw them.

# %%
@torch.no_grad()
def by_hand(model, ids, decoder_ids):
    """ids (B, S), decoder_ids (B, T) -> logits (B, T, V) and three lists of weights, one (B, H, rows, columns) a block:
    encoder self-attention (S, S), decoder self-attention (T, T), cross-attention (T, S).
    """
    maps = {"encoder": [], "decoder": [], "cross": []}

    def look(kind, attention, states, context=None, **how):
        out, weights = attend_explicit(*attention.project(states, context), scale=1.0, **how)  # 1.0: no 1/√d
        maps[kind].append(weights)
        return attention.out(out.transpose(1, 2).flatten(2))  # the heads side by side again

    x, y = model.token(ids), model.token(decoder_ids)  # (B, S, D), (B, T, D): nothing is added for the position
    bias = model.encoder_bias(torch.arange(ids.shape[1]).unsqueeze(0), ids.shape[1])  # (1, H, S, S), for all blocks
    for block in model.encoder.blocks:
        x = x + look("encoder", block.attention, block.attention_norm(x), bias=bias)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    memory = model.encoder.final_norm(x)
    bias = model.decoder_bias(torch.arange(decoder_ids.shape[1]).unsqueeze(0), decoder_ids.shape[1])  # (1, H, T, T)
    for block in model.decoder.blocks:
        y = y + look("decoder", block.attention, block.attention_norm(y), bias=bias, causal=True)
        y = y + look("cross", block.cross_attention, block.cross_norm(y), memory)  # no bias: no distances here
        y = y + block.feed_forward(block.feed_forward_norm(y))
    return model.head(model.decoder.final_norm(y)), maps


torch.manual_seed(0)
tiny = T5(T5Config(vocab_size=50, d_model=32, d_head=8, d_ff=64, n_layers=2, n_heads=4)).eval()
ids, decoder_ids = torch.randint(2, 50, (1, 12)), torch.randint(2, 50, (1, 5))
logits, maps = by_hand(tiny, ids, decoder_ids)
with torch.no_grad():
    assert torch.allclose(logits, tiny(ids, decoder_ids), atol=1e-5)
print("by hand equals minit5.T5; an input of 12 tokens, an answer of 5, 4 heads, 2 blocks a side:")
for kind, weights in maps.items():
    print(f"   {kind:8} {len(weights)} x {tuple(weights[0].shape)}")
assert (maps["decoder"][0].triu(1) == 0).all() and (maps["cross"][0] > 0).all()

# %% [markdown]
# Two things to notice. Cross-attention gets *no* bias: there is no distance between a Korean word and an English one.
# Where a word of the input stands, the encoder must have written into its state. And scale is 1.0.
#
# ### 4.1 Where the 1/√d has gone
# Scores are sums of d_head products, so they grow as √d, and a softmax over large scores puts everything on one key
# (03_bert, section 2.3). BERT and GPT divide by √d. T5 does not: instead its query matrices begin smaller by 1/√d, and
# the rest is left to training. Random models with wider and wider heads:

# %%
d_heads = [4, 16, 64, 256]
COLUMNS = {"all matrices alike": GREY, "all alike, scores / √d": ORANGE, "T5: queries begin 1/√d smaller": BLUE}
results = {name: [] for name in COLUMNS}
print("d_head   spread of the scores:", "   ".join(COLUMNS))
for d in d_heads:
    torch.manual_seed(0)
    model = T5(T5Config(vocab_size=1000, d_model=256, d_head=d, d_ff=64, n_layers=1, n_heads=4)).eval()
    block = model.encoder.blocks[0]
    with torch.no_grad():
        q, k, _ = block.attention.project(block.attention_norm(model.token(torch.randint(1000, (8, 32)))))
        scores = q @ k.transpose(-2, -1)  # (B, H, S, S), as T5 has them: not divided by anything
    alike = scores * math.sqrt(d)  # as if the query matrix had begun like the others
    for name, s in zip(COLUMNS, (alike, alike / math.sqrt(d), scores), strict=True):
        results[name].append((s.std().item(), s.softmax(-1).amax(-1).mean().item()))
    print(f"{d:6}   {'':21}", "   ".join(f"{results[name][-1][0]:{len(name)}.2f}" for name in COLUMNS))

figure, axes = plt.subplots(1, 2, figsize=(9, 3.1))
for (name, column), style in zip(COLUMNS.items(), ("o-", "s-", "x--"), strict=True):
    for axis, values in zip(axes, np.transpose(results[name]), strict=True):
        axis.plot(d_heads, values, style, color=column, label=name)
for axis, title in zip(axes, ("spread of the scores", "largest weight of 32, mean"), strict=True):
    axis.set(title=title, xlabel="d_head", xscale="log", ylim=0)
    axis.set_xticks(d_heads, d_heads)
    axis.minorticks_off()
axes[1].set_ylim(0, 1)
axes[0].legend()
plt.show()

# %% [markdown]
# **Look for:** grey grows with the head and ends with one key taking nearly all. Orange and blue lie on each other:
# at the start of training it makes no difference whether the factor stands in the formula or in the weights. In the
# repository it is one line of `initialise`:

# %%
from minit5.model import initialise

source(initialise)

# %% [markdown]
# ## 5. A T5 learns two tasks
#
# To see cross-attention at work we need a task whose answers can be checked, and in which the words change places. So
# here is a small world: English sentences, and what they are in Korean. Korean has no articles, the verb stands last,
# and a **particle** behind each noun says who acts (이/가) and on whom (을/를); which one of the two depends on whether
# the noun ends in a consonant.

# %%
NOUNS = {"cat": "고양이", "dog": "개", "bird": "새", "fox": "여우", "bear": "곰", "horse": "말", "child": "아이",
         "friend": "친구", "teacher": "선생님", "tiger": "호랑이"}
ADJECTIVES = {"": "", "black": "검은", "white": "하얀", "small": "작은", "big": "큰", "old": "늙은", "good": "착한"}
VERBS = {"sees": "본다", "loves": "사랑한다", "chases": "쫓는다", "finds": "찾는다", "calls": "부른다",
         "hears": "듣는다"}
TIMES = {"": "", "today": "오늘", "now": "지금"}


def with_particle(noun, after_consonant, after_vowel):
    return noun + (after_consonant if (ord(noun[-1]) - 0xAC00) % 28 else after_vowel)  # how Unicode orders syllables


def sentence(rng):
    """A random English sentence, and its translation."""
    who, whom = rng.sample(list(NOUNS), 2)
    a, b, verb, when = (rng.choice(list(some)) for some in (ADJECTIVES, ADJECTIVES, VERBS, TIMES))
    english = (rng.choice(["the", "a"]), a, who, verb, rng.choice(["the", "a"]), b, whom, when)
    korean = (TIMES[when], ADJECTIVES[a], with_particle(NOUNS[who], "이", "가"),
              ADJECTIVES[b], with_particle(NOUNS[whom], "을", "를"), VERBS[verb])
    english, korean = (" ".join(word for word in words if word) for words in (english, korean))
    return re.sub(r"\ba(?= [aeiou])", "an", english), korean


rng = random.Random(0)
sentences = sorted({sentence(rng) for _ in range(3000)})
possible = 4 * len(ADJECTIVES) ** 2 * len(NOUNS) * (len(NOUNS) - 1) * len(VERBS) * len(TIMES)
print(f"{len(sentences):,} sentences of {possible:,} possible ones; three of them:")
for english, korean in sentences[:: len(sentences) // 3][:3]:
    print(f"   {english}\n   {korean}\n")

# %% [markdown]
# The second task takes the same sentences and asks for something else: their words, backwards. `split` holds out one
# sentence in ten, for both tasks the same ones.

# %%
from minit5.tasks import split

TRANSLATE, REVERSE = "translate English to Korean", "reverse"
examples = ([Example(TRANSLATE, english, korean) for english, korean in sentences]
            + [Example(REVERSE, english, " ".join(english.split()[::-1])) for english, _ in sentences])
train, held_out = split(examples)
assert not {e.source for e in train} & {e.source for e in held_out}
print(f"{len(train):,} examples to learn from, {len(held_out)} held out")
for e in (next(e for e in train if e.task == task) for task in (TRANSLATE, REVERSE)):
    print(f"   {e.text}  ->  {e.target}")

# %% [markdown]
# A vocabulary for this world needs no training: each word is a token, and so is each particle, and the blank before a
# word belongs to it. `SentinelVocabulary` puts the end token behind each text; we pre-train nothing, so it has no
# sentinels here.

# %%
from minit5.vocabulary import SentinelVocabulary


class Words:
    """Text to tokens and back, a word each; a Korean particle and a colon are tokens of their own."""

    pad_id, eos_id = 0, 1

    def __init__(self, texts):
        self.pieces = ["[PAD]", "</s>", *sorted({piece for text in texts for piece in self.cut(text)})]
        self.vocab_size = len(self.pieces)

    @staticmethod
    def cut(text):
        """"고양이가 개를" -> [" 고양이", "가", " 개", "를"]: one of 가이를을: counts where it ends a word."""
        return re.findall(r" \w+(?=[가이를을:](?: |$))|[가이를을:]| \w+", f" {text}")

    def encode_with(self, text, marks):  # there are no marks here: no gaps
        return [self.pieces.index(piece) for piece in self.cut(text)]

    def decode(self, ids):
        return "".join(self.pieces[i] for i in ids if i > self.eos_id).removeprefix(" ")


vocabulary = SentinelVocabulary(Words(text for e in train for text in (e.text, e.target)), n_sentinels=0)
V = vocabulary.vocab_size
for e in held_out:
    assert all(vocabulary.decode(vocabulary.encode(text)) == text for text in (e.text, e.target))
print(f"{V} tokens;", [vocabulary.pieces.pieces[i] for i in vocabulary.encode("검은 고양이가 작은 개를 쫓는다")])

SOUNDS = ("g kk n d tt r m b pp s ss  j jj ch k t p h",  # a syllable's beginnings, vowels and ends, as Unicode has them
          "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i",
          " k k k n n n t l k m l l l p l m p p t t ng t t k t p t")
BEGIN, VOWEL, FINAL = (some.split(" ") for some in SOUNDS)


def label(i):
    """A token in a picture. Fonts without Korean letters are common, so a syllable is spelled by its sounds."""
    text = ""
    for letter in vocabulary.pieces.pieces[i].strip():
        k = ord(letter) - 0xAC00
        text += BEGIN[k // 588] + VOWEL[k % 588 // 28] + FINAL[k % 28] if 0 <= k < 11_172 else letter
    return text


print([label(i) for i in vocabulary.encode("검은 고양이가 작은 개를 쫓는다")])

# %% [markdown]
# Both tasks go into one stream of batches. `Mixture` draws a task for each row, and then an example of it; nothing but
# the prefix tells them apart.

# %%
from minit5.objective import target_loss
from minit5.tasks import Mixture, encode

tasks = [[e for e in train if e.task == task] for task in (TRANSLATE, REVERSE)]
batches = Mixture([encode(of_task, vocabulary, max_input=32, max_target=32) for of_task in tasks], vocabulary,
                  batch_size=32, temperature=2.0, seed=0)
first = batches(0)
print("shares of the tasks:", batches.rates)
print({name: tuple(tensor.shape) for name, tensor in first.items()})
for ids, answers in zip(first["ids"][:4].tolist(), first["answers"][:4].tolist(), strict=True):
    print(f"   {vocabulary.decode(ids)}  ->  {vocabulary.decode(answers)}")

# %%
source(target_loss)

# %% [markdown]
# The model: two blocks in the encoder, and one in the decoder, so that there is a single cross-attention to look at
# later. Sizes and optimizers come from [minit5/recipe.py](../minit5/recipe.py) (a T5 of version 1.1, see section 9).
# Before training, its loss should be about that of guessing among V tokens, ln V:

# %%
from minit5.recipe import T5RunConfig, optimizers

config = T5RunConfig(steps=STEPS, d_model=64, n_layers=2, n_decoder_layers=1, n_heads=4, d_ff=128, muon_lr=0.006,
                     adam_lr=0.005)
torch.manual_seed(0)
model = T5(config.sizes(vocabulary))
with torch.no_grad():
    total, count = target_loss(model, first)["loss"]
print(f"{sum(p.numel() for p in model.parameters()):,} parameters; first loss {total / count:.2f}, "
      f"ln V = {math.log(V):.2f}")
assert abs(total / count - math.log(V)) < 1

# %%
from common.optim import trapezoid
from minit5.scores import exact_match
from minit5.writer import answer

EXAMPLE = "the black cat chases a small dog today"
assert EXAMPLE not in {e.source for e in train}
LOOK_AT = [max(1, STEPS * n // 24) for n in (1, 2, 3, 6, 9, 12, 18, 24)]  # steps
questions = {task: [e for e in held_out if e.task == task] for task in (TRANSLATE, REVERSE)}


def share_right(model, n):
    """For each task the share of its first n held-out examples that the model answers without a mistake."""
    return {task: exact_match([vocabulary.decode(new) for new in
                               answer(model, [vocabulary.encode(e.text) for e in some[:n]], max_new=16)],
                              [e.target for e in some[:n]]) for task, some in questions.items()}


curve, points = [], {}
opts = optimizers(model, config)
for step in range(STEPS):
    factor = trapezoid(step, STEPS, config.warmup, config.decay)  # the learning rate: up, and down to 0
    for group in (group for opt in opts for group in opt.param_groups):
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
    total, count = target_loss(model, batches(step))["loss"]
    (total / count).backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    for opt in opts:
        opt.step()
        opt.zero_grad()
    curve.append(total.item() / count)
    if step + 1 in LOOK_AT:
        points[step + 1] = share_right(model, ASKED)
        [new] = answer(model, [vocabulary.encode(f"{TRANSLATE}: {EXAMPLE}")], max_new=16)
        print(f"step {step + 1:3}: loss {curve[-1]:.3f}   all right: translate {points[step + 1][TRANSLATE]:.2f}, "
              f"reverse {points[step + 1][REVERSE]:.2f}   {vocabulary.decode(new)}")
    if step + 1 == STEPS // 6:
        early = copy.deepcopy(model).eval()  # for section 7
_ = model.eval()

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.1))
axes[0].plot(curve, color=BLUE, alpha=0.7)
axes[0].axhline(math.log(V), color="black", linestyle="--", label="ln V: guessing blindly")
axes[0].set(title="loss", xlabel="step", ylabel="nats a token", yscale="log")
axes[0].legend(loc="upper right", bbox_to_anchor=(1, 0.88))
for task, column, marker in ((TRANSLATE, GREEN, "o"), (REVERSE, ORANGE, "s")):
    axes[1].plot(points.keys(), [shares[task] for shares in points.values()], marker=marker, color=column, label=task)
axes[1].set(title="held-out sentences answered without a mistake", xlabel="step", ylabel="share", ylim=(0, 1.05))
axes[1].legend()
plt.show()

# %% [markdown]
# **Look for:** the answers printed on the way. At first they are Korean words with their particles, and say something
# else; then word after word comes right. An answer counts only if *every* token is right, so the curves on the right
# stay low at first and then shoot up.
#
# Now all held-out sentences, of which the model has seen none:

# %%
reached = share_right(model, len(held_out))
for task, share in reached.items():
    print(f"{task}: {share:.1%} of {len(questions[task])} without a mistake")
assert SHORT or min(reached.values()) > 0.9

for text in (EXAMPLE, "a teacher calls the old tiger", "the good bear loves a child now"):
    [new] = answer(model, [vocabulary.encode(f"{TRANSLATE}: {text}")], max_new=16)
    print(f"   {text}  ->  {vocabulary.decode(new)}")

# %% [markdown]
# ## 6. Where it looks
#
# The function of section 4 draws it. Ask for one translation, and give the decoder the answer that the model wrote, so
# that all its steps come in one pass. First cross-attention: a row is the token that is *about to be written*, a column
# an input token.

# %%
def maps_of(text):
    """The model's own answer to a text: labels of input, decoder input and answer, and the three kinds of maps."""
    ids = vocabulary.encode(text)
    [new] = answer(model, [ids], max_new=16)
    decoder_ids = [vocabulary.pad_id, *new]
    logits, maps = by_hand(model, torch.tensor([ids]), torch.tensor([decoder_ids]))
    written = logits[0].argmax(-1).tolist()
    assert written[:-1] == new  # by hand, all steps at once, it is the same answer
    names = [[label(i) for i in some] for some in (ids, decoder_ids, written)]
    return *names, {kind: torch.cat(some) for kind, some in maps.items()}  # (blocks, heads, rows, columns)


def heat(axis, weights, rows, columns, title, vmax=None):
    """A matrix of weights: row = the token that looks, column = the token that it looks at."""
    picture = axis.imshow(weights, cmap="viridis", vmin=0, vmax=vmax)
    axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_title(title)
    return picture


reads, so_far, written, maps = maps_of(f"{TRANSLATE}: {EXAMPLE}")
print(EXAMPLE, "\n->", vocabulary.decode(answer(model, [vocabulary.encode(f"{TRANSLATE}: {EXAMPLE}")], max_new=16)[0]))
cross = maps["cross"][0]  # (H, T, S): there is one block
figure, axes = plt.subplots(1, 2, figsize=(12, 4.1))
picture = heat(axes[0], cross.mean(0), written, reads, "cross-attention, mean of the 4 heads", vmax=1)
heat(axes[1], cross[cross.amax(-1).mean(-1).argmax()], written, reads, "the head that is surest of itself", vmax=1)
axes[0].set_ylabel("to write this ...")
axes[0].set_xlabel("... it looks here")
figure.colorbar(picture, ax=axes, label="weight (a row sums to 1)", shrink=0.8)
plt.show()

# %% [markdown]
# **Look for:** in Korean "today" (oneul) is written first and stands last in English: the first row is bright far
# right. Then the rows go to "black" and "cat", *over* the verb to "small" and "dog", and back to "chases", for the verb
# is written last (jjotneunda). The map is the change of word order. The particles (ga, reul) have no English word to
# look for: their rows are spread out, or look at the prefix.
#
# One sentence may be luck. Over the held-out translations: how much weight goes to the English word that the Korean
# one translates? (Sentences that have it twice are left out.)

# %%
WORLD = {"nouns": NOUNS, "adjectives": ADJECTIVES, "verbs": VERBS, "times": TIMES}
ENGLISH = {korean: english for some in WORLD.values() for english, korean in some.items() if english}
of_kind, lengths = {kind: [] for kind in WORLD}, []
for e in questions[TRANSLATE][:ASKED]:
    ids, target = vocabulary.encode(e.text), vocabulary.encode(e.target)
    _, found = by_hand(model, torch.tensor([ids]), torch.tensor([[vocabulary.pad_id, *target[:-1]]]))
    words = [vocabulary.decode([i]) for i in ids]
    lengths.append(len(ids))
    for row, token in zip(found["cross"][0][0].mean(0), target, strict=True):
        korean = vocabulary.decode([token])
        if words.count(ENGLISH.get(korean)) == 1:
            kind = next(kind for kind, some in WORLD.items() if korean in some.values())
            of_kind[kind].append(row[words.index(ENGLISH[korean])].item())
for kind, shares in of_kind.items():
    print(f"{kind:10} {np.mean(shares):.2f} on its English word, mean of the heads ({len(shares)} cases)")
print(f"evenly spread it would be {np.mean([1 / n for n in lengths]):.2f}")

# %% [markdown]
# A bright cell says where information *may* flow. Whether it does is another question, and it can be asked: hide one
# place of the memory from the decoder (the encoder has still read it), and let it write again. `memory_mask` does that.

# %%
@torch.no_grad()
def write_without_each(ids):
    """For each place of the input the answer that is written when the decoder does not see it."""
    memory = model.encode(torch.tensor([ids])).expand(len(ids), -1, -1)  # (S, S, D): the same for each row
    seen = ~torch.eye(len(ids), dtype=torch.bool)  # (S, S): row i hides place i
    text = torch.full((len(ids), 1), vocabulary.pad_id)
    for _ in range(16):
        new = model.head(model.decode(text, memory, seen)[:, -1]).argmax(-1, keepdim=True)  # (S, 1)
        text = torch.cat([text, new], dim=1)
    return [vocabulary.decode(row[: row.index(vocabulary.eos_id)] if vocabulary.eos_id in row else row)
            for row in text.tolist()]


ids = vocabulary.encode(f"{TRANSLATE}: {EXAMPLE}")
whole = vocabulary.decode(answer(model, [ids], max_new=16)[0])
for name, without in zip(reads, write_without_each(ids), strict=True):
    print(f"without {name:10} {without}{'' if without == whole else '   <- changed'}")

# %%
changed = {"a word that has a Korean one": [], "an article": [], "the prefix, the end": []}
for e in questions[TRANSLATE][:ASKED]:
    ids = vocabulary.encode(e.text)
    whole = vocabulary.decode(answer(model, [ids], max_new=16)[0])
    for i, without in zip(ids, write_without_each(ids), strict=True):
        word = vocabulary.decode([i])
        kind = 0 if word in ENGLISH.values() else 1 if word in ("a", "an", "the") else 2
        list(changed.values())[kind].append(without != whole)
print(f"{ASKED} held-out sentences; how often the answer is another one without ...")
for name, some in changed.items():
    print(f"   {name:30} {np.mean(some):.2f}")

# %% [markdown]
# Hide a word that the map points at, and in most cases the answer changes. In our sentence, where it does, it changes
# in just that word, which is missing, or another one stands there. (Where the answer stays, other states of the memory
# tell of the word too.) Articles have nothing to give to Korean. The prefix decides what is to be done, and yet most of
# it can be hidden from the decoder: the encoder has read it, and that is in other states as well. In our sentence it
# hangs on a single state all the same: without that of "to" the decoder begins in English, as for the other task.
#
# The other two kinds of maps. In the decoder, a row is a token that has been written, and is about to be followed by
# the next one.

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 4.4))
for block, weights in enumerate(maps["encoder"]):
    heat(axes[block], weights.mean(0), reads, reads, f"encoder self-attention, block {block + 1}")
heat(axes[2], maps["decoder"][0].mean(0), so_far, so_far, "decoder self-attention")
axes[0].set_ylabel("this token ...")
axes[1].set_xlabel("... takes in this one (means of the 4 heads)")
plt.show()

# %%
weight, even = [], []
for e in questions[TRANSLATE][:ASKED]:
    ids, target = vocabulary.encode(e.text), vocabulary.encode(e.target)
    _, found = by_hand(model, torch.tensor([ids]), torch.tensor([[vocabulary.pad_id, *target[:-1]]]))
    first, second = (i for i, token in enumerate(target) if vocabulary.decode([token]) in list("가이를을"))
    # row t writes target t; column t holds target t - 1
    weight.append(found["decoder"][0][0, :, second, first + 1])  # (H,)
    even.append(1 / (second + 1))
weight = torch.stack(weight).mean(0)  # (H,)
print(f"weight on the first particle where the second is chosen: {weight.max():.2f} in head {weight.argmax() + 1}, "
      f"{weight.mean():.2f} in the mean;\nevenly spread it would be {np.mean(even):.2f}")

# %% [markdown]
# **Look for:** the decoder's map has the triangle of the causal mask. In the row of "gae" (dog, the second noun) the
# column of "ga" is bright: now a particle must be chosen, and whether it marks who acts or on whom depends on whether
# the first has been written already. The printed figures say it of many held-out sentences. The encoder's maps are
# harder to read: broad, with single bright cells, some of them in the columns of the prefix. Not every map tells a
# story.
#
# What did the tables of section 3 learn?

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.2), sharey=True)
for axis, bias, seen, title in ((axes[0], model.encoder_bias, range(-12, 13), "encoder"),
                                (axes[1], model.decoder_bias, range(-12, 1), "decoder")):
    distances = torch.tensor(list(seen))
    learned = bias.table(bias.bucket[distances + bias.max_distance]).detach()  # (distances, H)
    for head, column in enumerate((BLUE, ORANGE, GREEN, "black")):
        axis.plot(distances, learned[:, head], "o-", markersize=3, color=column, label=f"head {head + 1}")
    axis.axvline(0, color=GREY, linestyle=":")
    axis.set(title=f"learned bias, {title}", xlabel="distance from query to key")
axes[0].set_ylabel("added to the score")
axes[0].legend()
plt.show()

# %% [markdown]
# **Look for:** where a curve is high, the head prefers keys at that distance, whatever stands there. In the encoder the
# curves go up and down within a few places. From 8 to 11 places each of them is flat, on both sides: one bucket, one
# number.
#
# ## 7. Greedy and beam search
#
# *Paper, section 3.1.2 (greedy) and 3.7 (beam search).* To write, the encoder runs **once**. Each block of the decoder
# keeps the keys and values of the memory, and those of the tokens written so far (05_gpt, section 8), so a further
# token costs one step of the decoder. Count it:

# %%
from minit5.writer import Writer, answer_by_beam

source(Writer)

# %%
calls = {"encoder": 0, "decoder": 0}


def count(side):
    def counted(*_):
        calls[side] += 1
    return counted


text = f"{TRANSLATE}: {EXAMPLE}"
ids = vocabulary.encode(text)
hooks = [getattr(model, side).register_forward_hook(count(side)) for side in calls]
[new] = answer(model, [ids], max_new=16)
print(text)
print(f"greedy, {len(new)} tokens and the end: times that it ran: {calls}")
calls.update(encoder=0, decoder=0)
found = answer_by_beam(model, ids, max_new=16, n_beams=4)
print(f"4 beams: {calls}")
assert calls["encoder"] == 1
for hook in hooks:
    hook.remove()
for score, tokens in found:
    print(f"   {score:8.4f}   {vocabulary.decode(tokens)}")

# %% [markdown]
# The number before each answer is log P(answer | input), divided by its number of tokens. Here the model is sure: the
# best one has a score near 0 and is what greedy wrote, and the others are far behind.
#
# It pays to follow several answers when the model is *not* sure. We kept a copy of it from early in the training. Ask
# both copies, and search for a sentence where greedy and beam search differ:

# %%
def compare(model, n):
    """Of n held-out translations: how many are right by greedy and by 4 beams; and where the two differ."""
    right, differ = {"greedy": 0, "4 beams": 0}, []
    for e in questions[TRANSLATE][:n]:
        by_way = {name: answer_by_beam(model, vocabulary.encode(e.text), 16, beams, length_penalty=0.0)[0]
                  for name, beams in (("greedy", 1), ("4 beams", 4))}  # one beam is greedy; penalty 0: plain log P
        texts = {name: vocabulary.decode(tokens) for name, (_, tokens) in by_way.items()}
        for name, text in texts.items():
            right[name] += text == e.target
        if texts["greedy"] != texts["4 beams"]:
            differ.append((e, by_way))
    return right, differ


for name, which in (("early", early), ("at the end", model)):
    right, differ = compare(which, ASKED)
    print(f"{name}: right of {ASKED}: {right}; different answers: {len(differ)}")
    if differ:
        gains = [by_way["4 beams"][0] - by_way["greedy"][0] for _, by_way in differ]
        print(f"   4 beams found the more probable one {sum(gain > 0 for gain in gains)} times; with the largest gain:")
        e, by_way = differ[int(np.argmax(gains))]
        print(f"   {e.source}\n   {'reference':26} {e.target}")
        for way, (log_p, tokens) in by_way.items():
            print(f"   {way:8}  log P = {log_p:6.2f}   {vocabulary.decode(tokens)}")

# %% [markdown]
# The printed log P says what beam search is for: it finds an answer that is *more probable as a whole*, though it
# begins with a less probable token. More probable for the model, that is; whether it is also right, the reference says.
#
# ## 8. The same weights, another prefix
#
# One sentence, two prefixes, and not one weight differs:

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
for axis, task in zip(axes, (TRANSLATE, REVERSE), strict=True):
    text = f"{task}: {EXAMPLE}"
    print(text, " -> ", vocabulary.decode(answer(model, [vocabulary.encode(text)], max_new=16)[0]))
    columns, _, rows, found = maps_of(text)
    heat(axis, found["cross"][0].mean(0), rows, columns, f"cross-attention: {task}")
plt.show()

# %% [markdown]
# **Look for:** right, the line from the upper right to the lower left: the same heads now read the words from the last
# to the first. How does the decoder know what to do? It sees no more than the memory; the prefix is a part of what the
# encoder has read, and in its attention every word of the sentence could take notice of it.
#
# It is only text. So the model will answer prefixes, too, that it was never taught:

# %%
for prefix in ("", "translate: ", "Korean: ", f"{REVERSE} {TRANSLATE}: "):
    [new] = answer(model, [vocabulary.encode(prefix + EXAMPLE)], max_new=12)
    print(f"{prefix!r:42} {vocabulary.decode(new)}")

# %% [markdown]
# Nobody has told it what these mean, and it does not say that it does not know. (`python -m minit5.answer` warns when a
# prefix is none of those that its run was taught.)
#
# To teach a T5 your own tasks, write lines of `task<TAB>input<TAB>target` into a file, and
# `python -m minit5.finetune --tasks my.tsv` does what section 5 did.
#
# ## 9. The real T5, and three exercises
#
# *Paper, sections 3.1.2, 3.5.2 and 3.7.* What is different in the published models:
#
# - **Size.** See below; ours has two blocks and one.
# - **Vocabulary.** 32,000 pieces of SentencePiece, of English, German, French and Romanian text; and 100 sentinels.
# - **Text.** C4, about 750 GB of English from the web, for span corruption (section 2). Version 1.0 has tasks mixed
#   into the same stream, version 1.1 has not, and Flan-T5 is a 1.1 that was then taught very many tasks. Ours has seen
#   nothing but its two tasks.
# - **Optimizer.** Adafactor, which needs less memory than AdamW; here it is Muon and AdamW.
# - **Versions.** 1.0 is the one of the paper. 1.1, of which Flan-T5 and ours are, has a gated GELU in the feed-forward
#   network, and a head of its own where 1.0 shares the embeddings.
#
# The sizes are counted without memory: torch's `meta` device keeps only the shapes.

# %%
def counted(config):
    with torch.device("meta"):
        return sum(p.numel() for p in T5(config).parameters())


print("             blocks    width   heads     d_ff        parameters")
for name in ("small", "base", "large", "xl", "xxl", "v1_1_small", "v1_1_base", "v1_1_large", "v1_1_xl", "v1_1_xxl"):
    c = getattr(T5Config, name)()
    print(f"{name:11} {c.n_layers:3} + {c.n_layers:2}   {c.d_model:6,}   {c.n_heads:5}   {c.d_ff:6,}  {counted(c):16,}")
assert counted(T5Config.small()) == 60_506_624

# %% [markdown]
# A published one opens here as it is, in a folder with `config.json`, its weights and `spiece.model`:
#
#     pip install -c constraints.txt -e ".[hub]"
#     hf download google-t5/t5-small --local-dir t5-small
#     python -m minit5.answer --model t5-small "translate English to German: The house is wonderful."
#
# or, in Python, `model, vocabulary = minit5.pretrained.open_model(Path("t5-small"))`, and then `answer` as above.
#
# Three exercises. Predict first, then change the line and run again. The answers are folded below.
#
# 1. **Section 3.** One of the encoder's 32 buckets is never used, by no distance at all. Which, and why?
#    (`set(range(32)) - set(encoder_buckets.tolist())`)
# 2. **Section 6.** In `write_without_each`, let the encoder read another sentence of as many words, by
#    `ids = vocabulary.encode(f"{TRANSLATE}: a good bear sees the old fox now")` as its first line, and run this one
#    cell. What will be written?
# 3. **Section 5.** After the training, `nn.init.zeros_(model.encoder_bias.table.weight)`, then ask for
#    `share_right(model, 100)` and some translations again. Which mistakes do you expect? Which words stay right?
#
# <details><summary>Answers</summary>
#
# 1. Bucket 16. The buckets from 16 on are for keys behind the query, and their first one would be for distance 0; but
#    distance 0 is the query itself, and has bucket 0. (The published models have the same gap.)
# 2. The translation of the other sentence, without one word or another. All that the decoder knows of the input comes
#    through cross-attention.
# 3. The encoder sees a bag of words. Verb and time stay right, for there is one of each; which noun acts, and which
#    adjective belongs to which noun, can only be guessed, and so can the order that is to be reversed. A few answers
#    are right by luck.
#
# </details>
