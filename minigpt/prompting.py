"""What a GPT can do from its prompt alone, without a gradient step:

    python -m minigpt.prompting                                        the tables of the small world (common/world.py)
    python -m minigpt.prompting --examples my.tsv                      own examples, a line is text<TAB>answer
    python -m minigpt.prompting --examples my.tsv --query "cheese"     one answer, all examples in the prompt

The tables: a game whose rules only the examples tell, with 0, 1, 4 and 8 of them, with the right answers and with each
other's; and percentages, asked directly, step by step, and by the vote of several chains.
"""

from dataclasses import dataclass
from pathlib import Path

from common import world_prompts as prompts
from common.batches import random_state
from common.checkpoint import newest_run
from common.columns import read_columns
from common.command import UserError, command
from common.config import option, parse
from common.grammar import Draw
from common.report import table
from common.trainer import choose_device
from minigpt.in_context import choose, complete, few_shot, permuted, self_consistent, shuffled_answers
from minigpt.model import GPT
from minigpt.pretrained import open_model
from minigpt.texts import Vocabulary

SHOTS = (0, 1, 4, 8)
CHAIN = 64  # tokens of a chain of thought at most
SHOWN = 3  # chains that are printed


@dataclass(frozen=True)
class PromptingConfig:
    """Who is asked, and what."""

    model: str | None = option(None, "folder of a run, or of a published GPT (default: the newest run)")
    examples: str | None = option(None, "UTF-8 file, a line is text<TAB>answer (default: the small world)")
    query: str | None = option(None, "a text to be answered, with all examples in the prompt")
    n: int = option(200, "questions of each kind", low=1)
    votes: int = option(5, "chains of thought that vote", low=1)
    seed: int = option(0, "seed of the questions, of the order of examples, and of the draws", low=0, high=2**62)


@command
def main(argv: list[str] | None = None) -> None:
    config = parse(PromptingConfig, argv, __doc__)
    if config.query is not None and config.examples is None:
        raise UserError("--query needs examples: --examples my.tsv")
    own = None if config.examples is None else read_examples(Path(config.examples))
    model, vocabulary = open_model(Path(config.model) if config.model else newest_run("minigpt"))
    model.to(choose_device())
    if own is not None and config.query is not None:
        prompt = few_shot(permuted(own, config.seed), config.query)
        [answer] = complete(model, vocabulary, [prompt], stop=",")
        print(prompt, answer)
    elif own is not None:
        print(own_table(model, vocabulary, own, config.n, config.seed))
    else:
        print(game_table(model, vocabulary, config.n, config.seed), end="\n\n")
        print(percentage_table(model, vocabulary, config.n, config.votes, config.seed))


def read_examples(path: Path) -> list[tuple[str, str]]:
    """UserError as `read_columns`, for fewer than two examples, and for a text with a comma or an arrow."""
    examples = [(text, answer) for text, answer in read_columns(path, {2}, "text<TAB>answer")]
    if odd := next((part for example in examples for part in example if "," in part or "→" in part), None):
        raise UserError(f'{path}: "{odd}" holds "," or "→", which part the examples of a prompt')
    if len(examples) < 2:
        raise UserError(f"{path} holds {len(examples)} example; one to show and one to ask are needed")
    return examples


def game_accuracy(model: GPT, vocabulary: Vocabulary, shots: int, n: int, seed: int, shuffled: bool = False) -> float:
    """The share of n games whose last thing gets the right one of the three labels, after `shots` examples.

    The rules of these games were never shown in training: no kind has a label that it had there. shuffled: the examples
    have their labels shuffled among them.
    """
    draw, hits = Draw(f"game {seed}"), 0
    for i in range(n):
        rules = prompts.rules(draw, held_out=True)
        *examples, (thing, label) = prompts.rounds(draw, rules, max(SHOTS) + 1)
        examples = examples[len(examples) - shots :]  # the same question for every number of examples
        if shuffled:
            examples = shuffled_answers(examples, seed, i)
        hits += choose(model, vocabulary, few_shot(examples, thing), list(rules.values())) == label
    return hits / n


