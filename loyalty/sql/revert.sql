-- Give the points of a redemption back: the rest of them (p_points is null) or a part. Once for each key.
-- Answers {redemption, points, reverted, balance, state, created} or {refused, left}.
CREATE OR REPLACE FUNCTION loyalty_revert(
    p_account bigint, p_public_id uuid, p_points numeric, p_key text, p_state text, p_now timestamptz, p_user bigint, p_note text
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_found loyalty_redemption;
    v_balance numeric;
    v_key text;
    v_entry loyalty_entry;
    v_id bigint;
    v_points numeric := 0;
    v_created boolean := false;
BEGIN
    SELECT * INTO v_found FROM loyalty_redemption WHERE public_id = p_public_id AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown', 'left', 0);
    END IF;
    v_balance := loyalty_open_wallet(p_account, v_found.persona_id, p_now);
    -- Read again, now that nobody else can give the same points back.
    SELECT * INTO v_found FROM loyalty_redemption WHERE id = v_found.id;
    v_key := coalesce(p_key, 'revert:' || v_found.id || coalesce(':' || p_points::numeric(14, 2), ''));
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
        v_id := loyalty_post(v_found.account_id, v_found.persona_id, 'reverse', v_points, v_key, NULL, v_found.id, p_user,
                             p_note, '{}', v_found.applied_at, p_now);
        -- What was taken lies on a line, the last draw first; given back so far are its first reverted_points.
        INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
        SELECT p_account, v_id, t.lot_id, t.points FROM (
            SELECT d.lot_id, d.id,
                   least(d.upto, v_found.reverted_points + v_points) - greatest(d.upto - d.taken, v_found.reverted_points)
                   AS points
            FROM (SELECT w.id, w.lot_id, -w.points AS taken, sum(-w.points) OVER (ORDER BY w.id DESC) AS upto
                  FROM loyalty_draw w JOIN loyalty_entry e ON e.id = w.entry_id
                  WHERE e.account_id = p_account AND e.key = 'redeem:' || v_found.id) d
        ) t WHERE t.points > 0 ORDER BY t.id DESC;
        UPDATE loyalty_lot l SET remaining = l.remaining + d.points
        FROM loyalty_draw d WHERE d.entry_id = v_id AND l.id = d.lot_id;
        -- A lot whose day is over lets go again at once, in a line of its own.
        PERFORM loyalty_expire(ARRAY[v_found.persona_id], p_now);
        SELECT balance INTO v_balance FROM loyalty_wallet WHERE persona_id = v_found.persona_id;
    END IF;
    IF v_created THEN
        UPDATE loyalty_redemption SET
            reverted_points = reverted_points + v_points,
            state = CASE WHEN reverted_points + v_points = points THEN p_state ELSE state END,
            ended_at = CASE WHEN reverted_points + v_points = points THEN p_now END
        WHERE id = v_found.id RETURNING * INTO v_found;
    END IF;
    RETURN jsonb_build_object('redemption', v_found.public_id, 'points', v_points, 'reverted', v_found.reverted_points,
                              'balance', v_balance, 'state', v_found.state, 'created', v_created);
END $$;
