"""Persons, points, discounts and redemptions.

Only `ledger.py` (and the SQL it calls) writes wallets, entries, lots and draws. Points are decimals of two places.
"""

import uuid
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Customer, Sale
from stores.models import Store


def points_field(*args, **options) -> models.DecimalField:
    return models.DecimalField(*args, max_digits=14, decimal_places=2, **options)


class Rounding(models.TextChoices):
    OFF = "off", "Off (two decimals)"
    NEAREST = "nearest", "Nearest point"
    UP = "up", "Up"
    DOWN = "down", "Down"


class Refunds(models.TextChoices):
    KEEP = "keep", "Keep the points"
    REVERSE = "reverse", "Take back the refunded part"
    REVERSE_FULL = "reverse_full", "Take back on full refunds only"


class Programme(TenantModel):
    """The loyalty programme of an account: how points are earned."""

    enabled = models.BooleanField(
        "Enable loyalty points",
        default=True,
        help_text="Off: nobody earns or redeems and points are hidden. Balances stay.",
    )
    points_per_100 = models.DecimalField(
        "Points earned per $100 spent",
        max_digits=9,
        decimal_places=2,
        default=Decimal(100),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(100_000))],
        help_text="100 is one point for a dollar.",
    )
    accrual_start = models.DateField(
        "Customers can earn points starting on date",
        null=True,
        blank=True,
        help_text="Sales of earlier days earn nothing. Empty: every sale since a member's own start.",
    )
    exclude_tax = models.BooleanField("Don't accrue tax dollars", default=True)
    rounding = models.CharField("Round points", max_length=8, choices=Rounding, default=Rounding.OFF)
    refunds = models.CharField("Points on refund", max_length=12, choices=Refunds, default=Refunds.KEEP)
    expire_days = models.PositiveIntegerField(
        "Days until points expire",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="For points earned from now on, oldest used first. Empty: points do not expire.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "loyalty programme"
        constraints = [
            models.UniqueConstraint(fields=["account"], name="programme_once"),
            models.CheckConstraint(condition=Q(points_per_100__gte=0), name="programme_rate"),
        ]

    def __str__(self) -> str:
        return "Loyalty programme"


class Persona(TenantModel):
    """A shopper of one account. `contact_id` is what the API calls him, for ever."""

    contact_id = models.UUIDField("contact ID", default=uuid.uuid4, unique=True, editable=False)
    first_name = models.CharField(max_length=200, blank=True)
    last_name = models.CharField(max_length=200, blank=True)
    phone = models.CharField(max_length=20, blank=True)
    email = models.CharField("e-mail", max_length=254, blank=True)
    birth_date = models.DateField(null=True, blank=True)
    member_from = models.DateField(
        null=True,
        blank=True,
        help_text="First day whose sales earn. Empty: not a member.",
        editable=False,
    )
    merged_into = TenantKey("self", null=True, related_name="merged", editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_seen_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "persona"
        constraints = [tenant_parent("persona")]
        indexes = [
            models.Index(fields=["account", "-id"], name="persona_account_latest"),
            models.Index(fields=["account", "phone"], name="persona_phone"),
            models.Index(fields=["account", "email"], name="persona_email"),
        ]

    def __str__(self) -> str:
        return self.full_name or self.phone or self.email or f"Persona {self.pk}"

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def is_member(self) -> bool:
        return self.member_from is not None


class IdentifierKind(models.TextChoices):
    PHONE = "phone", "Phone"
    EMAIL = "email", "E-mail"


class Identifier(TenantModel):
    """What a persona is recognised by. The database decides who gets it first; a shared one identifies nobody."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="identifiers")
    kind = models.CharField(max_length=8, choices=IdentifierKind)
    value = models.CharField(max_length=254)
    shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "kind", "value"],
                condition=Q(shared=False),
                name="identifier_once",
            )
        ]


class Source(TenantModel):
    """A persona's record in one origin. It stays with its persona when its phone changes."""

    persona = TenantKey(Persona, related_name="sources")
    customer = TenantKey(Customer, related_name="sources")
    matched_by = models.CharField(max_length=20, help_text="phone, email, new, ...")
    linked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer"], name="source_once")]


class Ground(models.TextChoices):
    API = "api", "API"
    TILL = "till", "Till"
    STAFF = "staff", "Staff"
    IMPORT = "import", "Import"


class Enrolment(TenantModel):
    """How a membership began, and from which day it earns. Rows are added, never changed."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="enrolments")
    ground = models.CharField(max_length=12, choices=Ground)
    from_date = models.DateField()
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    note = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(default=timezone.now)


class LedgerModel(TenantModel):
    """A row that always belongs to a persona or a sale.

    The reference to those carries the account, so the account's own reference and index would only be paid for: a check
    and an index entry for each posted line, all on the same account row.
    """

    account = models.ForeignKey(
        "accounts.Account",
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        abstract = True


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

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(balance__gte=0), name="wallet_not_negative"),
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


class Discount(TenantModel):
    """What a shopper can have for points."""

    class Kind(models.TextChoices):
        FLAT = "flat", "Dollars off"
        PERCENT = "percent", "Percent off"

    number = models.PositiveIntegerField("discount id", editable=False)
    internal_name = models.CharField(max_length=120, help_text="Only staff see it.")
    name = models.CharField("What are you discounting?", max_length=120, help_text="The name shoppers see.")
    description = models.CharField("Short description", max_length=300, blank=True)
    kind = models.CharField("Flat or percent", max_length=8, choices=Kind, default=Kind.FLAT)
    amount_cents = models.PositiveIntegerField("Amount off, in cents", default=0, help_text="1000 is $10.00.")
    percent = models.DecimalField(
        "Percent off",
        max_digits=5,
        decimal_places=2,
        default=Decimal(0),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(100))],
    )
    points = points_field(
        "Points required to redeem",
        default=Decimal(0),
        validators=[MinValueValidator(Decimal(0))],
    )
    reusable = models.BooleanField(
        "Can this discount be used more than one time?",
        default=False,
        help_text="Off: once for each shopper.",
    )
    starts_at = models.DateTimeField("Start", null=True, blank=True)
    ends_at = models.DateTimeField("End", null=True, blank=True)
    pos_discount_id = models.CharField(
        "POS Discount ID",
        max_length=100,
        blank=True,
        help_text="For a POS that applies its own discount of this id.",
    )
    in_store_only = models.BooleanField("In-store only", default=False, help_text="Web shops leave it out.")
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["points", "number"]
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="discount_number_once"),
            tenant_parent("discount"),
            models.CheckConstraint(condition=Q(points__gte=0), name="discount_points"),
            models.CheckConstraint(
                condition=Q(kind="flat", amount_cents__gt=0, percent=0)
                | Q(kind="percent", percent__gt=0, percent__lte=100, amount_cents=0),
                name="discount_one_amount",
            ),
            models.CheckConstraint(
                condition=Q(starts_at=None) | Q(ends_at=None) | Q(ends_at__gt=F("starts_at")),
                name="discount_window",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.kind == self.Kind.FLAT:
            if not self.amount_cents:
                raise ValidationError({"amount_cents": "Say how many cents come off: 1000 is $10.00."})
            self.percent = Decimal(0)
        else:
            if not self.percent:
                raise ValidationError({"percent": "Say how many percent come off."})
            self.amount_cents = 0
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": "The end lies before the start."})


class RedemptionState(models.TextChoices):
    APPLIED = "applied", "Applied"  # the till took it; its sale has not been seen
    SETTLED = "settled", "Settled"
    RELEASED = (
        "released",
        "Released",
    )  # no sale carried it: the points came back by themselves
    REVERTED = "reverted", "Given back"


class Channel(models.TextChoices):
    TILL = "till", "Till"
    WEB = "web", "Web"
    STAFF = "staff", "Staff"


class Redemption(TenantModel):
    """One use of a discount."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    persona = TenantKey(Persona, related_name="redemptions")
    discount = TenantKey(Discount, related_name="redemptions")
    n = models.PositiveIntegerField(help_text="How many redemptions of this discount the persona had before.")
    transaction = models.CharField(max_length=100, blank=True)
    channel = models.CharField(max_length=6, choices=Channel)
    state = models.CharField(max_length=10, choices=RedemptionState)
    points = points_field()
    reverted_points = points_field(default=Decimal(0))
    store = TenantKey(Store, null=True, related_name="redemptions")
    sale = TenantKey(Sale, null=True, related_name="redemptions")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    applied_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When the last of its points came back.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["persona", "discount", "n"], name="redemption_n_once"),
            models.UniqueConstraint(
                fields=["persona", "transaction", "discount"],
                condition=~Q(transaction="") & Q(state__in=["applied", "settled"]),
                name="redemption_transaction_once",
            ),
            models.CheckConstraint(
                condition=Q(reverted_points__gte=0) & Q(reverted_points__lte=F("points")),
                name="redemption_reverted",
            ),
            tenant_parent("redemption"),
        ]
        indexes = [
            models.Index(fields=["account", "-applied_at"], name="redemption_latest"),
            models.Index(fields=["persona"], name="redemption_open", condition=Q(state="applied")),
        ]


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


class Shortfall(TenantModel):
    """Points that should have been taken back and were no longer there. Never taken silently from later points."""

    persona = TenantKey(Persona, related_name="shortfalls")
    key = models.CharField(max_length=120)
    points = points_field()
    sale = TenantKey(Sale, null=True, related_name="shortfalls")
    redemption = TenantKey(Redemption, null=True, related_name="shortfalls")
    state = models.CharField(max_length=10, choices=ShortfallState, default=ShortfallState.OPEN)
    at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], name="shortfall_key_once"),
            models.CheckConstraint(condition=Q(points__gt=0), name="shortfall_points"),
        ]
