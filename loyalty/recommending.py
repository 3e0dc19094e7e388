"""What a contact will most likely want: what he bought again, and what others buy together with it.

Counted when it is asked for, out of a bounded number of sales: his own latest, and the account's latest.
"""

from dataclasses import dataclass

from django.db import connection

OWN_SALES = 100
LATEST_SALES = 2000
MOST = 20


@dataclass(frozen=True, slots=True)
class Recommended:
    """`why`: "again" or "together". `score`: sales of his own, or sales of others beside what he buys."""

    name: str
    brand: str
    category: str
    sku: str
    product_id: str
    why: str
    score: int


# A product is its id in the POS, else its SKU, else its name. What was bought weighs more than what goes with it.
_KEY = "coalesce(nullif({0}.product_id, ''), nullif({0}.sku, ''), lower({0}.name))"
_SQL = f"""
WITH own AS MATERIALIZED (
    SELECT s.id, s.sold_at FROM loyalty_salestate st JOIN integrations_sale s ON s.id = st.sale_id AND s.kind = 'sale'
    WHERE st.account_id = %(account)s AND st.persona_id = %(root)s ORDER BY s.sold_at DESC, s.id DESC LIMIT {OWN_SALES}
), bought AS MATERIALIZED (
    SELECT {_KEY.format("l")} AS key, count(DISTINCT own.id) AS times, max(own.sold_at) AS latest
    FROM own JOIN integrations_saleline l ON l.sale_id = own.id WHERE l.quantity > 0 AND l.name <> '' GROUP BY 1
), top AS MATERIALIZED (
    SELECT key FROM bought ORDER BY times DESC, latest DESC, key LIMIT {MOST}
), latest AS MATERIALIZED (
    SELECT id FROM integrations_sale WHERE account_id = %(account)s AND kind = 'sale'
    ORDER BY sold_at DESC LIMIT {LATEST_SALES}
), lines AS MATERIALIZED (
    SELECT DISTINCT l.sale_id, {_KEY.format("l")} AS key
    FROM latest JOIN integrations_saleline l ON l.sale_id = latest.id
    WHERE l.quantity > 0 AND l.name <> ''
), together AS (
    SELECT x.key, count(*) AS times FROM (SELECT DISTINCT sale_id FROM lines JOIN top USING (key)) s
    JOIN lines x USING (sale_id) WHERE x.key NOT IN (SELECT key FROM bought)
      AND s.sale_id NOT IN (SELECT id FROM own)
    GROUP BY x.key ORDER BY 2 DESC, 1 LIMIT {MOST}
), ranked AS (
    SELECT key, 'again' AS why, times, latest FROM bought
    UNION ALL SELECT key, 'together', times, NULL FROM together
    ORDER BY 2, 3 DESC, 4 DESC NULLS LAST, 1 LIMIT %(limit)s
), told AS (
    SELECT DISTINCT ON (key) key, l.name, l.brand, l.category, l.sku, l.product_id
    FROM (SELECT id FROM own UNION SELECT id FROM latest) s JOIN integrations_saleline l ON l.sale_id = s.id
    CROSS JOIN LATERAL (SELECT {_KEY.format("l")} AS key) k WHERE l.name <> '' AND key IN (SELECT key FROM ranked)
    ORDER BY key, l.id DESC
)
SELECT t.name, t.brand, t.category, t.sku, t.product_id, r.why, r.times
FROM ranked r JOIN told t USING (key) ORDER BY r.why, r.times DESC, r.latest DESC NULLS LAST, r.key
"""


def recommended(*, account_id: int, persona_id: int, limit: int = MOST) -> list[Recommended]:
    """The best first; at most `limit`. Empty when he bought nothing that is known by its lines."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL, {"account": account_id, "root": persona_id, "limit": limit})
        return [Recommended(*row) for row in cursor.fetchall()]
