"""PostgreSQL: tables, migrations, roles, every row lock, transactions, and its errors by SQLSTATE."""
