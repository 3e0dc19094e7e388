"""Each row lock that Python takes, by itself: right as it is, and lost when the statement runs without its lock.

The locks of the ledger's functions are in test_ledger_locks.py, those of the origins in test_origin_locks.py. A new
lock without a case fails by the name of its function.
"""

import ast
import re
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from aiqsync.accounts.models import ApiKey
from aiqsync.accounts.tenancy import acting_in
from loyalty import (
    audiences,
    by_key,
    changes,
    closes,
    consent,
    discounts,
    expiry,
    guard,
    jobs,
    ledger,
    merging,
    messages,
    personas,
    pins,
    profile,
    programme,
    rules,
    seals,
    staff,
)
from loyalty.models import (
    Audience,
    AudienceMember,
    ConsentLine,
    Enrolment,
    Investigation,
    Job,
    Lot,
    Merge,
    MonthClose,
    Pin,
    Programme,
    ProgrammeChange,
    SuspectNumber,
    Wallet,
)

from ..factories import make_account, make_key, make_persona, make_user
from .people_at_till import DAY, HOUR, Shop
from .race import Acting, Cut, held_up_behind, inside, not_written_down, overlap, wrong
from .row_locks_below import (
    NOW,
    PHONE,
    a_key_is_refused_at_two_places,
    a_key_is_replaced_in_two_tabs,
    a_key_is_used_at_two_tills,
    a_source_is_erased_in_two_tabs,
    proposed_again_while_it_is_confirmed,
    put_away_while_settings_are_saved,
    two_dispatchers_of_what_is_due,
    two_dispatchers_of_what_was_lost,
    two_dispatchers_of_writes,
    two_forms_of_one_card,
    two_markets_of_one_credential,
    two_new_stores,
    two_owners_demote_each_other,
    two_people_of_one_call_are_removed,
    two_sites_of_one_store,
    two_tabs_save_settings,
    two_who_look_at_alerts,
    two_who_send_alerts,
)

pytestmark = pytest.mark.django_db(transaction=True)


def two_tabs_of_one_budtender(cut):
    """Each adds 60 of the 100 a day: the second is told."""
    shop = Shop(0)
    Programme.unscoped.filter(account=shop.account).update(staff_points_a_day=100)
    user = make_user(shop.account, "staff", password=None)

    def add(key):
        def act():
            staff.check_limits(
                account_id=shop.account.pk, user_id=user.pk, role="staff", points=Decimal(60), now=NOW, key=key
            )
            ledger.adjust(account_id=shop.account.pk, persona_id=shop.ada.pk, points=Decimal(60), key=key, now=NOW,
                          user_id=user.pk)  # fmt: skip

        return inside(shop.account, act)

    second = overlap(add("a"), add("b"), cut=cut)
    return wrong([second.answer()], refusals=(staff.LimitReached,), balance=(shop.points(), 60))


def two_new_discounts(cut):
    account = make_account()

    def make():
        return discounts.create(account_id=account.pk, internal_name="x", name="x", amount_cents=100)

    second = overlap(inside(account, make), inside(account, make), cut=cut)
    return wrong([second.answer()], number=(getattr(second.answer(), "number", None), 2))


def one_key_adds_twice(cut):
    """A key's limit of the day, in two calls at once."""
    account = make_account()
    ada, ben = make_persona(account), make_persona(account)
    Programme.unscoped.filter(account=account).update(manager_points_a_day=100)
    make_key(account)
    key = ApiKey.unscoped.get(account=account)

    def add(persona):
        return inside(
            account,
            lambda: by_key.adjust(
                account_id=account.pk, key_id=key.pk, persona_id=persona.pk, points=Decimal(60), note="",
                cause_at=None, now=NOW,
            ),
        )  # fmt: skip

    second = overlap(add(ada), add(ben), cut=cut)
    held = sum(Wallet.unscoped.filter(account=account).values_list("balance", flat=True))
    return wrong([second.answer()], refusals=(staff.LimitReached,), added=(held, 60))


# People


