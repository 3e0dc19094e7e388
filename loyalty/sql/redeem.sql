-- What a redemption answers, the first time and on every repetition.
CREATE OR REPLACE FUNCTION loyalty_redeemed(
    p_redemption loyalty_redemption, p_discount loyalty_discount, p_balance numeric, p_created boolean
) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_code text := p_discount.static_code;
BEGIN
    IF p_discount.code_kind = 'unique' THEN
        SELECT code INTO v_code FROM loyalty_couponcode WHERE redemption_id = p_redemption.id;
    END IF;
    RETURN jsonb_build_object(
        'redemption', p_redemption.public_id, 'discount', p_discount.number, 'points', p_redemption.points,
        'balance', p_balance, 'state', p_redemption.state, 'n', p_redemption.n, 'transaction', p_redemption.transaction,
        'applied_at', p_redemption.applied_at, 'created', p_created, 'code', v_code);
END $$;

-- The number of a discount's next use by a group: above what its rows used, and above the addresses that were asked for
-- one of them while it was part of another group.
CREATE OR REPLACE FUNCTION loyalty_next_n(p_group bigint[], p_discount bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce(greatest(
        (SELECT max(latest.n) FROM unnest(p_group) AS g (id) CROSS JOIN LATERAL (
            SELECT r.n FROM loyalty_redemption r WHERE r.persona_id = g.id AND r.discount_id = p_discount
            ORDER BY r.n DESC LIMIT 1) latest),
        (SELECT max(r.n) FROM loyalty_redemption r
         WHERE r.asked_as_id = ANY (p_group) AND r.asked_as_id IS NOT NULL AND r.discount_id = p_discount)
    ) + 1, 0);
END $$;

-- When a persona received a discount: by joining one of its audiences, else by becoming a member, else with its start.
CREATE OR REPLACE FUNCTION loyalty_received(p_discount loyalty_discount, p_group bigint[]) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_discount.limited_audiences THEN (
        SELECT min(s.joined_at) FROM loyalty_audiencemember s
        JOIN loyalty_discountaudience a ON a.audience_id = s.audience_id
        WHERE a.discount_id = p_discount.id AND s.persona_id = ANY (p_group) AND s.left_at IS NULL)
    ELSE greatest((SELECT min(e.at) FROM loyalty_enrolment e WHERE e.persona_id = ANY (p_group)),
                  coalesce(p_discount.starts_at, p_discount.created_at)) END
$$;

-- Whether a phone of a group is on the employee points blocklist: one it is known by, or one that stands in its fields.
CREATE OR REPLACE FUNCTION loyalty_is_blocked(p_account bigint, p_group bigint[]) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM loyalty_blockedphone b WHERE b.account_id = p_account AND b.phone IN (
            SELECT i.value FROM loyalty_identifier i WHERE i.persona_id = ANY (p_group) AND i.kind = 'phone'
            UNION ALL SELECT p.phone FROM loyalty_persona p WHERE p.id = ANY (p_group) AND p.phone <> ''))
$$;

-- Use a discount: lock, find the same request, check, take, answer, in one round trip.
-- p_n is how many redemptions of the discount the persona had when the wallet was read: the redemption address.
-- p_per_order is how many discounts of ours the till takes for one order (null: the till has given it already, whatever
-- else the order carries); p_spend the order's cents.
-- The wallet is the root's of the persona; what was used before counts for the whole group.
-- Answers the redemption, or {refused, balance, price, ...}. Looking for the same request comes before every check, so
-- that a repeated request is answered alike after the discount has ended.
-- One plan for all calls: planning anew for each group took three times as long as all the work. And by indexes only: on a
-- new installation a session would keep reading whole tables, small when it first looked, until it ended.
CREATE OR REPLACE FUNCTION loyalty_redeem(
    p_account bigint, p_persona bigint, p_discount bigint, p_n bigint, p_transaction text, p_channel text,
    p_now timestamptz, p_store bigint, p_user bigint, p_per_order integer, p_spend bigint DEFAULT NULL
) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_balance numeric;
    v_channel text := CASE WHEN p_transaction <> '' AND p_channel = 'web' THEN 'till' ELSE p_channel END;
    v_discount loyalty_discount;
    v_found loyalty_redemption;
    v_root bigint;
    v_member date;
    v_group bigint[];
    v_next bigint;
    v_price numeric;
    v_others boolean := false;
    v_refused text;
    v_free_at timestamptz;
    v_entry bigint;
    v_code bigint;
