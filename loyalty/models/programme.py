"""How points are earned: the programme, its exceptions and modifiers, audiences, and changes that move balances."""

from decimal import Decimal

from django.contrib.postgres.functions import RandomUUID
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Origin
from stores.models import Store

from .fields import by_user, points_field


class Rounding(models.TextChoices):
    OFF = "off", "Off (two decimals)"
    NEAREST = "nearest", "Nearest point"
    UP = "up", "Up"
    DOWN = "down", "Down"


class Refunds(models.TextChoices):
    KEEP = "keep", "Keep the points"
    REVERSE = "reverse", "Take back the refunded part"
    REVERSE_FULL = "reverse_full", "Take back on full refunds only"


class SpentOnRefund(models.TextChoices):
    KEEP = "keep", "Stay spent, and are listed"
    REVERSE = "reverse", "Come back on a full refund"


class Engine(models.TextChoices):
    FIFO = "fifo", "FIFO: each earning expires on its own day"
    LEGACY = "legacy", "Legacy: after a time without a purchase"


class EarningTypes(models.TextChoices):
    ALL = "all", "Everybody"
    RECREATIONAL = "recreational", "Recreational shoppers only"
    MEDICAL = "medical", "Medical shoppers only"


class OptInNeeded(models.TextChoices):
    NONE = "none", "Nothing"
    SMS = "sms", "Opted in to texts"
    EMAIL = "email", "Opted in to e-mail"
    ANY = "any", "Opted in to texts or e-mail"


class Programme(TenantModel):
    """The loyalty programme of an account: how points are earned, how they expire, what staff may do."""

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
    points_per_order = points_field(
        "Points earned per order",
        default=Decimal(0),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(100_000))],
        help_text="A fixed number for each paid visit, beside those for the money.",
    )
    max_visits_per_day = models.PositiveSmallIntegerField(
        "Max visits per day",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="How many orders of a day earn the points per order. Empty: all of them.",
    )
    accrual_start = models.DateField(
        "Customers can earn points starting on date",
        null=True,
        blank=True,
        help_text="Sales of earlier days earn nothing. Empty: every sale since a member's own start.",
    )
    exclude_tax = models.BooleanField("Don't accrue tax dollars", default=True)
    exclude_tax_from = models.DateField(
        "... from this day",
        null=True,
        blank=True,
        help_text="Sales before it still earn on the tax. Empty: all sales are counted before tax.",
    )
    rounding = models.CharField("Round points", max_length=8, choices=Rounding, default=Rounding.OFF)
    hide_points = models.BooleanField(
        "Hide points in wallets",
        default=False,
        help_text="Tills and wallets are told 0 points; earning and redeeming go on.",
    )
    earning_types = models.CharField(
        "Who earns", max_length=12, choices=EarningTypes, default=EarningTypes.ALL,
        help_text="A shopper of unknown type counts as recreational.",
    )  # fmt: skip
    opt_in_needed = models.CharField(
        "Needed to earn", max_length=6, choices=OptInNeeded, default=OptInNeeded.NONE,
        help_text="Looked at on the moment of the sale: opting out later takes nothing back.",
    )  # fmt: skip
    refunds = models.CharField("Points on refund", max_length=12, choices=Refunds, default=Refunds.KEEP)
    spent_on_refund = models.CharField(
        "Points spent on a refunded sale", max_length=8, choices=SpentOnRefund, default=SpentOnRefund.KEEP
    )
    engine = models.CharField("Expiry", max_length=8, choices=Engine, default=Engine.FIFO)
    expire_days = models.PositiveIntegerField(
        "Days until points expire",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Oldest points are used first. Empty: points do not expire.",
    )
    expire_start = models.DateField(
        "Points expiration start date",
        null=True,
        blank=True,
        help_text="Legacy engine: the clock starts here, and points earned before are safe. Empty: from the beginning.",
    )
    expire_all = models.BooleanField(
        "Expire All",
        default=False,
        help_text="Legacy engine: gifted, adjusted and imported points expire too, not only earned ones.",
    )
    release_after_h = models.PositiveSmallIntegerField(
        "Hours until an unused redemption is released",
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(720)],
        help_text="Only when the POS's sales of that time have been read and none of them carries it.",
    )
    merge_by_name = models.BooleanField(
        "Merge by name and birth date",
        default=False,
        help_text="Two records of the same full name and birth date are one person.",
    )
    pin_to_redeem = models.BooleanField(
        "Ask for a PIN before staff redeem",
        default=False,
        help_text="The shopper gets a code and tells it; without it, or the master PIN, nothing is redeemed by hand.",
    )
    show_pin = models.BooleanField(
        "Show pin code in wallets",
        default=False,
        help_text="The code stands on the shopper's page too: for shops without text messages.",
    )
    master_pin = models.CharField(max_length=64, blank=True, editable=False)  # an HMAC, never the digits
    staff_may_adjust = models.BooleanField("Budtenders can modify points", default=False)
    staff_may_redeem = models.BooleanField("Budtenders can open wallets and redeem discounts", default=True)
    staff_sees_queue = models.BooleanField("Budtender can see waiting room queue", default=False)
    staff_points_a_day = points_field(
        "Points a budtender may add in a day",
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Empty: no limit.",
    )
    manager_points_a_day = points_field(
        "Points a manager may add in a day",
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Empty: no limit.",
    )
    staff_redemptions_a_day = models.PositiveIntegerField(
        "Redemptions a budtender may make by hand in a day",
        null=True,
        blank=True,
        help_text="Empty: no limit.",
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    # How many are members, as they were counted last (`audiences.count_members_due`).
    members = models.PositiveIntegerField(null=True, editable=False)
    members_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = verbose_name_plural = "loyalty programme"
        constraints = [
            models.UniqueConstraint(fields=["account"], name="programme_once"),
            models.CheckConstraint(
                condition=Q(points_per_100__gte=0) & Q(points_per_order__gte=0), name="programme_rate"
            ),
            models.CheckConstraint(
                condition=Q(max_visits_per_day=None) | Q(max_visits_per_day__gte=1), name="programme_visits"
            ),
            models.CheckConstraint(condition=Q(expire_days=None) | Q(expire_days__gte=1), name="programme_days"),
        ]

    def __str__(self) -> str:
        return "Loyalty programme"


class SourceStart(TenantModel):
    """An accrual start of its own for one source of sales; it replaces the programme's."""

    origin = TenantKey(Origin, related_name="+")
    starts_on = models.DateField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin"], name="source_start_once")]


class BlockedPhone(TenantModel):
    """A phone of the employee points blocklist: its owner earns and redeems nothing while it is listed."""

    phone = models.CharField(max_length=20)
    note = models.CharField(max_length=120, blank=True, help_text="Whose it is.")
    user = by_user()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "phone"], name="blocked_phone_once")]

    def __str__(self) -> str:
        return self.phone


