"""The database schema's history, by Alembic."""
