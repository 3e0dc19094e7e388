CREATE OR REPLACE FUNCTION loyalty_redeemed(p_redemption loyalty_redemption, p_number bigint, p_balance numeric, p_created boolean)
RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'redemption', p_redemption.public_id, 'discount', p_number, 'points', p_redemption.points, 'balance', p_balance,
        'state', p_redemption.state, 'n', p_redemption.n, 'transaction', p_redemption.transaction,
        'applied_at', p_redemption.applied_at, 'created', p_created)
$$;

-- Use a discount: lock, find the same request, check, take, answer, in one round trip.
-- p_n is how many redemptions of the discount the persona had when the wallet was read: the redemption address.
-- Answers the redemption, or {refused, balance, price}. Looking for the same request comes before every check, so that
-- a repeated request is answered alike after the discount has ended.
CREATE OR REPLACE FUNCTION loyalty_redeem(
    p_account bigint, p_persona bigint, p_discount bigint, p_n bigint, p_transaction text, p_channel text,
    p_now timestamptz, p_store bigint, p_user bigint, p_one_per_order boolean
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_balance numeric := loyalty_open_wallet(p_account, p_persona, p_now);
    v_channel text := CASE WHEN p_transaction <> '' AND p_channel = 'web' THEN 'till' ELSE p_channel END;
    v_discount loyalty_discount;
    v_found loyalty_redemption;
    v_next bigint;
    v_refused text;
    v_entry bigint;
BEGIN
    SELECT * INTO v_discount FROM loyalty_discount WHERE id = p_discount AND account_id = p_account;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('refused', 'unknown', 'balance', v_balance, 'price', 0);
    END IF;
    SELECT coalesce(max(n) + 1, 0) INTO v_next FROM loyalty_redemption
    WHERE persona_id = p_persona AND discount_id = p_discount;

    IF p_transaction <> '' THEN
        SELECT * INTO v_found FROM loyalty_redemption
        WHERE persona_id = p_persona AND discount_id = p_discount AND transaction = p_transaction
          AND state IN ('applied', 'settled');
        IF FOUND THEN
            RETURN loyalty_redeemed(v_found, v_discount.number, v_balance, false);
        END IF;
        -- Given back, and this request was made before: a late repetition, not a new wish.
        IF v_next > p_n AND EXISTS (
            SELECT FROM loyalty_redemption WHERE persona_id = p_persona AND discount_id = p_discount
            AND transaction = p_transaction AND n >= p_n
        ) THEN
            v_refused := 'given_back';
        END IF;
    END IF;
    IF v_refused IS NULL AND v_next > p_n THEN
        SELECT * INTO v_found FROM loyalty_redemption
        WHERE persona_id = p_persona AND discount_id = p_discount AND n = p_n;
        IF NOT FOUND THEN
            v_refused := 'stale';
        ELSIF v_found.state NOT IN ('applied', 'settled') THEN
            v_refused := 'given_back';
        ELSIF p_transaction = '' THEN
            RETURN loyalty_redeemed(v_found, v_discount.number, v_balance, false);
        END IF;
    END IF;
    IF v_refused IS NULL AND p_one_per_order AND p_transaction <> '' AND EXISTS (
        SELECT FROM loyalty_redemption WHERE persona_id = p_persona AND discount_id <> p_discount
        AND transaction = p_transaction AND state IN ('applied', 'settled')
    ) THEN
        v_refused := 'order';
    END IF;
    IF v_refused IS NULL AND v_found.transaction = '' AND v_found.sale_id IS NOT NULL THEN
        v_refused := 'stale';  -- its sale is known already: another order is another use, from a wallet read anew
    END IF;
    IF v_refused IS NULL AND v_found.transaction = '' THEN
        -- First without a transaction, now with one: the same use. Whoever names an order is a till.
        UPDATE loyalty_redemption SET
            transaction = p_transaction,
            channel = 'till',
            state = CASE WHEN channel = 'web' AND sale_id IS NULL THEN 'applied' ELSE state END,
            settled_at = CASE WHEN channel = 'web' AND sale_id IS NULL THEN NULL ELSE settled_at END,
            store_id = coalesce(store_id, p_store)
        WHERE id = v_found.id RETURNING * INTO v_found;
        RETURN loyalty_redeemed(v_found, v_discount.number, v_balance, false);
    END IF;

    IF v_refused IS NULL THEN
        v_refused := CASE
            WHEN p_n > v_next THEN 'stale'
            WHEN NOT coalesce((SELECT enabled FROM loyalty_programme WHERE account_id = p_account), false) THEN 'disabled'
            WHEN v_discount.archived_at IS NOT NULL THEN 'archived'
            WHEN v_discount.starts_at > p_now THEN 'not_started'
            WHEN v_discount.ends_at <= p_now THEN 'ended'
            WHEN NOT v_discount.reusable AND EXISTS (
                SELECT FROM loyalty_redemption WHERE persona_id = p_persona AND discount_id = p_discount
                AND state IN ('applied', 'settled')) THEN 'used'
            WHEN v_balance < v_discount.points THEN 'points'
        END;
    END IF;
    IF v_refused IS NOT NULL THEN
        RETURN jsonb_build_object('refused', v_refused, 'balance', v_balance, 'price', v_discount.points);
    END IF;

    INSERT INTO loyalty_redemption (account_id, public_id, persona_id, discount_id, n, transaction, channel, state, points,
                                    reverted_points, store_id, user_id, applied_at, settled_at)
    VALUES (p_account, gen_random_uuid(), p_persona, p_discount, v_next, p_transaction, v_channel,
            CASE WHEN v_channel = 'web' THEN 'settled' ELSE 'applied' END, v_discount.points,
            0, p_store, p_user, p_now, CASE WHEN v_channel = 'web' THEN p_now END)
    RETURNING * INTO v_found;
    IF v_discount.points > 0 THEN
        v_entry := loyalty_post(p_account, p_persona, 'redeem', -v_discount.points, 'redeem:' || v_found.id, NULL,
                                v_found.id, p_user, '', '{}', p_now, p_now);
        PERFORM loyalty_take(p_account, p_persona, v_entry, v_discount.points, NULL);
    END IF;
    RETURN loyalty_redeemed(v_found, v_discount.number, v_balance - v_discount.points, true);
END $$;