class Audience(TenantModel):
    """A group of personas: by rules (all that are set must hold), and by hand."""

    name = models.CharField(max_length=120)
    description = models.CharField(max_length=300, blank=True)
    by_rules = models.BooleanField("Fill by rules", default=True, help_text="Off: only those added by hand.")
    members_only = models.BooleanField("Loyalty members only", default=True)
    min_points = points_field("At least this many points", null=True, blank=True)
    min_spend_cents = models.PositiveBigIntegerField("Spent at least, all time", null=True, blank=True)
    min_orders = models.PositiveIntegerField("At least this many orders", null=True, blank=True)
    seen_within_days = models.PositiveIntegerField("Bought within the last days", null=True, blank=True)
    away_for_days = models.PositiveIntegerField("Has not bought for days", null=True, blank=True)
    birthday_within_days = models.PositiveSmallIntegerField("Birthday within days", null=True, blank=True)
    customer_type = models.CharField("Customer type", max_length=12, blank=True, choices=EarningTypes.choices[1:])
    store = TenantKey(Store, null=True, blank=True, related_name="+", verbose_name="Favourite store")
    pricing_group = models.CharField("POS pricing group", max_length=100, blank=True)
    texts = models.BooleanField("Opted in to texts", default=False)
    archived_at = models.DateTimeField(null=True, editable=False)
    refreshed_at = models.DateTimeField(null=True, editable=False)
    size = models.PositiveIntegerField(
        default=0, editable=False, help_text="How many were in it when it was refreshed."
    )
    public_id = models.UUIDField(db_default=RandomUUID(), unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["account", "name"], name="audience_name_once"),
            tenant_parent("audience"),
        ]

    def __str__(self) -> str:
        return self.name


class ModifierKind(models.TextChoices):
    MULTIPLIER = "multiplier", "Multiplier"
    BOOST = "boost", "Boost"
    ZERO = "zero", "Zero points"


