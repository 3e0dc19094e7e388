"""The till's API. Paths are the vendor's (docs/api), each with and without a trailing slash."""

from django.urls import path, re_path

from .base import route
from .checkin_views import CheckIns, OneCheckIn
from .consent_views import OptInEmail, OptInText
from .contact_views import Attributes, ContactBySource, ContactDetail, Contacts, Override
from .docs import Docs, Schema
from .history_views import Adjustments, Orders, Recommendations, Redemptions, Timeline
from .marketing_views import Audiences, Campaigns, CampaignsOfAccount, CampaignStats, Conversions
from .pass_views import WalletLink, WalletPasses
from .persona_views import LookupEmail, LookupPhone, Loyalty, LoyaltyContact, LoyaltyLookup
from .pin_views import VerifyContactWallet, VerifyWallet, ViewContactWallet, ViewWallet
from .points_views import Adjust
from .product_views import Products
from .push_views import Inventory, Member, Members, Sale, Sales
from .redemption_views import Redeem, RedeemForOrder, Revert
from .referral_views import Refer, Referred
from .reward_views import DiscountGroups, Discounts, Programme
from .sms_views import Sms
from .store_views import OneStore, Stores
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
    *route("v2/optin/text/<phone>/<state>", OptInText),
    *route("v2/optin/email/<email>/<state>", OptInEmail),
    *route("v1.1/optin/<uid>/<phone>/<state>", OptInText),
    *route("v2/sms", Sms),
    *route("v1.1/loyaltyContact/<uid>", LoyaltyContact),
    *route("v1.1/piis/<uid>", Contacts),
    *route("v1.1/piis/<uid>/<cid>", ContactDetail),
    *route("v2/loyaltyContact/override/<uid>/<cid>", Override),
    *route("v2/contact/source/<platform>/<source>", ContactBySource),
    *route("v2/contact/attributes/<cid>", Attributes),
    *route("v2/contact/recommendations/<cid>", Recommendations),
    *route("v1.1/contact/orders/<uid>/<cid>", Orders),
    *route("v1.1/contact/loyaltyPoints/timeline/<uid>/<cid>", Timeline),
    *route("v1.1/adjust/loyaltyPoints/<uid>/<cid>", Adjust),
    *route("v1.1/adjustments/<uid>/<start>/<end>", Adjustments),
    *route("v1.1/redemptions/<uid>/<start>/<end>", Redemptions),
    *route("v1.1/contact/referral/<uid>", Refer),
    *route("v1.1/contact/referral/<uid>/<cid>", Referred),
    *route("v1.1/stores/<uid>", Stores),
    *route("v1.1/stores/<uid>/<store>", OneStore),
    *route("v1.1/audiences/<uid>", Audiences),
    *route("v2/campaigns", Campaigns),
    *route("v2/campaign/stats/<campaign>", CampaignStats),
    *route("v1.1/campaigns/<uid>", CampaignsOfAccount),
    *route("v1.1/conversions/<uid>", Conversions),
    *route("v2/discount/groups", DiscountGroups),
    *route("v2/discount/<uid>", Discounts),
    *route("v2/loyalty/default/<uid>", Programme),
    *route("v2/brand/products", Products),
    *route("v1.1/createUpdateSale/<uid>", Sale),
    *route("v1.1/createUpdateSales/<uid>", Sales),
    *route("v1.1/createUpdateMember/<uid>", Member),
    *route("v1.1/createUpdateMembers/<uid>", Members),
    *route("v1.1/createUpdateInventory/<uid>", Inventory),
    *route("v2/checkins", CheckIns),
    *route("v2/checkins/<checkin>", OneCheckIn),
    path("schema/", Schema.as_view(), name="api-schema"),
    path("docs/", Docs.as_view(), name="api-docs"),
    re_path(r"^[\s\S]*\Z", Unknown.as_view()),
]
