-- The entries by which a shortfall was collected, piece by piece.
CREATE OR REPLACE FUNCTION loyalty_collections(p_account bigint, p_shortfall bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_found bigint[] := '{}';
    v_id bigint;
BEGIN
    LOOP
        SELECT id INTO v_id FROM loyalty_entry
        WHERE account_id = p_account AND key = 'collect:' || p_shortfall || ':' || cardinality(v_found);
        IF NOT FOUND THEN
            RETURN v_found;
        END IF;
        v_found := v_found || v_id;
    END LOOP;
END $$;

-- Nothing is owed any more for a use that did not happen, and what was collected for it returns to its lots.
CREATE OR REPLACE FUNCTION loyalty_forgive(
    p_account bigint, p_redemption bigint, p_cause_at timestamptz, p_user bigint, p_note text, p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_short loyalty_shortfall;
    v_back record;
    v_entries bigint[];
    v_id bigint;
BEGIN
    FOR v_short IN
        SELECT * FROM loyalty_shortfall WHERE redemption_id = p_redemption AND (state = 'open' OR collected > 0) ORDER BY id
            FOR UPDATE -- lock
    LOOP
        v_entries := loyalty_collections(p_account, v_short.id);
        FOR v_back IN
            SELECT e.persona_id, sum(-d.points) AS points, array_agg(DISTINCT d.lot_id) AS lots
            FROM loyalty_entry e JOIN loyalty_draw d ON d.entry_id = e.id
            WHERE e.id = ANY (v_entries) AND v_short.collected > 0 GROUP BY e.persona_id ORDER BY e.persona_id
        LOOP
            v_id := loyalty_post(p_account, v_back.persona_id, 'adjust', v_back.points,
                                 'uncollect:' || v_short.id || ':' || v_back.persona_id, NULL, NULL, p_user, p_note,
                                 '{"why": "uncollect"}', p_cause_at, p_now);
            INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
            SELECT p_account, v_id, d.lot_id, sum(-d.points)
            FROM loyalty_entry e JOIN loyalty_draw d ON d.entry_id = e.id
            WHERE e.id = ANY (v_entries) AND e.persona_id = v_back.persona_id GROUP BY d.lot_id ORDER BY max(d.id) DESC;
            UPDATE loyalty_lot l SET remaining = l.remaining + d.points
            FROM loyalty_draw d WHERE d.entry_id = v_id AND l.id = d.lot_id;
            PERFORM loyalty_expire(ARRAY[v_back.persona_id], p_now);
            PERFORM loyalty_forward(p_account, v_back.lots, p_now);
        END LOOP;
        UPDATE loyalty_shortfall SET
            netted = CASE WHEN state = 'waived' THEN netted ELSE points END, collected = 0,
            state = CASE WHEN state = 'waived' THEN state ELSE 'netted' END, closed_at = coalesce(closed_at, p_now)
        WHERE id = v_short.id;
    END LOOP;
END $$;

-- Give the points of a redemption back: the rest of them (p_points is null) or a part. Once for each key.
-- Answers {redemption, points, reverted, balance, state, created} or {refused, left}.
CREATE OR REPLACE FUNCTION loyalty_revert(
    p_account bigint, p_public_id uuid, p_points numeric, p_key text, p_state text, p_now timestamptz, p_user bigint, p_note text,
    p_why text DEFAULT '', p_only text DEFAULT NULL
) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_found loyalty_redemption;
    v_balance numeric;
    v_key text;
    v_entry loyalty_entry;
    v_id bigint;
    v_points numeric := 0;
    v_created boolean := false;
    v_lots bigint[];
    v_wallets bigint[];
    v_opened bigint[] := '{}';
    v_root bigint;
    v_times bigint;
    v_taken loyalty_entry;  -- the last taking: one that was released and settled again took anew
    v_given numeric;
BEGIN
    SELECT * INTO v_found FROM loyalty_redemption WHERE public_id = p_public_id AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown', 'left', 0);
    END IF;
    -- Its own wallet, its root's, and those its points may pass through; looked at again once they are held, because a
    -- merge or a split may have been under way.
    LOOP
        SELECT array_agg(DISTINCT d.lot_id) INTO v_lots FROM loyalty_entry e JOIN loyalty_draw d ON d.entry_id = e.id
        WHERE e.redemption_id = v_found.id AND e.kind = 'redeem'
           OR e.id IN (SELECT unnest(loyalty_collections(p_account, f.id)) FROM loyalty_shortfall f
                       WHERE f.redemption_id = v_found.id AND f.collected > 0);
        SELECT array_remove(loyalty_homes(v_lots) || ARRAY[p.id, p.merged_into_id], NULL) INTO v_wallets
        FROM loyalty_persona p WHERE p.id = v_found.persona_id;
        EXIT WHEN v_wallets <@ v_opened;
        PERFORM loyalty_open_wallets(p_account, v_wallets, p_now);
        v_opened := v_wallets;
    END LOOP;
    -- Read again, now that nobody else can give the same points back; held, because whoever settles it takes no wallet.
    SELECT * INTO v_found FROM loyalty_redemption WHERE id = v_found.id
        FOR UPDATE -- lock
    ;
    SELECT coalesce(p.merged_into_id, p.id) INTO v_root FROM loyalty_persona p WHERE p.id = v_found.persona_id;
    SELECT coalesce(sum(balance), 0) INTO v_balance FROM loyalty_wallet WHERE persona_id = v_root;
    v_times := loyalty_times_taken(v_found.id);
    IF loyalty_is_closed(v_root, v_balance) AND p_only IS NULL THEN
        RETURN jsonb_build_object('refused', 'unknown', 'left', 0);  -- its person was removed: points would be nobody's
    END IF;
    IF p_only IS NOT NULL AND (v_found.state <> p_only OR loyalty_is_closed(v_root, v_balance)) THEN
        -- Somebody was quicker: its sale was seen, it was given back, or its person was removed.
        RETURN jsonb_build_object('redemption', v_found.public_id, 'points', 0, 'reverted', v_found.reverted_points,
                                  'balance', v_balance, 'state', v_found.state, 'created', false);
    END IF;
    v_key := coalesce(p_key, 'revert:' || v_found.id || CASE WHEN v_times > 1 THEN ':again' || v_times ELSE '' END
                             || coalesce(':' || p_points::numeric(14, 2), ''));
    SELECT * INTO v_entry FROM loyalty_entry WHERE account_id = p_account AND key = v_key;
    IF FOUND THEN
        IF v_entry.redemption_id IS DISTINCT FROM v_found.id THEN
            RETURN jsonb_build_object('refused', 'key', 'left', 0);
        END IF;
        v_points := v_entry.points;
    ELSIF v_found.state IN ('applied', 'settled') THEN
        v_points := coalesce(p_points, v_found.points - v_found.reverted_points);
        IF v_points > v_found.points - v_found.reverted_points THEN
            RETURN jsonb_build_object('refused', 'left', 'left', v_found.points - v_found.reverted_points);
        END IF;
        v_created := true;
    ELSIF p_points IS NOT NULL THEN
        RETURN jsonb_build_object('refused', 'left', 'left', 0);
    END IF;

    IF v_created AND v_points > 0 THEN
        SELECT * INTO STRICT v_taken FROM loyalty_entry WHERE redemption_id = v_found.id AND kind = 'redeem'
        ORDER BY id DESC LIMIT 1;
        SELECT coalesce(sum(points), 0) INTO v_given FROM loyalty_entry
        WHERE redemption_id = v_found.id AND kind = 'reverse' AND id > v_taken.id;
        v_id := loyalty_post(v_found.account_id, v_taken.persona_id, 'reverse', v_points, v_key, NULL, v_found.id, p_user,
                             p_note, '{}', v_found.applied_at, p_now);
        -- What was taken lies on a line, the last draw first; given back so far are the first v_given of it.
        INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
        SELECT p_account, v_id, t.lot_id, t.points FROM (
            SELECT d.lot_id, d.id, least(d.upto, v_given + v_points) - greatest(d.upto - d.taken, v_given) AS points
            FROM (SELECT w.id, w.lot_id, -w.points AS taken, sum(-w.points) OVER (ORDER BY w.id DESC) AS upto
                  FROM loyalty_draw w WHERE w.entry_id = v_taken.id) d
        ) t WHERE t.points > 0 ORDER BY t.id DESC;
        UPDATE loyalty_lot l SET remaining = l.remaining + d.points
        FROM loyalty_draw d WHERE d.entry_id = v_id AND l.id = d.lot_id;
        -- A lot whose day is over lets go again at once, in a line of its own; one that lies astray moves on.
        PERFORM loyalty_expire(ARRAY[v_taken.persona_id], p_now);
        PERFORM loyalty_forward(p_account, v_lots, p_now);
    END IF;
    IF v_created THEN
        UPDATE loyalty_redemption SET
            reverted_points = reverted_points + v_points,
            state = CASE WHEN reverted_points + v_points = points THEN p_state ELSE state END,
            ended_at = CASE WHEN reverted_points + v_points = points THEN p_now END,
            why_ended = CASE WHEN reverted_points + v_points = points THEN p_why ELSE why_ended END
        WHERE id = v_found.id RETURNING * INTO v_found;
        IF v_found.state IN ('reverted', 'released') THEN
            PERFORM loyalty_forgive(p_account, v_found.id, v_found.applied_at, p_user, p_note, p_now);
        END IF;
        -- What went on to somebody whose balance is the POS's: that stays the POS's.
        PERFORM loyalty_mirror_rest(p_account, p.id, p_now) FROM loyalty_persona p
        WHERE p.id = ANY (v_opened) AND p.merged_into_id IS NULL;
        SELECT coalesce(sum(balance), 0) INTO v_balance FROM loyalty_wallet WHERE persona_id = v_root;
    END IF;
    RETURN jsonb_build_object('redemption', v_found.public_id, 'points', v_points, 'reverted', v_found.reverted_points,
                              'balance', v_balance, 'state', v_found.state, 'created', v_created);
END $$;
