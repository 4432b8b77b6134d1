-- One cancel request, all of its work in one transaction: what PostgreSQL does at most, one request a transaction.
-- (A colon before a letter would be a variable of pgbench's, in a text as well.)
\set order_no :n * :clients + :client_id + 1
\set n :n + 1
BEGIN;
SELECT id AS order_id, version FROM orders WHERE number = 'SO-' || CAST(:order_no AS text) FOR NO KEY UPDATE \gset
INSERT INTO change_request (source, external_id, order_number, kind, ticket, body, data_sha256, state, outcome, reasons,
    decided_at, decided_place)
VALUES ('limit', 'SO-' || CAST(:order_no AS text), 'SO-' || CAST(:order_no AS text), 'cancel', CAST(:order_no AS text),
    convert_to(:body, 'UTF8'), :sha256, 'decided', 'applied', '{order_cancelled}', clock_timestamp(), 0)
RETURNING id AS request_id \gset
UPDATE orders SET status = 'cancelled', version = version + 1 WHERE id = :order_id AND version = :version;
INSERT INTO changelog (order_id, actor, action, change_request_id, note, before, after)
VALUES (:order_id, 'helpdesk:' || 'limit', 'cancelled', :request_id, 'Ordered twice', '{"status": "validated"}',
    '{"status": "cancelled"}');
WITH moved AS (
    INSERT INTO stock_movement (order_id, line_no, cause, sku, quantity, change_request_id)
    SELECT order_id, line_no, 'order_cancelled', sku, quantity, CAST(:request_id AS bigint) FROM order_line WHERE order_id = :order_id
    RETURNING sku, quantity
)
INSERT INTO stock (sku, quantity) SELECT sku, sum(quantity) FROM moved GROUP BY sku ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET quantity = stock.quantity + excluded.quantity;
INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)
VALUES (:request_id, 'log', 'public', 'Your order', 'Your order was cancelled; you get your money back.', 'sent');
COMMIT;