def each_into_the_other(cut):
    """Two people merge the same two records: the second is told in a sentence. No POS: no page to keep out."""
    account = make_account()
    ada, ben = make_persona(account), make_persona(account)

    def merge(one, other):
        return inside(account, lambda: merging.merge(account_id=account.pk, one_id=one.pk, other_id=other.pk, now=NOW))

    second = overlap(merge(ada, ben), merge(ben, ada), cut=cut)
    return wrong(
        [second.answer()], refusals=(merging.CannotMerge,), merges=(Merge.unscoped.filter(account=account).count(), 1)
    )


def _enrolments(first, second, account, cut):
    acting = overlap(inside(account, first), inside(account, second), cut=cut)
    return wrong([acting.answer()], enrolments=(Enrolment.unscoped.filter(account=account).count(), 1))


def enrolled_at_two_tills(cut):
    account = make_account()
    ada = make_persona(account, member=False)

    def enrol():
        return personas.enrol(persona=ada, ground="staff", from_date=date(2026, 1, 1), now=NOW)

    return _enrolments(enrol, enrol, account, cut)


def signed_up_in_two_tabs(cut):
    account = make_account()
    make_persona(account, phone=PHONE, member=False)

    def sign_up():
        return personas.sign_up(account_id=account.pk, region="CA", from_date=date(2026, 1, 1), now=NOW, phone=PHONE)

    return _enrolments(sign_up, sign_up, account, cut)


def a_number_is_judged_twice(cut):
    """The same judgement twice is once, and bears the name of who came first."""
    account = make_account()
    one, other = make_user(account, password=None), make_user(account, password=None)
    found = SuspectNumber.unscoped.create(account=account, phone=PHONE, customers=3, people=3)

    def decide(user):
        return inside(account, lambda: guard.decide(
            account_id=account.pk, suspect_id=found.pk, decision="shared", user=user, now=NOW))  # fmt: skip

    second = overlap(decide(one), decide(other), cut=cut)
    found.refresh_from_db()
    return wrong([second.answer()], by=(found.user_id, one.pk))


def an_investigation_is_closed_twice(cut):
    account = make_account()
    ada = make_persona(account)
    Investigation.unscoped.create(account=account, persona=ada, note="?")

    def close(outcome):
        return inside(account, lambda: profile.close_investigation(
            account_id=account.pk, persona_id=ada.pk, outcome=outcome, user=None, now=NOW))  # fmt: skip

    second = overlap(close("found"), close("nothing"), cut=cut)
    return wrong([second.answer()], outcome=(Investigation.unscoped.get(persona=ada).outcome, "found"))


def an_audience_is_put_away_while_it_is_refreshed(cut):
    """Nobody is let into it any more. (Refreshed twice at once is right by the stay's own constraint.)"""
    account = make_account()
    make_persona(account)
    audience = Audience.unscoped.create(account=account, name="All", members_only=True)
    second = overlap(
        inside(account, lambda: audiences.archive(audience=Audience.unscoped.get(pk=audience.pk), now=NOW)),
        inside(account, lambda: audiences.refresh(audience=audience, now=NOW)), cut=cut,
    )  # fmt: skip
    return wrong(
        [second.answer()],
        second=(second.answer(), (0, 0)),
        members=(AudienceMember.unscoped.filter(audience=audience, left_at=None).count(), 0),
    )


# Consent, messages, codes


def address(account) -> dict:
    return {"account_id": account.pk, "channel": "sms", "address": PHONE}


def asked_in_two_tabs(cut):
    account = make_account()
    ada = make_persona(account)
    with transaction.atomic():
        consent._held(account.pk, "sms", PHONE, NOW)

    def ask(**whose):
        return lambda: consent.ask(**address(account), now=NOW, source="staff", **whose)

    answers = held_up_behind(ada, ask(persona_id=ada.pk), ask(), cut=cut)
    lines = ConsentLine.unscoped.filter(account=account).count()
    return wrong(answers, refusals=(consent.NotAsked,), lines=(lines, 1))


