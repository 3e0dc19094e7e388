-- What is posted late is dated when it is posted: nothing enters a month that is closed.
CREATE OR REPLACE FUNCTION loyalty_refuse_closed_month() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh JOIN loyalty_monthclose c ON c.account_id = fresh.account_id AND c.ends_at > fresh.at) THEN
        RAISE EXCEPTION 'an entry is dated into a closed month' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
