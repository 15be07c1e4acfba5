"""The camera's client: against the virtual camera, and against misbehaving servers."""

import asyncio
import base64
import contextlib
import datetime
import hmac
import io
import ipaddress
import logging
import math
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from pathlib import Path

from course_lib.camera import client, larod, trust, vapix, virtual
from course_lib.camera.virtual import Faults
from course_lib.errors import UnusableInput
from course_lib.tflite import reading

import asyncssh
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

MODEL = Path(__file__).parent.parent / "data" / "scene_classifier_qat.tflite"
SIZES = [math.prod(output.shape) for output in reading.read(MODEL).outputs]
DEVICE = "axis-a8-dlpu-tflite"
SECRET = "s3cret-Pa55-w0rd"


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Keep this computer's own settings and variables out."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "settings"))
    for name in [name for name in os.environ if name.startswith("AXIS_CAMERA")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture(scope="module")
def camera():
    with virtual.start("artpec8", compile_seconds=0) as started:
        yield started


@contextlib.contextmanager
def faulty(**faults):
    """Start a camera on which something goes wrong on purpose."""
    with virtual.start(
        "artpec8", compile_seconds=0, restart_seconds=0.2, faults=Faults(**faults)
    ) as started:
        yield started


def in_tmp(camera):
    return sorted(path.name for path in (camera.root / "tmp").iterdir())


def line_of(error):
    """Return the message, after a look at its form."""
    line = str(error.value)
    assert "\n" not in line
    assert len(line) > 20
    return line


# --- host keys ------------------------------------------------------------------------


def new_key():
    return asyncssh.generate_private_key("ssh-ed25519").convert_to_public()


def test_an_unknown_key_is_refused_with_its_fingerprint_and_the_way_out(tmp_path):
    key = new_key()
    keys = trust.host_keys("127.0.0.5", known=tmp_path)
    with pytest.raises(trust.NotTrusted) as refusal:
        keys.check(key, trust_new=False)
    line = line_of(refusal)
    assert key.get_fingerprint() in line
    assert "trust_new=True" in line
    assert "compare it with the camera's own" in line
    assert refusal.value.file == tmp_path / "known_hosts"
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_was_remembered_is_known_and_another_is_a_change(tmp_path):
    old, new = new_key(), new_key()
    trust.host_keys("127.0.0.5", known=tmp_path).remember(old)
    trust.host_keys("127.0.0.6", known=tmp_path).remember(new)
    keys = trust.host_keys("127.0.0.5", known=tmp_path)
    keys.check(old, trust_new=False)
    for trust_new in (False, True):
        with pytest.raises(trust.Changed) as refusal:
            keys.check(new, trust_new=trust_new)
        assert old.get_fingerprint() in line_of(refusal)
        assert new.get_fingerprint() in line_of(refusal)
    before = (tmp_path / "known_hosts").read_text()
    keys.remember(old)
    assert (tmp_path / "known_hosts").read_text() == before


def test_a_port_is_part_of_the_identity(tmp_path):
    key = new_key()
    trust.host_keys("camera", port=22, known=tmp_path).remember(key)
    trust.host_keys("camera", port=2222, known=tmp_path).remember(key)
    names = [line.split()[0] for line in (tmp_path / "known_hosts").open()]
    assert names == ["camera", "[camera]:2222"]
    trust.host_keys("CAMERA", port=2222, known=tmp_path).check(key, trust_new=False)
    with pytest.raises(trust.NotTrusted):
        trust.host_keys("camera", port=2223, known=tmp_path).check(key, trust_new=False)


def test_the_user_s_known_hosts_is_read_hashed_or_not_and_never_written(home, tmp_path):
    key, other = new_key(), new_key()
    text = key.export_public_key("openssh").decode()
    file = home / ".ssh" / "known_hosts"
    file.parent.mkdir()
    salt = b"twenty bytes of salt"
    digest = hmac.digest(salt, b"[camera.local]:2222", "sha1")
    name = "|".join(["", "1", *(base64.b64encode(n).decode() for n in (salt, digest))])
    content = f"not a line\n@broken\n{name} {text}\n@revoked plain {text}\n"
    file.write_text(content)
    keys = trust.host_keys("camera.local", port=2222, known=tmp_path)
    keys.check(key, trust_new=False)
    with pytest.raises(trust.Changed):
        keys.check(other, trust_new=True)
    with pytest.raises(trust.Changed, match="revoked"):
        trust.host_keys("plain", known=tmp_path).check(key, trust_new=True)
    assert file.read_text() == content


def test_our_own_damaged_file_is_refused_as_it_could_have_refused_a_key(tmp_path):
    (tmp_path / "known_hosts").write_text("# a comment\nhalf-a-line\n")
    with pytest.raises(UnusableInput, match="line 2"):
        trust.host_keys("camera", known=tmp_path)


def test_known_algorithms_are_asked_for_first(tmp_path):
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp384").convert_to_public()
    trust.host_keys("camera", known=tmp_path).remember(key)
    wanted = trust.host_keys("camera", known=tmp_path).algorithms
    assert wanted[0] == "ecdsa-sha2-nistp384"
    assert len(wanted) == 6
    assert "ssh-rsa" not in wanted


@pytest.mark.parametrize(
    "name", ["", "a b", "-oProxy", "a,b", "*", "a\nb", "x/y", "u@h"]
)
def test_what_is_no_host_is_refused(name):
    with pytest.raises(UnusableInput):
        trust.host(name)


def test_names_and_addresses_are_hosts():
    assert trust.host("AXIS-b8a44f.local") == "axis-b8a44f.local"
    assert trust.host("192.168.0.90") == "192.168.0.90"
    assert trust.host("FE80::0001") == "fe80::1"


# --- certificates ---------------------------------------------------------------------


SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def certificate(*, name="127.0.0.1", signer=None, authority=False):
    """Make a certificate and its key; without a signer it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signing = (signer[0].subject, signer[1]) if signer else (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        # Python 3.13 verifies strictly: it wants to see whose key signed.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
    )
    if authority:
        made = made.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
        ).add_extension(SIGNS_CERTIFICATES, critical=True)
    else:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), False)
    return made.sign(signing, hashes.SHA256()), key


def pem(made):
    return made.public_bytes(serialization.Encoding.PEM).decode()


@contextlib.contextmanager
def https(made, key, folder):
    """Serve TLS with a certificate; yield the port and what clients have sent."""
    file = folder / f"{made.serial_number}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(pem(made).encode() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with (
                    contextlib.suppress(OSError),
                    connection,
                    context.wrap_socket(connection, server_side=True) as secure,
                ):
                    heard.append(secure.recv(4096))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_self_signed_certificate_is_refused_then_pinned_and_nothing_is_sent(tmp_path):
    made, key = certificate()
    known = tmp_path / "known"
    shown = trust.fingerprint(made.public_bytes(serialization.Encoding.DER))
    with https(made, key, tmp_path) as (port, heard):
        with pytest.raises(trust.NotTrusted) as refusal:
            trust.context("127.0.0.1", port=port, known=known)
        assert shown in line_of(refusal)
        assert not known.exists()
        for trust_new in (True, False):
            context = trust.context(
                "127.0.0.1", port=port, known=known, trust_new=trust_new
            )
            assert context.verify_mode == ssl.CERT_REQUIRED
        assert (known / "certificates").read_text() == f"127.0.0.1:{port} {shown}\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            context.wrap_socket(connection, server_hostname="127.0.0.1").close()
    assert b"".join(heard) == b""


def test_another_certificate_than_the_pinned_one_is_always_refused(tmp_path):
    made, key = certificate()
    with https(made, key, tmp_path) as (port, _):
        pinned = ":".join(["AB"] * 32)
        (tmp_path / "certificates").write_text(f"127.0.0.1:{port} {pinned.lower()}\n")
        for trust_new in (False, True):
            with pytest.raises(trust.Changed) as refusal:
                trust.context(
                    "127.0.0.1", port=port, known=tmp_path, trust_new=trust_new
                )
            line = line_of(refusal)
            assert pinned in line
            assert (
                trust.fingerprint(made.public_bytes(serialization.Encoding.DER)) in line
            )


def test_a_server_that_shows_another_certificate_later_gets_no_request(tmp_path):
    """The look at the certificate is passed; the connection itself must fail."""
    pinned, _ = certificate()
    other, key = certificate()
    with https(other, key, tmp_path) as (port, heard):
        known = tmp_path / "known"
        known.mkdir()
        shown = trust.fingerprint(pinned.public_bytes(serialization.Encoding.DER))
        (known / "certificates").write_text(f"127.0.0.1:{port} {shown}\n")
        context = trust.context(
            "127.0.0.1",
            port=port,
            known=known,
            fetch=lambda address, timeout: pem(pinned),
        )
        with (
            httpx.Client(verify=context, trust_env=False) as requests,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            requests.get(f"https://127.0.0.1:{port}/")
    assert b"".join(heard) == b""


def test_a_certificate_of_a_known_authority_needs_no_pin(tmp_path, monkeypatch):
    authority = certificate(name="authority", authority=True)
    (tmp_path / "authority.pem").write_text(pem(authority[0]))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    made, key = certificate(signer=authority)
    with https(made, key, tmp_path) as (port, heard):
        context = trust.context("127.0.0.1", port=port, known=tmp_path / "known")
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert not (tmp_path / "known").exists()
    assert b"".join(heard) == b""


def test_a_damaged_file_of_pins_is_refused(tmp_path):
    (tmp_path / "certificates").write_text("# a comment\ncamera:443 AB:CD\n")
    with pytest.raises(UnusableInput, match="line 2"):
        trust.context("camera", known=tmp_path, fetch=lambda address, timeout: "")


# --- VAPIX ----------------------------------------------------------------------------


def answering(answer):
    """Make a client whose every request is answered by a function."""
    return httpx.Client(
        base_url="https://camera:443", transport=httpx.MockTransport(answer)
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, ["wrong user or password", "acap-"]),
        (403, ["does not allow"]),
        (404, ["too old"]),
        (500, ["500"]),
        (302, ["302"]),
    ],
)
def test_a_refusal_of_vapix_is_one_line(status, words):
    def answer(request):
        return httpx.Response(status, headers={"location": "https://elsewhere/"})

    with answering(answer) as requests, pytest.raises(UnusableInput) as refusal:
        vapix.properties(requests)
    for word in ["camera camera", *words]:
        assert word in line_of(refusal)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"data": 3}',
        b'{"data": {}}',
        b'{"error": {"code": 2004, "message": "Method\\nnot supported"}}',
    ],
)
def test_an_answer_that_is_not_vapix_s_is_one_line(content):
    with (
        answering(lambda request: httpx.Response(200, content=content)) as requests,
        pytest.raises(UnusableInput) as refusal,
    ):
        vapix.properties(requests)
    line_of(refusal)


def test_an_endless_http_reply_is_cut_off():
    sent = 0

    def endless():
        nonlocal sent
        while True:
            sent += 65536
            yield b"x" * 65536

    with (
        answering(lambda request: httpx.Response(200, content=endless())) as requests,
        pytest.raises(UnusableInput, match="1,048,576"),
    ):
        vapix.system_log(requests)
    assert sent <= vapix.REPLY_LIMIT + 2 * 65536


def test_vapix_of_the_virtual_camera_is_read_and_set(camera):
    with vapix.client(
        camera.host,
        port=camera.https_port,
        user=camera.user,
        password=camera.password,
        known=camera.known,
    ) as requests:
        assert vapix.properties(requests)["Soc"] == "Axis Artpec-8"
        state = vapix.ready(requests)
        assert state.ready
        assert not state.needs_setup
        assert state.boot == camera.boot
        vapix.update(requests, "Network.SSH.Enabled", value="no")
        assert vapix.parameters(requests, "Network.SSH") == {
            "Network.SSH.Enabled": "no"
        }
        with pytest.raises(client.CameraError) as refusal:
            camera.connect()
        vapix.update(requests, "Network.SSH.Enabled", value="yes")
        assert "is up" in vapix.system_log(requests)
        with pytest.raises(UnusableInput, match="was not set"):
            vapix.update(requests, "No.Such", value="yes")
        with pytest.raises(UnusableInput, match="no parameter"):
            vapix.parameters(requests, "No.Such")
    assert "Network.SSH.Enabled=yes" in line_of(refusal)


# --- connecting -----------------------------------------------------------------------


def test_without_a_camera_there_is_no_connection(monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("a connection")

    monkeypatch.setattr(asyncssh, "connect", refuse)
    with pytest.raises(UnusableInput, match="AXIS_CAMERA is not set"):
        client.connect()
    with pytest.raises(UnusableInput, match="AXIS_CAMERA_USER"):
        client.connect("127.0.0.5")
    with pytest.raises(UnusableInput, match="port 99999"):
        client.connect("127.0.0.5:99999", user="root", password=SECRET)
    with pytest.raises(UnusableInput, match="neither password nor key"):
        client.connect("127.0.0.5", user="root")


def test_the_host_key_is_refused_accepted_once_and_then_known(camera, tmp_path, caplog):
    with pytest.raises(trust.NotTrusted) as refusal:
        camera.connect(known=tmp_path)
    assert camera.host_key_fingerprint in line_of(refusal)
    with pytest.raises(client.CameraError):
        camera.connect(known=tmp_path, trust_new=True, password=SECRET)
    assert not (tmp_path / "known_hosts").exists()
    camera.connect(known=tmp_path, trust_new=True).close()
    assert f"accepted SSH host key {camera.host_key_fingerprint}" in caplog.text
    assert (tmp_path / "known_hosts").read_text() == f"{camera.host_key}\n"
    camera.connect(known=tmp_path).close()


def test_what_is_known_stands_in_the_user_s_settings(camera, home):
    with camera.connect(known=None, trust_new=True) as connected:
        assert connected.info.serial == camera.serial
    folder = home / "settings" / "dlpu"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "known_hosts").read_text() == f"{camera.host_key}\n"
    assert (folder / "certificates").read_text() == (
        f"{camera.host}:{camera.https_port} {camera.certificate_fingerprint}\n"
    )


def test_a_changed_host_key_is_refused_also_with_trust_new(tmp_path):
    with faulty(new_host_key=True) as camera:
        camera.connect(known=tmp_path, trust_new=True).close()
        old = camera.host_key_fingerprint
        camera.reboot(wait=True)
        new = camera.host_key_fingerprint
        assert old != new
        for trust_new in (False, True):
            with pytest.raises(trust.Changed) as refusal:
                camera.connect(known=tmp_path, trust_new=trust_new)
            assert old in line_of(refusal)
            assert new in line_of(refusal)


def test_all_comes_from_the_environment(camera, monkeypatch):
    monkeypatch.setenv("AXIS_CAMERA", f"{camera.host}:{camera.port}")
    monkeypatch.setenv("AXIS_CAMERA_USER", camera.user)
    monkeypatch.setenv("AXIS_CAMERA_PASSWORD", camera.password)
    monkeypatch.setenv("AXIS_CAMERA_KNOWN", str(camera.known))
    monkeypatch.setenv("AXIS_CAMERA_HTTPS_PORT", str(camera.https_port))
    with client.connect() as connected:
        assert DEVICE in connected.devices()
        assert "virtual" in connected.info.product  # from VAPIX, not over SSH
    monkeypatch.setenv("AXIS_CAMERA_HTTPS_PORT", "https")
    with pytest.raises(UnusableInput, match="HTTPS_PORT is 'https': give a port"):
        client.connect()


def test_a_key_logs_in_and_its_passphrase_comes_from_the_environment(
    tmp_path, monkeypatch
):
    key = asyncssh.generate_private_key("ssh-ed25519")
    file = tmp_path / "key"
    file.write_bytes(key.export_private_key("openssh", passphrase=SECRET))
    public = key.export_public_key().decode()
    with virtual.start("artpec8", authorized_keys=[public]) as camera:
        with pytest.raises(UnusableInput, match="KEY_PASSPHRASE") as refusal:
            camera.connect(key=file, password=None)
        line_of(refusal)
        monkeypatch.setenv("AXIS_CAMERA_KEY_PASSPHRASE", SECRET)
        with camera.connect(key=file, password=None) as connected:
            assert connected.info.soc.id == "artpec8"
        other = tmp_path / "other"
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(other)
        with pytest.raises(client.CameraError, match="wrong user or key"):
            camera.connect(key=other, password=None)
        with pytest.raises(UnusableInput, match="could not be read"):
            camera.connect(key=tmp_path / "none")


def test_nothing_of_the_user_s_ssh_settings_or_proxies_is_used(
    camera, home, monkeypatch
):
    (home / ".ssh").mkdir()
    trap = home / "trap"
    (home / ".ssh" / "config").write_text(f"Host *\n ProxyCommand touch {trap}\n")
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with camera.connect() as connected:
        assert connected.info.serial == camera.serial
    assert not trap.exists()


def test_a_refused_connection_says_where_ssh_is_switched_on():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(client.CameraError, match="refused") as failure:
        client.connect("127.0.0.1", user="root", password=SECRET, port=port)
    assert "Network.SSH.Enabled" in line_of(failure)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name is not known"),
        (OSError(113, "No route to host"), "not reachable (No route to host)"),
        (OSError("all attempts failed"), "not reachable"),
        (ConnectionResetError(), "is it an SSH port"),
        (asyncssh.KeyExchangeFailed("none"), "no common SSH algorithm"),
    ],
)
def test_a_connection_that_fails_says_what_to_do(error, words, monkeypatch):
    async def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(asyncssh, "connect", fail)
    with pytest.raises(client.CameraError) as failure:
        client.connect("axis.local", user="root", password=SECRET)
    assert words in line_of(failure)
    assert ";" in line_of(failure)


def test_a_server_that_is_silent_or_no_ssh_server_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(client.CameraError, match=r"no answer within 0\.3 s"):
            client.connect(
                "127.0.0.1", user="root", password=SECRET, port=port, timeout=0.3
            )
    made, key = certificate()
    with (
        https(made, key, tmp_path) as (port, _),
        pytest.raises(client.CameraError, match="is it an SSH port"),
    ):
        client.connect("127.0.0.1", user="root", password=SECRET, port=port)


def test_it_works_where_an_event_loop_runs_already(camera):
    async def cell():
        with camera.connect() as connected:
            return connected.devices()

    assert DEVICE in asyncio.run(cell())


def test_a_closed_camera_says_so_and_leaves_no_thread(camera):
    before = threading.active_count()
    connected = camera.connect()
    connected.close()
    connected.close()
    with pytest.raises(client.CameraError, match="connect again"):
        connected.devices()
    assert threading.active_count() <= before


# --- what the camera is ---------------------------------------------------------------


def test_the_right_device_is_found_for_each_soc():
    for soc, device in (
        ("artpec7", "google-edge-tpu-tflite"),
        ("artpec9", "a9-dlpu-tflite"),
        ("cv25", "ambarella-cvflow"),
    ):
        with virtual.start(soc) as camera, camera.connect() as connected:
            assert connected.device() == device
            assert connected.info.soc.id == soc
            assert connected.info.os == camera.os


def test_without_vapix_the_same_is_read_over_ssh(camera):
    with camera.connect() as first, camera.connect(https_port=1) as second:
        assert first.info == second.info


def test_a_changed_certificate_is_not_passed_over(camera, tmp_path):
    (tmp_path / "known_hosts").write_text(f"{camera.host_key}\n")
    (tmp_path / "certificates").write_text(
        f"{camera.host}:{camera.https_port} {':'.join(['00'] * 32)}\n"
    )
    with camera.connect(known=tmp_path) as connected, pytest.raises(trust.Changed):
        connected.info  # noqa: B018


def test_the_log_of_larod_is_read():
    with faulty(out_of_memory=True) as camera, camera.connect() as connected:
        with pytest.raises(client.CameraError), connected.load(MODEL) as loaded:
            loaded.run(output_sizes=SIZES)
        lines = larod.log(connected.log())
    assert any(line.process != "" for line in lines)


# --- running --------------------------------------------------------------------------


def test_a_model_runs_and_nothing_is_left(camera):
    with camera.connect() as connected:
        sent = []
        with connected.load(MODEL, progress=lambda *n: sent.append(n)) as loaded:
            (folder,) = in_tmp(camera)
            assert loaded.model == f"/tmp/{folder}/model.tflite"
            run, outputs = loaded.run(seed=7, rounds=3, warm_up=1, output_sizes=SIZES)
            _, again = loaded.run(seed=7, output_sizes=SIZES)
            _, real = loaded.run([bytes(27648)], output_sizes=SIZES)
        assert in_tmp(camera) == []
    assert sent[-1] == (MODEL.stat().st_size,) * 2
    assert (run.rounds, run.seed, run.error) == (3, 7, None)
    assert "simulation" in run.simulated
    assert [len(output) for output in outputs] == SIZES
    assert outputs == again
    assert len(real[0]) == 4


def test_a_benchmark_splits_its_rounds_into_batches(camera):
    done = []
    with camera.connect() as connected, connected.load(MODEL) as loaded:
        runs = loaded.benchmark(
            1000, batches=7, warm_up=0, progress=lambda *n: done.append(n)
        )
        assert len(loaded.benchmark(3)) == 3
        with pytest.raises(UnusableInput):
            loaded.benchmark(0)
    assert len(runs) == 7
    assert sum(run.rounds for run in runs) == 1000
    assert done[-1] == (1000, 1000)
    assert in_tmp(camera) == []


def test_two_cameras_at_once_do_not_meet(camera):
    results = {}

    def work(seed):
        with camera.connect() as connected, connected.load(MODEL) as loaded:
            results[seed] = [
                loaded.run(seed=seed, output_sizes=SIZES)[1] for _ in range(3)
            ]

    threads = [threading.Thread(target=work, args=[seed]) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outputs in results.values():
        assert outputs[0] == outputs[1] == outputs[2]
    assert sorted(results) == [1, 2]
    assert in_tmp(camera) == []


def test_no_name_gets_into_a_command(camera, tmp_path):
    hostile = tmp_path / "; touch pwned '\n\"$(reboot)`.tflite"
    hostile.write_bytes(MODEL.read_bytes())
    with camera.connect() as connected:
        with connected.load(hostile) as loaded:
            run, _ = loaded.run(output_sizes=SIZES)
        assert run.model.endswith("model.tflite")
        with (
            connected.load(MODEL, device="x'; reboot; '\n") as loaded,
            pytest.raises(client.CameraError) as failure,
        ):
            loaded.run(output_sizes=SIZES)
        assert "x'; reboot; '" in failure.value.output
        line_of(failure)
        with (
            pytest.raises(UnusableInput, match="suffix"),
            connected.load(tmp_path / "a.b;c"),
        ):
            pass
        reply = connected.execute(["larod-client", "-g", "; reboot", "-c", "$(reboot)"])
        assert reply.status != 0
    assert in_tmp(camera) == []


def test_an_error_of_the_device_is_quoted_and_explained(camera):
    with camera.connect() as connected, connected.load(MODEL) as loaded:
        with pytest.raises(client.CameraError) as failure:
            loaded.run([bytes(10)], output_sizes=SIZES)
        line = line_of(failure)
        assert "Could only read 10 out of 27648 bytes from file descriptor" in line
        assert "most likely" in line
        assert failure.value.run.error.step == "running job"
        assert "ERROR" in failure.value.output
        with pytest.raises(client.CameraError, match="4 bytes, expected 5"):
            loaded.run(output_sizes=[5])
        with pytest.raises(UnusableInput, match="output_sizes"):
            loaded.run(output_sizes=[])
    assert in_tmp(camera) == []


# --- what goes wrong ------------------------------------------------------------------


def test_missing_power_is_waited_for(monkeypatch):
    waits = []
    sleep = time.sleep
    monkeypatch.setattr(client.time, "sleep", lambda s: (waits.append(s), sleep(0)))
    with (
        faulty(power_failures=3) as camera,
        camera.connect() as connected,
        connected.load(MODEL) as loaded,
    ):
        run, _ = loaded.run(output_sizes=SIZES)
    assert run.error is None
    assert waits[:3] == [0.25, 0.5, 0.75]


def test_power_that_never_comes_is_an_error(monkeypatch):
    monkeypatch.setattr(client, "POWER_TRIES", 2)
    with faulty(power_failures=10) as camera, camera.connect() as connected:
        with (
            pytest.raises(client.CameraError) as failure,
            connected.load(MODEL) as loaded,
        ):
            loaded.run(output_sizes=SIZES)
        assert failure.value.run.error.code == -15
        assert in_tmp(camera) == []
    line_of(failure)


@pytest.mark.parametrize(
    ("fault", "doing"),
    [
        ({"cut_upload_after": 50_000}, "uploading the model"),
        ({"cut_run_after": 0.1}, "running the model"),
        ({"cut_download_after": 1}, "fetching the outputs"),
        ({"reboot_during_run": True}, "running the model"),
    ],
)
def test_a_cut_connection_is_one_line_and_is_cleaned_up(fault, doing):
    with faulty(**fault) as camera, camera.connect() as connected:
        rounds = 10**6 if "cut_run_after" in fault else 1
        with (
            pytest.raises(client.CameraError) as failure,
            connected.load(MODEL) as loaded,
        ):
            loaded.run(rounds=rounds, output_sizes=SIZES)
        line = line_of(failure)
        assert f"connection was lost while {doing}" in line
        assert "left on the camera" not in line
        assert in_tmp(camera) == []
        assert DEVICE in connected.devices()


def fall_over(loaded):
    raise ZeroDivisionError(loaded.folder)


@pytest.mark.parametrize(
    ("act", "error", "told"),
    [
        (lambda loaded: loaded.run(output_sizes=SIZES), client.CameraError, "was lost"),
        (lambda loaded: None, client.CameraError, "left on the camera"),
        (fall_over, ZeroDivisionError, "/tmp/dlpu-"),
    ],
)
def test_a_camera_that_stays_away_is_told_with_what_is_left(
    act, error, told, monkeypatch, caplog
):
    monkeypatch.setattr(client, "CLEAN_UP_SECONDS", 0.5)

    def work(camera, connected):
        with connected.load(MODEL) as loaded:
            camera.close()
            act(loaded)

    with (
        virtual.start("artpec8") as camera,
        camera.connect() as connected,
        pytest.raises(error) as failure,
    ):
        work(camera, connected)
    line = line_of(failure)
    assert told in line
    # Where the error is not ours to word, the log says what is left.
    shown = line if error is client.CameraError else caplog.text
    assert "left on the camera: /tmp/dlpu-" in shown


def test_a_full_disk_is_told_and_left_as_it_was():
    with virtual.start("artpec8", disk=50_000) as camera:
        with (
            camera.connect() as connected,
            pytest.raises(client.CameraError, match="disk is full") as failure,
            connected.load(MODEL, device=DEVICE),
        ):
            pass
        assert in_tmp(camera) == []
    line_of(failure)


def test_a_reply_of_100_megabytes_is_stopped_and_kept_out_of_memory():
    with faulty(reply_bytes=100_000_000) as camera, camera.connect() as connected:
        tracemalloc.start()
        with pytest.raises(client.CameraError, match="1,048,576 bytes") as failure:
            connected.devices()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert DEVICE in connected.devices()
    line_of(failure)
    assert peak < 16 << 20


INTERRUPTED = """
import sys
from course_lib.camera import client
with client.connect(known=sys.argv[1]) as camera:
    with camera.load(sys.argv[2], device=sys.argv[3]) as loaded:
        print("running", flush=True)
        loaded.run(rounds=10**8, output_sizes=[4])
"""


def running_commands():
    return [
        thread
        for thread in threading.enumerate()
        if thread.name == "virtual-camera-run"
    ]


def test_ctrl_c_stops_the_command_and_removes_the_folder(camera):
    environment = os.environ | {
        "AXIS_CAMERA": f"{camera.host}:{camera.port}",
        "AXIS_CAMERA_USER": camera.user,
        "AXIS_CAMERA_PASSWORD": camera.password,
    }
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, camera.known, MODEL, DEVICE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "running\n"
        while not running_commands() and child.poll() is None:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=30)
    assert told.splitlines()[-1] == "KeyboardInterrupt"
    assert camera.password not in told
    assert in_tmp(camera) == []
    for thread in running_commands():
        thread.join(30)
        assert not thread.is_alive()


# --- other servers --------------------------------------------------------------------


class Anyone(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username):
        return False


@contextlib.contextmanager
def connected_to(known, handle=None, *, factory=Anyone):
    """Serve SSH whose commands a function answers, without SFTP; connect to it."""
    started = threading.Event()
    server = {}

    async def serve():
        listener = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=factory,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            process_factory=handle,
        )
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        server.update(port=listener.get_port(), loop=loop, stop=stop)
        started.set()
        await stop.wait()
        listener.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    try:
        with client.connect(
            "127.0.0.1",
            port=server["port"],
            https_port=1,
            user="root",
            password=SECRET,
            known=known,
            trust_new=True,
        ) as connected:
            yield connected
    finally:
        server["loop"].call_soon_threadsafe(server["stop"].set)
        thread.join()


def test_a_computer_without_larod_is_told_apart(tmp_path):
    def handle(process):
        if process.command == "larod-client -a":
            process.stderr.write("sh: larod-client: not found\n")
            process.exit(127)
        elif process.command.startswith("journalctl"):
            process.stdout.write("\x1b[31mno\x07 " + "permission " * 100)
            process.exit(1)
        else:
            process.exit_with_signal("KILL")

    with connected_to(tmp_path, handle) as connected:
        with pytest.raises(client.CameraError, match="larod-client: not found"):
            connected.devices()
        with pytest.raises(client.CameraError, match=r"no. permission") as failure:
            connected.log()
        assert len(line_of(failure)) < 500
        assert failure.value.output.startswith("\x1b")
        assert "\x1b" not in line_of(failure)
        assert connected.execute("x").status == -1
        with pytest.raises(client.CameraError, match="parhandclient") as failure:
            connected.info  # noqa: B018
        line_of(failure)
        with (
            pytest.raises(client.CameraError, match="no SFTP there") as failure,
            connected.load(b"", device="cpu-tflite"),
        ):
            pass
    line_of(failure)


def test_an_unknown_soc_and_an_unlisted_device_are_told(tmp_path):
    chip = "Axis Artpec-99"

    def handle(process):
        name = process.command.split()[-1]
        if name == "-a":
            process.stdout.write("Devices:\n other-device  0\n")
        else:
            process.stdout.write(f'{name}="{chip if name.endswith("Soc") else "x"}"\n')
        process.exit(0)

    with connected_to(tmp_path, handle) as connected:
        with pytest.raises(client.CameraError, match="Axis Artpec-99") as failure:
            connected.device()
        line_of(failure)
        chip = "Axis Artpec-9"
        with pytest.raises(client.CameraError) as failure:
            connected.device()
    line = line_of(failure)
    assert "a9-dlpu-tflite" in line
    assert "other-device" in line


def test_a_command_that_does_not_end_is_stopped(tmp_path):
    signals = []

    class Endless(asyncssh.SSHServerSession):
        def exec_requested(self, command):
            return True

        def signal_received(self, signal):
            signals.append(signal)

    class Busy(Anyone):
        def session_requested(self):
            return Endless()

    with connected_to(tmp_path, factory=Busy) as connected:
        with pytest.raises(
            client.CameraError, match=r"stopped after 0\.2 s"
        ) as failure:
            connected.execute("wait", timeout=0.2)
        line_of(failure)
    assert signals == ["TERM"]


def test_a_camera_that_no_longer_answers_is_noticed(tmp_path, monkeypatch):
    """As after a restart that sent no last packet: keepalive finds out."""
    monkeypatch.setattr(client, "KEEPALIVE_SECONDS", 0.1)
    release = threading.Event()

    def handle(process):
        release.wait(20)  # holds up the whole server

    with connected_to(tmp_path, handle) as connected:
        with pytest.raises(client.CameraError, match="connection was lost") as failure:
            connected.execute("x")
        release.set()
    assert "reconnect" in line_of(failure)


# --- secrets --------------------------------------------------------------------------


def everything(error):
    """Print an exception as a talkative debugger would, without this file's frames."""
    told, chain = "", [error]
    for each in chain:
        whole = traceback.TracebackException.from_exception(each, capture_locals=True)
        told += repr(each) + repr(each.__dict__)
        for frame in whole.stack:
            if "/tests/" not in frame.filename and "/virtual/" not in frame.filename:
                told += f"{frame.filename}:{frame.name} {frame.locals}\n"
        chain += [more for more in (each.__cause__, each.__context__) if more]
    return told


def test_no_password_is_in_any_error_or_log(camera, tmp_path):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    asyncssh.set_debug_level(3)
    told = ""
    try:
        for keywords in (
            {"password": SECRET},
            {"known": tmp_path},
            {"port": camera.https_port},
            {"timeout": 1e-6},
        ):
            with pytest.raises(UnusableInput) as failure:
                camera.connect(**keywords)
            told += everything(failure.value)
        with camera.connect() as connected:
            told += repr(connected) + repr(vars(connected)) + repr(connected.info)
            with pytest.raises(UnusableInput) as failure:
                connected.load("none").__enter__()
            told += everything(failure.value)
        for keywords in ({"password": SECRET}, {"known": tmp_path}, {"port": 1}):
            own = {
                "user": camera.user,
                "password": camera.password,
                "port": camera.https_port,
                "known": camera.known,
            }
            with (
                pytest.raises(UnusableInput) as failure,
                vapix.client(camera.host, **own | keywords) as requests,
            ):
                vapix.properties(requests)
            told += everything(failure.value)
    finally:
        asyncssh.set_debug_level(1)
        root.removeHandler(handler)
        root.setLevel(level)
    logged = log.getvalue()
    assert "MSG_USERAUTH_REQUEST" in logged
    assert "trust.py" in told
    for secret in (SECRET, camera.password):
        assert secret not in logged
        assert secret not in told
