-- Wallets that show what the POS's own programme says. While they do, nobody else moves them.

-- Whether the points of a group are the POS's: one of its records is of an origin that is mirrored. Nearly all accounts
-- mirror nothing, so that is asked first.
CREATE OR REPLACE FUNCTION loyalty_is_mirrored(p_account bigint, p_group bigint[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM loyalty_mirroring WHERE account_id = p_account AND ended_at IS NULL) THEN
        RETURN false;
    END IF;
    RETURN EXISTS (
        SELECT FROM loyalty_source s JOIN integrations_customer c ON c.id = s.customer_id
        JOIN loyalty_mirroring g ON g.origin_id = c.origin_id AND g.ended_at IS NULL
        WHERE s.persona_id = ANY (p_group)
    ) OR EXISTS (
        SELECT FROM loyalty_mirrorstate m JOIN integrations_customer c ON c.id = m.customer_id
        JOIN loyalty_mirroring g ON g.origin_id = c.origin_id AND g.ended_at IS NULL
        WHERE m.persona_id = ANY (p_group) AND m.posted <> 0
          -- The record of an erased source is nobody's: its source may be connected and mirrored again.
          AND EXISTS (SELECT FROM loyalty_source s WHERE s.customer_id = m.customer_id)
    );
END $$;

-- What is posted of the POS's balances for a root, by the records that are mirrored now. Null: for none of them yet.
-- A record that says nothing here and has gone to another person is not this one's: his other points are his.
CREATE OR REPLACE FUNCTION loyalty_mirrored_points(p_account bigint, p_root bigint) RETURNS numeric
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_group bigint[];
BEGIN
    IF NOT EXISTS (SELECT FROM loyalty_mirroring WHERE account_id = p_account AND ended_at IS NULL) THEN
        RETURN NULL;
    END IF;
    v_group := ARRAY(SELECT id FROM loyalty_persona WHERE merged_into_id = p_root) || p_root;
    RETURN (
        SELECT sum(m.posted) FROM loyalty_mirrorstate m
        JOIN integrations_customer c ON c.id = m.customer_id
        JOIN loyalty_mirroring g ON g.origin_id = c.origin_id AND g.ended_at IS NULL
        JOIN loyalty_source s ON s.customer_id = m.customer_id
        WHERE m.account_id = p_account AND m.persona_id = ANY (v_group)
          AND (m.posted <> 0 OR s.persona_id = ANY (v_group)));
END $$;

-- Bring a locked wallet to what is mirrored into it: other points that are there go, points that are missing come. Answers
-- what was posted. The POS's balance is the balance, whatever was earned, given or given back here.
CREATE OR REPLACE FUNCTION loyalty_mirror_rest(p_account bigint, p_root bigint, p_now timestamptz, p_first boolean DEFAULT false)
RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    v_points numeric;
    v_balance numeric;
    v_closed boolean;
    v_entry bigint;
    v_lots bigint[];
BEGIN
    v_points := loyalty_mirrored_points(p_account, p_root);
    IF v_points IS NULL AND NOT p_first THEN
        RETURN 0;
    END IF;
    SELECT balance, closed INTO v_balance, v_closed FROM loyalty_wallet WHERE persona_id = p_root AND account_id = p_account;
    IF v_closed OR v_balance IS NULL THEN
        RETURN 0;
    END IF;
    v_points := coalesce(v_points, 0) - v_balance;
    IF v_points = 0 THEN
        RETURN 0;
    END IF;
    v_entry := loyalty_post(
        p_account, p_root, 'mirror', v_points,
        'mirror:rest:' || p_root || ':' || (SELECT count(*) FROM loyalty_entry WHERE persona_id = p_root AND kind = 'mirror'),
        NULL, NULL, NULL, '', '{"why": "mirror_rest"}', p_now, p_now);
    IF v_points > 0 THEN
        INSERT INTO loyalty_lot (account_id, persona_id, entry_id, kind, points, remaining, created_at)
        VALUES (p_account, p_root, v_entry, 'mirror', v_points, v_points, p_now);
    ELSE
        SELECT array_agg(id ORDER BY expires_at, id) INTO v_lots FROM loyalty_lot
        WHERE persona_id = p_root AND open AND kind <> 'mirror';
        PERFORM loyalty_take(p_account, p_root, v_entry, -v_points, v_lots);
    END IF;
    RETURN v_points;
END $$;

-- Bring the wallets of these customers' roots to what the POS says of them: arrays side by side, a customer once.
-- A record that went to another person takes its points along. What is there is set right first, so that a fall always
-- finds what it takes. Answers {entries, points, shoppers}: what was posted, and how many wallets it changed.
CREATE OR REPLACE FUNCTION loyalty_mirror_wallets(
    p_account bigint, p_roots bigint[], p_customers bigint[], p_balances numeric[], p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_wallets bigint[];
    v_before numeric[];
    v_one record;
    v_root bigint;
    v_entries bigint := 0;
    v_points numeric := 0;
    v_shoppers bigint;
    v_answer jsonb;
BEGIN
    SELECT array_agg(DISTINCT w.id ORDER BY w.id) INTO v_wallets FROM (
        SELECT unnest(p_roots) AS id
        UNION
        SELECT coalesce(p.merged_into_id, p.id) FROM loyalty_mirrorstate m JOIN loyalty_persona p ON p.id = m.persona_id
        WHERE m.customer_id = ANY (p_customers) AND m.account_id = p_account
    ) w WHERE w.id IS NOT NULL;
    IF v_wallets IS NULL THEN
        RETURN '{"entries": 0, "points": 0, "shoppers": 0}';
    END IF;
    PERFORM loyalty_open_wallets(p_account, v_wallets, p_now);
    IF EXISTS (SELECT FROM loyalty_persona WHERE id = ANY (p_roots) AND merged_into_id IS NOT NULL) THEN
        RAISE EXCEPTION 'a persona was merged meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT array_agg(w.balance ORDER BY w.persona_id) INTO v_before FROM loyalty_wallet w WHERE w.persona_id = ANY (v_wallets);
    FOREACH v_root IN ARRAY v_wallets LOOP
        v_answer := to_jsonb(loyalty_mirror_rest(p_account, v_root, p_now, v_root = ANY (p_roots)));
        v_entries := v_entries + (v_answer <> '0')::int;
        v_points := v_points + v_answer::text::numeric;
    END LOOP;
    FOR v_one IN
        SELECT t.root, t.customer, t.balance, m.id AS state, m.posted, m.persona_id AS persona,
               coalesce(p.merged_into_id, p.id) AS owner
        FROM unnest(p_roots, p_customers, p_balances) AS t (root, customer, balance)
        LEFT JOIN loyalty_mirrorstate m ON m.customer_id = t.customer AND m.account_id = p_account
        LEFT JOIN loyalty_persona p ON p.id = m.persona_id
        ORDER BY t.root, t.customer
    LOOP
        IF v_one.state IS NOT NULL AND v_one.owner = v_one.root AND v_one.posted = v_one.balance THEN
            CONTINUE;
        END IF;
        IF v_one.owner <> v_one.root THEN
            IF v_one.posted <> 0 THEN
                v_answer := loyalty_mirror(p_account, v_one.owner, v_one.customer, 0, p_now);
                v_entries := v_entries + (v_answer->>'entry' IS NOT NULL)::int;
                v_points := v_points + (v_answer->>'points')::numeric;
            END IF;
            UPDATE loyalty_mirrorstate SET persona_id = v_one.root WHERE id = v_one.state;
        END IF;
        v_answer := loyalty_mirror(p_account, v_one.root, v_one.customer, v_one.balance, p_now);
        v_entries := v_entries + (v_answer->>'entry' IS NOT NULL)::int;
        v_points := v_points + (v_answer->>'points')::numeric;
    END LOOP;
    SELECT count(*) INTO v_shoppers FROM unnest(v_wallets, v_before) AS t (id, before)
    JOIN loyalty_wallet w ON w.persona_id = t.id WHERE w.balance <> t.before;
    RETURN jsonb_build_object('entries', v_entries, 'points', v_points, 'shoppers', v_shoppers);
END $$;
