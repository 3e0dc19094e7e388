"""What staff do about who a persona is: store, archive, investigation, merges, records, audiences, consent."""

import uuid
from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from aiqsync.accounts.templatetags import iq
from aiqsync.accounts.typed import whole_number
from integrations.services import lock_origins
from loyalty import earning, profile
from loyalty.models import Audience, ConsentAct, ConsentChannel, ConsentSource, Merge, Persona, Source
from stores.models import Store

from .persona import _living, _record


def _back(persona: Persona, tab: str = "profile") -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:persona", args=[persona.contact_id]) + f"?tab={tab}")


def _number(request: HttpRequest, name: str) -> int:
    """A row's id from a form; one that is none finds nothing."""
    return whole_number(request.POST.get(name, "")) or 0


def _in_words(request: HttpRequest, act: Callable[[], None], done: str) -> bool:
    """Run a verb; what it refuses it says in a sentence of its own (`message`)."""
    try:
        with transaction.atomic():
            act()
    except Exception as refused:
        if not getattr(refused, "message", ""):
            raise
        messages.error(request, refused.message)
        return False
    messages.success(request, done)
    return True


@require_POST
def recompute(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    """Bring the sales of this persona to what they are worth by today's rules, now and not at night."""
    persona = _living(contact_id)
    entries = recompute_now(request, persona)
    if entries:
        messages.success(request, f"Recomputed: {entries} correction{'' if entries == 1 else 's'} in the timeline.")
    else:
        messages.info(request, "Recomputed: every purchase was posted as it is worth; nothing changed.")
    return _back(persona, "points")


def recompute_now(request: HttpRequest, persona: Persona) -> int:
    with transaction.atomic():
        lock_origins(account_id=persona.account_id)
        entries = earning.settle_personas(account_id=persona.account_id, persona_ids=[persona.pk], now=timezone.now())
        if entries:
            _record(request, "persona.recomputed", persona, {"entries": entries})
    return entries


@require_POST
def favourite_store(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    persona = _living(contact_id)
    store = None
    if request.POST.get("store"):
        store = Store.objects.filter(pk=_number(request, "store")).first()
        if store is None:
            messages.error(request, "There is no such store; nothing was changed.")
            return _back(persona)
    with transaction.atomic():
        if profile.choose_store(account_id=persona.account_id, persona_id=persona.pk, store=store):
            _record(request, "persona.store_chosen", persona, {"store": str(store or "by sales")})
    messages.success(request, f"Favourite store: {store}." if store else "The favourite store follows the sales again.")
    return _back(persona)


@require_POST
def archive(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    persona = _living(contact_id)
    with transaction.atomic():
        if request.POST.get("back"):
            done = profile.unarchive(account_id=persona.account_id, persona_id=persona.pk)
            said = f"{persona} is in the lists again."
        else:
            done = profile.archive(account_id=persona.account_id, persona_id=persona.pk, now=timezone.now())
            said = f"{persona} is archived: left out of the lists; wallet and points stay."
        if done:
            _record(request, "persona.unarchived" if request.POST.get("back") else "persona.archived", persona, {})
    messages.success(request, said) if done else messages.info(request, "That was so already; nothing changed.")
    return _back(persona)


@require_POST
def investigate(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    """Open with a note, close with an outcome."""
    persona, now = _living(contact_id), timezone.now()
    said = " ".join(request.POST.get("note", "").replace("\x00", "").split())[:300]
    closing = bool(request.POST.get("close"))
    if not said:
        messages.error(request, "Say what came of it." if closing else "Say what is being looked into.")
        return _back(persona, "points")
    with transaction.atomic():
        if closing:
            done = profile.close_investigation(
                account_id=persona.account_id, persona_id=persona.pk, outcome=said, user=request.user, now=now
            )
            if done:
                _record(request, "investigation.closed", persona, {"outcome": said})
        else:
            try:
                done = profile.investigate(
                    account_id=persona.account_id, persona_id=persona.pk, note=said, user=request.user, now=now
                )
                _record(request, "investigation.opened", persona, {"note": said})
            except profile.UnderInvestigation:
                done = None
    if done:
        messages.success(request, "The investigation is closed." if closing else "Marked as under investigation.")
    else:
        messages.info(request, "It was closed before." if closing else "Somebody is looking into it already.")
    return _back(persona, "points")


@require_POST
def split(request: HttpRequest, contact_id: uuid.UUID, merge_id: int) -> HttpResponse:
    from loyalty import merging

    persona = _living(contact_id)
    merge = get_object_or_404(Merge.objects.select_related("loser"), pk=min(merge_id, 2**63 - 1), split_at=None)
    if persona.pk not in (merge.survivor_id, merge.loser.merged_into_id):
        raise PermissionDenied

    def act() -> None:
        merging.split(account_id=persona.account_id, merge_id=merge.pk, user=request.user, now=timezone.now())
        _record(request, "persona.split", persona, {"merge": merge.pk, "split_off": str(merge.loser)})

    _in_words(request, act, f"{merge.loser} is a record of its own again; what was left of its points went with it.")
    return _back(persona)


@require_POST
def detach(request: HttpRequest, contact_id: uuid.UUID, source_id: int) -> HttpResponse:
    """One POS record of several becomes a persona of its own, with its sales."""
    from loyalty import merging

    persona = _living(contact_id)
    source = get_object_or_404(Source.objects.select_related("customer", "persona"), pk=min(source_id, 2**63 - 1))
    if persona.pk not in (source.persona_id, source.persona.merged_into_id):
        raise PermissionDenied

    def act() -> None:
        merging.detach(account_id=persona.account_id, source_id=source.pk, user=request.user, now=timezone.now())
        _record(request, "persona.record_split", persona, {"record": source.customer.external_id})

    _in_words(request, act, f"The record {source.customer} is a persona of its own now, with its purchases.")
    return _back(persona)


@require_POST
def mark_shared(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    from loyalty import guard

    persona = _living(contact_id)
    if not persona.phone:
        messages.error(request, "There is no phone to mark.")
        return _back(persona)

    def act() -> None:
        guard.mark_shared(account_id=persona.account_id, phone=persona.phone, user=request.user, now=timezone.now())
        _record(request, "phone.marked_shared", persona, {})

    _in_words(request, act, "The phone is marked as shared: it joins nobody any more.")
    return _back(persona)


@require_POST
def audience(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    from loyalty import audiences

    persona = _living(contact_id)
    group = get_object_or_404(Audience, pk=_number(request, "audience"))
    leaving = bool(request.POST.get("remove"))

    def act() -> None:
        verb = audiences.remove if leaving else audiences.add
        verb(account_id=persona.account_id, audience_id=group.pk, persona_ids=[persona.pk], now=timezone.now())
        _record(request, "audience.left" if leaving else "audience.joined", persona, {"audience": group.name})

    _in_words(request, act, f"{'Taken out of' if leaving else 'Added to'} {group}.")
    return _back(persona)


@require_POST
def consent(request: HttpRequest, contact_id: uuid.UUID) -> HttpResponse:
    """A yes or no that the shopper said to staff. What STOP forbids, the journal refuses, and the page shows it."""
    from loyalty import consent as journal

    persona, now = _living(contact_id), timezone.now()
    channel = request.POST.get("channel", "")
    address = {ConsentChannel.SMS: persona.phone, ConsentChannel.EMAIL: persona.email}.get(channel, "")
    if address and request.POST.get("said") == "ask":
        return _ask(request, persona, channel, address)
    act = {"yes": ConsentAct.OPT_IN, "no": ConsentAct.OPT_OUT}.get(request.POST.get("said", ""))
    if not address or act is None:
        messages.error(request, "Say for which address, and whether it was a yes or a no.")
        return _back(persona)
    with transaction.atomic():
        state = journal.record(
            account_id=persona.account_id,
            channel=channel,
            address=address,
            act=act,
            source=ConsentSource.STAFF,
            now=now,
            wording="Said to staff, noted on the persona page",
            persona_id=persona.pk,
            user=request.user,
        )
        _record(request, "consent.noted", persona, {"channel": channel, "said": act, "state": state})
    if act == ConsentAct.OPT_IN and state != "in":
        messages.warning(request, "Noted, but STOP stands: only the shopper's own START ends it.")
    else:
        messages.success(request, "Noted in the journal.")
    return _back(persona)


def _ask(request: HttpRequest, persona: Persona, channel: str, address: str) -> HttpResponse:
    """The double opt-in's question, put into the outbox; it holds when the shopper answers YES."""
    from loyalty import consent as journal

    try:
        with transaction.atomic():
            asked = journal.ask(
                account_id=persona.account_id,
                channel=channel,
                address=address,
                now=timezone.now(),
                source=ConsentSource.STAFF,
                persona_id=persona.pk,
                user=request.user,
                enrols=not persona.is_member,
            )
            _record(request, "consent.asked", persona, {"channel": channel})
    except journal.NotAsked as error:
        messages.error(request, str(error))
        return _back(persona)
    when = "goes out now" if asked.not_before <= timezone.now() else f"goes out {iq.when(asked.not_before)}"
    joins = " A YES makes a member too." if not persona.is_member else ""
    messages.success(request, f"The question {when}; consent holds once the shopper answers YES.{joins}")
    return _back(persona)
