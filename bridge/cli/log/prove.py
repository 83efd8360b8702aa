"""`log prove` and `log check`: one entry, and the proof that it is in the log."""

from pathlib import Path

import click
import orjson

from bridge.audit.prove import Prover
from bridge.audit.published import FolderFiles
from bridge.cli.log.folder import open_reader
from bridge.cli.log.trusted import read_trust, trust_option, vkey_option
from bridge.cli.options import config_option, json_option
from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.evidence.files import LOG, VKEY
from bridge.model.times import rfc3339
from bridge.tlog.proof import Proof

PROOF_SUFFIX = ".tlog-proof"


@click.command()
@click.argument("wanted", metavar="ID")
@click.option("--output", "-o", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="A folder.")
@vkey_option
@trust_option
@config_option
def prove(config: Path | None, *, wanted: str, output: Path, vkeys: tuple[Path, ...], policy: Path | None) -> None:
    """Write the entry ID (its id, or its index) and the proof that it is in the log: two files, checked offline."""
    with open_reader(config) as reader:
        found = reader.named(wanted)
        if not found:
            click.echo(f"no entry {wanted}", err=True)
            raise click.exceptions.Exit(1)
        folder = reader.folder
    prover = Prover(FolderFiles(folder / LOG), read_trust(vkeys, policy, folder / VKEY))
    for one in found:
        proof = prover.prove(one.index, one.data)
        name = output / f"{one.index}-{one.entry['id']}"
        write(name.with_name(f"{name.name}.json"), one.data)
        write(name.with_name(f"{name.name}{PROOF_SUFFIX}"), bytes(proof))
        click.echo(f"{name}.json and {name}{PROOF_SUFFIX}: entry {one.index} of {prover.checkpoint.size}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--entry", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Default: FILE, .json.")
@vkey_option
@trust_option
@json_option
def check(*, file: Path, entry: Path | None, vkeys: tuple[Path, ...], policy: Path | None, as_json: bool) -> None:
    """Check the proof in FILE and the entry beside it, without the log."""
    beside = entry or file.with_name(f"{file.name.removesuffix(PROOF_SUFFIX)}.json")
    trust = read_trust(vkeys, policy, file.with_name("vkey"))
    try:
        if not beside.exists():
            raise ConfigFault(f"there is no entry {beside}: name it with --entry")
        proof = Proof.parse(file.read_bytes())
        signed = proof.verify(beside.read_bytes(), trust.logs, [witness.key for witness in trust.witnesses])
        if not trust.satisfied([key for key, _ in signed.cosigned]):
            raise EvidenceInvalid(f"the cosignatures do not make the quorum ({trust.quorum})")
    except EvidenceInvalid as error:
        click.echo(orjson.dumps({"good": False, "problem": str(error)}).decode() if as_json else f"BAD  {error}")
        raise click.exceptions.Exit(1) from error
    about = signed.checkpoint
    witnesses = {key.name: rfc3339(time * 1000) for key, time in signed.cosigned}
    if as_json:
        document = {"good": True, "origin": about.origin, "index": proof.index, "size": about.size}
        click.echo(orjson.dumps(document | {"witnesses": witnesses}).decode())
        return
    click.echo(f"OK   entry {proof.index} of {about.origin}, in a tree of {about.size}")
    for name, time in witnesses.items():
        click.echo(f"     seen by {name} at {time}")


def write(path: Path, data: bytes) -> None:
    """ConfigFault when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ConfigFault(f"{path} cannot be written: {error.strerror}") from error
