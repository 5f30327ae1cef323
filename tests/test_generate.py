"""Writing: greedy and beam search against slow loops without a cache, sampling against its definition by hand."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from common.command import UserError
from common.generate import Sampling, beam_search, generate, greedy, stream
from tests.explain import close, equal, same
from tests.oracle import oracle
from tests.test_cache import V, random_gpt, random_llama

CONTEXT = 11
PROMPTS = [[5, 9, 2], [7], [30, 0, 0, 4, 11, 8], [12, 3]]


def gpt(**sizes):
    return random_gpt(0.5, 5, **{"max_len": CONTEXT, **sizes})  # one that writes more than one and the same token


@pytest.fixture(params=["GPT", "Llama"])
def model(request):
    return gpt() if request.param == "GPT" else random_llama(0.5, 1, max_len=CONTEXT)


def next_log_p(model, text: list[int]) -> Tensor:
    """(V,), read anew and without a cache."""
    with torch.no_grad():
        return model(torch.tensor([text]))[0, -1].log_softmax(-1)


def slowly(model, prompt: list[int], max_new: int, eos_id: int | None = None) -> list[int]:
    """Greedy, the text read anew at every step; when it outgrows the context it goes on from its last half."""
    limit, text, new = model.config.max_len, list(prompt), []
    while len(new) < max_new and (not new or new[-1] != eos_id):
        new.append(next_log_p(model, text).argmax().item())
        text.append(new[-1])
        if len(text) > limit:
            text = text[-max(1, limit // 2):]
    return new


# ---- greedy


def test_greedy_takes_the_most_probable_token():
    equal(greedy(torch.tensor([[1.0, 3, 2], [-1, -3, -2]]), [[0], [0]]).tolist(), [1, 0], "argmax over the last axis")


@pytest.mark.parametrize("max_new", [0, 1, 5])
@pytest.mark.parametrize("prompts", [[p] for p in PROMPTS] + [PROMPTS], ids=["3", "1", "6", "2", "ragged"])
def test_greedy_equals_a_slow_loop(model, prompts, max_new):
    handed_in = [list(prompt) for prompt in prompts]
    equal(generate(model, prompts, max_new), [slowly(model, prompt, max_new) for prompt in prompts],
          "the last real token of each row gives its first new one; the cache goes on from there")
    equal(prompts, handed_in, "the caller's prompts were changed")


@pytest.mark.parametrize("length", [1, 5, CONTEXT - 1, CONTEXT])
def test_beyond_the_context_the_last_half_is_read_anew(model, length):
    prompt, n = list(range(7, 7 + length)), 3 * CONTEXT
    expected = slowly(model, prompt, n)
    equal(generate(model, [prompt], n), [expected], "the window is the last half of the text with the newest token")
    assert len(set(expected)) > 3, "this test should write several tokens"


def test_the_smallest_contexts():
    for model in (gpt(max_len=limit) for limit in (1, 2, 3)):
        equal(generate(model, [[3]], 9), [slowly(model, [3], 9)], "half of a context of one token is still one token")


def test_rows_of_different_lengths_beyond_the_context(model):
    equal(generate(model, PROMPTS, 2 * CONTEXT), [slowly(model, prompt, 2 * CONTEXT) for prompt in PROMPTS],
          "a row forgets its past when its own text fills the context, not when a longer neighbour's does")


@pytest.mark.parametrize("max_new", [5, 2 * CONTEXT])
def test_a_row_ends_with_eos_and_the_others_go_on(model, max_new):
    prompts = PROMPTS if max_new == 5 else [[t, 9, 2] for t in range(8)]  # beyond the context: of one length
    texts = [slowly(model, prompt, max_new) for prompt in prompts]
    eos = next(t for text in texts for t in text[1:-1] if t != text[0] and any(t not in other for other in texts))
    came = generate(model, prompts, max_new, eos_id=eos)
    equal(came, [slowly(model, prompt, max_new, eos) for prompt in prompts],
          "a row stops at eos, which belongs to the text; rows that go on keep their own cache")
    lengths = {len(text) for text in came}
    assert max_new in lengths and len(lengths) > 1, "in this test some rows should end, others not"
    for prompt, row in zip(prompts, came):
        equal(generate(model, [prompt], max_new, eos_id=eos), [row], "a row is the same alone and in company")


def record_sizes(model) -> list[tuple[int, int]]:
    """(B, T) of each call of model.hidden from here on."""
    sizes, hidden = [], model.hidden

    def recording(ids, *a, **how):
        sizes.append(tuple(ids.shape))
        return hidden(ids, *a, **how)

    model.hidden = recording
    return sizes


@pytest.mark.parametrize(("last", "max_new"), [(1, 4), (0, 9)], ids=["max_new", "all ended"])
def test_each_token_is_read_once_and_an_ended_row_costs_nothing(last, max_new):
    model, script, given = gpt(), iter([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0], [last]]), []  # 0 = eos
    sizes = record_sizes(model)

    def choose(logits: Tensor, texts: list[list[int]]) -> Tensor:
        equal(tuple(logits.shape), (len(texts), V), "one row of logits for each text still going")
        given.append([list(text) for text in texts])
        return torch.tensor(next(script))

    equal(list(stream(model, PROMPTS, max_new, choose, eos_id=0)),
          [{0: 1, 1: 1, 2: 1, 3: 1}, {0: 1, 1: 0, 2: 1, 3: 1}, {0: 0, 2: 1, 3: 0}, {2: last}],
          "each step yields the tokens of the rows still going, by the number of the prompt")
    equal(sizes, [(4, 6), (4, 1), (3, 1), (1, 1)], "the prompts at once, then one token of each row still going; "
                                                   "after the last token nothing is read")
    a, b, c, d = PROMPTS
    equal(given, [[a, b, c, d], [[*a, 1], [*b, 1], [*c, 1], [*d, 1]], [[*a, 1, 1], [*c, 1, 1], [*d, 1, 1]],
                  [[*c, 1, 1, 1]]], "`choose` is given prompt and new tokens of the rows still going, in order")


# ---- the state of the model


def test_dropout_is_off_and_the_mode_comes_back():
    model = gpt()
    for write in (lambda: generate(model, PROMPTS, 8), lambda: beam_search(model, [1], 4, 3)):
        expected = write()
        assert not model.training, "a model in eval mode should stay there"
        model.train()
        equal(write(), expected, "dropout was on")
        assert model.training, "expected train mode, as it was; likely mistake: model.eval() and no way back"
        model.eval()


@pytest.mark.parametrize("end", ["closed", "dropped", "error in choose", "error in the model"])
def test_the_mode_comes_back_however_the_writing_ends(end):
    def fail(*_, **__):
        raise RuntimeError("as planned")

    model = gpt().train()
    if end == "error in the model":
        model.hidden = fail
    steps = stream(model, PROMPTS, 5, fail if end == "error in choose" else greedy)
    if "error" in end:
        with pytest.raises(RuntimeError, match="as planned"):
            next(steps)
    else:
        next(steps)
        assert not model.training, "dropout should be off while the text is written"
        if end == "closed":
            steps.close()
        del steps
    assert all(module.training for module in model.modules()), f"{end}: likely mistake: no try ... finally"


def test_no_gradients_inside_and_none_taken_from_the_caller():
    inside = []

    def choose(logits, texts):
        inside.append(torch.is_grad_enabled() or logits.requires_grad)
        return greedy(logits, texts)

    for _ in stream(gpt(), PROMPTS, 3, choose):
        assert torch.is_grad_enabled(), "between two tokens the caller's code should have gradients"
    equal(inside, [False] * 3, "writing needs no gradients: they would keep all activations")


# ---- sampling, by hand


def by_hand(logits: list[float], text: list[int], temperature=1.0, top_k=None, top_p=None,
            repetition_penalty=1.0) -> Tensor:
    """What Sampling says, token by token, in Python's own numbers; the probabilities (V,) sum to 1."""
    x = [(z / repetition_penalty if z > 0 else z * repetition_penalty) if token in text else z
         for token, z in enumerate(logits)]
    ranked = sorted(range(len(x)), key=lambda token: -x[token])
    weights = {token: math.exp((x[token] - x[ranked[0]]) / temperature) for token in ranked[:top_k]}
    total, together, kept = sum(weights.values()), 0.0, {}
    for token, w in weights.items():  # most probable first
        if top_p is None or together < top_p:
            kept[token] = w
        together += w / total
    return torch.tensor([kept.get(token, 0.0) / sum(kept.values()) for token in range(len(x))])


