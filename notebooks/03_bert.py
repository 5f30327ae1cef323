# %% [markdown]
# # BERT, grown from one sentence
#
# *Lecture 14, section 2 (the core of pre-training) and section 3 (BERT). Papers: Vaswani et al. 2017, [Attention Is
# All You Need](https://arxiv.org/abs/1706.03762); Devlin et al. 2018, [BERT](https://arxiv.org/abs/1810.04805).*
#
# We take one English sentence and build what BERT does with it, one small step at a time. After each step we compare
# our few lines with the code of this repository (`common/`, `minibert/`). They must agree; an `assert` stops the
# notebook if they do not. At the end a small BERT learns English while you watch.
#
# 1. A sentence becomes vectors
# 2. Attention: average, similarity, √d, masks, heads
# 3. The block, and where its norm stands
# 4. The masking rule: 15 %, then 80 / 10 / 10
# 5. Sentence pairs
# 6. A BERT learns
# 7. Where it looks, and what it guesses
# 8. Three exercises
#
# It runs in two to three minutes on a laptop without a GPU. `make notebooks` runs it and installs what it needs; then
# open it in an editor such as VS Code, with the Python of `.venv` as its kernel.

# %%
import inspect
import math
import os
import textwrap
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from IPython.display import Markdown
from matplotlib.patches import Patch

if not Path("common").is_dir():
    os.chdir("..")  # opened inside notebooks/: work from the root of the repository

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS = 12 if SHORT else 600  # training steps of section 6
DRAWS = 60 if SHORT else 1000  # repetitions in the statistics

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
torch.set_printoptions(precision=2, sci_mode=False, linewidth=120)
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#BBBBBB"  # Okabe and Ito's colours: safe for all eyes


def source(thing):
    """The repository's own code, as it stands in its file."""
    return Markdown(f"```python\n{textwrap.dedent(inspect.getsource(thing))}```")


# %% [markdown]
# ## 1. A sentence becomes vectors
#
# The text is the English documentation that every Python installation carries: nothing to download, and no labels,
# because *the text is its own teacher* (lecture section 2, self-supervised learning). A vocabulary of 4,096 **pieces**
# is trained on it: frequent words are one piece, rare words are cut into several. (The first run reads about 2,400
# source files, some 20 seconds; later runs use the copy in `.cache/`.)

# %%
from common.batches import tokenize
from common.corpus import load_corpus
from common.tokenizer import SPECIAL, Tokenizer

corpus = load_corpus()
tokenizer = Tokenizer.train((paragraph for document in corpus.train for paragraph in document), vocab_size=4096)
train_text, held_out_text = tokenize(corpus.train, tokenizer), tokenize(corpus.held_out, tokenizer)
print(f"{len(corpus.train):,} documents to learn from, {len(corpus.held_out):,} held out, "
      f"{len(train_text.tokens):,} pieces of training text")

SENTENCE = "Open url in a new window of the default browser."  # Python's module webbrowser says so
ids = tokenizer.encode(SENTENCE)
print([tokenizer.piece(i) for i in ids])
print(ids)


def words(ids):
    """Pieces as people read them: the "▁" that stands for a blank is left out."""
    return [tokenizer.piece(i).lstrip("▁") or "▁" for i in ids]


# %% [markdown]
# A piece's number says nothing about the piece. BERT learns a **vector** for each piece while it trains. To have
# useful vectors *now*, we count: two pieces are alike when they keep the same company. `cooccurrence` counts which
# pieces stand within two places of each other, and `embeddings_from_counts` compresses the counts to D = 32 numbers a
# piece. The nearest neighbours of a word already make sense:

# %%
from minibert.counting import cooccurrence, embeddings_from_counts

D = 32
meaning = embeddings_from_counts(cooccurrence(torch.from_numpy(train_text.tokens), tokenizer.vocab_size), D)  # (V, D)
for word in ("window", "list", "returns", "path"):
    near = (meaning @ meaning[tokenizer.encode(word)[0]]).topk(6).indices[1:].tolist()
    print(f"{word:8} is near {', '.join(words(near))}")

# %% [markdown]
# Our sentence is now a matrix `x` with one row per piece: T = 11 pieces, D = 32 numbers each, of a size of about 1.

# %%
x = meaning[ids]  # (T, D)
T = len(ids)
x.shape

# %% [markdown]
# ## 2. Attention
#
# *Paper: Vaswani et al., section 3.2.* What does "window" mean here, a time window or one on the screen? The other
# words know. So each word should take in something of the others, and attention is a way to **mix** rows of `x`.
#
# ### 2.1 Average
# The simplest mix: each word receives the mean of all words. Written as a matrix of weights, every weight is 1/T:

