"""exercises, canaries, events and heartbeats"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the four tables and their indexes."""
    op.create_table(
        "ccobs_exercises",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("capability", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index(
        "ccobs_exercises_latest", "ccobs_exercises", ["target", "capability", "finished_at", "id"]
    )
    op.create_index(
        "ccobs_exercises_verdict", "ccobs_exercises", ["target", "capability", "verdict", "finished_at", "id"]
    )
    op.create_index("ccobs_exercises_newest", "ccobs_exercises", ["finished_at", "id"])
    op.create_table(
        "ccobs_canaries",
        sa.Column("target", sa.String(255), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timeline", sa.BigInteger, nullable=False),
        sa.Column("committed_at", sa.BigInteger, nullable=False),
        sa.Column("lsn_low", sa.BigInteger, nullable=False),
        sa.Column("lsn_high", sa.BigInteger, nullable=False),
        sa.Column("reconciled", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ccobs_canaries_committed", "ccobs_canaries", ["target", "committed_at"])
    op.create_table(
        "ccobs_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
    op.create_index("ccobs_events_target", "ccobs_events", ["target", "at"])
    op.create_index("ccobs_events_newest", "ccobs_events", ["at"])
    op.create_table(
        "ccobs_heartbeats",
        sa.Column("target", sa.String(255), primary_key=True),
        sa.Column("component", sa.String(64), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refused: evidence is not dropped."""
    raise NotImplementedError("the ledger holds evidence; restore an older copy instead of downgrading")
