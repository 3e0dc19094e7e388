"""Shoppers: personas, what they are known by, where they come from, how they became members, who was joined to whom."""

import uuid

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Concat, Lower
from django.utils import timezone

from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent
from integrations.models import Customer, Origin, Sale
from stores.models import Store

from .fields import by_user, points_field

# Names are searched by their beginning, without case and accents. No extension is needed for that (decisions, 3).
ACCENTED = "àáâãäåèéêëìíîïòóôõöùúûüçñýÿšžőűłø"
PLAIN = "aaaaaaeeeeiiiiooooouuuucnyyszoulo"


# Who is listed: nobody's part, not removed, not archived, real.
LISTED = Q(merged_into=None, erased_at=None, archived_at=None, is_test=False)


def folded(*parts):
    """An expression of the database: the parts with a space between, in lower case, without accents."""
    return Func(
        Lower(Concat(parts[0], Value(" "), parts[1])), Value(ACCENTED), Value(PLAIN),
        function="translate", output_field=models.CharField(max_length=410),
    )  # fmt: skip


class CustomerType(models.TextChoices):
    RECREATIONAL = "recreational", "Recreational"
    MEDICAL = "medical", "Medical"


class Persona(TenantModel):
    """A shopper of one account. `contact_id` is what the API calls him, for ever."""

    contact_id = models.UUIDField("contact ID", default=uuid.uuid4, unique=True, editable=False)
    first_name = models.CharField(max_length=200, blank=True)
    last_name = models.CharField(max_length=200, blank=True)
    phone = models.CharField(max_length=20, blank=True)
    phone_raw = models.CharField(
        max_length=100, blank=True, db_default="", editable=False,
        help_text="What was given with the last sign-up and is no phone number; empty when the phone was good.",
    )  # fmt: skip
    email = models.CharField("e-mail", max_length=254, blank=True)
    birth_date = models.DateField(null=True, blank=True)
    address = models.CharField(
        max_length=300, blank=True, db_default="", editable=False,
        help_text="In one line, as the shopper gave it; the POS's own stays with its record.",
    )  # fmt: skip
    customer_type = models.CharField(max_length=12, choices=CustomerType, blank=True, db_default="")
    member_from = models.DateField(
        null=True,
        blank=True,
        help_text="First day whose sales earn. Empty: not a member.",
        editable=False,
    )
    merged_into = TenantKey("self", null=True, related_name="merged", editable=False)
    favourite_store = TenantKey(Store, null=True, blank=True, related_name="+", help_text="Chosen by hand.")
    usual_store = TenantKey(
        Store, null=True, related_name="+", editable=False,
        help_text="By the sales: the favourite as long as nobody chose one (favourites.py).",
    )  # fmt: skip
    is_test = models.BooleanField(
        default=False, db_default=False, editable=False,
        help_text="Made by a rehearsal: outside every figure, list and text, for ever.",
    )  # fmt: skip
    link_version = models.PositiveIntegerField(
        default=0, db_default=0, editable=False,
        help_text="Of the addresses of the shopper's page: raised, those that are out end.",
    )  # fmt: skip
    archived_at = models.DateTimeField(null=True, editable=False)
    erased_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_seen_at = models.DateTimeField(null=True, editable=False)
    name_key = models.GeneratedField(
        expression=folded(F("first_name"), F("last_name")),
        output_field=models.CharField(max_length=410),
        db_persist=True,
    )
    surname_key = models.GeneratedField(
        expression=folded(F("last_name"), F("first_name")),
        output_field=models.CharField(max_length=410),
        db_persist=True,
    )

    class Meta:
        verbose_name = "persona"
        constraints = [
            tenant_parent("persona"),
            # The root of a group is never merged itself: one step leads to it (the verbs keep the paths short).
            models.CheckConstraint(condition=~Q(merged_into=F("id")), name="persona_not_into_itself"),
            # The points of a rehearsal never become a shopper's.
            models.CheckConstraint(condition=Q(is_test=False) | Q(merged_into=None), name="persona_test_alone"),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="persona_account_latest"),
            models.Index(fields=["account", "phone"], name="persona_phone"),
            models.Index(fields=["account", "email"], name="persona_email"),
            # The API's list of contacts, page by page to its end: walked and counted without the rows themselves.
            models.Index(fields=["account", "name_key", "id"], name="persona_by_name", condition=LISTED),
            models.Index(fields=["account", "member_from", "id"], name="persona_by_signup", condition=LISTED),
            models.Index(F("account"), OpClass(F("name_key"), name="varchar_pattern_ops"), name="persona_name"),
            models.Index(F("account"), OpClass(F("surname_key"), name="varchar_pattern_ops"), name="persona_surname"),
            models.Index(
                F("account"),
                F("last_seen_at").desc(nulls_last=True),
                F("id").desc(),
                name="persona_seen",
                condition=Q(merged_into=None),
            ),
            models.Index(fields=["account"], name="persona_test", condition=Q(is_test=True)),
            models.Index(fields=["account", "-id"], name="persona_archived", condition=Q(archived_at__isnull=False)),
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
    """In the order of their weight."""

    PHONE = "phone", "Phone"
    EMAIL = "email", "E-mail"
    NAME_BIRTH = "name_birth", "Name and birth date"
    GOVERNMENT_ID = "government_id", "Government id"
    MEDICAL_ID = "medical_id", "Medical id"


