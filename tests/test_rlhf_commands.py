"""The commands of rlhf, tiny: they run one after the other, say what they found, and refuse what cannot work."""

import json
from pathlib import Path
from unittest import mock

import pytest

from common import checkpoint
from rlhf import closed_form, pipeline, ppo, reward_model, sample, sft
from tests import tiny
from tests.explain import equal, same
from tests.test_bad_input import refused, says

SFT = ("--steps", "30", "--eval-every", "10", "--d-model", "16", "--n-layers", "1", "--n-heads", "2",
       "--n-demonstrations", "200")
REWARD = ("--steps", "4", "--eval-every", "2", "--n-pairs", "60", "--batch-size", "16")
PPO = ("--iterations", "2", "--batch-size", "16")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Drawing, and judging a thousand answers, take longer than all the rest."""
    for command in (sft, ppo):
        monkeypatch.setattr(command, "draw_curves", lambda *_: "no curve in this test")
    monkeypatch.setattr("rlhf.judging.N", 20)
    monkeypatch.setattr("rlhf.stages.N_SCALE", 50)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working directory with the three runs."""
    made = tmp_path_factory.mktemp("rlhf")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(sft, "draw_curves", lambda *_: "")
        patch.setattr(ppo, "draw_curves", lambda *_: "")
        for command, flags in ((sft, SFT), (reward_model, REWARD), (ppo, PPO)):
            command.main(list(flags))
    return made


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of the three runs, to be damaged."""
    monkeypatch.chdir(tmp_path)
    for path in trained.glob("runs/*/*.*"):
        copy = tmp_path / path.relative_to(trained)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


def test_the_stages_follow_each_other(here, capsys):
    ppo.main([*PPO, "--name", "again"])
    out = capsys.readouterr().out
    for word in ("gold", "proxy", "objective/kl", "tell about lynx (never asked)", "alarming",
                 "python -m rlhf.sample --model runs/again"):
        assert word in out, f"expected {word!r} in {out}"
    sample.main(["--model", "runs/again", "--animal", "owl", "--n", "2"])
    assert "tell about owl" in capsys.readouterr().out
    equal(len((here / "runs" / "again" / "metrics.jsonl").read_text().splitlines()), 2, "a line for each iteration")


def test_ppo_is_repeated_by_its_seed(here):
    ppo.main([*PPO, "--name", "again"])
    one, again = (checkpoint.load(here / "runs" / name / "best.pt")["model"] for name in ("ppo", "again"))
    for name in one:
        same(again[name], one[name], f"{name}: the same seed, another model")


def test_sft_that_was_stopped_goes_on_as_if_it_had_not_been(here, monkeypatch):
    real, calls = sft.learn_demonstrations, []

    def stopped_after_20(model, config, run):
        from rlhf import stages

        loss = stages.answer_loss

        def count(model, batch):
            calls.append(1)
            if len(calls) == 21:
                raise KeyboardInterrupt
            return loss(model, batch)

        with monkeypatch.context() as patch:
            patch.setattr(stages, "answer_loss", count)
            return real(model, config, run)

    with monkeypatch.context() as patch:
        patch.setattr(sft, "learn_demonstrations", stopped_after_20)
        with pytest.raises(SystemExit) as ended:
            sft.main([*SFT, "--name", "stopped"])
    equal(ended.value.code, 130, "Ctrl-C")
    sft.main(["--name", "stopped", "--resume"])
    tiny.same_weights(here / "runs" / "stopped", here / "runs" / "sft", "resumed and uninterrupted differ")


def test_short_pipeline(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "draw", lambda panels, path: f"panels {list(panels)}")
    pipeline.main(["--short"])
    out = capsys.readouterr().out
    for word in ("1. supervised", "2. reward model", "3. PPO", "answers before and after", "What happened",
                 "reward model of 24,000 pairs", "seconds in all"):
        assert word in out, f"expected {word!r} in {out}"
    equal(sorted(path.name for path in Path("runs/rlhf").iterdir() if path.is_dir()),
          sorted(["sft", "reward_model", "weak_reward_model", "PPO", "beta-0.3", "beta-0.03", "beta-0.0",
                  "7.4-k-pairs", "7.4-k-beta-0", "PPO-on-gold"]), "every run is kept")


def test_the_closed_form_command(monkeypatch, capsys):
    monkeypatch.setattr(closed_form.bandit, "FOR_TABLE", closed_form.bandit.PPOConfig(iterations=1, batch_size=16))
    monkeypatch.setattr(closed_form.bandit, "FOR_GPT", closed_form.bandit.PPOConfig(iterations=1, batch_size=16))
    closed_form.main([])
    equal(len(capsys.readouterr().out.splitlines()), 5, "a heading, the names of the columns, three runs")


# ---- bad input


@pytest.mark.parametrize(("flags", "words"), [
    (("--beta", "-0.1"), ("beta = -0.1", "at least 0")), (("--beta", "nan"), ("beta", "at least 0")),
    (("--iterations", "0"), ("iterations = 0",)), (("--batch-size", "1"), ("batch_size = 1",)),
    (("--lam", "1.5"), ("lam = 1.5",)), (("--kl", "1"), ("--kl", "--help")), (("--name", "a/b"), ("a/b",)),
    (("--sft", "runs/none"), ("runs/none", "not there")),
    (("--sft", "runs/reward_model"), ("holds a reward model, and a language model is needed",)),
    (("--reward-model", "runs/sft"), ("holds a language model, and a reward model is needed",)),
])
def test_ppo_refuses(here, capsys, flags, words):
    says(refused(capsys, ppo.main, *PPO, *flags), *words)


def test_a_reward_model_of_another_vocabulary(here, capsys):
    path = here / "runs" / "reward_model" / "best.pt"
    state = checkpoint.load(path)
    checkpoint.save({**state, "words": [*state["words"][:-1], "nice"]}, path)
    says(refused(capsys, ppo.main, *PPO), "runs/reward_model", "another vocabulary")


def test_a_reward_that_is_no_number(here, capsys):
    path = here / "runs" / "reward_model" / "best.pt"
    state = checkpoint.load(path)
    state["model"]["head.bias"][0] = float("nan")
    checkpoint.save(state, path)
    says(refused(capsys, ppo.main, *PPO), "16 of 16", "NaN or infinite")


def test_answers_that_never_end(here, capsys):
    path = here / "runs" / "sft" / "best.pt"
    state = checkpoint.load(path)
    state["model"]["decoder.final_norm.bias"] -= 1000.0 * state["model"]["token.weight"][1]  # no state looks like EOS
    checkpoint.save(state, path)
    says(refused(capsys, ppo.main, *PPO), "none of 16 answers came to its end")


def test_a_model_that_always_says_the_same(here, capsys, monkeypatch):
    monkeypatch.setattr("rlhf.comparisons.ROUNDS", 3)
    monkeypatch.setattr("rlhf.comparisons.written", lambda model, asked, rng: [[1]] * len(asked))
    with pytest.raises(SystemExit) as ended:
        reward_model.main([*REWARD, "--name", "same"])
    equal(ended.value.code, 2, "exit code")
    says(capsys.readouterr().err, "the same answer again and again", "3 rounds found 0 of 60")


def test_ppo_begins_with_the_model_that_the_reward_model_is_from(here, capsys):
    sft.main([*SFT, "--name", "sft-newer", "--seed", "9"])
    capsys.readouterr()
    ppo.main([*PPO, "--name", "pair"])
    equal(checkpoint.load(here / "runs" / "pair" / "best.pt")["kind"], "language model", "")
    config = json.loads((here / "runs" / "pair" / "config.json").read_text())
    equal(config["sft"], "runs/sft", "not the newest one: its scores would have another zero")


def test_ctrl_c_in_ppo(here, capsys, monkeypatch):
    monkeypatch.setattr(ppo, "learn_by_ppo", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit) as ended:
        ppo.main([*PPO, "--name", "off"])
    equal(ended.value.code, 130, "exit code")
    says(capsys.readouterr().out, "stopped; PPO is not taken up again")


def test_a_run_that_was_not_finished(here, capsys):
    path = here / "runs" / "sft" / "best.pt"
    checkpoint.save({"model": checkpoint.load(path)["model"]}, path)
    says(refused(capsys, reward_model.main, *REWARD), "runs/sft", "not finished", "--resume")


def test_nothing_to_begin_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in (reward_model, ppo, sample):
        says(refused(capsys, command.main), "train one first")


@pytest.mark.parametrize(("command", "flags", "words"), [
    (sample, ("--animal", "zebra"), ("'zebra' is no animal", "fox")), (sample, ("--n", "0"), ("n = 0",)),
    (sft, ("--n-heads", "5"), ("n_heads = 5", "d_model = 64")), (sft, ("--resume", "--name", "no"), ("not there",)),
    (pipeline, ("--name", ".."), ("..",)), (closed_form, ("--seed", "-1"), ("seed = -1",)),
])
def test_other_commands_refuse(here, capsys, command, flags, words):
    says(refused(capsys, command.main, *flags), *words)


@pytest.mark.parametrize("command", ["sft", "reward_model", "ppo", "sample", "pipeline", "closed_form"])
def test_help_lists_the_settings(command, tmp_path):
    done = tiny.run_in_process(f"rlhf.{command}", "--help", folder=tmp_path)
    equal(done.returncode, 0, "exit code")
    assert b"--seed" in done.stdout and b"default" in done.stdout