# %%
average = torch.full((T, T), 1 / T)  # weights: row = the word that receives, column = the word that gives
mixed = average @ x  # (T, D)
assert torch.allclose(mixed, x.mean(dim=0).expand(T, D), atol=1e-5)
mixed[:3, :6]  # the first words, six of their numbers

# %% [markdown]
# All rows are equal: nobody can choose. A word should listen more to words that matter to it.
#
# ### 2.2 Weighted by similarity
# Two vectors that point the same way have a large dot product. `x @ x.T` holds the dot products of all pairs, the
# **scores**. Softmax makes each row positive and sum to 1, so that it is again a weighted average:

# %%
scores = x @ x.T  # (T, T)
by_similarity = scores.softmax(dim=-1)
print("scores of", words(ids)[5], scores[5])
print("weights of", words(ids)[5], by_similarity[5])

# %% [markdown]
# The score of a word with itself is so much larger than the rest that softmax gives it all the weight. That is as bad
# as the average: now nothing is mixed.
#
# ### 2.3 Scaled by √d
# A dot product adds up D terms. If each term is about 1 in size, the sum is about √D in size: scores grow with the
# width of the model, for no reason of meaning. So divide by √D (in the paper √d_k, section 3.2.1):

# %%
weights = (scores / math.sqrt(D)).softmax(dim=-1)
mixed = weights @ x


def heat(axis, weights, rows, columns, title, vmax=None):
    """A matrix of weights: row = the word that looks, column = the word that it looks at."""
    picture = axis.imshow(weights, cmap="viridis", vmin=0, vmax=vmax)
    axis.set_xticks(range(len(columns)), columns, rotation=90)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_title(title)
    return picture


figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True)
for axis, w, title in zip(axes, (average, by_similarity, weights),
                          ("average: 1/T", "softmax(x xᵀ)", "softmax(x xᵀ / √D)"), strict=True):
    picture = heat(axis, w, words(ids), words(ids), title, vmax=0.3)
axes[0].set_ylabel("this word receives ...")
axes[1].set_xlabel("... from this word")
figure.colorbar(picture, ax=axes, label="weight (a row sums to 1)", shrink=0.8, extend="max")
plt.show()

# %% [markdown]
# **Look for** (yellow is 0.3 or more): left, the same colour everywhere. Middle, a bare diagonal: each word keeps to
# itself. Right, a strong diagonal *and* other cells: "in" with "of", "url" with "browser", "a" with "new" and "the".
# This is a mix.
#
# The three steps are one function of the repository. Averaging is the case where the queries are 0 and all scores
# equal:

# %%
from common.attention import attend_explicit

batch = x.view(1, 1, T, D)  # the repository works on (B, H, T, D): batch, heads, positions, width
out, w = attend_explicit(batch, batch, batch)
assert torch.allclose(w[0, 0], weights, atol=1e-6) and torch.allclose(out[0, 0], mixed, atol=1e-5)
assert torch.allclose(attend_explicit(batch, batch, batch, scale=1.0)[1][0, 0], by_similarity, atol=1e-5)
assert torch.allclose(attend_explicit(0 * batch, batch, batch)[1][0, 0], average)
print("average, similarity and scaled similarity equal attend_explicit")

# %% [markdown]
# Here it is, all of it: formula (1) of the paper with its masks. `q`, `k` and `v` (query, key, value) are three roles;
# so far `x` has played all of them.

# %%
source(attend_explicit)

# %% [markdown]
# Why √d matters for learning: take random vectors of growing width d, one query against 16 keys, and sort the weights.

# %%
widths = [4, 16, 64, 256, 1024]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
print("   d   spread of q·k   largest weight: without √d   with √d")
for d, colour in zip(widths, plt.cm.viridis(np.linspace(0, 0.9, len(widths))), strict=True):
    q, k = torch.randn(DRAWS, 1, d), torch.randn(DRAWS, 16, d)
    dots = (q @ k.transpose(1, 2)).squeeze(1)  # (draws, 16)
    plain, scaled = (y.softmax(-1).sort(descending=True).values.mean(0) for y in (dots, dots / math.sqrt(d)))
    axes[0].plot(range(1, 17), plain, ".-", color=colour, label=f"d = {d}")
    axes[1].plot(range(1, 17), scaled, ".-", color=colour)
    print(f"{d:4}   {dots.std():13.1f}   {plain[0]:26.2f}   {scaled[0]:7.2f}")
axes[0].set(title="softmax(q·k)", xlabel="keys, sorted by weight", ylabel="mean weight")
axes[1].set(title="softmax(q·k / √d)", xlabel="keys, sorted by weight")
axes[0].legend()
plt.show()

