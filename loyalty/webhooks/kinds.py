"""What webhooks tell of. A receiver ignores kinds that it does not know; new ones may come."""

POINTS = "points.changed"
REDEEMED = "redemption.created"
SETTLED = "redemption.settled"
REVERTED = "redemption.reverted"
RELEASED = "redemption.released"
ENROLLED = "member.enrolled"
SALE = "sale.recorded"
SYNC_FAILED = "sync.failed"
SYNC_RECOVERED = "sync.recovered"
TEST = "webhook.test"

# Kind -> when it is told. The order is that of the page.
KINDS = {
    POINTS: "A line was written to somebody's points: earned, redeemed, given back, adjusted, expired, imported.",
    REDEEMED: "A discount was redeemed.",
    SETTLED: "The sale of a redemption was seen.",
    REVERTED: "The points of a redemption were given back by a person, a till or a refund.",
    RELEASED: "A redemption's points came back by themselves: no sale carried it.",
    ENROLLED: "Somebody became a member.",
    SALE: "A sale of a known shopper came in. Sales older than three days (history) are not told.",
    SYNC_FAILED: "A POS refuses us or is late, as the alert says.",
    SYNC_RECOVERED: "That is over.",
}
