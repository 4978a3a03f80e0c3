"""One WebSocket over a gevent socket, against a server in a thread of this process."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time

import gevent
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gevent.event import Event

from streamproof.errors import TargetUnreachableError, UsageError
from streamproof.load import wire as wire_module
from streamproof.load.echo_server import EchoProtocol, ready_line
from streamproof.load.wire import ConnectionLostError, Wire

WAIT_S = 10


class Server:
    """An asyncio server in a thread; `calls` reaches its loop from outside."""

    def __init__(self, make_protocol, tls=None):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        starting = self.loop.create_server(make_protocol, "127.0.0.1", 0, ssl=tls)
        self.server = asyncio.run_coroutine_threadsafe(starting, self.loop).result(WAIT_S)
        self.port = self.server.sockets[0].getsockname()[1]

    def call(self, function, *args):
        """Run a function on the loop."""
        self.loop.call_soon_threadsafe(function, *args)

    def close(self):
        """Stop loop and thread."""

        async def stop():
            self.server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(WAIT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT_S)
        self.loop.close()


class Client:
    """A wire with what it received."""

    def __init__(self, url, headers=None):
        self.texts = []
        self.ended = []
        self.event = Event()
        self.wire = Wire(url, headers or {}, self.on_text, self.on_end)

    def on_text(self, text, received_ns):
        self.texts.append((text, received_ns))
        self.event.set()

    def on_end(self, reason):
        self.ended.append(reason)
        self.event.set()

    def wait(self):
        """Until a message or the end has come."""
        assert self.event.wait(WAIT_S)
        self.event.clear()


@pytest.fixture
def serve():
    """Makes servers and closes them."""
    servers = []

    def make(make_protocol, tls=None):
        servers.append(Server(make_protocol, tls))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def connections():
    """The protocols of an echo server, in the order of their connections."""
    return []


@pytest.fixture
def echo(serve, connections):
    """An echo server that keeps its protocols."""

    def make():
        connections.append(EchoProtocol(lambda text: text))
        return connections[-1]

    return serve(make)


def test_a_message_comes_back_with_the_kernels_moment(echo):
    """What is sent is echoed; the stamp lies between sending and reading."""
    client = Client(ready_line(echo.port)["url"])
    before_ns = time.monotonic_ns()
    client.wire.send(b'{"id":"1"}')
    client.wait()
    text, received_ns = client.texts[0]
    assert text == b'{"id":"1"}'
    assert before_ns < received_ns <= time.monotonic_ns()
    assert client.wire.open
    client.wire.close()
    client.wire.close()
    assert not client.wire.open
    assert client.ended == []


@pytest.mark.parametrize("stamped", [False, True])
def test_without_kernel_stamps_the_moment_of_reading_counts(echo, monkeypatch, stamped):
    """On other systems, and when a clock was set, user space's moment stands in."""
    if stamped:
        monkeypatch.setattr(wire_module, "STAMP_AGE_NS_MAX", 0)
    else:
        monkeypatch.setattr(wire_module.sys, "platform", "other")
    client = Client(ready_line(echo.port)["url"])
    client.wire.send(b"{}")
    client.wait()
    assert client.texts[0][1] <= time.monotonic_ns()
    client.wire.close()


def test_a_kernel_that_stamps_nothing_is_no_error(echo, monkeypatch):
    """A refused socket option means coarser stamps, not a failed run."""
    monkeypatch.setattr(wire_module, "SO_TIMESTAMPNS", 9_999)
    client = Client(ready_line(echo.port)["url"])
    client.wire.send(b"{}")
    client.wait()
    client.wire.close()


def test_fragments_are_joined_and_binary_is_passed_on(echo, connections):
    """A message in three frames is one message."""
    client = Client(ready_line(echo.port)["url"])

    def send_in_pieces():
        protocol = connections[0]._protocol
        protocol.send_text(b"one ", fin=False)
        protocol.send_continuation(b"two ", fin=False)
        protocol.send_continuation(b"three", fin=True)
        protocol.send_binary(b"four")
        protocol.send_ping(b"")
        connections[0]._turn()

    echo.call(send_in_pieces)
    client.wait()
    while len(client.texts) < 2:
        client.wait()
    assert [text for text, _ in client.texts] == [b"one two three", b"four"]
    client.wire.close()


def test_the_end_of_a_connection_is_told_once_with_its_reason(echo, connections):
    """A close of the server's is its end, and nothing more can be sent."""
    client = Client(ready_line(echo.port)["url"])

    def close():
        connections[0]._protocol.send_close(1001, "going away")
        connections[0]._turn()

    echo.call(close)
    client.wait()
    assert client.ended == ["closed with 1001 going away"]
    with pytest.raises(ConnectionLostError, match="1001"):
        client.wire.send(b"{}")
    client.wire.close()


