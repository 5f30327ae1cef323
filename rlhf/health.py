"""What the figures of a PPO run mean, which of them are healthy, and which say that it is going wrong.

The names are those of TRL; `gold`, `length`, `ended`, `ratio_first` and explained variance are added. Unlike there,
every mean is over real tokens: padding is in none of them.
"""

from collections.abc import Mapping

from common.report import table

KL_ALARM, ENTROPY_ALARM, ENDED_ALARM, RATIO_ALARM = 10.0, 0.15, 0.5, 1e-3
PATIENCE = 20  # iterations after which the value head should have learned something

MEANING = {  # name: (what it is, healthy, alarming)
    "objective/kl": ("nats from the reference, of a whole answer", "0 at first, then 1 to 6",
                     f"above {KL_ALARM:.0f}; below 0 for long: the sampler is not the policy"),
    "objective/scores": ("what is maximised: the reward model's score", "rises, then levels off",
                         "rises while gold falls: the reward model is being fooled"),
    "objective/non_score_reward": ("- beta x KL", "0 at first, then below", "above 0 for long, as KL below it"),
    "objective/rlhf_reward": ("score - beta x KL", "rises", "falls"),
    "gold": ("the hidden truth, which nothing trained here sees", "rises with the scores", "falls while they rise"),
    "policy/entropy_avg": ("uncertainty of the next token, in nats", "falls slowly from 1.0 to 0.5",
                           f"below {ENTROPY_ALARM}: it says one thing to everybody"),
    "policy/approxkl_avg": ("how far the updates of a batch go, in nats a token", "up to 0.02; falls with lr",
                            "above 0.05"),
    "policy/clipfrac_avg": ("share of tokens held by the clip", "up to 0.2; near 0 with one epoch",
                            "above 0.3"),
    "val/ratio_first": ("pi / pi_old before the first step", "1.00000", "anything else: a bug"),
    "val/ratio": ("pi / pi_old, mean", "0.98 to 1.02", "outside"),
    "val/explained_variance": ("what the value head foresees of the returns", "above 0 after 20 iterations, 0.2 to 0.8",
                               "0 or less throughout"),
    "loss/policy_avg": ("the clipped loss", "around 0: advantages are whitened", "says nothing about success"),
    "loss/value_avg": ("half the squared error of the value head", "falls", "rises for long"),
    "val/length": ("tokens of an answer, EOS included", "changes with the gold score", "drifts without it"),
    "val/ended": ("share of answers that come to EOS", "above 0.97", f"below {ENDED_ALARM}"),
}


def warnings(history: list[Mapping[str, float]]) -> list[str]:
    """What is going wrong at the end of these iterations, oldest first: one line each, none if all is well."""
    if not history:
        return []
    now, found = history[-1], []
    if abs(now["val/ratio_first"] - 1) > RATIO_ALARM:
        found.append(f"the first ratio is {now['val/ratio_first']:.4f} and not 1: the sampler and the update see two "
                     "different policies (dropout, a temperature, rounding)")
    if now["objective/kl"] > KL_ALARM:
        found.append(f"KL {now['objective/kl']:.1f} is over the alarm line of {KL_ALARM:.0f} nats: the reward model is "
                     "asked about answers unlike those that it was trained on; a larger beta holds the policy back")
    if now["policy/entropy_avg"] < ENTROPY_ALARM:
        found.append(f"entropy {now['policy/entropy_avg']:.2f} has collapsed (below {ENTROPY_ALARM}): the policy says "
                     "one thing to everybody and explores no more")
    recent = [line["val/explained_variance"] for line in history[-PATIENCE:]]
    if len(recent) == PATIENCE and max(recent) <= 0:
        found.append(f"the value head explains nothing ({PATIENCE} iterations at or below 0): raise value_lr")
    if now["val/ended"] < ENDED_ALARM:
        found.append(f"only {now['val/ended']:.0%} of the answers come to an end: the others are scored half-way")
    return found


def explained(measured: Mapping[str, float]) -> str:
    """The figures of an iteration as a table, each with what is healthy and what is alarming."""
    return table(["", "", "what it is", "healthy", "alarming"],
                 [[name, f"{measured[name]:.5g}", *lines] for name, lines in MEANING.items()])
