"""Every broken or hostile input gets the answer that the catalogue names, in little time and memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bad_inputs.catalogue import DEFINED, REFUSED, Defined, Refused

SECONDS = 20  # of processor, for one input, at the most
PEAK = 1_500_000_000  # bytes of memory in use; most of it are libraries

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What became of each input, by its path's last part; read in one process that has little memory."""
    folder = tmp_path_factory.mktemp("bad")
    asked = []
    for entry in (*REFUSED, *DEFINED):
        path = folder / entry.name
        entry.make(path)
        asked.append(json.dumps([str(path), entry.holds if isinstance(entry, Defined) else ""]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bad_inputs.read_all"],
        input="\n".join(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(one["path"]).name: one for one in said}


def test_names_are_distinct_and_there_are_many() -> None:
    names = [entry.name for entry in (*REFUSED, *DEFINED)]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry.name)
def test_it_is_refused_in_words(entry: Refused, outcomes: Outcomes) -> None:
    said = outcomes[entry.name]
    assert said.get("error") in ("ScanError", "OtherKind"), said
    assert entry.name in said["text"]
    assert re.search(entry.says, said["text"], re.S), said["text"]
    assert said["text"].count(". ") >= 1  # the remedy is a sentence of its own
    assert said["seconds"] < SECONDS


@pytest.mark.parametrize("entry", DEFINED, ids=lambda entry: ascii(entry.name))
def test_it_is_read_as_defined(entry: Defined, outcomes: Outcomes) -> None:
    said = outcomes[entry.name]
    assert said.get("holds"), said
    assert said["seconds"] < SECONDS


def test_memory_stays_bounded(outcomes: Outcomes) -> None:
    assert outcomes["peak"]["bytes"] < PEAK