def probabilities(logits: list[float], text: list[int] = (), **settings) -> Tensor:
    p = Sampling(**settings).probabilities(torch.tensor([logits]), [list(text)])[0]
    return (p / p.sum()).float()


LOGITS = [math.log(p) for p in (0.1, 0.4, 0.2, 0.3)]
HAND = {
    "nothing changes them": ({}, [0.1, 0.4, 0.2, 0.3]),
    "T = 1/2 squares them": ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
    "the two likeliest": ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
    "as many as there are": ({"top_k": 4}, [0.1, 0.4, 0.2, 0.3]),
    "0.4 + 0.3 is enough for 0.6": ({"top_p": 0.6}, [0, 4 / 7, 0, 3 / 7]),
    "and not for 0.75": ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),
    "the first stays in any case": ({"top_p": 1e-9}, [0, 1, 0, 0]),
    "temperature, then top_p: 16/30 >= 1/2": ({"temperature": 0.5, "top_p": 0.5}, [0, 1, 0, 0]),
    "top_k, then top_p of what is left: 4/7 >= 1/2": ({"top_k": 2, "top_p": 0.5}, [0, 1, 0, 0]),
}


@pytest.mark.parametrize("case", HAND)
def test_probabilities_by_hand(case):
    settings, expected = HAND[case]
    close(probabilities(LOGITS, **settings), torch.tensor(expected, dtype=torch.float32),
          f"{case}; the order is penalty, temperature, top_k, top_p, and each is told what the one before left")


