"""The loss of demonstrations: the answer counts, the question does not, EOS does."""

import torch

from minigpt import GPT, GPTConfig
from rlhf import language
from rlhf.answers import lay_out
from rlhf.imitation import Demonstrations, SFTConfig, answer_loss
from tests.explain import close, equal, same

PAIRS = [([5, 6, 7], [8, 9, 1]), ([5], [4, 4, 1])]


def gpt() -> GPT:
    model = GPT(GPTConfig(11, 16, 1, 2, max_len=16, dropout=0.0, eos_id=1)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


def test_the_answer_alone_is_counted():
    model = gpt()
    total, count = answer_loss(model, vars(lay_out(PAIRS, 0)))["loss"]
    expected = -sum(model(torch.tensor([q + a[:t]]))[0, -1].log_softmax(-1)[a[t]] for q, a in PAIRS for t in range(3))
    close(total, expected, "-log P(answer | question), summed over the tokens of the answers, EOS included")
    equal(count, 6, "tokens of the answers: no question, no padding")


def test_eos_is_learned_and_padding_is_not():
    model, batch = gpt(), vars(lay_out(PAIRS, 0))
    logits = []
    model.head.register_forward_hook(lambda module, given, out: logits.append(out) or out.retain_grad())
    answer_loss(model, batch)["loss"][0].backward()
    grad = logits[0].grad
    assert grad[:, 2, 1].lt(0).all(), "the logit of EOS at its place is pushed up"
    wider = vars(lay_out([*PAIRS, ([2], [3] * 8)], 0))
    logits.clear()
    answer_loss(model, wider)["loss"][0].backward()
    same(logits[0].grad[:2, 3:], torch.zeros(2, 5, 11), "behind an answer nothing is learned")


def test_batches_and_the_held_out_part():
    config = SFTConfig(n_demonstrations=200, batch_size=16)
    data = Demonstrations(config)
    batch = data(3)
    same(batch["ids"], Demonstrations(config)(3)["ids"], "batch t depends on the seed and t alone")
    equal(len(batch["ids"]), 16, "demonstrations of a batch")
    equal(len(data.held_out.ids), 10, "as many as a twentieth")
    model = GPT(GPTConfig(**config.sizes()))
    loss = data.evaluate(model)["held_out_loss"]
    assert abs(loss - torch.log(torch.tensor(46.0))) < 0.2, f"random weights guess among 46 words, came {loss}"


def test_the_sizes_leave_room_for_the_longest_answer():
    sizes = SFTConfig().sizes()
    equal(sizes["max_len"], len(language.prompt("fox")) + language.MAX_NEW, "question and answer")
    equal((sizes["vocab_size"], sizes["eos_id"]), (46, language.EOS_ID), "the language's")
