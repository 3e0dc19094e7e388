-- One posting for a sale into a locked wallet. Less than nothing cannot be taken: the rest is a shortfall. A rise first
-- makes good what its own falls could not take; that part is not posted.
CREATE OR REPLACE FUNCTION loyalty_post_sale(
    p_account bigint, p_persona bigint, p_sale bigint, p_n bigint, p_points numeric, p_explanation jsonb,
    p_expires_at timestamptz, p_cause_at timestamptz, p_now timestamptz, OUT o_points numeric, OUT o_short numeric
) LANGUAGE plpgsql AS $$
DECLARE
    v_entry bigint;
    v_short record;
    v_netted numeric;
    v_own bigint[];
BEGIN
    o_points := p_points;
    o_short := 0;
    IF p_points < 0 THEN
        v_own := loyalty_sale_lots(p_sale, p_persona);
        PERFORM loyalty_unexpire(p_account, p_persona, v_own, -p_points, 'unexpire:' || p_sale || ':' || p_n, p_sale,
                                 p_cause_at, p_now);
        SELECT -least(balance, -p_points) INTO STRICT o_points FROM loyalty_wallet WHERE persona_id = p_persona;
        o_short := o_points - p_points;
    ELSE
        FOR v_short IN
            SELECT id, points - netted - collected AS missing FROM loyalty_shortfall
            WHERE sale_id = p_sale AND redemption_id IS NULL AND key LIKE 'shortfall:' || p_sale || ':%'
              AND state IN ('open', 'waived') AND points > netted + collected
              AND persona_id IN (SELECT id FROM loyalty_persona WHERE id = p_persona OR merged_into_id = p_persona)
            ORDER BY id
        LOOP
            EXIT WHEN o_points = 0;
            v_netted := least(v_short.missing, o_points);
            o_points := o_points - v_netted;
            UPDATE loyalty_shortfall SET
                netted = netted + v_netted,
                state = CASE WHEN state = 'open' AND points = netted + v_netted + collected THEN 'netted' ELSE state END,
                closed_at = CASE WHEN state = 'open' AND points = netted + v_netted + collected THEN p_now ELSE closed_at END
            WHERE id = v_short.id;
        END LOOP;
    END IF;
    IF o_points <> 0 THEN
        v_entry := loyalty_post(p_account, p_persona, 'earn', o_points, 'earn:' || p_sale || ':' || p_n, p_sale, NULL, NULL,
                                '', p_explanation, p_cause_at, p_now);
    END IF;
    IF o_points > 0 THEN
        INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, expires_at, created_at)
        VALUES (p_account, p_persona, v_entry, 'earn', o_points, o_points, p_expires_at, p_now);
    ELSIF o_points < 0 THEN
        PERFORM loyalty_take(p_account, p_persona, v_entry, -o_points, v_own);
    END IF;
    IF o_short > 0 THEN
        INSERT INTO loyalty_shortfall (account_id, persona_id, key, points, sale_id, state, at)
        VALUES (p_account, p_persona, 'shortfall:' || p_sale || ':' || p_n, o_short, p_sale, 'open', p_now);
    END IF;
END $$;