def test_equal_tokens_with_top_p():
    for p, n in ((0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4), (1.0, 4)):  # four times exactly 1/4
        kept = probabilities([2.0] * 4, top_p=p).count_nonzero().item()
        equal(kept, n, f"top_p = {p}: the fewest that together have at least p, even among equals")


@pytest.mark.parametrize("n", [7, 5_000])
def test_top_p_of_one_changes_nothing(n):
    logits, texts = torch.randn(3, n) * 3, [[0]] * 3
    same(Sampling(top_p=1.0).probabilities(logits, texts), Sampling().probabilities(logits, texts),
         "a running sum in float32 reaches 1 before the last token, and the others are lost")


def test_the_repetition_penalty_by_hand():
    expected = torch.tensor([1.0, 2.0, -3.0, 0.0, -1.0]).softmax(0)  # 2 / 2, and -1.5 * 2; what is 0 stays 0
    for text in ([0, 2, 3], [2, 0, 0, 2, 0, 3, 0]):
        close(probabilities([2.0, 2.0, -1.5, 0.0, -1.0], text, repetition_penalty=2.0), expected,
              "divided when positive, multiplied when negative, once however often the token came")
    logits = torch.tensor([[2.0, 1.5], [2.0, 1.5]])
    came = Sampling(top_k=1, repetition_penalty=2.0).probabilities(logits, [[0], [1]])
    equal(came.tolist(), [[0, 1], [1, 0]], "each row by its own text, and the penalty before top_k")
    same(logits, torch.tensor([[2.0, 1.5], [2.0, 1.5]]), "the caller's logits were changed")


GRID = [dict(zip(("temperature", "top_k", "top_p", "repetition_penalty"), values))
        for values in itertools.product((0.7, 1.0, 1.9), (None, 1, 4, 13), (None, 0.3, 0.9), (1.0, 1.7, 0.6))]


def test_all_settings_together_equal_the_slow_way():
    for how in GRID:
        logits, text = (torch.randn(13) * 2).tolist(), torch.randint(13, (5,)).tolist()
        close(probabilities(logits, text, **how), by_hand(logits, text, **how), f"{how}, in the documented order")


