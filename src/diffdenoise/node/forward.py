"""The sending side (C-STORE user): what the receiver has not acknowledged stays in the queue and is tried again."""

from __future__ import annotations

import logging
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from diffdenoise.errors import ConfigError, reason_of
from diffdenoise.node.associations import VERIFICATION
from diffdenoise.node.counters import Counters
from diffdenoise.node.spool import Spool, mark_of

POLL = 0.2  # seconds between two looks at the queue
PATIENCE = 60  # seconds that the receiver may take for an answer
LOOKING = 20  # times as long as a look that found nothing due is waited for the next: of a long queue it takes long
AT_ONCE = 500  # images in one association
CONNECTING = 10  # seconds that it may take to connect
# PS3.8 9.3.4: source and diagnostic of a rejection, and what to do about it
_REJECTIONS = {
    (1, 3): "it does not know our AE title {own}. Enter it there, or give another with --title",
    (1, 7): "{title} is not its AE title. Correct --forward",
}
_NO_ANSWER = "no answer"
log = logging.getLogger("diffdenoise")


@dataclass(frozen=True)
class Address:
    """Where to send to: AE title, host and port."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.title}@{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """From "TITLE@host:port". Raises ConfigError."""
        parts = re.fullmatch(r"([^@\\]+)@(.+):(\d{1,5})", text)
        if not parts or not 0 < int(parts[3]) < 65536:
            raise ConfigError(f"--forward {text}: is not of the form TITLE@host:port, such as ARCHIVE@10.0.0.5:104.")
        return cls(check_title(parts[1]), parts[2].strip("[]"), int(parts[3]))


def check_title(title: str) -> str:
    """An AE title, or ConfigError where it cannot be one (PS3.5 6.2: up to 16 printable characters)."""
    if not 0 < len(title.strip()) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ConfigError(f"{title!r}: is no AE title; those have 1 to 16 printable ASCII characters, no backslash.")
    return title.strip()


@dataclass
class Delays:
    """When each thing may be tried again: after `first` seconds, then twice as many each time, up to `longest`."""

    first: float = 1.0
    longest: float = 300.0
    _tries: dict[Any, int] = field(default_factory=dict)
    _until: dict[Any, float] = field(default_factory=dict)

    def put_off(self, what: Any) -> float:
        """It failed once more; gives for how many seconds it is not due."""
        tries = self.tries(what)
        seconds = min(self.first * 2.0 ** min(tries, 60), self.longest)
        self._tries[what], self._until[what] = tries + 1, time.monotonic() + seconds
        return seconds

    def succeed(self, what: Any) -> None:
        """It worked: forget the failures."""
        self._tries.pop(what, None)
        self._until.pop(what, None)

    def tries(self, what: Any) -> int:
        """How often it has failed."""
        return self._tries.get(what, 0)

    def due(self, what: Any) -> bool:
        """Whether it may be tried now."""
        return time.monotonic() >= self._until.get(what, 0.0)


@dataclass
class Forwarder:
    """Sends what lies in the spool's outgoing. One image that is refused does not hold up the others."""

    spool: Spool
    address: Address
    title: str
    counters: Counters
    delays: Delays = field(default_factory=Delays)

    def run(self, stop: Event) -> None:
        """Send until told to stop; an image on its way is finished."""
        self._greet()
        rest = POLL
        while not stop.wait(rest):
            begun = time.monotonic()
            due = self._due() if self.delays.due(self.address) else []
            rest = POLL if due else max(POLL, LOOKING * (time.monotonic() - begun))
            if due:
                self._send(due, stop)

    def _due(self) -> list[Path]:
        """What may be sent now. What has failed before comes last: it must not stand in front of the others."""
        due = [path for path in self.spool.outgoing() if self.delays.due(path)]
        return sorted(due, key=self.delays.tries)[:AT_ONCE]

    def _greet(self) -> None:
        """Say whether the receiver is there: a mistake in --forward is to be seen before the first series."""
        try:
            self._associate([]).release()
        except _Unreachable as error:
            log.warning("Cannot send to %s: %s.", self.address, error)
        else:
            log.info("Derived series go to %s, which answers.", self.address)

    def _send(self, images: list[Path], stop: Event) -> None:
        """Send in one association. Where none can be had, or it breaks at once, the receiver is given a rest."""
        try:
            association = self._associate(images)
        except _Unreachable as error:
            return self._give_rest(str(error))
        outcomes: dict[str, list[Path]] = {}
        for image in images:
            if stop.is_set() or not association.is_established:
                break
            mark = mark_of(image)
            failure = _store(association, image)
            self._note(image, failure, mark)
            outcomes.setdefault(failure, []).append(image)
            if failure == _NO_ANSWER:  # the library may not know it yet, and would wait for an answer to the next too
                association.abort()
        self._tell(outcomes)
        if "" in outcomes or association.is_established:
            self.delays.succeed(self.address)
        else:
            self._give_rest("it breaks off without an answer. Look at its log")
        if association.is_established:
            association.release()

    def _associate(self, images: list[Path]) -> Any:
        """An association that is established. Raises _Unreachable."""
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE

        entity = AE(self.title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        entity.connection_timeout = CONNECTING
        entity.add_requested_context(VERIFICATION)  # everyone has it: a class that is not taken breaks nothing
        for sop_class in sorted({_sop_class(image) for image in images} - {""})[:127]:
            entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        try:
            association = entity.associate(self.address.host, self.address.port, ae_title=self.address.title)
        except (OSError, UnicodeError) as error:  # of the look-up: a mistyped name, or a name server that is down
            raise _Unreachable(f"its host is not known ({reason_of(error)}). Check --forward and DNS") from error
        if not association.is_established:
            raise _Unreachable(self._why(association))
        return association

    def _why(self, association: Any) -> str:
        """Why it was not established, and what to do."""
        if association.is_rejected:
            answer = association.acceptor.primitive
            other = f"it rejects the association ({answer.reason_str}). Look at its log"
            why = _REJECTIONS.get((answer.result_source, answer.diagnostic), other)
            return why.format(own=self.title, title=self.address.title)
        if association.rejected_contexts:
            return "it takes neither C-ECHO nor a class of these images. Let it take them from us"
        try:  # the library keeps the system's reason to itself
            socket.create_connection((self.address.host, self.address.port), CONNECTING).close()
        except OSError as error:
            return f"{reason_of(error)}. See that it runs, that --forward is right, and that no firewall is between"
        return "there is a connection, but no DICOM answer. See that it runs, and that the port in --forward is right"

    def _note(self, image: Path, failure: str, mark: tuple[int, int] | None) -> None:
        """What the receiver has leaves the queue; the rest is put off."""
        if failure:
            self.delays.put_off(image)
            self.counters.add("send_failures", reason=failure)
        else:
            self.spool.sent(image, mark)
            self.delays.succeed(image)
            self.counters.add("sent")

    def _tell(self, outcomes: dict[str, list[Path]]) -> None:
        """Log what was sent, and what was not taken and why."""
        if taken := outcomes.pop("", []):
            log.info("Images sent to %s: %d.", self.address, len(taken))
        for failure, images in outcomes.items():
            said = (self.address, len(images), _in_words(failure), images[0])
            log.warning("Images that %s did not take: %d (%s). They stay in the queue; the first is %s.", *said)

    def _give_rest(self, why: str) -> None:
        seconds, queued = self.delays.put_off(self.address), self.spool.room.usage().outgoing
        self.counters.add("send_failures", reason="no association")
        said = (self.address, why, queued, seconds)
        log.warning("Cannot send to %s: %s. Images that wait: %d. Tried again in %.0f s.", *said)


class _Unreachable(Exception):
    """There is no association: why, and what to do."""


def _store(association: Any, image: Path) -> str:
    """Empty where the receiver says that it has it (0x0000, or 0xBxxx with a remark); else in short what is wrong."""
    try:
        status = association.send_c_store(image).get("Status")
    except Exception:  # pynetdicom raises several kinds for a class that is not taken and for what it cannot encode
        taken = {context.abstract_syntax for context in association.accepted_contexts}
        return "not sendable" if _sop_class(image) in taken | {""} else "class not accepted"
    if status is None:
        return _NO_ANSWER
    return "" if status == 0 or status >> 12 == 0xB else f"status {status:04X}"


def _in_words(failure: str) -> str:
    """With what PS3.4 and PS3.7 call such a status."""
    from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

    known = STORAGE_SERVICE_CLASS_STATUS.get(int(failure[-4:], 16)) if failure.startswith("status ") else None
    return f"{failure}, {known[1]}" if known else failure


def _sop_class(image: Path) -> str:
    """The SOP class of a file; "" where it cannot be read, which sending it will find out."""
    import pydicom

    try:
        return str(pydicom.dcmread(image, stop_before_pixels=True, specific_tags=["SOPClassUID"]).SOPClassUID)
    except Exception:  # damaged on the disk
        return ""
