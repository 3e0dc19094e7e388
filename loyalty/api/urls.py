"""The till's API. Paths are the vendor's (docs/api), each with and without a trailing slash."""

from django.urls import path, re_path

from .base import route
from .docs import Docs, Schema
from .pass_views import WalletLink, WalletPasses
from .persona_views import LookupEmail, LookupPhone, Loyalty, LoyaltyLookup
from .pin_views import VerifyContactWallet, VerifyWallet, ViewContactWallet, ViewWallet
from .push_views import Inventory, Member, Members, Sale, Sales
from .redemption_views import Redeem, RedeemForOrder, Revert
from .store_views import Stores
from .unknown import Unknown
from .wallet_views import WalletBody, WalletByPhone

_REDEEM = "v1.1/discount/redeem/<uid>/<discount>/<token>"

urlpatterns = [
    *route("v2/wallet", WalletBody),
    *route("v2/wallet/<phone>", WalletByPhone),
    *route("v2/wallet/link/<cid>", WalletLink),
    *route("v2/walletPassDownloadLinks/<cid>", WalletPasses),
    *route("v2/verify/wallet", VerifyWallet),
    *route("v2/view/wallet", ViewWallet),
    *route("v2/verify/contact/wallet", VerifyContactWallet),
    *route("v2/view/contact/wallet", ViewContactWallet),
    *route(_REDEEM, Redeem),
    # A transaction id may hold slashes; it is the rest of the path.
    *route(_REDEEM + "/<path:transaction>", RedeemForOrder),
    *route("v2/redemptions/<redemption>/revert", Revert),
    *route("v2/loyalty", Loyalty),
    *route("v2/loyalty/lookup/<pii>", LoyaltyLookup),
    *route("v2/lookup/email/<email>", LookupEmail),
    *route("v2/lookup/<phone>", LookupPhone),
    *route("v1.1/stores/<uid>", Stores),
    *route("v1.1/createUpdateSale/<uid>", Sale),
    *route("v1.1/createUpdateSales/<uid>", Sales),
    *route("v1.1/createUpdateMember/<uid>", Member),
    *route("v1.1/createUpdateMembers/<uid>", Members),
    *route("v1.1/createUpdateInventory/<uid>", Inventory),
    path("schema/", Schema.as_view(), name="api-schema"),
    path("docs/", Docs.as_view(), name="api-docs"),
    re_path(r"^[\s\S]*\Z", Unknown.as_view()),
]
