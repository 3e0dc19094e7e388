"""Connections, their runs, and what they brought: neutral customers, sales and lines, written by `landing.py` only."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent

from ..secrets import SealedField


class Origin(TenantModel):
    """The vendor's own company: what customers and sales are unique within.

    Written from the vendor's verified answer, so a credential entered again finds its old rows.
    """

    platform = models.CharField(max_length=40)
    identity = models.CharField(max_length=100)
    title = models.CharField(max_length=200, blank=True)
    erasing_at = models.DateTimeField(null=True, help_text="What it brought is being erased: it cannot be connected.")
    erased_at = models.DateTimeField(null=True)
    own_points_at = models.DateTimeField(
        null=True, help_text="The latest sale for which the POS gave points of its own."
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "platform", "identity"], name="origin_once"),
            tenant_parent("origin"),
        ]

    def __str__(self) -> str:
        return f"{self.platform} {self.identity}"


class Connection(TenantModel):
    """An account's use of a card."""

    card = models.CharField(max_length=40)
    settings = models.JSONField(default=dict)
    since = models.JSONField(default=dict, help_text="Setting -> moment it was turned on, as ISO text.")
    frozen_at = models.DateTimeField(null=True, help_text="Use last backup: no call to the POS in either direction.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "card"], name="connection_once"),
            tenant_parent("connection"),
        ]

    def __str__(self) -> str:
        return self.card


class CredentialState(models.TextChoices):
    DRAFT = "draft", "Not connected"
    CONNECTED = "connected", "Connected"
    PAUSED = (
        "paused",
        "Needs attention",
    )  # the vendor refuses us; nothing is tried until somebody acts
    DISCONNECTED = "disconnected", "Disconnected"


class Credential(TenantModel):
    """One set of secrets of a connection."""

    connection = TenantKey(Connection, related_name="credentials")
    origin = TenantKey(Origin, null=True, related_name="credentials")
    values = models.JSONField(default=dict, help_text="What is not secret, by field name.")
    settings = models.JSONField(default=dict, help_text="The settings that belong to one credential.")
    frozen_at = models.DateTimeField(null=True)
    secrets = SealedField(null=True)
    token = SealedField(null=True)
    state = models.CharField(max_length=12, choices=CredentialState, default=CredentialState.DRAFT)
    message = models.TextField(blank=True, help_text="The sentence for the merchant, when something is wrong.")
    setting = models.CharField(max_length=40, blank=True, help_text="The field the sentence is about.")
    checked_at = models.DateTimeField(null=True)
    connected_at = models.DateTimeField(null=True)
    secrets_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    # The outbox to this vendor: no write goes out before this moment, because of that.
    writes_after = models.DateTimeField(null=True)
    writes_failed = models.PositiveIntegerField(default=0)
    writes_message = models.TextField(blank=True)

    class Meta:
        constraints = [
            # Two live credentials of one company would read, and pay for, everything twice.
            models.UniqueConstraint(
                fields=["origin"],
                condition=Q(state__in=["connected", "paused"]),
                name="live_credential_once",
            ),
            tenant_parent("credential"),
        ]

    def __str__(self) -> str:
        return f"{self.connection} {next(iter(self.values.values()), '') or self.pk}"


class Location(TenantModel):
    """A place the POS reports."""

    origin = TenantKey(Origin, related_name="locations")
    external_id = models.CharField(max_length=100)
    name = models.CharField(max_length=200, blank=True)
    street = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=20, blank=True)
    postal_code = models.CharField(max_length=20, blank=True)
    country = models.CharField(max_length=2, blank=True)
    phone = models.CharField(max_length=60, blank=True)
    time_zone = models.CharField(max_length=64, blank=True)
    active = models.BooleanField(default=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["origin", "external_id"], name="location_once"),
            tenant_parent("location"),
        ]

    def __str__(self) -> str:
        return self.name or self.external_id


class PricingGroup(TenantModel):
    origin = TenantKey(Origin, related_name="pricing_groups")
    external_id = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=500, blank=True)
    deleted = models.BooleanField(default=False)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "external_id"], name="pricing_group_once")]

    def __str__(self) -> str:
        return self.name


