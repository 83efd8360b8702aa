"""TLS, and callers that are known by their client certificate."""

import datetime as dt
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.doors.problems import problem_in
from tests.support.bridge import PATH, RunningBridge, bearer, caller, request, running_bridge

SPIFFE = "spiffe://example.org/token-service"


@dataclass(frozen=True)
class Tls:
    """A bridge that takes client certificates of `clients`, and shows one of `servers`."""

    bridge: RunningBridge
    servers: trustme.CA
    clients: trustme.CA
    folder: Path

    def context(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """A client's side of TLS, with this certificate."""
        context = ssl.create_default_context()
        self.servers.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context

    def ask(self, context: ssl.SSLContext, headers: dict[str, str] | None = None) -> httpx.Response:
        with httpx.Client(base_url=self.bridge.url, verify=context, trust_env=False) as client:
            return client.post(PATH, json=request("read"), headers=headers)

    def caller_on_record(self, response: httpx.Response) -> str:
        assert response.status_code == 200, response.text
        name: str = self.bridge.entry_of(response.json()["decision_id"])["caller"]
        return name


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    folder = tmp_path_factory.mktemp("tls")
    servers, clients = trustme.CA(), trustme.CA()
    shown = servers.issue_cert("localhost", "127.0.0.1")
    shown.private_key_pem.write_to_path(folder / "key.pem")
    shown.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    clients.cert_pem.write_to_path(folder / "clients.pem")
    trust = ssl.create_default_context()
    servers.configure_trust(trust)
    with running_bridge(
        folder,
        verify=trust,
        server={
            "tls_cert": str(folder / "cert.pem"),
            "tls_key": str(folder / "key.pem"),
            "client_ca": str(folder / "clients.pem"),
        },
        callers=[
            caller("dns", tls_san="as.example", issuer="https://as.example"),
            caller("mail", tls_san="as@example.org"),
            caller("workload", tls_san=SPIFFE),
            caller("ip", tls_san="192.0.2.7"),
            caller("by-token"),
        ],
    ) as bridge:
        yield Tls(bridge, servers, clients, folder)


@pytest.mark.parametrize(("san", "name"), [("as.example", "dns"), ("as@example.org", "mail")])
def test_a_client_certificate_is_its_caller(tls: Tls, san: str, name: str) -> None:
    assert tls.caller_on_record(tls.ask(tls.context(tls.clients.issue_cert(san)))) == name


def test_one_known_name_among_several_is_enough(tls: Tls) -> None:
    certificate = tls.clients.issue_cert("node-7.example", "as.example")
    assert tls.caller_on_record(tls.ask(tls.context(certificate))) == "dns"


def test_a_workload_is_known_by_its_uri(tls: Tls) -> None:
    context = tls.context()
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    ca_key = serialization.load_pem_private_key(tls.clients.private_key_pem.bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.load_pem_x509_certificate(tls.clients.cert_pem.bytes()).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE)]), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    file = tls.folder / "workload.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context.load_cert_chain(file)
    assert tls.caller_on_record(tls.ask(context)) == "workload"


@pytest.mark.parametrize(
    "names", [("other.example",), ("*.example",), ("xas.example",), ("as.example.org",), ("192.0.2.7",)]
)
def test_a_certificate_without_a_known_name_is_nobody(tls: Tls, names: tuple[str, ...]) -> None:
    problem_in(tls.ask(tls.context(tls.clients.issue_cert(*names))), 401)


def test_the_common_name_counts_for_nothing(tls: Tls) -> None:
    certificate = tls.clients.issue_cert("other.example", common_name="as.example")
    problem_in(tls.ask(tls.context(certificate)), 401)


@pytest.mark.parametrize("stranger", ["another CA", "the servers' CA"])
def test_a_certificate_of_another_ca_does_not_get_as_far_as_http(tls: Tls, stranger: str) -> None:
    authority = trustme.CA() if stranger == "another CA" else tls.servers
    with pytest.raises(httpx.TransportError):
        tls.ask(tls.context(authority.issue_cert("as.example")))


def test_an_expired_certificate_does_not_either(tls: Tls) -> None:
    expired = tls.clients.issue_cert("as.example", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(httpx.TransportError):
        tls.ask(tls.context(expired))


def test_without_a_certificate_a_token_is_needed(tls: Tls) -> None:
    problem_in(tls.ask(tls.context()), 401)
    assert tls.caller_on_record(tls.ask(tls.context(), bearer("by-token"))) == "by-token"


def test_a_token_that_is_shown_and_wrong_does_not_fall_back_to_the_certificate(tls: Tls) -> None:
    context = tls.context(tls.clients.issue_cert("as.example"))
    problem_in(tls.ask(context, {"Authorization": "Bearer wrong"}), 401)


def test_the_issuer_follows_the_certificate(tls: Tls) -> None:
    response = tls.ask(tls.context(tls.clients.issue_cert("as.example")))
    assert tls.bridge.input_of(response.json()["decision_id"])["issuer"] == "https://as.example"


def test_a_client_that_does_not_trust_us_gets_nothing(tls: Tls) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        tls.ask(ssl.create_default_context())


def test_plain_http_is_not_served_on_the_port(tls: Tls) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{tls.bridge.port}/health/live", trust_env=False, timeout=5)
    assert tls.bridge.get("/health/live").status_code == 200
    assert "Traceback" not in tls.bridge.log_text()


def test_health_needs_no_certificate(tls: Tls) -> None:
    assert tls.bridge.get("/health/ready").json() == {"status": "ready"}
