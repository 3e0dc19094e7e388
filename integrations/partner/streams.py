"""What is read from a partner: three endpoints, each by the range of time in which a row was created or changed.

    GET <base>/customers?start=1767225600&end=1767312000&offset=0&limit=200
    X-APIKEY: <key>

`start` (inclusive) and `end` (exclusive) are Unix seconds, rows come oldest change first. The answer is an array, or an
object with the array under `data`. The shape of a row is the plain one (kit/plain.py), under the partner's names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..kit import plain
from ..kit.errors import UnexpectedAnswer
from ..kit.pages import ChangedSince, iso
from ..kit.records import CustomerRecord, ProductRecord, SaleRecord, StockRecord
from ..kit.streams import Context, Page, Stream
from ..kit.values import moment
from . import mapping

if TYPE_CHECKING:
    from ..kit.client import Client

PAGE = 200
_AHEAD = timedelta(minutes=5)  # the partner's clock may be ahead of ours: what it calls now is asked for too


def rows_of(answer: Any, title: str) -> list[Any]:
    """The rows of an answer: an array, or an object with one under `data`; null is none."""
    if isinstance(answer, dict):
        answer = answer.get("data")
    if answer is None:
        return []
    if not isinstance(answer, list):
        raise UnexpectedAnswer(f"{title}: the answer is no array, and holds none under “data”.")
    return answer


class _Ranged:
    """The client as the walker sees it: every question has an end, every row our names."""

    def __init__(self, client: "Client", stream: type[Stream], context: Context) -> None:
        self._client, self._stream = client, stream
        self._end = int((context.now + _AHEAD).timestamp())

    @property
    def server_time(self) -> datetime | None:
        return self._client.server_time

    def get_json(self, path: str, params: Mapping[str, Any]) -> list[Any]:
        answer = self._client.get_json(path, {**params, "end": self._end}, service=self._stream.title.lower())
        where = path.strip("/")
        rows = rows_of(answer, self._stream.title)
        return [self._timed(mapping.renamed(row, where, getattr(self._client, "renames", {}))) for row in rows]

    def _timed(self, row: Any) -> Any:
        """The time of change as the walker compares it; a row without one is told by its id alone."""
        if isinstance(row, dict) and "updated_at" in row:
            try:
                row["updated_at"] = iso(plain.read_time(row["updated_at"], "updated_at"))
            except plain.BadRow:
                del row["updated_at"]
        return row


class Changed(ChangedSince):
    """Rows changed since the last pull began. `history`: only as far back as the installation reads history.

    Once a day it looks a week further back: a till that was off line may list its sales late, under their own time.
    Cursor: `{"since", "began", "night"}`, plus `walk` during a pull. `began` is there after every pull, so that the
    next one goes the whole overlap back.
    """

    DEEP = timedelta(days=8)

    def __init__(self, *, history: bool = False) -> None:
        super().__init__("updated_at", top=PAGE, overlap=timedelta(minutes=10))
        self.history = history

    def walk(self, client: "Client", stream: type[Stream], context: Context, cursor: dict[str, Any]) -> Iterator[Page]:
        now = context.now
        if not cursor.get("since"):
            floor = (now - timedelta(days=context.history_days)).replace(hour=0, minute=0, second=0)
            cursor = {**cursor, "since": iso(floor) if self.history else "", "night": iso(now)}
        elif not cursor.get("walk") and now - moment(cursor["night"], "cursor") > timedelta(days=1):
            since = min(moment(cursor["since"], "cursor"), now) - self.DEEP
            cursor = {**cursor, "since": iso(since), "night": iso(now)}
        ranged: Any = _Ranged(client, stream, context)
        yield from super().walk(ranged, stream, replace(context, identity=""), cursor)

    def _params(self, state: Any) -> dict[str, Any]:
        low, skip = (state.start, state.rows) if state.proving else (state.low, state.skip)
        return {"start": int(moment(low, "cursor").timestamp()), "offset": skip, "limit": self.top}

    def _final(self, state: Any, cursor: dict[str, Any]) -> dict[str, Any]:
        """What was changed before the pull began has been seen, whether or not the rows bear their time."""
        if state.lost >= self.max_lost:
            # The list moved too much to be sure of all rows: the next pull starts where this one did.
            return {name: cursor[name] for name in ("since", "began", "night") if name in cursor}
        # By the partner's clock where it was seen. A row that was written while we read may have come too late for its
        # page, under a time before that: the next pull goes the overlap back from here.
        return {"since": state.began, "began": state.began, "night": cursor["night"]}


class Rows(Stream):
    """What the partner's streams share."""

    key: tuple[str, ...]

    @classmethod
    def row_id(cls, row: Any) -> str:
        if not isinstance(row, dict):
            return ""
        found = plain.first(row, cls.key)
        return str(found)[: plain.LONGEST_ID] if found is not None else ""


class Customers(Rows):
    name, title, record = "customers", "Customers", CustomerRecord
    path, key = "/customers", plain.CUSTOMER_KEYS
    pages = Changed()
    interval_s = 60
    if_empty = (
        "If your POS has customers, ask its maker whether the key may read them and by which time the range goes."
    )
    parse = staticmethod(mapping.customer)


class Sales(Rows):
    name, title, record = "sales", "Sales", SaleRecord
    path, key = "/sales", plain.SALE_KEYS
    pages = Changed(history=True)
    interval_s = 60
    history = True
    after = ("customers",)
    if_empty = "If your POS sold something in the last year, ask its maker whether the key may read sales."
    parse = staticmethod(mapping.sale)


class Products(Rows):
    name, title, record = "products", "Products", ProductRecord
    path, key = "/inventory", plain.PRODUCT_KEYS
    pages = Changed()
    interval_s = 3600
    parse = staticmethod(mapping.product)


class Stock(Rows):
    name, title, record = "stock", "Stock", StockRecord
    path, key = "/inventory", (*plain.PRODUCT_KEYS,)
    pages = Changed()
    interval_s = 60
    after = ("products",)
    parse = staticmethod(mapping.stock)

    @classmethod
    def row_id(cls, row: Any) -> str:
        """A level is a product's at a place: the same product comes once for each."""
        found = super().row_id(row)
        if not found:
            return ""
        place = plain.first(row, (*plain.PLACE_KEYS, *plain.PLACE_NAMES))
        return f"{found}|{place or ''}"
