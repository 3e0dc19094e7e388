-- What every ledger call is made of: open a wallet (lock, expire), post an entry, take from lots.
-- A line ending in "-- lock" is the lock; the race tests install these texts without it and must then fail.

-- Lock a persona's wallet, made when it is not there, post its due expiries, and answer its balance.
CREATE OR REPLACE FUNCTION loyalty_open_wallet(p_account bigint, p_persona bigint, p_now timestamptz)
RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    v_balance numeric;
BEGIN
    FOR v_try IN 1..2 LOOP
        SELECT balance INTO v_balance FROM loyalty_wallet WHERE persona_id = p_persona AND account_id = p_account
            FOR UPDATE -- lock
        ;
        EXIT WHEN FOUND;
        IF v_try = 2 THEN
            RAISE EXCEPTION 'persona % is not of account %', p_persona, p_account;
        END IF;
        INSERT INTO loyalty_wallet (persona_id, account_id, balance) VALUES (p_persona, p_account, 0)
        ON CONFLICT DO NOTHING;
    END LOOP;
    IF EXISTS (SELECT FROM loyalty_lot WHERE persona_id = p_persona AND open AND expires_at <= p_now) THEN
        PERFORM loyalty_expire(ARRAY[p_persona], p_now);
        SELECT balance INTO v_balance FROM loyalty_wallet WHERE persona_id = p_persona;
    END IF;
    RETURN v_balance;
END $$;

-- The wallet of a persona's root. Merged or split while we waited for it: then another one is the right one, and is opened.
CREATE OR REPLACE FUNCTION loyalty_open_root(p_account bigint, p_persona bigint, p_now timestamptz,
                                             OUT o_root bigint, OUT o_balance numeric) LANGUAGE plpgsql AS $$
DECLARE
    v_again bigint;
BEGIN
    SELECT coalesce(merged_into_id, id) INTO o_root FROM loyalty_persona WHERE id = p_persona AND account_id = p_account;
    LOOP
        IF o_root IS NULL THEN
            RAISE EXCEPTION 'persona % is not of account %', p_persona, p_account;
        END IF;
        o_balance := loyalty_open_wallet(p_account, o_root, p_now);
        SELECT coalesce(merged_into_id, id) INTO v_again FROM loyalty_persona WHERE id = p_persona;
        EXIT WHEN v_again = o_root;
        o_root := v_again;
    END LOOP;
END $$;

-- The same for several personas at once, in persona order: whoever touches two wallets opens both here, first.
CREATE OR REPLACE FUNCTION loyalty_open_wallets(p_account bigint, p_personas bigint[], p_now timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty_wallet (persona_id, account_id, balance)
    SELECT p.id, p_account, 0 FROM unnest(p_personas) AS p (id)
    WHERE p.id IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty_wallet w WHERE w.persona_id = p.id) ORDER BY p.id
    ON CONFLICT DO NOTHING;
    PERFORM FROM loyalty_wallet WHERE persona_id = ANY (p_personas) AND account_id = p_account ORDER BY persona_id
        FOR UPDATE -- lock
    ;
    IF EXISTS (SELECT FROM loyalty_wallet WHERE persona_id = ANY (p_personas) AND account_id <> p_account) THEN
        RAISE EXCEPTION 'a persona is not of account %', p_account;
    END IF;
    IF EXISTS (SELECT FROM loyalty_lot WHERE persona_id = ANY (p_personas) AND open AND expires_at <= p_now) THEN
        PERFORM loyalty_expire(p_personas, p_now);
    END IF;
END $$;

