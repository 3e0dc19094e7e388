-- A redemption's state changed: a line for whoever tells it to webhooks. Only changes cost this, neither a redemption
-- nor a sale that meets none; and only of an account that has an endpoint, by its index.
CREATE OR REPLACE FUNCTION loyalty_note_redemption() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty_redemptionchange (account_id, redemption_id, state, at)
    SELECT NEW.account_id, NEW.id, NEW.state, coalesce(NEW.ended_at, NEW.settled_at, now())
    WHERE EXISTS (SELECT FROM loyalty_webhookendpoint WHERE account_id = NEW.account_id AND state <> 'off');
    RETURN NULL;
END $$;