# %% [markdown]
# **Look for:** left, the wider the vectors, the closer the first key comes to weight 1 (the table: the spread of q·k
# is √d). A softmax that puts everything on one key passes almost no gradient to the others, so training stalls. Right,
# with √d all five curves lie on top of each other.
#
# ### 2.4 Masks: who may look at whom
# A mask is a matrix of yes and no; in this repository `True` = may attend. Where it says no, the score becomes −∞, and
# e^(−∞) = 0: exactly no weight. Two masks matter:
#
# - **padding**: sentences in a batch differ in length, the short ones are filled up with [PAD], and nobody should
#   listen to [PAD];
# - **causal**: a model that predicts the *next* word must not see it (GPT, lecture section 5). BERT has no causal
#   mask: that is the B of its name, *bidirectional*.

# %%
from common.masks import causal_mask, padding_mask

short = ids[:6] + [tokenizer.pad_id] * (T - 6)  # the first six words and padding
real = torch.tensor([ids, short]) != tokenizer.pad_id  # (B, T): what is a real token
padding = padding_mask(real)  # (B, 1, 1, T): the same for all heads and all queries
causal = causal_mask(T, T)  # (T, T)

y = torch.stack([x, meaning[short]]).unsqueeze(1)  # (B = 2, H = 1, T, D)
_, w_padding = attend_explicit(y, y, y, mask=padding)
_, w_causal = attend_explicit(y, y, y, causal=True)

by_hand = (y[0, 0] @ y[0, 0].T / math.sqrt(D)).masked_fill(~causal, -math.inf).softmax(-1)
assert torch.allclose(by_hand, w_causal[0, 0], atol=1e-6)

panels = (("padding mask", padding[1, 0].expand(T, T).float(), short), ("weights under it", w_padding[1, 0], short),
          ("causal mask", causal.float(), ids), ("weights under it", w_causal[0, 0], ids))
figure, axes = plt.subplots(1, 4, figsize=(13, 3.9))
for axis, (title, matrix, row_ids) in zip(axes, panels, strict=True):
    heat(axis, matrix, words(row_ids), words(row_ids), title, vmax=0.3)
axes[0].set(ylabel="this word ...", xlabel="... may look here: yellow")
axes[2].set_xlabel("... may look here: yellow")
plt.show()

# %% [markdown]
# **Look for:** under the padding mask, the [PAD] columns are dark; the [PAD] *rows* still hold something, but nobody
# reads them. Under the causal mask, "Open" can only look at itself, and each row sees one word more.
#
# The promise of a padding mask is that padding changes nothing. Alone or padded, the short sentence gets the same
# numbers:

# %%
alone = y[1:, :, :6]  # without its padding
padded_out = attend_explicit(y, y, y, mask=padding)[0][1, :, :6]
assert torch.allclose(attend_explicit(alone, alone, alone)[0][0], padded_out, atol=1e-6)
print("padding changes nothing")

# %% [markdown]
# ### 2.5 Queries, keys, values, heads
# Two things are still wrong. First, every word is most similar to *itself*. But what a word looks for is not what it
# is: "new" looks for a noun. So three matrices, which are learned, turn `x` into what a word **looks for** (query),
# what it **offers** (key), and what it **hands over** (value). Second, there is only one way of looking. So the width
# is cut into **heads**, and each head has its own weights (paper, section 3.2.2). Four heads, written as a loop:

# %%
from common.attention import Attention

torch.manual_seed(1)
H = 4
attention = Attention(d_model=D, n_heads=H)
nn.init.normal_(attention.qkv.weight, std=1 / math.sqrt(D))  # untrained; this size lets the heads differ visibly
w_q, w_k, w_v = attention.qkv.weight.detach().split(D)  # the repository keeps the three in one matrix: faster
b_q, b_k, b_v = attention.qkv.bias.detach().split(D)

