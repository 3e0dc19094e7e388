-- Points that move between wallets of one account: merges, splits, and what follows them. Always in pairs of entries
-- that carry the merge, so that nothing is made and nothing is lost; lots keep their kind and their expiry.

-- Move open lots of a locked wallet to another locked wallet. A lot returns to the lot it came from when that lies on the
-- way; otherwise it opens a child there. Answers how many points moved.
CREATE OR REPLACE FUNCTION loyalty_move_lots(
    p_account bigint, p_from bigint, p_to bigint, p_lots bigint[], p_merge bigint, p_key text, p_explanation jsonb,
    p_now timestamptz
) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    v_points numeric;
    v_out bigint;
    v_in bigint;
BEGIN
    SELECT sum(remaining) INTO v_points FROM loyalty_lot WHERE id = ANY (p_lots) AND persona_id = p_from AND open;
    IF coalesce(v_points, 0) = 0 THEN
        RETURN 0;
    END IF;
    v_out := loyalty_post(p_account, p_from, 'merge', -v_points, p_key || ':out', NULL, NULL, NULL, '',
                          p_explanation || '{"side": "out"}', p_now, p_now, p_merge);
    v_in := loyalty_post(p_account, p_to, 'merge', v_points, p_key || ':in', NULL, NULL, NULL, '',
                         p_explanation || '{"side": "in"}', p_now, p_now, p_merge);
    -- Each lot with the nearest one above it that lies in the other wallet.
    WITH RECURSIVE moved AS MATERIALIZED (
        SELECT id, kind, remaining, expires_at, from_lot_id FROM loyalty_lot
        WHERE id = ANY (p_lots) AND persona_id = p_from AND open
    ), up AS (
        SELECT moved.id AS lot, moved.from_lot_id AS above, 1 AS step FROM moved WHERE moved.from_lot_id IS NOT NULL
        UNION ALL
        SELECT up.lot, l.from_lot_id, up.step + 1 FROM up JOIN loyalty_lot l ON l.id = up.above
        WHERE l.from_lot_id IS NOT NULL
    ), home AS (
        SELECT DISTINCT ON (up.lot) up.lot, l.id FROM up JOIN loyalty_lot l ON l.id = up.above
        WHERE l.persona_id = p_to ORDER BY up.lot, up.step
    ), drawn AS (
        INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
        SELECT p_account, v_out, id, -remaining FROM moved ORDER BY expires_at, id
    ), emptied AS (
        UPDATE loyalty_lot l SET remaining = 0 FROM moved WHERE l.id = moved.id
    ), returned AS (
        SELECT home.id, sum(moved.remaining) AS points, max(moved.expires_at) AS expires_at,
               bool_or(moved.expires_at IS NULL) AS never
        FROM moved JOIN home ON home.lot = moved.id GROUP BY home.id
    ), given AS (
        INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
        SELECT p_account, v_in, id, points FROM returned ORDER BY id
    ), filled AS (
        UPDATE loyalty_lot l
        SET remaining = l.remaining + returned.points, expires_at = CASE WHEN never THEN NULL ELSE returned.expires_at END
        FROM returned WHERE l.id = returned.id
    )
    INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, expires_at, created_at, from_lot_id)
    SELECT p_account, p_to, v_in, kind, remaining, remaining, expires_at, p_now, id FROM moved
    WHERE NOT EXISTS (SELECT FROM home WHERE home.lot = moved.id) ORDER BY expires_at, id;
    RETURN v_points;
END $$;

