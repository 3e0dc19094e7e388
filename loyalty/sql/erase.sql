-- Close the wallets of a group whose person was removed on request: what is left goes by an adjustment that says so,
-- nothing waits any more, and nothing can come in (`wallet_closed_empty`). The till has given the discount of an open
-- redemption, or is giving it: it is settled, since points that came back would be nobody's.
-- Answers {points, entry, redemptions, shortfalls}. A second time it finds nothing left.
CREATE OR REPLACE FUNCTION loyalty_erase(
    p_account bigint, p_root bigint, p_group bigint[], p_user bigint, p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_balance numeric;
    v_entry bigint;
    v_redemptions bigint;
    v_shortfalls bigint;
BEGIN
    PERFORM loyalty_open_wallets(p_account, p_group, p_now);
    IF EXISTS (SELECT FROM loyalty_wallet WHERE persona_id = ANY (p_group) AND persona_id <> p_root AND balance <> 0) THEN
        RAISE EXCEPTION 'a persona was split off meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT balance INTO STRICT v_balance FROM loyalty_wallet WHERE persona_id = p_root AND account_id = p_account;
    IF v_balance > 0 THEN
        v_entry := loyalty_post(p_account, p_root, 'adjust', -v_balance, 'erase:' || p_root, NULL, NULL, p_user, '',
                                '{"why": "erased"}', p_now, p_now);
        PERFORM loyalty_take(p_account, p_root, v_entry, v_balance);
    END IF;
    UPDATE loyalty_redemption SET state = 'settled', settled_at = p_now, matched_by = 'removed'
    WHERE account_id = p_account AND persona_id = ANY (p_group) AND state = 'applied';
    GET DIAGNOSTICS v_redemptions = ROW_COUNT;
    UPDATE loyalty_shortfall SET state = 'waived', closed_at = p_now, user_id = p_user
    WHERE account_id = p_account AND persona_id = ANY (p_group) AND state = 'open';
    GET DIAGNOSTICS v_shortfalls = ROW_COUNT;
    UPDATE loyalty_wallet SET closed = true WHERE account_id = p_account AND persona_id = ANY (p_group);
    RETURN jsonb_build_object('points', v_balance, 'entry', v_entry, 'redemptions', v_redemptions,
                              'shortfalls', v_shortfalls);
END $$;

-- Whether a wallet is a removed person's. Asked only where it would be paid, and where nothing lies in it.
CREATE OR REPLACE FUNCTION loyalty_is_closed(p_persona bigint, p_balance numeric) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN p_balance = 0 AND coalesce((SELECT closed FROM loyalty_wallet WHERE persona_id = p_persona), false);
END $$;
