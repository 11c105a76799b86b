"""What a monitor asks the node, on this machine only: /health as JSON, /metrics as Prometheus reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from diffdenoise import __version__
from diffdenoise.errors import ConfigError, reason_of
from diffdenoise.node.counters import COUNTED, Counters
from diffdenoise.node.room import Usage
from diffdenoise.node.spool import Spool

_GAUGES = {
    "waiting": "Images received, to be denoised",
    "outgoing": "Derived images, to be sent",
    "done": "Sources kept for late images of their series",
    "failed": "Images set aside",
    "bytes": "Bytes of all images in the spool",
    "oldest": "Seconds that the oldest image in the queue has waited",
}


def state(spool: Spool, counters: Counters, ready: bool) -> dict[str, Any]:
    """All that is told, JSON-ready. status: "starting" until the models are loaded, "full" where nothing is taken."""
    usage = spool.room.usage()
    status = "full" if not spool.room.fits(0) else "ok" if ready else "starting"
    totals = {name: counters[name] for name in COUNTED}
    return {"status": status, "version": __version__, "spool": asdict(usage), "queue": usage.queue, "counts": totals}


def metrics(usage: Usage, counters: Counters) -> str:
    """The same in Prometheus' text format; counts by reason."""
    lines = []
    for name, meaning in COUNTED.items():
        lines += [f"# HELP diffdenoise_{name}_total {meaning}", f"# TYPE diffdenoise_{name}_total counter"]
        for (counted, reason), number in counters.items():
            if counted == name:
                label = f'{{reason="{reason}"}}' if reason else ""
                lines.append(f"diffdenoise_{name}_total{label} {number}")
    for name, meaning in _GAUGES.items():
        lines += [f"# HELP diffdenoise_spool_{name} {meaning}", f"# TYPE diffdenoise_spool_{name} gauge"]
        lines.append(f"diffdenoise_spool_{name} {getattr(usage, name):g}")
    return "\n".join(lines) + "\n"


def answer(port: int, spool: Spool, counters: Counters, ready: Callable[[], bool]) -> ThreadingHTTPServer:
    """Start to answer on localhost, in a thread; end it with `shutdown()`. Raises ConfigError: the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                told = state(spool, counters, ready())
                self._say(503 if told["status"] == "full" else 200, "application/json", json.dumps(told, indent=2))
            elif self.path == "/metrics":
                self._say(200, "text/plain; version=0.0.4", metrics(spool.room.usage(), counters))
            else:
                self._say(404, "text/plain", "There are /health and /metrics.\n")

        def _say(self, code: int, kind: str, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"Health: port {port} cannot be had ({reason_of(error)}). See --health-port.") from error
    Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
