"""`serve`: runs the bridge until it is told to stop."""

import asyncio
import signal
import sys
from pathlib import Path

import click
import structlog
import uvloop

from bridge.cli.options import config_option
from bridge.cli.workers import run_workers
from bridge.config.settings import Settings, load_settings
from bridge.evidence.store import owned
from bridge.ops.logging import configure_logging
from bridge.server import Bridge, refuse_foreign_log

log = structlog.get_logger(__name__)


@click.command()
@config_option
@click.option("--worker", type=int, default=None, hidden=True)
def serve(config: Path | None, worker: int | None) -> None:
    """Listen, decide, record. Without --config: loopback, sample policies, everyone on this machine may ask."""
    settings = load_settings(config)
    configure_logging(settings.log.format, settings.log.level)
    if worker is not None:
        uvloop.run(_serve(settings, worker, reuse_port=True))
        return
    with owned(Path(settings.evidence.path)) as lock:
        asyncio.run(refuse_foreign_log(settings))
        if settings.server.workers > 1:
            run_workers(settings, config, lock)
        else:
            uvloop.run(_serve(settings, 0, reuse_port=False))


async def _serve(settings: Settings, worker: int, *, reuse_port: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if reuse_port:
        _stop_with_parent(loop, stop)
    bridge = Bridge(settings, worker=worker)
    starting = asyncio.create_task(bridge.start())
    await asyncio.wait({starting, stopping := asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.done() and not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    try:
        port = await bridge.listen(reuse_port=reuse_port)
        log.info("listening", host=settings.server.host, port=port, worker=worker)
        if worker == 0:
            click.echo(how_to_ask(settings, port))
        await stopping
        log.info("stopping")
    finally:
        await bridge.stop()


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """A worker's standard input is a pipe that its parent never writes to: it ends when the parent does, however."""

    def ended() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    loop.add_reader(sys.stdin, ended)


def how_to_ask(settings: Settings, port: int) -> str:
    """A first request, to be copied."""
    scheme = "https" if settings.server.tls_cert else "http"
    token = ' \\\n    -H "Authorization: Bearer $TOKEN"' if settings.callers else ""
    body = '{"grant_type": "client_credentials", "client": {"id": "nightly-batch"}, "scopes": ["accounts:read"]}'
    return (
        f"\nThe bridge decides on {scheme}://{settings.server.host}:{port}. Ask it something:\n\n"
        f"  curl -s {scheme}://{settings.server.host}:{port}/v1/issuance/decisions{token} \\\n"
        f"    -H 'Content-Type: application/json' \\\n    -d '{body}'\n"
    )
