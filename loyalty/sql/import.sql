-- Post balances that were taken over from elsewhere, once for each key: arrays side by side, all wallets locked first, in
-- persona order. Answers what became of each, in the same order: posted; already (its key is there, whoever's by now);
-- removed (the person was, on request); mirror (the wallet shows what a POS says, and takes nothing besides).
CREATE OR REPLACE FUNCTION loyalty_import(
    p_account bigint, p_personas bigint[], p_points numeric[], p_keys text[], p_explanations text[],
    p_expires_at timestamptz, p_user bigint, p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_roots bigint[];
    v_mirrored bigint[];
    v_answer jsonb;
BEGIN
    SELECT array_agg(DISTINCT coalesce(merged_into_id, id)) INTO v_roots FROM loyalty_persona
    WHERE id = ANY (p_personas) AND account_id = p_account;
    PERFORM loyalty_open_wallets(p_account, v_roots, p_now);
    IF EXISTS (SELECT FROM loyalty_persona
               WHERE id = ANY (p_personas) AND coalesce(merged_into_id, id) <> ALL (coalesce(v_roots, '{}'))) THEN
        RAISE EXCEPTION 'a persona was merged meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT array_agg(root) INTO v_mirrored FROM unnest(v_roots) AS r (root)
    WHERE loyalty_is_mirrored(p_account, ARRAY(SELECT id FROM loyalty_persona WHERE merged_into_id = root) || root);
    WITH asked AS MATERIALIZED (
        SELECT t.n, w.persona_id AS root, w.balance, t.points, t.key, t.said, CASE
            WHEN EXISTS (SELECT FROM loyalty_entry e WHERE e.account_id = p_account AND e.key = t.key) THEN 'already'
            WHEN w.closed THEN 'removed'
            WHEN w.persona_id = ANY (v_mirrored) THEN 'mirror'
            ELSE 'posted' END AS outcome
        FROM unnest(p_personas, p_points, p_keys, p_explanations) WITH ORDINALITY AS t (persona, points, key, said, n)
        JOIN loyalty_persona p ON p.id = t.persona JOIN loyalty_wallet w ON w.persona_id = coalesce(p.merged_into_id, p.id)
    ), lines AS (
        SELECT asked.*, sum(points) OVER (PARTITION BY root ORDER BY n) AS running FROM asked WHERE outcome = 'posted'
    ), posted AS (
        INSERT INTO loyalty_entry (account_id, persona_id, kind, points, balance_after, key, user_id, note, explanation, at)
        SELECT p_account, root, 'import', points, balance + running, key, p_user, '', said::jsonb, p_now
        FROM lines ORDER BY root, n
        RETURNING id, persona_id, points
    ), opened AS (
        INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, expires_at, created_at)
        SELECT p_account, persona_id, id, 'import', points, points, p_expires_at, p_now FROM posted ORDER BY id
    ), paid AS (
        UPDATE loyalty_wallet w SET balance = w.balance + s.points
        FROM (SELECT persona_id, sum(points) AS points FROM posted GROUP BY persona_id) s
        WHERE w.persona_id = s.persona_id
    )
    SELECT jsonb_agg(outcome ORDER BY n) INTO v_answer FROM asked;
    RETURN v_answer;
END $$;
