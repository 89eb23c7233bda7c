"""What Alembic runs: the migrations on the connection that was handed in, inside its transaction."""

from __future__ import annotations

from alembic import context
from fleetwatch_storage.metadata import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
