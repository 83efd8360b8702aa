"""What lies in an evidence folder, by name."""

DATABASE = "evidence.sqlite"
"""The source of truth."""
LAYOUT = 1
"""Of its tables (its `user_version`): another number means that no file of the one can be read as the other."""
INDEX = "query.sqlite"
"""Query tables, derived."""
REGISTER = "register.sqlite"
"""Who delegated what to whom, derived."""
WRITER_LOCK = "writer.lock"
OWNER_LOCK = "owner.lock"
SIGNING_KEY = "signing.key"
"""The log's private key, unless evidence.key names another file."""
DIGEST_KEY = "digest.key"
"""The key under which ids of tokens are digested."""
LOG = "log"
"""The published log: what is below it is derived, and may be copied and served."""
CHECKPOINT = "log/checkpoint"
VKEY = "log/vkey"
POLICIES = "policies"
"""Every policy set that decided, as the bundle that ran."""


def archived(digest: str) -> str:
    """Where the policy set with this digest (SHA-256, hex) is kept, below the evidence folder."""
    return f"{POLICIES}/{digest}.tar.gz"
