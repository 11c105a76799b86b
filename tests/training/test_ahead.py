import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffdenoise.training.ahead import Ahead


def test_each_step_gets_its_own_in_any_order_of_threads() -> None:
    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))
        return 10 * step

    ahead = Ahead(make, threads=3)
    assert [ahead(step) for step in range(20)] == [10 * step for step in range(20)]
    assert ahead(100) == 1000  # resumed elsewhere
    assert min(ahead.coming) == 101
    ahead.close()


def test_it_is_ahead_but_not_far() -> None:
    made: list[int] = []
    ahead = Ahead(made.append, threads=2)
    ahead(0)
    until = time.monotonic() + 60
    while len(made) < ahead.depth and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert sorted(made) == list(range(ahead.depth))
    ahead.close()


def test_what_fails_fails_in_its_turn() -> None:
    ahead = Ahead(lambda step: 1 / (3 - step), threads=2)
    assert [ahead(step) for step in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        ahead(3)
    ahead.close()


def test_its_threads_work_alone_and_are_gone_in_the_end() -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)  # with one, as other tests have, there is nothing to tell
    try:
        ahead = Ahead(lambda step: torch.get_num_threads(), threads=2)
        assert ahead(0) == 1
        assert torch.get_num_threads() == 2
        ahead.close()
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(usual)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]
