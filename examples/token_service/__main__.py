"""`python -m examples.token_service`: the token service alone, on loopback, against a bridge that runs already."""

import argparse
import contextlib
import os
import time
from typing import get_args

from examples.token_service.clients import sample_store
from examples.token_service.local import ISSUER, Via, served


def main() -> None:
    """Serves until interrupted. The bridge's bearer token comes from the environment, not from the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.token_service", description=__doc__)
    parser.add_argument("--bridge", default="http://127.0.0.1:8380", help="URL of the bridge (%(default)s)")
    parser.add_argument("--port", type=int, default=8390, help="port to listen on (%(default)s)")
    parser.add_argument("--issuer", default=ISSUER, help="iss of the tokens; the bridge knows its clients by it")
    parser.add_argument("--via", choices=get_args(Via), default="native", help="how the bridge is asked (%(default)s)")
    options = parser.parse_args()
    token = os.environ.get("BRIDGE_TOKEN", "none")
    with (
        contextlib.suppress(KeyboardInterrupt),
        served(sample_store(), options.bridge, token, options.issuer, options.via, options.port) as url,
    ):
        print(f"token service {options.issuer} at {url}, asking {options.bridge}; Ctrl-C ends it", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
