"""What the bridge costs beside OPA: `make bench`, or `python -m bench --help`. Read docs/performance.md first."""