def two_senders(cut):
    """Each message is claimed by one of them, and neither waits."""
    account = make_account()
    for n in range(2):
        messages.queue(**address(account), key=f"m{n}", purpose="help", body="x", now=NOW)
    claimed = []
    second = overlap(lambda: claimed.extend(messages._claim(NOW, 1)), lambda: messages._claim(NOW, 1), cut=cut)
    claimed += second.answer()
    return wrong([second.answer()], messages=(len(set(claimed)), 2), waited=(second.waited, False))


def _stop_while_it_goes_out(purpose, known, cut):
    """STOP comes while the carrier takes a message: it is answered after that one is out, and never before."""
    account = make_account()
    if known:
        consent.record(**address(account), act="opt_in", source="form", now=NOW)
    messages.queue(**address(account), key="m", purpose=purpose, body="x", now=NOW)
    told, inside_, go_on = [], threading.Event(), threading.Event()

    def carrier(message):
        inside_.set()
        assert go_on.wait(30)
        told.append("out")
        return "id"

    def stop():
        consent.incoming(**address(account), text="STOP", now=NOW + HOUR, key="in")
        told.append("stopped")

    before, messages.BACKENDS["local"] = messages.BACKENDS["local"], carrier
    try:
        sender = Acting(lambda: messages.deliver_due(now=NOW), cut=cut)
        assert inside_.wait(30)
        stopping = Acting(stop).settle()
        go_on.set()
        answers = [sender.answer(), stopping.answer()]
    finally:
        messages.BACKENDS["local"] = before
    return wrong(answers, told=(told, ["out", "stopped"]))


def stop_while_a_notice_goes_out(cut):
    return _stop_while_it_goes_out("notice", True, cut)


def two_codes_asked_for(cut):
    ada = make_persona(make_account(), phone=PHONE)
    second = overlap(lambda: pins.send(persona=ada, now=NOW), lambda: pins.send(persona=ada, now=NOW), cut=cut)
    return wrong([second.answer()], refusals=(pins.NotSent,), codes=(Pin.unscoped.filter(persona=ada).count(), 1))


def two_wrong_codes(cut):
    """Two tries at once are two tries."""
    ada = make_persona(make_account(), phone=PHONE)
    pins.send(persona=ada, now=NOW)

    def guess():
        with pytest.raises(pins.WrongPin):
            pins.check(persona=ada, code="wrong", now=NOW)

    second = overlap(guess, guess, cut=cut)
    return wrong([second.answer()], tries=(Pin.unscoped.get(persona=ada).tries, 2))


# The programme and its changes


def _user_and_rate(account, points) -> dict:
    return {
        "account_id": account.pk,
        "values": {"programme": {"points_per_100": points}},
        "user": make_user(account, password=None),
    }


def proposed_while_another_is_saved(cut):
    """What is counted is counted against the settings that hold."""
    account = make_account()
    saved, wish = _user_and_rate(account, "5"), _user_and_rate(account, "9")
    second = overlap(
        inside(account, lambda: programme.write(**saved, moved=True)),
        inside(account, lambda: changes.propose(**wish, now=NOW)), cut=cut,
    )  # fmt: skip
    version = Programme.unscoped.get(account=account).version
    return wrong([second.answer()], counted_against=(getattr(second.answer(), "version", None), version))


def _change(account, state, values, **fields) -> ProgrammeChange:
    version = Programme.unscoped.get(account=account).version
    return ProgrammeChange.unscoped.create(
        account=account, state=state, values=values, created_at=NOW, version=version, **fields
    )


def dismissed_while_it_is_confirmed(cut):
    account = make_account()
    user = make_user(account, password=None)
    figures = {"shoppers": 0, "before": "0", "after": "0", "expiring": "0", "shortfalls": 0}
    wish = {"programme": {"points_per_100": "5"}, "was": {"programme": {}}}
    change = _change(account, "counted", wish, counted=figures)
    second = overlap(
        inside(account, lambda: changes.confirm(change=change, user=user, now=NOW)),
        inside(account, lambda: changes.dismiss(change=change, user=user, now=NOW)), cut=cut,
    )  # fmt: skip
    change.refresh_from_db()
    return wrong([second.answer()], refusals=(changes.Refused,), state=(change.state, "applying"))


