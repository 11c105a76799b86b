"""The batches of the steps to come, made by threads of the CPU while a GPU computes the ones before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from diffdenoise.threads import cores

Made = TypeVar("Made")

THREADS = 4  # at most; one alone takes about as long for a batch of the preset fast as an H100 (docs/ablations.md, t)


class Ahead(Generic[Made]):
    """Calls `make(step)` for the steps after the one that is asked for; it is a function of the step alone."""

    def __init__(self, make: Callable[[int], Made], threads: int | None = None) -> None:
        count = threads or max(1, min(THREADS, cores() - 1))
        self.make, self.depth = make, 2 * count
        self.coming: dict[int, Future[Made]] = {}
        # Each does its own work alone: threads of threads would wait for one another.
        self.pool = ThreadPoolExecutor(count, "batch", initializer=torch.set_num_threads, initargs=(1,))

    def __call__(self, step: int) -> Made:
        """What `make` makes of this step. Raises what it raised."""
        self.coming = {number: made for number, made in self.coming.items() if number >= step}
        for number in range(step, step + self.depth):
            if number not in self.coming:
                self.coming[number] = self.pool.submit(self.make, number)
        return self.coming.pop(step).result()

    def close(self) -> None:
        """Leave off; what is being made is waited for."""
        self.pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # or threads to come would start with the workers' one
