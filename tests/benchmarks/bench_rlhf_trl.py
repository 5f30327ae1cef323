"""PPO of this project beside RLOO of `trl`, same model, same reward model:  python -m tests.benchmarks.bench_rlhf_trl

trl is not a dependency; it needs a Python environment of its own (pip install trl datasets). Its releases no longer
carry a PPO trainer; RLOO is its nearest relative, and leaves out the value head. Both start from the same SFT model,
see the same reward model and the same beta, and write 128 answers for 4 steps. trl gets steps until it has used the
CPU-seconds that our whole run took, with a learning rate that falls to 0 there. Importing trl, loading and judging do
not count on either side.
"""

import argparse
import copy
import tempfile
import time
import warnings
from pathlib import Path

import torch

from common.command import command
from common.report import table
from minigpt import GPT, GPTConfig
from rlhf import language
from rlhf.comparisons import RewardConfig
from rlhf.imitation import SFTConfig
from rlhf.judging import judge
from rlhf.policy import Policy
from rlhf.ppo_loop import PPOConfig
from rlhf.scorer import RewardModel
from rlhf.stages import learn_by_ppo, learn_demonstrations, learn_preferences

BATCH, GENERATIONS, STEPS_OF_BATCH = 128, 8, 4


def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bench_rlhf"))


def tokenizer():
    """Our words for `transformers`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(language.WORDS)}, unk_token=language.PAD))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=language.PAD, eos_token=language.EOS,
                                   padding_side="left")


def rloo(sft: GPT, proxy: RewardModel, lr: float, steps: int, seed: int) -> tuple[GPT, float]:
    """The model after `steps` optimizer steps of trl, and the CPU-seconds of its `train`."""
    import datasets
    import transformers
    from trl import RLOOConfig, RLOOTrainer
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    where = folder()
    sft.save_pretrained(where)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(where)
    theirs.config.pad_token_id = theirs.generation_config.pad_token_id = language.PAD_ID
    theirs.generation_config.eos_token_id = language.EOS_ID

    @torch.no_grad()
    def reward(prompts, completions, completion_ids, **_) -> list[float]:
        pairs = [(language.encode(prompt), list(ids)) for prompt, ids in zip(prompts, completion_ids)]
        return proxy(language.laid_out(pairs)).tolist()

    asked = language.prompts(4_000, torch.Generator().manual_seed(seed))
    data = datasets.Dataset.from_dict({"prompt": [language.decode(question) for question in asked]})
    config = RLOOConfig(
        output_dir=str(where / "out"), max_steps=steps, learning_rate=lr, lr_scheduler_type="linear", beta=0.1,
        per_device_train_batch_size=BATCH // STEPS_OF_BATCH, steps_per_generation=STEPS_OF_BATCH,
        gradient_accumulation_steps=1, num_generations=GENERATIONS, max_completion_length=language.MAX_NEW,
        temperature=1.0, top_p=1.0, top_k=0, num_iterations=1, report_to=[], save_strategy="no", logging_steps=10_000,
        disable_tqdm=True, use_cpu=True, bf16=False, seed=seed, dataloader_num_workers=0, gradient_checkpointing=False)
    trainer = RLOOTrainer(theirs, reward, args=config, train_dataset=data, processing_class=tokenizer())
    start = time.process_time()
    trainer.train()
    seconds = time.process_time() - start
    trainer.model.save_pretrained(where / "trained")
    return GPT.from_pretrained(where / "trained"), seconds


def ours(sft: GPT, proxy: RewardModel, seed: int) -> tuple[GPT, float]:
    policy, start = Policy(copy.deepcopy(sft)), time.process_time()
    learn_by_ppo(policy, proxy, PPOConfig(seed=seed), folder())
    return policy.model, time.process_time() - start


def measured(seed: int, rates: list[float]) -> list[list[str]]:
    torch.manual_seed(seed)
    config = SFTConfig(seed=seed)
    sft = GPT(GPTConfig(**config.sizes()))
    learn_demonstrations(sft, config, folder())
    proxy, _ = learn_preferences(sft, config.sizes(), RewardConfig(seed=seed), folder())
    before = judge(sft, sft, proxy, seed=seed)["gold"]
    model, budget = ours(sft, proxy, seed)
    rows = [line(seed, "our PPO", judge(model, sft, proxy, seed=seed), before, budget, PPOConfig.iterations * 4)]
    _, seconds = rloo(sft, proxy, 0.0, 8, seed)
    steps = max(STEPS_OF_BATCH, round(8 * budget / seconds))
    for lr in rates:
        model, seconds = rloo(sft, proxy, lr, steps, seed)
        rows.append(line(seed, f"RLOO of trl, lr {lr}", judge(model, sft, proxy, seed=seed), before, seconds, steps))
    return rows


def line(seed: int, name: str, judged: dict[str, float], before: float, seconds: float, steps: int) -> list[str]:
    gain = judged["gold"] - before
    return [str(seed), name, str(steps), f"{seconds:.1f}", f"{before:+.2f}", f"{judged['gold']:+.2f}",
            f"{judged['kl']:.2f}", f"{gain / seconds:.3f}"]


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, 2 ...")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="learning rates of trl")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    torch.set_flush_denormal(True)
    print(table(["seed", "", "steps", "CPU-s", "gold before", "gold after", "KL", "gain a CPU-s"],
                [row for seed in range(args.seeds) for row in measured(seed, args.rates)]))


if __name__ == "__main__":
    main()
