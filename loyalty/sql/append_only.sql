-- A line of the ledger, or of the consent journal, is never changed. TRUNCATE is not refused: tests need it, and only
-- the owner of the table may. An erasure (`SET LOCAL aiqsync.erasing`) may take out what a person said or is reached
-- by; figures, keys and moments it may not touch, and seals do not cover those words.
CREATE OR REPLACE FUNCTION loyalty_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('aiqsync.erasing', true) = 'on'
       AND to_jsonb(NEW) - ARRAY['note', 'wording', 'address'] = to_jsonb(OLD) - ARRAY['note', 'wording', 'address'] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of % is refused: the ledger only grows', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
