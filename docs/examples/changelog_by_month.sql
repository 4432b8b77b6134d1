-- The changelog by months; docs/scaling.md says what that is good for, and what it costs.
-- tests/integration/test_changelog_by_month.py runs on this very file. PostgreSQL 17 or newer.
--
--   psql --set ON_ERROR_STOP=1 --file changelog_by_month.sql     as the owner of the tables
--   countermand migrate --roles                                  where the roles are in use: the table is a new one

-- What is there becomes the first part, up to the end of this month. Checked first, beside the running system.
DO $$ BEGIN
    EXECUTE format('ALTER TABLE changelog ADD CONSTRAINT changelog_first_part CHECK (at < %L) NOT VALID',
        date_trunc('month', now()) + interval '1 month');
END $$;
ALTER TABLE changelog VALIDATE CONSTRAINT changelog_first_part;

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE changelog RENAME TO changelog_first;
ALTER INDEX changelog_order_id_index RENAME TO changelog_first_order_id_index;
ALTER TABLE changelog_first ALTER id DROP IDENTITY;
DROP TRIGGER changelog_is_append_only ON changelog_first;

CREATE TABLE changelog (
    LIKE changelog_first INCLUDING DEFAULTS,
    CONSTRAINT changelog_order_id_fk FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT changelog_change_request_id_fk FOREIGN KEY (change_request_id) REFERENCES change_request (id)
) PARTITION BY RANGE (at);
ALTER TABLE changelog ALTER id ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('changelog', 'id'), max(id)) FROM changelog_first;
CREATE INDEX changelog_order_id_index ON changelog (order_id);
CREATE TRIGGER changelog_is_append_only BEFORE UPDATE OR DELETE ON changelog
    FOR EACH ROW EXECUTE FUNCTION refuse('the changelog is append-only');
CREATE TRIGGER changelog_is_never_truncated BEFORE TRUNCATE ON changelog
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('history is kept');
DO $$ BEGIN
    EXECUTE format('ALTER TABLE changelog ATTACH PARTITION changelog_first FOR VALUES FROM (MINVALUE) TO (%L)',
        date_trunc('month', now()) + interval '1 month');
END $$;
ALTER TABLE changelog_first DROP CONSTRAINT changelog_first_part;

-- The next three months. Run this again each month, by hand or by cron: it makes what is missing.
DO $$
DECLARE
    start timestamptz;
    part text;
BEGIN
    FOR n IN 1..3 LOOP
        start := date_trunc('month', now()) + n * interval '1 month';
        part := 'changelog_' || to_char(start, 'YYYY_MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I PARTITION OF changelog FOR VALUES FROM (%L) TO (%L)', part, start,
            start + interval '1 month');
        -- The parent can have neither: a key of the whole would have to contain the month.
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (id), ADD UNIQUE (change_request_id, action)', part);
        EXECUTE format('CREATE TRIGGER changelog_is_never_truncated BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
            'EXECUTE FUNCTION refuse(''history is kept'')', part);
    END LOOP;
END $$;
COMMIT;
