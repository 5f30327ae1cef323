# %% [markdown]
# # GPT, grown from counting pairs
#
# *Lecture 14, section 2 (pre-training: predict the next token), section 5 (GPT) and section 8 (prompting). Papers:
# Radford et al. 2019, [GPT-2](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf);
# Brown et al. 2020, [GPT-3](https://arxiv.org/abs/2005.14165).*
#
# A GPT does one thing: it says which token comes next. Counting can do that too. We begin with counts, see where they
# end, and go on to a GPT one small step at a time. After each step we compare our few lines with the code of this
# repository (`common/`, `minigpt/`); an `assert` stops the notebook if they do not agree. Attention itself is built up
# in [03_bert.ipynb](03_bert.ipynb), section 2; here it gets what a writer needs.
#
# 1. The next character
# 2. Counting pairs, and longer counts
# 3. The same table, learned
# 4. Looking back: the causal mask
# 5. The GPT
# 6. A GPT learns
# 7. From probabilities to text
# 8. The KV-cache
# 9. Few-shot, and three exercises
#
# It runs in two to three minutes on a laptop without a GPU. `make notebooks` runs it and installs what it needs; then
# open it in an editor such as VS Code, with the Python of `.venv` as its kernel.

# %%
import inspect
import math
import os
import textwrap
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from IPython.display import Markdown

if not Path("common").is_dir():
    os.chdir("..")  # opened inside notebooks/: work from the root of the repository

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS = 8 if SHORT else 800  # training steps of section 6
CHEAT_STEPS = 4 if SHORT else 200  # and of section 4
HELD_OUT = 4_000 if SHORT else 60_000  # characters that the models are judged on

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
torch.set_printoptions(precision=2, sci_mode=False, linewidth=120)
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#BBBBBB"  # Okabe and Ito's colours


def source(thing):
    """The repository's own code, as it stands in its file."""
    return Markdown(f"```python\n{textwrap.dedent(inspect.getsource(thing))}```")


# %% [markdown]
# ## 1. The next character
#
# The text is the English documentation that every Python installation carries (no download), one long row of
# characters. Every different character is a **token** with a number. Token 0 is the end of a text. (The first run
# reads about 2,400 source files, some 20 seconds; later runs use the copy in `.cache/`.)
#
# GPT-2 reads *pieces* of words instead ([common/bpe.py](../common/bpe.py)), so that a text is fewer tokens. That
# changes nothing in what follows, and with characters every table is small enough to be drawn.

# %%
from common.characters import Characters
from minigpt.texts import Text, read_texts, tokenize

texts, held_out_texts = read_texts(None)
vocabulary = Characters.of(texts + held_out_texts)
V = vocabulary.vocab_size
train, held_out = tokenize(texts, vocabulary), tokenize(held_out_texts, vocabulary)
held_out = Text(held_out.tokens[:HELD_OUT], len(vocabulary.decode(held_out.tokens[:HELD_OUT].tolist()).encode()))
print(f"{len(train.tokens):,} characters to learn from, {V} different ones; {len(held_out.tokens):,} held out")

SENTENCE = "Open url in a new window of the default browser."  # Python's module webbrowser says so
ids = vocabulary.encode(SENTENCE)
print(ids[:12], "...")
assert vocabulary.decode(ids) == SENTENCE


def show(i):
    """A character as it is drawn: blanks and line breaks must be seen."""
    return {" ": "␣", "\n": "⏎", "<end>": "end"}.get(vocabulary.piece(i), vocabulary.piece(i))


# %% [markdown]
# A language model gives a probability to every text, one token after the other (lecture section 2):
#
# $$P(x_1, x_2, \ldots, x_T) = \prod_{t} P(x_t \mid x_1, \ldots, x_{t-1})$$
#
# This is no approximation, it is how probabilities multiply. So *predict the next one* is all there is to learn, and
# the text is its own teacher: each place in it is a question whose answer stands right behind it.

# %%
for t in range(1, 8):
    print(f"after {SENTENCE[:t]!r:10} comes {SENTENCE[t]!r}")

# %% [markdown]
# How good is a model? Take the probability that it gave to what really came. Say that some model gave "the" these
# three: P(t) = 0.1, P(h | t) = 0.5, P(e | th) = 0.8. Products of many small numbers vanish, so take logarithms:

# %%
given = torch.tensor([0.1, 0.5, 0.8])
nats = -given.log()  # 0 when it was sure and right; larger, the more it was surprised
loss = nats.mean()
print(f"P(the) = {given.prod():.2f};  -log P of each letter: {nats.tolist()[0]:.2f} {nats[1]:.2f} {nats[2]:.2f}")
print(f"cross-entropy  {loss:.3f} nats a character: the mean, and the loss of every model here")
print(f"perplexity     {loss.exp():.2f}: as unsure as among that many equally likely ones")
print(f"bits           {loss / math.log(2):.2f} a character: what a perfect compressor would need")
assert math.isclose(loss.exp().item(), given.prod().item() ** (-1 / 3), rel_tol=1e-5)  # the geometric mean, inverted

logits = torch.randn(3, V)  # scores of any model, three places
answers = torch.tensor([5, 7, 9])
by_hand = -logits.softmax(-1)[range(3), answers].log().mean()
assert torch.allclose(by_hand, F.cross_entropy(logits, answers))
print(f"\nguessing blindly among {V}: ln V = {math.log(V):.2f} nats, perplexity {V}, {math.log2(V):.2f} bits")

# %% [markdown]
# This repository reports **bits per byte** of held-out text. Our characters are nearly all one byte, so it is about
# bits per character; but it stays comparable when a token is a whole piece of a word.
#
# ## 2. Counting pairs
#
# The simplest idea: to say what comes next, look at *one* character only, and look up what followed it in the training
# text. All that can be said is a table of V × V counts.

# %%
x, y = train.tokens, held_out.tokens
counts = torch.bincount(x[:-1] * V + x[1:], minlength=V * V).view(V, V).float()  # row: a character; column: the next

