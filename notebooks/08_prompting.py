# %% [markdown]
# # Prompting: a task from examples in the text
#
# *Lecture 14, sections 5 and 8. Papers: Brown et al. 2020, [Language Models are Few-Shot
# Learners](https://arxiv.org/abs/2005.14165), section 2; Wei et al. 2022, [Chain-of-Thought
# Prompting](https://arxiv.org/abs/2201.11903); Wang et al. 2022, [Self-Consistency](https://arxiv.org/abs/2203.11171).*
#
# GPT-3 was told nothing but `sea otter → loutre de mer, cheese →`, and wrote `fromage`. No weight was changed: the task
# stood in the text. We train a small GPT on a small world (`common/world.py`) and let it do three things that way.
#
# 1. A text that teaches by examples
# 2. A GPT that has read such texts
# 3. From its prompt alone: accuracy against the number of examples
# 4. Where it looks
# 5. Step by step
# 6. Three exercises
#
# It trains for about two minutes on a laptop without a GPU, far less than `make lecture` does, so its figures are
# lower.

# %%
import os
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import torch

if not Path("common").is_dir():
    os.chdir("..")  # opened inside notebooks/: work from the root of the repository

from common import world, world_prompts
from common.attention import attend_explicit
from common.grammar import Draw
from common.report import table
from minigpt.in_context import complete, few_shot, log_probabilities, shuffled_answers, start_of, vote
from minigpt.objective import Windows, next_token_loss
from minigpt.prompting import asked_percentages, final_answer
from minigpt.qwen3 import Qwen3, Qwen3Config
from minigpt.recipe import GPTRunConfig, optimizers
from minigpt.start import counted_start
from minigpt.texts import tokenize

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS, DOCUMENTS, ASKED = (4, 3_000, 4) if SHORT else (600, 30_000, 150)

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#BBBBBB"  # Okabe and Ito's colours: safe for all eyes

# %% [markdown]
# ## 1. A text that teaches by examples
#
# A game: things of one kind get one label. Which label is for which kind is new in every game, so nobody can know the
# rules beforehand; only the examples tell them. Three kinds, three labels, twelve rounds:

# %%
draw = Draw(4)
print(world_prompts.game(draw))

# %% [markdown]
# For one kind and label in four the world never plays such a game. Only these are asked later: the model can not
# have learned the answers, it can only have learned to play.

# %%
rules = world_prompts.rules(draw, held_out=True)
*shown, (thing, label) = world_prompts.rounds(draw, rules, 5)
print("rules:", rules)
print("prompt:", few_shot(shown, thing))
print("answer:", label)

# %% [markdown]
# Other texts of the same world: sentences, lists of translations, percentages at once and step by step. `nats` is
# -log P of each text under the grammar that wrote it: no model can do better on average.

# %%
print(table(["nats", "text"], [[f"{d.nats:.1f}", d.text[:110]] for d in islice(world.documents(3, prompts=True), 12)]))

# %% [markdown]
# ## 2. A GPT that has read such texts
#
# Two blocks, 128 wide. The loss is the ordinary one, the next token of any text; nothing in it says "learn from
# examples".

# %%
documents, _ = world.split_documents(DOCUMENTS, 0, prompts=True)
vocabulary = world.vocabulary(3_000)
text = tokenize([d.text for d in documents], vocabulary)
model = Qwen3(Qwen3Config(vocabulary.vocab_size, 128, 2, 4, d_ff=336, max_len=128, rope_base=100.0,
                          bos_id=vocabulary.eos_id, eos_id=vocabulary.eos_id))
counted_start(model, text.tokens)
windows = Windows(text.tokens, 128, 16, seed=0)
steppers = optimizers(model, GPTRunConfig(corpus="world", d_model=128))
losses = []
for step in range(STEPS):
    total, count = next_token_loss(model, windows(step))["loss"]
    (total / count).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * (1 - step / STEPS)
        stepper.step()
        stepper.zero_grad()
    losses.append(total.item() / count)
model.eval()
best = sum(d.nats for d in documents) / len(text.tokens)
plt.figure(figsize=(6, 2.6))
plt.plot(losses, color=BLUE, label="loss, nats a token")
plt.axhline(best, color=ORANGE, label=f"the grammar itself: {best:.2f}")
plt.xlabel("step")
plt.ylim(0, 2.5)
plt.legend()
plt.show()

# %% [markdown]
# ## 3. From its prompt alone
#
# The three labels compete: we add up the log-probabilities of each one's tokens and take the largest sum. (The sum by
# hand, to see that it is nothing else:)

# %%
prompt, answer = few_shot(shown, thing), label
ids = start_of(model) + vocabulary.encode(f"{prompt} {answer}")
n_prompt = len(start_of(model) + vocabulary.encode(prompt))
with torch.no_grad():
    log_p = model(torch.tensor([ids]))[0].log_softmax(-1)
by_hand = sum(log_p[i - 1, ids[i]] for i in range(n_prompt, len(ids)))
assert torch.allclose(by_hand, log_probabilities(model, vocabulary, prompt, [answer])[0], atol=1e-4)
print(f"log P({answer} | {prompt}) = {by_hand:.2f}")

