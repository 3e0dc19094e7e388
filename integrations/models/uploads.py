"""Files that merchants send: what they are, how their columns are read, how far they are, and their bodies a while."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from aiqsync.accounts.models import User
from aiqsync.accounts.tenancy import TenantKey, TenantModel, tenant_parent

from .rows import Origin


class UploadState(models.TextChoices):
    RECEIVING = "receiving", "Coming in"
    CHOOSING = "choosing", "Columns to choose"
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being read"
    COUNTED = "counted", "To confirm"
    DONE = "done", "Read"
    FAILED = "failed", "Not read"
    STOPPED = "stopped", "Stopped"
    DISMISSED = "dismissed", "Put away"


class UploadFrom(models.TextChoices):
    PAGE = "page", "Uploaded"
    FOLDER = "folder", "Folder"
    BUCKET = "bucket", "Bucket"


class Upload(TenantModel):
    """One file. `position` is where the next row begins, saved with every batch that landed."""

    origin = TenantKey(Origin, related_name="uploads")
    kind = models.CharField(max_length=12, blank=True, help_text="customers, sales, inventory, contacts")
    name = models.CharField(max_length=200)
    came = models.CharField(max_length=8, choices=UploadFrom, default=UploadFrom.PAGE)
    place = models.CharField(max_length=700, blank=True, help_text="Path and version, when it was fetched.")
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=10, choices=UploadState, default=UploadState.RECEIVING)
    counting = models.BooleanField(default=False, help_text="The dry run: nothing is written.")
    shape = models.JSONField(default=dict, help_text="Form, encoding, separator, header.")
    mapping = models.JSONField(default=dict, help_text="Header to meaning.")
    day_order = models.CharField(max_length=3, blank=True, help_text="mdy, dmy, ymd")
    earn_from = models.DateField(null=True, help_text="Of a contact export: sales from this day on earn.")
    position = models.PositiveBigIntegerField(default=0)
    number = models.PositiveIntegerField(default=0, help_text="Of the last row that was read.")
    rows_read = models.PositiveIntegerField(default=0)
    rows_new = models.PositiveIntegerField(default=0)
    rows_changed = models.PositiveIntegerField(default=0)
    rows_unchanged = models.PositiveIntegerField(default=0)
    rows_refused = models.PositiveIntegerField(default=0)
    counted = models.JSONField(default=dict)
    applied = models.JSONField(default=dict)
    token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Deliveries that ended without saving rows.")
    message = models.TextField(blank=True)
    made_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    confirmed_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    body_gone_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            tenant_parent("upload"),
            models.UniqueConstraint(fields=["origin", "place"], condition=~Q(place=""), name="upload_place_once"),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="upload_latest"),
            models.Index(fields=["queued_at"], name="upload_live", condition=Q(state__in=["queued", "running"])),
        ]

    def __str__(self) -> str:
        return self.name


class UploadChunk(TenantModel):
    """A piece of a file's body, kept thirty days: any machine can read on, none needs a disk."""

    upload = TenantKey(Upload, on_delete=models.CASCADE, related_name="chunks")
    start = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "start"], name="upload_chunk_once")]


class UploadError(TenantModel):
    """A row that could not be read, as it stood in the file."""

    upload = TenantKey(Upload, on_delete=models.CASCADE, related_name="errors")
    number = models.PositiveIntegerField()
    reason = models.CharField(max_length=1000)
    cells = models.JSONField(default=list)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "number"], name="upload_error_once")]


class ColumnMapping(TenantModel):
    """How the columns of a source's files of one kind were read last."""

    origin = TenantKey(Origin, related_name="column_mappings")
    kind = models.CharField(max_length=12)
    columns = models.JSONField(default=dict)
    day_order = models.CharField(max_length=3, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["origin", "kind"], name="column_mapping_once")]
