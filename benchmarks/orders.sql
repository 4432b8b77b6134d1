INSERT INTO partner (name, last_control_number)
SELECT 'WAREHOUSE', ceil(CAST(:sent AS numeric) / :per_interchange) WHERE :sent > 0;

INSERT INTO interchange (partner, control_number, filename, content, sha256, orders, state, lease_until, patience_since,
    sent_at)
SELECT 'WAREHOUSE', n, format('WAREHOUSE-%s.edi', n), content, encode(sha256(content), 'hex'),
    least(:per_interchange, :sent - (n - 1) * :per_interchange), 'sent', now(), now(), now()
FROM generate_series(1, CAST(ceil(CAST(:sent AS numeric) / :per_interchange) AS int)) AS n,
    LATERAL (SELECT convert_to('as it was sent ' || n, 'UTF8') AS content) AS made;

INSERT INTO orders (number, status, edi_state, placed_at, currency, warehouse, hold_until, validated_at, customer,
    shipping, billing, interchange_id)
SELECT 'SO-' || n, 'validated', CASE WHEN is_sent THEN 'sent' ELSE 'not_sent' END, now() - interval '1 day', 'EUR',
    'MAIN', CASE WHEN :held THEN now() + interval '1 day' END, now() - interval '1 hour',
    jsonb_build_object('name', 'Jane Doe', 'email', format('customer%s@example.com', n)), address, address,
    CASE WHEN is_sent THEN (nth - 1) / :per_interchange + 1 END
FROM generate_series(1, :total) AS n,
    LATERAL (SELECT n * CAST(:sent AS bigint) / :total AS nth) AS so_far,
    LATERAL (SELECT nth > (n - 1) * CAST(:sent AS bigint) / :total AS is_sent) AS one,
    LATERAL (SELECT jsonb_build_object('name', 'Jane Doe', 'line1', 'Hofstraße ' || n % 200, 'postal_code', '50667',
        'city', 'Köln', 'country', 'DE') AS address) AS made;

INSERT INTO order_line (order_id, line_no, sku, description, quantity, unit_price)
SELECT id, line_no, format('MUG-%s', 2 * (id * 7919 % 500) + line_no - 1), 'Mug', 1 + id % 5, 12.50
FROM orders, generate_series(1, 2) AS line_no;

INSERT INTO changelog (order_id, actor, action, after)
SELECT id, 'store', 'loaded', '{"status": "validated"}' FROM orders;

INSERT INTO changelog (order_id, actor, action, before, after)
SELECT orders.id, 'edi:WAREHOUSE', 'edi_claimed', '{"edi": "not_sent"}', jsonb_build_object('edi', 'claimed',
    'partner', partner, 'control_number', control_number, 'order_sha256', {ORDER_SHA256})
FROM orders JOIN interchange ON interchange.id = interchange_id;

INSERT INTO changelog (order_id, actor, action, before, after)
SELECT id, 'edi:WAREHOUSE', 'edi_sent', '{"edi": "claimed"}', '{"edi": "sent"}'
FROM orders WHERE edi_state = 'sent'
