"""Real Redis (or Valkey) servers on free ports, with nothing on disk but a
directory of the test's own."""

import datetime
import ipaddress
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.processes import free_ports

_START_SECONDS = 30.0
_ISSUER = "Test authority"
_AUTHORITY = x509.BasicConstraints(ca=True, path_length=0)
_SERVER = x509.BasicConstraints(ca=False, path_length=None)


@dataclass(frozen=True)
class Certificates:
    """A certificate authority and a certificate for 127.0.0.1 and localhost, as files."""

    authority: Path
    certificate: Path
    key: Path


class RedisServer:
    """One server process, which can be killed and started again on its port."""

    def __init__(
        self, directory: Path, options: Sequence[str] = (), *, tls: Sequence[Certificates] = ()
    ) -> None:
        self.port = free_ports(2)
        self._tls = tls
        plain = ["--port", "0" if tls else str(self.port)]
        for certificates in tls:
            plain += ["--tls-port", str(self.port), "--tls-auth-clients", "no"]
            plain += ["--tls-cert-file", str(certificates.certificate)]
            plain += ["--tls-key-file", str(certificates.key)]
            plain += ["--tls-ca-cert-file", str(certificates.authority)]
        self._log = directory / f"redis-{self.port}.log"
        self._command = [_binary(), *plain, "--bind", "127.0.0.1", "--dir", str(directory)]
        self._command += ["--save", "", "--appendonly", "no"]
        self._command += ["--cluster-port", str(self.port + 1)]
        self._command += ["--cluster-config-file", f"nodes-{self.port}.conf", *options]
        self.process = self._start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client of the test's own."""
        options: dict[str, object] = {}
        for certificates in self._tls:
            options = {"ssl": True, "ssl_ca_certs": str(certificates.authority)}
        client = redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=10, **options)
        try:
            yield client
        finally:
            client.close()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"redis-server ended:\n{self._log.read_text()[-2000:]}")
            try:
                with self.client() as client:
                    client.ping()
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"redis-server did not answer:\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start anew, empty, on the same port."""
        self.process = self._start()
        self.wait_ready()

    def stall(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)


@contextmanager
def running_redis(
    directory: Path, options: Sequence[str] = (), *, tls: Sequence[Certificates] = ()
) -> Iterator[RedisServer]:
    """A server that answers; killed at the end."""
    server = RedisServer(directory, options, tls=tls)
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


@contextmanager
def running_cluster(directory: Path, *, tls: Sequence[Certificates] = ()) -> Iterator[RedisServer]:
    """A cluster of one server, which holds all slots."""
    options = ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]
    options += ["--tls-cluster", "yes"] if tls else []
    with running_redis(directory, options, tls=tls) as node:
        with node.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + _START_SECONDS
            while client.cluster("INFO")["cluster_state"] != "ok":
                if time.monotonic() > deadline:
                    raise RuntimeError("the cluster did not come up")
                time.sleep(0.02)
        yield node


def make_certificates(directory: Path) -> Certificates:
    """Certificates that are valid from yesterday until tomorrow."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(_ISSUER, authority_key, authority_key, _AUTHORITY)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("localhost", key, authority_key, _SERVER)
    files = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    constraints: x509.BasicConstraints,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(_ISSUER))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(constraints, critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _binary() -> str:
    for candidate in ("redis-server", "valkey-server"):
        found = shutil.which(candidate)
        if found is not None:
            return found
    raise RuntimeError("there is no redis-server: run requirements/redis.sh")
