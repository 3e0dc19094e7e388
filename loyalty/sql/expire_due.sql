-- One batch of the sweep: wallets with due lots after a persona id, those in use left for the next round.
-- Answers {wallets, lots, last}; wallets 0: nothing due was free.
CREATE OR REPLACE FUNCTION loyalty_expire_due(p_after bigint, p_wallets integer, p_now timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_personas bigint[];
BEGIN
    SELECT array_agg(persona_id) INTO v_personas FROM (
        SELECT w.persona_id FROM loyalty_wallet w
        WHERE w.persona_id > p_after AND w.persona_id IN (
            SELECT l.persona_id FROM loyalty_lot l WHERE l.open AND l.expires_at <= p_now AND l.persona_id > p_after)
        ORDER BY w.persona_id LIMIT p_wallets
        FOR UPDATE OF w SKIP LOCKED -- lock
    ) free;
    IF v_personas IS NULL THEN
        RETURN jsonb_build_object('wallets', 0, 'lots', 0, 'last', p_after);
    END IF;
    RETURN jsonb_build_object('wallets', cardinality(v_personas), 'lots', loyalty_expire(v_personas, p_now),
                              'last', v_personas[cardinality(v_personas)]);
END $$;
