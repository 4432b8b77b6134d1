"""What of an order goes into its document, as one hash: written down at the claim, compared by the audit."""

# An SQL expression over a row of `orders`.
ORDER_SHA256 = """
    encode(sha256(convert_to(jsonb_build_array(
        orders.number, orders.placed_at AT TIME ZONE 'UTC', orders.currency, orders.customer,
        orders.shipping, orders.billing,
        (SELECT jsonb_agg(jsonb_build_array(line_no, sku, description, quantity, unit_price) ORDER BY line_no)
         FROM order_line WHERE order_line.order_id = orders.id)
    )::text, 'UTF8')), 'hex')
"""
