"""`python -m examples.hydra_login_consent`: on loopback, beside a Hydra and a bridge that run already."""

import argparse
import contextlib
import os
import threading
from collections.abc import Iterator

from werkzeug.serving import make_server

from examples.hydra_login_consent.app import create_app
from examples.hydra_login_consent.bridge import BridgeClient
from examples.hydra_login_consent.hydra import Hydra


@contextlib.contextmanager
def served(hydra_url: str, bridge_url: str, token: str, port: int = 0) -> Iterator[str]:
    """Its URL, while it runs in a thread."""
    hydra, bridge = Hydra(hydra_url), BridgeClient(bridge_url, token)
    server = make_server("127.0.0.1", port, create_app(hydra, bridge), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        hydra.close()
        bridge.close()


def main() -> None:
    """Serves until interrupted. The bridge's bearer token comes from the environment, not from the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.hydra_login_consent", description=__doc__)
    parser.add_argument("--hydra", default="http://127.0.0.1:4445", help="URL of Hydra's admin API (%(default)s)")
    parser.add_argument("--bridge", default="http://127.0.0.1:8380", help="URL of the bridge (%(default)s)")
    parser.add_argument("--port", type=int, default=4455, help="port to listen on (%(default)s)")
    options = parser.parse_args()
    token = os.environ.get("BRIDGE_TOKEN", "none")
    with contextlib.suppress(KeyboardInterrupt), served(options.hydra, options.bridge, token, options.port) as url:
        print(f"login and consent at {url}, asking {options.bridge}; Ctrl-C ends it", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
