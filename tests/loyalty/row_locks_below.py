"""Two at once on the floors below loyalty: cards, runs, writes, alerts. Each is a case of `test_row_locks.py`.

`cut` takes the lock away: then what it keeps apart must happen.
"""

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from aiqsync.accounts import alerts, members
from aiqsync.accounts.models import Alert, AlertMail, ApiKey, Membership
from aiqsync.accounts.tenancy import acting_in
from integrations import outbox, services, suppression
from integrations.models import (
    Connection,
    Credential,
    Origin,
    OutboundWrite,
    PushedCall,
    SettingChange,
    StreamState,
    SyncRun,
)
from loyalty.api import authentication
from loyalty.models import (
    Programme,
)
from stores import keys
from stores import services as stores

from ..factories import make_account, make_key, make_store, make_user
from .people_at_till import DAY
from .race import inside, kind, overlap, wrong

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
PHONE = "+16045550142"


def two_dispatchers_of_writes(cut):
    """Each write is claimed by one of them, and neither waits."""
    account = make_account()
    origin = Origin.unscoped.create(account=account, platform="cova", identity="1")
    services.enqueue_writes(
        account_id=account.pk, origin_id=origin.pk, writer="customer", subjects={"a": "a", "b": "b"}, now=NOW
    )
    first, second = (lambda token=token: outbox._claim(origin.pk, ["customer"], token) for token in ("first", "second"))
    second = overlap(first, second, cut=cut)
    tokens = set(OutboundWrite.unscoped.values_list("token", flat=True))
    return wrong([second.answer()], tokens=(tokens, {"first"}), waited=(second.waited, False))


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


def put_away_while_settings_are_saved(cut):
    """An import that never happened is taken back, and what another tab turned on meanwhile stays."""
    link = _card(make_account())
    day, other = "2026-12-24", {"skip_payment_method": True}
    Connection.unscoped.filter(pk=link.pk).update(settings={"points_import_on": day})
    change = SettingChange.unscoped.create(
        account_id=link.account_id, connection=link, setting="points_import_on", before="", after=day,
        state="stopped", confirmed_at=NOW,
    )  # fmt: skip
    second = overlap(
        inside(link.account, lambda: services.save_settings(connection=link, given=other, now=NOW)),
        inside(link.account, lambda: services.dismiss(change=change, now=NOW)), cut=cut,
    )  # fmt: skip
    link.refresh_from_db()
    return wrong([second.answer()], settings=(link.settings, {"points_import_on": ""} | other))


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


def _stream(account) -> StreamState:
    origin = Origin.unscoped.create(account=account, platform="cova", identity="1")
    connection_ = Connection.unscoped.create(account=account, card="cova")
    credential = Credential.unscoped.create(account=account, connection=connection_, origin=origin, state="connected")
    return StreamState.unscoped.create(
        account=account, credential=credential, stream="locations", next_due=timezone.now() - timedelta(hours=1)
    )


def two_dispatchers_of_what_is_due(cut):
    _stream(make_account())
    queued = []
    second = overlap(*[lambda: services.dispatch_due(enqueue=queued.append)] * 2, cut=cut)
    return wrong([second.answer()], queued=(len(queued), 1), waited=(second.waited, False))


def two_dispatchers_of_what_was_lost(cut):
    state = _stream(make_account())
    StreamState.unscoped.update(next_due=timezone.now() + timedelta(hours=1))
    SyncRun.unscoped.create(account_id=state.account_id, stream=state, status="running", token="dead",
                            lease_until=timezone.now() - timedelta(hours=1))  # fmt: skip
    queued = []
    second = overlap(*[lambda: services.dispatch_due(enqueue=queued.append)] * 2, cut=cut)
    return wrong(
        [second.answer()], queued=(len(queued), 1), takeovers=(SyncRun.unscoped.get(stream=state).takeovers, 1)
    )


def two_sites_of_one_store(cut):
    """Each tells another review link: the second does not write back what it had read before the first."""
    account = make_account()
    store = make_store(account)
    given = {"google": "https://g.example/1"}, {"yelp": "https://yelp.example/1"}

    def change(links):
        def act():
            with acting_in(account.pk):
                stores.change(account_id=account.pk, number=store.number, fields={"review_links": links}, by="API")

        return act

    second = overlap(change(given[0]), change(given[1]), cut=cut)
    store.refresh_from_db()
    return wrong([second.answer()], links=(store.review_links, given[0] | given[1]))


def two_new_stores(cut):
    account = make_account()
    second = overlap(
        lambda: stores.create(account_id=account.pk, name="a"), lambda: stores.create(account_id=account.pk, name="b"),
        cut=cut,
    )  # fmt: skip
    return wrong([second.answer()], number=(getattr(second.answer(), "number", None), 2))


def two_owners_demote_each_other(cut):
    account = make_account()
    one, other = (Membership.unscoped.get(user=make_user(account, password=None)) for _ in range(2))

    def demote(membership):
        return inside(account, lambda: members.change_role(membership=membership, role="staff"))

    second = overlap(demote(one), demote(other), cut=cut)
    owners = Membership.unscoped.filter(account=account, role="owner").count()
    return wrong([second.answer()], refusals=(members.LastOwner,), owners=(owners, 1))


def a_key_is_used_at_two_tills(cut):
    """Its time of use is for people: nobody waits for it."""
    account = make_account()
    key = make_key(account)
    second = overlap(
        lambda: list(ApiKey.unscoped.select_for_update().filter(account=account)),
        lambda: authentication.caller_of(key, now=NOW), cut=cut,
    )  # fmt: skip
    return wrong([second.answer()], waited=(second.waited, False))


def a_key_is_refused_at_two_places(cut):
    account = make_account()
    text = make_key(account)
    ApiKey.unscoped.update(addresses=["203.0.113.7"])
    second = overlap(
        lambda: list(ApiKey.unscoped.select_for_update().filter(account=account)),
        lambda: authentication.caller_of(text, now=NOW, ip="198.51.100.1"), cut=cut,
    )  # fmt: skip
    return wrong([second.answer()], waited=(second.waited, False), caller=(second.answer(), None))


def a_key_is_replaced_in_two_tabs(cut):
    """One new key; the second is told in a sentence."""
    account = make_account()
    make_key(account)
    old = ApiKey.unscoped.get(account=account)

    def rotate():
        return keys.rotate(key=old, overlap=DAY, user=None, now=NOW)

    second = overlap(inside(account, rotate), inside(account, rotate), cut=cut)
    return wrong([second.answer()], refusals=(keys.CannotRotate,), keys=(ApiKey.unscoped.count(), 2))
