"""The stock and its ledger: what a cancelled order gives back."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

CANCELLATION = "order_cancelled"

# One statement: a movement without its stock, or the stock without its movement, cannot be written. The upsert
# locks the stock rows by sku, as `database.locks` demands.
_RESTOCK = text(
    """
    WITH moved AS (
        INSERT INTO stock_movement (order_id, line_no, cause, sku, quantity, change_request_id)
        SELECT line.order_id, line.line_no, :cause, line.sku, line.quantity, effect.change_request_id
        FROM effect JOIN order_line AS line ON line.order_id = CAST(effect.payload ->> 'order_id' AS bigint)
        WHERE effect.id = ANY(CAST(:effects AS bigint[]))
        RETURNING sku, quantity
    )
    INSERT INTO stock (sku, quantity)
    SELECT sku, sum(quantity) FROM moved GROUP BY sku ORDER BY sku
    ON CONFLICT (sku) DO UPDATE SET quantity = stock.quantity + excluded.quantity
    """
)


def restock(connection: Connection, effect_ids: Sequence[int]) -> None:
    """Puts every line of the cancelled orders of these restock effects back into stock, each exactly once.

    A line that was put back before for the same cause violates a constraint, and nothing is written.
    """
    connection.execute(_RESTOCK, {"effects": list(effect_ids), "cause": CANCELLATION})
