"""Points: wallets, what sales are worth, the ledger's lines and lots, what is still owed, seals and closed months.

Only `ledger.py` (and the SQL it calls) writes wallets, entries, lots, draws and the states beside them.
"""

from decimal import Decimal

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Customer, Origin, Sale
from stores.models import Store

from .fields import LedgerModel, by_user, points_field
from .people import Merge, Persona
from .programme import Modifier
from .rewards import Redemption


class Wallet(LedgerModel):
    """A persona's balance: the row that is locked. Equal to the sum of its entries and of its lots."""

    persona = models.OneToOneField(
        Persona,
        on_delete=models.PROTECT,
        primary_key=True,
        related_name="wallet",
        db_constraint=False,
    )
    balance = points_field(default=Decimal(0))
    closed = models.BooleanField(default=False, db_default=False, help_text="Its person was removed: nothing comes in.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(balance__gte=0), name="wallet_not_negative"),
            # On the row that every posting locks and writes: no verb, and no race, pays a person who was removed.
            models.CheckConstraint(condition=Q(closed=False) | Q(balance=0), name="wallet_closed_empty"),
            models.UniqueConstraint(fields=["account", "persona"], name="wallet_account_persona"),
        ]


class SaleState(LedgerModel):
    """What a sale means for points: whose it is, what it is worth now, what has been posted for it."""

    sale = models.OneToOneField(
        Sale,
        on_delete=models.PROTECT,
        primary_key=True,
        related_name="state",
        db_constraint=False,
    )
    persona = TenantKey(Persona, null=True, db_index=False, related_name="sale_states")
    base_cents = models.BigIntegerField(default=0)
    posted = points_field(
        default=Decimal(0),
        help_text="Sum of what was posted for this sale, shortfalls included.",
    )
    posts = models.PositiveIntegerField(default=0)
    explanation = models.JSONField(default=dict)
    settled_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(persona__isnull=False) | Q(posted=0), name="salestate_owner")]
        indexes = [models.Index(fields=["persona"], name="salestate_persona")]


class EntryKind(models.TextChoices):
    EARN = "earn", "Earned"
    REDEEM = "redeem", "Redeemed"
    REVERSE = "reverse", "Given back"
    ADJUST = "adjust", "Adjusted"
    BOOST = "boost", "Boost"
    IMPORT = "import", "Imported"
    MIRROR = "mirror", "Mirrored"
    EXPIRE = "expire", "Expired"
    MERGE = "merge", "Merged"


class Entry(LedgerModel):
    """A line of the ledger. Never changed, never deleted (a trigger refuses it)."""

    persona = TenantKey(Persona, db_index=False, related_name="entries")
    kind = models.CharField(max_length=8, choices=EntryKind)
    points = points_field()
    balance_after = points_field()
    key = models.CharField(
        max_length=120,
        help_text="Made of its cause: the same cause twice is one entry.",
    )
    sale = TenantKey(Sale, null=True, db_index=False, related_name="entries")
    redemption = TenantKey(Redemption, null=True, db_index=False, related_name="entries")
    merge = TenantKey(Merge, null=True, db_index=False, related_name="entries")
    user = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    note = models.CharField(max_length=300, blank=True)
    explanation = models.JSONField(default=dict)
    cause_at = models.DateTimeField(null=True, help_text="When what it is about happened: the sale's time.")
    at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "entries"
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="entry_key_once"),
            models.CheckConstraint(condition=~Q(points=0), name="entry_not_zero"),
            models.CheckConstraint(condition=Q(balance_after__gte=0), name="entry_balance"),
            tenant_parent("entry"),
        ]
        indexes = [
            models.Index(fields=["persona", "-id"], name="entry_timeline"),
            models.Index(fields=["account", "-at"], name="entry_account_at"),
            models.Index(fields=["sale"], name="entry_sale", condition=Q(sale__isnull=False)),
            models.Index(fields=["redemption"], name="entry_redemption", condition=Q(redemption__isnull=False)),
            models.Index(fields=["merge"], name="entry_merge", condition=Q(merge__isnull=False)),
        ]


class Lot(LedgerModel):
    """Points that came in together. Only `remaining` and `expires_at` ever change."""

    persona = TenantKey(Persona, db_index=False, related_name="lots")
    entry = TenantKey(Entry, db_index=False, related_name="lots")
    kind = models.CharField(max_length=8, choices=EntryKind)
    points = points_field()
    remaining = points_field()
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    from_lot = TenantKey("self", null=True, db_index=False, related_name="children")
    # Generated, so that spending a little of a lot does not touch the index (HOT updates stay possible).
    open = models.GeneratedField(
        expression=Q(remaining__gt=0),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(points__gt=0), name="lot_points"),
            models.CheckConstraint(
                condition=Q(remaining__gte=0) & Q(remaining__lte=F("points")),
                name="lot_remaining",
            ),
            tenant_parent("lot"),
        ]
        indexes = [
            models.Index(
                fields=["persona", "expires_at", "id"],
                name="lot_open",
                condition=Q(open=True),
            ),
            models.Index(
                fields=["expires_at"],
                name="lot_due",
                condition=Q(open=True, expires_at__isnull=False),
            ),
            models.Index(fields=["entry"], name="lot_entry"),
            models.Index(fields=["from_lot"], name="lot_parent", condition=Q(from_lot__isnull=False)),
        ]


class Draw(LedgerModel):
    """What an entry took from a lot (negative) or gave back to it (positive)."""

    entry = TenantKey(Entry, db_index=False, related_name="draws")
    lot = TenantKey(Lot, db_index=False, related_name="draws")
    points = points_field()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["entry", "lot"], name="draw_once"),
            models.CheckConstraint(condition=~Q(points=0), name="draw_not_zero"),
        ]
        indexes = [models.Index(fields=["lot"], name="draw_lot")]


