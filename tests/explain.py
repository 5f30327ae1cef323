"""How a test fails: what was expected, what came, where they differ most, and the likely mistake."""

import torch
from torch import Tensor


def close(came: Tensor, expected: Tensor, mistake: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """The two tensors are equal up to the rounding of float32, and neither holds a NaN."""
    def explain(report: str) -> str:
        if came.shape == expected.shape:
            gap = (came - expected).abs().nan_to_num(nan=torch.inf)
            place = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
            report += f"\nat {place}: expected {expected[place].item()}, came {came[place].item()}"
        return f"{report}\nlikely mistake: {mistake}"

    torch.testing.assert_close(came, expected, rtol=rtol, atol=atol, msg=explain)


def same(came: Tensor, expected: Tensor, mistake: str) -> None:
    """The two tensors are equal bit for bit."""
    close(came, expected, mistake, rtol=0, atol=0)


def equal(came, expected, mistake: str) -> None:
    """The two values (numbers, texts, lists) are equal."""
    assert came == expected, f"expected {expected!r}, came {came!r}; likely mistake: {mistake}"
