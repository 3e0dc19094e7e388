"""Marketing, Messages: the outbox as it is. Marketing, Consent: the journal, for whoever has to show it."""

import csv

from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from unfold.decorators import action, display

from aiqsync.accounts import audit
from aiqsync.accounts.base_admin import ReadOnlyAdmin
from aiqsync.accounts.models import Account
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from integrations.services import e164

from . import addresses
from . import messages as outbox
from .models import ConsentAct, ConsentLine, Message, MessageState

TONES = {
    MessageState.SENT: "good", MessageState.QUEUED: "info", MessageState.SENDING: "info",
    MessageState.FAILED: "bad", MessageState.CANCELLED: "",
}  # fmt: skip
PURPOSES = {
    outbox.OPT_IN: "Question: may we write", outbox.OPT_IN_ENROLS: "Question: join and may we write",
    outbox.CONFIRM: "Confirmation", outbox.PIN: "Code", outbox.STOPPED: "Answer to STOP", outbox.HELP: "Answer to HELP",
    outbox.NOTICE: "Notice",
}  # fmt: skip
ACT_TONES = {
    ConsentAct.OPT_IN: "good", ConsentAct.UNSTOP: "good", ConsentAct.IMPORT_IN: "good", ConsentAct.STOP: "bad",
    ConsentAct.OPT_OUT: "warn", ConsentAct.IMPORT_OUT: "warn", ConsentAct.REQUESTED: "info",
}  # fmt: skip


def _address(term: str) -> Q:
    """A whole phone in any format, or a whole e-mail."""
    account = Account.objects.get(pk=current_account_id())
    return Q(address=term.strip().lower()) | Q(address=e164(term, account.country) or "-")


def _shown(address: str) -> str:
    if addresses.is_kept(address):
        return "Removed on request"
    return address if "@" in address else iq.number(iq.phone(address))


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    subject = "messages"
    paginator = CappedPaginator
    list_display = ["made", "to", "what", "text", "state_shown", "why"]
    list_display_links = None
    list_filter = ["state", "channel"]
    ordering = ["-id"]
    search_fields = ["address"]
    search_help_text = "The whole phone or e-mail"
    actions = ["retry"]

    def get_search_results(self, request, queryset, search_term):
        return (queryset.filter(_address(search_term)) if search_term.strip() else queryset), False

    @display(description="Made")
    def made(self, message: Message) -> str:
        return iq.when(message.created_at)

    @display(description="To")
    def to(self, message: Message) -> str:
        return _shown(message.address)

    @display(description="What")
    def what(self, message: Message) -> str:
        return PURPOSES.get(message.purpose, message.purpose)

    @display(description="Text")
    def text(self, message: Message) -> str:
        return message.body or "A code; it is over and no longer kept."

    @display(description="State")
    def state_shown(self, message: Message) -> str:
        return iq.pill(message.get_state_display(), TONES[message.state])

    @display(description="")
    def why(self, message: Message) -> str:
        if message.state == MessageState.QUEUED and message.not_before > timezone.now():
            when = iq.relative(message.not_before, timezone.now())
            return f"{message.error or 'Waits for the morning'}; goes out {when}"
        return message.error

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "change")

    @admin.action(description="Try again", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset) -> None:
        now = timezone.now()
        done = sum(
            outbox.retry(account_id=current_account_id(), message_id=pk, now=now)
            for pk in queryset.filter(state=MessageState.FAILED).values_list("pk", flat=True)
        )
        audit.record(act="messages.retried", target=f"{done} messages", user=request.user)
        messages.success(request, f"{done} failed message{'' if done == 1 else 's'} put back into the outbox.")


@admin.register(ConsentLine)
class ConsentLineAdmin(ReadOnlyAdmin):
    subject = "consent"
    paginator = CappedPaginator
    list_display = ["said", "whose", "act_shown", "source_shown", "words", "user"]
    list_display_links = None
    list_filter = ["act", "channel", "source"]
    list_select_related = ["user", "store"]
    ordering = ["-id"]
    search_fields = ["address"]
    search_help_text = "The whole phone or e-mail"
    actions_list = ["export"]

    def get_search_results(self, request, queryset, search_term):
        return (queryset.filter(_address(search_term)) if search_term.strip() else queryset), False

    @display(description="Said")
    def said(self, line: ConsentLine) -> str:
        return iq.when(line.at)

    @display(description="Address")
    def whose(self, line: ConsentLine) -> str:
        return _shown(line.address)

    @display(description="What")
    def act_shown(self, line: ConsentLine) -> str:
        return iq.pill(line.get_act_display(), ACT_TONES.get(line.act, ""))

    @display(description="Where")
    def source_shown(self, line: ConsentLine) -> str:
        return f"{line.get_source_display()}, {line.store}" if line.store else line.get_source_display()

    @display(description="Wording")
    def words(self, line: ConsentLine) -> str:
        return line.wording

    @action(description="Export the journal", url_path="export", permissions=["view"])
    def export(self, request: HttpRequest):
        """Every line, oldest first, with what was read when it was said: for whoever has to show it."""
        audit.record(act="consent.exported", user=request.user)
        lines = ConsentLine.objects.select_related("user", "store").order_by("id").iterator(chunk_size=2000)
        answer = StreamingHttpResponse(_rows(lines), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="consent.csv"'
        return answer


class _Echo:
    def write(self, text: str) -> str:
        return text


def _rows(lines):
    out = csv.writer(_Echo())
    yield out.writerow(
        ("said at (UTC)", "noted at (UTC)", "channel", "address", "act", "source", "store", "by", "wording")
    )
    for line in lines:
        values = (
            line.at.isoformat(), line.noted_at.isoformat(), line.channel, line.address, line.act, line.source,
            str(line.store or ""), str(line.user or ""), line.wording,
        )  # fmt: skip
        # A text that begins like a formula is written as text: spreadsheets would run it. Phones keep their plus.
        yield out.writerow([f"'{v}" if v[:1] in ("=", "@", "-", "\t") else v for v in values])
