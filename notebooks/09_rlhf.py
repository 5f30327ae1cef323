# %% [markdown]
# # RLHF: demonstrations, a reward model, PPO, and a truth that none of them sees
#
# *Lecture 14, section 9. Papers: Ouyang et al. 2022, [InstructGPT](https://arxiv.org/abs/2203.02155); Ziegler et al.
# 2019, [Fine-Tuning Language Models from Human Preferences](https://arxiv.org/abs/1909.08593); Gao et al. 2022,
# [Scaling Laws for Reward Model Overoptimization](https://arxiv.org/abs/2210.10760).*
#
# Whether RLHF has worked is hard to say where only people know what a good answer is. Here a rule knows. The model
# never sees it; we do.
#
# 1. A language whose answers can be judged
# 2. Stage 1: demonstrations
# 3. Stage 2: a reward model, from comparisons
# 4. Stage 3: PPO
# 5. The reward model is fooled
# 6. Is it really PPO? A task whose best policy is known
# 7. Three exercises
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

from common.batches import torch_random_state
from common.report import table
from minigpt import GPT, GPTConfig
from rlhf import bandit, language
from rlhf.comparisons import answer, draw_pairs
from rlhf.imitation import Demonstrations, SFTConfig, answer_loss
from rlhf.kl import k3
from rlhf.optimizers import supervised
from rlhf.policy import Policy, frozen_copy
from rlhf.ppo_loop import PPOConfig, ppo
from rlhf.preferences import PairBatches, agreement, pair_loss
from rlhf.scorer import RewardModel

SHORT = os.environ.get("MINIFORMERS_SHORT", "") not in ("", "0")  # the quick form, for tests
STEPS, PAIRS, ITERATIONS, LONG, N = (5, 64, 2, 3, 64) if SHORT else (250, 7_400, 32, 64, 512)