letters = vocabulary.encode("\n abcdefghijklmnopqrstuvwxyz.,()")
table = (counts / counts.sum(1, keepdim=True).clamp(min=1))[letters][:, letters]
figure, axis = plt.subplots(figsize=(7.6, 6.6))
picture = axis.imshow(table.sqrt(), cmap="viridis", vmin=0, vmax=1)
axis.set_xticks(range(len(letters)), [show(i) for i in letters])
axis.set_yticks(range(len(letters)), [show(i) for i in letters])
axis.set(title="P(next | character), the commonest characters", ylabel="after this character ...",
         xlabel="... comes this one")
bar = figure.colorbar(picture, label="probability", shrink=0.8, ticks=np.sqrt([0, 0.05, 0.2, 0.5, 1]))
bar.ax.set_yticklabels(["0", "0.05", "0.2", "0.5", "1"])
plt.show()

# %% [markdown]
# **Look for:** one bright cell in the row of "q": after it comes "u". The bright column of "␣": many letters can end a
# word. After "␣" nearly everything can come, after a comma nearly always a blank.
#
# To judge held-out text, no probability may be 0, since -log 0 is infinite. So a count is mixed with what is known
# without it, here the frequency of the character alone, and it counts the less the fewer times the row was seen
# (Witten and Bell 1991). The repository has the same as the figure to beat:

# %%
from minigpt.baselines import pair_bits_per_byte

alone = counts.sum(0) + 1
alone = alone / alone.sum()  # P(next) without looking at anything
seen, kinds = counts.sum(1, keepdim=True), (counts > 0).sum(1, keepdim=True).clamp(min=1)
pair_table = (counts + kinds * alone) / (seen + kinds)  # (V, V), each row sums to 1
assert torch.allclose(pair_table.sum(1), torch.ones(V), atol=1e-4)

bits = -pair_table[y[:-1], y[1:]].log2()
print(f"held-out text: {-alone[y[1:]].log2().mean():.3f} bits a character by frequency, {bits.mean():.3f} by pairs")
theirs = pair_bits_per_byte(train, held_out, V)
assert abs(bits.sum().item() / held_out.n_bytes - theirs) < 1e-3
print(f"in bits per byte {theirs:.3f}, as minigpt/baselines.py says")

# %% [markdown]
# Such a table can already write. Start somewhere, draw the next character, go on from it:

# %%
generator = torch.Generator().manual_seed(0)
token, written = vocabulary.encode("\n")[0], []
for _ in range(200):
    token = torch.multinomial(pair_table[token], 1, generator=generator).item()
    written.append(token)
print(textwrap.fill(vocabulary.decode(written), 110))

# %% [markdown]
# The lengths of the words are about right and some syllables can be spoken. Nothing else holds.
#
# ### Longer counts
# So look further back: at two characters, three, four ... The table for n characters (an **n-gram** table: n - 1 to
# look at and one to predict) is far too large to be written out, but most of it is empty. We keep what occurs, as
# sorted numbers. Two ways to give a probability to what was never seen: *add one* to every count, or *mix* with the
# table one shorter, as above.

# %%
N = 5 if SHORT else 8


def numbers(tokens, n):
    """Every run of n characters as one number, to the base V."""
    return sum(tokens[i : len(tokens) - n + 1 + i] * V ** (n - 1 - i) for i in range(n))


def look_up(keys, values, wanted):
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], 0)


