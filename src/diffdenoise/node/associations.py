"""Who calls, and why in vain: a sender that gets no further than this would else be silent here."""

from __future__ import annotations

import logging
import re
from typing import Any

from diffdenoise.node.counters import Counters
from diffdenoise.text import some_of

VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO
# PS3.8 9.3.4: source and reason of an A-ASSOCIATE-RJ. What is counted, and what is said
_WHY: dict[Any, tuple[str, str]] = {
    (1, 3): ("calling AE title", "it is not among those that may send. If it is to send: --caller {calling}"),
    (1, 7): ("called AE title", "it calls {called}, but this node is {own}. Change it there, or here with --title"),
    (3, 2): ("too many at once", "too many associations are open at the moment"),
}
_NO_REQUEST_YET = "Sta2"  # PS3.8 table 9-1
log = logging.getLogger("diffdenoise")


def caller_of(association: Any) -> str:
    """AE title and address, such as "SCANNER at 10.0.0.9"."""
    request = association.requestor.primitive
    title = request.calling_ae_title.strip() if request else "a stranger"  # that has not said its name
    return f"{title} at {association.requestor.address}"


def note_rejection(event: Any, counters: Counters) -> None:
    """Log and count it, if what was sent to a caller (EVT_PDU_SENT) ends an association that has not begun."""
    from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ

    request, pdu = event.assoc.requestor.primitive, event.pdu
    if isinstance(pdu, A_ASSOCIATE_RJ):
        reason, why = _WHY.get((pdu.source, pdu.reason_diagnostic), ("other", pdu.reason_str))
        if request:
            calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
            why = why.format(calling=calling, called=called, own=event.assoc.acceptor.ae_title)
    elif isinstance(pdu, A_ABORT_RQ) and event.assoc.dul.state_machine.current_state == _NO_REQUEST_YET:
        reason, why = "not DICOM", "it does not speak DICOM, or speaks it in TLS, which this node does not"
    else:
        return
    counters.add("rejected", reason=reason)
    log.warning("Rejected %s: %s.", caller_of(event.assoc), why)


def note_classes(event: Any, counters: Counters) -> None:
    """Log what a caller that was let in (EVT_ACCEPTED) cannot send; count it, if that leaves no image to be sent."""
    accepted = {context.abstract_syntax for context in event.assoc.accepted_contexts}
    vain = [context for context in event.assoc.rejected_contexts if context.abstract_syntax not in accepted]
    if not vain:
        return
    hopeless = accepted <= {VERIFICATION}
    if hopeless:
        counters.add("rejected", reason="no presentation context")
    said = some_of(sorted({_in_words(context) for context in vain}))
    level = logging.WARNING if hopeless else logging.INFO
    log.log(level, "%s offers what this node does not take: %s.", caller_of(event.assoc), said)


def _in_words(context: Any) -> str:
    """A SOP class, and its encoding if that is why it was not accepted (PS3.8 table 9-18); names are a stranger's."""
    encoding = f" in {context.transfer_syntax[0].name}" if context.result == 4 and context.transfer_syntax else ""
    return re.sub(r"[^ -~]", "?", context.abstract_syntax.name + encoding)
