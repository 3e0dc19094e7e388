"""The activity log's one verb."""

from typing import Any

from .models import AuditLine, User
from .tenancy import current_account_id


def record(
    *,
    act: str,
    target: str = "",
    user: User | None = None,
    detail: dict[str, Any] | None = None,
) -> AuditLine:
    """Write one line for the current account, in the caller's transaction."""
    return AuditLine.unscoped.create(
        account_id=current_account_id(),
        act=act,
        target=target[:200],
        user=user,
        detail=detail or {},
    )