def wiped_while_a_till_redeems(cut):
    """What a till has just taken is not there to be taken."""
    shop = Shop(500)
    change = _change(shop.account, "applying", {"wipe": {"note": "closing down"}}, confirmed_at=NOW)
    work = jobs.Work(job_id=0, account_id=shop.account.pk, args={"change": change.pk}, user=None, cursor={}, done=0,
                     total=None, result={}, now=NOW, budget_s=1)  # fmt: skip
    second = overlap(lambda: shop.redeem(), inside(shop.account, lambda: changes._wipe(work)), cut=cut)
    return wrong([second.answer()], balance=(shop.points(), 0))


# Cards


def two_closers(cut):
    shop = Shop(0)
    shop.give(10, now=datetime(2026, 10, 5, tzinfo=UTC))
    close = inside(shop.account, lambda: closes.close(account_id=shop.account.pk, now=NOW))
    second = overlap(close, close, cut=cut)
    return wrong(
        [second.answer()],
        refusals=(closes.NotYet,),
        closes=(MonthClose.unscoped.filter(account=shop.account).count(), 1),
    )


def two_sealers(cut):
    shop = Shop(10)
    second = overlap(*[lambda: seals.seal(account_id=shop.account.pk, now=NOW + DAY)] * 2, cut=cut)
    return wrong([second.answer()], second=(second.answer(), 0))


def two_dispatchers_of_jobs(cut):
    account = make_account()
    Job.unscoped.create(account=account, kind="recompute", queued_at=timezone.now() - timedelta(hours=1))
    queued = []
    second = overlap(*[lambda: jobs.dispatch_due(enqueue=queued.append)] * 2, cut=cut)
    return wrong([second.answer()], queued=(len(queued), 1), waited=(second.waited, False))


def another_end_while_lots_move(cut):
    """A merge moves lots while they are given another end: the moved ones get it."""
    shop = Shop(0)
    shop.give(50, shop.eve)
    Programme.unscoped.filter(account=shop.account).update(expire_days=30)
    with acting_in(shop.account.pk):
        current = rules.of(shop.account.pk)
    merge = Merge.unscoped.create(account=shop.account, survivor=shop.ada, loser=shop.eve, why="manual", at=NOW,
                                  survivor_balance=0, loser_balance=0)  # fmt: skip
    both = [shop.ada.pk, shop.eve.pk]
    second = overlap(
        lambda: ledger.merge(account_id=shop.account.pk, merge_id=merge.pk, now=NOW),
        inside(shop.account, lambda: expiry.rewrite(
            account_id=shop.account.pk, persona_ids=both, rules=current, now=NOW)), cut=cut,
    )  # fmt: skip
    return wrong([second.answer()], ends=(Lot.unscoped.get(persona=shop.ada).expires_at is not None, True))


def what_is_due_while_a_till_redeems(cut):
    shop = Shop(0)
    shop.give(100, expires_at=NOW)
    shop.give(100)
    second = overlap(
        lambda: shop.redeem(now=NOW + HOUR),
        inside(shop.account, lambda: expiry.post_due(shop.account.pk, [shop.ada.pk], NOW + HOUR)), cut=cut,
    )  # fmt: skip
    return wrong([second.answer()], balance=(shop.points(), 0), posted=(second.answer(), 0))


