"""Our tables as the sandbox states them: the lines of `GET /_sandbox/state?rows=1`, made from what we stored.

Cova's feed tells a delivery from the rest, not a pickup from a walk-in: we leave those blank, the sandbox knows.
"""

from django.db.models import Sum

from integrations.models import Customer, Sale


def sales(origin_id: int) -> list[str]:
    rows = Sale.unscoped.filter(origin=origin_id).annotate(lines_sum=Sum("lines__total_cents"))
    return sorted(
        "|".join(
            str(part)
            for part in (
                s.external_id, s.number, s.kind, s.location.external_id, s.customer_id,
                s.sold_at.strftime("%Y-%m-%dT%H:%M:%SZ"), s.total_cents, s.tax_cents, s.lines_sum, s.line_count,
                s.fulfilment or "in_store", s.employee_id,
            )
        )
        for s in rows.select_related("location")
    )  # fmt: skip


def customers(origin_id: int) -> list[str]:
    return sorted(
        "|".join(
            str(part)
            for part in (
                c.external_id, c.first_name, c.last_name, "".join(x for x in c.phone_raw if x.isdigit()),
                c.email_raw.lower(), c.birth_date or "", c.pricing_group, int(c.disabled), c.merged_into, c.version,
            )
        )
        for c in Customer.unscoped.filter(origin=origin_id)
    )  # fmt: skip