BEGIN
    SELECT o_root, o_balance INTO v_root, v_balance FROM loyalty_open_root(p_account, p_persona, p_now);
    SELECT member_from INTO v_member FROM loyalty_persona WHERE id = v_root;
    SELECT * INTO v_discount FROM loyalty_discount WHERE id = p_discount AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown', 'balance', v_balance, 'price', 0);
    END IF;
    v_group := ARRAY(SELECT id FROM loyalty_persona WHERE merged_into_id = v_root) || v_root;
    v_price := CASE WHEN v_discount.reward = 'tier' THEN 0 ELSE v_discount.points END;
    v_next := loyalty_next_n(v_group, p_discount);

    IF p_transaction <> '' THEN
        -- What the order carries already: this discount (the same request), or others.
        SELECT * INTO v_found FROM loyalty_redemption
        WHERE persona_id = ANY (v_group) AND transaction = p_transaction AND transaction <> ''
          AND state IN ('applied', 'settled')
        ORDER BY discount_id <> p_discount LIMIT 1;
        IF v_found.discount_id = p_discount THEN
            RETURN loyalty_redeemed(v_found, v_discount, v_balance, false);
        END IF;
        v_others := v_found.id IS NOT NULL;
        v_found := NULL;
        -- Given back, and this request was made before: a late repetition, not a new wish.
        IF v_next > p_n AND EXISTS (
            SELECT FROM loyalty_redemption WHERE persona_id = ANY (v_group) AND transaction = p_transaction
            AND state IN ('released', 'reverted') AND discount_id = p_discount AND n >= p_n
        ) THEN
            v_refused := 'given_back';
        END IF;
    END IF;
    IF v_refused IS NULL AND v_next > p_n THEN
        -- The use of this address, never one of another row of the group that bears the same number.
        SELECT * INTO v_found FROM loyalty_redemption
        WHERE persona_id = p_persona AND discount_id = p_discount AND n = p_n AND asked_as_id IS NULL;
        IF NOT FOUND THEN
            SELECT * INTO v_found FROM loyalty_redemption
            WHERE asked_as_id = p_persona AND discount_id = p_discount AND n = p_n;
        END IF;
        IF v_found.id IS NULL THEN
            v_refused := 'stale';
        ELSIF v_found.state NOT IN ('applied', 'settled') THEN
            v_refused := 'given_back';
        ELSIF p_transaction IN ('', v_found.transaction) THEN
            RETURN loyalty_redeemed(v_found, v_discount, v_balance, false);
        END IF;
    END IF;
    IF v_refused IS NULL AND v_others AND p_per_order IS NOT NULL AND (NOT v_discount.stackable OR EXISTS (
        SELECT FROM loyalty_redemption r JOIN loyalty_discount d ON d.id = r.discount_id
        WHERE r.persona_id = ANY (v_group) AND r.transaction = p_transaction AND r.transaction <> ''
          AND r.state IN ('applied', 'settled') AND NOT d.stackable
    ) OR p_per_order <= (
        SELECT count(*) FROM loyalty_redemption r
        WHERE r.persona_id = ANY (v_group) AND r.transaction = p_transaction AND r.transaction <> ''
          AND r.state IN ('applied', 'settled')
    )) THEN
        v_refused := 'order';
    END IF;
    IF v_refused IS NULL AND v_found.transaction = ''
       AND (v_found.sale_id IS NOT NULL OR loyalty_is_closed(v_root, v_balance)) THEN
        -- Its sale is known already: another order is another use, from a wallet read anew. Or its person was removed:
        -- nothing waits for a sale any more.
        v_refused := 'stale';
    END IF;
    IF v_refused IS NULL AND v_found.transaction = '' THEN
        -- First without a transaction, now with one: the same use. Whoever names an order is a till.
        UPDATE loyalty_redemption SET
            transaction = p_transaction,
            channel = 'till',
            state = CASE WHEN channel = 'web' AND sale_id IS NULL THEN 'applied' ELSE state END,
            settled_at = CASE WHEN channel = 'web' AND sale_id IS NULL THEN NULL ELSE settled_at END,
            store_id = coalesce(store_id, p_store)
        WHERE id = v_found.id AND sale_id IS NULL RETURNING * INTO v_found;
        IF FOUND THEN
            RETURN loyalty_redeemed(v_found, v_discount, v_balance, false);
        END IF;
        v_refused := 'stale';  -- its sale was seen this very moment
    END IF;

    IF v_refused IS NULL THEN
        v_refused := CASE
            WHEN p_n > v_next THEN 'stale'
            WHEN NOT coalesce((SELECT enabled FROM loyalty_programme WHERE account_id = p_account), false) THEN 'disabled'
            WHEN v_member IS NULL THEN 'not_a_member'
            WHEN v_discount.archived_at IS NOT NULL THEN 'archived'
            WHEN v_discount.starts_at > p_now THEN 'not_started'
            WHEN v_discount.ends_at <= p_now THEN 'ended'
            WHEN v_discount.hide_redeem AND v_channel = 'web' THEN 'staff_only'
            WHEN v_discount.in_store_only AND v_channel = 'web' THEN 'in_store'
            WHEN v_discount.limited_stores AND p_store IS NOT NULL AND NOT EXISTS (
                SELECT FROM loyalty_discountstore WHERE discount_id = p_discount AND store_id = p_store) THEN 'store'
            WHEN v_discount.limited_audiences AND NOT EXISTS (
                SELECT FROM loyalty_audiencemember s JOIN loyalty_discountaudience a ON a.audience_id = s.audience_id
                WHERE a.discount_id = p_discount AND s.persona_id = ANY (v_group) AND s.left_at IS NULL) THEN 'audience'
            WHEN v_discount.valid_for_h IS NOT NULL
                AND loyalty_received(v_discount, v_group) + v_discount.valid_for_h * interval '1 hour' <= p_now
                THEN 'expired_for_you'
            WHEN NOT v_discount.reusable AND EXISTS (
                SELECT FROM loyalty_redemption WHERE persona_id = ANY (v_group) AND discount_id = p_discount
                AND state IN ('applied', 'settled')) THEN 'used'
            WHEN EXISTS (SELECT FROM loyalty_blockedphone WHERE account_id = p_account)
                AND loyalty_is_blocked(p_account, v_group) THEN 'blocked'
            WHEN v_price > 0 AND loyalty_is_mirrored(p_account, v_group) THEN 'mirror'
            WHEN p_spend < v_discount.min_spend_cents THEN 'spend'
            WHEN v_balance < v_discount.points THEN 'points'
        END;
    END IF;
    IF v_refused IS NULL AND v_discount.cooldown_h > 0 THEN
        SELECT max(applied_at) + v_discount.cooldown_h * interval '1 hour' INTO v_free_at FROM loyalty_redemption
        WHERE persona_id = ANY (v_group) AND discount_id = p_discount AND state IN ('applied', 'settled');
        v_refused := CASE WHEN v_free_at > p_now THEN 'cooldown' END;
    END IF;
    IF v_refused IS NULL AND v_discount.code_kind = 'unique' THEN
        SELECT id INTO v_code FROM loyalty_couponcode WHERE discount_id = p_discount AND redemption_id IS NULL
        ORDER BY id LIMIT 1
            FOR UPDATE SKIP LOCKED -- lock
        ;
        v_refused := CASE WHEN v_code IS NULL THEN 'no_code' END;
    END IF;
    IF v_refused IS NOT NULL THEN
        RETURN jsonb_build_object('refused', v_refused, 'balance', v_balance, 'price', v_discount.points,
                                  'free_at', v_free_at, 'min_spend', v_discount.min_spend_cents);
    END IF;

    INSERT INTO loyalty_redemption (account_id, public_id, persona_id, asked_as_id, discount_id, n, transaction, channel,
                                    state, points, reverted_points, store_id, user_id, applied_at, settled_at)
    VALUES (p_account, gen_random_uuid(), v_root, NULLIF(p_persona, v_root), p_discount, v_next, p_transaction, v_channel,
            CASE WHEN v_channel = 'web' THEN 'settled' ELSE 'applied' END, v_price,
            0, p_store, p_user, p_now, CASE WHEN v_channel = 'web' THEN p_now END)
    RETURNING * INTO v_found;
    IF v_code IS NOT NULL THEN
        UPDATE loyalty_couponcode SET redemption_id = v_found.id, assigned_at = p_now WHERE id = v_code;
    END IF;
    IF v_price > 0 THEN
        v_entry := loyalty_post(p_account, v_root, 'redeem', -v_price, 'redeem:' || v_found.id, NULL,
                                v_found.id, p_user, '', '{}', p_now, p_now);
        PERFORM loyalty_take(p_account, v_root, v_entry, v_price);
    END IF;
    RETURN loyalty_redeemed(v_found, v_discount, v_balance - v_price, true);
