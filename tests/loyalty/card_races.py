"""Two at once with a card's settings, an erasure of its source, its calls, or its alerts; for test_row_locks.py."""

from datetime import UTC, datetime

from aiqsync.accounts import alerts
from aiqsync.accounts.models import Alert, AlertMail
from integrations import services, suppression
from integrations.models import Connection, Credential, Origin, PushedCall, SettingChange
from loyalty.models import Programme

from ..factories import make_account
from .people_at_till import DAY
from .race import inside, kind, overlap, wrong

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def _card(account) -> Connection:
    return Connection.unscoped.create(account=account, card="cova")


def two_tabs_save_settings(cut, save=services.save_settings):
    """Each turns on one: the second does not write back what it had read before the first."""
    link = _card(make_account())
    one, other = ({"skip_payment_method": True}, {"sync_personas": True})
    first, then = (lambda given=given: save(connection=link, given=given, now=NOW) for given in (one, other))
    second = overlap(first, then, cut=cut)
    link.refresh_from_db()
    return wrong([second.answer()], settings=(link.settings, one | other))


def two_forms_of_one_card(cut):
    return two_tabs_save_settings(
        cut, lambda connection, given, now: services.save_all(
            connection=connection, given=given, of_credentials={}, now=now
        ),
    )  # fmt: skip


def two_markets_of_one_credential(cut):
    """The second is told what it replaces."""
    link = _card(make_account())
    credential = Credential.unscoped.create(account_id=link.account_id, connection=link, state="connected")

    def save(market):
        return lambda: services.save_credential_settings(
            credential=credential, given={"relevant_market": [market]}, now=NOW
        )

    second = overlap(save("CA-BC"), save("CA-AB"), cut=cut)
    before = getattr(second.answer(), "before", None)
    return wrong([second.answer()], replaced=(before, {"relevant_market": ["CA-BC"]}))


def _counted(link) -> SettingChange:
    return SettingChange.unscoped.create(
        account_id=link.account_id, connection=link, setting="enrol_after", after="2026-11-01", state="counted",
        counted={"version": Programme.unscoped.get(account=link.account_id).version},
    )  # fmt: skip


def proposed_again_while_it_is_confirmed(cut):
    """What is being applied is not put away by another proposal of the same setting."""
    link = _card(make_account())
    change, again = _counted(link), {"enrol_after": "2026-10-01"}
    second = overlap(
        inside(link.account, lambda: services.confirm(change=change, user=None, now=NOW)),
        inside(link.account, lambda: services.save_settings(connection=link, given=again, now=NOW)), cut=cut,
    )  # fmt: skip
    change.refresh_from_db()
    return wrong([second.answer()], refusals=(services.Problems,), state=(change.state, "applying"))


def a_source_is_erased_in_two_tabs(cut):
    account = make_account()
    origin = Origin.unscoped.create(account=account, platform="cova", identity="1", title="Cova 1")

    def begin():
        services.begin_erasing(origin_id=origin.pk, take_back=False, user=None, now=NOW)

    second = overlap(inside(account, begin), inside(account, begin), cut=cut)
    return wrong([], second=(kind(second.answer()), "Refused"))


def two_people_of_one_call_are_removed(cut):
    account = make_account()
    origin = Origin.unscoped.create(account=account, platform="push", identity="1")
    body = [{"pos_user": "c1", "email": "ada@example.test"}, {"pos_user": "c2", "email": "bo@example.test"}]
    known = [{("email", one["email"])} for one in body]
    PushedCall.unscoped.create(
        account=account, origin=origin, call="createUpdateMembers", at=NOW, body=body,
        mentions=[suppression.digest(account.pk, *one) for some in known for one in some],
    )  # fmt: skip

    def forget(some):
        return inside(
            account,
            lambda: suppression.forget_pushed(account_id=account.pk, sources=[], known=some, region="CA"),
        )

    second = overlap(forget(known[0]), forget(known[1]), cut=cut)
    return wrong([second.answer()], body=(PushedCall.unscoped.get(account=account).body, []))


def two_who_look_at_alerts(cut):
    """An incident that is there already has held long enough: both see it, one tells it."""
    account = make_account()
    asked = {"account_id": account.pk, "kinds": {"unmapped_location"}}
    found = [alerts.Finding("unmapped_location", "origin:1", "No store")]
    alerts.settle(**asked, found=found, now=NOW)
    told = []
    second = overlap(*[lambda: told.append(alerts.settle(**asked, found=found, now=NOW + DAY).opened)] * 2, cut=cut)
    return wrong([second.answer()], told=(sum(told), 1))


def two_who_send_alerts(cut):
    account = make_account()
    alert = Alert.unscoped.create(account=account, kind="refused_rows", subject="x", title="x", since=NOW)
    for address in ("a@example.test", "b@example.test"):
        AlertMail.unscoped.create(
            account=account, alert=alert, event="opened", address=address, next_try_at=NOW, created_at=NOW
        )
    taken = []
    second = overlap(*[lambda: taken.append(alerts._claim(NOW).pk)] * 2, cut=cut)
    return wrong([second.answer()], mails=(len(set(taken)), 2), waited=(second.waited, False))
