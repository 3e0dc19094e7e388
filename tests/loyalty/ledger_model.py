"""What the ledger promises, in plain numbers: an independent model that random histories are compared with.

Points are whole, moments are hours. Nothing here knows SQL.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Lot:
    number: int
    owner: int
    points: int
    left: int
    expires: int | None
    kind: str
    sale: int | None = None  # of the entry that opened it
    own: int | None = None  # the sale whose earned points these are, through every move
    record: int | None = None  # the customer whose mirrored points opened it
    parent: "Lot | None" = None
    astray_after: "Merge | None" = None  # it came by this merge
    expired: int = 0

    def order(self) -> tuple:
        return self.expires is None, self.expires or 0, self.number


@dataclass(eq=False)
class Use:
    owner: int
    discount: int
    n: int
    order: str
    points: int
    taken: list[tuple[Lot, int]]
    taker: int
    given: int = 0
    live: bool = True
    parts: set[int] = field(default_factory=set)
    asked: int = 0  # whose address it was


@dataclass(eq=False)
class Merge:
    survivor: int
    loser: int
    open: bool = True


@dataclass(eq=False)
class Short:
    persona: int
    points: int
    sale: int | None = None
    netted: int = 0
    collected: int = 0
    state: str = "open"

    @property
    def missing(self) -> int:
        return self.points - self.netted - self.collected


class Model:
    """Personas by id; `root` is where a persona's points are."""

    def __init__(self, people: list[int]) -> None:
        self.into: dict[int, int | None] = dict.fromkeys(people)
        self.lots: list[Lot] = []
        self.entries = dict.fromkeys(people, 0)
        self.uses: list[Use] = []
        self.merges: list[Merge] = []
        self.shorts: list[Short] = []
        self.sales: dict[int, tuple[int | None, int]] = {}
        self.home: dict[int, int] = {}  # sale -> the persona whose record it is on
        self.boosts: dict[tuple[int, int], tuple[int, int | None, Lot | None]] = {}  # points, sale, lot
        self.mirrored: dict[int, int] = {}
        self.records: dict[int, int] = {}  # customer -> the sale that is on his record: it goes where that goes

    # Reading

    def root(self, persona: int) -> int:
        return self.into[persona] or persona

    def group(self, root: int) -> set[int]:
        return {root} | {one for one, into in self.into.items() if into == root}

    def balance(self, persona: int) -> int:
        return sum(lot.left for lot in self.lots if lot.owner == persona)

    def of(self, persona: int) -> list[Lot]:
        return [lot for lot in self.lots if lot.owner == persona]

    # The ledger's few movements

    def expire(self, persona: int, hour: int) -> int:
        due = [lot for lot in self.of(persona) if lot.left and lot.expires is not None and lot.expires <= hour]
        for lot in due:
            lot.expired, lot.left = lot.expired + lot.left, 0
        self.entries[persona] += len(due)
        return len(due)

    def open(self, owner: int, points: int, expires: int | None, kind: str, **more) -> Lot:
        lot = Lot(len(self.lots), owner, points, points, expires, kind, **more)
        self.lots.append(lot)
        return lot

    def credit(self, persona: int, points: int, expires: int | None, kind: str = "adjust", **more) -> Lot:
        self.entries[persona] += 1
        return self.open(persona, points, expires, kind, **more)

    def debit(self, persona: int, points: int, first: list[Lot] | None = None) -> list[tuple[Lot, int]]:
        first = [lot for lot in first or [] if lot.owner == persona]
        rest = sorted((lot for lot in self.of(persona) if lot not in first), key=Lot.order)
        taken = []
        for lot in [*first, *rest]:
            part = min(lot.left, points)
            if part:
                lot.left, points = lot.left - part, points - part
                taken.append((lot, part))
        assert points == 0
        self.entries[persona] += 1
        return taken

    def unexpire(self, persona: int, lots: list[Lot], wanted: int) -> None:
        """What expired of these comes back before more is taken of them than they hold."""
        lots = [lot for lot in lots if lot.owner == persona]
        wanted -= sum(lot.left for lot in lots)
        came = 0
        for lot in sorted(lots, key=lambda one: one.number):
            part = min(lot.expired, max(wanted - came, 0))
            lot.expired, lot.left, came = lot.expired - part, lot.left + part, came + part
        self.entries[persona] += came > 0

    def move(self, origin: int, to: int, lots: list[Lot], merge: Merge, *, home: bool = False) -> int:
        """`home`: by a split, so the lots that are opened lie where they belong."""
        lots = [lot for lot in lots if lot.owner == origin and lot.left]
        if not lots:
            return 0
        self.entries[origin] += 1
        self.entries[to] += 1
        total = 0
        ends: dict[Lot, list[int | None]] = {}
        for lot in sorted(lots, key=Lot.order):
            amount, lot.left = lot.left, 0
            total += amount
            above = lot.parent
            while above is not None and above.owner != to:
                above = above.parent
            if above is None:
                self.open(
                    to, amount, lot.expires, lot.kind, own=lot.own, parent=lot, astray_after=None if home else merge
                )
            else:
                above.left += amount
                ends.setdefault(above, []).append(lot.expires)
        for above, moments in ends.items():
            above.expires = None if None in moments else max(moments)
        return total

    def forward(self, lots: list[Lot]) -> None:
        """Points lie on these lots again; those that belong elsewhere by now move on."""
        while lots:
            following: list[Lot] = []
            for lot in sorted(lots, key=Lot.order):
                if not lot.left:
                    continue
                if lot.astray_after and not lot.astray_after.open and lot.parent and lot.parent.owner != lot.owner:
                    self.move(lot.owner, lot.parent.owner, [lot], lot.astray_after)
                elif self.into[lot.owner]:
                    [merge] = [one for one in self.merges if one.loser == lot.owner and one.open]
                    self.move(lot.owner, self.into[lot.owner], [lot], merge)
                else:
                    continue
                following += [one for one in self.lots if one.parent is lot and one.left]
                if lot.parent:
                    following.append(lot.parent)
            lots = list(dict.fromkeys(following))

    # Sales

    def post_sale(self, persona: int, sale: int, points: int, expires: int | None) -> None:
        if points > 0:
            for short in self.shorts:
                if short.sale == sale and short.persona in self.group(persona) and short.state in ("open", "waived"):
                    netted = min(short.missing, points)
                    short.netted, points = short.netted + netted, points - netted
                    if netted and short.state == "open" and not short.missing:
                        short.state = "netted"
            if points:
                self.credit(persona, points, expires, "earn", sale=sale, own=sale)
            return
        own = sorted((lot for lot in self.of(persona) if lot.own == sale), key=Lot.order)
        self.unexpire(persona, own, -points)
        there = min(self.balance(persona), -points)
        if there:
            self.debit(persona, there, own)
        if -points > there:
            self.shorts.append(Short(persona, -points - there, sale))

    def bring(self, sale: int, persona: int | None, points: int, expires: int | None) -> None:
        owner, posted = self.sales.get(sale, (None, 0))
        if owner != persona:
            if posted:
                self.post_sale(owner, sale, -posted, expires)
            posted = 0
        if points != posted:
            self.post_sale(persona, sale, points - posted, expires)
        self.sales[sale] = (persona, points)

    # Boosts

    def boost(self, modifier: int, persona: int, sale: int | None, points: int, expires: int | None) -> None:
        held = [key for key in self.boosts if key[0] == modifier and key[1] in self.group(persona)]
        if points:
            if held:
                return
            lot = None
            if points > 0:
                lot = self.credit(persona, points, expires, "boost", sale=sale)
            else:
                points = -min(self.balance(persona), -points)
                if points:
                    self.debit(persona, -points)
            self.boosts[modifier, persona] = (points, sale, lot)
            return
        key = next((one for one in held if self.boosts[one][1] == sale), None)
        if key is None:
            return
        given, _, lot = self.boosts.pop(key)
        if given < 0:
            self.credit(persona, -given, expires, "boost", sale=sale)
        elif given > 0:
            self.unexpire(persona, self.family(lot), given)
            there = min(self.balance(persona), given)
            if there:
                self.debit(persona, there, sorted(self.family(lot), key=lambda one: one.number))
            if given > there:
                self.shorts.append(Short(persona, given - there))

    def family(self, lot: Lot | None) -> list[Lot]:
        found = [lot] if lot else []
        for one in found:
            found += [child for child in self.lots if child.parent is one]
        return found

    # Mirror

    def mirror(self, customer: int, persona: int, value: int) -> None:
        points = value - self.mirrored.get(customer, 0)
        self.mirrored[customer] = value
        if points > 0:
            self.credit(persona, points, None, "mirror", record=customer)
        elif points < 0:
            there = min(self.balance(persona), -points)
            if there:
                self.debit(persona, there, [lot for lot in self.of(persona) if lot.kind == "mirror"])
            if -points > there:
                self.shorts.append(Short(persona, -points - there))

    # Merges

    def merge(self, survivor: int, loser: int) -> Merge:
        merge = Merge(survivor, loser)
        self.merges.append(merge)
        self.move(loser, survivor, self.of(loser), merge)
        for one in self.group(loser):
            self.into[one] = survivor
        for sale, (owner, posted) in self.sales.items():
            if owner == loser:
                self.sales[sale] = (survivor, posted)
        return merge

    def rows_of(self, merge: Merge) -> list[int]:
        rows = [merge.loser]
        for row in rows:
            rows += [one.loser for one in self.merges if one.open and one is not merge and one.survivor == row]
        return rows

    def split(self, merge: Merge) -> None:
        rows = self.rows_of(merge)
        root = self.into[merge.loser]
        assert root
        sales = {sale for sale, (owner, _) in self.sales.items() if owner == root and self.home[sale] in rows}
        going = [lot for lot in self.lots if lot.owner in rows]
        for lot in going:
            going += [child for child in self.lots if child.parent is lot and child not in going]
        going += [lot for lot in self.of(root) if lot.sale in sales and lot not in going]
        # What the POS said of the loser's own records came to the root while they were one: it goes along.
        records = {customer for customer, sale in self.records.items() if self.home[sale] in rows}
        going += [lot for lot in self.of(root) if lot.record in records and lot not in going]
        self.move(root, merge.loser, going, merge, home=True)
        for row in rows:
            self.into[row] = None if row == merge.loser else merge.loser
        for sale in sales:
            self.sales[sale] = (merge.loser, self.sales[sale][1])
        merge.open = False

    # Giving back

    def give_back(self, use: Use, points: int, hour: int) -> None:
        skip, want = use.given, points
        for lot, part in reversed(use.taken):
            over = min(skip, part)
            skip, part = skip - over, part - over
            back = min(part, want)
            lot.left, want = lot.left + back, want - back
        use.given += points
        if points:
            self.entries[use.taker] += 1
            self.expire(use.taker, hour)
            self.forward([lot for lot, _ in use.taken])
        if use.given == use.points:
            use.live = False
