"""The receiving side (C-STORE and C-ECHO provider): an image is safe on the disk before its sender is told so."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from diffdenoise.errors import ConfigError, reason_of
from diffdenoise.node.associations import VERIFICATION, caller_of, note_classes, note_rejection
from diffdenoise.node.counters import Counters
from diffdenoise.node.spool import Spool
from diffdenoise.scans.dicom_series import DEFLATED

# PS3.4 B.2.3
SUCCESS, KEPT_THE_FIRST = 0x0000, 0xB000
OUT_OF_RESOURCES, NOT_ITS_CLASS, NOT_UNDERSTOOD = 0xA700, 0xA900, 0xC000
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.7
ASSOCIATIONS = 20  # at once
log = logging.getLogger("diffdenoise")


class _Refusal(Exception):
    """Status of the answer, reason for the counters, comment for the sender (at most 64 characters), more for the log.

    None of them quotes what stands in the image.
    """

    def __init__(self, status: int, reason: str, comment: str, more: str = "") -> None:
        self.status, self.reason, self.comment, self.more = status, reason, comment, more


@dataclass(frozen=True)
class Receiver:
    """What the handlers of all associations share. taken: images by association."""

    spool: Spool
    counters: Counters
    taken: Counter[Any] = field(default_factory=Counter)

    def store(self, event: Any) -> Any:
        """The answer to one C-STORE: a status, or a dataset with a status and a comment."""
        try:
            answer = self._store(event)
        except _Refusal as refusal:
            return self._refuse(event, refusal)
        except OSError as error:
            more = f" ({self.spool.folder}: {reason_of(error)})"
            return self._refuse(event, _Refusal(OUT_OF_RESOURCES, "disk", "The disk refuses to write", more))
        except Exception as error:  # unforeseen, or memory: the library would answer, and nobody here would know
            more = f" ({type(error).__name__})"
            return self._refuse(event, _Refusal(PROCESSING_FAILURE, "unforeseen", "It cannot be processed", more))
        self.taken[event.assoc] += 1
        return answer

    def ended(self, event: Any) -> None:
        """An association was released, or broke off; of one in which nothing could be sent that was said before."""
        caller, images = caller_of(event.assoc), self.taken.pop(event.assoc, 0)
        if event.assoc.is_released and images:
            log.info("Images received from %s: %d.", caller, images)
        elif not event.assoc.is_released and event.assoc.accepted_contexts:
            log.warning("The association with %s broke off. Images received: %d.", caller, images)

    def _refuse(self, event: Any, refusal: _Refusal) -> Any:
        self.counters.add("refused", reason=refusal.reason)
        log.warning("Refused an image from %s: %s%s.", caller_of(event.assoc), refusal.comment, refusal.more)
        return _answer(refusal.status, refusal.comment)

    def _store(self, event: Any) -> Any:
        content = event.encoded_dataset()
        series, image = _identity(content, event.request)
        if not self.spool.make_room(len(content), series):
            more = f" ({self.spool.room.lack(len(content))})"
            raise _Refusal(OUT_OF_RESOURCES, "full", "The queue or the disk is full, send it again later", more)
        known = self.spool.add(series, image, content)
        if known is None:
            self.counters.add("received")
            return SUCCESS
        if known != content and not _same_pixels(known, content):
            raise _Refusal(NOT_UNDERSTOOD, "other pixels", "Another image has come under this SOP Instance UID")
        self.counters.add("repeated")
        return SUCCESS if known == content else _answer(KEPT_THE_FIRST, "The image was known, its first copy is kept")


def listen(receiver: Receiver, host: str, port: int, title: str, callers: Sequence[str] = ()) -> Callable[[], None]:
    """Start to receive, in threads; gives what ends it, breaking off associations that are open.

    Only those who call us by our AE title are let in and, if callers are named, only those. Raises ConfigError where
    the port cannot be had.
    """
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

    entity = AE(title)
    entity.require_called_aet, entity.require_calling_aet = True, list(callers)
    entity.maximum_associations = ASSOCIATIONS
    entity.add_supported_context(VERIFICATION)
    syntaxes = [syntax for syntax in ALL_TRANSFER_SYNTAXES if syntax != DEFLATED]  # is unpacked whole to be parsed
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), syntaxes)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, receiver.store),
        (evt.EVT_PDU_SENT, note_rejection, [receiver.counters]),
        (evt.EVT_ACCEPTED, note_classes, [receiver.counters]),
        (evt.EVT_RELEASED, receiver.ended),
        (evt.EVT_ABORTED, receiver.ended),
    ]
    try:
        server: Any = entity.start_server((host, port), block=False, evt_handlers=handlers)
    except (OSError, OverflowError) as error:
        remedy = "Choose another with --port, or another address with --host."
        if isinstance(error, PermissionError):
            remedy = "Ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=). " + remedy
        raise ConfigError(f"Cannot listen on {host}:{port} ({reason_of(error)}). {remedy}") from error

    def end() -> None:
        server.shutdown()
        entity.shutdown()

    return end


def _identity(content: bytes, request: Any) -> tuple[str, str]:
    """Hashes of series and image. Raises _Refusal where the image does not say what it is."""
    import pydicom

    try:
        header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        said = [str(header.get(keyword) or "") for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")]
    except Exception as error:  # parsers meet damaged data with almost any exception
        raise _Refusal(NOT_UNDERSTOOD, "not readable", "Cannot be parsed") from error
    if said[:2] != [str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)]:
        raise _Refusal(NOT_ITS_CLASS, "contradictory", "SOP class or instance differ from those announced")
    if not said[2]:
        raise _Refusal(NOT_UNDERSTOOD, "no series", "Has no Series Instance UID")
    return _hash(said[2]), _hash(said[1])


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:24]


def _same_pixels(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same image, perhaps encoded otherwise or with other tags."""
    import numpy as np
    import pydicom

    try:
        first, second = (pydicom.dcmread(BytesIO(content)).pixel_array for content in (one, other))
    except Exception:  # no pixels, or none that can be decoded
        return False
    return np.array_equal(first, second)


def _answer(status: int, comment: str) -> Any:
    from pydicom import Dataset

    answer = Dataset()
    answer.Status, answer.ErrorComment = status, comment
    return answer
