-- What may become of a redemption. Given back by a person or a till is the end; released may be taken once more, because
-- its sale can come late. A web shop's use waits for a sale after all when a till names the order.
-- Whose it is, of what, for how many points and since when never changes.
CREATE OR REPLACE FUNCTION loyalty_refuse_redemption() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.account_id, OLD.public_id, OLD.persona_id, OLD.asked_as_id, OLD.discount_id, OLD.n, OLD.points, OLD.applied_at)
       IS DISTINCT FROM
       (NEW.account_id, NEW.public_id, NEW.persona_id, NEW.asked_as_id, NEW.discount_id, NEW.n, NEW.points, NEW.applied_at)
    THEN
        RAISE EXCEPTION 'redemption %: whose, what, how much and when never changes', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.state = NEW.state
       OR (OLD.state, NEW.state) IN (('applied', 'settled'), ('applied', 'released'), ('applied', 'reverted'),
                                     ('settled', 'released'), ('settled', 'reverted'), ('released', 'settled'))
       OR (OLD.state = 'settled' AND NEW.state = 'applied' AND OLD.channel = 'web' AND OLD.sale_id IS NULL
           AND OLD.transaction = '' AND NEW.transaction <> '')
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'redemption % cannot go from % to %', OLD.id, OLD.state, NEW.state
        USING ERRCODE = 'restrict_violation';
END $$;
