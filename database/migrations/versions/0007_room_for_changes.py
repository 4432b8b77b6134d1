"""A page of orders keeps room for their changes; of a table that is there already, its new pages do."""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("ALTER TABLE orders SET (fillfactor = 85)")


def downgrade() -> None:
    op.execute("ALTER TABLE orders RESET (fillfactor)")
