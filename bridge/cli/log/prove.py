"""`log prove` and `log check`: entries, and the proofs that they are in the log."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.disclosed import check_disclosed, disclosures, open_entry
from bridge.audit.filter import Filter
from bridge.audit.pack import PROOF_SUFFIX, Pack, file_name
from bridge.audit.prove import Prover
from bridge.audit.published import FolderFiles, read_beside, read_named
from bridge.cli.log.filters import filter_options
from bridge.cli.log.folder import open_reader
from bridge.cli.log.trusted import read_trust, trust_option, vkey_option
from bridge.cli.options import config_option, json_option
from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.evidence.files import LOG, VKEY
from bridge.model.times import now_ms, rfc3339
from bridge.tlog.proof import Proof

DISCLOSED_SUFFIX = ".disclosed.jsonl"


@click.command()
@click.argument("entry_id", metavar="[ID]", required=False)
@click.option("--output", "-o", type=click.Path(path_type=Path, file_okay=False), help="A folder. Default: this one.")
@click.option("--pack", type=click.Path(path_type=Path, file_okay=False), help="A new folder for all that fit.")
@click.option(
    "--disclose", is_flag=True, help="With ID: also what the entry's commitments hide, where it is not erased."
)
@filter_options(limit=None)
@vkey_option
@trust_option
@config_option
def prove(
    config: Path | None,
    *,
    entry_id: str | None,
    output: Path | None,
    pack: Path | None,
    disclose: bool,
    vkeys: tuple[Path, ...],
    policy: Path | None,
    **wanted: Any,
) -> None:
    """Write an entry and the proof that it is in the log: two files, checked offline.

    ID is its id, or its index. With --pack: every entry that the options fit, with all that is needed to check them.
    """
    chosen = any(value is not None for value in wanted.values())
    if (entry_id is None) == (pack is None) or (entry_id is not None and chosen) or (pack and (output or disclose)):
        raise click.UsageError(
            "write either ID (and --output, --disclose), or --pack FOLDER (and what its entries must fit)"
        )
    with open_reader(config) as reader:
        trust = read_trust(vkeys, policy, reader.folder / VKEY)
        prover = Prover(FolderFiles(reader.folder / LOG), trust)
        if not trust.satisfied([key for key, _ in prover.signed.cosigned]):
            raise EvidenceInvalid(f"the cosignatures of the checkpoint do not make the quorum ({trust.quorum})")
        if pack is not None:
            made = Pack(reader, prover, trust)
            _write_pack(pack, made.files(Filter(**wanted), now_ms()), policy)
            left = f"; {made.uncovered} more are not covered by a checkpoint yet" if made.uncovered else ""
            click.echo(f"{pack}: {made.fitting} entries fit, {made.beside} belong to them{left}")
            return
        found = reader.named(entry_id or "")
        hidden = {one.index: open_entry(one.entry, disclosures(reader, one.index)) for one in found if disclose}
    if not found:
        click.echo(f"no entry {entry_id}", err=True)
        raise click.exceptions.Exit(1)
    for one in found:
        proof = prover.prove(one.index, one.data)
        name = (output or Path()) / file_name(one)
        write(name.with_name(f"{name.name}.json"), one.data)
        write(name.with_name(f"{name.name}{PROOF_SUFFIX}"), bytes(proof))
        click.echo(f"{name}.json and {name}{PROOF_SUFFIX}: entry {one.index} of {prover.checkpoint.size}")
        if disclose:
            good = [opened for opened in hidden[one.index] if opened.state == "good"]
            lines = b"".join(orjson.dumps(opened.document()) + b"\n" for opened in good)
            disclosed = name.with_name(f"{name.name}{DISCLOSED_SUFFIX}")
            write(disclosed, lines)
            disclosed.chmod(0o600)
            click.echo(f"{name}{DISCLOSED_SUFFIX}: {len(good)} of its {len(hidden[one.index])} commitments")


def _write_pack(folder: Path, contents: Iterable[tuple[str, bytes]], policy: Path | None) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # entries hold names of people
        if any(folder.iterdir()):
            raise ConfigFault(f"{folder} is not empty: a pack has a folder of its own")
        if policy is not None:
            write(folder / "trust", policy.read_bytes())
    except OSError as error:
        raise ConfigFault(f"{folder} cannot be used: {error.strerror}") from error
    for name, data in contents:
        write(folder / name, data)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--entry", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Default: FILE, .json.")
@vkey_option
@trust_option
@json_option
def check(*, file: Path, entry: Path | None, vkeys: tuple[Path, ...], policy: Path | None, as_json: bool) -> None:
    """Check the proof in FILE and the entry beside it, and what was disclosed of it, without the log."""
    beside = entry or file.with_name(f"{file.name.removesuffix(PROOF_SUFFIX)}.json")
    told = file.with_name(f"{file.name.removesuffix(PROOF_SUFFIX)}{DISCLOSED_SUFFIX}")
    trust = read_trust(vkeys, policy, file.with_name("vkey"))
    try:
        if not beside.exists():
            raise ConfigFault(f"there is no entry {beside}: name it with --entry")
        proof = Proof.parse(read_named(file))
        data = read_named(beside) if entry else read_beside(beside)
        signed = proof.verify(data, trust.logs, [witness.key for witness in trust.witnesses])
        if not trust.satisfied([key for key, _ in signed.cosigned]):
            raise EvidenceInvalid(f"the cosignatures do not make the quorum ({trust.quorum})")
        disclosed = check_disclosed(data, read_beside(told)) if told.exists() else None
    except EvidenceInvalid as error:
        click.echo(orjson.dumps({"good": False, "problem": str(error)}).decode() if as_json else f"BAD  {error}")
        raise click.exceptions.Exit(1) from error
    about = signed.checkpoint
    witnesses = {key.name: rfc3339(time * 1000) for key, time in signed.cosigned}
    if as_json:
        document = {"good": True, "origin": about.origin, "index": proof.index, "size": about.size}
        click.echo(orjson.dumps(document | {"witnesses": witnesses, "disclosed": disclosed}).decode())
        return
    click.echo(f"OK   entry {proof.index} of {about.origin}, in a tree of {about.size}")
    if disclosed is not None:
        click.echo(f"     {disclosed} values in {told.name} are what it committed to")
    for name, time in witnesses.items():
        click.echo(f"     seen by {name} at {time}")


def write(path: Path, data: bytes) -> None:
    """ConfigFault when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ConfigFault(f"{path} cannot be written: {error.strerror}") from error
