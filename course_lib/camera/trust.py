"""Know the camera again: SSH host keys and HTTPS certificates.

An unknown key or certificate is refused, with its fingerprint, unless the caller asks
for trust on first use (`trust_new`); then it is written down. One that differs from
what is written down is always refused. A port is part of the identity: 22 and 443 are
the standard ones, and what is known of one port says nothing of another.

Two small files in one folder hold what is known: `known_hosts` in OpenSSH's form, and
`certificates` with one line for each certificate, `host:port SHA-256`. The user's own
~/.ssh/known_hosts is read too, never written.
"""

import base64
import contextlib
import fnmatch
import hashlib
import hmac
import ipaddress
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import UnusableInput

import asyncssh
import click

SSH_PORT = 22
HTTPS_PORT = 443
# What a name may be: nothing that has a meaning in known_hosts or in an address.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?")
# Two sessions in one process may each add a line.
# Shown on standard error unless a program chooses otherwise.
_LOG = logging.getLogger(__name__)
_WRITING = threading.Lock()


TRUST_NEW = "trust_new=True"
_COMPARE = (
    "compare it with the camera's own (`dlpu camera --soc` prints a virtual one's); if "
    f"they are equal, accept it once with {TRUST_NEW}"
)


class NotTrusted(UnusableInput):
    """A key or certificate that is not known.

    Attributes:
        file: Where it would be written down; None when it will not.
    """

    def __init__(self, line: str, *, file: Path | None = None) -> None:
        super().__init__(line)
        self.file = file


class Changed(NotTrusted):
    """A key or certificate that differs from the known one."""


@dataclass(frozen=True)
class HostKeys:
    """What is known of one host's SSH keys.

    Attributes:
        host, port: Whose.
        keys: Accepted public keys.
        revoked: Keys that are marked as revoked.
        file: Where a new key is written.

    Introduced in notebook 13.
    """

    host: str
    port: int
    keys: tuple[asyncssh.SSHKey, ...]
    revoked: tuple[asyncssh.SSHKey, ...]
    file: Path

    @property
    def algorithms(self) -> list[str]:
        """Signature algorithms to ask for, those of the known keys first.

        A host has several keys. Asked in this order it shows the known one, if it
        still has it; else every one of its other keys would look like a change.
        """
        known = {name.decode() for key in self.keys for name in key.sig_algorithms}
        return sorted(_ALGORITHMS, key=lambda name: name not in known)

    def check(self, key: asyncssh.SSHKey, *, trust_new: bool) -> None:
        """Say whether a key may be trusted: by returning.

        Raises:
            NotTrusted: The key is not known, and trust on first use was not asked for.
            Changed: Another key is known, or the key is revoked.
        """
        shown = key.get_fingerprint()
        name = f"camera {self.host}, port {self.port}"
        if key in self.revoked:
            raise Changed(
                f"{name}: its SSH host key {shown} is marked as revoked; refused: find "
                "out who revoked it"
            )
        if key in self.keys:
            return
        if self.keys:
            known = ", ".join(sorted({each.get_fingerprint() for each in self.keys}))
            raise Changed(
                f"{name}: its SSH host key has changed: known is {known}, it shows "
                f"{shown}; refused, also with {TRUST_NEW}: after a factory default "
                f"remove the old line from {self.file} (or from ~/.ssh/known_hosts), "
                "else somebody may stand in between"
            )
        if not trust_new:
            raise NotTrusted(
                f"{name}: its SSH host key {shown} ({key.get_algorithm()}) is not "
                f"known; refused: {_COMPARE}",
                file=self.file,
            )

    def remember(self, key: asyncssh.SSHKey) -> None:
        """Write a key down, after those that the file has."""
        text = key.export_public_key("openssh").decode().split()
        line = f"{_ssh_name(self.host, self.port)} {text[0]} {text[1]}"
        _append(self.file, line=line)
        _LOG.warning(
            "accepted SSH host key %s of %s, kept in %s",
            *(key.get_fingerprint(), _ssh_name(self.host, self.port), self.file),
        )