class Identifier(TenantModel):
    """What a persona is recognised by. The database decides who gets it first; a shared one identifies nobody.

    Government and medical ids are kept as an HMAC, never as they are.
    """

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="identifiers")
    kind = models.CharField(max_length=14, choices=IdentifierKind)
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
        indexes = [models.Index(fields=["account", "kind", "value"], name="identifier_value")]


class Source(TenantModel):
    """A persona's record in one origin. It stays with the persona it was matched to when that one is merged."""

    persona = TenantKey(Persona, related_name="sources")
    customer = TenantKey(Customer, related_name="sources")
    matched_by = models.CharField(max_length=20, help_text="phone, email, new, ...")
    matched_value = models.CharField(max_length=254, blank=True, db_default="", help_text="By which number or address.")
    linked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer"], name="source_once"), tenant_parent("source")]
        indexes = [
            models.Index(fields=["account", "matched_value"], name="source_value", condition=~Q(matched_value=""))
        ]


class Ground(models.TextChoices):
    API = "api", "API"
    TILL = "till", "Till"
    STAFF = "staff", "Staff"
    IMPORT = "import", "Import"
    FORM = "form", "Sign-up form"
    QUEUE = "queue", "Opt-in queue"
    BOUGHT = "bought", "Bought after the day on the card"
    TEXT = "text", "Opt-in text"


class Enrolment(TenantModel):
    """How a membership began, and from which day it earns. Rows are added, never changed."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="enrolments")
    ground = models.CharField(max_length=12, choices=Ground)
    from_date = models.DateField()
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    store = TenantKey(Store, null=True, related_name="+")
    note = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(default=timezone.now)


class Merge(TenantModel):
    """Two personas became one. `loser` keeps its row, identifiers, sources and redemptions, so a split finds them."""

    survivor = TenantKey(Persona, related_name="merges_won")
    loser = TenantKey(Persona, related_name="merges_lost")
    why = models.CharField(max_length=20, help_text="phone, email, name_birth, government_id, medical_id, pos, manual")
    value = models.CharField(max_length=254, blank=True, help_text="The identifier both bear.")
    survivor_balance = points_field(help_text="Before the merge.")
    loser_balance = points_field(help_text="Before the merge: what moved.")
    user = by_user()
    at = models.DateTimeField()
    split_at = models.DateTimeField(null=True)
    split_by = by_user()
    split_points = points_field(null=True, help_text="What moved back.")

    class Meta:
        constraints = [
            tenant_parent("merge"),
            models.UniqueConstraint(fields=["loser"], condition=Q(split_at=None), name="merge_one_open"),
            models.CheckConstraint(condition=~Q(survivor=F("loser")), name="merge_two_people"),
        ]
        indexes = [models.Index(fields=["survivor"], name="merge_survivor")]


class SourceMove(TenantModel):
    """A record went from one persona to another, with its sales: split off, or its phone became another's."""

    source = TenantKey(Source, on_delete=models.CASCADE, related_name="moves")
    from_persona = TenantKey(Persona, related_name="+")
    to_persona = TenantKey(Persona, related_name="+")
    why = models.CharField(max_length=20, help_text="split, phone_changed, guard, one_person, pos")
    value = models.CharField(max_length=254, blank=True)
    user = by_user()
    at = models.DateTimeField()


