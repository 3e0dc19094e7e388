"""How each path is known to be the vendor's: from his documentation, from clients that call it, or not at all: ours.

Marks of the wire reference: DOC is documented, the OBS ones are seen. Paths as in the OpenAPI document, below /api.
"""

DOCUMENTED, SEEN, OURS = "documented", "seen in clients", "ours"
SAID = {
    DOCUMENTED: "",
    SEEN: "Not in the vendor's documentation: known from clients that call it.",
    OURS: "Ours: the vendor has no such call, or its path is not public.",
}

_PATHS = {
    DOCUMENTED: (
        "v1.1/createUpdateSale/{uid}", "v1.1/createUpdateSales/{uid}", "v1.1/createUpdateMember/{uid}",
        "v1.1/createUpdateMembers/{uid}", "v1.1/createUpdateInventory/{uid}", "v2/wallet", "v2/verify/wallet",
        "v2/view/wallet", "v1.1/discount/redeem/{uid}/{discount}/{token}",
        "v1.1/discount/redeem/{uid}/{discount}/{token}/{transaction}", "v2/loyalty", "v1.1/loyaltyContact/{uid}",
        "v2/loyalty/lookup/{pii}", "v1.1/piis/{uid}", "v1.1/piis/{uid}/{cid}",
        "v2/loyaltyContact/override/{uid}/{cid}", "v1.1/contact/orders/{uid}/{cid}",
        "v1.1/contact/loyaltyPoints/timeline/{uid}/{cid}", "v1.1/adjust/loyaltyPoints/{uid}/{cid}",
        "v1.1/adjustments/{uid}/{start}/{end}", "v2/contact/recommendations/{cid}", "v2/optin/text/{phone}/{state}",
        "v2/sms", "v1.1/stores/{uid}", "v1.1/stores/{uid}/{store}", "v1.1/campaigns/{uid}",
    ),
    SEEN: (
        "v2/wallet/{phone}", "v2/verify/contact/wallet", "v2/view/contact/wallet", "v2/walletPassDownloadLinks/{cid}",
        "v2/lookup/{phone}", "v2/lookup/email/{email}", "v1.1/contact/referral/{uid}",
        "v1.1/contact/referral/{uid}/{cid}", "v2/optin/email/{email}/{state}", "v1.1/optin/{uid}/{phone}/{state}",
        "v1.1/audiences/{uid}", "v2/campaigns", "v2/campaign/stats/{campaign}", "v2/discount/{uid}",
        "v2/discount/groups", "v1.1/redemptions/{uid}/{start}/{end}", "v1.1/conversions/{uid}",
        "v2/loyalty/default/{uid}", "v2/brand/products",
    ),
    OURS: (
        "v2/redemptions/{redemption}/revert", "v2/contact/source/{platform}/{source}", "v2/contact/attributes/{cid}",
        "v2/wallet/link/{cid}", "v2/checkins", "v2/checkins/{checkin}",
    ),
}  # fmt: skip
EVIDENCE = {f"/api/{path}": kind for kind, paths in _PATHS.items() for path in paths}
# The vendor has a newer form of each.
OLDER = frozenset(
    f"/api/{path}" for path in ("v1.1/loyaltyContact/{uid}", "v1.1/optin/{uid}/{phone}/{state}", "v1.1/campaigns/{uid}")
)
