-- Give lots another end: arrays side by side. One that is used up keeps its end for what is given back to it.
-- Wallets are locked in persona order, so that nobody spends meanwhile.
-- Answers {lots, due}: how many changed, and the points among them whose end has passed (the next call posts them).
CREATE OR REPLACE FUNCTION loyalty_reexpire(p_account bigint, p_lots bigint[], p_expires timestamptz[], p_now timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_lots bigint;
    v_due numeric;
BEGIN
    PERFORM FROM loyalty_wallet WHERE account_id = p_account AND persona_id IN (
        SELECT persona_id FROM loyalty_lot WHERE id = ANY (p_lots)) ORDER BY persona_id
        FOR UPDATE -- lock
    ;
    WITH changed AS (
        UPDATE loyalty_lot l SET expires_at = t.expires_at
        FROM unnest(p_lots, p_expires) AS t (lot, expires_at)
        WHERE l.id = t.lot AND l.account_id = p_account AND l.expires_at IS DISTINCT FROM t.expires_at
        RETURNING l.remaining, l.expires_at
    )
    SELECT count(*), coalesce(sum(remaining) FILTER (WHERE expires_at <= p_now), 0) INTO v_lots, v_due FROM changed;
    RETURN jsonb_build_object('lots', v_lots, 'due', v_due);
END $$;
