"""The sending side (C-STORE user): what the receiver has not acknowledged stays in the queue and is tried again."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from diffdenoise.errors import ConfigError
from diffdenoise.node.counters import Counters
from diffdenoise.node.spool import Spool, mark_of

POLL = 0.2  # seconds between two looks at the queue
PATIENCE = 60  # seconds that the receiver may take for an answer
LOOKING = 20  # times as long as a look that found nothing due is waited for the next: of a long queue it takes long
AT_ONCE = 500  # images in one association
_VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO
log = logging.getLogger("diffdenoise")


@dataclass(frozen=True)
class Address:
    """Where to send to: AE title, host and port."""

    title: str
    host: str
    port: int

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

    def put_off(self, what: Any) -> None:
        """It failed once more."""
        tries = self.tries(what)
        self._tries[what] = tries + 1
        self._until[what] = time.monotonic() + min(self.first * 2.0 ** min(tries, 60), self.longest)

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

    def _send(self, images: list[Path], stop: Event) -> None:
        """Send in one association. Where none can be had, or it breaks at once, the receiver is given a rest."""
        association = self._associate(images)
        if association is None:
            return self._give_rest()
        sent = 0
        for image in images:
            if stop.is_set() or not association.is_established:
                break
            mark = mark_of(image)
            status = _store(association, image)
            sent += self._taken(image, status, mark)
            if status is None:  # the library may not know it yet, and would wait for an answer to the next one too
                association.abort()
        if sent:
            log.info("Sent %d images.", sent)
        if sent or association.is_established:
            self.delays.succeed(self.address)
        else:
            self._give_rest()
        if association.is_established:
            association.release()

    def _associate(self, images: list[Path]) -> Any:
        """An association, established or not; None where the receiver's name is none that is known at the moment."""
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE

        entity = AE(self.title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        entity.connection_timeout = 10
        entity.add_requested_context(_VERIFICATION)  # everyone has it: a class that is not taken breaks nothing
        for sop_class in sorted({_sop_class(image) for image in images} - {""})[:127]:
            entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        try:
            return entity.associate(self.address.host, self.address.port, ae_title=self.address.title)
        except (OSError, UnicodeError):  # of the look-up: a mistyped name, or a name server that is down
            return None

    def _taken(self, image: Path, status: int | str | None, mark: tuple[int, int] | None) -> bool:
        """Whether the receiver has said that it has it (0x0000, or 0xBxxx with a remark): then it leaves the queue."""
        if isinstance(status, int) and (status == 0 or status >> 12 == 0xB):
            self.spool.sent(image, mark)
            self.delays.succeed(image)
            self.counters.add("sent")
            return True
        self.delays.put_off(image)
        reason = f"status {status:04X}" if isinstance(status, int) else status or "no answer"
        self.counters.add("send_failures", reason=reason)
        log.warning("Image %s was not taken (%s); it stays in the queue.", image.stem[:8], reason)
        return False

    def _give_rest(self) -> None:
        self.delays.put_off(self.address)
        self.counters.add("send_failures", reason="no association")
        log.warning("The receiver cannot be reached or takes nothing; trying again later.")


def _store(association: Any, image: Path) -> int | str | None:
    """The receiver's status; "not sendable" where nothing was sent; None where the connection broke without answer."""
    try:
        status = association.send_c_store(image).get("Status")
    except Exception:  # pynetdicom raises several kinds for a class that is not taken and for what it cannot encode
        return "not sendable"
    return None if status is None else int(status)


def _sop_class(image: Path) -> str:
    """The SOP class of a file; "" where it cannot be read, which sending it will find out."""
    import pydicom

    try:
        return str(pydicom.dcmread(image, stop_before_pixels=True, specific_tags=["SOPClassUID"]).SOPClassUID)
    except Exception:  # damaged on the disk
        return ""