def judge_counts(x, y, N):
    """Count the n-grams of x, n up to N; for each n: how many there are, the share unseen in y, and bits of both ways.

    All n are asked the same questions: the characters of y that have N - 1 others before them.
    """
    frequency = torch.bincount(x, minlength=V) + 1
    mixed = (frequency / frequency.sum())[y[N - 1 :]]
    results = [(1, V, 0.0, -mixed.log2().mean().item(), -mixed.log2().mean().item())]
    for n in range(2, N + 1):
        grams, times = torch.unique(numbers(x, n), return_counts=True)
        context, member = torch.unique_consecutive(grams // V, return_inverse=True)
        total = torch.zeros(len(context)).index_add_(0, member, times.float())
        kinds = torch.bincount(member).float()
        asked = numbers(y, n)[N - n :]
        c = look_up(grams, times, asked)  # how often the n-gram was seen
        s = look_up(context, total, asked // V)  # how often what it begins with, its first n - 1 characters
        k = look_up(context, kinds, asked // V)  # and how many different ones came after those
        add_one = (c + 1) / (s + V)
        mixed = torch.where(s > 0, (c + k * mixed) / (s + k).clamp(min=1), mixed)
        results.append((n, len(grams), (c == 0).float().mean().item(), -add_one.log2().mean().item(),
                        -mixed.log2().mean().item()))
    return results


results = judge_counts(x, y, N)
print("n   different ones   unseen in held-out   add one   mixed   (bits a character)")
for row in results:
    print("{}   {:14,}   {:18.1%}   {:7.2f}   {:5.2f}".format(*row))
assert abs(results[1][4] - bits.mean()) < 0.02  # the pairs from above, judged on N - 2 characters fewer

# %%
n, _, unseen, add_one, mix = map(list, zip(*results, strict=True))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2))
axes[0].plot(n, unseen, "o-", color=RED)
axes[0].set(title="never seen in the training text", xlabel="n", ylabel="share of held-out n-grams", ylim=0, xticks=n)
axes[1].plot(n, add_one, "o-", color=ORANGE, label="add one to every count")
axes[1].plot(n, mix, "s-", color=BLUE, label="mix with shorter ones")
axes[1].set(title="what counting reaches", xlabel="n", ylabel="bits a character, held-out", ylim=0, xticks=n)
axes[1].legend()
plt.show()

# %% [markdown]
# **Look for:** left, the longer the run, the more often it is new: five million characters are far too few to have
# seen what people will write next. Right, the price: adding one gets worse from some n on, because most of a
# row is guesswork then. Mixing is much better and still has a lowest point: beyond it, more characters to look at no
# longer help. And the table printed above shows what they cost.
#
# To a table, "the list" and "the dict" have nothing in common; it cannot use that two contexts are *alike*. That is the
# reason to learn instead of to count: a model with vectors for its characters can treat like contexts alike, also those
# that it never saw.
#
# ## 3. The same table, learned
#
# First the smallest network: each character has a vector of D numbers (the **embedding** E) and each possible answer
# too (the **head** W). The score of answer j after character i is the dot product of the two, and softmax makes
# probabilities of the scores. The loss is the cross-entropy; every pair counts as often as it occurs.

# %%
share = counts / counts.sum()  # of all pairs of the training text


def pair_loss(logits):
    """The mean of -log P(next | character) over all pairs of the training text, in nats; logits (V, V)."""
    return -(share * logits.log_softmax(-1)).sum()


by_counting = -(share * (counts / counts.sum(1, keepdim=True).clamp(min=1)).clamp(min=1e-12).log()).sum()
curves, vectors = {}, {}
for D in (2, 8, 32, V):
    torch.manual_seed(0)
    E, W = (nn.Parameter(0.5 * torch.randn(V, D)) for _ in range(2))
    adam, curves[D] = torch.optim.Adam([E, W], lr=0.05), []
    for _ in range(400):
        loss = pair_loss(E @ W.T)
        loss.backward()
        adam.step()
        adam.zero_grad()
        curves[D].append(loss.item())
    vectors[D] = E.detach()
    print(f"D = {D:3}: {curves[D][0]:.3f} -> {curves[D][-1]:.3f} nats")
print(f"counting: {by_counting:.3f} nats, which no table of pairs can go below on this text")
assert abs(curves[V][-1] - by_counting) < 0.005

# %% [markdown]
# Gradient descent finds what counting found, without ever being told to count. With fewer numbers than V it has to be
# thrifty: characters that are followed by the same ones must share. D = 2 can be drawn.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for (D, curve), colour in zip(curves.items(), (GREY, ORANGE, GREEN, BLUE), strict=True):
    axes[0].plot(curve, color=colour, label=f"D = {D}")
axes[0].axhline(by_counting, color="black", linestyle="--", label="counting pairs")
axes[0].set(title="learning the table of pairs", xlabel="step", ylabel="nats a character", ylim=(2.2, 5), xscale="log")
axes[0].legend()
lower = vocabulary.encode("abcdefghijklmnopqrstuvwxyz ")
for i in lower:
    vowel = vocabulary.piece(i) in "aeiouy"
    axes[1].text(*vectors[2][i], show(i), color=RED if vowel else "black", ha="center", va="center", fontsize=11,
                 weight="bold" if vowel else "normal")
low, high = vectors[2][lower].amin(0) - 0.2, vectors[2][lower].amax(0) + 0.2
axes[1].set(title="the vectors at D = 2 (red: vowels)", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
plt.show()

# %% [markdown]
# **Look for:** left, with D = V the curve comes down to the dashed line; the smallest ones stop above it. Right, nobody
# told the network which letters are vowels. "h", "j", "v" and "z" stand together too: the map of section 2 shows that
# after each of them "e" comes most often.
#
# A matrix can also be *set* to what was counted. `minigpt/start.py` does this, so that a GPT need not spend its first
# minutes on pairs:

# %%
from minigpt.start import pair_model

torch.manual_seed(0)
E, W = pair_model(x, V, d=128)
print(f"set from counts: {pair_loss(E @ W.T):.3f} nats, counting: {by_counting:.3f}")
assert pair_loss(E @ W.T) - by_counting < 0.02

# %% [markdown]
# ## 4. Looking back
#
# *GPT paper (Radford et al. 2018), section 3.1; Vaswani et al. 2017, section 3.2.3.* Now let each place look at
# **all** places before it. Take the sentence with a vector for each character, T rows of D numbers.
#
# ### 4.1 The average of the past
# The simplest way: each place receives the mean of itself and what came before. First as a loop, then as one matrix:

# %%
from common.attention import attend, attend_explicit
from common.masks import causal_mask

ids = vocabulary.encode("Open url in a new window")
names, T, D = [show(i) for i in ids], len(ids), 32
torch.manual_seed(0)
h = pair_model(x, V, D)[0][ids]  # (T, D)

loop = torch.stack([h[: t + 1].mean(0) for t in range(T)])
average = torch.ones(T, T).tril()  # row t: ones up to its own place
average = average / average.sum(1, keepdim=True)
assert torch.allclose(average @ h, loop, atol=1e-5)

batch = h.view(1, 1, T, D)  # the repository works on (B, H, T, D): batch, heads, positions, width
assert torch.allclose(attend_explicit(0 * batch, batch, batch, causal=True)[0][0, 0], loop, atol=1e-5)
print("the average of the past is attention with a causal mask and queries of 0")

# %% [markdown]
# ### 4.2 Attention with a mask
# Scores as in BERT: the dot products of all pairs, divided by √D. Before the softmax, all scores to the *right* of the
# diagonal become -∞, and e^(-∞) = 0: no weight at all for what comes later.

# %%
mask = causal_mask(T, T)  # True = may look
scores = h @ h.T / math.sqrt(D)
weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
out, w = attend_explicit(batch, batch, batch, causal=True)
assert torch.allclose(w[0, 0], weights, atol=1e-6) and torch.allclose(out[0, 0], weights @ h, atol=1e-5)
assert torch.allclose(attend(batch, batch, batch, causal=True), out, atol=1e-5)  # the fast twin, used in training


def heat(axis, matrix, title, vmax=None):
    """Row = the place that looks, column = the place that it looks at."""
    picture = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=vmax)
    axis.set_xticks(range(T), names, fontsize=7)
    axis.set_yticks(range(T), names, fontsize=7)
    axis.set_title(title)
    return picture


figure, axes = plt.subplots(1, 3, figsize=(12, 4.1))
heat(axes[0], mask.float(), "causal mask: yellow = may look")
heat(axes[1], average, "average of the past", vmax=0.5)
picture = heat(axes[2], weights, "softmax of the masked scores", vmax=0.5)
axes[0].set_ylabel("this character ...")
axes[1].set_xlabel("... takes in this one")
figure.colorbar(picture, ax=axes, label="weight (a row sums to 1)", shrink=0.7, extend="max")
plt.show()

# %% [markdown]
# **Look for:** the upper right is empty in all three. The first character can only look at itself. In the right picture
# a character looks most at itself and at its equals further left: "n" at "n", a blank at blanks. Row t asks "what
# comes after the first t characters?", so one row of T characters asks T questions in one pass, and none of them sees
# its own answer. (BERT asks 15 % of its places; it pays for looking both ways.)
#
# ### 4.3 Why -∞ and not a large negative number
# Some code writes -10,000 instead. With ordinary scores it gives the same numbers, but nothing keeps scores ordinary.
# Here are queries and keys that are too large, with opposite signs:

# %%
def weight_on_the_future(queries, keys, value):
    s = (queries @ keys.T / math.sqrt(D)).masked_fill(~mask, value)
    return s.softmax(-1).masked_fill(mask, 0).sum(-1).max().item()


for size in (1, 30, 100):
    leak, none = (weight_on_the_future(size * h, -size * h, value) for value in (-1e4, -math.inf))
    print(f"size {size:3}: largest weight on the future {leak:.3f} with -10,000, {none:.3f} with -inf")
    assert none == 0

# %% [markdown]
# This has happened: in minGPT's [issue 75](https://github.com/karpathy/minGPT/issues/75) training itself drove the
# scores below -10,000, so that the model could look ahead. Section 4.5 shows what that leads to.
#
# ### 4.4 What the mask promises
# Change one character, and nothing before it may move, not even in the last bit. We ask a GPT with random weights, and
# the same GPT without its mask:

# %%
from minigpt import GPT, GPTConfig


class NoMask(GPT):
    """A GPT that forgets to mask: every place sees the whole row."""

    def hidden(self, ids, positions=None, mask=None, cache=None):
        return self.decoder(self.embed(ids, positions))


@torch.no_grad()
def moved(kind):
    """How much the state of each place moves when the character at place 12 is another one."""
    torch.manual_seed(0)
    model = kind(GPTConfig(V, d_model=64, n_layers=2, n_heads=2, max_len=T, dropout=0.0))
    before = torch.tensor([ids])
    after = before.clone()
    after[0, 12] = vocabulary.encode("X")[0]
    return (model.hidden(after) - model.hidden(before))[0].norm(dim=-1)


with_mask, without = moved(GPT), moved(NoMask)
assert (with_mask[:12] == 0).all() and (with_mask[12:] > 0).all() and (without > 0).all()
figure, axis = plt.subplots(figsize=(9, 2.8))
places = np.arange(T)
axis.bar(places - 0.2, with_mask, 0.4, color=BLUE, label="causal mask")
axis.bar(places + 0.2, without, 0.4, color=ORANGE, label="no mask")
axis.set_xticks(places, names)
others = torch.cat([without[:12], with_mask[13:], without[13:]])
axis.set(title="one character is changed: how far does the state of each place move?", ylabel="distance",
         ylim=(0, 1.3 * others.max()))
axis.axvline(11.5, color="black", linestyle=":")
axis.annotate(f"the place itself: {with_mask[12]:.1f}", (12.5, 1.2 * others.max()), fontsize=8)
axis.legend(loc="upper left")
plt.show()

# %% [markdown]
# **Look for:** with the mask, left of the dotted line is exactly nothing: the `assert` says `== 0`, bit for bit. That
# is also why a writer can keep what was worked out for earlier characters (section 8). Without the mask every place has
# moved.
#
# ### 4.5 What happens without it
# Train both, with windows of 16 characters. The loss is the same, and the model without a mask may look at the answers.

# %%
from minigpt.objective import Windows, evaluate, next_token_loss

source(next_token_loss)

# %%
source(Windows.__call__)

# %%
WIDTH = 16
windows = Windows(x, WIDTH, batch_size=32, seed=0)
honest_and_cheat = {}
for kind in (GPT, NoMask):
    torch.manual_seed(0)
    model = kind(GPTConfig(V, d_model=64, n_layers=2, n_heads=2, max_len=WIDTH, dropout=0.0))
    adam, curve = torch.optim.AdamW(model.parameters(), lr=2e-3), []
    for step in range(CHEAT_STEPS):
        total, count = next_token_loss(model, windows(step))["loss"]
        (total / count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        curve.append(total.item() / count)
    honest_and_cheat[kind] = model.eval(), curve
    print(f"{kind.__name__:7} loss {np.mean(curve[-20:]):.2f} nats")

# %% [markdown]
# The loss of the cheat collapses. It cannot reach 0: behind the *last* place of a window nothing stands to be copied,
# so one place in 16 still has to be predicted. Now ask both what a writer asks: here are n characters, what comes next?

# %%
@torch.no_grad()
def asked_to_write(model):
    """The loss of the last place alone, when only the first n characters of a window are given."""
    rows = torch.cat([windows(10_000 + i)["ids"] for i in range(4 if SHORT else 40)])
    return [F.cross_entropy(model(rows[:, :n])[:, -1], rows[:, n]).item() for n in range(1, WIDTH)]


figure, axes = plt.subplots(1, 2, figsize=(10, 3.2))
for (model, curve), name, colour in zip(honest_and_cheat.values(), ("causal mask", "no mask"), (BLUE, ORANGE),
                                        strict=True):
    axes[0].plot(curve, color=colour, label=name)
    axes[1].plot(range(1, WIDTH), asked_to_write(model), "o-", color=colour, label=name)
axes[0].set(title="loss while training", xlabel="step", ylabel="nats a character", ylim=0)
axes[1].set(title="asked to write", xlabel="characters given", ylabel="nats, next character", ylim=0)
for axis in axes:
    axis.axhline(math.log(V), color="black", linestyle="--", label="ln V: guessing blindly")
axes[0].legend(loc="upper right", bbox_to_anchor=(1, 0.92))
plt.show()

# %% [markdown]
# **Look for:** left, the orange curve looks like a triumph. Right, it is none: as a writer the cheat is no better than
# blind guessing, mostly worse, since it learned to copy and not to predict. A loss that is too good to be true usually
# is a leak.
#
# ## 5. The GPT
#
# *GPT-2 paper, section 2.3.* Characters get a vector, places get one too, and the sum goes through blocks of attention
# and feed-forward; each one *adds* to what is there (pre-norm; 03_bert, section 3). At the end a norm, and the head,
# which is the table of embeddings once more. That is the whole model:

# %%
def gpt_by_hand(model, ids):
    """ids (B, T) -> logits (B, T, V), with the weights of `model`."""
    states = model.token.weight[ids] + model.position.weight[: ids.shape[1]]  # (B, T, D)
    for block in model.decoder.blocks:
        q, k, v = block.attention.project(block.attention_norm(states))  # (B, H, T, Dh) each
        seen = attend_explicit(q, k, v, causal=True)[0]
        states = states + block.attention.out(seen.transpose(1, 2).flatten(2))  # the heads side by side again
        inner = F.gelu(block.feed_forward.up(block.feed_forward_norm(states)), approximate="tanh")
        states = states + block.feed_forward.down(inner)
    return model.decoder.final_norm(states) @ model.token.weight.T  # the score of a token: its likeness to the state


torch.manual_seed(0)
small = GPT(GPTConfig(V, d_model=64, n_layers=3, n_heads=4, max_len=32, dropout=0.0))
with torch.no_grad():
    ours, theirs = gpt_by_hand(small, torch.tensor([ids])), small(torch.tensor([ids]))
assert torch.allclose(ours, theirs, atol=1e-5)
print(f"our dozen lines equal minigpt.GPT: largest difference {(ours - theirs).abs().max():.0e}")

# %%
source(GPT.hidden)

# %% [markdown]
# ### 5.1 How many parameters
# With width D, each block has four D × D matrices in attention and two of D × 4D around the feed-forward layer: 12 D².
# Biases and norms add 13 D. GPT-2 small by hand, and built without memory (torch's `meta` device keeps only the
# shapes):

# %%
from minigpt import Llama, LlamaConfig, Qwen3, Qwen3Config


def by_formula(c):
    d = c.d_model
    return c.vocab_size * d + c.max_len * d + c.n_layers * (12 * d * d + 13 * d) + 2 * d


def counted(kind, config):
    with torch.device("meta"):
        return sum(p.numel() for p in kind(config).parameters())


assert by_formula(GPTConfig.gpt2()) == counted(GPT, GPTConfig.gpt2()) == 124_439_808
print("                   layers   width   heads   context          parameters")
for name, kind, c in (
        *((name, GPT, getattr(GPTConfig, name)()) for name in ("gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl", "gpt3")),
        *((name, Llama, getattr(LlamaConfig, name)()) for name in ("llama_7b", "llama_65b", "llama3_8b")),
        ("qwen3_0_6b", Qwen3, Qwen3Config.qwen3_0_6b())):
    n_parameters = counted(kind, c)
    assert kind is not GPT or n_parameters == by_formula(c)
    print(f"{name:16} {c.n_layers:8} {c.d_model:7,} {c.n_heads:7} {c.max_len:9,} {n_parameters:19,}")

# %% [markdown]
# GPT-3 is the *same model* with other numbers in its config (lecture section 5: 175 billion parameters).
#
# ### 5.2 Starting small
# Each block adds twice to the states, so in a stack of L blocks 2L sums pile up. GPT-2 makes the two matrices that add
# smaller by 1 / √(2L) at the start, so that the sum does not grow with the depth. To see it, take the states before the
# final norm, in random models of growing depth:

# %%
@torch.no_grad()
def size_of_the_sum(depth, scaled):
    torch.manual_seed(0)
    model = GPT(GPTConfig(V, d_model=64, n_layers=depth, n_heads=4, max_len=32, dropout=0.0))
    for name, p in model.named_parameters():
        if p.ndim == 2:
            p.mul_(4)  # 0.02 suits a width of 768 or more; at 64 it would hide the effect
            if not scaled and name.endswith(("attention.out.weight", "feed_forward.down.weight")):
                p.mul_(math.sqrt(2 * depth))
    model.decoder.final_norm = None
    return model.hidden(torch.tensor([ids])).std().item()


depths = [1, 2, 4, 8, 16, 32]
figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(depths, [size_of_the_sum(d, False) for d in depths], "o-", color=ORANGE, label="all matrices alike")
axis.plot(depths, [size_of_the_sum(d, True) for d in depths], "s-", color=BLUE, label="divided by √(2L): GPT-2")
axis.set(title="size of the states of a random model", xlabel="blocks L", xscale="log", ylim=0)
axis.set_xticks(depths, depths)
axis.minorticks_off()
axis.legend()
plt.show()

# %% [markdown]
# **Look for:** the orange sum grows with the depth, the blue one stays. So a deep GPT starts as calmly as a flat one.
#
# ### 5.3 What LLaMA and Qwen3 changed
#
# | | GPT-2 (2019) | LLaMA (2023) | Qwen3 (2025) |
# |---|---|---|---|
# | norm | LayerNorm | RMSNorm: no mean, no bias | RMSNorm, also on queries and keys |
# | place of a token | a learned vector, added | **rotary**: queries and keys are turned | rotary |
# | feed-forward | GELU | SwiGLU: one half gates the other | SwiGLU |
# | keys and values | one for each head | LLaMA 3: shared by several heads | shared by several heads |
# | biases | yes | none | none |
#
# Rotary positions are the least obvious. Pairs of numbers of a query and a key are taken as the hands of clocks, and
# turned by an angle that grows with the position, each pair at a speed of its own. The dot product of two turned
# vectors then depends only on *how far apart* they stand. Put the same query and the same key at every place:

# %%
from common.positions import Rotary

places, width = 64, 32
rotary = Rotary(width, places, base=1_000.0)
same = torch.ones(1, 1, places, width) / math.sqrt(width)  # one vector of length 1, at every place
turned = rotary(same)[0, 0]  # (places, width)
turned_scores = turned @ turned.T  # row: the query's place, column: the key's
for distance in range(places):
    assert torch.allclose(turned_scores.diagonal(-distance), turned_scores[distance, 0], atol=1e-5)

by_hand = [sum(math.cos(d / 1_000 ** (2 * i / width)) for i in range(width // 2)) / (width // 2) for d in range(places)]
assert np.allclose(turned_scores[:, 0].numpy(), by_hand, atol=1e-5)

angle = 5 / 1_000 ** (torch.arange(0, width, 2) / width)  # a query turned back by 5 places
a, b = same[0, 0].chunk(2, dim=-1)
back = torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()], dim=-1)
looks_back = rotary(back.view(1, 1, places, width))[0, 0] @ turned.T

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.6))
picture = axes[0].imshow(turned_scores.tril().masked_fill(~causal_mask(places, places), math.nan), cmap="viridis")
axes[0].set(title="score of query and key", xlabel="place of the key", ylabel="place of the query")
figure.colorbar(picture, ax=axes[0], shrink=0.8)
axes[1].plot(by_hand, color=BLUE, label="query and key alike: highest at distance 0")
axes[1].plot(range(places), looks_back[-1].flip(0), color=ORANGE, label="query turned back by 5: highest at distance 5")
axes[1].set(title="the score by the distance between them", xlabel="places back", ylim=(None, 1.45))
axes[1].legend(loc="upper right")
assert looks_back[-1].flip(0).argmax() == 5
plt.show()

# %% [markdown]
# **Look for:** left, stripes along the diagonal: only the distance counts, the rule for "one place back" is the same at
# the begin and the end of a text. Right, a learned query can prefer *any* distance by being turned. GPT-2 has to learn
# the same thing for each position anew.
#
# ## 6. A GPT learns
#
# *GPT-2 paper, section 2.* Two recipes on the same text, with models of about the same size and as many steps
# ([minigpt/recipe.py](../minigpt/recipe.py)):
#
# - **gpt2**: the model of section 5 from random weights, AdamW;
# - **modern**: a Qwen3, which starts from the counts of section 3, with heads that begin by looking one, two and three
#   characters back; Muon moves its matrices.
#
# The step itself is the same for both. On the way each goes on with the same prompt, with the same random numbers.

# %%
from common.generate import Sampling, generate, greedy
from common.optim import trapezoid
from minigpt.recipe import GPTRunConfig, new_model, optimizers
from minigpt.start import counted_start

PROMPT = "Return the "
ROWS, CONTEXT = 16, 128  # a batch: rows, and the characters of each


def write(model, prompt, n_new=80, choose=None):
    choose = choose or Sampling(temperature=0.8, rng=torch.Generator().manual_seed(0))
    [new] = generate(model, [vocabulary.encode(prompt)], n_new, choose)
    return prompt + vocabulary.decode(new).replace("\n", "⏎")


def learn(recipe):
    """Train a small model of this recipe; return it with its loss at each step, in bits a character."""
    config = GPTRunConfig(tokens="characters", recipe=recipe, steps=STEPS, d_model=128, n_layers=2, max_len=CONTEXT,
                          batch_size=ROWS)
    windows = Windows(train.tokens, config.max_len, config.batch_size, config.seed)
    torch.manual_seed(0)
    model = new_model(config, vocabulary)
    print(f"{recipe}: {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    print(f"   random   {write(model, PROMPT)}")
    if recipe == "modern":
        counted_start(model, train.tokens)
        print(f"   counts   {write(model, PROMPT)}")
    opts, curve = optimizers(model, config), []
    for step in range(STEPS):
        factor = trapezoid(step, STEPS, config.warmup, config.decay)  # the learning rate: up, and down to 0
        for group in (group for opt in opts for group in opt.param_groups):
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
        total, count = next_token_loss(model, windows(step))["loss"]
        (total / count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        curve.append(total.item() / count / math.log(2))
        if step + 1 in (STEPS // 4, STEPS):
            print(f"   {step + 1:3} steps {write(model, PROMPT)}")
    return model.eval(), curve


trained = {recipe: learn(recipe) for recipe in ("gpt2", "modern")}
read = STEPS * ROWS * CONTEXT
as_much = torch.cat(x.split(10_000)[:: round(len(x) / read)])  # evenly from the whole text
print(f"each has read {read:,} of the {len(x):,} characters; for the counts beside them: {len(as_much):,}")

# %%
reached = {recipe: evaluate(model, held_out, model.config.max_len)["bits_per_byte"]
           for recipe, (model, _) in trained.items()}
figure, axis = plt.subplots(figsize=(9, 3.8))
smooth = max(1, STEPS // 25)
for (recipe, (_, curve)), colour in zip(trained.items(), (ORANGE, BLUE), strict=True):
    axis.plot(curve, color=colour, alpha=0.25)
    axis.plot(np.arange(smooth - 1, STEPS), np.convolve(curve, np.ones(smooth) / smooth, mode="valid"), color=colour,
              label=f"{recipe}: held-out {reached[recipe]:.2f} at the end")
    axis.plot(STEPS, reached[recipe], "o", color=colour)
best, from_all = min((mix, n) for n, _, _, _, mix in results)
best_of_share, from_share = min((mix, n) for n, _, _, _, mix in judge_counts(as_much, y, N))
lines = (("guessing blindly", math.log2(V), "--"), ("counting pairs", results[1][4], "-."),
         ("counting three", results[2][4], ":"),
         (f"best counts of as much text, n = {from_share}", best_of_share, (0, (8, 2))),
         (f"best counts of all the text, n = {from_all}", best, "-"))
for name, value, style in lines:
    axis.axhline(value, color="black", linestyle=style, linewidth=0.8, label=f"{name}: {value:.2f}")
axis.set(xlabel="step", ylabel="bits a character", ylim=(1.5, 7.2))
axis.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.95))
plt.show()

# %% [markdown]
# **Look for:** the recipe gpt2 first falls from guessing to the line of the pairs, and *lingers* there: it has to find
# the pairs before it finds out that looking further back pays. Then it goes on down. The recipe modern is spared the
# first part: its curve starts on that line, and falls at once.
#
# How does it compare with counting? Of the same amount of text, counts get to the line of long dashes, and the GPT is
# below it. The counts of *all* the text (the lowest line) are still a little better: they have read three times as
# much. `make train-minigpt` reads on for five minutes.
#
# ## 7. From probabilities to text
#
# *Lecture section 5; Holtzman et al. 2019, [arXiv:1904.09751](https://arxiv.org/abs/1904.09751).* The model gives
# probabilities; somebody has to choose. We take the trained model of the recipe modern and one real question:

# %%
model = trained["modern"][0]
ask = "Return a new "
with torch.no_grad():
    logits = model(torch.tensor([vocabulary.encode(ask)]))[:, -1]  # (1, V), the last place
p = logits.softmax(-1)[0]
top = p.argsort(descending=True)[:14]
print(f"after {ask!r}: " + "  ".join(f"{show(i)} {p[i]:.2f}" for i in top.tolist()))

# %% [markdown]
# Four ways to choose, each a line or two:
#
# - **greedy** takes the most probable one, always;
# - **temperature** divides the logits: below 1 the likely ones gain, above 1 the rare ones;
# - **top-k** keeps the k most probable ones;
# - **top-p** keeps the fewest that together have the probability p: few where the model is sure, many where it is not.

# %%
def temperature(logits, t):
    return (logits / t).softmax(-1)


def top_k(logits, k):
    p = logits.softmax(-1)
    p = p.masked_fill(p < p.topk(k).values[:, -1:], 0)
    return p / p.sum()


def top_p(logits, share):
    p, order = logits.softmax(-1).sort(descending=True)
    before = p.cumsum(-1) - p  # what the more probable ones have together
    p = torch.zeros_like(p).scatter(1, order, p.masked_fill(before >= share, 0))
    return p / p.sum()


def theirs(**settings):
    p = Sampling(**settings).probabilities(logits, [[]])
    return p / p.sum()


choices = {"temperature 0.5": temperature(logits, 0.5), "temperature 1": temperature(logits, 1.0),
           "temperature 2": temperature(logits, 2.0), "top-k, k = 4": top_k(logits, 4),
           "top-p, p = 0.8": top_p(logits, 0.8)}
for ours, settings in zip(choices.values(), ({"temperature": 0.5}, {}, {"temperature": 2.0}, {"top_k": 4},
                                             {"top_p": 0.8}), strict=True):
    assert torch.allclose(ours, theirs(**settings), atol=1e-6)

figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), sharey=True)
for axis, (name, chosen) in zip(axes, choices.items(), strict=True):
    axis.bar(range(len(top)), p[top], color=GREY, label="the model")
    axis.bar(range(len(top)), chosen[0, top], color=BLUE, width=0.5, label="drawn from")
    axis.set_xticks(range(len(top)), [show(i) for i in top.tolist()])
    axis.set_title(f"{name}\n{int((chosen > 1e-4).sum())} characters above 0.0001")
axes[0].set_ylabel("probability")
axes[0].legend()
figure.supxlabel(f"the character after \"{ask}\"", fontsize=9)
plt.show()

# %% [markdown]
# **Look for:** temperature bends the whole distribution, also its long tail, most of which is not drawn here. Top-k
# and top-p keep the front in its proportions and cut the tail off. The two differ from place to place. Here is how many
# characters top-p keeps along our sentence:

# %%
along = vocabulary.encode(SENTENCE)
with torch.no_grad():
    ordered = model(torch.tensor([along]))[0, :-1].softmax(-1).sort(-1, descending=True).values  # (T - 1, V)
kept = (ordered.cumsum(-1) - ordered < 0.8).sum(-1)

figure, axis = plt.subplots(figsize=(11, 2.6))
axis.bar(range(1, len(along)), kept, color=BLUE, label="top-p, p = 0.8")
axis.axhline(4, color=ORANGE, label="top-k, k = 4")
axis.set_xticks(range(len(along)), [show(i) for i in along])
axis.set(title="choices left for each character, given those before it", ylabel="characters",
         ylim=(0, 1.35 * kept.max()))
axis.yaxis.get_major_locator().set_params(integer=True)
axis.legend(loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# **Look for:** at the first letter of a word many characters stay possible, inside a word few, often a single one.
#
# The same prompt with each way of choosing:

# %%
def seeded():
    return torch.Generator().manual_seed(3)


ways = {"greedy": greedy, "temperature 0.5": Sampling(temperature=0.5, rng=seeded()),
        "temperature 1": Sampling(rng=seeded()), "temperature 2": Sampling(temperature=2.0, rng=seeded()),
        "top-p 0.8": Sampling(top_p=0.8, rng=seeded())}
for name, choose in ways.items():
    print(f"{name:16} {write(model, ask, 100, choose)}")

# %% [markdown]
# Greedy looks sensible for a few words. Let it go on, and count how much of what it writes it has written before:

# %%
def repeated(text, n=12):
    """The share of runs of n characters that came earlier in the same text."""
    runs = [text[i : i + n] for i in range(len(text) - n + 1)]
    return 1 - len(set(runs)) / len(runs)


LENGTH = 60 if SHORT else 400
long = {name: write(model, ask, LENGTH, choose) for name, choose in ways.items()}
print(textwrap.fill(long["greedy"], 110), "\n")
for name, text in long.items():
    print(f"{name:16} {repeated(text):4.0%} repeated")
print(f"{'held-out text':16} {repeated(vocabulary.decode(y[1 : LENGTH + 1].tolist())):4.0%} repeated")

# %% [markdown]
# Greedy runs in a circle: once a phrase has come back, what stands before the next character looks much the same as the
# last time, and the same question gets the same answer. Drawing by chance breaks the circle, and too much chance
# (temperature 2) breaks the words.
#
# Is greedy then at least the most probable text? Not even that. **Beam search** keeps several texts at a time, and may
# find one that begins less well and ends better:

# %%
from common.generate import beam_search


@torch.no_grad()
def log_p(prompt, new):
    """log P(new | prompt), in nats."""
    all_ids = torch.tensor([prompt + new])
    scores = model(all_ids).log_softmax(-1)[0, len(prompt) - 1 : -1]
    return scores[range(len(new)), new].sum().item()


start = vocabulary.encode(ask)
[by_greedy] = generate(model, [start], 24, greedy)
for name, new in [("greedy", by_greedy)] + [(f"{b} beams", beam_search(model, start, 24, b)[0][1]) for b in (1, 4, 16)]:
    print(f"{name:9} log P = {log_p(start, new):7.2f}   {ask + vocabulary.decode(new)!r}")
assert beam_search(model, start, 24, 1)[0][1] == by_greedy  # one beam is greedy

# %% [markdown]
# ## 8. The KV-cache
#
# To write one more character, the model needs the query of the *last* place only, but the keys and values of all. Those
# of earlier places do not change any more: section 4.4 showed it, bit for bit. So they are kept, layer by layer, and
# each new character costs the work of one.

# %%
prompt = torch.tensor([start])
cache = model.new_cache(batch=1, max_len=40)
with torch.no_grad():
    state = model.hidden(prompt, cache=cache)  # reads the prompt, and fills the cache
    print(f"after the prompt: {cache.lengths} tokens kept; {len(cache.layers)} layers, "
          f"keys {tuple(cache.layers[0].keys.shape)}: batch, heads, room, width of a head")
    text = prompt
    for _ in range(20):
        new = model.head(state[:, -1]).argmax(-1, keepdim=True)  # (1, 1)
        text = torch.cat([text, new], dim=1)
        state = model.hidden(new, cache=cache)  # one character goes in
        assert torch.allclose(state[:, -1], model.hidden(text)[:, -1], atol=1e-4)  # as if all had been read anew
assert text[0, len(start) :].tolist() == generate(model, [start], 20)[0]
print(f"{cache.lengths} tokens kept; cached equals uncached at each of 20 steps, and equals common.generate")

# %% [markdown]
# What it saves, with a larger model of random weights (time does not ask whether a model is any good). One more
# character, after texts of growing length, best of several:

# %%
torch.manual_seed(0)
lengths = [16, 64] if SHORT else [16, 64, 128, 256, 512, 1024]
large = GPT(GPTConfig(V, d_model=256, n_layers=4, n_heads=4, max_len=lengths[-1] + 8, dropout=0.0)).eval()


@torch.no_grad()
def best_time(run, times=5):
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return 1000 * min(taken)


plain, cached = [], []
for length in lengths:
    row = torch.randint(V, (1, length))
    plain.append(best_time(lambda row=row: large.head(large.hidden(row)[:, -1])))
    cache = large.new_cache(1)
    with torch.no_grad():
        large.hidden(row[:, :-1], cache=cache)
    cached.append(best_time(lambda row=row, cache=cache: large.head(large.hidden(row[:, -1:], cache=cache)[:, -1])))
    print(f"{length:5} characters: {plain[-1]:7.2f} ms without, {cached[-1]:5.2f} ms with the cache")

figure, axis = plt.subplots(figsize=(6.5, 3.2))
axis.plot(lengths, plain, "o-", color=ORANGE, label="without: all is read anew")
axis.plot(lengths, cached, "s-", color=BLUE, label="with the KV-cache")
axis.set(title="time for one more character", xlabel="length of the text", ylabel="milliseconds", ylim=0)
axis.legend()
plt.show()
if not SHORT:
    print(f"at {lengths[-1]:,} characters the cache is {plain[-1] / cached[-1]:.0f} times faster")

# %% [markdown]
# **Look for:** without the cache the time of *each* character grows with the text. With it, the line is nearly
# level. The price is memory. Here is the cache of one full context in 16-bit numbers, on the `meta` device again:

# %%
from common.cache import KVCache


def gigabytes(c, n_kv_heads):
    kept = KVCache(c.n_layers, 1, n_kv_heads, c.d_model // c.n_heads, c.max_len, torch.float16, "meta")
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in kept.layers) / 1e9


for name, c in (("gpt2", GPTConfig.gpt2()), ("gpt3", GPTConfig.gpt3()), ("llama_7b", LlamaConfig.llama_7b())):
    print(f"{name:10} {gigabytes(c, c.n_heads):7.2f} GB for {c.max_len:,} tokens")
c = LlamaConfig.llama3_8b()
print(f"{'llama3_8b':10} {gigabytes(c, c.n_kv_heads):7.2f} GB for {c.max_len:,} tokens; "
      f"{gigabytes(c, c.n_heads):.2f} GB if its {c.n_heads} heads did not share {c.n_kv_heads} keys and values")

# %% [markdown]
# This is why LLaMA 3 and Qwen3 let several query heads share one head of keys and values.
#
# ## 9. Few-shot, and three exercises
#
# *Lecture sections 5 and 8; GPT-3 paper, figure 2.1 and section 3.* Whoever predicts the next token of *any* text must
# also predict this one: "English to French: sea otter → loutre de mer, cheese →". GPT-3 showed that a model that is
# large enough goes on with "fromage": the examples in the prompt (the *shots*) tell it the task, and not one weight is
# changed. Nothing new is needed in the code. It is `generate`, with a prompt. Ours is far too small for it, and has
# read no French.
#
# Three exercises. Predict first, then change the line and run again. The answers are folded below.
#
# 1. **Section 7.** Set the temperature of the line `"temperature 0.5"` to 0.0001. Which other line will it write, and
#    why is there no temperature 0?
# 2. **Section 4.2.** Let no place look at itself: `mask = causal_mask(T, T).tril(-1)`. What becomes of the first row?
#    (The check below it will then fail; `attend_explicit` has a line for this case.) And in a whole GPT: would a place
#    still know its own character?
# 3. **Section 8.** What does `gigabytes(c, 1)` give for LLaMA 3, with a single head of keys and values for all query
#    heads?
#
# <details><summary>Answers</summary>
#
# 1. That of greedy: divided by 0.0001, the differences between logits become ten thousand times larger, and the first
#    one gets all the probability. 0 would divide by zero; `Sampling` refuses it and tells what to do instead.
# 2. The first place may look at nothing, all its scores are -∞, and the softmax is NaN; `attend_explicit` gives
#    zeros. In a GPT the place would still know its character, by the residual connection: attention *adds* to
#    what is there.
# 3. An eighth of what LLaMA 3 keeps, and a thirty-second of what it would keep without sharing: keys and values are all
#    that is kept, so the number of their heads is a factor of the whole.
#
# </details>
