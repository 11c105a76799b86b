"""Which device to use, and in which precision."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from diffdenoise.errors import ConfigError

Precision = Literal["bf16-mixed", "32-true"]


def choose_device(wanted: str = "auto") -> str:
    """Give "cuda", "mps" or "cpu". "auto" takes the first that is there; ConfigError if a wanted one is not."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, there in present.items() if there)
    if not present.get(wanted):
        there = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f"The device {wanted!r} is not available here. Available: {there}.")
    return wanted


@lru_cache
def precision(device: str) -> Precision:
    """bf16 where the hardware computes in it; never fp16, which overflows to NaN in these networks."""
    import torch

    if device == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = device == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bf16-mixed" if has_bf16 else "32-true"
