-- Post points by hand, by import, by boost or by mirror, once for each key.
-- Answers {entry, points, balance, created} or {refused, balance}.
CREATE OR REPLACE FUNCTION loyalty_adjust(
    p_account bigint, p_persona bigint, p_points numeric, p_key text, p_kind text, p_now timestamptz, p_user bigint,
    p_note text, p_expires_at timestamptz, p_explanation jsonb, p_cause_at timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_balance numeric;
    v_root bigint;
    v_entry loyalty_entry;
    v_id bigint;
BEGIN
    SELECT o_root, o_balance INTO v_root, v_balance FROM loyalty_open_root(p_account, p_persona, p_now);
    SELECT * INTO v_entry FROM loyalty_entry WHERE account_id = p_account AND key = p_key;
    IF FOUND THEN
        IF v_entry.persona_id NOT IN (p_persona, v_root) THEN
            RETURN jsonb_build_object('refused', 'key', 'balance', v_balance);
        END IF;
        RETURN jsonb_build_object('entry', v_entry.id, 'points', v_entry.points, 'balance', v_balance, 'created', false);
    END IF;
    IF loyalty_is_closed(v_root, v_balance) THEN
        RETURN jsonb_build_object('refused', 'removed', 'balance', v_balance);
    END IF;
    IF p_kind <> 'mirror' AND loyalty_is_mirrored(
        p_account, ARRAY(SELECT id FROM loyalty_persona WHERE merged_into_id = v_root) || v_root) THEN
        RETURN jsonb_build_object('refused', 'mirror', 'balance', v_balance);
    END IF;
    IF v_balance + p_points < 0 THEN
        RETURN jsonb_build_object('refused', 'points', 'balance', v_balance);
    END IF;
    v_id := loyalty_post(p_account, v_root, p_kind, p_points, p_key, NULL, NULL, p_user, p_note, p_explanation,
                         p_cause_at, p_now);
    IF p_points > 0 THEN
        INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, expires_at, created_at)
        VALUES (p_account, v_root, v_id, p_kind, p_points, p_points, p_expires_at, p_now);
    ELSE
        PERFORM loyalty_take(p_account, v_root, v_id, -p_points);
    END IF;
    RETURN jsonb_build_object('entry', v_id, 'points', p_points, 'balance', v_balance + p_points, 'created', true);
END $$;