# Function: its races, and the tables whose lock is cut. Two tables: either lock is enough while there is a row to hold.
LOCKS = {
    "aiqsync.accounts.alerts._claim": ([two_who_send_alerts], ["accounts_alertmail"]),
    "aiqsync.accounts.alerts.settle": ([two_who_look_at_alerts], ["accounts_alert"]),
    "aiqsync.accounts.members._lock": ([two_owners_demote_each_other], ["accounts_account"]),
    "integrations.outbox._claim": ([two_dispatchers_of_writes], ["integrations_outboundwrite"]),
    "integrations.services.dispatch_due": (
        [two_dispatchers_of_what_is_due, two_dispatchers_of_what_was_lost],
        ["integrations_streamstate", "integrations_syncrun"],
    ),
    "integrations.card_settings.save_settings": ([two_tabs_save_settings], ["integrations_connection"]),
    "integrations.card_settings.save_all": ([two_forms_of_one_card], ["integrations_connection"]),
    "integrations.card_settings.save_credential_settings": (
        [two_markets_of_one_credential], ["integrations_credential"],
    ),
    "integrations.card_settings.dismiss": ([put_away_while_settings_are_saved], ["integrations_connection"]),
    "integrations.card_settings._propose": (
        [proposed_again_while_it_is_confirmed], ["integrations_connection", "integrations_settingchange"],
    ),
    "integrations.erasing.begin_erasing": ([a_source_is_erased_in_two_tabs], ["integrations_origin"]),
    "integrations.suppression.forget_pushed": ([two_people_of_one_call_are_removed], ["integrations_pushedcall"]),
    "stores.keys.rotate": ([a_key_is_replaced_in_two_tabs], ["accounts_apikey"]),
    "loyalty.api.authentication._NOTE_REFUSAL": ([a_key_is_refused_at_two_places], ["accounts_apikey"]),
    "loyalty.api.authentication._NOTE_USE": ([a_key_is_used_at_two_tills], ["accounts_apikey"]),
    "loyalty.audiences.refresh": ([an_audience_is_put_away_while_it_is_refreshed], ["loyalty_audience"]),
    "loyalty.changes._held": ([dismissed_while_it_is_confirmed], ["loyalty_programmechange"]),
    "loyalty.changes._wipe": ([wiped_while_a_till_redeems], ["loyalty_wallet"]),
    "loyalty.closes.close": ([two_closers], ["accounts_account"]),
    "loyalty.consent._held": ([asked_in_two_tabs], ["loyalty_consentstate"]),
    "loyalty.discounts.next_number": ([two_new_discounts], ["accounts_account"]),
    "loyalty.expiry._lock_wallets": (
        [another_end_while_lots_move, what_is_due_while_a_till_redeems], ["loyalty_wallet"],
    ),
    "loyalty.guard.decide": ([a_number_is_judged_twice], ["loyalty_suspectnumber"]),
    "loyalty.jobs.dispatch_due": ([two_dispatchers_of_jobs], ["loyalty_job"]),
    "loyalty.merging._pair": ([each_into_the_other], ["loyalty_persona"]),
    "loyalty.messages._claim": ([two_senders], ["loyalty_message"]),
    "loyalty.messages._send": ([stop_while_a_notice_goes_out], ["loyalty_consentstate"]),
    "loyalty.personas._found_or_new": ([signed_up_in_two_tabs], ["loyalty_persona"]),
    "loyalty.personas.enrol_many": ([enrolled_at_two_tills], ["loyalty_persona"]),
    "loyalty.pins._live": ([two_wrong_codes], ["loyalty_persona", "loyalty_pin"]),
    "loyalty.pins.send": ([two_codes_asked_for], ["loyalty_persona", "loyalty_pin"]),
    "loyalty.profile.close_investigation": ([an_investigation_is_closed_twice], ["loyalty_investigation"]),
    "loyalty.programme.locked": ([proposed_while_another_is_saved], ["loyalty_programme"]),
    "loyalty.seals.seal": ([two_sealers], ["accounts_account"]),
    "loyalty.by_key._checked": ([one_key_adds_twice], ["accounts_apikey"]),
    "loyalty.staff._hold": ([two_tabs_of_one_budtender], ["accounts_membership"]),
    "stores.services.change": ([two_sites_of_one_store], ["stores_store"]),
    "stores.services.next_number": ([two_new_stores], ["accounts_account"]),
}  # fmt: skip
# Whose race is in a file of its own.
ELSEWHERE = {
    "integrations.card_settings.confirm": "test_switches_race.py::test_confirmed_by_two_at_once",
    "integrations.shaping.stop_reading": (
        "../integrations/test_settings_act.py::test_a_run_that_began_with_the_smaller_market_saves_no_cursor_any_more"
    ),
    "loyalty.erasure.LOCK": "test_erasure_race.py::test_a_merge_is_under_way",
    "loyalty.webhooks.endpoints._held": "webhooks/test_races.py::test_a_secret_is_changed_in_two_tabs",
    "loyalty.webhooks.reading.begin": "webhooks/test_races.py::test_a_webhook_is_made_while_the_last_one_is_put_away",
    "loyalty.webhooks.reading.read": "webhooks/test_races.py::test_a_webhook_is_made_while_the_last_one_is_put_away",
    "loyalty.webhooks.sending._TURNS": "webhooks/test_races.py::test_two_senders_send_each_once",
    "loyalty.webhooks.sending.settle": "webhooks/test_races.py::test_an_answer_is_counted_beside_another",
}
# What pages and whole sources wait for: test_origin_locks.py.
ORIGINS = {"integrations.landing.lock_origin", "integrations.services.lock_origins"}


