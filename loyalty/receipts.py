"""A receipt without a customer is given to a persona later: once, for ever."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import Q

from aiqsync.accounts.models import User
from integrations.models import Sale, SaleKind
from integrations.services import lock_origins

from . import bought, earning, favourites, reconcile
from .models import Attachment, Persona, SaleState


class CannotAttach(Exception):
    """`message` is a sentence for the person who asked. `taken_by`: the persona that has the receipt."""

    def __init__(self, message: str, *, taken_by: Persona | None = None) -> None:
        super().__init__(message)
        self.message, self.taken_by = message, taken_by


@dataclass(frozen=True, slots=True)
class Attached:
    """`points`: what the receipt has brought its persona now."""

    attachment: Attachment
    points: Decimal


def attach(*, account_id: int, sale_id: int, persona_id: int, user: User | None, note: str, now: datetime) -> Attached:
    """Give an anonymous sale to a persona and settle its points. Raises CannotAttach.

    Under the origins' locks: a page that brings the sale's customer at this moment either is landed before, and the
    sale has an owner, or comes after, and its customer takes the sale over as any late owner does.
    """
    try:
        with transaction.atomic():
            lock_origins(account_id=account_id)
            sale = Sale.objects.filter(account_id=account_id, pk=sale_id).first()
            persona = Persona.objects.filter(account_id=account_id, pk=persona_id).select_related("merged_into").first()
            root = persona and (persona.merged_into or persona)
            _check(sale, root)
            made = Attachment.objects.create(
                account_id=account_id, sale=sale, persona=root, user=user, note=note[:200], at=now
            )
            # A purchase like any other: the day on a card may make a member of its owner.
            days = bought.days_of(account_id)
            joined = bought.enrol(account_id, days.enrol, now=now, persona_ids=[root.pk])
            earning.settle_sales(account_id=account_id, sale_ids=[sale_id, *joined.sale_ids], now=now)
            bought.follow(account_id, joined, now=now)
            _seen(root, sale)
            favourites.follow(account_id=account_id, persona_ids=[root.pk])
            reconcile.meet(account_id=account_id, sale_ids=[sale_id], now=now)
    except IntegrityError as error:
        if "attachment_once" not in str(error):
            raise
        raise _taken(account_id, sale_id) from None
    state = SaleState.objects.filter(account_id=account_id, sale_id=sale_id).first()
    return Attached(made, state.posted if state else Decimal(0))


def _check(sale: Sale | None, persona: Persona | None) -> None:
    if sale is None:
        raise CannotAttach("There is no such receipt.")
    if persona is None or persona.erased_at:
        raise CannotAttach("There is no such persona.")
    if sale.kind != SaleKind.SALE:
        raise CannotAttach("This is a refund: it belongs to whom its sale belongs to.")
    if sale.customer_id:
        raise CannotAttach("The POS names a customer on this receipt: it is not anonymous.")


def _taken(account_id: int, sale_id: int) -> CannotAttach:
    before = Attachment.objects.select_related("persona__merged_into").get(account_id=account_id, sale_id=sale_id)
    owner = before.persona.merged_into or before.persona
    return CannotAttach(
        f"This receipt was attached to {owner} before. A receipt is attached once, for ever.", taken_by=owner
    )


def _seen(persona: Persona, sale: Sale) -> None:
    people = Persona.objects.filter(account_id=persona.account_id, pk=persona.pk)
    people.filter(Q(last_seen_at=None) | Q(last_seen_at__lt=sale.sold_at)).update(last_seen_at=sale.sold_at)