-- Post the due lots of wallets that are locked already: one entry a lot. Answers how many.
-- A lot can fall due again (points were given back to it), so its later keys carry a count. The wallets are named again
-- where they are joined: a sweep's batch would read all of them otherwise.
CREATE OR REPLACE FUNCTION loyalty_expire(p_personas bigint[], p_now timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_lots integer;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT l.id, l.account_id, l.persona_id, l.remaining, l.expires_at,
               sum(l.remaining) OVER (PARTITION BY l.persona_id ORDER BY l.expires_at, l.id) AS running,
               (SELECT count(*) FROM loyalty_draw d JOIN loyalty_entry e ON e.id = d.entry_id
                WHERE d.lot_id = l.id AND e.kind = 'expire') AS before
        FROM loyalty_lot l
        WHERE l.persona_id = ANY (p_personas) AND l.open AND l.expires_at <= p_now
    ), keyed AS (
        SELECT due.*, 'expire:' || id || CASE WHEN before > 0 THEN ':' || before ELSE '' END AS key FROM due
    ), posted AS (
        INSERT INTO loyalty_entry (account_id, persona_id, kind, points, balance_after, key, note, explanation, cause_at, at)
        SELECT k.account_id, k.persona_id, 'expire', -k.remaining, w.balance - k.running, k.key, '', '{}', k.expires_at, p_now
        FROM keyed k JOIN loyalty_wallet w ON w.persona_id = k.persona_id AND w.persona_id = ANY (p_personas)
        ORDER BY k.persona_id, k.expires_at, k.id
        RETURNING id, account_id, key, points
    ), drawn AS (
        -- The key names the lot: joined with the lots again, each of a batch would be held against all others.
        INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
        SELECT account_id, id, split_part(key, ':', 2)::bigint, points FROM posted ORDER BY id
    ), emptied AS (
        UPDATE loyalty_lot l SET remaining = l.remaining - due.remaining FROM due WHERE l.id = due.id
    ), paid AS (
        UPDATE loyalty_wallet w SET balance = w.balance - s.points
        FROM (SELECT persona_id, sum(remaining) AS points FROM due GROUP BY persona_id) s
        WHERE w.persona_id = s.persona_id AND w.persona_id = ANY (p_personas)
    )
    SELECT count(*) INTO v_lots FROM posted;
    RETURN v_lots;
END $$;