@pytest.mark.needs_data
def test_all_settings_together_equal_transformers():
    theirs = oracle("transformers")
    for how in GRID:
        logits, texts = torch.randn(4, 13) * 2, torch.randint(13, (4, 5))
        steps = [theirs.RepetitionPenaltyLogitsProcessor(how["repetition_penalty"]),
                 theirs.TemperatureLogitsWarper(how["temperature"])]
        steps += [theirs.TopKLogitsWarper(how["top_k"])] if how["top_k"] else []
        steps += [theirs.TopPLogitsWarper(how["top_p"])] if how["top_p"] else []
        expected = theirs.LogitsProcessorList(steps)(texts, logits).softmax(-1)
        came = Sampling(**how).probabilities(logits, texts.tolist()).float()
        close(came / came.sum(-1, keepdim=True), expected, f"{how}: the processors of `transformers` in this order")


@pytest.mark.parametrize("how", [{"temperature": 1e-6}, {"temperature": 1e-30}, {"temperature": 1e-300},
                                 {"temperature": 2.0, "top_k": 1}], ids=str)
def test_where_sampling_is_greedy(how):
    for scale in (1e-3, 1.0, 1e30):
        logits = torch.randn(50, 13) * scale
        equal(Sampling(**how)(logits, [[]] * 50).tolist(), logits.argmax(-1).tolist(),
              f"logits times {scale}: the largest is subtracted first, so that a tiny temperature overflows nothing")


def test_bfloat16_logits_are_summed_in_float32():
    logits = torch.randn(2, 2_000).bfloat16()
    came, expected = (Sampling(top_p=0.9).probabilities(x, [[0]] * 2).count_nonzero(-1).tolist()
                      for x in (logits, logits.float()))
    equal(came, expected, "a running sum in bfloat16 has 3 digits: top_p cuts at the wrong token")


# ---- sampling, by its draws


def p_value(draws: Tensor, expected: Tensor) -> float:
    """Pearson's chi-square test: how often chance alone strays as far from `expected` as the draws do."""
    counts, possible = torch.bincount(draws, minlength=len(expected)), expected > 0
    if counts[~possible].any():
        return 0.0
    mean = expected[possible].double() * len(draws)
    chi_square, freedom = ((counts[possible] - mean) ** 2 / mean).sum(), possible.sum() - 1
    return torch.special.gammaincc(freedom / 2, chi_square / 2).item()


@pytest.mark.parametrize("how", [{}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.8}, {
    "temperature": 0.7, "top_k": 5, "top_p": 0.9, "repetition_penalty": 1.5}], ids=str)
def test_tokens_are_drawn_by_their_probability(how):
    logits, text, rng = [0.5, -0.2, 1.3, 0.0, -1.1, 0.9, 0.3], [2, 2, 4], torch.Generator().manual_seed(3)
    draws = Sampling(**how, rng=rng)(torch.tensor(logits).expand(40_000, 7), [text] * 40_000)
    p = p_value(draws, by_hand(logits, text, **how))
    assert p > 1e-3, f"{how}: chance alone strays so far with p = {p:.0e}; the draw is not by the documented softmax"
    assert p_value(draws, by_hand(logits, text, **{**how, "temperature": 0.8})) < 1e-6, "this test sees too little"


def test_the_first_token_is_drawn_from_the_models_own_softmax():
    model, rng = gpt(vocab_size=7), torch.Generator().manual_seed(3)
    draws = generate(model, [[1, 2, 3], [4]] * 20_000, 1, Sampling(rng=rng))
    for row, prompt in enumerate(([1, 2, 3], [4])):
        p = p_value(torch.tensor(draws[row::2]).flatten(), next_log_p(model, prompt).exp())
        assert p > 1e-3, f"prompt {prompt}: drawn from other logits than those of its last token (p = {p:.0e})"


