"""What holds for all tests."""

import os

# A BRIDGE__ variable of whoever runs the tests would win over the configuration that a test writes.
for _name in [name for name in os.environ if name.startswith("BRIDGE__")]:
    del os.environ[_name]
# All of it is loopback; a proxy of the environment must not come between.
os.environ["NO_PROXY"] = "*"
