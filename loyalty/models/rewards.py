"""Discounts: what shoppers can have for points, and each use of one."""

import uuid
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Sale
from stores.models import Store

from .fields import LedgerModel, by_user, points_field
from .people import Persona
from .programme import Audience


class Reward(models.TextChoices):
    NORMAL = "normal", "Normal"
    TIER = "tier", "Tier reward"


class CodeKind(models.TextChoices):
    NONE = "none", "No code"
    STATIC = "static", "One code for everybody"
    UNIQUE = "unique", "A code of its own for each use"


class Discount(TenantModel):
    """What a shopper can have for points."""

    class Kind(models.TextChoices):
        FLAT = "flat", "Dollars off"
        PERCENT = "percent", "Percent off"

    number = models.PositiveIntegerField("discount id", editable=False)
    internal_name = models.CharField(max_length=120, help_text="Only staff see it.")
    tags = models.CharField(max_length=200, blank=True, help_text="Only staff see them; commas between.")
    reward = models.CharField(
        "Type", max_length=8, choices=Reward, default=Reward.NORMAL,
        help_text="A tier reward needs its points and does not spend them.",
    )  # fmt: skip
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
    min_spend_cents = models.PositiveIntegerField("Minimum spend, in cents", default=0)
    stackable = models.BooleanField(
        "Can be combined with another discount",
        default=False,
        help_text="Where the POS takes more than one for an order.",
    )
    reusable = models.BooleanField(
        "Can this discount be used more than one time?",
        default=False,
        help_text="Off: once for each shopper.",
    )
    cooldown_h = models.PositiveIntegerField("Cooldown between redemptions, in hours", default=0)
    hide_redeem = models.BooleanField(
        "Hide the Redeem button", default=False, help_text="Shoppers cannot redeem it themselves; staff and tills can."
    )
    starts_at = models.DateTimeField("Start", null=True, blank=True)
    ends_at = models.DateTimeField("End", null=True, blank=True)
    valid_for_h = models.PositiveIntegerField(
        "Relative expiration, in hours", null=True, blank=True,
        help_text="Counted from when the shopper received it: joined the audience, else became a member.",
    )  # fmt: skip
    code_kind = models.CharField("Coupon code", max_length=8, choices=CodeKind, default=CodeKind.NONE)
    static_code = models.CharField("The code", max_length=60, blank=True)
    pos_discount_id = models.CharField(
        "POS Discount ID",
        max_length=100,
        blank=True,
        help_text="For a POS that applies its own discount of this id.",
    )
    in_store_only = models.BooleanField("In-store only", default=False, help_text="Web shops leave it out.")
    rank = models.PositiveSmallIntegerField("Order in the wallet", default=100)
    limited_stores = models.BooleanField(default=False, editable=False)  # there are rows of DiscountStore
    limited_audiences = models.BooleanField(default=False, editable=False)  # there are rows of DiscountAudience
    # What the last check found to be wrong with it at the till, as a sentence (`discounts.check`).
    problem = models.CharField(max_length=500, blank=True, default="", db_default="", editable=False)
    checked_at = models.DateTimeField(null=True, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["rank", "points", "number"]
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
            models.CheckConstraint(
                condition=Q(code_kind="static") & ~Q(static_code="") | ~Q(code_kind="static") & Q(static_code=""),
                name="discount_code",
            ),
            models.CheckConstraint(condition=Q(reusable=True) | Q(cooldown_h=0), name="discount_cooldown"),
            # A tier reward can be used again and again: it spends nothing.
            models.CheckConstraint(condition=~Q(reward="tier") | Q(reusable=True), name="discount_tier"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def price(self) -> Decimal:
        """What a use takes: a tier reward needs its points and leaves them."""
        return Decimal(0) if self.reward == Reward.TIER else self.points

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
        if self.code_kind == CodeKind.STATIC and not self.static_code:
            raise ValidationError({"static_code": "Which code do shoppers show?"})
        if self.code_kind != CodeKind.STATIC:
            self.static_code = ""
        if self.reward == Reward.TIER:
            self.reusable = True
        if not self.reusable:
            self.cooldown_h = 0


class DiscountStore(TenantModel):
    """A discount is for these stores only."""

    discount = TenantKey(Discount, on_delete=models.CASCADE, related_name="stores")
    store = TenantKey(Store, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["discount", "store"], name="discount_store_once")]


class DiscountAudience(TenantModel):
    """A discount is for members of these audiences only: one of them is enough."""

    discount = TenantKey(Discount, on_delete=models.CASCADE, related_name="audiences")
    audience = TenantKey(Audience, related_name="discounts")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["discount", "audience"], name="discount_audience_once")]


