"""One statement for every rule of the database that guards points and people: what it must refuse.

A case names the constraint, index or trigger, and the statement that breaks it and nothing else. `first` prepares it,
`but` is a statement beside it that must be allowed. Rules that all look alike (a count is not below zero, a reference
stays inside its account) are read from the catalogue by `test_constraints.py` instead.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Copy:
    """A second row like the first of the account, but for these columns (SQL)."""

    table: str
    changes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    breaks: "str | Copy"
    first: "tuple[str | Copy, ...]" = ()
    but: "str | Copy | None" = None


def copy(table: str, **changes) -> Copy:
    return Copy(table, {column: str(value) for column, value in changes.items()})


NEW = "gen_random_uuid()"
LAST_LOT = "(SELECT max(id) FROM loyalty_lot)"
REDEMPTION = "(SELECT min(id) FROM loyalty_redemption)"

SETTLED = {"state": "'settled'", "settled_at": "now()",
           "sale_id": "(SELECT min(s.id) FROM integrations_sale s WHERE s.account_id = row.account_id)"}  # fmt: skip

CALLS = (
    Case(
        "apikey_replaced_once",
        copy("accounts_apikey", hash="'x'"),
        first=("UPDATE accounts_apikey SET replaces_id = id WHERE account_id = {mine}",),
        but=copy("accounts_apikey", hash="'x'", replaces_id="NULL"),
    ),
    Case("idempotent_call_once", copy("loyalty_idempotentcall"), but=copy("loyalty_idempotentcall", key="'other'")),
    Case("loyalty_checkin_public_id_key", copy("loyalty_checkin", state="'served'", phone="''", email="''")),
    Case("checkin_one_open", copy("loyalty_checkin", public_id=NEW, phone="''", email="''"),
         but=copy("loyalty_checkin", public_id=NEW, phone="''", email="''", state="'served'")),
    Case("checkin_one_phone", copy("loyalty_checkin", public_id=NEW, persona_id="NULL", email="''")),
    Case("checkin_one_email", copy("loyalty_checkin", public_id=NEW, persona_id="NULL", phone="''")),
    Case("checkin_ended_nameless", "UPDATE loyalty_checkin SET state = 'served'",
         but="UPDATE loyalty_checkin SET state = 'served', phone = '', email = ''"),
    Case("webhook_event_once", copy("loyalty_webhookevent", public_id=NEW),
         but=copy("loyalty_webhookevent", public_id=NEW, key="'other'")),
    Case("loyalty_webhookevent_public_id_key", copy("loyalty_webhookevent", key="'other'")),
    Case("webhook_delivery_once", copy("loyalty_webhookdelivery")),
)  # fmt: skip

POINTS = (
    Case("wallet_closed_empty", "UPDATE loyalty_wallet SET closed = true, balance = 1",
         but="UPDATE loyalty_wallet SET closed = true, balance = 0"),
    Case("wallet_not_negative", "UPDATE loyalty_wallet SET balance = -0.01",
         but="UPDATE loyalty_wallet SET balance = 0"),
    Case("entry_balance", copy("loyalty_entry", key="'e2'", balance_after=-1)),
    Case("entry_not_zero", copy("loyalty_entry", key="'e2'", points=0)),
    Case("entry_key_once", copy("loyalty_entry"), but=copy("loyalty_entry", key="'e2'")),
    Case("lot_points", copy("loyalty_lot", points=0, remaining=0)),
    Case("lot_remaining", "UPDATE loyalty_lot SET remaining = points + 0.01",
         but="UPDATE loyalty_lot SET remaining = 0"),
    Case("lot_remaining", "UPDATE loyalty_lot SET remaining = -0.01"),
    Case("draw_not_zero", copy("loyalty_draw", lot_id=LAST_LOT, points=0), first=(copy("loyalty_lot"),)),
    Case("draw_once", copy("loyalty_draw")),
    Case("salestate_owner", "UPDATE loyalty_salestate SET persona_id = NULL, posted = 1",
         but="UPDATE loyalty_salestate SET persona_id = NULL, posted = 0"),
    Case("boost_once", copy("loyalty_booststate")),
    Case("mirror_once", copy("loyalty_mirrorstate")),
    Case("mirroring_once", copy("loyalty_mirroring")),
    Case("points_import_once", copy("loyalty_pointsimport")),
    Case("waiting_balance_once", copy("loyalty_waitingbalance")),
    Case("waiting_balance_points", "UPDATE loyalty_waitingbalance SET points = 0",
         but="UPDATE loyalty_waitingbalance SET points = 0.01"),
    Case("shortfall_points", "UPDATE loyalty_shortfall SET points = 0"),
    Case("shortfall_parts", "UPDATE loyalty_shortfall SET netted = 0.6, collected = 0.5",
         but="UPDATE loyalty_shortfall SET netted = 0.6, collected = 0.4"),
    Case("shortfall_parts", "UPDATE loyalty_shortfall SET collected = -1"),
    Case("shortfall_parts", "UPDATE loyalty_shortfall SET netted = -1"),
    Case("shortfall_closed", "UPDATE loyalty_shortfall SET state = 'waived'",
         but="UPDATE loyalty_shortfall SET state = 'waived', closed_at = now()"),
    Case("shortfall_closed", "UPDATE loyalty_shortfall SET closed_at = now()"),
    Case("shortfall_key_once", copy("loyalty_shortfall"), but=copy("loyalty_shortfall", key="'f2'")),
    Case("seal_range", "UPDATE loyalty_seal SET last_entry = first_entry - 1"),
    Case("seal_first_once", copy("loyalty_seal", number=2)),
    Case("seal_number_once", copy("loyalty_seal", first_entry=2, last_entry=2)),
    Case("month_close_once", copy("loyalty_monthclose")),
    Case("month_figure_once", copy("loyalty_monthfigure")),
    Case("month_figure_once", copy("loyalty_monthfigure", store_id="NULL"),
         first=(copy("loyalty_monthfigure", store_id="NULL"),)),
)  # fmt: skip

REWARDS = (
    Case("redemption_reverted", "UPDATE loyalty_redemption SET reverted_points = points + 0.01",
         but="UPDATE loyalty_redemption SET reverted_points = points"),
    Case("redemption_reverted", "UPDATE loyalty_redemption SET reverted_points = -1"),
    Case("redemption_n_once", copy("loyalty_redemption", public_id=NEW, transaction="'another'")),
    Case("redemption_transaction_once", copy("loyalty_redemption", public_id=NEW, n=1),
         but=copy("loyalty_redemption", public_id=NEW, n=1, state="'released'", reverted_points="points",
                  ended_at="now()")),
    Case("redemption_ended",
         copy("loyalty_redemption", public_id=NEW, n=1, state="'released'", reverted_points="points"),
         but=copy("loyalty_redemption", public_id=NEW, n=1, state="'released'", reverted_points="points",
                  ended_at="now()")),
    Case("redemption_ended", copy("loyalty_redemption", public_id=NEW, n=1, state="'released'", reverted_points=0,
                                  ended_at="now()")),
    Case("redemption_ended", "UPDATE loyalty_redemption SET ended_at = now()"),
    Case("redemption_ended", "UPDATE loyalty_redemption SET why_ended = 'till'"),
    Case("redemption_applied", "UPDATE loyalty_redemption SET settled_at = now()"),
    Case("redemption_applied",
         "UPDATE loyalty_redemption r SET sale_id = (SELECT min(id) FROM integrations_sale s"
         " WHERE s.account_id = r.account_id)"),
    Case("redemption_settled", "UPDATE loyalty_redemption SET state = 'settled'",
         but="UPDATE loyalty_redemption SET state = 'settled', settled_at = now()"),
    Case("redemption_sale_once", copy("loyalty_redemption", public_id=NEW, n=2, transaction="'third'", **SETTLED),
         first=(copy("loyalty_redemption", public_id=NEW, n=1, transaction="'second'", **SETTLED),),
         but=copy("loyalty_redemption", public_id=NEW, n=2, transaction="'third'")),
    Case("discount_image_type", "UPDATE loyalty_discountimage SET content_type = 'image/svg+xml'",
         but="UPDATE loyalty_discountimage SET content_type = 'image/jpeg'"),
    Case("loyalty_redemption_public_id_key", copy("loyalty_redemption", n=1, transaction="'another'")),
    Case("discount_code", "UPDATE loyalty_discount SET code_kind = 'static'",
         but="UPDATE loyalty_discount SET code_kind = 'static', static_code = 'TEN'"),
    Case("discount_code", "UPDATE loyalty_discount SET static_code = 'TEN'"),
    Case("discount_cooldown", "UPDATE loyalty_discount SET reusable = false, cooldown_h = 1",
         but="UPDATE loyalty_discount SET reusable = false, cooldown_h = 0"),
    Case("discount_one_amount", "UPDATE loyalty_discount SET percent = 10"),
    Case("discount_one_amount", "UPDATE loyalty_discount SET kind = 'percent', amount_cents = 0, percent = 100.01",
         but="UPDATE loyalty_discount SET kind = 'percent', amount_cents = 0, percent = 100"),
    Case("discount_one_amount", "UPDATE loyalty_discount SET amount_cents = 0"),
    Case("discount_points", "UPDATE loyalty_discount SET points = -1"),
    Case("discount_tier", "UPDATE loyalty_discount SET reward = 'tier', reusable = false, cooldown_h = 0"),
    Case("discount_window", "UPDATE loyalty_discount SET starts_at = now(), ends_at = now()"),
    Case("discount_number_once", copy("loyalty_discount"), but=copy("loyalty_discount", number=2)),
    Case("discount_audience_once", copy("loyalty_discountaudience")),
    Case("discount_store_once", copy("loyalty_discountstore")),
    Case("discount_image_once", copy("loyalty_discountimage", digest="'another'")),
    Case("loyalty_discountimage_digest_key",
         copy("loyalty_discountimage", discount_id="(SELECT max(id) FROM loyalty_discount)"),
         first=(copy("loyalty_discount", number=2),)),
    Case("coupon_code_once", copy("loyalty_couponcode")),
    Case("coupon_code_one_use", copy("loyalty_couponcode", code="'another'"),
         first=(f"UPDATE loyalty_couponcode SET redemption_id = {REDEMPTION} WHERE account_id = {{mine}}",),
         but=copy("loyalty_couponcode", code="'another'", redemption_id="NULL")),
    Case("review_about_something", "UPDATE loyalty_review SET redemption_id = NULL WHERE account_id = {mine}"),
    Case("review_once", copy("loyalty_review"), but=copy("loyalty_review", kind="'shortfall'")),
)  # fmt: skip

PEOPLE = (
    Case("loyalty_persona_contact_id_key", copy("loyalty_persona"), but=copy("loyalty_persona", contact_id=NEW)),
    Case("persona_not_into_itself", "UPDATE loyalty_persona SET merged_into_id = id WHERE NOT is_test"),
    Case("persona_test_alone", "UPDATE loyalty_persona p SET merged_into_id = (SELECT min(o.id) FROM loyalty_persona o"
         " WHERE o.account_id = p.account_id AND NOT o.is_test) WHERE is_test"),
    Case("rehearsal_one_open", copy("loyalty_rehearsal"), but=copy("loyalty_rehearsal", archived_at="now()")),
    Case("alert_one_open", copy("accounts_alert"), but=copy("accounts_alert", closed_at="now()")),
    Case("alert_mail_once", copy("accounts_alertmail"), but=copy("accounts_alertmail", address="'bo@shop.test'")),
    Case("identifier_once", copy("loyalty_identifier"), but=copy("loyalty_identifier", shared="true")),
    Case("source_once", copy("loyalty_source")),
    Case("merge_two_people", copy("loyalty_merge", survivor_id="loser_id", split_at="now()")),
    Case("merge_one_open", copy("loyalty_merge"), but=copy("loyalty_merge", split_at="now()")),
    Case("not_the_same_order", "UPDATE loyalty_notthesame SET one_id = other_id, other_id = one_id"),
    Case("not_the_same_once", copy("loyalty_notthesame")),
    Case("attachment_once", copy("loyalty_attachment")),
    Case("override_once", copy("loyalty_override"), but=copy("loyalty_override", field="'phone'")),
    Case("attribute_once", copy("loyalty_attribute"), but=copy("loyalty_attribute", parent="'another'")),
    Case("referral_once", copy("loyalty_referral")),
    Case("referral_two_people", "UPDATE loyalty_referral SET referred_id = referrer_id"),
    Case("investigation_one_open", copy("loyalty_investigation"),
         but=copy("loyalty_investigation", closed_at="now()")),
    Case("suspect_number_once", copy("loyalty_suspectnumber")),
    Case("consent_state_once", copy("loyalty_consentstate")),
    Case("consent_requests", "UPDATE loyalty_consentstate SET requests = 11"),
    Case("message_key_once", copy("loyalty_message")),
    Case("message_sent_at", "UPDATE loyalty_message SET state = 'sent'",
         but="UPDATE loyalty_message SET state = 'sent', sent_at = now()"),
    Case("pin_one_live", copy("loyalty_pin"), but=copy("loyalty_pin", closed_at="now()")),
    Case("pin_expires", "UPDATE loyalty_pin SET expires_at = created_at"),
    Case("pin_tries", "UPDATE loyalty_pin SET tries = 6", but="UPDATE loyalty_pin SET tries = 5"),
    Case("audience_name_once", copy("loyalty_audience", public_id=NEW)),
    Case("audience_member_once", copy("loyalty_audiencemember"),
         but=copy("loyalty_audiencemember", left_at="joined_at")),
    Case("audience_member_stay", "UPDATE loyalty_audiencemember SET left_at = joined_at - interval '1 second'",
         but="UPDATE loyalty_audiencemember SET left_at = joined_at"),
)  # fmt: skip

PROGRAMME = (
    Case("programme_once", copy("loyalty_programme")),
    Case("programme_rate", "UPDATE loyalty_programme SET points_per_100 = -1"),
    Case("programme_rate", "UPDATE loyalty_programme SET points_per_order = -1"),
    Case("programme_days", "UPDATE loyalty_programme SET expire_days = 0",
         but="UPDATE loyalty_programme SET expire_days = NULL"),
    Case("programme_visits", "UPDATE loyalty_programme SET max_visits_per_day = 0",
         but="UPDATE loyalty_programme SET max_visits_per_day = 1"),
    Case("programme_change_confirmed", "UPDATE loyalty_programmechange SET state = 'applying'",
         but="UPDATE loyalty_programmechange SET state = 'applying', confirmed_at = now()"),
    Case("programme_change_one_open", copy("loyalty_programmechange"),
         but=copy("loyalty_programmechange", state="'dismissed'")),
    Case("job_one_live", copy("loyalty_job"), first=("UPDATE loyalty_job SET state = 'queued'",),
         but=copy("loyalty_job", state="'failed'")),
    Case("blocked_phone_once", copy("loyalty_blockedphone")),
    Case("source_start_once", copy("loyalty_sourcestart")),
    Case("modifier_dates", "UPDATE loyalty_modifier SET starts_on = '2026-01-02', ends_on = '2026-01-01'",
         but="UPDATE loyalty_modifier SET starts_on = '2026-01-02', ends_on = '2026-01-02'"),
    Case("modifier_factor", "UPDATE loyalty_modifier SET factor = 0"),
    Case("modifier_points", "UPDATE loyalty_modifier SET points = 0"),
    Case("modifier_points", "UPDATE loyalty_modifier SET kind = 'multiplier'",
         but="UPDATE loyalty_modifier SET kind = 'multiplier', points = 0"),
)  # fmt: skip

BELOW = (
    Case("origin_once", copy("integrations_origin")),
    Case("connection_once", copy("integrations_connection")),
    Case("live_credential_once", copy("integrations_credential"),
         but=copy("integrations_credential", state="'disconnected'")),
    Case("location_once", copy("integrations_location")),
    Case("pricing_group_once", copy("integrations_pricinggroup")),
    Case("customer_once", copy("integrations_customer")),
    Case("sale_once", copy("integrations_sale")),
    Case("sale_line_once", copy("integrations_saleline")),
    Case("stream_once", copy("integrations_streamstate")),
    Case("one_live_run", copy("integrations_syncrun"), first=("UPDATE integrations_syncrun SET status = 'queued'",),
         but=copy("integrations_syncrun", status="'done'")),
    Case("refused_row_once", copy("integrations_refusedrow")),
    Case("one_open_change", copy("integrations_settingchange"),
         but=copy("integrations_settingchange", state="'applied'")),
    Case("write_once", copy("integrations_outboundwrite"), but=copy("integrations_outboundwrite", key="'w2'")),
    Case("outside_market_once", copy("integrations_outsidemarket")),
    Case("customer_balance_once", copy("integrations_customerbalance")),
    Case("balance_reading_once", copy("integrations_balancereading")),
    Case("product_once", copy("integrations_product")),
    Case("stock_once", copy("integrations_stock")),
    Case("term_once", copy("integrations_term")),
    Case("upload_place_once", copy("integrations_upload"), but=copy("integrations_upload", place="''")),
    Case("upload_chunk_once", copy("integrations_uploadchunk")),
    Case("upload_error_once", copy("integrations_uploaderror")),
    Case("column_mapping_once", copy("integrations_columnmapping")),
    Case("contact_alias_once", copy("loyalty_contactalias"), but=copy("loyalty_contactalias", alias="'another'")),
    Case("source_hint_once", copy("loyalty_sourcehint"), but=copy("loyalty_sourcehint", external_id="'another'")),
    Case("suppression_once", copy("integrations_suppression")),
    Case("store_number_once", copy("stores_store")),
    Case("store_place", "UPDATE stores_store SET latitude = 49, longitude = NULL",
         but="UPDATE stores_store SET latitude = 49, longitude = -123"),
    Case("store_place", "UPDATE stores_store SET latitude = 90.5, longitude = 0"),
    Case("store_place", "UPDATE stores_store SET latitude = 0, longitude = -180.5"),
    Case("loyalty_audience_public_id_key", copy("loyalty_audience", name="'another'"),
         but=copy("loyalty_audience", name="'another'", public_id=NEW)),
    Case("store_key_once", copy("stores_storekey")),
    Case("location_mapped_once", copy("stores_storemapping")),
    Case("store_staff_once", copy("stores_storestaff")),
    Case("membership_once", copy("accounts_membership")),
    Case("accounts_apikey_hash_key", copy("accounts_apikey")),
    Case("accounts_account_uid_key", copy("accounts_account"), but=copy("accounts_account", uid="'another'")),
    Case("accounts_user_email_key", copy("accounts_user"),
         first=("DROP INDEX user_email_once",), but=copy("accounts_user", email="'another'")),
    Case("user_email_once", copy("accounts_user", email="upper(email)")),
)  # fmt: skip

CONSTRAINTS = CALLS + POINTS + REWARDS + PEOPLE + PROGRAMME + BELOW

CLOSED = "UPDATE loyalty_monthclose SET ends_at = now() + interval '1 hour'"
STOPPED = "UPDATE loyalty_consentstate SET state = 'stopped'"

# These refuse nothing: they write a line beside a change, and their tests are elsewhere.
WRITERS = ("loyalty_redemption_told",)

TRIGGERS = (
    *(Case("loyalty_entry_only_grows", f"UPDATE loyalty_entry SET {change}") for change in (
        "points = 1", "balance_after = 1", "kind = 'boost'", "key = 'another'", "note = 'another'", "at = now()",
        "explanation = '{{\"why\": 1}}'", "sale_id = NULL, user_id = NULL")),
    Case("loyalty_entry_only_grows", "DELETE FROM loyalty_entry WHERE id = (SELECT max(id) FROM loyalty_entry)",
         first=(copy("loyalty_entry", key="'e2'"),)),
    *(Case("loyalty_lot_only_grows", f"UPDATE loyalty_lot SET {change}",
           but="UPDATE loyalty_lot SET remaining = 0, expires_at = now()")
      for change in ("points = 600", "kind = 'boost'", "persona_id = persona_id", "entry_id = entry_id",
                     "account_id = account_id", "created_at = now()", "from_lot_id = NULL")),
    Case("loyalty_lot_only_grows", f"DELETE FROM loyalty_lot WHERE id = {LAST_LOT}", first=(copy("loyalty_lot"),)),
    Case("loyalty_draw_only_grows", "UPDATE loyalty_draw SET points = -2"),
    Case("loyalty_draw_only_grows", "DELETE FROM loyalty_draw"),
    Case("loyalty_consentline_only_grows", "UPDATE loyalty_consentline SET act = 'opt_out'"),
    Case("loyalty_consentline_only_grows",
         "DELETE FROM loyalty_consentline WHERE id = (SELECT max(id) FROM loyalty_consentline)",
         first=(copy("loyalty_consentline"),)),
    Case("loyalty_entry_open_month", copy("loyalty_entry", key="'e2'"), first=(CLOSED,),
         but=copy("loyalty_entry", key="'e2'", at="now() + interval '1 hour'")),
    Case("loyalty_consentstate_stop", "UPDATE loyalty_consentstate SET state = 'in'", first=(STOPPED,),
         but="UPDATE loyalty_consentstate SET requests = 0"),
    Case("loyalty_consentstate_stop", "DELETE FROM loyalty_consentstate", first=(STOPPED,)),
    *(Case("loyalty_redemption_life", f"UPDATE loyalty_redemption SET {change}") for change in (
        "points = points + 1", "applied_at = now()", "n = n + 10", f"public_id = {NEW}")),
    Case("loyalty_redemption_life", "UPDATE loyalty_redemption SET state = 'applied', settled_at = NULL",
         first=("UPDATE loyalty_redemption SET state = 'settled', settled_at = now()",)),
)  # fmt: skip
