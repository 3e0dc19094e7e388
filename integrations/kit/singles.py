"""The walker for what a vendor tells of one record at a time, such as a customer's points balance.

Two things go on at once: whoever has something new is asked first, and in rounds everybody is asked again, for a vendor
that has no list tells nobody what changed in it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import NotFound, VendorError
from .pages import iso
from .streams import Context, Page, Stream

if TYPE_CHECKING:
    from .client import Client


class OneByOne:
    """One call a record. Rows are the vendor's answers with `Id` and `EntityId` of the question put in.

    Cursor: `mark` (how far what is new has been asked), `round` (its number), `last` (when the last whole round began
    and ended, and how many it asked); during a round `began`, `after` (the last id asked) and `done`. A record the
    vendor does not know (404) brings no row: what was known of it stays.
    """

    def __init__(self, *, together: int = 25) -> None:
        self.together = together  # calls between two pages: what a kill makes us ask again

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        singles = context.singles
        if singles is None:
            return
        state: dict[str, Any] = {"mark": -1, "round": 0, "last": {}} | cursor
        if state["mark"] < 0:
            # What is there already, a first round asks anyway.
            state["mark"] = singles.urgent(-1, 0)[1]
        total = singles.total()
        while True:
            wanted, mark = singles.urgent(state["mark"], self.together)
            if not wanted:
                break
            yield from self._ask(client, stream, context, wanted, state, {"mark": mark}, total, "new sales first")
        if not state.get("began"):
            if not singles.round_due(state["last"].get("began", "")):
                yield self._page([], state, total, "")
                return
            state |= {"round": state["round"] + 1, "began": context.now.isoformat(), "after": "", "done": 0}
        while wanted := singles.after(state["after"], self.together):
            moved = {"after": wanted[-1][0], "done": state["done"] + len(wanted)}
            yield from self._ask(client, stream, context, wanted, state, moved, total, f"round {state['round']}")
        ended = {"began": state["began"], "ended": iso(client.server_time or context.now), "asked": state["done"]}
        for name in ("began", "after", "done"):
            state.pop(name)
        state["last"] = ended
        yield Page([], dict(state), ended["asked"], ended["asked"])

    def _ask(
        self, client: "Client", stream: type[Stream], context: Context, wanted: list[tuple[str, str]],
        state: dict[str, Any], moved: dict[str, Any], total: int, note: str,
    ) -> Iterator[Page]:  # fmt: skip
        rows: list[Any] = []
        for record, location in wanted:
            path = stream.path.format(
                identity=context.identity, location=quote(location, safe=""), record=quote(record, safe="")
            )
            try:
                answer = client.get_json(path)
            except NotFound:
                continue
            except VendorError:
                if rows:  # what was told before is good; the cursor stays, so these are asked again
                    yield self._page(rows, state, total, note)
                raise
            known = answer if isinstance(answer, dict) else {"answer": answer}
            rows.append({**known, "Id": record, "EntityId": location})
        state |= moved
        yield self._page(rows, state, total, note)

    @staticmethod
    def _page(rows: list[Any], state: dict[str, Any], total: int, note: str) -> Page:
        return Page(rows, dict(state), state.get("done", 0), total if state.get("began") else None, note)