class ImageKind(models.TextChoices):
    LOGO = "logo", "Logo"  # square, beside the name
    COVER = "cover", "Cover"  # wide, above it


class DiscountImage(TenantModel):
    """A picture of a discount, re-encoded by us; in the database, because no machine keeps files.

    `digest` is its address: made with a key of ours from whose picture it is and from the picture, so that nobody can
    guess one, and the same address is always the same picture.
    """

    discount = TenantKey(Discount, on_delete=models.CASCADE, db_index=False, related_name="images")
    kind = models.CharField(max_length=5, choices=ImageKind, default=ImageKind.LOGO)
    content_type = models.CharField(max_length=20)
    data = models.BinaryField()
    width = models.PositiveSmallIntegerField(default=0)
    height = models.PositiveSmallIntegerField(default=0)
    digest = models.CharField(max_length=32, unique=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["discount", "kind"], name="discount_image_once"),
            # A browser is told this type and no other: nothing that could run is ever kept.
            models.CheckConstraint(
                condition=Q(content_type__in=["image/png", "image/jpeg"]), name="discount_image_type"
            ),
        ]


class AudienceMember(TenantModel):
    """A stay of a persona in an audience. A stay ends, and another may begin; at most one is open."""

    audience = TenantKey(Audience, on_delete=models.CASCADE, related_name="stays")
    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="stays")
    by_hand = models.BooleanField(default=False)
    joined_at = models.DateTimeField()
    left_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["audience", "persona"], condition=Q(left_at=None), name="audience_member_once"
            ),
            models.CheckConstraint(
                condition=Q(left_at=None) | Q(left_at__gte=F("joined_at")), name="audience_member_stay"
            ),
        ]
        indexes = [models.Index(fields=["persona", "audience"], name="audience_of_persona")]


class RedemptionState(models.TextChoices):
    APPLIED = "applied", "Applied"  # the till took it; its sale has not been seen
    SETTLED = "settled", "Settled"
    RELEASED = "released", "Released"  # no sale carried it: the points came back by themselves
    REVERTED = "reverted", "Given back"


class Channel(models.TextChoices):
    TILL = "till", "Till"
    WEB = "web", "Web"
    STAFF = "staff", "Staff"


