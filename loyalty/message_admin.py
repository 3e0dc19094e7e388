"""Marketing, Messages: the outbox as it is. Marketing, Consent: the journal, for whoever has to show it."""

import uuid

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import action, display

from aiqsync.accounts import audit, sheets
from aiqsync.accounts.base_admin import ReadOnlyAdmin
from aiqsync.accounts.models import Account
from aiqsync.accounts.paging import CappedPaginator
from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.tenancy import current_account_id
from integrations.services import e164

from . import addresses, consent
from . import messages as outbox
from .models import ConsentAct, ConsentLine, ConsentNow, Message, MessageState

TONES = {
    MessageState.SENT: "good", MessageState.QUEUED: "info", MessageState.SENDING: "info",
    MessageState.FAILED: "bad", MessageState.CANCELLED: "",
}  # fmt: skip
PURPOSES = {
    outbox.OPT_IN: "Question: may we write", outbox.OPT_IN_ENROLS: "Question: join and may we write",
    outbox.CONFIRM: "Confirmation", outbox.PIN: "Code", outbox.STOPPED: "Answer to STOP", outbox.HELP: "Answer to HELP",
    outbox.NOTICE: "Notice", outbox.TRANSACTIONAL: "About an order",
}  # fmt: skip
ACT_TONES = {
    ConsentAct.OPT_IN: "good", ConsentAct.UNSTOP: "good", ConsentAct.IMPORT_IN: "good", ConsentAct.STOP: "bad",
    ConsentAct.OPT_OUT: "warn", ConsentAct.IMPORT_OUT: "warn", ConsentAct.REQUESTED: "info",
}  # fmt: skip


# What came of an answer, by what it meant.
MEANT = {
    "yes": "YES to the question: consent holds now, with the question's own words in the journal.",
    "stop": "STOP: nothing more is sent to this address, whoever asks. Only START ends that.",
    "start": "START: messages are allowed again.",
    "help": "HELP was answered; consent is as it was.",
    "nothing": "It means nothing to us: consent is as it was.",
}


def _answers_here(message: Message) -> bool:
    """Only where nothing leaves the machine and nobody is real: elsewhere an answer is the shopper's own to give."""
    return (
        not settings.PRODUCTION
        and settings.MESSAGE_BACKENDS.get(message.channel) == "local"
        and message.state == MessageState.SENT
        and not addresses.is_kept(message.address)
    )


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
    list_display = ["made", "to", "what", "text", "state_shown", "why", "answer"]
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

    @display(description="")
    def answer(self, message: Message) -> str:
        if not _answers_here(message):
            return ""
        address = reverse("admin:loyalty_message_answer", args=[message.pk])
        return format_html('<a class="iq-link" href="{}">Answer as the shopper</a>', address)

    def get_urls(self):
        return [
            path("<int:pk>/answer/", self.admin_site.admin_view(self.answer_page), name="loyalty_message_answer"),
            *super().get_urls(),
        ]

    def answer_page(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Try the double opt-in where no carrier is: what the shopper would send back is said here instead."""
        if not self._may(request, "change"):
            raise PermissionDenied
        message = self.get_queryset(request).filter(pk=min(pk, 2**63 - 1)).first()
        if message is None or not _answers_here(message):
            messages.info(request, "This message cannot be answered here.")
            return HttpResponseRedirect(reverse("admin:loyalty_message_changelist"))
        whose = {"account_id": message.account_id, "channel": message.channel, "address": message.address}
        if request.method == "POST":
            text = request.POST.get("text", "").strip()[:500]
            if text:
                key = f"local:{pk}:{request.POST.get('token', '')[:40]}"
                heard = consent.incoming(**whose, text=text, now=timezone.now(), key=key)
                audit.record(act="message.answered", target=message.address, user=request.user, detail={"text": text})
                messages.success(request, MEANT[heard.meant])
            return HttpResponseRedirect(reverse("admin:loyalty_message_answer", args=[pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": "Answer as the shopper",
            "message": message,
            "to": _shown(message.address),
            "what": PURPOSES.get(message.purpose, message.purpose),
            "state": ConsentNow(consent.state_of(**whose)).label,
            "token": uuid.uuid4(),
            "answers": ("YES", "STOP", "START", "HELP"),
            "since": Message.objects.filter(channel=message.channel, address=message.address).order_by("-id")[:6],
            "opts": self.opts,
        }
        return TemplateResponse(request, "aiqsync/home/answer.html", context)

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
        sent = sheets.lines(HEAD, map(_cells, lines))
        answer = StreamingHttpResponse(sent, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="consent.csv"'
        return answer


HEAD = ("said at (UTC)", "noted at (UTC)", "channel", "address", "act", "source", "store", "by", "wording")


def _cells(line: ConsentLine) -> tuple[str, ...]:
    return (
        line.at.isoformat(), line.noted_at.isoformat(), line.channel, line.address, line.act, line.source,
        str(line.store or ""), str(line.user or ""), line.wording,
    )  # fmt: skip
