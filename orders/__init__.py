"""The state: tables, migrations, every lock, inbox, changelog, decisions, effects, stock, audit."""