class Redemption(LedgerModel):
    """One use of a discount."""

    # What `matched_by` and `why_ended` say to people.
    WORDS = {
        "transaction": "Its sale was known by the order's number.",
        "name": "Its sale was known by shopper, time and the discount's name.",
        "amount": "Its sale was known by shopper, time and the amount of the discount.",
        "no_sale": "Every sale of its time was read; none was its own.",
        "without_discount": "Its sale came without the discount.",
        "voided": "Its sale was voided.",
        "refund": "Its sale was refunded in full.",
        "till": "The till took it off.",
        "staff": "Staff decided.",
        "late": "Its sale came after the points were back, and some were spent by then.",
    }

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    persona = TenantKey(Persona, db_index=False, related_name="redemptions")
    asked_as = TenantKey(
        Persona, null=True, db_index=False, related_name="+",
        help_text="Whose address was used, when that row had been merged into the persona by then.",
    )  # fmt: skip
    discount = TenantKey(Discount, related_name="redemptions")
    n = models.PositiveIntegerField(help_text="Counts this discount's uses by the persona and those merged into it.")
    transaction = models.CharField(max_length=100, blank=True)
    channel = models.CharField(max_length=6, choices=Channel)
    state = models.CharField(max_length=10, choices=RedemptionState)
    points = points_field()
    reverted_points = points_field(default=Decimal(0))
    store = TenantKey(Store, null=True, related_name="redemptions")
    sale = TenantKey(Sale, null=True, related_name="redemptions")
    after_tax = models.BooleanField(null=True, help_text="Whether the till took it off after tax; null: not known.")
    matched_by = models.CharField(
        max_length=20, blank=True, db_default="", help_text="transaction, name, amount, staff"
    )
    why_ended = models.CharField(
        max_length=20, blank=True, db_default="", help_text="no_sale, without_discount, voided, refund, till, staff"
    )
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
            models.UniqueConstraint(
                fields=["sale", "discount"],
                condition=Q(state="settled", sale__isnull=False),
                name="redemption_sale_once",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["applied", "settled"], ended_at=None, why_ended="")
                | Q(state__in=["released", "reverted"], ended_at__isnull=False, reverted_points=F("points")),
                name="redemption_ended",
            ),
            models.CheckConstraint(
                condition=~Q(state="applied") | Q(settled_at=None, sale=None), name="redemption_applied"
            ),
            models.CheckConstraint(
                condition=~Q(state="settled") | Q(settled_at__isnull=False), name="redemption_settled"
            ),
            tenant_parent("redemption"),
        ]
        # Persona alone and account alone are served by these; each index is paid for at every till.
        indexes = [
            models.Index(fields=["account", "-applied_at"], name="redemption_latest"),
            models.Index(fields=["persona"], name="redemption_open", condition=Q(state="applied")),
            models.Index(fields=["applied_at"], name="redemption_waiting", condition=Q(state="applied")),
            models.Index(
                fields=["asked_as", "discount", "n"], name="redemption_asked_as", condition=Q(asked_as__isnull=False)
            ),
            models.Index(
                fields=["persona", "transaction"],
                name="redemption_given_back",
                condition=Q(state__in=["released", "reverted"]),
            ),
            models.Index(
                fields=["account", "-applied_at"], name="redemption_by_number", condition=Q(matched_by="transaction")
            ),
        ]

    @property
    def told(self) -> str:
        """Why it ended, else how its sale was found, in words."""
        return self.WORDS.get(self.why_ended) or self.WORDS.get(self.matched_by, "")


class CouponCode(TenantModel):
    """A single-use code of a discount, generated here or typed in; handed to one use, for ever."""

    discount = TenantKey(Discount, on_delete=models.CASCADE, related_name="codes")
    code = models.CharField(max_length=60)
    redemption = TenantKey(Redemption, null=True, related_name="codes")
    assigned_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "code"], name="coupon_code_once"),
            models.UniqueConstraint(
                fields=["redemption"], condition=Q(redemption__isnull=False), name="coupon_code_one_use"
            ),
        ]
        indexes = [models.Index(fields=["discount", "id"], name="coupon_code_free", condition=Q(redemption=None))]


class ReviewKind(models.TextChoices):
    WAITING = "waiting", "Applied without a sale"
    NO_DISCOUNT = "no_discount", "Sale without the discount"
    NO_REDEMPTION = "no_redemption", "Discount without a redemption"
    REFUND = "refund", "Refund with points kept"
    SPENT_REFUNDED = "spent_refunded", "Refund of a sale with a redemption"
    PLACE = "place", "Used in a store it is not for"


class Review(TenantModel):
    """Somebody looked at one case of "Redemptions to look at" and closed it. A case is (kind, what it is about)."""

    kind = models.CharField(max_length=16, choices=ReviewKind)
    redemption = TenantKey(Redemption, null=True, on_delete=models.CASCADE, related_name="reviews")
    sale = TenantKey(Sale, null=True, on_delete=models.CASCADE, related_name="reviews")
    outcome = models.CharField(max_length=20, help_text="dismissed, given_back, settled, taken, attached")
    refunded_cents = models.BigIntegerField(
        null=True, help_text="Of a refund: what had been refunded when it was looked at. More opens the case again."
    )
    note = models.CharField(max_length=300, blank=True)
    user = by_user()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "redemption", "sale"], nulls_distinct=False, name="review_once"),
            models.CheckConstraint(
                condition=Q(redemption__isnull=False) | Q(sale__isnull=False), name="review_about_something"
            ),
        ]
