"""Inputs and outputs that lie elsewhere: in memory, and behind servers on the loopback."""

import asyncio
import getpass
import http.server
import importlib.util
import io
import os
import pickle
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from fake_engine import Nearest
from PIL import Image

from srcli import catalog
from srcli.errors import MediaError, UsageError
from srcli.jobs.events import Done, Failed, Skipped
from srcli.jobs.inputs import find
from srcli.jobs.job import Options
from srcli.jobs.plan import Plan
from srcli.jobs.run import run
from srcli.media import remote
from srcli.media.remote import UrlPath, path_of

fsspec = pytest.importorskip("fsspec")
BCRN = catalog.resolve("bcrn.authors")


def needs(module):
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    return tmp_path


def png(size=(6, 4)):
    stream = io.BytesIO()
    Image.new("RGB", size, "teal").save(stream, "png")
    return stream.getvalue()


def put(*names, scheme="memory"):
    for name in names:
        fsspec.filesystem(scheme).pipe_file(name, png())


def upscale(*inputs, **more):
    """(outputs done, {input: what is wrong}, outputs skipped)."""
    options = Options(model=BCRN, **{"scale": 2.0, "output": "memory://out/", **more})
    plan = Plan(list(inputs), options)
    events = []
    for source in (plan.over(), plan.todo()):
        run(
            source,
            options,
            Nearest(),
            tell=events.append,
            inspect=plan.inspect,
            total=plan.total,
            scales=plan.scales,
        )
    done = sorted(str(e.target) for e in events if isinstance(e, Done))
    failed = {str(e.source): e.error for e in events if isinstance(e, Failed)}
    skipped = sorted(str(e.target) for e in events if isinstance(e, Skipped))
    return done, failed, skipped


def size_of(url):
    with fsspec.open(url) as file, Image.open(file) as made:
        return made.size


# names


def test_a_url_is_a_path_of_its_own():
    path = path_of("s3://bucket/a/b.png")
    assert isinstance(path, UrlPath)
    assert str(path) == "s3://bucket/a/b.png"
    assert (path.name, path.stem, path.suffix) == ("b.png", "b", ".png")
    assert str(path.with_name("c.jpg")) == "s3://bucket/a/c.jpg"
    assert str(path.parent / "d" / "e.png") == "s3://bucket/a/d/e.png"
    assert str(path.parent.relative_to(path_of("s3://bucket"))) == "a"
    assert path_of("a/b.png") == Path("a/b.png")
    assert path_of("file:///a/b.png") == Path("/a/b.png")


def test_secrets_are_used_and_not_shown():
    path = path_of("sftp://me:geheim@host:22/a.png")
    assert "geheim" not in f"{path} {path!r} {path.with_name('b.png')}"
    assert path.with_name("b.png").url == "sftp://me:geheim@host:22/b.png"
    assert pickle.loads(pickle.dumps(path)).url == path.url
    signed = path_of("https://host/a.png?X-Signature=geheim")
    assert str(signed) == "https://host/a.png"
    assert signed.suffix == ".png"
    assert signed.url.endswith("?X-Signature=geheim")


# in memory


def test_from_and_to_a_store():
    put("/in/a.png", "/in/b.png", "/in/sub/c.png", "/in/.hidden.png", "/in/notes.txt")
    assert upscale("memory://in") == (["memory://out/a_x2.png", "memory://out/b_x2.png"], {}, [])
    assert size_of("memory://out/a_x2.png") == (12, 8)
    assert upscale("memory://in", recursive=True, skip_existing=True) == (
        ["memory://out/sub/c_x2.png"],
        {},
        ["memory://out/a_x2.png", "memory://out/b_x2.png"],
    )
    assert upscale("memory://in/[ab].png", output="here/")[0] == ["here/a_x2.png", "here/b_x2.png"]
    assert upscale("here/a_x2.png", output="memory://out/again.png")[0] == [
        "memory://out/again.png"
    ]
    assert upscale("memory://in/a.png", output=None)[0] == ["memory://in/a_x2.png"]