class Customer(TenantModel):
    """A shopper as one POS knows him."""

    origin = TenantKey(Origin, related_name="customers")
    external_id = models.CharField(max_length=100)
    first_name = models.CharField(max_length=200, blank=True)
    last_name = models.CharField(max_length=200, blank=True)
    phone = models.CharField(max_length=20, blank=True)
    phone_raw = models.CharField(max_length=100, blank=True)
    email = models.CharField(max_length=254, blank=True)
    email_raw = models.CharField(max_length=254, blank=True)
    birth_date = models.DateField(null=True)
    street = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=20, blank=True)
    postal_code = models.CharField(max_length=20, blank=True)
    country = models.CharField(max_length=2, blank=True)
    pricing_group = models.CharField(max_length=100, blank=True)
    do_not_contact = models.BooleanField(null=True)
    disabled = models.BooleanField(default=False)
    merged_into = models.CharField(max_length=100, blank=True)
    customer_type = models.CharField(max_length=12, blank=True, db_default="", help_text="medical, recreational")
    # HMACs, never the numbers themselves: they recognise a person and tell nobody who it is.
    government_id = models.CharField(max_length=64, blank=True, db_default="")
    medical_id = models.CharField(max_length=64, blank=True, db_default="")
    erased_at = models.DateTimeField(null=True)
    version = models.BigIntegerField(default=0)
    modified_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["origin", "external_id"], name="customer_once"),
            tenant_parent("customer"),
        ]
        indexes = [
            models.Index(fields=["account", "phone"], name="customer_phone", condition=~Q(phone="")),
            models.Index(
                fields=["account", "government_id"], name="customer_government", condition=~Q(government_id="")
            ),
            models.Index(fields=["account", "medical_id"], name="customer_medical", condition=~Q(medical_id="")),
            models.Index(fields=["origin", "merged_into"], name="customer_merged", condition=~Q(merged_into="")),
        ]

    def __str__(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.external_id


class SaleKind(models.TextChoices):
    SALE = "sale", "Sale"
    REFUND = "refund", "Refund"


class Fulfilment(models.TextChoices):
    IN_STORE = "in_store", "In store"
    DELIVERY = "delivery", "Delivery"
    PICKUP = "pickup", "Pickup"


class Sale(TenantModel):
    """A finished sale or refund. It keeps its location for ever; its store is the mapping, joined."""

    origin = TenantKey(Origin, related_name="sales")
    external_id = models.CharField(max_length=100)
    kind = models.CharField(max_length=6, choices=SaleKind, default=SaleKind.SALE)
    number = models.CharField(max_length=60, blank=True)
    receipt = models.CharField(max_length=60, blank=True)
    original_id = models.CharField(
        max_length=100,
        blank=True,
        help_text="External id of the sale a refund belongs to.",
    )
    location = TenantKey(Location, null=True, related_name="sales")
    # The vendor's id, not a reference: a sale may arrive before its customer.
    customer_id = models.CharField(max_length=100, blank=True)
    employee_id = models.CharField(max_length=60, blank=True)
    employee_name = models.CharField(max_length=200, blank=True)
    sold_at = models.DateTimeField()
    fulfilment = models.CharField(max_length=10, choices=Fulfilment, blank=True)
    lines_cents = models.BigIntegerField(default=0)
    discount_cents = models.BigIntegerField(default=0)
    tax_cents = models.BigIntegerField(default=0)
    total_cents = models.BigIntegerField(default=0)
    net_cents = models.BigIntegerField(default=0)
    payments = models.CharField(max_length=200, blank=True)
    discounts = models.JSONField(default=list)
    has_details = models.BooleanField(default=False)
    currency = models.CharField(max_length=3, blank=True)
    line_count = models.PositiveIntegerField(default=0)
    lines_digest = models.CharField(max_length=32, blank=True, help_text="Tells a changed line without reading lines.")
    erased_at = models.DateTimeField(
        null=True, help_text="Its origin was erased: a stub without lines, at rest until it is read anew."
    )
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["origin", "external_id"], name="sale_once"),
            tenant_parent("sale"),
        ]
        indexes = [
            models.Index(fields=["account", "-sold_at"], name="sale_account_sold"),
            models.Index(
                fields=["origin", "customer_id"],
                name="sale_customer",
                condition=~Q(customer_id=""),
            ),
            models.Index(
                fields=["origin", "original_id"],
                name="sale_original",
                condition=~Q(original_id=""),
            ),
            models.Index(fields=["location", "-sold_at"], name="sale_location_sold"),
            models.Index(fields=["account", "number"], name="sale_number"),
            models.Index(
                fields=["account", "receipt"],
                name="sale_receipt",
                condition=~Q(receipt=""),
            ),
        ]

    def __str__(self) -> str:
        return self.number or self.external_id