END $$;

-- How often a redemption was taken: once, and once more each time it was settled again; whether points were there, or
-- only a shortfall came of it. What is posted for one time must not be taken for another's.
CREATE OR REPLACE FUNCTION loyalty_times_taken(p_redemption bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT 1 + coalesce(max(k), 0) FROM (
        SELECT (regexp_match(key, '^redeem:[0-9]+:([0-9]+)$'))[1]::bigint AS k FROM loyalty_entry
        WHERE redemption_id = p_redemption AND kind = 'redeem'
        UNION ALL
        SELECT (regexp_match(key, ':([0-9]+)$'))[1]::bigint FROM loyalty_shortfall WHERE redemption_id = p_redemption
    ) t
$$;

-- A redemption that was released has met its sale after all: its points are taken once more, from what is there. What is
-- not there is a shortfall, and counts as given back already. Answers whether it is settled with that sale now.
CREATE OR REPLACE FUNCTION loyalty_settle_again(p_account bigint, p_redemption bigint, p_sale bigint, p_now timestamptz)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_found loyalty_redemption;
    v_root bigint;
    v_balance numeric;
    v_points numeric;
    v_time bigint;
    v_entry bigint;
BEGIN
    SELECT * INTO v_found FROM loyalty_redemption WHERE id = p_redemption AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT o_root, o_balance INTO v_root, v_balance FROM loyalty_open_root(p_account, v_found.persona_id, p_now);
    SELECT * INTO v_found FROM loyalty_redemption WHERE id = p_redemption;
    IF loyalty_is_closed(v_root, v_balance) THEN
        RETURN false;  -- its person was removed: there is nobody to take points from, and nobody owes any
    END IF;
    IF v_found.state <> 'released' THEN
        RETURN v_found.state = 'settled' AND v_found.sale_id = p_sale;
    END IF;
    -- Another use of this discount has this sale, or the till used the same order anew meanwhile: that one is the use.
    IF EXISTS (
        SELECT FROM loyalty_redemption r WHERE r.sale_id = p_sale AND r.discount_id = v_found.discount_id
        AND r.state = 'settled' AND r.id <> v_found.id
    ) THEN
        RETURN false;
    END IF;
    IF v_found.transaction <> '' AND EXISTS (
        SELECT FROM loyalty_redemption r JOIN loyalty_persona p ON p.id = r.persona_id
        WHERE (p.id = v_found.persona_id OR p.id = v_root OR p.merged_into_id = v_root)
          AND r.transaction = v_found.transaction AND r.discount_id = v_found.discount_id
          AND r.state IN ('applied', 'settled') AND r.id <> v_found.id
    ) THEN
        RETURN false;
    END IF;
    v_points := least(v_balance, v_found.points);
    v_time := loyalty_times_taken(p_redemption);
    IF v_points > 0 THEN
        v_entry := loyalty_post(p_account, v_root, 'redeem', -v_points, 'redeem:' || p_redemption || ':' || v_time, NULL,
                                p_redemption, NULL, '', '{"why": "settled_again"}', v_found.applied_at, p_now);
        PERFORM loyalty_take(p_account, v_root, v_entry, v_points);
        PERFORM loyalty_mirror_rest(p_account, v_root, p_now);
    END IF;
    IF v_points < v_found.points THEN
        INSERT INTO loyalty_shortfall (account_id, persona_id, key, points, redemption_id, state, at)
        VALUES (p_account, v_root, 'shortfall:redeem:' || p_redemption || ':' || v_time, v_found.points - v_points,
                p_redemption, 'open', p_now);
    END IF;
    UPDATE loyalty_redemption SET
        state = 'settled', sale_id = p_sale, settled_at = p_now, ended_at = NULL, why_ended = '',
        reverted_points = points - v_points
    WHERE id = p_redemption;
    RETURN true;
END $$;
