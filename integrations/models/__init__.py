"""What integrations keeps: connections and their runs, the rows they brought, and what cards set in motion."""

from .cards import (
    OPEN_CHANGE,
    BalanceReading,
    ChangeState,
    CustomerBalance,
    OutboundWrite,
    OutsideMarket,
    SettingChange,
    WriteState,
)
from .catalog import Product, Stock, Term, TermKind
from .rows import (
    Connection,
    Credential,
    CredentialState,
    Customer,
    Fulfilment,
    Heartbeat,
    Location,
    Origin,
    PricingGroup,
    RefusedRow,
    RunStatus,
    Sale,
    SaleKind,
    SaleLine,
    StreamState,
    Suppression,
    SyncRun,
)

__all__ = [
    "OPEN_CHANGE", "BalanceReading", "ChangeState", "Connection", "Credential", "CredentialState", "Customer",
    "CustomerBalance", "Fulfilment", "Heartbeat", "Location", "Origin", "OutboundWrite", "OutsideMarket",
    "PricingGroup", "Product", "RefusedRow", "RunStatus", "Sale", "SaleKind", "SaleLine", "SettingChange", "Stock",
    "StreamState", "Suppression", "SyncRun", "Term", "TermKind", "WriteState",
]  # fmt: skip
