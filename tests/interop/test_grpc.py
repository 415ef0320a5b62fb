"""Our gRPC against Google's (grpcio), both ways."""
import concurrent.futures
import signal
import subprocess
import threading

import grpc
import pytest


@pytest.fixture
def server(peer):
    p = subprocess.Popen([peer("grpc_peer"), "server"], stdout=subprocess.PIPE, text=True)
    p.target = f"127.0.0.1:{int(p.stdout.readline())}"
    yield p
    p.kill()
    p.wait()


def test_calls(server):
    with grpc.insecure_channel(server.target) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        assert echo(b"", timeout=5) == b""
        big = bytes(range(256)) * 4096 * 3
        assert echo(big, timeout=5) == big
        with pytest.raises(grpc.RpcError) as refused:
            echo(b"x", timeout=5, metadata=[("x-code", "7")])
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert refused.value.details() == "wünschte sich %"
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary("/t.T/Nothing")(b"x", timeout=5)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as large:
            echo(b"x" * (4 * 1024 * 1024 + 1), timeout=5)
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert echo(b"still fine", timeout=5) == b"still fine"


def test_compressed_is_refused(server):
    with grpc.insecure_channel(server.target, compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.RpcError) as e:
            channel.unary_unary("/t.T/Echo")(b"x" * 10000, timeout=5)
        assert e.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_many_at_once(server):
    with grpc.insecure_channel(server.target) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        futures = [echo.future(str(i).encode(), timeout=20) for i in range(2000)]
        assert [f.result() for f in futures] == [str(i).encode() for i in range(2000)]


def test_deadline_and_cancel_reach_the_server(server):
    with grpc.insecure_channel(server.target) as channel:
        hold = channel.unary_unary("/t.T/Hold")
        with pytest.raises(grpc.RpcError) as e:
            hold(b"x", timeout=0.2)
        assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.stdout.readline() == "held call gone\n"
        call = hold.future(b"x")
        call.cancel()
        echo = channel.unary_unary("/t.T/Echo")
        assert echo(b"x", timeout=5) == b"x"


def test_streaming(server):
    big = b"y" * 1000 * 1000
    with grpc.insecure_channel(server.target) as channel:
        chat = channel.stream_stream("/t.T/Chat")
        assert list(chat(iter([b"a", b"", big] + [b"z"] * 100), timeout=10)) == [b"a", b"", big] + [b"z"] * 100
        answers = chat(iter([b"a", b"bye"]), timeout=5)
        with pytest.raises(grpc.RpcError) as e:
            for _ in answers:
                pass
        assert e.value.code() is grpc.StatusCode.ABORTED


def test_drain_loses_nothing(server):
    """A client that does not reconnect elsewhere finishes what it began."""
    go_on = threading.Event()

    def say():
        yield b"one"
        go_on.wait(10)
        yield b"two"

    with grpc.insecure_channel(server.target) as channel:
        answers = channel.stream_stream("/t.T/Chat")(say(), timeout=15)
        assert next(answers) == b"one"
        echo = channel.unary_unary("/t.T/Echo")
        futures = [echo.future(b"x", timeout=5) for _ in range(200)]
        server.send_signal(signal.SIGUSR1)
        futures += [echo.future(b"x", timeout=5) for _ in range(200)]
        assert all(f.result() == b"x" for f in futures)
        go_on.set()
        assert list(answers) == [b"two"]


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/t.T/Echo":
            return grpc.unary_unary_rpc_method_handler(self.echo)
        if details.method == "/t.T/Hold":
            return grpc.unary_unary_rpc_method_handler(self.hold)
        if details.method == "/t.T/Chat":
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: requests)
        return None

    @staticmethod
    def echo(request, context):
        if ("x-code", "7") in context.invocation_metadata():
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "nö")
        return request

    @staticmethod
    def hold(request, context):
        threading.Event().wait(2)
        return request


def test_client(peer):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    p = subprocess.run([peer("grpc_peer"), "client", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=60)
    server.stop(0)
    assert p.returncode == 0
    assert p.stdout.splitlines() == [
        "empty OK 0",
        "big OK 1048576",
        "refused PERMISSION_DENIED 0",
        "unknown UNIMPLEMENTED 0",
        "late DEADLINE_EXCEEDED 0",
        "chat OK 20971520",
    ]
    assert "nö" in p.stderr
