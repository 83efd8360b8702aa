"""The configuration: a TOML file, with environment variables `BRIDGE__SECTION__KEY` on top. Built once, passed down."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from bridge.config.authzen import AuthzenSection
from bridge.config.hooks import HooksSection
from bridge.config.logout import LogoutSection, LogoutSenderSection, RelyingPartySection
from bridge.config.section import Label, Section, is_loopback
from bridge.config.servers import AuthorizationServerSection, LifecycleSection
from bridge.config.sources import SourceSection
from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.model.ended import meant
from bridge.model.mask import SECRET_NAMES, SECRET_SUFFIXES, parse_pointer
from bridge.tlog.note import VerifierKey

Role = Literal["token_service", "auditor", "operator"]
_OF_NOTHING = hashlib.sha256().hexdigest()
_HTTP_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
LISTS = ("callers", "sources", "servers", "relying_parties", "logout_senders")
"""Sections that stand in the file once for each of what they tell of."""
_OTHER_HEADERS = frozenset({"host", "cookie", "connection", "content-length", "content-type", "transfer-encoding"})
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]


class ServerSection(Section):
    """Where and how the bridge listens, and what it takes."""

    host: str = "127.0.0.1"
    port: int = Field(default=8380, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    deadline_ms: int = Field(default=1000, ge=20, le=60_000, description="the whole request")
    max_scopes: int = Field(default=256, ge=1, le=256)
    max_in_flight: int = Field(default=1000, ge=1, le=100_000)
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    behind_tls_proxy: bool = False
    secret_names: tuple[str, ...] = SECRET_NAMES
    secret_suffixes: tuple[str, ...] = SECRET_SUFFIXES


class PolicySection(Section):
    """Which policies decide."""

    path: str = "rego"
    verification_key: str = Field(default="", description="a PEM public key; set, only a bundle that it signed decides")
    signing_key: str = Field(default="", description="a PEM private key: signs what is built and served")
    signing_key_id: Annotated[str, StringConstraints(max_length=256)] = ""
    max_token_lifetime_s: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _key_has_the_id(self) -> "PolicySection":
        if self.signing_key_id and not self.signing_key:
            raise ValueError("signing_key_id needs signing_key")
        return self


class EngineSection(Section):
    """What evaluates them."""

    kind: Literal["managed", "opa"] = "managed"
    url: str = "http://127.0.0.1:8181"
    deadline_ms: int = Field(default=250, ge=5, le=60_000, description="one query")
    opa: str = Field(default="", description="the opa binary; found without a word after `make setup`")

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if not url.startswith(("http://", "https://", "unix:///")):
            raise ValueError("must begin with http://, https:// or unix:///")
        parts = urlsplit(url)  # ValueError for a host that is none
        try:
            port = parts.port
        except ValueError:  # its text quotes what may be a piece of a password
            raise ValueError("must name a port that is a number (a slash in a password is written %2F)") from None
        if parts.query or parts.fragment:
            raise ValueError("must not have a query or a fragment")
        if parts.scheme != "unix":
            if not url.isascii() or not url.isprintable() or " " in url:
                raise ValueError("must be printable ASCII without spaces")
            if not parts.hostname or port == 0:
                raise ValueError("must name a host, and no port or one that is not 0")
        return url


class EvidenceSection(Section):
    """Where the log is kept."""

    path: str = "var/evidence"
    origin: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\s+]+$")] = (
        "localhost/issuance-bridge"
    )
    instance: Label = "bridge"
    key: str = Field(default="", description="the signing key's file; made in `path` on the first start when empty")
    retired_keys: tuple[str, ...] = Field(default=(), description="verifier keys that this log was signed with before")
    high_water: str = Field(default="", description="a checkpoint that is kept elsewhere; an older log is refused")
    trust: str = Field(default="", description="a tlog-policy file: the witnesses that cosign, and their quorum")
    mask: tuple[str, ...] = Field(default=(), description="JSON pointers into the request that entries do not show")
    personal: tuple[str, ...] = Field(default=(), description="the same, kept where they can be erased")

    @field_validator("retired_keys")
    @classmethod
    def _verifier_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            try:
                VerifierKey.parse(key)
            except EvidenceInvalid as error:
                raise ValueError(str(error)) from error
        return keys

    @field_validator("mask", "personal")
    @classmethod
    def _pointers(cls, pointers: tuple[str, ...]) -> tuple[str, ...]:
        for pointer in pointers:
            parse_pointer(pointer)
        return pointers


class LogSection(Section):
    """The process log, on standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class CallerSection(Section):
    """One caller: how it is known, what it may do, and which authorization server it speaks for."""

    name: Label
    roles: tuple[Role, ...] = Field(min_length=1)
    token_sha256: tuple[Sha256, ...] = ()
    header: str = ""
    cookie: str = ""
    tls_san: str = ""
    issuer: str = ""
    doors: tuple[str, ...] | None = None
    grant_types: tuple[str, ...] | None = None

    @field_validator("token_sha256", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("token_sha256")
    @classmethod
    def _of_a_secret(cls, digests: tuple[str, ...]) -> tuple[str, ...]:
        if any(digest.lower() == _OF_NOTHING for digest in digests):
            raise ValueError("is the digest of an empty secret, as when a shell's variable was not set")
        return digests

    @field_validator("header", "cookie")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if name and (not _HTTP_TOKEN.fullmatch(name) or name.lower() in _OTHER_HEADERS):
            raise ValueError("must be the name of a header or cookie that holds the secret and nothing else")
        return name

    @model_validator(mode="after")
    def _known_somehow(self) -> "CallerSection":
        if self.header and self.cookie:
            raise ValueError(f"caller {self.name!r}: header and cookie are two places for one secret; name one of them")
        if (self.header or self.cookie) and not self.token_sha256:
            raise ValueError(f"caller {self.name!r}: header and cookie need token_sha256, of the whole value there")
        if not self.token_sha256 and not self.tls_san:
            raise ValueError(f"caller {self.name!r} needs token_sha256 or tls_san")
        return self


class Settings(BaseSettings):
    """The whole configuration; a misspelt key is refused."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="BRIDGE__", env_nested_delimiter="__", env_ignore_empty=False
    )

    server: ServerSection = ServerSection()
    policy: PolicySection = PolicySection()
    engine: EngineSection = EngineSection()
    evidence: EvidenceSection = EvidenceSection()
    log: LogSection = LogSection()
    authzen: AuthzenSection = AuthzenSection()
    hooks: HooksSection = HooksSection()
    lifecycle: LifecycleSection = LifecycleSection()
    callers: tuple[CallerSection, ...] = ()
    sources: tuple[SourceSection, ...] = Field(default=(), max_length=32)
    servers: tuple[AuthorizationServerSection, ...] = Field(default=(), max_length=32)
    logout: LogoutSection = LogoutSection()
    relying_parties: tuple[RelyingPartySection, ...] = Field(default=(), max_length=1000)
    logout_senders: tuple[LogoutSenderSection, ...] = Field(default=(), max_length=32)

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def _safe(self) -> "Settings":
        server = self.server
        if bool(server.tls_cert) != bool(server.tls_key):
            raise ValueError("server.tls_cert and server.tls_key belong together")
        if server.client_ca and not server.tls_cert:
            raise ValueError("server.client_ca needs server.tls_cert")
        if not is_loopback(server.host):
            if not self.callers:
                raise ValueError(f"server.host {server.host!r} is beyond loopback: configure [[callers]] first")
            if not server.tls_cert and not server.behind_tls_proxy:
                raise ValueError(
                    f"server.host {server.host!r} is beyond loopback: set server.tls_cert and server.tls_key, "
                    "or server.behind_tls_proxy = true"
                )
        names = [caller.name for caller in self.callers]
        if len(set(names)) != len(names):
            raise ValueError("callers: every name may stand once")
        tokens = [token.lower() for caller in self.callers for token in caller.token_sha256]
        if len(set(tokens)) != len(tokens):
            raise ValueError("callers: one token_sha256 stands twice")
        names = [caller.tls_san for caller in self.callers if caller.tls_san]
        if len(set(names)) != len(names):
            raise ValueError("callers: one tls_san stands twice")
        if any(caller.tls_san for caller in self.callers) and not server.client_ca:
            raise ValueError("callers: tls_san needs server.client_ca")
        return self

    @field_validator("sources")
    @classmethod
    def _named_once(cls, sources: tuple[SourceSection, ...]) -> tuple[SourceSection, ...]:
        if len({source.name for source in sources}) != len(sources):
            raise ValueError("every name may stand once")
        return sources

    @field_validator("servers")
    @classmethod
    def _asked_once(cls, servers: tuple[AuthorizationServerSection, ...]) -> tuple[AuthorizationServerSection, ...]:
        if len({(server.issuer, server.kind) for server in servers}) != len(servers):
            raise ValueError("every kind may stand once for an issuer")
        return servers

    @field_validator("relying_parties")
    @classmethod
    def _clients_once(cls, parties: tuple[RelyingPartySection, ...]) -> tuple[RelyingPartySection, ...]:
        if len({(party.issuer, party.client_id) for party in parties}) != len(parties):
            raise ValueError("every client_id may stand once at its issuer")
        return parties

    @field_validator("logout_senders")
    @classmethod
    def _senders_once(cls, senders: tuple[LogoutSenderSection, ...]) -> tuple[LogoutSenderSection, ...]:
        if len({sender.issuer for sender in senders}) != len(senders):
            raise ValueError("every issuer may stand once")
        return senders

    @model_validator(mode="after")
    def _notices_are_signed(self) -> "Settings":
        if any(party.backchannel_logout_uri for party in self.relying_parties) and not self.logout.signing_key:
            raise ValueError("relying_parties: backchannel_logout_uri needs logout.signing_key")
        return self

    @model_validator(mode="after")
    def _issuers_are_spelt_alike(self) -> "Settings":
        known = {caller.issuer or caller.name for caller in self.callers}
        for table, rows in (("relying_parties", self.relying_parties), ("logout_senders", self.logout_senders)):
            for row in rows:
                if (other := meant(row.issuer, known)) is not None:
                    raise ValueError(
                        f"{table}: issuer {row.issuer!r} is {other!r} in callers: no session of the one is "
                        "of the other, so write both as tokens have it"
                    )
        return self


def load_settings(file: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """The settings of `file` (TOML), with the environment and `overrides` on top. ConfigFault names the key."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigFault(f"{file}: {error}") from error
    # Within a section pydantic-settings refuses what it does not know; a misspelt section in the environment it would
    # pass over, and some names at the top of the file are arguments of its own.
    for name in values:
        if name not in Settings.model_fields:
            raise ConfigFault(f"{file}: {name}: {_no_such('section', Settings)}")
    for name in os.environ:
        if name.upper().startswith("BRIDGE__") and name.split("__")[1].lower() not in Settings.model_fields:
            raise ConfigFault(f"{name}: {_no_such('section', Settings)}")
    for section, keys in (overrides or {}).items():
        values[section] = {**values.get(section, {}), **keys}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigFault(
            "; ".join(_describe(dict(e)) for e in error.errors(include_input=False, include_url=False))
        ) from None
    except Exception as error:  # pydantic-settings wraps a malformed environment value in its own type
        raise ConfigFault(str(error)) from error


def _describe(error: dict[str, Any]) -> str:
    key = ".".join(map(str, error["loc"]))
    text = str(error["msg"]).removeprefix("Value error, ")
    section = error["loc"][0] if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        text = _no_such("key", _table_at(error["loc"][:-1]))
    elif error["type"] == "tuple_type":
        text = "must be a list"
    elif error["type"] == "model_type":
        text = f"must be a table, as in {f'[[{section}]]' if section in LISTS else f'[{section}]'}"
    return f"{key}: {text}" if key else text


def _table_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of the table at this place of the file."""
    model: type[BaseModel] = Settings
    for name in place:
        if isinstance(name, str):
            kind = model.model_fields[name].annotation
            model = next(one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel))
    return model


def _no_such(what: str, model: type[BaseModel]) -> str:
    return f"there is no such {what}; there are {', '.join(model.model_fields)}"