class SaleLine(TenantModel):
    sale = TenantKey(Sale, on_delete=models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField()
    product_id = models.CharField(max_length=100, blank=True)
    sku = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=300, blank=True)
    category = models.CharField(max_length=200, blank=True)
    brand = models.CharField(max_length=200, blank=True)
    quantity = models.DecimalField(max_digits=14, decimal_places=4)
    unit = models.CharField(max_length=10, blank=True)
    list_price = models.DecimalField(max_digits=14, decimal_places=4)
    unit_price = models.DecimalField(max_digits=14, decimal_places=4)
    total_cents = models.BigIntegerField()
    discount_cents = models.BigIntegerField(default=0)
    cost_cents = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sale", "number"], name="sale_line_once")]


class StreamState(TenantModel):
    """One stream of one credential: its cursor, when it is due, and how fresh its rows are."""

    credential = TenantKey(Credential, related_name="streams")
    stream = models.CharField(max_length=40)
    enabled = models.BooleanField(default=True)
    cursor = models.JSONField(default=dict)
    next_due = models.DateTimeField(default=timezone.now)
    read_until = models.DateTimeField(null=True, help_text="Everything the POS had at this moment has been read.")
    first_done_at = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    failing_since = models.DateTimeField(null=True)
    message = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["credential", "stream"], name="stream_once"),
            tenant_parent("streamstate"),
        ]
        indexes = [models.Index(fields=["next_due"], name="stream_due", condition=Q(enabled=True))]

    def __str__(self) -> str:
        return self.stream


class RunStatus(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


class SyncRun(TenantModel):
    """One run of one stream. `token` and `lease_until` say who may write for it."""

    stream = TenantKey(StreamState, related_name="runs")
    status = models.CharField(max_length=8, choices=RunStatus, default=RunStatus.QUEUED)
    full = models.BooleanField(default=False)
    manual = models.BooleanField(default=False)
    token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Deliveries that ended without saving a page.")
    takeovers = models.PositiveIntegerField(default=0)
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    pages = models.PositiveIntegerField(default=0)
    rows_read = models.PositiveBigIntegerField(default=0)
    rows_new = models.PositiveBigIntegerField(default=0)
    rows_changed = models.PositiveBigIntegerField(default=0)
    rows_unchanged = models.PositiveBigIntegerField(default=0)
    rows_refused = models.PositiveBigIntegerField(default=0)
    rows_outside = models.PositiveBigIntegerField(
        default=0, help_text="Customers who stay outside the market: read, not imported."
    )
    calls = models.PositiveIntegerField(default=0)
    calls_spared = models.PositiveIntegerField(default=0, help_text="Single calls that a setting made unnecessary.")
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(null=True)
    progress_note = models.CharField(max_length=200, blank=True)
    seconds = models.JSONField(default=dict, help_text="Time spent: fetch, parse, land, points.")
    error = models.CharField(max_length=40, blank=True)
    message = models.TextField(blank=True)
    detail = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["stream"],
                condition=Q(status__in=["queued", "running"]),
                name="one_live_run",
            ),
            tenant_parent("syncrun"),
        ]
        indexes = [
            models.Index(fields=["stream", "-id"], name="run_stream_latest"),
            models.Index(fields=["lease_until"], name="run_lease", condition=Q(status="running")),
        ]
        verbose_name = "sync run"


class RefusedRow(TenantModel):
    """A row that could not be taken over, with its reason, until it comes in right or ninety days are over."""

    origin = TenantKey(Origin, related_name="refused_rows")
    stream = models.CharField(max_length=40)
    external_id = models.CharField(max_length=100, blank=True)
    key = models.CharField(max_length=100, help_text="The row's id, or a hash of the row when it has none.")
    reason = models.TextField()
    row = models.JSONField(null=True, help_text="The row, without what the card redacts.")
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)
    solved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "stream", "key"], name="refused_row_once")]
        indexes = [
            models.Index(
                fields=["origin", "-last_at"],
                name="refused_open",
                condition=Q(solved_at=None),
            )
        ]


class Suppression(TenantModel):
    """Somebody who was erased: an HMAC of a phone, an e-mail or a record's id. Landing asks before anything."""

    kind = models.CharField(max_length=8, help_text="phone, email, source")
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "kind", "digest"], name="suppression_once")]


class Heartbeat(models.Model):
    """When a worker's whole ring (pusher, worker, monitor) last finished a task. Not a tenant's."""

    name = models.CharField(max_length=100, primary_key=True)
    at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    restarts = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=200, blank=True)
