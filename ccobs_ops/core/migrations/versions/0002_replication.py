"""when each canary object was written, and when it was first seen in the replica"""

import sqlalchemy as sa
from alembic import op

revision = "0002_replication"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of arrivals."""
    op.create_table(
        "ccobs_arrivals",
        sa.Column("target", sa.String(255), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("md5", sa.String(32), nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
        sa.Column("absent_at", sa.BigInteger),
        sa.Column("seen_at", sa.BigInteger),
        sa.Column("given_up_at", sa.BigInteger),
        sa.Column("removed_at", sa.BigInteger),
        sa.Column("reconciled", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ccobs_arrivals_written", "ccobs_arrivals", ["target", "written_at"])


def downgrade() -> None:
    """Refused: evidence is not dropped."""
    raise NotImplementedError("the ledger holds evidence; restore an older copy instead of downgrading")
