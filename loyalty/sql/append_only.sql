-- A line of the ledger, or of the consent journal, is never changed. TRUNCATE is not refused: tests need it, and only
-- the owner of the table may. An erasure (`SET LOCAL aiqsync.erasing`) may take out what a person said or is reached
-- by; figures, keys and moments it may not touch, and seals do not cover those words. What was said of an address that
-- others bear as well stays theirs: the line only forgets who of them it was.
CREATE OR REPLACE FUNCTION loyalty_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_words text[] := ARRAY['note', 'wording', 'address'];
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('aiqsync.erasing', true) = 'on' THEN
        IF TG_TABLE_NAME = 'loyalty_consentline' AND to_jsonb(NEW) -> 'persona_id' = 'null' THEN
            v_words := v_words || 'persona_id'::text;
        END IF;
        IF to_jsonb(NEW) - v_words = to_jsonb(OLD) - v_words THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% of % is refused: the ledger only grows', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
