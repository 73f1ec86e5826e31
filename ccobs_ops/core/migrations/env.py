"""Run by Alembic: migrates on the connection, and in the transaction, that `ledger_engine` hands over."""

from alembic import context

from ccobs_ops.core.ledger_schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
