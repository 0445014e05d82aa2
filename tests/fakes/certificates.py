"""A private certificate authority with a server and a client certificate, made by the openssl command."""

from __future__ import annotations

import pathlib
import ssl
import subprocess

__all__ = ["make_certificates", "openssl", "server_context"]

# With all that Python demands from 3.13 on.
AUTHORITY = "keyUsage=critical,keyCertSign,cRLSign"
EXTENSIONS = (
    "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,DNS:peer.test,IP:127.0.0.1\n"
    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
)
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*arguments: object) -> None:
    """Run the command. Raises CalledProcessError."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


def make_certificates(home: pathlib.Path) -> None:
    """Write ca, other (an authority that signed nothing), server and client as NAME.pem and NAME.key."""
    (home / "ext").write_text(EXTENSIONS)
    for name in ("ca", "other"):
        openssl(
            *["req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}", "-addext", AUTHORITY],
            *["-keyout", home / f"{name}.key", "-out", home / f"{name}.pem"],
        )
    for name in ("server", "client"):
        openssl(
            "req", *KEY, "-subj", f"/CN={name}", "-keyout", home / f"{name}.key", "-out", home / f"{name}.csr"
        )
        openssl(
            *["x509", "-req", "-in", home / f"{name}.csr", "-CA", home / "ca.pem", "-CAkey", home / "ca.key"],
            *["-CAcreateserial", "-days", "2", "-extfile", home / "ext", "-out", home / f"{name}.pem"],
        )


def server_context(certs: pathlib.Path, *, demands_client: bool = False) -> ssl.SSLContext:
    """What a server of that authority serves with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "server.pem", certs / "server.key")
    if demands_client:
        context.load_verify_locations(certs / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context