def test_the_same_seed_writes_the_same_text():
    model = gpt()

    def write(seed: int) -> list[list[int]]:
        return generate(model, PROMPTS, 20, Sampling(3.0, rng=torch.Generator().manual_seed(seed)))

    state = torch.get_rng_state()
    equal(write(5), write(5), "all chance comes from the generator that was given")
    same(torch.get_rng_state(), state, "torch's own generator was used beside the one that was given")
    assert write(5) != write(6), "another seed should write another text"
    torch.set_rng_state(state)
    rows = generate(model, PROMPTS[:1] * 4, 20, Sampling(3.0))
    equal(len({tuple(row) for row in rows}), 4, "each row draws for itself")
    torch.set_rng_state(state)
    equal(generate(model, PROMPTS[:1] * 4, 20, Sampling(3.0)), rows, "without a generator torch.manual_seed decides")


# ---- what is refused

SETTINGS = {"temperature": (0, 0.0, -1.0, math.nan, math.inf), "top_p": (0.0, 1.1, -0.5, math.nan), "top_k": (0, -3),
            "repetition_penalty": (0.0, -1.0, math.nan, math.inf)}
PROMPT = {"empty": [], "12 tokens": [1] * 12, "token -1": [1, -1], f"token {V},": [V, 1]}
REFUSED = {f"{name} = {value}": lambda m, how={name: value}: Sampling(**how)
           for name, values in SETTINGS.items() for value in values}
REFUSED |= {f"top_k = {V + 1}": lambda m: generate(m, PROMPTS, 2, Sampling(top_k=V + 1)),
            "n_beams = 0": lambda m: beam_search(m, [1], 3, 0),
            "3 tokens and 9 new ones": lambda m: beam_search(m, [1, 2, 3], 9, 2)}
REFUSED |= {f"generate: {name}": lambda m, prompt=prompt: generate(m, [[1, 2], prompt], 3)
            for name, prompt in PROMPT.items()}