-- Bring boosts to what they should be; the wallets are locked. A boost is given once to a persona and those merged into
-- it (`posts` is odd while it is given), and again only after it was taken back with the purchase it came with.
-- Each of p_boosts: [modifier, persona, sale or null, points, explanation, expires_at, cause_at]; points 0 takes back.
CREATE OR REPLACE FUNCTION loyalty_settle_boosts(
    p_account bigint, p_boosts jsonb, p_now timestamptz, OUT o_entries bigint, OUT o_points numeric, OUT o_short bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_boost record;
    v_state loyalty_booststate;
    v_points numeric;
    v_missing numeric;
    v_entry bigint;
    v_key text;
    v_lots bigint[];
BEGIN
    o_entries := 0; o_points := 0; o_short := 0;
    FOR v_boost IN
        SELECT (b->>0)::bigint AS modifier, (b->>1)::bigint AS persona, (b->>2)::bigint AS sale, (b->>3)::numeric AS points,
               b->4 AS explanation, (b->>5)::timestamptz AS expires_at, (b->>6)::timestamptz AS cause_at
        FROM jsonb_array_elements(p_boosts) b ORDER BY 2, 1, (b->>3)::numeric = 0 DESC, 7
    LOOP
        -- The group first: asked the other way round, each gift would read what the boost gave to everybody.
        SELECT s.* INTO v_state FROM loyalty_booststate s
        WHERE s.account_id = p_account AND s.modifier_id = v_boost.modifier AND s.posts % 2 = 1
          AND s.persona_id = ANY (ARRAY(SELECT x.id FROM loyalty_persona x WHERE x.merged_into_id = v_boost.persona)
                                  || v_boost.persona)
        ORDER BY s.sale_id IS DISTINCT FROM v_boost.sale, s.id LIMIT 1;
        IF v_boost.points = 0 THEN
            CONTINUE WHEN NOT FOUND OR v_state.sale_id IS DISTINCT FROM v_boost.sale;
            v_points := -v_state.posted;
        ELSE
            CONTINUE WHEN FOUND;
            v_points := v_boost.points;
            INSERT INTO loyalty_booststate (account_id, modifier_id, persona_id, posted, posts, at)
            VALUES (p_account, v_boost.modifier, v_boost.persona, 0, 0, p_now)
            ON CONFLICT (modifier_id, persona_id) DO NOTHING;
            SELECT * INTO STRICT v_state FROM loyalty_booststate
            WHERE modifier_id = v_boost.modifier AND persona_id = v_boost.persona AND account_id = p_account;
        END IF;
        v_key := v_state.modifier_id || ':' || v_state.persona_id || ':' || v_state.posts;
        v_missing := 0;
        v_lots := NULL;
        IF v_boost.points = 0 AND v_points < 0 THEN
            WITH RECURSIVE own AS (
                SELECT l.id FROM loyalty_entry e JOIN loyalty_lot l ON l.entry_id = e.id
                WHERE e.account_id = p_account
                  AND e.key = 'boost:' || v_state.modifier_id || ':' || v_state.persona_id || ':' || (v_state.posts - 1)
                UNION ALL
                SELECT c.id FROM own JOIN loyalty_lot c ON c.from_lot_id = own.id
            )
            SELECT array_agg(id ORDER BY id) INTO v_lots FROM own;
            PERFORM loyalty_unexpire(p_account, v_boost.persona, v_lots, -v_points, 'unexpire:boost:' || v_key,
                                     v_boost.sale, v_boost.cause_at, p_now);
        END IF;
        IF v_points < 0 THEN
            SELECT -v_points - least(balance, -v_points) INTO STRICT v_missing FROM loyalty_wallet
            WHERE persona_id = v_boost.persona;
            v_points := v_points + v_missing;
        END IF;
        IF v_points <> 0 THEN
            v_entry := loyalty_post(p_account, v_boost.persona, 'boost', v_points, 'boost:' || v_key, v_boost.sale, NULL, NULL,
                                    '', v_boost.explanation
                                    || CASE WHEN v_missing > 0 AND v_boost.points < 0
                                            THEN jsonb_build_object('refused', v_missing) ELSE '{}' END,
                                    v_boost.cause_at, p_now);
            o_entries := o_entries + 1;
            o_points := o_points + v_points;
        END IF;
        IF v_points > 0 THEN
            INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, expires_at, created_at)
            VALUES (p_account, v_boost.persona, v_entry, 'boost', v_points, v_points, v_boost.expires_at, p_now);
        ELSIF v_points < 0 THEN
            PERFORM loyalty_take(p_account, v_boost.persona, v_entry, -v_points, v_lots);
        END IF;
        -- Taking a gift back may find too little; a boost that takes is simply capped.
        IF v_missing > 0 AND v_boost.points = 0 THEN
            INSERT INTO loyalty_shortfall (account_id, persona_id, key, points, sale_id, state, at)
            VALUES (p_account, v_boost.persona, 'shortfall:boost:' || v_key, v_missing, v_boost.sale, 'open', p_now);
            o_short := o_short + 1;
        END IF;
        UPDATE loyalty_booststate SET
            posted = CASE WHEN v_boost.points = 0 THEN 0 ELSE v_points END,
            sale_id = CASE WHEN v_boost.points = 0 THEN NULL ELSE v_boost.sale END,
            posts = posts + 1, at = p_now
        WHERE id = v_state.id;
    END LOOP;
END $$;

