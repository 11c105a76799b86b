import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise import threads
from diffdenoise.threads import give_way, made_once, quota, settle_threads


def test_what_a_user_has_set_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    for before, after in (
        ({}, {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": "2"}),
        ({"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "8"}, {}),
        ({"GOMP_SPINCOUNT": "7"}, {"OMP_NUM_THREADS": "2"}),
    ):
        environment = dict(before)
        settle_threads(environment)
        assert environment == {**before, **after}


@pytest.mark.parametrize(
    ("content", "cores"),
    [("max 100000\n", math.inf), ("50000 100000\n", 0.5), ("400000 100000\n", 4.0), ("", math.inf), ("1 0", math.inf)],
)
def test_the_share_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, cores: float) -> None:
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    assert quota() == math.inf
    (tmp_path / "cpu.max").write_text(content)
    assert quota() == cores


@given(st.integers(1, 64), st.floats(0, 64), st.floats(0, 1000), st.floats(0.6, 100))
def test_there_are_as_many_threads_as_cores_were_free(cores: int, others: float, own: float, passed: float) -> None:
    begun = threads._Computed(7.0, 100.0, 3.0)
    now = threads._Computed(7.0 + passed, 100.0 + passed * others + own, 3.0 + own)
    free = round(cores - others, 6)
    with watching(begun, now, cores):
        count = give_way()
        assert count == torch.get_num_threads() == min(cores, max(1, round(free))) or abs(free % 1 - 0.5) < 1e-5
        assert give_way(3) == min(3, cores)  # as an interrupted fit was begun


def test_in_no_time_nothing_can_be_told() -> None:
    with watching(threads._Computed(7.0, 100.0, 3.0), threads._Computed(7.1, 110.0, 3.0), 4):
        for before in (4, 2):
            torch.set_num_threads(before)
            assert give_way() == before
        assert threads._watched[0].at == 7.0  # is watched on


def test_who_imports_the_package_or_sets_their_number_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads, "_watched", [])
    (tmp_path / "stat").write_text("cpu  100 200 300 400 500 600 700 800 900 1000\ncpu0 1 1\n")
    monkeypatch.setattr(threads, "STAT", tmp_path / "stat")
    settle_threads({"OMP_NUM_THREADS": "3"})
    assert give_way() == give_way(9) == torch.get_num_threads()
    settle_threads({})
    (watched,) = threads._watched
    assert watched.by_all * os.sysconf("SC_CLK_TCK") == 100 + 300 + 600 + 700 + 800


def test_what_several_threads_ask_for_is_made_once() -> None:
    made = []

    @made_once
    def slowly(number: int) -> int:
        time.sleep(0.05)
        made.append(number)
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(slowly, [3, 3, 4, 3])) == [3, 3, 4, 3]
    assert sorted(made) == [3, 4]


@contextmanager
def watching(begun: threads._Computed, now: threads._Computed, cores: int) -> Iterator[None]:
    """As if the process had been begun, and it is now, on so many cores, each with a thread."""
    usual = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_watched", [begun])
        patch.setattr(threads, "_computed", lambda: now)
        patch.setattr(threads, "_most", lambda: cores)
        patch.setattr(os, "cpu_count", lambda: cores)
        yield
    torch.set_num_threads(usual)


def test_the_command_settles_it_before_pytorch_is_there() -> None:
    program = (
        "import os, sys\nfrom diffdenoise.__main__ import main\nassert 'torch' not in sys.modules\n"
        "sys.argv[1:] = ['--version']\ntry: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules\nprint(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-1] == str(threads.SPINS)