def test_what_is_refused_there():
    put("/in/a.png", "/in/a.gif", "/out/a_x2.png")
    with pytest.raises(UsageError, match=r"memory://out/a_x2\.png exists"):
        upscale("memory://in/a.png")
    assert len(upscale("memory://in", format="png")[1]) == 2
    with pytest.raises(UsageError, match=r"memory://in/no\.png does not exist"):
        upscale("memory://in/no.png")
    with pytest.raises(UsageError, match="nothing matches memory://in/z"):
        upscale("memory://in/z*.png")
    with pytest.raises(UsageError, match="for reading"):
        upscale("memory://in/a.png", output="https://host/out/")
    with pytest.raises(UsageError, match="no magic://"):
        upscale("magic://in/a.png")
    rows = upscale("memory://in/%05d.png", output="out.mkv")[1]
    assert "folders on this computer" in rows["memory://in/%05d.png"]


def test_nothing_half_written_is_there(monkeypatch):
    put("/in/a.png")
    fsspec.filesystem("memory").pipe_file("/in/cut.png", png((900, 900))[:-200])
    done, failed, _ = upscale("memory://in")
    assert done == ["memory://out/a_x2.png"]
    assert list(failed) == ["memory://in/cut.png"]
    assert fsspec.filesystem("memory").find("/out") == ["/out/a_x2.png"]


def test_many_of_a_store_are_not_fetched_before_work(monkeypatch):
    put(*(f"/in/{k:02d}.png" for k in range(30)))
    fetched = []
    real = UrlPath.read_bytes

    def read_bytes(path):
        fetched.append(path.name)
        return real(path)

    monkeypatch.setattr(UrlPath, "read_bytes", read_bytes)
    options = Options(model=BCRN, scale=2.0, output="memory://out/")
    Plan(["memory://in"], options)
    assert fetched == []
    assert len(upscale("memory://in")[0]) == 30
    assert sorted(fetched) == [f"{k:02d}.png" for k in range(30)]  # each once


def test_existing_ones_of_a_store_are_listed_once(monkeypatch):
    put(*(f"/in/{k:02d}.png" for k in range(60)), *(f"/out/{k:02d}_x2.png" for k in range(60)))
    asked = []
    store = type(fsspec.filesystem("memory"))
    info, ls = store.info, store.ls
    monkeypatch.setattr(store, "info", lambda fs, at, **k: (asked.append(at), info(fs, at, **k))[1])
    monkeypatch.setattr(
        store, "ls", lambda fs, at, *a, **k: (asked.append(at), ls(fs, at, *a, **k))[1]
    )
    assert len(upscale("memory://in", skip_existing=True)[2]) == 60
    assert len([at for at in asked if "out" in at]) < 30