-- Move the balance of a locked wallet and write the line that says so. Lots are the caller's next step.
CREATE OR REPLACE FUNCTION loyalty_post(
    p_account bigint, p_persona bigint, p_kind text, p_points numeric, p_key text, p_sale bigint, p_redemption bigint,
    p_user bigint, p_note text, p_explanation jsonb, p_cause_at timestamptz, p_now timestamptz,
    p_merge bigint DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_balance numeric;
    v_entry bigint;
BEGIN
    UPDATE loyalty_wallet SET balance = balance + p_points
    WHERE persona_id = p_persona AND account_id = p_account RETURNING balance INTO STRICT v_balance;
    INSERT INTO loyalty_entry (account_id, persona_id, kind, points, balance_after, key, sale_id, redemption_id,
                               merge_id, user_id, note, explanation, cause_at, at)
    VALUES (p_account, p_persona, p_kind, p_points, v_balance, p_key, p_sale, p_redemption,
            p_merge, p_user, p_note, p_explanation, p_cause_at, p_now)
    RETURNING id INTO v_entry;
    RETURN v_entry;
END $$;

-- The lots of a wallet that a sale's points lie or lay in: its own, and those they moved into with a merge.
CREATE OR REPLACE FUNCTION loyalty_sale_lots(p_sale bigint, p_persona bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    WITH RECURSIVE own AS (
        SELECT l.id FROM loyalty_entry e JOIN loyalty_lot l ON l.entry_id = e.id WHERE e.sale_id = p_sale AND e.kind = 'earn'
        UNION ALL
        SELECT c.id FROM own JOIN loyalty_lot c ON c.from_lot_id = own.id
    )
    SELECT array_agg(l.id ORDER BY l.expires_at, l.id)
    FROM own JOIN loyalty_lot l ON l.id = own.id WHERE l.persona_id = p_persona
$$;

-- Points are about to be taken from these lots of a locked wallet, more than they hold. What expired of them comes back
-- first, in a line of its own: who lost points on their day does not lose others in their place. Answers how many.
CREATE OR REPLACE FUNCTION loyalty_unexpire(
    p_account bigint, p_persona bigint, p_lots bigint[], p_wanted numeric, p_key text, p_sale bigint,
    p_cause_at timestamptz, p_now timestamptz
) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    v_wanted numeric;
    v_lots bigint[];
    v_points numeric[];
    v_back numeric;
    v_entry bigint;
BEGIN
    SELECT p_wanted - coalesce(sum(remaining), 0) INTO v_wanted FROM loyalty_lot
    WHERE id = ANY (p_lots) AND persona_id = p_persona;
    IF v_wanted <= 0 THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        SELECT l.id, -sum(d.points) AS points
        FROM loyalty_lot l JOIN loyalty_draw d ON d.lot_id = l.id JOIN loyalty_entry e ON e.id = d.entry_id
        WHERE l.id = ANY (p_lots) AND l.persona_id = p_persona AND e.kind = 'expire'
        GROUP BY l.id HAVING sum(d.points) < 0
    ), line AS (
        SELECT id, points, sum(points) OVER (ORDER BY id) - points AS before FROM gone
    )
    SELECT array_agg(id ORDER BY id), array_agg(least(points, v_wanted - before) ORDER BY id),
           sum(least(points, v_wanted - before))
    INTO v_lots, v_points, v_back FROM line WHERE before < v_wanted;
    IF v_back IS NULL THEN
        RETURN 0;
    END IF;
    v_entry := loyalty_post(p_account, p_persona, 'expire', v_back, p_key, p_sale, NULL, NULL, '', '{"why": "unexpired"}',
                            p_cause_at, p_now);
    UPDATE loyalty_lot l SET remaining = l.remaining + t.points
    FROM unnest(v_lots, v_points) AS t (lot, points) WHERE l.id = t.lot;
    INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
    SELECT p_account, v_entry, t.lot, t.points FROM unnest(v_lots, v_points) AS t (lot, points) ORDER BY t.lot;
    RETURN v_back;
END $$;

-- Take points from the open lots of a locked wallet: the lots that are named first, in their order, then those that
-- expire first, then the oldest. Draws are written in the order of taking.
CREATE OR REPLACE FUNCTION loyalty_take(
    p_account bigint, p_persona bigint, p_entry bigint, p_points numeric, p_first bigint[] DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_left numeric := p_points;
    v_lots bigint[] := '{}';
    v_points numeric[] := '{}';
    v_lot record;
BEGIN
    IF p_first IS NOT NULL THEN
        FOR v_lot IN
            SELECT l.id, l.remaining FROM unnest(p_first) WITH ORDINALITY AS f (lot, place)
            JOIN loyalty_lot l ON l.id = f.lot WHERE l.persona_id = p_persona AND l.open ORDER BY f.place
        LOOP
            EXIT WHEN v_left = 0;
            v_lots := v_lots || v_lot.id;
            v_points := v_points || least(v_lot.remaining, v_left);
            v_left := v_left - least(v_lot.remaining, v_left);
        END LOOP;
    END IF;
    IF v_left > 0 THEN
        FOR v_lot IN
            SELECT id, remaining FROM loyalty_lot
            WHERE persona_id = p_persona AND open AND id <> ALL (v_lots) ORDER BY expires_at, id
        LOOP
            v_lots := v_lots || v_lot.id;
            v_points := v_points || least(v_lot.remaining, v_left);
            v_left := v_left - least(v_lot.remaining, v_left);
            EXIT WHEN v_left = 0;
        END LOOP;
    END IF;
    IF v_left > 0 THEN
        RAISE EXCEPTION 'the lots of persona % hold % points less than its balance', p_persona, v_left;
    END IF;
    UPDATE loyalty_lot l SET remaining = l.remaining - t.points
    FROM unnest(v_lots, v_points) AS t (lot, points) WHERE l.id = t.lot;
    INSERT INTO loyalty_draw (account_id, entry_id, lot_id, points)
    SELECT p_account, p_entry, t.lot, -t.points
    FROM unnest(v_lots, v_points) WITH ORDINALITY AS t (lot, points, place) ORDER BY t.place;
END $$;
