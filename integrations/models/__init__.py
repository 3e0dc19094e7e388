"""What integrations keeps: connections and their runs, the rows they brought, and what cards set in motion."""

from ..secrets import SealedField
from .cards import (
    OPEN_CHANGE,
    BalanceReading,
    CallAllowance,
    ChangeState,
    CustomerBalance,
    OutboundWrite,
    OutsideMarket,
    SettingChange,
    WriteState,
)
from .catalog import Product, Stock, Term, TermKind
from .pushed import PushedCall
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
from .uploads import ColumnMapping, Upload, UploadChunk, UploadError, UploadFrom, UploadState

__all__ = [
    "BalanceReading", "CallAllowance", "ChangeState", "ColumnMapping", "Connection", "Credential",
    "CredentialState", "Customer", "CustomerBalance", "Fulfilment", "Heartbeat", "Location", "OPEN_CHANGE",
    "Origin", "OutboundWrite", "OutsideMarket", "PricingGroup", "Product", "PushedCall", "RefusedRow",
    "RunStatus", "Sale", "SaleKind", "SaleLine", "SealedField", "SettingChange", "Stock", "StreamState", "Suppression",
    "SyncRun", "Term", "TermKind", "Upload", "UploadChunk", "UploadError", "UploadFrom", "UploadState",
    "WriteState",
]  # fmt: skip
