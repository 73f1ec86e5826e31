"""alerts: what each channel has been told is open, how each channel does, and the messages that wait for it"""

import sqlalchemy as sa
from alembic import op

revision = "0004_alerts"
down_revision = "0003_loop"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "ccobs_alerts",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(420), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "ccobs_alert_channels",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.BigInteger),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("delivered_at", sa.BigInteger),
        sa.Column("refreshed_at", sa.BigInteger),
        sa.Column("heartbeat_on", sa.String(10)),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_table(
        "ccobs_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("key", sa.String(420), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ccobs_outbox_waiting", "ccobs_outbox", ["state", "channel", "id"])


def downgrade() -> None:
    """Refused: evidence is not dropped."""
    raise NotImplementedError("the ledger holds evidence; restore an older copy instead of downgrading")
