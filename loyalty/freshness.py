"""How far the POS has been read: the time and the source that stand beside every balance."""

from dataclasses import dataclass
from datetime import datetime

from integrations import services
from integrations.models import CredentialState, StreamState


@dataclass(frozen=True, slots=True)
class Read:
    """One stream of one source. `until` None: it has not been read to the end even once."""

    source: str
    stream: str
    until: datetime | None
    live: bool  # somebody reads it; a paused or disconnected one is as old as it is


def read(stream: str = "sales") -> list[Read]:
    """The current account's sources of that stream, the latest read first; disconnected ones with their last time."""
    states = (
        StreamState.objects.filter(stream=stream, enabled=True)
        .exclude(credential__state=CredentialState.DRAFT)
        .select_related("credential__connection")
        .defer("cursor", "credential__secrets", "credential__token")
        .order_by("credential__connection_id", "-credential__state", "id")
    )
    found = [
        Read(
            source=services.card(state.credential.connection.card).title,
            stream=stream,
            until=state.read_until,
            live=state.credential.state == CredentialState.CONNECTED,
        )
        for state in states
    ]
    # A source with a live credential is as fresh as that one; what an old credential of it read does not matter.
    live = {one.source for one in found if one.live}
    kept = [one for one in found if one.live or one.source not in live]
    return sorted(kept, key=lambda one: (one.until is None, -(one.until.timestamp() if one.until else 0)))
