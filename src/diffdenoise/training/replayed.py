"""A network whose passes are recorded once and replayed: CUDA graphs.

The networks here are small. A GPU computes a layer of them in less time than a CPU needs to ask for it, and waits most
of the time: of the 15 ms that forward and backward of a small step took on an H100, 3 were computing (by hand; whole
steps: docs/ablations.md, t). Recorded, forward and backward are one call each.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOST = 2  # shapes, for scans smaller than a crop make others: each recording holds the memory of all its activations


class Replayed:
    """Calls a network on a GPU, in training by replaying it, for the first few shapes that come.

    At most one output is waiting for its backward pass: the next call overwrites it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.recorded: dict[tuple[Any, ...], Callable[..., Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's output, with gradients for its weights alone."""
        if not self.network.training or not torch.is_grad_enabled():
            return self.network(*inputs)
        key = tuple((x.shape, x.dtype, x.stride()) for x in inputs)
        if key not in self.recorded and len(self.recorded) < MOST:
            gc.collect()  # other recordings that went meanwhile would spoil this one
            self.recorded[key] = _record(self.network, inputs)
        return self.recorded.get(key, self.network)(*inputs)

    def close(self) -> None:
        """Give the memory back: recordings refer to themselves, and would keep it until someone collects them."""
        if self.recorded:
            self.recorded.clear()
            gc.collect()
            torch.cuda.empty_cache()


def _record(network: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    # A wrapper, for what is recorded takes the place of a module's own forward.
    low = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
    with (
        warnings.catch_warnings(),
        torch.autocast("cuda", low or torch.bfloat16, enabled=low is not None, cache_enabled=False),
    ):
        warnings.filterwarnings("ignore", message=".*AccumulateGrad.*")
        recorded: Any = torch.cuda.make_graphed_callables(
            _Around(network).train(), tuple(x.detach().clone() for x in inputs)
        )
    return recorded


class _Around(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.network(*inputs)