@pytest.mark.parametrize(
    "name, race", [(name, race) for name, (races, _) in LOCKS.items() for race in races],
    ids=[f"{name}-{race.__name__}" for name, (races, _) in LOCKS.items() for race in races],
)  # fmt: skip
def test_right_with_its_lock_and_lost_without_it(name, race):
    assert race(None) == []
    cut = Cut(*LOCKS[name][1])
    lost = race(cut)
    assert cut.times, "no lock was cut: the statement is another by now"
    assert lost, "right without it as well: this race proves nothing"


class NoRow:
    """For a sender's statements: no row is made for an address that nobody spoke of yet."""

    def __call__(self, execute, statement, params, many, context):
        if statement.startswith('INSERT INTO "loyalty_consentstate"'):
            return execute("SELECT 1", None, False, context)
        return execute(statement, params, many, context)


def test_a_code_for_somebody_new_is_out_before_his_stop_is_answered():
    """And without a row to hold the STOP is answered first, and the code goes out after it."""
    assert _stop_while_it_goes_out("pin", False, None) == []
    assert _stop_while_it_goes_out("pin", False, NoRow())


LOCKING = re.compile(
    r"select_for_update|FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE|SKIP LOCKED|pg_(try_)?advisory|LOCK TABLE"
)


def locking() -> set[str]:
    """Every function, or constant of a module, whose text takes a lock."""
    found = set()
    for folder in ("aiqsync", "integrations", "loyalty", "stores"):
        for path in Path(settings.BASE_DIR, folder).rglob("*.py"):
            if "migrations" in path.parts:
                continue
            text = path.read_text()
            if not LOCKING.search(text):
                continue
            module = ".".join(path.relative_to(settings.BASE_DIR).with_suffix("").parts)
            lines = text.splitlines()
            nodes = ast.parse(text).body
            nodes += [inner for node in nodes if isinstance(node, ast.ClassDef) for inner in node.body]
            for node in nodes:
                code = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                code = re.sub(r"(?m)^\s*#.*$", "", code)
                if isinstance(node, ast.FunctionDef) and LOCKING.search(_without_doc(node, code)):
                    found.add(f"{module}.{node.name}")
                elif isinstance(node, ast.Assign) and LOCKING.search(code):
                    found.add(f"{module}.{node.targets[0].id}")
    return found


def _without_doc(node: ast.FunctionDef, code: str) -> str:
    return code.replace(ast.get_docstring(node, clean=False) or "\0", "")


def test_each_lock_of_the_code_has_its_case():
    assert locking() == set(LOCKS) | set(ELSEWHERE) | ORIGINS
    assert not_written_down([*LOCKS, *ELSEWHERE, *ORIGINS]) == []
    for test in ELSEWHERE.values():
        path, name = test.split("::")
        assert f"def {name}(" in Path(__file__).parent.joinpath(path).read_text()