-- Carry out a merge whose row is there: the loser's points, its followers and its sales go to the survivor.
-- Answers {points, created} or {refused}.
CREATE OR REPLACE FUNCTION loyalty_merge(p_account bigint, p_merge bigint, p_now timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_merge loyalty_merge;
    v_into bigint;
    v_points numeric;
    v_lots bigint[];
BEGIN
    SELECT * INTO v_merge FROM loyalty_merge WHERE id = p_merge AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown');
    END IF;
    PERFORM FROM loyalty_persona WHERE id IN (v_merge.survivor_id, v_merge.loser_id) ORDER BY id
        FOR NO KEY UPDATE -- lock
    ;
    SELECT * INTO v_merge FROM loyalty_merge WHERE id = p_merge;  -- it may have been split while we waited
    SELECT merged_into_id INTO v_into FROM loyalty_persona WHERE id = v_merge.loser_id;
    IF EXISTS (SELECT FROM loyalty_entry WHERE account_id = p_account AND key = 'merge:' || p_merge || ':out')
       OR v_into = v_merge.survivor_id OR v_merge.split_at IS NOT NULL THEN
        RETURN jsonb_build_object('points', v_merge.loser_balance, 'created', false);
    END IF;
    IF v_into IS NOT NULL OR (SELECT merged_into_id FROM loyalty_persona WHERE id = v_merge.survivor_id) IS NOT NULL THEN
        RETURN jsonb_build_object('refused', 'not_roots');
    END IF;
    PERFORM FROM loyalty_salestate WHERE persona_id = v_merge.loser_id ORDER BY sale_id
        FOR UPDATE -- lock
    ;
    PERFORM loyalty_open_wallets(p_account, ARRAY[v_merge.survivor_id, v_merge.loser_id], p_now);
    UPDATE loyalty_merge SET
        survivor_balance = (SELECT balance FROM loyalty_wallet WHERE persona_id = v_merge.survivor_id),
        loser_balance = (SELECT balance FROM loyalty_wallet WHERE persona_id = v_merge.loser_id)
    WHERE id = p_merge RETURNING * INTO v_merge;
    SELECT array_agg(id) INTO v_lots FROM loyalty_lot WHERE persona_id = v_merge.loser_id AND open;
    v_points := loyalty_move_lots(
        p_account, v_merge.loser_id, v_merge.survivor_id, v_lots, p_merge, 'merge:' || p_merge,
        jsonb_build_object('why', 'merge', 'survivor', v_merge.survivor_balance, 'loser', v_merge.loser_balance), p_now);
    UPDATE loyalty_persona SET merged_into_id = v_merge.survivor_id
    WHERE account_id = p_account AND (id = v_merge.loser_id OR merged_into_id = v_merge.loser_id);
    UPDATE loyalty_salestate SET persona_id = v_merge.survivor_id WHERE persona_id = v_merge.loser_id;
    RETURN jsonb_build_object('points', v_points, 'created', true);
END $$;

-- Take a merge back: what is left of the loser's points returns, with those its own sales earned since.
CREATE OR REPLACE FUNCTION loyalty_split(p_account bigint, p_merge bigint, p_now timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_merge loyalty_merge;
    v_root bigint;
    v_rows bigint[];
    v_held bigint[] := '{}';
    v_sales bigint[];
    v_lots bigint[];
    v_points numeric;
BEGIN
    SELECT * INTO v_merge FROM loyalty_merge WHERE id = p_merge AND account_id = p_account
        FOR UPDATE -- lock
    ;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown');
    ELSIF v_merge.split_at IS NOT NULL THEN
        RETURN jsonb_build_object('points', coalesce(v_merge.split_points, 0), 'created', false);
    END IF;
    -- The loser, whoever had become part of it before, and their root; looked at again once they are held, because another
    -- merge or split may have been under way.
    LOOP
        WITH RECURSIVE g AS (
            SELECT v_merge.loser_id AS id
            UNION
            SELECT m.loser_id FROM g JOIN loyalty_merge m ON m.survivor_id = g.id AND m.split_at IS NULL AND m.id <> p_merge
        )
        SELECT array_agg(id) INTO v_rows FROM g;
        SELECT merged_into_id INTO v_root FROM loyalty_persona WHERE id = v_merge.loser_id;
        IF v_root IS NULL THEN
            RETURN jsonb_build_object('refused', 'not_merged');
        END IF;
        EXIT WHEN v_root || v_rows <@ v_held;
        PERFORM FROM loyalty_persona WHERE id = v_root OR id = ANY (v_rows) ORDER BY id
            FOR NO KEY UPDATE -- lock
        ;
        v_held := v_root || v_rows;
    END LOOP;
    SELECT array_agg(st.sale_id ORDER BY st.sale_id) INTO v_sales
    FROM loyalty_salestate st
    JOIN integrations_sale s ON s.id = st.sale_id
    LEFT JOIN integrations_customer c ON c.origin_id = s.origin_id AND c.external_id = s.customer_id AND s.customer_id <> ''
    LEFT JOIN loyalty_source src ON src.customer_id = c.id
    LEFT JOIN loyalty_attachment a ON a.sale_id = s.id AND s.customer_id = ''
    WHERE st.persona_id = v_root AND coalesce(src.persona_id, a.persona_id) = ANY (v_rows);
    PERFORM FROM loyalty_salestate WHERE sale_id = ANY (v_sales) ORDER BY sale_id
        FOR UPDATE -- lock
    ;
    PERFORM loyalty_open_wallets(p_account, ARRAY[v_root, v_merge.loser_id], p_now);
    WITH RECURSIVE theirs AS (
        SELECT id FROM loyalty_lot WHERE persona_id = ANY (v_rows)
        UNION
        SELECT c.id FROM theirs JOIN loyalty_lot c ON c.from_lot_id = theirs.id
    )
    SELECT array_agg(id) INTO v_lots FROM (
        SELECT l.id FROM theirs JOIN loyalty_lot l ON l.id = theirs.id WHERE l.persona_id = v_root AND l.open
        UNION
        SELECT l.id FROM loyalty_entry e JOIN loyalty_lot l ON l.entry_id = e.id
        WHERE e.sale_id = ANY (v_sales) AND l.persona_id = v_root AND l.open
        UNION  -- what the POS said of the loser's own records went to the root while they were one
        SELECT l.id FROM loyalty_lot l JOIN loyalty_entry e ON e.id = l.entry_id
        WHERE l.persona_id = v_root AND l.open AND l.kind IN ('mirror', 'import') AND (EXISTS (
            SELECT FROM loyalty_source src JOIN integrations_customer c ON c.id = src.customer_id
            WHERE src.persona_id = ANY (v_rows)
            AND (e.key LIKE 'mirror:' || c.id || ':%' OR e.key = 'import:' || c.origin_id || ':' || c.id))
        OR EXISTS (  -- or a file of another programme, which names people by its own ids
            SELECT FROM loyalty_contactalias a
            WHERE a.persona_id = ANY (v_rows) AND e.key = 'import:' || a.origin_id || ':' || a.alias))
    ) q;
    v_points := loyalty_move_lots(p_account, v_root, v_merge.loser_id, v_lots, p_merge, 'split:' || p_merge,
                                  '{"why": "split"}', p_now);
    UPDATE loyalty_mirrorstate SET persona_id = v_merge.loser_id
    WHERE persona_id IN (SELECT id FROM loyalty_persona WHERE id = v_root OR merged_into_id = v_root)
      AND customer_id IN (SELECT customer_id FROM loyalty_source WHERE persona_id = ANY (v_rows));
    UPDATE loyalty_persona SET merged_into_id = NULLIF(v_merge.loser_id, id) WHERE id = ANY (v_rows);
    UPDATE loyalty_salestate SET persona_id = v_merge.loser_id WHERE sale_id = ANY (v_sales);
    UPDATE loyalty_merge SET split_at = p_now, split_points = v_points WHERE id = p_merge;
    RETURN jsonb_build_object('points', v_points, 'created', true);
END $$;

-- Whose wallets points may pass through when they are given back to these lots: the lots' own, those above them, and the
-- roots of all. They are locked together, first.
CREATE OR REPLACE FUNCTION loyalty_homes(p_lots bigint[]) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    WITH RECURSIVE up AS (
        SELECT id, persona_id, from_lot_id FROM loyalty_lot WHERE id = ANY (p_lots)
        UNION
        SELECT l.id, l.persona_id, l.from_lot_id FROM up JOIN loyalty_lot l ON l.id = up.from_lot_id
    )
    SELECT array_agg(DISTINCT w.id) FROM up JOIN loyalty_persona p ON p.id = up.persona_id
    CROSS JOIN LATERAL unnest(ARRAY[p.id, p.merged_into_id]) AS w (id) WHERE w.id IS NOT NULL
$$;

-- Points were given back to these lots; some lie where they no longer belong: on a persona that was merged meanwhile, or on
-- one they had come to by a merge that was split. They move on at once. The wallets are locked (loyalty_homes).
CREATE OR REPLACE FUNCTION loyalty_forward(p_account bigint, p_lots bigint[], p_now timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_lots bigint[] := p_lots;
    v_lot record;
    v_to bigint;
    v_merge bigint;
    v_round integer := 0;
    v_next bigint[];
    v_made bigint;
BEGIN
    WHILE v_lots IS NOT NULL AND v_round < 20 LOOP
        v_round := v_round + 1;
        v_next := NULL;
        FOR v_lot IN
            SELECT l.id, l.persona_id, p.merged_into_id, above.persona_id AS above, m.id AS merge,
                   m.split_at IS NOT NULL AND (e.key LIKE 'merge:%' OR e.key LIKE 'forward:%' AND e.at < m.split_at) AS astray
            FROM loyalty_lot l JOIN loyalty_persona p ON p.id = l.persona_id
            LEFT JOIN loyalty_lot above ON above.id = l.from_lot_id
            LEFT JOIN loyalty_entry e ON e.id = l.entry_id AND l.from_lot_id IS NOT NULL
            LEFT JOIN loyalty_merge m ON m.id = e.merge_id
            WHERE l.id = ANY (v_lots) AND l.open ORDER BY l.expires_at, l.id
        LOOP
            IF v_lot.astray AND v_lot.above <> v_lot.persona_id THEN
                v_to := v_lot.above;
                v_merge := v_lot.merge;
            ELSIF v_lot.merged_into_id IS NOT NULL THEN
                v_to := v_lot.merged_into_id;
                SELECT id INTO v_merge FROM loyalty_merge WHERE loser_id = v_lot.persona_id AND split_at IS NULL;
            ELSE
                CONTINUE;
            END IF;
            SELECT count(*) INTO v_made FROM loyalty_entry WHERE merge_id = v_merge;
            PERFORM loyalty_move_lots(p_account, v_lot.persona_id, v_to, ARRAY[v_lot.id], v_merge,
                                      'forward:' || v_merge || ':' || v_made, '{"why": "forward"}', p_now);
            SELECT coalesce(v_next, '{}') || array_agg(x.id) INTO v_next FROM (
                SELECT id FROM loyalty_lot WHERE from_lot_id = v_lot.id AND open
                UNION SELECT from_lot_id FROM loyalty_lot WHERE id = v_lot.id AND from_lot_id IS NOT NULL) x;
        END LOOP;
        v_lots := v_next;
    END LOOP;
END $$;

-- Bring what the POS's own programme says of a customer into his wallet: the difference to what was posted for him.
-- Answers {points, balance, entry, short}; points 0: nothing was written.
CREATE OR REPLACE FUNCTION loyalty_mirror(
    p_account bigint, p_persona bigint, p_customer bigint, p_balance numeric, p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_balance numeric;
    v_root bigint;
    v_state loyalty_mirrorstate;
    v_points numeric;
    v_short numeric := 0;
    v_entry bigint;
    v_key text;
    v_lots bigint[];
BEGIN
    SELECT o_root, o_balance INTO v_root, v_balance FROM loyalty_open_root(p_account, p_persona, p_now);
    IF loyalty_is_closed(v_root, v_balance) THEN
        RETURN jsonb_build_object('points', 0, 'balance', v_balance, 'entry', NULL, 'short', 0);
    END IF;
    INSERT INTO loyalty_mirrorstate (account_id, customer_id, persona_id, posted, posts, at)
    VALUES (p_account, p_customer, v_root, 0, 0, p_now) ON CONFLICT (customer_id) DO NOTHING;
    SELECT * INTO STRICT v_state FROM loyalty_mirrorstate WHERE customer_id = p_customer AND account_id = p_account
        FOR UPDATE -- lock
    ;
    v_points := p_balance - v_state.posted;
    IF v_points = 0 THEN
        RETURN jsonb_build_object('points', 0, 'balance', v_balance, 'entry', NULL, 'short', 0);
    END IF;
    v_key := p_customer || ':' || v_state.posts;
    IF v_points < 0 THEN
        v_short := -v_points - least(v_balance, -v_points);
        v_points := v_points + v_short;
    END IF;
    IF v_points <> 0 THEN
        v_entry := loyalty_post(p_account, v_root, 'mirror', v_points, 'mirror:' || v_key, NULL, NULL, NULL, '',
                                jsonb_build_object('why', 'mirror', 'pos', p_balance), p_now, p_now);
    END IF;
    IF v_points > 0 THEN
        INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, created_at)
        VALUES (p_account, v_root, v_entry, 'mirror', v_points, v_points, p_now);
    ELSIF v_points < 0 THEN
        SELECT array_agg(id ORDER BY id) INTO v_lots FROM loyalty_lot
        WHERE persona_id = v_root AND open AND kind = 'mirror';
        PERFORM loyalty_take(p_account, v_root, v_entry, -v_points, v_lots);
    END IF;
    IF v_short > 0 THEN
        INSERT INTO loyalty_shortfall (account_id, persona_id, key, points, state, at)
        VALUES (p_account, v_root, 'shortfall:mirror:' || v_key, v_short, 'open', p_now);
    END IF;
    UPDATE loyalty_mirrorstate SET posted = p_balance, posts = posts + 1, persona_id = v_root, at = p_now
    WHERE id = v_state.id;
    RETURN jsonb_build_object('points', v_points, 'balance', v_balance + v_points, 'entry', v_entry, 'short', v_short);
END $$;

-- Take what is there for a shortfall, or wave it. Answers {points, missing, state, created} or {refused, balance}.
CREATE OR REPLACE FUNCTION loyalty_close_shortfall(
    p_account bigint, p_shortfall bigint, p_collect boolean, p_user bigint, p_note text, p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_short loyalty_shortfall;
    v_persona bigint;
    v_balance numeric;
    v_points numeric := 0;
    v_entry bigint;
    v_lots integer;
BEGIN
    SELECT * INTO v_short FROM loyalty_shortfall WHERE id = p_shortfall AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown', 'balance', 0);
    END IF;
    SELECT o_root, o_balance INTO v_persona, v_balance FROM loyalty_open_root(p_account, v_short.persona_id, p_now);
    SELECT * INTO v_short FROM loyalty_shortfall WHERE id = p_shortfall
        FOR UPDATE -- lock
    ;
    IF v_short.state <> 'open' THEN
        RETURN jsonb_build_object('points', 0, 'missing', v_short.points - v_short.netted - v_short.collected,
                                  'state', v_short.state, 'created', false);
    END IF;
    IF p_collect THEN
        v_points := least(v_balance, v_short.points - v_short.netted - v_short.collected);
        IF v_points = 0 THEN
            RETURN jsonb_build_object('refused', 'points', 'balance', v_balance);
        END IF;
        v_lots := cardinality(loyalty_collections(p_account, p_shortfall));
        v_entry := loyalty_post(p_account, v_persona, 'adjust', -v_points, 'collect:' || p_shortfall || ':' || v_lots,
                                NULL, NULL, p_user, p_note, '{"why": "collect"}', v_short.at, p_now);
        PERFORM loyalty_take(p_account, v_persona, v_entry, v_points);
        PERFORM loyalty_mirror_rest(p_account, v_persona, p_now);
    END IF;
    UPDATE loyalty_shortfall SET
        collected = collected + v_points,
        state = CASE WHEN NOT p_collect THEN 'waived'
                     WHEN points = netted + collected + v_points THEN 'collected' ELSE 'open' END,
        closed_at = CASE WHEN NOT p_collect OR points = netted + collected + v_points THEN p_now END,
        note = p_note, user_id = p_user
    WHERE id = p_shortfall RETURNING * INTO v_short;
    RETURN jsonb_build_object('points', v_points, 'missing', v_short.points - v_short.netted - v_short.collected,
                              'state', v_short.state, 'created', true);
END $$;