maps, outputs = [], []
for h in range(H):
    mine = slice(h * D // H, (h + 1) * D // H)  # 8 of the 32 numbers belong to this head
    q, k, v = x @ w_q[mine].T + b_q[mine], x @ w_k[mine].T + b_k[mine], x @ w_v[mine].T + b_v[mine]  # (T, 8)
    w = (q @ k.T / math.sqrt(D // H)).softmax(-1)  # the √d is that of a head: √8
    maps.append(w)
    outputs.append(w @ v)
ours = attention.out(torch.cat(outputs, dim=-1))  # side by side (T, 32), then one last matrix

assert torch.allclose(ours, attention(x.unsqueeze(0))[0], atol=1e-5)
print("the loop over heads equals Attention.forward, which does all heads at once")

strongest = max(w.max() for w in maps)
figure, axes = plt.subplots(1, H, figsize=(12, 3.6), sharey=True)
for h, axis in enumerate(axes):
    picture = heat(axis, maps[h], words(ids), words(ids), f"untrained head {h + 1}", vmax=strongest)
figure.colorbar(picture, ax=axes, label="weight", shrink=0.8)
plt.show()

# %% [markdown]
# **Look for:** the diagonal is gone, and each head asks its own question. With random matrices the questions are
# nonsense; training (section 6) gives them sense.
#
# The module that all models of this repository share does exactly this, without the loop:

# %%
source(Attention.project)

# %%
source(Attention.forward)  # `attend` is the fast twin of `attend_explicit`: the same numbers, without the weights

# %% [markdown]
# One more property. Attention compares words but never asks *where* they stand. Shuffle the words, and the results are
# shuffled in the same way. A model that should know "dog bites man" from "man bites dog" must be told the positions;
# BERT adds a learned vector for each position to the embedding (BERT paper, figure 2).

# %%
shuffle = torch.randperm(T)
assert torch.allclose(attention(x[shuffle].unsqueeze(0))[0], attention(x.unsqueeze(0))[0][shuffle], atol=1e-5)
print("attention alone is blind to the order of words")

# %% [markdown]
# ## 3. The block, and where its norm stands
#
# *Paper: Vaswani et al., sections 3.1 and 3.3.* Attention lets words talk; a **feed-forward** network then works on
# each word by itself. Around each of the two runs a **residual connection**, x + sublayer(x), so that a layer only has
# to add what is new, and a **layer norm** keeps the numbers in size. The order of the two makes two families:

# %%
from common.layers import FeedForward
from common.transformer import Block, Stack

source(Block._residual)

# %% [markdown]
# BERT is post-norm (the last line), GPT-2 and nearly all that came later are pre-norm (the line in the `if`). To see
# what this changes, send random numbers through untrained stacks of 1 to 32 blocks, and measure two things: how large
# the hidden state is at the end, and how large the gradient is that the *last* block gets.

# %%
def measure(depth, pre_norm, width=64):
    """Size of the hidden state after `depth` blocks (before a final norm), and the gradient of the last block."""
    torch.manual_seed(0)
    norm = partial(nn.LayerNorm, width)
    stack = Stack([Block(Attention(width, 4), FeedForward(width, 4 * width, F.gelu), norm, pre_norm)
                   for _ in range(depth)], final_norm=norm() if pre_norm else None)
    for p in stack.parameters():
        if p.ndim == 2:
            nn.init.xavier_normal_(p)
    last, size = stack.blocks[-1], []
    last.register_forward_hook(lambda block, inputs, output: size.append(output.pow(2).mean().sqrt().item()))
    out = stack(torch.randn(16, 32, width))
    (out * torch.randn_like(out)).mean().backward()  # any loss will do
    return size[0], last.feed_forward.down.weight.grad.norm().item()


depths = [1, 2, 4, 8, 16, 32]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for pre_norm, name, colour, marker in ((False, "post-norm (BERT)", BLUE, "o"), (True, "pre-norm (GPT-2)", ORANGE, "s")):
    for axis, values in zip(axes, np.transpose([measure(depth, pre_norm) for depth in depths]), strict=True):
        axis.plot(depths, values, marker=marker, color=colour, label=name)
for axis, title in zip(axes, ("size of the hidden state at the end", "gradient of the last block"), strict=True):
    axis.set(title=title, xlabel="blocks in the stack", xscale="log", ylim=0)
    axis.set_xticks(depths, depths)
    axis.minorticks_off()
axes[0].legend()
plt.show()

# %% [markdown]
# **Look for:** left, post-norm sets the size back to 1 after every block; in pre-norm nothing does, and the sum grows
# with each block. Right, the consequence: in a deep pre-norm stack one block is one voice among many, and its gradient
# shrinks as the stack grows. In post-norm the last blocks get the full gradient however many there are, and if all of
# them take a full step at once, the first steps overshoot. That is why BERT needs a learning rate that rises slowly (a
# *warm-up*; Xiong et al. 2020, [arXiv:2002.04745](https://arxiv.org/abs/2002.04745), theorem 1). With the 2 blocks of
# our model, or the 12 of BERT-base, post-norm then trains well.
#
# ## 4. The masking rule
#
# *Lecture section 3; BERT paper, section 3.1 "Task #1" and appendix A.1.* Hide some words, and let the model say what
# stood there. The words around the gap, on **both** sides, are all it has to go by.
#
# ### 4.1 Select 15 %
# Each token is selected by a draw of its own. [CLS] (start) and [SEP] (end) never are:

# %%
row = torch.tensor([[tokenizer.cls_id, *ids, tokenizer.sep_id]])  # (B = 1, T = 13)
maskable = torch.ones_like(row, dtype=torch.bool)
maskable[:, [0, -1]] = False

generator = torch.Generator().manual_seed(16)
selected = (torch.rand(row.shape, generator=generator) < 0.15) & maskable
print("selected:", words(row[selected].tolist()))

# %% [markdown]
# ### 4.2 Replace, but not always by [MASK]
# The plain idea: put [MASK] on all of them. The catch: **[MASK] never occurs when the model is used.** A model that
# learned "work only where you see [MASK]" would have no reason to compute anything useful for ordinary words, and
# those are what fine-tuning reads (lecture section 4). So for each selected token a second draw decides: 80 % become
# [MASK], 10 % a random piece, 10 % stay as they are. Now *any* word may be asked for and *any* word may be wrong, and
# the model must have an opinion on all of them.

# %%
kind = torch.rand(row.shape, generator=generator)  # one draw per token
random_piece = torch.randint(len(SPECIAL), tokenizer.vocab_size, row.shape, generator=generator)

masked = row.clone()  # the input itself must stay whole: it holds the answers
masked[selected & (kind < 0.8)] = tokenizer.mask_id
change = selected & (kind >= 0.8) & (kind < 0.9)
masked[change] = random_piece[change]
print(*words(masked[0].tolist()))

# %% [markdown]
# The repository's function draws in the same order, so the same seed must give the same result:

# %%
from minibert.masking import mask_tokens

pieces = (len(SPECIAL), tokenizer.vocab_size)  # what a "random piece" is drawn from
theirs = mask_tokens(row, maskable, 0.15, tokenizer.mask_id, pieces, torch.Generator().manual_seed(16))
assert torch.equal(theirs[0], masked) and torch.equal(theirs[1], selected)
print("our four lines equal mask_tokens")

# %% [markdown]
# Now draw ten times. In training each epoch draws anew, so that the same sentence asks different questions (RoBERTa
# calls it dynamic masking):

# %%
N = 10
many = row.repeat(N, 1)
corrupted, chosen = mask_tokens(many, maskable.repeat(N, 1), 0.15, tokenizer.mask_id, pieces,
                                torch.Generator().manual_seed(1821))  # a seed that shows every case
fate = torch.zeros_like(many)  # 0 not selected
fate[chosen] = 1  # kept
fate[chosen & (corrupted == tokenizer.mask_id)] = 2
fate[chosen & (corrupted != many) & (corrupted != tokenizer.mask_id)] = 3
fate[~maskable.repeat(N, 1)] = 4
COLOURS = {0: "white", 2: "#7FB8DA", 3: "#F3CF80", 1: "#80CEB9", 4: "#E4E4E4"}
LABELS = {2: "[MASK] (80 %)", 3: "random piece (10 %)", 1: "selected, but kept (10 %)", 0: "not selected",
          4: "special, never selected"}

figure, axis = plt.subplots(figsize=(12, 3.9))
axis.axis("off")
table = axis.table([words(r) for r in corrupted.tolist()], colLabels=words(row[0].tolist()), loc="center",
                   cellColours=[[COLOURS[f] for f in r] for r in fate.tolist()], cellLoc="center",
                   rowLabels=[f"draw {i + 1} " for i in range(N)], bbox=[0.05, 0, 0.95, 1])
table.auto_set_font_size(False)
table.set_fontsize(8)
for cell in table.get_celld().values():
    cell.set_edgecolor(GREY)
figure.legend(handles=[Patch(facecolor=COLOURS[f], edgecolor="grey", label=LABELS[f]) for f in LABELS],
              loc="outside lower center", ncols=5)
plt.show()

# %% [markdown]
# **Look for:** the top line is the truth, each line below is one input. The loss is read at the coloured places only:
# blue, yellow and green. Green cells look untouched, and yet the model is asked there too.
#
# ### 4.3 Do the rates hold?
# One sentence tells little. Mask a batch of 32 rows of 64 tokens many times and count:

# %%
big = torch.randint(*pieces, (32, 64))
shares = []
for seed in range(DRAWS):
    out, chosen = mask_tokens(big, torch.ones_like(big, dtype=torch.bool), 0.15, tokenizer.mask_id, pieces,
                              torch.Generator().manual_seed(seed))
    n, n_mask = chosen.sum().item(), (out == tokenizer.mask_id).sum().item()
    n_random = (chosen & (out != big) & (out != tokenizer.mask_id)).sum().item()
    shares.append((n / big.numel(), n_mask / n, n_random / n, (n - n_mask - n_random) / n))
shares = np.array(shares)

figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), sharey=True)
for axis, values, (name, rate, colour) in zip(axes, shares.T, (
        ("selected, of all tokens", 0.15, GREY), ("[MASK], of the selected", 0.8, BLUE),
        ("random, of the selected", 0.1, ORANGE), ("kept, of the selected", 0.1, GREEN)), strict=True):
    axis.hist(values, bins=20, color=colour)
    axis.axvline(rate, color="black", linestyle="--")
    axis.set(title=name, xlabel=f"mean {values.mean():.3f}, rule {rate}")
axes[0].set_ylabel("batches")
plt.show()

# %% [markdown]
# **Look for:** each heap stands around its dashed line, the rule. The scatter is that of coin tosses. A bug such as
# deciding 80/10/10 once per *sentence*, instead of once per token, would show as heaps at 0 and 1.
#
# ## 5. Sentence pairs
#
# *Lecture section 3; BERT paper, section 3.1 "Task #2".* The second task, next-sentence prediction (NSP): does text B
# follow text A in the document, or was it taken from another one? Half of each. The input is `[CLS] A [SEP] B [SEP]`;
# a **segment** number, 0 or 1, with its own embedding, tells A from B, and the answer is read off the state of [CLS].
# (RoBERTa later found that NSP helps little, and modern models drop it. It stays a good example of how one [CLS]
# vector can stand for a whole text.)

# %%
from minibert.objective import Examples

examples = Examples(train_text, tokenizer, max_len=64, batch_size=32, mask_rate=0.4, seed=0)
batch = examples(0)  # the first batch of training, masked already
for name, tensor in batch.items():
    print(f"{name:10} {tuple(tensor.shape)}")

rows = slice(0, 10)
special = torch.isin(batch["answers"], torch.tensor([tokenizer.cls_id, tokenizer.sep_id]))
place = torch.where(batch["segments"] == 1, torch.where(batch["is_random"].bool()[:, None], 3, 2), 1)
place = place.masked_fill(special, 0).masked_fill(~batch["mask"], 4)[rows]
PARTS = {0: ("[CLS] and [SEP]", "#222222"), 1: ("A, segment 0", BLUE), 2: ("B, segment 1: the true next text", GREEN),
         3: ("B, segment 1: from another document", ORANGE), 4: ("[PAD]", "#F0F0F0")}

figure, axis = plt.subplots(figsize=(11, 3.4))
axis.imshow(place, cmap=plt.matplotlib.colors.ListedColormap([c for _, c in PARTS.values()]), vmin=0, vmax=4,
            aspect="auto", interpolation="nearest")
axis.set_yticks(range(len(place)), [f"pair {i + 1}" for i in range(len(place))])
axis.set_yticks(np.arange(0.5, len(place) - 1), minor=True)
axis.grid(which="minor", axis="y", color="white", linewidth=3)
axis.tick_params(which="minor", length=0)
axis.set_xlabel("position")
figure.legend(handles=[Patch(facecolor=c, label=text) for text, c in PARTS.values()], ncols=5,
              loc="outside lower center")
plt.show()

# %% [markdown]
# **Look for:** the cut between A and B falls at another place in each row, and a random B is as long as the true one
# was: otherwise the length alone would give the answer away. Little is padding.
#
# One pair of each kind, in words:

# %%
for name, kind_of_b in (("B follows A", 0), ("B is random", 1)):
    i = (batch["is_random"] == kind_of_b).nonzero()[0, 0]
    answers, segments = batch["answers"][i], batch["segments"][i]
    a, b = (answers[(segments == s) & batch["mask"][i]].tolist() for s in (0, 1))
    print(f"{name}:\n   A  {tokenizer.decode(a)}\n   B  {tokenizer.decode(b)}\n")

# %% [markdown]
# ## 6. A BERT learns
#
# *Lecture sections 2 and 3; BERT paper, section 3.1 and appendix A.2.* Everything is in place. The model is
# `minibert/model.py`: embeddings (piece + position + segment), two post-norm blocks of width 160, one head for the
# hidden words, one for the pairs. Two losses are added up.

# %%
from minibert.model import BertForPreTraining
from minibert.objective import pretraining_loss
from minibert.recipe import PretrainConfig, optimizers

source(pretraining_loss)

# %% [markdown]
# Before training, an untrained model should know *nothing*: its loss should be that of blind guessing, ln V for one of
# V pieces and ln 2 for yes or no. This costs a second and finds many bugs (labels shifted by one, a wrong scale):

# %%
config = PretrainConfig(steps=STEPS)
V = tokenizer.vocab_size
torch.manual_seed(0)
model = BertForPreTraining(config.bert())


@torch.no_grad()
def first_loss(model):
    return [(total / count).item() for total, count in pretraining_loss(model, batch).values()]


print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
mlm, nsp = untrained = first_loss(model)
print(f"hidden words {mlm:.3f}, ln V = {math.log(V):.3f};  pairs {nsp:.3f}, ln 2 = {math.log(2):.3f}")
assert abs(mlm - math.log(V)) < 0.3 and abs(nsp - math.log(2)) < 0.1

# %% [markdown]
# From here a BERT of this size needs hundreds of steps only to find out which words are frequent and which are alike,
# and we have one minute. So we give it what counting can tell (`minibert/start.py`): the embeddings of section 1,
# wider; the frequencies as the bias of the output; and heads that start with a job: a fixed neighbour, the same word
# elsewhere, the own sentence, the other one. The architecture stays BERT's. The rest it must learn.

# %%
from common.optim import trapezoid
from minibert.start import counted_start

counted_start(model, train_text)
mlm, nsp = first_loss(model)
print(f"hidden words {mlm:.3f}, pairs {nsp:.3f}")

curve = []
opts = optimizers(model, config)
for step in range(STEPS):
    factor = trapezoid(step, STEPS, config.warmup, config.decay)  # the learning rate: up, level, down
    for group in (group for opt in opts for group in opt.param_groups):
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
    losses = {name: total / count for name, (total, count) in pretraining_loss(model, examples(step)).items()}
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    for opt in opts:
        opt.step()
        opt.zero_grad()
    curve.append([loss.item() for loss in losses.values()])
    if (step + 1) % max(1, STEPS // 6) == 0:
        mlm, nsp = np.mean(curve[-STEPS // 6 :], axis=0)
        print(f"step {step + 1:4}: hidden words {mlm:.3f}, pairs {nsp:.3f}")

# %%
share = np.bincount(train_text.tokens, minlength=V) / len(train_text.tokens)
unigram = -(share[share > 0] * np.log(share[share > 0])).sum()

figure, axes = plt.subplots(1, 2, figsize=(11, 3.4))
width = max(1, STEPS // 20)
for axis, values, colour, name in zip(axes, np.array(curve).T, (BLUE, GREEN), ("hidden words", "pairs"), strict=True):
    axis.plot(values, color=colour, alpha=0.25)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    axis.plot(np.arange(len(smooth)) + width - 1, smooth, color=colour, label=f"loss, mean of {width} steps")
    axis.set(title=name, xlabel="step", ylabel="nats")
axes[0].plot(0, untrained[0], "o", color="black", label="the random model")
axes[0].axhline(math.log(V), color="black", linestyle="--", label="ln V: guessing blindly")
axes[0].axhline(unigram, color="black", linestyle=":", label="guessing by frequency")
axes[1].axhline(math.log(2), color="black", linestyle="--", label="ln 2: guessing")
axes[0].legend(loc="upper right", bbox_to_anchor=(1, 0.92))  # between the two lines
axes[1].legend()
plt.show()

# %% [markdown]
# **Look for:** left, the dot is the random model, at the dashed line. The dotted line is what one can reach by knowing
# how frequent each piece is and ignoring the sentence; the counts bring the model there at once, and everything below
# was learned *from context*. Right, the pairs hardly leave ln 2 in one minute: the second task is harder to get going.
# `make train-minibert` takes five.
#
# How good is it on text that it never saw? `evaluate` reads the held-out documents:

# %%
from minibert.evaluate import evaluate

model.eval()  # dropout off
questions = Examples(held_out_text, tokenizer, max_len=64, batch_size=1, mask_rate=0.15, seed=0)
for name, value in evaluate(model, questions).items():
    print(f"{name:13} {value:.3f}")
always = np.bincount(held_out_text.tokens, minlength=V)[share.argmax()] / len(held_out_text.tokens)
print(f"always guessing '{words([int(share.argmax())])[0]}' would give top-1 {always:.3f}")

# %% [markdown]
# ## 7. Where it looks, and what it guesses
#
# Our sentence again, with a gap. The model's attention weights are not kept by the fast code it trains with, so we
# walk through the blocks and ask `attend_explicit`, which returns them:

# %%
GAP = "Open url in a new [MASK] of the default browser."
gap_ids = torch.tensor([[tokenizer.cls_id, *tokenizer.encode_masked(GAP), tokenizer.sep_id]])
gap = gap_ids[0].tolist().index(tokenizer.mask_id)


@torch.no_grad()
def attention_maps(model, ids):
    """(layers, heads, T, T) of one sentence."""
    maps, hidden = [], model.bert.embeddings(ids)
    for block in model.bert.encoder.blocks:
        q, k, v = block.attention.project(hidden)
        maps.append(attend_explicit(q, k, v)[1][0])
        hidden = block(hidden)
    assert torch.allclose(hidden, model.hidden(ids), atol=1e-5)  # we walked the way the model walks
    return torch.stack(maps)


trained = attention_maps(model, gap_ids)
n_layers, n_heads = trained.shape[:2]
names = words(gap_ids[0].tolist())
figure, axes = plt.subplots(n_layers, n_heads, figsize=(11, 5.2), sharex=True, sharey=True)
for layer in range(n_layers):
    for head in range(n_heads):
        heat(axes[layer, head], trained[layer, head], names, names, f"block {layer + 1}, head {head + 1}")
plt.show()

# %% [markdown]
# **Look for:** a row is a word that looks, a bright cell is what it looks at (each map has its own scale). In block 1
# the bright cells lie close to the diagonal, one or two places off it: neighbours, the job that these heads began
# with; the last head began by looking for copies of its word, and finds it where it stands. Block 2 is broader: some
# heads have bright *columns*, where many words look at the same one. Not every head can be read, and a bright cell says
# where information *may* flow, not why.
#
# The row of [MASK] is the one that must find the answer (below, left). And how good are the answers? Hide each word of
# the sentence in turn, and ask for it (right):

# %%
rows = torch.tensor([[tokenizer.cls_id, *ids, tokenizer.sep_id]]).repeat(T, 1)
rows[range(T), range(1, T + 1)] = tokenizer.mask_id  # row i hides word i
with torch.no_grad():
    p = model.head(model.hidden(rows)[range(T), range(1, T + 1)]).softmax(-1)  # (T, V)
best = p.argmax(-1).tolist()

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
for layer, shade in zip(range(n_layers), plt.cm.viridis(np.linspace(0, 0.9, n_layers)), strict=True):
    axes[0].plot(trained[layer, :, gap].mean(0), "o-", color=shade, label=f"block {layer + 1}")
axes[0].set_xticks(range(len(names)), names, rotation=90)
axes[0].set(title="where [MASK] looks (mean of the heads)", ylabel="weight")
axes[0].legend()
truth = p[range(T), ids].numpy()
axes[1].barh(range(T), truth, color=[GREEN if guess == i else GREY for guess, i in zip(best, ids, strict=True)])
for i, guess in enumerate(words(best)):
    axes[1].text(truth[i] + 0.01, i, f"best guess: {guess}", va="center", fontsize=8)
axes[1].set_yticks(range(T), words(ids))
axes[1].invert_yaxis()
axes[1].set(title="each word hidden in turn", xlabel="probability of the true word (green: it is the best guess)",
            xlim=(0, 1.25))
plt.show()

# %% [markdown]
# **Look for:** left, block 1 looks next door, block 2 also far away. Right, words of grammar ("the", "of",
# the full stop) are found, words of content are not: one minute is enough for the first and far too short for the
# second. Our sentence is from a file about web browsers, of which this model has seen little or nothing.
#
# Last, the reason for the B in BERT. The first two sentences are the same up to the gap and differ only *behind* it. A
# model that reads from left to right would have to give one answer to both.

# %%
from minibert.fill_mask import fill_mask

for text in ("Return a [MASK] of all the names in the dictionary.", "Return a [MASK] of the given size and shape.",
             "Return [MASK] if the object is a string, False otherwise.", "The default [MASK] is used.", GAP):
    print(text)
    print("   ", "   ".join(f"{piece.lstrip('▁')} {p:.2f}" for p, piece, _ in fill_mask(model, tokenizer, text)))

# %% [markdown]
# What it has after a minute is the manner of speaking of its books. `make train-minibert` reads on for five minutes,
# prints such guesses on the way, and keeps the model for `python -m minibert.fill_mask "..."`.
#
# **What comes next** (lecture section 4): fine-tuning throws both heads away and puts a new one on the same states, on
# [CLS] to judge a whole sentence, on every word to label words.
#
# ## 8. Three exercises
#
# Predict first, then change the line and run again. The answers are folded below.
#
# 1. **Section 2.3.** Divide the scores by `D` instead of `math.sqrt(D)`. What will the right map look like? (The
#    check below it will then fail. With which `scale` does `attend_explicit` agree again?)
# 2. **Section 7.** Call `attend_explicit(q, k, v, causal=True)` in `attention_maps`. Which row of each map stays
#    exactly as it was, and which becomes a single cell? Which words can [MASK] no longer see?
# 3. **Section 6.** Remove `counted_start(model, train_text)`, so that the weights start at random, as in the paper.
#    Where will the curve start, near which line will it linger, and what does the model know there?
#
# <details><summary>Answers</summary>
#
# 1. 32 instead of 5.7: the scores come close to each other and the weights close to 1/T. It is nearly the average
#    again, with a pale diagonal. `scale=1 / D`.
# 2. The last row, [SEP], stays: all other words stand before it anyway. The first, [CLS], sees only itself. [MASK]
#    no longer sees "of the default browser": this is how GPT reads.
# 3. It starts at ln V (8.3), falls quickly to the dotted line, and then creeps for hundreds of steps: the model knows
#    how frequent each piece is, and hardly uses the context yet.
#
# </details>
