"""Shards on real servers, whose connections are cut: HTTP with ranges, and S3. Trainings, and the workers of one.

Clips and weights are equal to the bit: a member of a shard is a copy of the file, and the same code decodes it, and
trains on it with as many threads.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import fsspec
import pytest
import torch
from moto.server import ThreadedMotoServer
from processes import running
from range_server import RangeServer, serving
from safetensors.torch import load_file

from autovid.cli import main
from autovid.clip import Clip
from autovid.data import ClipLoader, FaultLog, open_videos, remote
from autovid.errors import DataError

pytestmark = pytest.mark.docs
CLIP = Clip(frames=4, crop=32, stride=2)
TRAIN = "train tsn_resnet18 --recipe proxy --epochs 2 --batch 4 --crop 16 --jitter 16:20 --device cpu --precision fp32"


@pytest.fixture(autouse=True)
def cache(shard_cache: Path) -> Path:
    """An empty cache for each test."""
    return shard_cache


def train(out: Path, data: object, *more: str) -> list[str]:
    return [*TRAIN.split(), "--data", str(data), "-o", str(out), "--cache", "off", *more]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(max((run / "checkpoints").iterdir()) / "model.safetensors"))


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Cutter:
    """A way to a server that closes every connection after so many bytes, or takes none."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.cut_after: int | None = None
        self.cuts = 0
        self._target = port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=(self._server.accept()[0],), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
            sent = 0
            while data := server.recv(1 << 14):
                if self.cut_after is not None and sent + len(data) > self.cut_after:
                    client.sendall(data[: self.cut_after - sent])
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
                sent += len(data)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                target.sendall(data)

    def close(self) -> None:
        self._server.close()


@contextmanager
def s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    """An S3 server on loopback with the folder as s3://bucket/deep/set, behind a `Cutter`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "SECRET")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # it knows the server of the test before
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="bucket")
        for path in folder.iterdir():
            client.upload_file(str(path), "bucket", f"deep/set/{path.name}")
        cutter = Cutter(port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{cutter.port}")
        yield cutter
        cutter.close()
    finally:
        server.stop()


def test_s3_has_the_clips_of_the_folder_with_connections_cut(
    tiny_videos: Path, packed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_videos(tiny_videos)
    loader = ClipLoader(folder.train, folder.root, CLIP, batch=4, train=True, seed=2)
    expected = [batch.x for batch in loader.batches(0, 6)]
    monkeypatch.setattr(remote, "WAIT", 0.05)
    with s3(packed, monkeypatch) as way:
        videos = open_videos("s3://bucket/deep/set/")
        assert videos.fingerprint == folder.fingerprint
        loader = ClipLoader(
            videos.train, videos.root, CLIP, batch=4, train=True, seed=2, faults=(faults := FaultLog(24))
        )
        batches = loader.batches(0, 6)
        got = [next(batches).x]
        way.cut_after = 3000  # a member has some 5,000
        threading.Timer(1.5, setattr, (way, "cut_after", None)).start()
        got += [batch.x for batch in batches]
        assert way.cuts > 0
        assert not faults.reasons
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        with pytest.raises(DataError, match="s3://bucket/nothing/autovid-shards.json: there is no such file"):
            open_videos("s3://bucket/nothing")


def test_a_training_from_s3_is_that_from_the_folder(
    tiny_videos: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(train(tmp_path / "folder", tiny_videos)) == 0
    with s3(packed, monkeypatch):
        assert main(train(tmp_path / "s3", "s3://bucket/deep/set", "--decoders", "2")) == 0
        assert equal(weights(tmp_path / "s3"), weights(tmp_path / "folder"))
        assert main(["evaluate", str(tmp_path / "s3"), "--views", "3-lcr"]) == 0
    secret = [path for path in (tmp_path / "s3").rglob("*") if path.is_file() and b"SECRET" in path.read_bytes()]
    assert not secret


@pytest.fixture
def server(packed: Path) -> Iterator[RangeServer]:
    with serving(packed) as server:
        yield server


def test_a_training_whose_server_is_gone_goes_on_as_if_it_had_not_been(
    tiny_videos: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(remote, "WAIT", 0.01)
    assert main(train(tmp_path / "folder", tiny_videos)) == 0
    server.query, server.password = "key=SECRET", "Basic bWU6UEFTUw=="  # me:PASS
    address = f"http://me:PASS@{server.address.removeprefix('http://')}?key=SECRET"
    out, answered = tmp_path / "run", len(server.paths)

    def gone() -> None:
        while len(server.paths) < answered + 30:
            time.sleep(0.001)
        server.always = "cut"

    threading.Thread(target=gone, daemon=True).start()
    capsys.readouterr()
    assert main(train(out, address)) == 4
    line = capsys.readouterr().err.strip()
    assert f"autovid train: {server.address}/" in line
    assert "no connection in 7 tries" in line
    assert "\n" not in line
    server.always = None
    assert main(train(out, address, "--resume")) == 0
    assert equal(weights(out), weights(tmp_path / "folder"))
    assert not (out / "faults.jsonl").exists() or not (out / "faults.jsonl").read_text()
    secret = [
        path for path in out.rglob("*")
        if path.is_file() and any(word in path.read_bytes() for word in (b"SECRET", b"PASS", b"bWU6"))
    ]  # fmt: skip
    assert not secret


def test_each_of_several_workers_reads_its_part(
    tiny_videos: Path, server: RangeServer, tmp_path: Path, cache: Path
) -> None:
    for name, data in (("folder", tiny_videos), ("shards", server.address)):
        words = [sys.executable, "-m", "autovid", *train(tmp_path / name, data, "--processes", "2")]
        with running(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
            _, warned = process.communicate(timeout=300)
        assert process.returncode == 0, warned
    assert equal(weights(tmp_path / "shards"), weights(tmp_path / "folder"))
    assert len([path for path in server.paths if path.endswith(".tar")]) >= 36
