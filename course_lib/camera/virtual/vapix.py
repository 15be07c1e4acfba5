"""The virtual camera's VAPIX endpoint: HTTPS, digest authentication, a few requests.

Requests and replies have the form of Axis's pages on basicdeviceinfo.cgi, param.cgi,
systemready.cgi, systemlog.cgi and firmwaremanagement.cgi. What is not here is answered
with 404, as on a camera that lacks it.
"""

import contextlib
import datetime
import hashlib
import hmac
import http.server
import ipaddress
import json
import re
import secrets
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from course_lib.camera.virtual import VirtualCamera

HOST = "127.0.0.1"
_LARGEST_BODY = 1 << 16
_NONCE_SECONDS = 60
_IDLE_SECONDS = 10
# The preferred one comes first (RFC 7616, section 3.7).
_ALGORITHMS = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
_UNRESTRICTED = ("Architecture", "Soc", "SocSerialNumber")


def certificate(name: str) -> tuple[bytes, bytes]:
    """Return a new self-signed certificate for loopback and its key, both as PEM.

    Args:
        name: Whom it names.

    Introduced in notebook 13.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address(HOST)),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage),
            critical=True,
        )
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of a certificate (PEM), in hexadecimal with colons.

    Introduced in notebook 13.
    """
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest().hex(":").upper()


class Digest:
    """Digest access authentication, RFC 7616, with qop=auth.

    Introduced in notebook 13.
    """

    def __init__(self, *, realm: str, user: str, password: str) -> None:
        self.realm, self.user, self._password = realm, user, password
        self._secret = secrets.token_bytes(32)
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def challenges(self, *, stale: bool = False) -> list[str]:
        """Return the values of the WWW-Authenticate headers."""
        made = str(int(time.time()))
        nonce = f"{made}-{secrets.token_hex(8)}"
        nonce = f"{nonce}-{self._seal(nonce)}"
        old = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self.realm}", nonce="{nonce}", algorithm={algorithm}, '
            f'qop="auth"{old}'
            for algorithm in _ALGORITHMS
        ]

    def check(self, header: str, *, method: str, target: str) -> str:
        """Return "right", "stale" (ask again with a new nonce) or "wrong".

        Args:
            header: Value of the Authorization header.
            method: "GET" or "POST".
            target: Path and query of the request.
        """
        scheme, _, rest = header.partition(" ")
        fields = urllib.request.parse_keqv_list(
            [
                entry
                for entry in urllib.request.parse_http_list(rest)
                if "=" in entry and not entry.endswith("=")
            ]
        )
        hashed = _ALGORITHMS.get(fields.get("algorithm", "MD5"))
        wanted = {"username", "nonce", "uri", "response", "nc", "cnonce", "qop"}
        if scheme.lower() != "digest" or not hashed or not wanted <= fields.keys():
            return "wrong"
        if fields["uri"] != target or fields["qop"] != "auth":
            return "wrong"

        def digest(text: str) -> str:
            return hashed(text.encode("utf-8", "surrogateescape")).hexdigest()

        first = digest(f"{self.user}:{self.realm}:{self._password}")
        second = digest(f"{method}:{target}")
        nonce, count = fields["nonce"], fields["nc"]
        response = digest(f"{first}:{nonce}:{count}:{fields['cnonce']}:auth:{second}")
        right = _same(response, fields["response"])
        right &= _same(self.user, fields["username"])
        if not right:
            return "wrong"
        return "right" if self._is_new(nonce, count) else "stale"

    def _seal(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), "sha256").hexdigest()

    def _is_new(self, nonce: str, count: str) -> bool:
        """Tell whether a nonce is ours, young, and used with a higher count."""
        text, _, seal = nonce.rpartition("-")
        if not _same(seal, self._seal(text)) or not re.fullmatch("[0-9a-f]{8}", count):
            return False
        oldest = time.time() - _NONCE_SECONDS
        with self._lock:
            self._counts = {
                known: used
                for known, used in self._counts.items()
                if int(known.partition("-")[0]) >= oldest
            }
            fresh = int(text.partition("-")[0]) >= oldest
            if not fresh or int(count, 16) <= self._counts.get(nonce, 0):
                return False
            self._counts[nonce] = int(count, 16)
        return True


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(
        left.encode("utf-8", "surrogateescape"),
        right.encode("utf-8", "surrogateescape"),
    )