torch.manual_seed(0)
torch.set_flush_denormal(True)  # numbers below 1e-38 make a CPU crawl, and mean nothing
plt.rcParams.update({"figure.dpi": 75, "font.size": 9, "axes.titlesize": 10, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#BBBBBB"  # Okabe and Ito's colours: safe for all eyes

# %% [markdown]
# ## 1. A language whose answers can be judged
#
# 46 words. A good answer is about the animal that was asked for, kind, without repeats, about 14 words long, and it
# ends. The demonstrations are mediocre on purpose:


# %%
def judged(answers):
    """Lines of a table: question, answer, gold score."""
    return [[language.decode(ids[:start]), language.decode(ids[start : start + n]), f"{gold:+.2f}"]
            for ids, start, n, gold in zip(answers.ids.tolist(), answers.starts.tolist(), answers.lengths.tolist(),
                                           language.gold_of(answers).tolist())]


shown = language.laid_out(language.demonstrations(6, seed=0))
print(table(["question", "a demonstration", "gold"], judged(shown)))

# %% [markdown]
# ## 2. Stage 1: demonstrations
#
# The model learns to answer as they do. The loss counts the answer alone, its end included, and not the question.

# %%
config = SFTConfig(steps=STEPS)
sft = GPT(GPTConfig(**config.sizes()))
data = Demonstrations(config)


def learn(model, loss, batches, optimizers, steps):
    """Go down the loss; the rates fall to 0."""
    losses = []
    for step in range(steps):
        total, count = loss(model, batches(step))["loss"]
        (total / count).backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * (1 - step / steps)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(total.item() / count)
    return losses


losses = learn(sft, answer_loss, data, supervised(sft, config.muon_lr, config.adam_lr), STEPS)
sft.eval()
plt.figure(figsize=(6, 2.2))
plt.plot(losses, color=BLUE)
plt.xlabel("step")
plt.ylabel("nats a token")
plt.show()


def ask(model, n, seed=1):
    rng = torch_random_state(seed)
    return answer(Policy(model), language.prompts(n, rng), rng)


by_sft = ask(sft, N)
print(table(["question", "SFT answers", "gold"], judged(by_sft[torch.arange(5)])))
print(f"gold, mean of {N}: {language.gold_of(by_sft).mean():+.2f}")

# %% [markdown]
# ## 3. Stage 2: a reward model, from comparisons
#
# Two answers of the model to each question; a person prefers one, with probability sigmoid of the difference in gold.
# They are not sure themselves, so nobody can foresee more than the ceiling. The reward model is the SFT model with a
# head that gives one number, read at the last token.

# %%
pairs, held_out = draw_pairs(sft, PAIRS, 0, 0), draw_pairs(sft, min(PAIRS, 1_000), 0, 1)
reward_model = RewardModel(frozen_copy(sft).requires_grad_(True))
steppers = supervised(reward_model, muon_lr=0.01, adam_lr=0.003, weight_decay=0.3)
learn(reward_model, pair_loss, PairBatches(pairs, 64, 0), steppers, max(1, PAIRS // 64))
reward_model.eval().requires_grad_(False)
reward_model.normalise(by_sft)
measured = agreement(reward_model, held_out)
print(table(["on pairs that it has not seen", ""], [
    ["foresees what the person prefers", f"{measured['accuracy']:.3f}"],
    ["the most that anybody could", f"{measured['ceiling']:.3f}"]]))
plt.figure(figsize=(3.6, 3))
plt.scatter(language.gold_of(by_sft), reward_model(by_sft), s=5, color=BLUE)
plt.xlabel("gold score")
plt.ylabel("reward model")
plt.show()

# %% [markdown]
# ## 4. Stage 3: PPO
#
# The model answers, the reward model scores, and each token is made more probable where the answer did better than the
# value head expected. For every nat that it moves away from SFT it pays beta.


# %%
def improved(beta, iterations, score=reward_model):
    policy = Policy(copy.deepcopy(sft))
    settings, history = PPOConfig(beta=beta, iterations=iterations), []
    ends = language.MAX_NEW, language.EOS_ID, language.PAD_ID
    for rollout, line in ppo(policy, score, language.prompts, settings, *ends):
        history.append({**line, "gold": language.gold_of(rollout.answers).mean().item()})
    return policy.model.eval(), history


by_ppo, history = improved(0.1, ITERATIONS)
print(table(["question", "PPO answers", "gold"], judged(ask(by_ppo, 5))))
print(f"gold: SFT {language.gold_of(by_sft).mean():+.2f}, PPO {language.gold_of(ask(by_ppo, N)).mean():+.2f}; "
      f"{history[-1]['objective/kl']:.1f} nats an answer away from SFT")

# %% [markdown]
# ## 5. The reward model is fooled
#
# Without the price, beta = 0, the model goes wherever the reward model likes it best. The score goes on rising. The
# truth does not:

# %%
unheld, alone = improved(0.0, LONG)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
mean, std = language.gold_of(by_sft).mean(), language.gold_of(by_sft).std()
for axis, lines, title in ((axes[0], history, "beta 0.1"), (axes[1], alone, "beta 0")):
    axis.plot([line["objective/scores"] for line in lines], color=ORANGE, label="reward model")
    axis.plot([(line["gold"] - mean) / std for line in lines], color=GREEN, label="gold, the truth")
    axis.set(title=title, xlabel="iteration")
    axis.axhline(0, color=GREY, linewidth=0.8)
axes[0].set_ylabel("above SFT, standard deviations")
axes[0].legend()
plt.show()
print(table(["question", "answers with beta 0", "gold"], judged(ask(unheld, 5))))

# %% [markdown]
# ## 6. Is it really PPO? A task whose best policy is known
#
# Four tokens, answers of three at most: forty answers. For given scores the best policy is known in closed form,
# π* = π_ref exp(r / β) / Z. PPO, which only samples, must come to it. With the KL estimated by k3 in the reward, which
# looks just as good (`rlhf/kl.py`), it must not:

# %%
settings = bandit.FOR_TABLE if not SHORT else PPOConfig(iterations=2, batch_size=16, beta=bandit.BETA)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
for axis, title, how in ((axes[0], "k1 in the reward", {}), (axes[1], "k3 in the reward", {"penalty": k3})):
    torch.manual_seed(0)
    r, policy = torch.randn(len(bandit.ANSWERS)), bandit.Table()
    ref = bandit.distribution(policy)
    came = bandit.train(policy, r, settings, **how)
    best = bandit.optimum(ref, r, bandit.BETA)
    order = best.argsort(descending=True)
    axis.bar(range(len(order)), best.exp()[order], color=GREY, label="π*, closed form")
    axis.plot(bandit.distribution(policy).exp()[order], "o", markersize=3, color=BLUE, label="PPO")
    axis.set(title=f"{title}: J / J* = {came['J / J*']:.3f}", xlabel="the forty answers, best first")
axes[0].set_ylabel("probability")
axes[0].legend()
plt.show()

# %% [markdown]
# ## 7. Three exercises
#
# - Train with beta 0.03 and 0.3. Where does gold end, where the reward model?
# - Take EOS out of what PPO trains: in `rlhf/ppo_loop.py: update`, a mask without the last token of each answer. What
#   becomes of the lengths, and why?
# - Empty `gae` in [rlhf/advantages.py](../rlhf/advantages.py), write your own, and run
#   `pytest tests/test_rlhf_advantages.py`.
