-- STOP wins: an address that is stopped is left only by the shopper's own START. Whoever writes, and however.
CREATE OR REPLACE FUNCTION loyalty_stop_wins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('aiqsync.erasing', true) = 'on' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'STOP is not forgotten' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> 'stopped' AND NOT EXISTS (
        SELECT FROM loyalty_consentline l
        WHERE l.id = NEW.line_id AND l.id IS DISTINCT FROM OLD.line_id AND l.act = 'unstop' AND l.source = 'shopper'
          AND l.account_id = NEW.account_id AND l.channel = NEW.channel AND l.address = NEW.address
    ) THEN
        RAISE EXCEPTION 'STOP stands until the shopper sends START' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
