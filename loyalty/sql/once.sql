-- What a call with this Idempotency-Key answered before, or nothing. Whoever asks holds the key until the transaction ends:
-- the same call beside it waits here, at most two seconds (then 55P03), and reads what the first one kept.
CREATE OR REPLACE FUNCTION loyalty_once(
    p_account bigint, p_key text, p_since timestamptz, OUT fingerprint text, OUT status smallint, OUT body text
) LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_key, p_account));  -- lock
    SELECT c.fingerprint, c.status, c.body INTO fingerprint, status, body FROM loyalty_idempotentcall c
    WHERE c.account_id = p_account AND c.key = p_key AND c.at >= p_since;
END $$;