# Plain keys only: a camera has no certificate of an SSH authority, and SHA-1 is out.
_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def folder() -> Path:
    """Return the folder that holds what is known: the user's settings, then "dlpu".

    Introduced in notebook 13.
    """
    return Path(click.get_app_dir("dlpu"))


def host(text: str) -> str:
    """Return a host name or address in the form in which it is looked up.

    Raises:
        UnusableInput: When it is neither.

    Introduced in notebook 13.
    """
    text = text.lower()
    if _NAME.fullmatch(text):
        return text
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        shown = text.rpartition("@")[2][:100]  # before it somebody put a password
        raise UnusableInput(
            f"camera {shown!r}: not a host name or address; give one such as "
            '"192.168.0.90" in AXIS_CAMERA'
        ) from None


def host_keys(
    name: str,
    *,
    port: int = SSH_PORT,
    known: Path | str | None = None,
    also: Sequence[Path | str] | None = None,
) -> HostKeys:
    """Look up a host's SSH keys.

    Args:
        name: Host name or address.
        port: Of SSH.
        known: Folder with `known_hosts`; None: the user's.
        also: Files that are read too; None: ~/.ssh/known_hosts.

    Raises:
        UnusableInput: When our own file is damaged: a line that cannot be read could
            be the one that would refuse a key.

    Introduced in notebook 13.
    """
    file = Path(known or folder()) / "known_hosts"
    also = [Path.home() / ".ssh" / "known_hosts"] if also is None else also
    name = host(name)
    entries = []
    for number, line in enumerate(_read(file).splitlines(), start=1):
        try:
            entries.append(_entry(line))
        except ValueError:
            raise UnusableInput(
                f"{file}, line {number}: not a line of known_hosts; remove or mend it"
            ) from None
    for other in also:
        for line in _read(Path(other)).splitlines():
            with contextlib.suppress(ValueError):  # another program's: take what we can
                entries.append(_entry(line))
    whose = _ssh_name(name, port)
    keys: dict[str, list[asyncssh.SSHKey]] = {"": [], "@revoked": []}
    for marker, hosts, key in filter(None, entries):
        if marker in keys and _names(hosts, whose):
            keys[marker].append(key)
    return HostKeys(name, port, tuple(keys[""]), tuple(keys["@revoked"]), file)


def _entry(line: str) -> tuple[str, str, asyncssh.SSHKey] | None:
    """Cut a line of known_hosts into marker, hosts and key; None for a comment.

    asyncssh's own reader looks host names up, and falls back from a port to port 22.
    """
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    hosts, *key = words
    return marker, hosts, asyncssh.import_public_key(" ".join(key))