-- Bring what is posted for each sale to its target. The arrays run side by side, a sale appears once.
-- Locks, in this order for everybody: new states, known states, wallets; each by id.
CREATE OR REPLACE FUNCTION loyalty_settle_sales(
    p_account bigint, p_now timestamptz, p_sales bigint[], p_personas bigint[], p_targets numeric[], p_bases bigint[],
    p_explanations jsonb[], p_expires timestamptz[], p_causes timestamptz[], p_boosts jsonb DEFAULT '[]'
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_fresh bigint[];
    v_changed bigint[];
    v_wallets bigint[];
    v_entries bigint := 0;
    v_points numeric := 0;
    v_shortfalls bigint := 0;
    v_sale record;
    v_posted record;
    v_n bigint;
    v_difference numeric;
    v_boosted record;
BEGIN
    -- A sale not seen before is written as settled; its entry follows below. A target below zero starts from 0.
    WITH fresh AS (
        INSERT INTO loyalty_salestate (sale_id, account_id, persona_id, base_cents, posted, posts, explanation, settled_at)
        SELECT t.sale, p_account, t.persona, t.base, greatest(t.target, 0), (t.target > 0)::int, t.explanation, p_now
        FROM unnest(p_sales, p_personas, p_targets, p_bases, p_explanations) AS t (sale, persona, target, base, explanation)
        ORDER BY t.sale
        ON CONFLICT (sale_id) DO NOTHING
        RETURNING sale_id, posted
    )
    SELECT array_agg(sale_id) INTO v_fresh FROM fresh WHERE posted > 0;

    SELECT array_agg(s.sale_id) INTO v_changed
    FROM unnest(p_sales, p_personas, p_targets, p_bases, p_explanations) AS t (sale, persona, target, base, explanation)
    JOIN loyalty_salestate s ON s.sale_id = t.sale
    WHERE s.account_id <> p_account OR s.persona_id IS DISTINCT FROM t.persona OR s.posted <> t.target
       OR s.base_cents <> t.base OR s.explanation IS DISTINCT FROM t.explanation;
    IF v_changed IS NOT NULL THEN
        PERFORM FROM loyalty_salestate WHERE sale_id = ANY (v_changed) ORDER BY sale_id
            FOR UPDATE -- lock
        ;
        IF EXISTS (SELECT FROM loyalty_salestate WHERE sale_id = ANY (v_changed) AND account_id <> p_account) THEN
            RAISE EXCEPTION 'a sale is not of account %', p_account;
        END IF;
    END IF;

    -- Both owners of a sale that changes hands.
    SELECT array_agg(DISTINCT w.persona) INTO v_wallets FROM (
        SELECT t.persona FROM unnest(p_sales, p_personas) AS t (sale, persona) WHERE t.sale = ANY (v_fresh)
        UNION ALL
        SELECT unnest(ARRAY[t.persona, s.persona_id])
        FROM unnest(p_sales, p_personas, p_targets) AS t (sale, persona, target)
        JOIN loyalty_salestate s ON s.sale_id = t.sale
        WHERE s.sale_id = ANY (v_changed)
          AND (s.posted <> t.target OR (s.persona_id IS DISTINCT FROM t.persona AND s.posted <> 0))
        UNION ALL
        SELECT (b->>1)::bigint FROM jsonb_array_elements(p_boosts) b
    ) w WHERE w.persona IS NOT NULL;
    IF v_wallets IS NOT NULL THEN
        INSERT INTO loyalty_wallet (persona_id, account_id, balance)
        SELECT p.id, p_account, 0 FROM unnest(v_wallets) AS p (id)
        WHERE NOT EXISTS (SELECT FROM loyalty_wallet w WHERE w.persona_id = p.id) ORDER BY p.id
        ON CONFLICT DO NOTHING;
        PERFORM FROM loyalty_wallet WHERE persona_id = ANY (v_wallets) ORDER BY persona_id
            FOR UPDATE -- lock
        ;
        -- Somebody of these was merged while this page was worked out: what it says is about another person now.
        -- Or was removed on request: whoever asked reads again, and finds that these sales rest.
        IF EXISTS (SELECT FROM unnest(v_wallets) AS t (id) JOIN loyalty_persona p ON p.id = t.id
                   WHERE p.merged_into_id IS NOT NULL OR p.erased_at IS NOT NULL) THEN
            RAISE EXCEPTION 'a persona was merged or removed meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
        IF EXISTS (SELECT FROM loyalty_lot WHERE persona_id = ANY (v_wallets) AND open AND expires_at <= p_now) THEN
            PERFORM loyalty_expire(v_wallets, p_now);
        END IF;
    END IF;

    IF v_fresh IS NOT NULL THEN
        -- Two sales of one persona: the balance is summed by persona, the running balance is a window.
        WITH input AS MATERIALIZED (
            SELECT t.*, w.balance + sum(t.target) OVER (PARTITION BY t.persona ORDER BY t.cause_at, t.sale) AS after
            FROM unnest(p_sales, p_personas, p_targets, p_explanations, p_expires, p_causes)
                 AS t (sale, persona, target, explanation, expires_at, cause_at)
            JOIN loyalty_wallet w ON w.persona_id = t.persona
            WHERE t.sale = ANY (v_fresh)
        ), posted AS (
            INSERT INTO loyalty_entry (account_id, persona_id, kind, points, balance_after, key, sale_id, note, explanation,
                                       cause_at, at)
            SELECT p_account, persona, 'earn', target, after, 'earn:' || sale || ':0', sale, '', explanation, cause_at, p_now
            FROM input ORDER BY cause_at, sale
            RETURNING id, sale_id
        ), lots AS (
            INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, expires_at, created_at)
            SELECT p_account, i.persona, p.id, 'earn', i.target, i.target, i.expires_at, p_now
            FROM posted p JOIN input i ON i.sale = p.sale_id ORDER BY p.id
        ), paid AS (
            UPDATE loyalty_wallet w SET balance = w.balance + s.points
            FROM (SELECT persona, sum(target) AS points FROM input GROUP BY persona) s WHERE w.persona_id = s.persona
        )
        SELECT count(*), sum(target) INTO v_entries, v_points FROM input;
        -- On a new installation the planner knows nothing of these tables, and a session keeps the plans it made for
        -- checking references: pages then take ten times as long until the database's own analysis comes by.
        IF v_entries >= 100 AND (SELECT reltuples < 100 FROM pg_class WHERE oid = 'loyalty_entry'::regclass) THEN
            ANALYZE (SKIP_LOCKED) loyalty_entry, loyalty_lot, loyalty_salestate, loyalty_wallet, loyalty_persona,
                integrations_sale;
        END IF;
    END IF;

    IF v_changed IS NOT NULL THEN
        UPDATE loyalty_salestate s
        SET persona_id = t.persona, base_cents = t.base, explanation = t.explanation, settled_at = p_now
        FROM unnest(p_sales, p_personas, p_targets, p_bases, p_explanations) AS t (sale, persona, target, base, explanation)
        WHERE s.sale_id = t.sale AND s.sale_id = ANY (v_changed) AND s.posted = t.target
          AND (s.persona_id IS NOT DISTINCT FROM t.persona OR s.posted = 0);
        FOR v_sale IN
            SELECT t.*, s.persona_id AS owner, s.posted, s.posts
            FROM unnest(p_sales, p_personas, p_targets, p_bases, p_explanations, p_expires, p_causes)
                 AS t (sale, persona, target, base, explanation, expires_at, cause_at)
            JOIN loyalty_salestate s ON s.sale_id = t.sale
            WHERE s.sale_id = ANY (v_changed) AND (s.posted <> t.target OR s.persona_id IS DISTINCT FROM t.persona)
            ORDER BY t.cause_at, t.sale
        LOOP
            v_n := v_sale.posts;
            v_difference := v_sale.target - v_sale.posted;
            IF v_sale.owner IS DISTINCT FROM v_sale.persona THEN
                v_difference := v_sale.target;
                IF v_sale.posted <> 0 THEN
                    SELECT * INTO v_posted FROM loyalty_post_sale(
                        p_account, v_sale.owner, v_sale.sale, v_n, -v_sale.posted, '{"owner": "changed"}', v_sale.expires_at,
                        v_sale.cause_at, p_now);
                    v_n := v_n + 1;
                    v_entries := v_entries + (v_posted.o_points <> 0)::int;
                    v_points := v_points + v_posted.o_points;
                    v_shortfalls := v_shortfalls + (v_posted.o_short > 0)::int;
                END IF;
            END IF;
            IF v_difference <> 0 THEN
                SELECT * INTO v_posted FROM loyalty_post_sale(
                    p_account, v_sale.persona, v_sale.sale, v_n, v_difference, v_sale.explanation, v_sale.expires_at,
                    v_sale.cause_at, p_now);
                v_n := v_n + 1;
                v_entries := v_entries + (v_posted.o_points <> 0)::int;
                v_points := v_points + v_posted.o_points;
                v_shortfalls := v_shortfalls + (v_posted.o_short > 0)::int;
            END IF;
            UPDATE loyalty_salestate
            SET persona_id = v_sale.persona, base_cents = v_sale.base, posted = v_sale.target, posts = v_n,
                explanation = v_sale.explanation, settled_at = p_now
            WHERE sale_id = v_sale.sale;
        END LOOP;
    END IF;
    IF p_boosts <> '[]' THEN
        SELECT * INTO v_boosted FROM loyalty_settle_boosts(p_account, p_boosts, p_now);
        v_entries := v_entries + v_boosted.o_entries;
        v_points := v_points + v_boosted.o_points;
        v_shortfalls := v_shortfalls + v_boosted.o_short;
    END IF;
    RETURN jsonb_build_object('entries', v_entries, 'points', v_points, 'shortfalls', v_shortfalls);
END $$;