def game_table(model: GPT, vocabulary: Vocabulary, n: int, seed: int) -> str:
    """Accuracy against the number of examples; guessing gives 1/3."""
    rows = [[shots, f"{game_accuracy(model, vocabulary, shots, n, seed):.3f}",
             f"{game_accuracy(model, vocabulary, shots, n, seed, shuffled=True):.3f}" if shots > 1 else "-"]
            for shots in SHOTS]
    return table(["examples", "right, of three labels", "with shuffled labels"], rows)


def final_answer(chain: str) -> str:
    """What stands behind the last "답은" (the answer is); nothing where there is none.

    >>> final_answer("37×40=1480, 37×3=111, 1480+111=1591, 1591÷100=15.91. 답은 15.91")
    '15.91'
    """
    return chain.rpartition(prompts.DIRECTLY.strip())[2].strip() if prompts.DIRECTLY.strip() in chain else ""


def asked_percentages(n: int, seed: int) -> list[tuple[int, int]]:
    """n percentages that no training text has, nor their mirror images."""
    draw = Draw(f"percentages {seed}")
    return [prompts.percentage(draw, asked=True) for _ in range(n)]


def percentage_accuracy(model: GPT, vocabulary: Vocabulary, pairs: list[tuple[int, int]]) -> dict[str, float]:
    """The share of right answers, asked directly and step by step: the same weights, the same questions."""
    truth = [prompts.percentage_answer(*pair) for pair in pairs]
    questions = [prompts.percentage_question(*pair) for pair in pairs]
    direct = complete(model, vocabulary, [question + prompts.DIRECTLY for question in questions], CHAIN)
    chains = complete(model, vocabulary, [question + prompts.STEPWISE for question in questions], CHAIN)
    return {"directly": sum(a == b for a, b in zip(direct, truth)) / len(pairs),
            "step by step": sum(final_answer(chain) == b for chain, b in zip(chains, truth)) / len(pairs)}


def percentage_table(model: GPT, vocabulary: Vocabulary, n: int, votes: int, seed: int) -> str:
    """Three ways to ask for a percentage, and some chains of thought."""
    pairs = asked_percentages(n, seed)
    accuracy = percentage_accuracy(model, vocabulary, pairs)
    voted = [self_consistent(model, vocabulary, prompts.percentage_question(*pair) + prompts.STEPWISE, votes,
                             final_answer, seed + i, max_new=CHAIN) for i, pair in enumerate(pairs)]
    accuracy[f"the vote of {votes} sampled chains"] = sum(
        answer == prompts.percentage_answer(*pair) for answer, pair in zip(voted, pairs)) / len(pairs)
    chains = complete(model, vocabulary,
                      [prompts.percentage_question(*pair) + prompts.STEPWISE for pair in pairs[:SHOWN]], CHAIN)
    return "\n\n".join([table(["percentages, asked", "right"], [[way, f"{a:.3f}"] for way, a in accuracy.items()]),
                        table(["question", "chain of thought", "truth"],
                              [[prompts.percentage_question(*pair), chain, prompts.percentage_answer(*pair)]
                               for pair, chain in zip(pairs, chains)])])


def own_table(model: GPT, vocabulary: Vocabulary, examples: list[tuple[str, str]], n: int, seed: int) -> str:
    """Accuracy on own examples, each asked once, the others in the prompt; the answers compete with each other."""
    answers = sorted({answer for _, answer in examples})
    rows = []
    for shots in (shots for shots in SHOTS if shots < len(examples)):
        hits = []
        try:
            for i, (text, answer) in enumerate(examples[:n]):
                others = [example for j, example in enumerate(examples) if j != i]
                shown = [others[j] for j in random_state(seed, i).permutation(len(others))[:shots]]
                hits.append(choose(model, vocabulary, few_shot(shown, text), answers) == answer)
        except UserError as error:  # the prompts have become too long for the model; fewer examples did fit
            if not rows:
                raise
            rows.append([shots, str(error)])
            break
        rows.append([shots, f"{sum(hits) / len(hits):.3f}"])
    return table(["examples", f"right, of {len(answers)} answers"], rows)


if __name__ == "__main__":
    main()