REFUSED |= {f"beam search: {name}": lambda m, prompt=prompt: beam_search(m, prompt, 3, 2)
            for name, prompt in PROMPT.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(case):
    model, named = gpt().train(), case.split(": ")[-1]
    with pytest.raises(UserError) as error:
        REFUSED[case](model)
    message = str(error.value)
    assert named in message and len(message.splitlines()) == 1, f"expected one line with {named!r}, came: {message}"
    assert model.training, "a refusal leaves the model as it was"


# ---- beam search

PENALTY = pytest.mark.parametrize("penalty", [1.0, 0.0, -2.0, 0.6, 2.0])
Beams = list[tuple[float, list[int]]]


def all_texts(model, prompt: list[int], n: int, eos: int | None, penalty: float) -> Beams:
    """(score, tokens) of every possible continuation, best first: all that end with eos, and all of n tokens."""
    whole = torch.tensor(list(itertools.product(range(model.config.vocab_size), repeat=n)))  # (V^n, n)
    with torch.no_grad():
        log_p = model(torch.cat([torch.tensor(prompt).expand(len(whole), -1), whole], dim=1)).log_softmax(-1)
    each = log_p[:, len(prompt) - 1:-1].gather(2, whole.unsqueeze(2)).squeeze(2).cumsum(1)  # (V^n, n)
    found = {}
    for tokens, sums in zip(whole.tolist(), each.tolist()):
        length = tokens.index(eos) + 1 if eos in tokens else n
        found[tuple(tokens[:length])] = sums[length - 1] / length**penalty
    return sorted(((score, list(tokens)) for tokens, score in found.items()), reverse=True)


def beams_that_never_stop(model, prompt: list[int], n: int, n_beams: int, eos: int | None, penalty: float) -> Beams:
    """Beam search without a cache and without an early end."""
    beams, finished = [(0.0, [])], []
    for length in range(1, n + 1):
        best = sorted(((p + q, [*tokens, token]) for p, tokens in beams
                       for token, q in enumerate(next_log_p(model, prompt + tokens).tolist())), reverse=True)
        best = best[:2 * n_beams]  # n_beams are to go on, and as many more may end here
        finished += [(p / length**penalty, tokens) for p, tokens in best if tokens[-1] == eos or length == n]
        beams = [(p, tokens) for p, tokens in best if tokens[-1] != eos][:n_beams]
    return sorted(finished, reverse=True)[:n_beams]


def agree(came: Beams, expected: Beams, mistake: str) -> None:
    """The same texts with the same scores in the same order; two with equal scores may change places."""
    def scores(beams: Beams) -> Tensor:
        return torch.tensor([score for score, _ in beams])

    of = {tuple(tokens): score for score, tokens in expected}
    equal({tuple(tokens) for _, tokens in came}, set(of), mistake)
    close(scores(came), scores(expected), mistake, atol=1e-5)
    close(scores(came), scores([(of[tuple(tokens)], tokens) for _, tokens in came]), mistake, atol=1e-5)


@pytest.mark.parametrize("eos", [None, 2])
@PENALTY
def test_enough_beams_find_the_best_of_all_texts(eos, penalty):
    for seed, n in itertools.product(range(4), (1, 2, 4)):
        model = random_gpt(0.5, seed, vocab_size=4, max_len=7)
        agree(beam_search(model, [0, 3, 1], n, 4**n, eos, penalty), all_texts(model, [0, 3, 1], n, eos, penalty),
              f"{n} tokens: log P / length^{penalty}, eos counted; nothing left out, best first")


@pytest.mark.parametrize("n_beams", [1, 2, 3])
@PENALTY
def test_stopping_early_changes_nothing(n_beams, penalty):
    stopped = 0
    for seed in range(20):
        model = random_gpt(0.8, seed, vocab_size=4, max_len=7)
        eos = next_log_p(model, [1]).argmax().item() if seed < 12 else 0  # one that is likely; any one
        expected = beams_that_never_stop(model, [1], 5, n_beams, eos, penalty)
        steps = record_sizes(model)
        agree(beam_search(model, [1], 5, n_beams, eos, penalty), expected,
              f"seed {seed}: it stopped while a longer text could still get ahead, or beams and cache rows differ")
        stopped += len(steps) < 5
    assert stopped or penalty > 1, f"penalty {penalty}: it never stopped early, though nothing could get ahead"


@pytest.mark.parametrize("penalty", [1.0, -0.5])
def test_scores_are_true_sorted_and_few(model, penalty):
    prompt = [3, 1, 4]
    came = beam_search(model, prompt, 6, 5, 9, penalty)
    equal(len({tuple(tokens) for _, tokens in came}), 5, "as many texts as beams, no text twice")
    equal(came, sorted(came, reverse=True), "best first")
    for score, tokens in came:
        log_p = sum(next_log_p(model, prompt + tokens[:i])[token].item() for i, token in enumerate(tokens))
        close(torch.tensor(score), torch.tensor(log_p / len(tokens)**penalty),
              "log P of all new tokens, divided by length^penalty; or the cache was not selected with the beams")


def test_one_beam_without_an_end_is_greedy(model):
    for prompt in PROMPTS[:2]:
        equal([beam_search(model, prompt, CONTEXT - 3, 1)[0][1]], generate(model, [prompt], CONTEXT - 3),
              "the most probable token at each step, to the last place of the context")


@pytest.mark.needs_data
@PENALTY
def test_beams_equal_those_of_transformers(penalty, tmp_path):
    """Without an end both keep the likeliest n_beams at each step, and divide by the number of new tokens."""
    model, prompt = gpt(), PROMPTS[0]
    model.save_pretrained(tmp_path)
    theirs = oracle("transformers").GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    out = theirs.generate(torch.tensor([prompt]), max_new_tokens=6, num_beams=4, num_return_sequences=4,
                          length_penalty=penalty, early_stopping="never", do_sample=False, eos_token_id=None,
                          pad_token_id=0, return_dict_in_generate=True, output_scores=True)
    expected = list(zip(out.sequences_scores.tolist(), out.sequences[:, len(prompt):].tolist()))
    agree(beam_search(model, prompt, 6, 4, None, penalty), expected, "4 beams, the same weights")
