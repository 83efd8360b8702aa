"""On the path of a bridge that a test starts: the test's own connector stands for the kind "hydra"."""

from bridge.registry import CONNECTORS
from tests.saga.admin import Admin

CONNECTORS["hydra"] = Admin
