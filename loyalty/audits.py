"""The invariants of the ledger as queries over whole tables: what `check_ledger` prints and the home page counts.

Each rule selects the rows that violate it, as `account_id` and `what`, a line for the person who looks into it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.apps import apps
from django.db import connection, transaction

from aiqsync.accounts.tenancy import TenantModel

from . import closes, consent, erasure, seals

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    promise: str
    sql: str


@dataclass(frozen=True, slots=True)
class Violation:
    rule: Rule
    count: int
    examples: list[str]


RULES = (
    Rule(
        "balance-entries",
        "a balance is the sum of its entries",
        """SELECT coalesce(w.account_id, e.account_id) AS account_id,
                  format('persona %s: balance %s, entries %s', coalesce(w.persona_id, e.persona_id),
                         w.balance, e.points) AS what
           FROM loyalty_wallet w
           FULL JOIN (SELECT persona_id, min(account_id) AS account_id, sum(points) AS points FROM loyalty_entry
                      GROUP BY persona_id) e ON e.persona_id = w.persona_id
           WHERE coalesce(w.balance, 0) <> coalesce(e.points, 0)""",
    ),
    Rule(
        "balance-lots",
        "a balance is the sum of its lots",
        """SELECT coalesce(w.account_id, l.account_id) AS account_id,
                  format('persona %s: balance %s, lots %s', coalesce(w.persona_id, l.persona_id),
                         w.balance, l.points) AS what
           FROM loyalty_wallet w
           FULL JOIN (SELECT persona_id, min(account_id) AS account_id, sum(remaining) AS points FROM loyalty_lot
                      GROUP BY persona_id) l ON l.persona_id = w.persona_id
           WHERE coalesce(w.balance, 0) <> coalesce(l.points, 0)""",
    ),
    Rule(
        "not-negative",
        "no balance, lot or entry's balance is below zero",
        """SELECT account_id, format('persona %s: balance %s', persona_id, balance) AS what
           FROM loyalty_wallet WHERE balance < 0
           UNION ALL SELECT account_id, format('lot %s: %s left', id, remaining) FROM loyalty_lot WHERE remaining < 0
           UNION ALL SELECT account_id, format('entry %s: balance after it %s', id, balance_after)
           FROM loyalty_entry WHERE balance_after < 0""",
    ),
    Rule(
        "running-balance",
        "an entry's balance is the sum up to it",
        """SELECT account_id, format('entry %s: says %s, sum %s', id, balance_after, running) AS what
           FROM (SELECT account_id, id, balance_after, sum(points) OVER (PARTITION BY persona_id ORDER BY id) AS running
                 FROM loyalty_entry) e WHERE balance_after <> running""",
    ),
    Rule(
        "entry-parts",
        "an entry is the sum of the lots it opened and of its draws",
        """SELECT e.account_id, format('entry %s (%s): %s points, lots %s, draws %s', e.id, e.kind, e.points,
                                       coalesce(l.points, 0), coalesce(d.points, 0)) AS what
           FROM loyalty_entry e
           LEFT JOIN (SELECT entry_id, sum(points) AS points FROM loyalty_lot GROUP BY entry_id) l ON l.entry_id = e.id
           LEFT JOIN (SELECT entry_id, sum(points) AS points FROM loyalty_draw GROUP BY entry_id) d ON d.entry_id = e.id
           WHERE e.points <> coalesce(l.points, 0) + coalesce(d.points, 0)""",
    ),
    Rule(
        "lot-draws",
        "what is left of a lot is what came in and its draws",
        """SELECT l.account_id, format('lot %s: %s of %s left, draws %s', l.id, l.remaining, l.points, d.points) AS what
           FROM loyalty_lot l
           LEFT JOIN (SELECT lot_id, sum(points) AS points FROM loyalty_draw GROUP BY lot_id) d ON d.lot_id = l.id
           WHERE l.remaining <> l.points + coalesce(d.points, 0)""",
    ),
    Rule(
        "same-persona",
        "lots and draws are of their entry's persona",
        """SELECT l.account_id,
                  format('lot %s of persona %s, entry %s of %s', l.id, l.persona_id, e.id, e.persona_id) AS what
           FROM loyalty_lot l JOIN loyalty_entry e ON e.id = l.entry_id WHERE e.persona_id <> l.persona_id
           UNION ALL
           SELECT d.account_id,
                  format('draw %s: lot of persona %s, entry %s of %s', d.id, l.persona_id, e.id, e.persona_id)
           FROM loyalty_draw d JOIN loyalty_lot l ON l.id = d.lot_id JOIN loyalty_entry e ON e.id = d.entry_id
           WHERE e.persona_id <> l.persona_id""",
    ),
    Rule(
        "key-once",
        "one cause is one entry",
        """SELECT account_id, format('key %s: %s entries', key, count(*)) AS what
           FROM loyalty_entry GROUP BY account_id, key HAVING count(*) > 1""",
    ),
    Rule(
        "redemption-entries",
        "what a redemption took and gave back is what it says, never more",
        """SELECT r.account_id, format('redemption %s: %s points of which %s came back, entries say %s', r.id,
                                       r.points, r.reverted_points, coalesce(e.points, 0)) AS what
           FROM loyalty_redemption r
           LEFT JOIN (SELECT redemption_id, sum(points) AS points, count(*) FILTER (WHERE kind = 'redeem') AS takings
                      FROM loyalty_entry WHERE redemption_id IS NOT NULL GROUP BY redemption_id) e
           ON e.redemption_id = r.id
           WHERE coalesce(e.points, 0) <> r.reverted_points - r.points OR r.reverted_points > r.points
              OR (coalesce(e.takings, 0) = 0 AND r.points <> r.reverted_points)""",
    ),
    Rule(
        "redemption-lots",
        "points of a redemption go back to the lots they came from, no more than came from each",
        """SELECT max(d.account_id) AS account_id,
                  format('redemption %s, lot %s: %s more given than taken', e.redemption_id, d.lot_id,
                         sum(d.points)) AS what
           FROM loyalty_entry e JOIN loyalty_draw d ON d.entry_id = e.id
           WHERE e.redemption_id IS NOT NULL GROUP BY e.redemption_id, d.lot_id HAVING sum(d.points) > 0""",
    ),
    Rule(
        "redemption-state",
        "a redemption has ended exactly when all its points came back",
        """SELECT account_id,
                  format('redemption %s: %s, %s of %s given back', id, state, reverted_points, points) AS what
           FROM loyalty_redemption
           WHERE (state IN ('reverted', 'released')) <> (ended_at IS NOT NULL)
              OR (state IN ('reverted', 'released') AND reverted_points <> points)
              OR (state IN ('applied', 'settled') AND points > 0 AND reverted_points = points
                  AND NOT EXISTS (SELECT FROM loyalty_shortfall f WHERE f.redemption_id = loyalty_redemption.id))
              OR (state = 'applied' AND (settled_at IS NOT NULL OR sale_id IS NOT NULL))
              OR (state = 'settled' AND settled_at IS NULL)""",
    ),
    Rule(
        "redemption-order",
        "a later redemption of a discount by a persona has a higher number",
        """SELECT account_id, format('redemption %s: number %s after %s', id, n, before) AS what
           FROM (SELECT account_id, id, n, lag(n) OVER (PARTITION BY persona_id, discount_id ORDER BY id) AS before
                 FROM loyalty_redemption) r WHERE n <= before""",
    ),
    # posted = entries - shortfalls. Worth 0 after 100 were posted, 60 of them still there: entries 100 - 60, shortfall
    # 40, posted 0. A shortfall counts whatever became of it: collecting posts an adjustment, which is not the sale's.
    # Only what a later rise of the sale made good counts no more.
    Rule(
        "sale-posted",
        "what is posted for a sale is its entries less its shortfalls",
        """SELECT coalesce(s.account_id, p.account_id) AS account_id,
                  format('sale %s: says %s, posted %s', coalesce(s.sale_id, p.sale_id), s.posted, p.points) AS what
           FROM loyalty_salestate s
           FULL JOIN (SELECT sale_id, min(account_id) AS account_id, sum(points) AS points FROM (
                          SELECT sale_id, account_id, points FROM loyalty_entry
                          WHERE kind = 'earn' AND sale_id IS NOT NULL
                          UNION ALL
                          SELECT sale_id, account_id, netted - points FROM loyalty_shortfall
                          WHERE sale_id IS NOT NULL AND key NOT LIKE 'shortfall:boost:%'
                      ) x GROUP BY sale_id) p ON p.sale_id = s.sale_id
           WHERE coalesce(s.posted, 0) <> coalesce(p.points, 0)""",
    ),
    Rule(
        "merged-empty",
        "a merged persona holds nothing",
        """SELECT p.account_id,
                  format('persona %s, merged into %s: %s points', p.id, p.merged_into_id, w.balance) AS what
           FROM loyalty_persona p JOIN loyalty_wallet w ON w.persona_id = p.id
           WHERE p.merged_into_id IS NOT NULL AND w.balance <> 0""",
    ),
    Rule(
        "merged-once",
        "one step leads from a merged persona to its root",
        """SELECT p.account_id, format('persona %s, merged into %s, which is merged into %s', p.id, r.id,
                                       r.merged_into_id) AS what
           FROM loyalty_persona p JOIN loyalty_persona r ON r.id = p.merged_into_id
           WHERE r.merged_into_id IS NOT NULL""",
    ),
    Rule(
        "merge-pairs",
        "what a merge or a split takes from one it gives to the other",
        """SELECT max(account_id) AS account_id, format('merge %s: %s points too many', merge_id, sum(points)) AS what
           FROM loyalty_entry WHERE merge_id IS NOT NULL GROUP BY merge_id HAVING sum(points) <> 0""",
    ),
    Rule(
        "merge-rows",
        "a persona is merged exactly while a merge of it is open",
        """SELECT p.account_id, format('persona %s: merged into %s, %s open merges', p.id, p.merged_into_id,
                                       count(m.id)) AS what
           FROM loyalty_persona p LEFT JOIN loyalty_merge m ON m.loser_id = p.id AND m.split_at IS NULL
           GROUP BY p.id HAVING (p.merged_into_id IS NOT NULL) <> (count(m.id) = 1)""",
    ),
    Rule(
        "lot-family",
        "a moved lot has its parent's kind, and moved no more than came into the parent",
        """SELECT l.account_id, format('lot %s (%s, %s points) from lot %s (%s, %s points)', l.id, l.kind, l.points,
                                       f.id, f.kind, f.points) AS what
           FROM loyalty_lot l JOIN loyalty_lot f ON f.id = l.from_lot_id
           WHERE l.kind <> f.kind OR l.points > f.points""",
    ),
    Rule(
        "boost-posted",
        "what a boost has given is its entries less its shortfalls",
        """SELECT b.account_id, format('boost %s of persona %s: says %s, posted %s', b.modifier_id, b.persona_id,
                                       b.posted, coalesce(e.points, 0)) AS what
           FROM loyalty_booststate b
           LEFT JOIN (SELECT account_id, whose, sum(points) AS points FROM (
                          SELECT account_id, substring(key from '^boost:([0-9]+:[0-9]+):') AS whose, points
                          FROM loyalty_entry WHERE kind = 'boost' AND key LIKE 'boost:%'
                          UNION ALL
                          SELECT account_id, substring(key from '^shortfall:boost:([0-9]+:[0-9]+):'), -points
                          FROM loyalty_shortfall WHERE key LIKE 'shortfall:boost:%') x GROUP BY 1, 2) e
           ON e.account_id = b.account_id AND e.whose = b.modifier_id || ':' || b.persona_id
           WHERE b.posted <> coalesce(e.points, 0)""",
    ),
    Rule(
        "mirror-posted",
        "what is mirrored for a customer is its entries less its shortfalls",
        """SELECT m.account_id, format('customer %s: says %s, posted %s', m.customer_id, m.posted,
                                       coalesce(e.points, 0)) AS what
           FROM loyalty_mirrorstate m
           LEFT JOIN (SELECT account_id, whose, sum(points) AS points FROM (
                          SELECT account_id, substring(key from '^mirror:([0-9]+):') AS whose, points
                          FROM loyalty_entry WHERE kind = 'mirror'
                          UNION ALL
                          SELECT account_id, substring(key from '^shortfall:mirror:([0-9]+):'), -points
                          FROM loyalty_shortfall WHERE key LIKE 'shortfall:mirror:%') x GROUP BY 1, 2) e
           ON e.account_id = m.account_id AND e.whose = m.customer_id::text
           WHERE m.posted <> coalesce(e.points, 0)""",
    ),
    Rule(
        "mirrored-balance",
        "a member's balance that is mirrored is what the POS said of its records, and nothing besides",
        """SELECT w.account_id, format('persona %s: balance %s, the POS says %s', w.persona_id, w.balance,
                                       m.points) AS what
           FROM loyalty_wallet w JOIN loyalty_persona h ON h.id = w.persona_id AND h.member_from IS NOT NULL
           JOIN (SELECT coalesce(p.merged_into_id, p.id) AS root, sum(s.posted) AS points
                 FROM loyalty_mirrorstate s JOIN loyalty_persona p ON p.id = s.persona_id
                 JOIN integrations_customer c ON c.id = s.customer_id
                 JOIN loyalty_mirroring g ON g.origin_id = c.origin_id AND g.ended_at IS NULL
                 JOIN loyalty_source o ON o.customer_id = s.customer_id
                 JOIN loyalty_persona q ON q.id = o.persona_id
                 WHERE s.posted <> 0 OR coalesce(q.merged_into_id, q.id) = coalesce(p.merged_into_id, p.id)
                 GROUP BY 1) m ON m.root = w.persona_id
           WHERE NOT w.closed AND w.balance <> m.points""",
    ),
    Rule(
        "import-once",
        "who brought his balance from a source that was erased brings none when it is connected again",
        """SELECT b.account_id, format('persona %s: imported by entry %s and, from the same source, by entry %s',
                                       b.persona_id, a.id, b.id) AS what
           FROM loyalty_entry a
           JOIN integrations_customer was
             ON a.key = 'import:' || was.origin_id || ':' || was.id AND was.erased_at IS NOT NULL
           JOIN loyalty_entry b ON b.persona_id = a.persona_id AND b.kind = 'import' AND b.id > a.id
           JOIN integrations_customer c ON b.key = 'import:' || c.origin_id || ':' || c.id
           WHERE a.kind = 'import' AND c.origin_id = was.origin_id AND c.erased_at IS NULL""",
    ),
    Rule(
        "shortfall-collected",
        "what was collected for a shortfall is what was taken for it and not given back",
        """SELECT f.account_id, format('shortfall %s: says %s, entries %s', f.id, f.collected,
                                       coalesce(e.points, 0)) AS what
           FROM loyalty_shortfall f
           LEFT JOIN (SELECT account_id, substring(key from '^(?:un)?collect:([0-9]+):') AS whose,
                             -sum(points) AS points
                      FROM loyalty_entry WHERE kind = 'adjust' AND key ~ '^(un)?collect:[0-9]+:' GROUP BY 1, 2) e
           ON e.account_id = f.account_id AND e.whose = f.id::text
           WHERE f.collected <> coalesce(e.points, 0)""",
    ),
    Rule(
        "debits-point-at-lots",
        "every entry that takes points names the lots it took them from",
        """SELECT e.account_id, format('entry %s (%s): %s points, no draw', e.id, e.kind, e.points) AS what
           FROM loyalty_entry e
           WHERE e.points < 0 AND NOT EXISTS (SELECT FROM loyalty_draw d WHERE d.entry_id = e.id)""",
    ),
    Rule(
        "coupon-once",
        "a coupon code is of its redemption's discount",
        """SELECT c.account_id,
                  format('code %s of discount %s, redemption of %s', c.id, c.discount_id, r.discount_id) AS what
           FROM loyalty_couponcode c JOIN loyalty_redemption r ON r.id = c.redemption_id
           WHERE r.discount_id <> c.discount_id""",
    ),
)


def all_rules() -> Iterator[Rule]:
    """The ledger's, those of seals, months, consent and removed people, and one for each reference in an account."""
    yield from RULES
    yield from (Rule(*rule) for rule in (*seals.RULES, *closes.RULES, *consent.RULES, *erasure.RULES))
    yield from tenant_rules()


