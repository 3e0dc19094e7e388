-- One batch of the sweep: the due lots of these wallets, those in use left for the next round. Answers how many lots.
CREATE OR REPLACE FUNCTION loyalty_expire_due(p_personas bigint[], p_now timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_personas bigint[];
BEGIN
    SELECT array_agg(persona_id) INTO v_personas FROM (
        SELECT w.persona_id FROM loyalty_wallet w
        WHERE w.persona_id = ANY (p_personas)
        ORDER BY w.persona_id
        FOR UPDATE OF w SKIP LOCKED -- lock
    ) free;
    RETURN CASE WHEN v_personas IS NULL THEN 0 ELSE loyalty_expire(v_personas, p_now) END;
END $$;
