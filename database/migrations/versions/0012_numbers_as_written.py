"""An order is found by its number as people write it; no moment of an address lies ahead."""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ORDER_KEY = r"""
CREATE FUNCTION order_key(number text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN number COLLATE "C" ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' THEN number
    ELSE regexp_replace(regexp_replace(upper(regexp_replace(regexp_replace(regexp_replace(
        normalize(translate(number, '№º', '#°'), NFKC) COLLATE "C",
        '[\u00AD\u034F\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF]', '', 'g'),
        '[\u2010-\u2015\u2043\u2212]', '-', 'g'),
        '[ \t\n\r\f\v\u0085\u00A0\u1680\u2028\u2029]+', ' ', 'g')),
        '(?x)^(?:
            [^[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF]
          | (?: ORDER | ORD | ORDER-?NUMBER | NUMBER | NUM | NO | NR | N | ID
              | BESTELLUNG | BESTELLNUMMER | BESTELL-?NR | AUFTRAG | AUFTRAGSNUMMER | AUFTRAGS-?NR | NUMMER
              | ORDINE | NUMERO | COMMANDE | NUM[\u00C9\u00E9]RO | PEDIDO | N[\u00DA\u00FA]MERO | ENCOMENDA
              | BESTELLING | BESTELNUMMER | ORDERNUMMER | ORDRE | ORDRENUMMER | BEST[\u00C4\u00E4]LLNING
              | ZAM[\u00D3\u00F3]WIENIE | NUMER )(?=[ .:\u0023\u00B0])
        )+(?=[[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF])', ''),
        '(?<=[[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF])[^[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF]+$', '') END
$$
"""


def upgrade() -> None:
    op.execute(_ORDER_KEY)
    op.execute("CREATE INDEX orders_key ON orders (order_key(number))")
    op.execute(
        "CREATE INDEX change_request_unsettled_key ON change_request (order_key(order_number)) WHERE state <> 'decided'"
    )
    # Of its number the spelling may change, until it is decided: to that of the order that is meant.
    _guard("OLD.order_number <> NEW.order_number AND order_key(OLD.order_number) <> order_key(NEW.order_number)")
    _take_back_moments_that_lie_ahead()


def downgrade() -> None:
    _guard("OLD.order_number <> NEW.order_number")
    op.execute("DROP INDEX change_request_unsettled_key")
    op.execute("DROP INDEX orders_key")
    op.execute("DROP FUNCTION order_key(text)")


def _guard(other_order: str) -> None:
    op.execute("DROP TRIGGER change_request_says_what_it_said ON change_request")
    op.execute(
        "CREATE TRIGGER change_request_says_what_it_said BEFORE UPDATE ON change_request FOR EACH ROW WHEN ("
        f" ({other_order}) OR"
        " (OLD.source, OLD.external_id, OLD.kind, OLD.ticket, OLD.body, OLD.data_sha256, OLD.received_at)"
        " IS DISTINCT FROM (NEW.source, NEW.external_id, NEW.kind, NEW.ticket, NEW.body, NEW.data_sha256,"
        " NEW.received_at)) EXECUTE FUNCTION refuse('a request stays as it was received')"
    )


def _take_back_moments_that_lie_ahead() -> None:
    """Sets the moment of an address back to its change where it lies ahead: it would stand against all later ones."""
    for role in ("shipping", "billing"):
        op.execute(
            f"""
            UPDATE orders SET {role}_asked_at = coalesce(
                (SELECT max(at) FROM changelog WHERE order_id = orders.id AND action = '{role}_address_changed'), now())
            WHERE {role}_asked_at > now() + interval '5 minutes'
            """  # noqa: S608  # our own names
        )
