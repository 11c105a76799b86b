import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffdenoise import threads
from diffdenoise.threads import quota, settle_threads


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


def test_the_command_settles_it_before_pytorch_is_there() -> None:
    program = (
        "import os, sys\nfrom diffdenoise.__main__ import main\nassert 'torch' not in sys.modules\n"
        "sys.argv[1:] = ['--version']\ntry: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules\nprint(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-1] == str(threads.SPINS)