# %%
def accuracy(n_shown, shuffled=False):
    draw, hits = Draw("notebook"), 0
    for i in range(ASKED):
        rules = world_prompts.rules(draw, held_out=True)
        *examples, (thing, label) = world_prompts.rounds(draw, rules, 9)
        examples = examples[8 - n_shown :]
        if shuffled:
            examples = shuffled_answers(examples, i)
        labels = list(rules.values())
        hits += labels[int(log_probabilities(model, vocabulary, few_shot(examples, thing), labels).argmax())] == label
    return hits / ASKED


shots = [0, 1, 2, 4, 6, 8]
right, wrong = [accuracy(n) for n in shots], [accuracy(n, shuffled=True) for n in shots]
plt.figure(figsize=(6, 2.8))
plt.plot(shots, right, "o-", color=BLUE, label="examples as they are")
plt.plot(shots, wrong, "o-", color=ORANGE, label="with each other's labels")
plt.axhline(1 / 3, color=GREY, label="guessing among three")
plt.xlabel("examples in the prompt")
plt.ylabel("right answers")
plt.ylim(0, 1.02)
plt.legend()
plt.show()

# %% [markdown]
# Each example helps, and no weight has moved. With shuffled labels the prompt teaches something wrong, and accuracy
# falls back: the model reads the labels, it does not merely recognise the game. Without an example it does worse than
# guessing, since it has learned which labels these things never had.
#
# The lecture's own example. The pair cheese → fromage never stood in such a list; "The French word for cheese is
# fromage." did, in a sentence of its own.

# %%
for prompt in ("영어를 불어로 번역: sea otter → loutre de mer, cheese →",
               "영어를 독일어로 번역: sea otter → Seeotter, cheese →"):
    print(prompt, complete(model, vocabulary, [prompt], max_new=12, stop=",")[0])

# %% [markdown]
# ## 4. Where it looks
#
# The second block, at the last arrow: which of the earlier tokens does each head attend to? Heads that find the labels
# of things of the same kind are what the literature calls induction heads (Olsson et al. 2022,
# [arXiv:2209.11895](https://arxiv.org/abs/2209.11895)).

# %%
examples = [("cat", "snow"), ("bread", "gold"), ("dog", "snow"), ("milk", "gold"), ("horse", "snow")]
ids = torch.tensor([start_of(model) + vocabulary.encode(few_shot(examples, "cow"))])
with torch.no_grad():
    x = model.decoder.blocks[0](model.embed(ids, None), causal=True)
    block = model.decoder.blocks[1]
    q, k, v = block.attention.project(block.attention_norm(x))
    _, weights = attend_explicit(q, k, v, causal=True)  # (1, H, T, T)
pieces = [vocabulary.piece(i).replace("▁", "") for i in ids[0].tolist()]
figure, axis = plt.subplots(figsize=(10, 2.2))
axis.imshow(weights[0, :, -1], cmap="Blues", vmin=0, aspect="auto")
axis.set_xticks(range(len(pieces)), pieces, rotation=60, fontname="DejaVu Sans")
axis.set_yticks(range(weights.shape[1]), [f"head {h}" for h in range(weights.shape[1])])
axis.set_title("from the last arrow, behind cow, in the second block")
plt.show()

# %% [markdown]
# ## 5. Step by step
#
# A percentage at once is a table of 8,100 numbers to be known by heart. Step by step it is a multiplication by a digit,
# an addition and a comma: things that come back in every calculation. The training text has both forms equally often,
# and none of the percentages that are asked here, nor their mirror images.

# %%
pairs = asked_percentages(ASKED, 0)
truth = [world_prompts.percentage_answer(*pair) for pair in pairs]
questions = [world_prompts.percentage_question(*pair) for pair in pairs]
direct = complete(model, vocabulary, [q + world_prompts.DIRECTLY for q in questions])
chains = complete(model, vocabulary, [q + world_prompts.STEPWISE for q in questions])
rows = [["at once", sum(a == b for a, b in zip(direct, truth)) / ASKED],
        ["step by step", sum(final_answer(c) == b for c, b in zip(chains, truth)) / ASKED]]
print(table(["asked", "right"], [[way, f"{share:.2f}"] for way, share in rows]))
print(table(["question", "chain of thought", "truth"], list(zip(questions[:5], chains[:5], truth[:5]))))

# %% [markdown]
# Several chains, sampled, may vote: a mistake is rarely made twice in the same way.

# %%
print(vote(["12", "1.2", "12", "14"]))

# %% [markdown]
# ## 6. Three exercises
#
# - Permute the examples of a prompt (`minigpt.in_context.permuted`). Does the order matter?
# - Take the step `÷100` out of `common/world_prompts.py: steps_of`, train again. Which mistakes come?
# - Ask the trained model of `make lecture`: `python -m minigpt.prompting --model runs/lecture-gpt`.
#
# The tests of these parts are exercises too: empty `log_probabilities` or `few_shot` in
# [minigpt/in_context.py](../minigpt/in_context.py), write your own, and run `pytest tests/test_in_context.py`.
