import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, os, signal
from diffdenoise.interrupt import not_at_the_end
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is born deaf to it
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))  # runs after what is registered later
{guard}
print("done")
"""


def test_an_interrupt_before_the_commands_are_there_is_answered(tmp_path: Path) -> None:
    (tmp_path / "cyclopts.py").write_text("raise KeyboardInterrupt")
    place = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "diffdenoise", "--help"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": place}, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (130, "diffdenoise: Interrupted.\n")


@pytest.mark.skipif(os.name != "posix", reason="no signal to send")
@pytest.mark.parametrize(("guard", "heard"), [("not_at_the_end()", False), ("", True)])
def test_when_all_is_done_an_interrupt_changes_nothing(guard: str, heard: bool) -> None:
    command = [sys.executable, "-c", PROGRAM.format(guard=guard)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "done"
    assert ("KeyboardInterrupt" in done.stderr or done.returncode == -signal.SIGINT) == heard