class Modifier(TenantModel):
    """Changes what a sale earns (multiplier, zero points) or gives a fixed number once to each persona (boost)."""

    name = models.CharField(max_length=120, help_text="Read aloud in the timeline: 'Double Tuesday'.")
    kind = models.CharField(max_length=10, choices=ModifierKind, default=ModifierKind.MULTIPLIER)
    factor = models.DecimalField(
        "Times", max_digits=6, decimal_places=2, default=Decimal(2),
        validators=[MinValueValidator(Decimal("0.01")), MaxValueValidator(Decimal(100))],
    )  # fmt: skip
    points = points_field(
        default=Decimal(0), help_text="A boost's points; with a minus they are taken, down to a balance of 0."
    )
    audience = TenantKey(Audience, null=True, blank=True, related_name="modifiers")
    stores = models.JSONField(default=list, blank=True, help_text="Store rows' ids; empty: everywhere.")
    brands = models.JSONField(default=list, blank=True)
    categories = models.JSONField(default=list, blank=True)
    skus = models.JSONField("SKUs", default=list, blank=True)
    weekdays = models.JSONField(default=list, blank=True, help_text="0 is Monday; empty: every day.")
    from_hour = models.TimeField("From", null=True, blank=True, help_text="In the store's time zone.")
    to_hour = models.TimeField("Until", null=True, blank=True)
    starts_on = models.DateField("First day", null=True, blank=True)
    ends_on = models.DateField("Last day", null=True, blank=True)
    with_sale = models.BooleanField(
        "Given with a purchase",
        default=False,
        help_text="A boost: with the first purchase that fits. Off: as soon as somebody is in the audience.",
    )
    active = models.BooleanField(default=True)
    archived_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            tenant_parent("modifier"),
            models.CheckConstraint(
                condition=Q(kind="boost") & ~Q(points=0) | ~Q(kind="boost") & Q(points=0), name="modifier_points"
            ),
            models.CheckConstraint(condition=Q(factor__gt=0), name="modifier_factor"),
            models.CheckConstraint(
                condition=Q(starts_on=None) | Q(ends_on=None) | Q(ends_on__gte=F("starts_on")), name="modifier_dates"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.kind == ModifierKind.BOOST and not self.points:
            raise ValidationError({"points": "How many points does the boost give?"})
        if self.kind != ModifierKind.BOOST:
            self.points = Decimal(0)
        if self.starts_on and self.ends_on and self.ends_on < self.starts_on:
            raise ValidationError({"ends_on": "The last day lies before the first."})


class ChangeState(models.TextChoices):
    COUNTING = "counting", "Counting"
    COUNTED = "counted", "To confirm"
    APPLYING = "applying", "Being applied"
    APPLIED = "applied", "Applied"
    DISMISSED = "dismissed", "Dismissed"


class ProgrammeChange(TenantModel):
    """Settings that move balances: what would change, counted before anybody confirms it; then applied, with progress.

    `values` is {"programme": {...}, "starts": {...}, "blocked": {...}, "modifiers": [...]}: see `loyalty/changes.py`.
    """

    values = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=ChangeState, default=ChangeState.COUNTING)
    counted = models.JSONField(default=dict, help_text="Shoppers, points before and after, expiring at once, a sample.")
    applied = models.JSONField(default=dict)
    version = models.PositiveIntegerField(help_text="Of the programme it was counted against.")
    user = by_user()
    confirmed_by = by_user()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    confirmed_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account"],
                condition=Q(state__in=["counting", "counted", "applying"]),
                name="programme_change_one_open",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["applying", "applied"]) | Q(confirmed_at__isnull=False),
                name="programme_change_confirmed",
            ),
            tenant_parent("programmechange"),
        ]


class JobState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


class Job(TenantModel):
    """Work in the background, a slice at a time: a row with a token and a lease, as a sync run has."""

    kind = models.CharField(max_length=24)
    args = models.JSONField(default=dict)
    cursor = models.JSONField(default=dict)
    state = models.CharField(max_length=8, choices=JobState, default=JobState.QUEUED)
    done = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(null=True)
    result = models.JSONField(default=dict)
    token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Deliveries that ended without saving progress.")
    message = models.TextField(blank=True)
    user = by_user()
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "kind"], condition=Q(state__in=["queued", "running"]), name="job_one_live"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "lease_until"], name="job_live", condition=Q(state__in=["queued", "running"]))
        ]