def _names(hosts: str, name: str) -> bool:
    """Tell whether the first word of a line names a host; see sshd(8)."""
    if hosts.startswith("|1|"):
        salt, digest = map(base64.b64decode, hosts.split("|")[2:4])
        return hmac.compare_digest(digest, hmac.digest(salt, name.encode(), "sha1"))
    matched = {
        pattern.startswith("!")
        for pattern in hosts.lower().split(",")
        # Square brackets stand for themselves there.
        if fnmatch.fnmatchcase(name, pattern.lstrip("!").replace("[", "[[]"))
    }
    return matched == {False}


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate (DER) as 32 bytes in hex with colons.

    Example:
        >>> fingerprint(b"")[:11]
        'E3:B0:C4:42'

    Introduced in notebook 13.
    """
    return hashlib.sha256(certificate).digest().hex(":").upper()


def context(
    name: str,
    *,
    port: int = HTTPS_PORT,
    known: Path | str | None = None,
    trust_new: bool = False,
    timeout: float = 10.0,
    fetch: Callable[..., str] = ssl.get_server_certificate,
) -> ssl.SSLContext:
    """Make the context for HTTPS connections to a camera; it always verifies.

    A certificate that a known authority signed for this host needs no pin. Any other
    must be pinned: its SHA-256 stands in `certificates`. Which certificate the camera
    has is seen in a handshake that sends no data; the connections that carry a
    password then trust this one certificate alone. The host name is not compared with
    a pinned certificate: the certificate itself says who it is, and a camera writes
    its serial number into it, not its address.

    Args:
        name: Host name or address.
        port: Of HTTPS.
        known: Folder with `certificates`; None: the user's.
        trust_new: Whether to pin an unknown certificate.
        timeout: Of each handshake, in seconds.
        fetch: Gets the certificate as PEM text, called as
            `ssl.get_server_certificate`.

    Raises:
        NotTrusted: The certificate is not known, and trust on first use was not asked.
        Changed: Another certificate is pinned.
        OSError: When there is no connection; ssl.SSLError is one.

    Introduced in notebook 13.
    """
    name = host(name)
    file = Path(known or folder()) / "certificates"
    whose = _https_name(name, port)
    pins = _pins(file)
    certificate = fetch((name, port), timeout=timeout)
    shown = fingerprint(ssl.PEM_cert_to_DER_cert(certificate))
    if whose in pins:
        if shown not in pins[whose]:
            raise Changed(
                f"camera {name}, port {port}: its certificate has changed: pinned is "
                f"{', '.join(pins[whose])}, it shows {shown}; refused, also with "
                f"{TRUST_NEW}: if you gave it a new one, remove the line of {whose} "
                f"from {file}, else somebody may stand in between"
            )
        return _only(certificate)
    signed = ssl.create_default_context()
    if _verifies(name, port, signed, timeout):
        return signed
    if not trust_new:
        raise NotTrusted(
            f"camera {name}, port {port}: its certificate is not signed by a known "
            f"authority; its SHA-256 is {shown}: {_COMPARE}",
            file=file,
        )
    _append(file, line=f"{whose} {shown}")
    _LOG.warning("accepted certificate %s of %s, kept in %s", shown, whose, file)
    return _only(certificate)


def _only(certificate: str) -> ssl.SSLContext:
    """Make a context that trusts one certificate (PEM)."""
    exact = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    exact.minimum_version = ssl.TLSVersion.TLSv1_2
    exact.check_hostname = False  # the pin is stronger; see `context`
    exact.verify_mode = ssl.CERT_REQUIRED
    # A camera's certificate need not be marked as an authority's.
    exact.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    exact.load_verify_locations(cadata=certificate)
    return exact


def _verifies(name: str, port: int, context: ssl.SSLContext, timeout: float) -> bool:
    """Try a handshake, with no data, that verifies chain and name."""
    try:
        with (
            socket.create_connection((name, port), timeout=timeout) as connection,
            context.wrap_socket(connection, server_hostname=name),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False


def _pins(file: Path) -> dict[str, tuple[str, ...]]:
    """Read `certificates`: fingerprints by host and port."""
    pins: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(_read(file).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(
            r"(\S+) ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})", line.strip(), re.I
        )
        if match is None:
            raise UnusableInput(
                f"{file}, line {number}: expected host:port and a SHA-256 in hex with "
                "colons; remove or mend it"
            )
        pins[match[1]] = (*pins.get(match[1], ()), match[2].upper())
    return pins


def _ssh_name(name: str, port: int) -> str:
    """Name a host as known_hosts does."""
    return name if port == SSH_PORT else f"[{name}]:{port}"


def _https_name(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UnusableInput(
            f"{file}: could not be read ({error.strerror}); mend its permissions"
        ) from error


def _append(file: Path, *, line: str) -> None:
    """Add a line; the whole file is replaced, so that it is never half a file."""
    with _WRITING:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableInput(
                f"{file.parent}: could not be made ({error.strerror}); name another "
                "folder"
            ) from error
        old = _read(file)
        if line in old.splitlines():
            return
        if old and not old.endswith("\n"):
            old += "\n"
        files.write(file, f"{old}{line}\n".encode())