class HttpsServer:
    """The HTTPS side of one virtual camera.

    Attributes:
        certificate: Of this camera, as PEM.

    Introduced in notebook 13.
    """

    def __init__(self, camera: "VirtualCamera", *, folder: Path) -> None:
        self.camera = camera
        self.digest = Digest(
            realm=f"AXIS_{camera.serial}", user=camera.user, password=camera.password
        )
        pem, key = certificate(camera.hostname)
        self.certificate = pem.decode()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        place = folder / "certificate-and-key.pem"
        place.touch(mode=0o600)
        place.write_bytes(pem + key)
        self._context.load_cert_chain(place)
        place.unlink()
        self._server: _Listener | None = None

    def open(self, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: When the port is not free.
        """
        self._server = _Listener(self, self._context, port)
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="virtual-camera-https",
            daemon=True,
        ).start()
        return self._server.server_address[1]

    def shut(self) -> None:
        """Refuse new connections and cut the present ones."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
        self._server = None

    # --- requests ---------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, str], body: bytes) -> "_Answer":
        """Return what the camera says to a request whose login is right."""
        if path in ("/axis-cgi/param.cgi", "/axis-cgi/admin/param.cgi"):
            return _text(self._parameters(query))
        if path in ("/axis-cgi/admin/systemlog.cgi", "/axis-cgi/systemlog.cgi"):
            lines = self.camera.system_log.splitlines(keepends=True)
            name = query.get("appname")
            return _text("".join(line for line in lines if not name or name in line))
        method = _METHODS.get(path)
        if method is None:
            return 404, "text/html", b"404 Not Found\n", None
        request = _json(body)
        if not isinstance(request, dict):
            return _error({}, 4000, "The request is not valid JSON")
        return method(self, request)

    def is_open_to_all(self, path: str, body: bytes) -> bool:
        """Tell whether a request needs no login."""
        request = _json(body)
        method = request.get("method") if isinstance(request, dict) else None
        if path == "/axis-cgi/systemready.cgi":
            return True
        return (
            path == "/axis-cgi/basicdeviceinfo.cgi"
            and method == "getAllUnrestrictedProperties"
        )

    def _device(self, request: dict[str, Any]) -> "_Answer":
        method = request.get("method")
        if method == "getSupportedVersions":
            return _reply(request, "1.3", {"apiVersions": ["1.3"]})
        told = self.camera.properties
        if method == "getAllProperties":
            return _reply(request, "1.3", {"propertyList": told})
        if method == "getAllUnrestrictedProperties":
            told = {k: v for k, v in told.items() if k not in _UNRESTRICTED}
            return _reply(request, "1.3", {"propertyList": told})
        if method == "getProperties":
            wanted = request.get("params", {})
            names = wanted.get("propertyList") if isinstance(wanted, dict) else None
            if not isinstance(names, list) or not set(names) <= told.keys():
                return _error(request, 4002, "Invalid propertyList")
            return _reply(
                request, "1.3", {"propertyList": {name: told[name] for name in names}}
            )
        return _error(request, 2004, "Method not supported")

    def _ready(self, request: dict[str, Any]) -> "_Answer":
        if request.get("method") == "getSupportedVersions":
            return _reply(request, "1.4", {"apiVersions": ["1.4"]})
        if request.get("method") != "systemready":
            return _error(request, 2004, "Method not supported")
        told = {
            "systemready": "yes",
            "needsetup": "no",
            "uptime": str(int(time.time() - self.camera.started)),
            "bootid": self.camera.boot,
        }
        return _reply(request, "1.4", told)

    def _firmware(self, request: dict[str, Any]) -> "_Answer":
        method = request.get("method")
        if method == "status":
            return _reply(request, "1.4", {"activeFirmwareVersion": self.camera.os})
        if method != "reboot":
            return _error(request, 2004, "Method not supported")
        status, kind, body, _ = _reply(request, "1.4", {})
        return status, kind, body, self.camera.reboot

    def _parameters(self, query: dict[str, str]) -> str:
        action = query.get("action")
        if action == "list":
            found = self.camera.parameter_group(query.get("group", "root"))
            group = f"root.{query.get('group', '').removeprefix('root.')}"
            return "".join(f"{name}={value}\n" for name, value in found.items()) or (
                f"# Error: Error -1 getting param in group '{group}'\n"
            )
        if action == "update":
            for name, value in query.items():
                if name != "action" and not self.camera.set_parameter(name, value):
                    full = f"root.{name.removeprefix('root.')}"
                    return f"# Error: Error setting '{full}' to '{value}'!\n"
            return "OK"
        return "# Error: unknown action\n"


_METHODS = {
    "/axis-cgi/basicdeviceinfo.cgi": HttpsServer._device,
    "/axis-cgi/systemready.cgi": HttpsServer._ready,
    "/axis-cgi/firmwaremanagement.cgi": HttpsServer._firmware,
}

# Status, content type, body, and what to do once the answer has gone.
_Answer = tuple[int, str, bytes, Any]


def _text(told: str) -> _Answer:
    return 200, "text/plain", told.encode("utf-8", "replace"), None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _reply(request: dict[str, Any], version: str, data: dict[str, Any]) -> _Answer:
    told = {"apiVersion": version, "method": request.get("method"), "data": data}
    if "context" in request:
        told["context"] = request["context"]
    return 200, "application/json", json.dumps(told).encode(), None


def _error(request: dict[str, Any], code: int, message: str) -> _Answer:
    status, kind, body, _ = _reply(request, "1.3", {})
    told = json.loads(body) | {"error": {"code": code, "message": message}}
    del told["data"]
    return status, kind, json.dumps(told).encode(), None


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, camera: HttpsServer, context: ssl.SSLContext, port: int) -> None:
        self.https = camera
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)
        # The handshake waits for the visitor, so it belongs into the visitor's thread.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def server_bind(self) -> None:
        """Bind without the base class's question to a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Cut what is still connected."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a visitor that goes away is no fault of the camera."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "virtual-camera-SIMULATION"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: _Listener

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            status = 413 if length.isdecimal() else 411  # too large, or no length
            self._send((status, "text/plain", b"", None))
            return
        self._handle(self.rfile.read(int(length)))

    def _handle(self, body: bytes) -> None:
        https = self.server.https
        split = urllib.parse.urlsplit(self.path)
        if not https.is_open_to_all(split.path, body):
            header = self.headers.get("Authorization", "")
            judged = "wrong"
            if header:
                judged = https.digest.check(
                    header, method=self.command, target=self.path
                )
            if judged != "right":
                if header and judged == "wrong":
                    https.camera.note("httpd", "login refused", level="WARNING")
                self._send(
                    (401, "text/plain", b"401 Unauthorized\n", None),
                    challenges=https.digest.challenges(stale=judged == "stale"),
                )
                return
        text = split.query
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            text = "&".join(filter(None, (text, body.decode("utf-8", "replace"))))
        query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        self._send(https.answer(split.path, query, body))

    def _send(self, answer: _Answer, *, challenges: list[str] | None = None) -> None:
        status, kind, body, after = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for challenge in challenges or []:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)
        if after:
            threading.Thread(target=after, daemon=True).start()

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to the terminal of whoever runs the camera."""
