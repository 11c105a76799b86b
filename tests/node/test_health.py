from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from diffdenoise.errors import ConfigError
from diffdenoise.node.counters import COUNTED, Counters
from diffdenoise.node.health import answer
from diffdenoise.node.room import Bounds
from diffdenoise.node.spool import Spool
from tests.node.node_checks import free_port


def ask(port: int, what: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{what}") as page:
            return page.status, page.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_it_tells_how_the_node_is(tmp_path: Path) -> None:
    spool, counters, port, ready = Spool(tmp_path, Bounds(images=2)), Counters(), free_port(), [False]
    server = answer(port, spool, counters, lambda: ready[0])
    try:
        spool.add("s", "i", b"12345")
        counters.add("received")
        counters.add("refused", 2, "full")
        told = json.loads(ask(port, "/health")[1])
        assert (told["status"], told["queue"], told["spool"]["bytes"]) == ("starting", 1, 5)
        assert told["counts"] == dict.fromkeys(COUNTED, 0) | {"received": 1, "refused": 2}
        ready[0] = True
        code, text = ask(port, "/health")
        assert (code, json.loads(text)["status"]) == (200, "ok")
        spool.add("s", "j", b"")
        code, text = ask(port, "/health")
        assert (code, json.loads(text)["status"]) == (503, "full")
        assert ask(port, "/")[0] == 404
        with pytest.raises(ConfigError, match="--health-port"):
            answer(port, spool, counters, lambda: True)
    finally:
        server.shutdown()
        server.server_close()


def test_metrics_have_the_form_that_prometheus_reads(tmp_path: Path) -> None:
    from diffdenoise.node.health import metrics

    counters = Counters()
    counters.add("refused", 2, "full")
    counters.add("refused", 1, "not readable")
    lines = metrics(Spool(tmp_path).room.usage(), counters).splitlines()
    values = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r'diffdenoise_[a-z_]+({reason="[\w ]+"})? \d+(\.\d+)?', line) for line in values)
    assert 'diffdenoise_refused_total{reason="full"} 2' in values
    assert "diffdenoise_received_total 0" in values
    named = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(named) == len(set(named))
    assert {re.split(r"[ {]", line)[0] for line in values} == set(named)
