"""the hash chain over the ledger's rows, incidents with what happened to them, and how far each reader has read"""

import sqlalchemy as sa
from alembic import op

from ccobs_ops.core import ledger_chain

revision = "0003_loop"
down_revision = "0002_replication"


def upgrade() -> None:
    """Make the tables, and chain the rows that are there already, in the order in which they happened."""
    op.create_table(
        "ccobs_chain",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("row", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("link", sa.String(64), nullable=False),
    )
    op.create_index("ccobs_chain_row", "ccobs_chain", ["kind", "row"], unique=True)
    op.create_table(
        "ccobs_incidents",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("capability", sa.String(64), nullable=False),
        sa.Column("claim", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("open_key", sa.String(400)),
        sa.Column("detected_at", sa.BigInteger, nullable=False),
        sa.Column("verified_at", sa.BigInteger),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ccobs_incidents_open", "ccobs_incidents", ["open_key"], unique=True)
    op.create_index("ccobs_incidents_target", "ccobs_incidents", ["target", "detected_at"])
    op.create_index("ccobs_incidents_newest", "ccobs_incidents", ["detected_at", "id"])
    op.create_table(
        "ccobs_transitions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("incident", sa.String(128), nullable=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(255), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ccobs_transitions_once", "ccobs_transitions", ["incident", "name", "cause"], unique=True)
    op.create_table(
        "ccobs_cursors",
        sa.Column("reader", sa.String(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    ledger_chain.adopt(op.get_bind())


def downgrade() -> None:
    """Refused: evidence is not dropped."""
    raise NotImplementedError("the ledger holds evidence; restore an older copy instead of downgrading")
