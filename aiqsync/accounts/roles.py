"""What each role may do. One table; the admin, the pages and the tests read it."""

from django.db import models


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    OPERATOR = "operator", "Operator"
    MANAGER = "manager", "Manager"
    MARKETING = "marketing", "Marketing"
    ANALYST = "analyst", "Analyst"
    STAFF = "staff", "Staff"
    FINANCE = "finance", "Finance"


# Act -> roles. "view" acts open pages, the others change something.
_ALL = frozenset(Role)
_RUN = frozenset({Role.OWNER, Role.OPERATOR})
ACTS: dict[str, frozenset[Role]] = {
    "home.view": _ALL - {Role.STAFF},
    "integrations.view": _RUN | {Role.MANAGER, Role.ANALYST},
    "integrations.change": _RUN,
    "integrations.erase": frozenset({Role.OWNER}),  # what a POS brought, customers and lines of sales
    "stores.view": _RUN | {Role.MANAGER, Role.ANALYST, Role.MARKETING, Role.FINANCE},
    "stores.change": _RUN,
    "programme.view": _RUN | {Role.MANAGER, Role.ANALYST, Role.MARKETING, Role.FINANCE},
    "programme.change": _RUN,
    "personas.view": _ALL,
    "personas.change": _RUN | {Role.MANAGER},
    "personas.export": _RUN,  # everything held about one person
    "personas.erase": frozenset({Role.OWNER}),
    "points.view": _ALL,
    "points.adjust": _RUN | {Role.MANAGER},
    "discounts.view": _ALL - {Role.STAFF},
    "discounts.change": _RUN | {Role.MARKETING},
    "audiences.view": _ALL - {Role.STAFF, Role.FINANCE},
    "audiences.change": _RUN | {Role.MARKETING},
    "redemptions.view": _ALL - {Role.STAFF},
    "redemptions.redeem": _RUN | {Role.MANAGER, Role.STAFF},
    "redemptions.revert": _RUN | {Role.MANAGER, Role.STAFF},  # Staff: until it is settled
    "messages.view": _RUN | {Role.MARKETING},
    "messages.change": _RUN,
    "consent.view": _RUN | {Role.MANAGER, Role.MARKETING},
    "reports.view": _RUN | {Role.MANAGER, Role.ANALYST, Role.FINANCE},
    "reports.staff": _RUN | {Role.MANAGER},
    "reports.close": _RUN | {Role.FINANCE},
    "reports.export": _RUN,  # the whole ledger, with people's names
    "redemptions.look": _RUN | {Role.MANAGER, Role.STAFF},  # Staff: their stores
    "sales.view": _RUN | {Role.MANAGER, Role.ANALYST, Role.FINANCE},
    "alerts.view": _RUN | {Role.MANAGER, Role.ANALYST},
    "alerts.change": _RUN,
    "members.view": frozenset({Role.OWNER}),
    "members.change": frozenset({Role.OWNER}),
    "keys.view": _RUN,
    "keys.change": frozenset({Role.OWNER}),
    "webhooks.view": _RUN,
    "webhooks.change": _RUN,
    "audit.view": frozenset({Role.OWNER}),
}


def may(role: str | None, act: str) -> bool:
    """True when `role` may do `act`. An act that is not in the table is a mistake, not a no."""
    return role in ACTS[act]
