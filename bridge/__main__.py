"""`python -m bridge`."""

from bridge.cli.main import run

run()
