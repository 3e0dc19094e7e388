"""How far the POS has been read: the time and the source that stand beside every balance."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from integrations import services
from integrations.models import CredentialState, StreamState


@dataclass(frozen=True, slots=True)
class Read:
    """One stream of one source. `until` None: it has not been read to the end even once."""

    source: str
    stream: str
    until: datetime | None
    live: bool  # somebody reads it; a paused, frozen or disconnected one is as old as it is
    next_at: datetime | None = None  # when it is read again


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
            live=_is_read(state),
            next_at=state.next_due if _is_read(state) else None,
        )
        for state in states
    ]
    return _latest_first(found)


def _is_read(state: StreamState) -> bool:
    """Connected and not frozen."""
    one = state.credential
    return one.state == CredentialState.CONNECTED and not (one.frozen_at or one.connection.frozen_at)


# The same as a column of somebody else's statement: [card, epoch or null, live] of each source of the account's sales.
OF_SALES = """
(SELECT json_agg(json_build_array(cn.card, extract(epoch FROM ss.read_until), cr.state = 'connected'
                                                AND cr.frozen_at IS NULL AND cn.frozen_at IS NULL)
                 ORDER BY cr.connection_id, cr.state DESC, ss.id)
 FROM integrations_streamstate ss JOIN integrations_credential cr ON cr.id = ss.credential_id AND cr.state <> 'draft'
 JOIN integrations_connection cn ON cn.id = cr.connection_id
 WHERE ss.account_id = %(account)s AND ss.stream = 'sales' AND ss.enabled)
"""


def from_column(rows: Iterable[tuple[str, float | None, bool]] | None) -> list[Read]:
    """What `OF_SALES` answered."""
    return _latest_first(
        Read(services.card(card).title, "sales", datetime.fromtimestamp(until, UTC) if until else None, live)
        for card, until, live in rows or ()
    )


def _latest_first(found: Iterable[Read]) -> list[Read]:
    found = list(found)
    # A source with a live credential is as fresh as that one; what an old credential of it read does not matter.
    live = {one.source for one in found if one.live}
    kept = [one for one in found if one.live or one.source not in live]
    return sorted(kept, key=lambda one: (one.until is None, -(one.until.timestamp() if one.until else 0)))