def test_a_back_end_that_is_not_installed(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(remote, "find_spec", lambda n: None if n == "s3fs" else real(n))
    with pytest.raises(UsageError, match="s3:// needs s3fs") as caught:
        find(["s3://bucket/a.png"])
    assert caught.value.hint == 'pip install "srcli[cloud]"'


def test_a_cut_connection_is_tried_again_then_named(monkeypatch):
    put("/in/a.png")
    store = type(fsspec.filesystem("memory"))
    real, calls = store.cat_file, []

    def cut(fs, at, **more):
        calls.append(at)
        if len(calls) <= cuts:
            raise ConnectionResetError(104, "Connection reset by peer")
        return real(fs, at, **more)

    monkeypatch.setattr(store, "cat_file", cut)
    cuts = 2
    assert upscale("memory://in/a.png")[0] == ["memory://out/a_x2.png"]
    assert len(calls) == 3
    cuts = 1000
    _, failed, _ = upscale("memory://in/a.png", overwrite=True)
    assert "memory://in/a.png cannot be read, tried 4 times" in failed["memory://in/a.png"]
    assert "Connection reset" in failed["memory://in/a.png"]


# HTTP


@pytest.fixture
def web(here):
    """(address, requests): a server of the current folder; the first ``cuts`` answers are cut."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        cuts = 0

        def do_GET(self):
            requests.append(self.path)
            if Handler.cuts > 0:
                Handler.cuts -= 1
                self.close_connection = True
                self.connection.shutdown(2)
                return
            super().do_GET()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Handler, requests
    server.shutdown()
    server.server_close()


@needs("aiohttp")
def test_over_http(web):
    address, handler, requests = web
    Path("a.png").write_bytes(png())
    handler.cuts = 2
    assert upscale(f"{address}/a.png?key=geheim", output="out/") == (["out/a_x2.png"], {}, [])
    assert requests == ["/a.png?key=geheim"] * 3
    _, failed, _ = upscale(f"{address}/no.png?key=geheim", output="out/")
    assert failed == {f"{address}/no.png": f"{address}/no.png cannot be read: it does not exist"}
    handler.cuts = 1000
    _, failed, _ = upscale(f"{address}/a.png?key=geheim", output="other/")
    assert "tried 4 times" in failed[f"{address}/a.png"]
    assert "geheim" not in str(failed)
    handler.cuts = 0
    with pytest.raises(UsageError, match="for reading"):
        raise next(Plan([f"{address}/a.png"], Options(model=BCRN, scale=2.0)).over()).failure


# S3


@pytest.mark.slow
@needs("s3fs")
@needs("moto")
def test_over_s3(monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        type(store).clear_instance_cache()
        store.mkdir("bucket")
        for name in ("a.png", "b.png", "sub/c.png"):
            store.pipe_file(f"bucket/in/{name}", png())
        done, failed, _ = upscale("s3://bucket/in", output="s3://bucket/out/", recursive=True)
        names = ["a_x2.png", "b_x2.png", "sub/c_x2.png"]
        assert (done, failed) == ([f"s3://bucket/out/{name}" for name in names], {})
        assert size_of("s3://bucket/out/a_x2.png") == (12, 8)
        again = upscale(
            "s3://bucket/in", output="s3://bucket/out/", recursive=True, skip_existing=True
        )
        assert again == ([], {}, [f"s3://bucket/out/{name}" for name in names])
        assert upscale("s3://bucket/in/*.png", output="here/")[0] == [
            "here/a_x2.png",
            "here/b_x2.png",
        ]
        store.invalidate_cache()
        assert sorted(store.find("bucket/out")) == [f"bucket/out/{name}" for name in names]
        with pytest.raises(UsageError, match="does not exist"):
            upscale("s3://bucket/no.png")
    finally:
        server.stop()


# SFTP


class AsyncServer:
    """An SFTP server of a folder, by asyncssh, in a thread of its own."""

    def __init__(self, root, host_key):
        import asyncssh

        connections = self.connections = []

        class Server(asyncssh.SSHServer):
            def connection_made(self, connection):
                connections.append(connection)

            def begin_auth(self, username):
                return True

            def password_auth_supported(self):
                return True

            def validate_password(self, username, password):
                return password == "geheim"

        def sftp(channel):
            return asyncssh.SFTPServer(channel, chroot=str(root).encode())

        self.loop = asyncio.new_event_loop()
        began = threading.Event()

        async def serve():
            self.server = await asyncssh.listen(
                "127.0.0.1", 0, server_factory=Server, server_host_keys=[host_key],
                sftp_factory=sftp,
            )  # fmt: skip
            self.port = self.server.sockets[0].getsockname()[1]
            began.set()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(serve())
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert began.wait(30)

    def stop(self):
        async def close():
            self.server.close()
            for connection in self.connections:
                connection.abort()
            await asyncio.sleep(0.1)

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@pytest.fixture
def home(here, monkeypatch):
    folder = here / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


@pytest.mark.slow
@needs("paramiko")
@needs("asyncssh")
def test_over_sftp(here, home):
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    root = here / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.png").write_bytes(png())
    server = AsyncServer(root, key)
    try:
        place = f"sftp://me:geheim@127.0.0.1:{server.port}"
        plain = f"sftp://me@127.0.0.1:{server.port}"
        with pytest.raises(MediaError, match="known_hosts"):
            path_of(f"{place}/in/a.png").read_bytes()
        public = key.export_public_key().decode().strip()
        known = f"[127.0.0.1]:{server.port} {public}\n"
        (home / ".ssh" / "known_hosts").write_text(known)
        done, failed, _ = upscale(f"{place}/in", output=f"{place}/out/deep/")
        assert (done, failed) == ([f"{plain}/out/deep/a_x2.png"], {})
        assert [p.name for p in (root / "out" / "deep").iterdir()] == ["a_x2.png"]
        # over what exists, and from a folder of this machine
        done, _, _ = upscale(f"{place}/in/*.png", output=f"{place}/out/deep/", overwrite=True)
        assert done == [f"{plain}/out/deep/a_x2.png"]
        assert upscale(f"{place}/in", output=f"{place}/out/deep/", skip_existing=True)[2]
        wrong = path_of(f"sftp://you:wrong@127.0.0.1:{server.port}/in/a.png")
        with pytest.raises(MediaError) as caught:
            wrong.read_bytes()
        assert "tried" not in caught.value.message and "wrong" not in caught.value.message
    finally:
        server.stop()
    with pytest.raises(MediaError, match="tried 4 times"):
        path_of(f"{place}/in/a.png").read_bytes()


SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@pytest.fixture
def openssh(here, home, monkeypatch):
    """(server, URL of the current folder): OpenSSH's, as this user, with keys of its own."""
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(here / name)]
        subprocess.run(make, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = here / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {here}/user.pub\nSubsystem sftp internal-sftp\nPidFile none\n"
    )
    public = (here / "host.pub").read_text().rsplit(" ", 1)[0]
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    shutil.copy(here / "user", home / ".ssh" / "id_ed25519")
    monkeypatch.setenv("HOME", str(home))
    command = [SSHD, "-D", "-e", "-f", str(config)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = server.stderr.readline()  # that it listens, or why it does not
    if "listening" not in said:
        server.kill()
        server.wait()
        pytest.skip(f"OpenSSH's server does not run here: {said.strip()}")
    yield server, f"sftp://{getpass.getuser()}@127.0.0.1:{port}{here}"
    server.kill()
    server.communicate()


@pytest.mark.slow
@needs("paramiko")
@pytest.mark.skipif(SSHD is None, reason="OpenSSH's server is not installed")
def test_over_openssh(here, openssh):
    server, place = openssh
    (here / "in").mkdir()
    for name in "abc":
        (here / "in" / f"{name}.png").write_bytes(png())
    done, failed, _ = upscale(f"{place}/in", output=f"{place}/out/")
    assert (done, failed) == ([f"{place}/out/{name}_x2.png" for name in "abc"], {})
    assert sorted(p.name for p in (here / "out").iterdir()) == [f"{n}_x2.png" for n in "abc"]
    assert len(upscale(f"{place}/in", output=f"{place}/out/", skip_existing=True)[2]) == 3
    # the connection is cut, and made anew
    assert cut(server) > 0
    assert upscale(f"{place}/in/a.png", output=f"{place}/again/")[0] == [f"{place}/again/a_x2.png"]
    server.send_signal(signal.SIGSTOP)  # so that no new one is let in
    cut(server)
    server.kill()
    server.wait()
    _, failed, _ = upscale(f"{place}/in/a.png", "b.png", output="here/")
    assert f"{place}/in/a.png cannot be looked at, tried 4 times" in failed[f"{place}/in/a.png"]
    assert [p.name for p in (here / "again").iterdir()] == ["a_x2.png"]


def cut(server):
    """Kill the processes that serve a connection; how many there were."""
    asked = ["ps", "-o", "pid=", "--ppid", str(server.pid)]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    for pid in found:
        os.kill(int(pid), signal.SIGKILL)
    return len(found)