class ShortfallState(models.TextChoices):
    OPEN = "open", "Open"
    WAIVED = "waived", "Waived"
    COLLECTED = "collected", "Collected"
    NETTED = "netted", "Made good by the sale"


class Shortfall(TenantModel):
    """Points that should have been taken back and were no longer there. Never taken silently from later points.

    `netted`: the sale rose again by so much, which was not posted. `collected`: staff took so much by an adjustment.
    """

    persona = TenantKey(Persona, related_name="shortfalls")
    key = models.CharField(max_length=120)
    points = points_field()
    netted = points_field(default=Decimal(0), db_default=Decimal(0))
    collected = points_field(default=Decimal(0), db_default=Decimal(0))
    sale = TenantKey(Sale, null=True, related_name="shortfalls")
    redemption = TenantKey(Redemption, null=True, related_name="shortfalls")
    state = models.CharField(max_length=10, choices=ShortfallState, default=ShortfallState.OPEN)
    note = models.CharField(max_length=300, blank=True, db_default="")
    user = by_user()
    at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="shortfall_key_once"),
            models.CheckConstraint(condition=Q(points__gt=0), name="shortfall_points"),
            models.CheckConstraint(
                condition=Q(netted__gte=0) & Q(collected__gte=0) & Q(points__gte=F("netted") + F("collected")),
                name="shortfall_parts",
            ),
            models.CheckConstraint(
                condition=Q(state="open", closed_at=None) | ~Q(state="open") & Q(closed_at__isnull=False),
                name="shortfall_closed",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="shortfall_open", condition=Q(state="open")),
            models.Index(fields=["sale"], name="shortfall_sale", condition=Q(sale__isnull=False)),
        ]


class BoostState(LedgerModel):
    """What a boost has given a persona: once, and again only after it was taken back."""

    modifier = TenantKey(Modifier, db_index=False, related_name="given")
    persona = TenantKey(Persona, related_name="boosts")
    sale = TenantKey(Sale, null=True, related_name="boosts", help_text="The purchase it was given with.")
    posted = points_field(default=Decimal(0))
    posts = models.PositiveIntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["modifier", "persona"], name="boost_once")]


class MirrorState(LedgerModel):
    """What the POS's own programme says a customer has, as far as it is posted here."""

    customer = TenantKey(Customer, related_name="mirrored")
    persona = TenantKey(Persona, related_name="mirrored")
    posted = points_field(default=Decimal(0))
    posts = models.PositiveIntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer"], name="mirror_once")]


class Mirroring(TenantModel):
    """The balances of an origin's shoppers are the POS's; after `ended_at` they are ours again, as they stood then.

    Frozen or disconnected, it goes on: the last value stands.
    """

    origin = TenantKey(Origin, related_name="mirrorings")
    since = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin"], name="mirroring_once")]
        indexes = [models.Index(fields=["account"], name="mirroring_live", condition=Q(ended_at=None))]


class PointsImport(TenantModel):
    """The balances of an origin's shoppers were taken over as they stood. What is not posted yet: `WaitingBalance`."""

    origin = TenantKey(Origin, related_name="points_imports")
    taken_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin"], name="points_import_once")]


class WaitingBalance(TenantModel):
    """A balance that was taken over and is not posted yet: as it stood then, whatever the POS says of it later.

    Goes when it is posted. A record whose points are nobody's yet keeps it until its person becomes a member.
    """

    origin = TenantKey(Origin, related_name="waiting_balances")
    customer = TenantKey(Customer, db_index=False, related_name="waiting_balances")
    points = points_field()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer"], name="waiting_balance_once"),
            models.CheckConstraint(condition=Q(points__gt=0), name="waiting_balance_points"),
        ]


class Seal(TenantModel):
    """A SHA-256 over a range of entries, chained to the seal before: off the write path, older than an hour."""

    number = models.PositiveIntegerField()
    first_entry = models.BigIntegerField()
    last_entry = models.BigIntegerField()
    entries = models.PositiveIntegerField()
    points = points_field()
    digest = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="seal_number_once"),
            models.UniqueConstraint(fields=["account", "first_entry"], name="seal_first_once"),
            models.CheckConstraint(condition=Q(last_entry__gte=F("first_entry")), name="seal_range"),
        ]


class MonthClose(TenantModel):
    """A month whose figures do not move any more."""

    month = models.DateField(help_text="Its first day, in the account's time zone.")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    last_entry = models.BigIntegerField(help_text="The last entry counted.")
    user = by_user()
    closed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "month"], name="month_close_once"),
            tenant_parent("monthclose"),
        ]


class MonthFigure(TenantModel):
    """One figure of a closed month: points of a kind in a store (null: what belongs to no store)."""

    close = TenantKey(MonthClose, on_delete=models.CASCADE, related_name="figures")
    store = TenantKey(Store, null=True, related_name="+")
    kind = models.CharField(max_length=10, help_text="opening, closing, members, or a kind of entry")
    points = points_field()
    entries = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["close", "store", "kind"], nulls_distinct=False, name="month_figure_once")
        ]


class LedgerCheck(TenantModel):
    """What the last look at an account's ledger found. Written by the nightly check and on demand."""

    violations = models.PositiveIntegerField()
    rules = models.PositiveIntegerField()
    found = models.JSONField(default=list, help_text="What is violated: rule, promise, how often, examples.")
    entries = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0)
    user = by_user()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["account", "-at"], name="ledger_check_latest")]