class NumberDecision(models.TextChoices):
    OPEN = "open", "To decide"
    SHARED = "shared", "Shared by several people"
    FAKE = "fake", "Not a real number"
    ONE = "one", "One person"


class SuspectNumber(TenantModel):
    """A phone that too many different people bear, or a store's own: it joins nobody until somebody decides."""

    phone = models.CharField(max_length=20)
    customers = models.PositiveIntegerField(default=0)
    people = models.PositiveIntegerField(default=0, help_text="Different names and birth dates among them.")
    reason = models.CharField(max_length=12, default="many", help_text="many, store, digit")
    decision = models.CharField(max_length=8, choices=NumberDecision, default=NumberDecision.OPEN)
    user = by_user()
    found_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "phone"], name="suspect_number_once")]
        indexes = [models.Index(fields=["account", "-customers"], name="suspect_open", condition=Q(decision="open"))]


class NotTheSame(TenantModel):
    """Somebody looked at two likely duplicates and said that they are two people. `one` has the smaller id."""

    one = TenantKey(Persona, on_delete=models.CASCADE, related_name="+")
    other = TenantKey(Persona, on_delete=models.CASCADE, related_name="+")
    user = by_user()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["one", "other"], name="not_the_same_once"),
            models.CheckConstraint(condition=Q(one__lt=F("other")), name="not_the_same_order"),
        ]


class Attachment(TenantModel):
    """A receipt without a customer that was given to a persona later: once, for ever."""

    sale = TenantKey(Sale, related_name="attachments")
    persona = TenantKey(Persona, related_name="attachments")
    user = by_user()
    note = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sale"], name="attachment_once")]


class Investigation(TenantModel):
    """Somebody is looking into this persona's points; open until it is closed."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="investigations")
    note = models.CharField(max_length=300)
    user = by_user()
    at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True)
    closed_by = by_user()
    outcome = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["persona"], condition=Q(closed_at=None), name="investigation_one_open")
        ]
        indexes = [models.Index(fields=["account", "-at"], name="investigation_open", condition=Q(closed_at=None))]


class ContactAlias(TenantModel):
    """What another loyalty service called a persona, and the balance that its export told.

    The id is accepted wherever a contact id is: by search, by the API's look-ups and wallets. It stays with the row it
    came with when that one is merged.
    """

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="aliases")
    alias = models.CharField(max_length=100)
    origin = TenantKey(Origin, related_name="+")
    points = points_field(help_text="In the export; may be negative there.")
    member_since = models.DateField(null=True, help_text="As the export has it; what earns is the enrolment's day.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "alias"], name="contact_alias_once")]
        indexes = [models.Index(fields=["origin"], name="contact_alias_origin")]


class SourceHint(TenantModel):
    """A POS's record that an export named as a persona's: joined when, or as soon as, that record is known."""

    persona = TenantKey(Persona, on_delete=models.CASCADE, related_name="source_hints")
    platform = models.CharField(max_length=40)
    external_id = models.CharField(max_length=100)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "platform", "external_id"], name="source_hint_once")]
