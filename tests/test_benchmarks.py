"""The benchmarks run, and compare like with like: each ends by itself where the two sides compute something else."""

from dataclasses import replace

import pytest

from tests.benchmarks import bench_minibert, bench_minigpt, bench_minit5
from tests.oracle import oracle


@pytest.mark.parametrize("bench", [bench_minibert, bench_minigpt, bench_minit5], ids=["minibert", "minigpt", "minit5"])
def test_a_benchmark_runs_to_its_end(bench, monkeypatch, capsys):
    oracle("transformers")
    small = replace(bench.CONFIG, vocab_size=97, d_model=16, n_layers=1, n_heads=2, d_ff=32)
    monkeypatch.setattr(bench, "CONFIG", small)
    bench.main(["--rounds", "1", "--steps", "1"])
    shown = capsys.readouterr().out
    races = {bench_minibert: 1, bench_minigpt: 3, bench_minit5: 3}[bench]
    assert shown.count("1.00 times as fast") >= races and shown.count("transformers") >= races, f"came {shown}"
