"""The node as a whole: a receiver, a denoiser and a sender around one spool, each in a thread of its own."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread

from diffdenoise.errors import ConfigError
from diffdenoise.node.counters import Counters
from diffdenoise.node.forward import Address, Delays, Forwarder, check_title
from diffdenoise.node.health import answer
from diffdenoise.node.receive import Receiver, listen
from diffdenoise.node.room import Bounds
from diffdenoise.node.rules import Rules
from diffdenoise.node.spool import Spool, make_spool_folder
from diffdenoise.node.work import Worker
from diffdenoise.run_folder import locked, named

log = logging.getLogger("diffdenoise")


@dataclass(frozen=True)
class Node:
    """What a node is told. quiet: seconds, keep: hours, health_port: None for no health."""

    forward: Address
    rules: Rules
    spool: Path
    host: str = "127.0.0.1"
    port: int = 11112
    title: str = "DIFFDENOISE"
    callers: Sequence[str] = ()
    quiet: float = 10.0
    keep: float = 24.0
    bounds: Bounds = field(default_factory=Bounds)
    health_port: int | None = 11113
    device: str = "auto"
    delays: Delays = field(default_factory=Delays)


def serve(node: Node, stop: Event | None = None) -> None:
    """Run until told to stop, by the event or by SIGTERM or SIGINT.

    Raises ConfigError where pynetdicom is missing or a port is taken, RunError where the spool is in use, ModelError
    where a model turns out to be no good. Nothing that was received is lost by that.
    """
    require_pynetdicom()
    title = check_title(node.title)
    _check_numbers(node)
    stop = stop or Event()
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(_ending(stop))
        stack.enter_context(locked(make_spool_folder(node.spool)))
        with named(node.spool):
            spool, counters = Spool(node.spool, node.bounds), Counters()
            spool.adopt(node.rules.digest())
        if lack := spool.room.lack(0):
            log.warning("Nothing is taken at the moment: %s.", lack)
        worker = Worker(spool, node.rules, counters, node.device, node.quiet, 3600 * node.keep)
        forwarder = Forwarder(spool, node.forward, title, counters, node.delays)
        if node.health_port is not None:
            health = answer(node.health_port, spool, counters, lambda: worker.ready)
            stack.callback(health.server_close)
            stack.callback(health.shutdown)
        callers = [check_title(caller) for caller in node.callers]
        stack.callback(listen(Receiver(spool, counters), node.host, node.port, title, callers))
        log.info("Receiving as %s on %s:%d.", title, node.host, node.port)
        _together([worker.run, forwarder.run], stop)
        log.info("Ended. What is in the queue goes on with the next start.")


def _check_numbers(node: Node) -> None:
    """ConfigError for times that cannot be waited, and for bounds that let nothing in."""
    for name, bound in (("--max-images", node.bounds.images), ("--max-gb", node.bounds.bytes)):
        if not bound > 0:
            raise ConfigError(f"{name}: has to be more than 0, or nothing would be received.")
    for name, value in (("--quiet-seconds", node.quiet), ("--keep", node.keep)):
        if not 0 <= value < math.inf:
            raise ConfigError(f"{name} {value:g}: is no time. Give a number from 0 on.")


def require_pynetdicom() -> None:
    """ConfigError that says how to install it, where it is missing."""
    if find_spec("pynetdicom") is None:
        raise ConfigError("A node needs pynetdicom, which is not installed: in the checkout, pip install '.[node]'")


def _together(parts: Sequence[Callable[[Event], None]], stop: Event) -> None:
    """Run the parts in threads until they end; one that fails ends the others, and its error is raised."""
    errors: list[BaseException] = []

    def run(part: Callable[[Event], None]) -> None:
        try:
            part(stop)
        except BaseException as error:
            errors.append(error)
        finally:
            stop.set()

    threads = [Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def _ending(stop: Event) -> Iterator[None]:
    """SIGTERM and SIGINT end the node in good order."""
    if current_thread() is not main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries say nothing: their messages quote what stands in the images."""
    loggers = [logging.getLogger(name) for name in ("pynetdicom", "pydicom")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