def how_many_rules() -> int:
    return sum(1 for _ in all_rules())


def tenant_rules() -> Iterator[Rule]:
    """For each reference from a tenant's row to a tenant's row: both are of one account."""
    for model in apps.get_models():
        if not issubclass(model, TenantModel):
            continue
        for field in model._meta.concrete_fields:
            parent = field.related_model
            if not (isinstance(parent, type) and issubclass(parent, TenantModel)):
                continue
            child, target = model._meta.db_table, parent._meta.db_table
            key, own = parent._meta.pk.column, model._meta.pk.column
            yield Rule(
                f"tenant:{child}.{field.column}",
                f"{child}.{field.column} stays inside the account",
                f"""SELECT c.account_id, format('{child} %s of account %s: {target} %s of account %s', c.{own},
                                                c.account_id, c.{field.column}, p.account_id) AS what
                    FROM {child} c LEFT JOIN {target} p ON p.{key} = c.{field.column}
                    WHERE c.{field.column} IS NOT NULL AND p.account_id IS DISTINCT FROM c.account_id""",
            )


@contextmanager
def one_moment() -> Iterator[None]:
    """One moment for all rules, while tills and syncs go on; inside a transaction, that one's."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def violations(*, account_id: int | None = None) -> list[Violation]:
    """Violated rules with up to five examples each, over all accounts or one; one query a rule."""
    found = _ask("", "" if account_id is None else f"WHERE account_id = {int(account_id)}")
    return [Violation(rule, count, examples) for rule, (_, count, examples) in found]


def violations_by_account() -> dict[int, list[Violation]]:
    """The same over all accounts in one pass, each account's by themselves."""
    found: dict[int, list[Violation]] = {}
    for rule, (account_id, count, examples) in _ask("GROUP BY account_id", ""):
        found.setdefault(account_id, []).append(Violation(rule, count, examples))
    return found


def _ask(grouped: str, where: str) -> Iterator[tuple[Rule, tuple]]:
    # Written into the text: the rules' own percent signs would be taken for parameters.
    which = "account_id" if grouped else "NULL"
    with one_moment(), connection.cursor() as cursor:
        for rule in all_rules():
            cursor.execute(
                f"SELECT {which}, count(*), (array_agg(what ORDER BY what))[1:{EXAMPLES}] FROM ({rule.sql}) q"
                f" {where} {grouped}"
            )
            for row in cursor.fetchall():
                if row[1]:
                    yield rule, row