def test_a_connection_that_breaks_off_is_told(echo, connections):
    """Without a closing handshake there is a reason too."""
    client = Client(ready_line(echo.port)["url"])
    echo.call(connections[0]._transport.abort)
    client.wait()
    assert len(client.ended) == 1
    assert not client.wire.open


def test_a_server_that_does_not_read_holds_up_its_sender_only(echo, connections):
    """A full socket blocks that greenlet, is known as held up, and ends when the server reads."""
    client = Client(ready_line(echo.port)["url"])
    start_ns = time.monotonic_ns()
    assert not client.wire.held_up(start_ns)
    echo.call(connections[0]._transport.pause_reading)
    client.wire.send(b"first")
    text = b"x" * 100_000
    sending = gevent.spawn(lambda: [client.wire.send(text) for _ in range(200)])
    with gevent.Timeout(WAIT_S):
        while not client.wire.held_up(start_ns):
            gevent.sleep(0)
    assert not sending.ready()
    echo.call(connections[0]._transport.resume_reading)
    sending.join(WAIT_S)
    assert sending.successful()
    with gevent.Timeout(WAIT_S):
        while len(client.texts) < 201:
            client.wait()
    assert client.wire.held_up(start_ns)
    assert not client.wire.held_up(time.monotonic_ns())
    client.wire.close()


def test_no_server_is_a_clear_line():
    """A port that nobody listens on names the address, without its query."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TargetUnreachableError) as raised:
        Client(f"ws://127.0.0.1:{port}/dev?Authorization=secret")
    assert raised.value.message.startswith(f"no connection to ws://127.0.0.1:{port}/dev: ")
    assert "secret" not in raised.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://", "nothing"])
def test_what_is_no_address_is_refused(url):
    """A slip in the address is the caller's error."""
    with pytest.raises(UsageError, match="no WebSocket address"):
        Client(url)


class Canned(asyncio.Protocol):
    """Answers the first bytes with fixed ones and hangs up."""

    def __init__(self, answer):
        self.answer = answer

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(self.answer)
        self.transport.close()


@pytest.mark.parametrize(
    ("answer", "words", "hint"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "with status 401", "token"),
        (b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", "with status 502", "log"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "no handshake with", "WebSocket server"),
        (b"SSH-2.0-Some\r\n\r\n", "no handshake with", "WebSocket server"),
        (b"", "no handshake with", "WebSocket server"),
    ],
)
def test_a_refused_handshake_says_why(serve, answer, words, hint):
    """The status, or that it is no WebSocket server, and a next step."""
    server = serve(lambda: Canned(answer))
    with pytest.raises(TargetUnreachableError, match=words) as raised:
        Client(ready_line(server.port)["url"])
    assert hint in raised.value.hint


class Silent(asyncio.Protocol):
    """Takes everything and says nothing."""


def test_a_handshake_that_never_comes_ends(serve, monkeypatch):
    """A server that accepts and stays silent is given up after the time limit."""
    monkeypatch.setattr(wire_module, "CONNECT_TIMEOUT_S", 0.05)
    server = serve(Silent)
    with pytest.raises(TargetUnreachableError, match="no handshake"):
        Client(ready_line(server.port)["url"])


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A certificate of 127.0.0.1 that this process trusts; the server's TLS context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + signed.public_bytes(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_tls_is_spoken_and_the_moment_of_reading_counts(serve, certificate, monkeypatch):
    """Over wss messages come back, stamped in user space; a slow send is known as held up."""
    server = serve(lambda: EchoProtocol(lambda text: text), certificate)
    client = Client(f"wss://127.0.0.1:{server.port}/")
    client.wire.send(b"{}")
    client.wait()
    assert client.texts[0][0] == b"{}"
    monkeypatch.setattr(wire_module, "TLS_SEND_NS_MAX", -1)
    before_ns = time.monotonic_ns()
    client.wire.send(b"{}")
    assert client.wire.held_up(before_ns)
    client.wire.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(serve, certificate, monkeypatch):
    """A stranger's certificate ends the run instead of being taken."""
    monkeypatch.delenv("SSL_CERT_FILE")
    server = serve(lambda: EchoProtocol(lambda text: text), certificate)
    with pytest.raises(TargetUnreachableError, match="no connection to wss://"):
        Client(f"wss://127.0.0.1:{server.port}/")
