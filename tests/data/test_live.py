"""Live sources: a growing file, a TCP stream that is cut, RTSP; a bounded buffer, and nothing else opened."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from counting import counting_frames, counts, write

from autovid.clip import Clip
from autovid.data.live import LiveFrames
from autovid.data.live_sources import live_source
from autovid.errors import ConfigError, DataError
from autovid.export import VideoClassifier, follow
from autovid.export.manifest import Interface

FRAMES = 60  # at 25 a second
HELD = 8  # frames that a demuxer and a decoder may hold back until more comes


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 60 frames as MPEG-TS."""
    frames = counting_frames(FRAMES, height=48, width=48)
    return write(tmp_path_factory.mktemp("live") / "a.ts", frames, gop=6, bf="0", tune="zerolatency").read_bytes()


@contextmanager
def frames_of(source: str, window: float = 1.0, least: int = 1) -> Iterator[LiveFrames]:
    with LiveFrames(live_source(source), window, least, lambda frame: frame) as live:
        yield live
    assert not [thread for thread in threading.enumerate() if thread.name == "live frames"]


def until(done: Callable[[], bool]) -> None:
    """Waits; a test that hangs says so."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def network(clip: Clip) -> VideoClassifier:
    """Two classes, sure of the second."""
    interface = Interface(name="sure", hash="", outputs=2, clip=clip, classes=("no", "yes"))
    return VideoClassifier(interface, lambda x: torch.tensor([[0.0, 5.0]]).repeat(len(x), 1))


def test_a_growing_file_leaves_its_last_second_in_the_buffer(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(b"")
    with frames_of(str(path)) as live:
        for first in range(0, len(stream), 5000):
            with path.open("ab") as file:
                file.write(stream[first : first + 5000])
            time.sleep(0.01)
        until(lambda: live.count >= FRAMES - HELD)
        time.sleep(0.1)
        pixels, seconds = live.snapshot()
    shown = counts(pixels)
    assert shown == list(range(shown[-1] - 24, shown[-1] + 1))  # 25 frames are a second
    assert np.allclose(seconds, np.array(shown) * 0.04)  # time stamps of 1/90,000 s


def test_a_buffer_holds_no_less_than_a_clip(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(stream)
    with frames_of(str(tmp_path / "a.ts"), window=0.1, least=7) as live:
        until(lambda: live.count >= FRAMES - HELD)
        assert len(live.snapshot().pixels) == 7


def test_a_file_that_is_replaced_is_read_anew(stream: bytes, tmp_path: Path) -> None:
    path, other = tmp_path / "a.ts", tmp_path / "b.ts"
    path.write_bytes(stream)
    with frames_of(str(path)) as live:
        until(lambda: live.count >= FRAMES - HELD)
        before = live.snapshot().seconds[-1]
        other.write_bytes(stream)
        other.replace(path)
        until(lambda: live.count >= 2 * (FRAMES - HELD))
        pixels, seconds = live.snapshot()
    assert seconds[-1] > before + 1
    assert (np.diff(seconds) > 0).all()
    assert counts(pixels[-20:]) == list(range(counts(pixels[-1:])[0] - 19, counts(pixels[-1:])[0] + 1))


def test_predictions_come_until_nothing_has_come_for_long(
    stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autovid.export.following.SILENCE", 0.2)
    path, said = tmp_path / "a.ts", []
    path.write_bytes(stream)
    clip = Clip(4, 24, stride=2)
    predictions = []
    for one in follow(network(clip), str(path), say=said.append, window=0.8, give_up=2.0, every=0.05):
        predictions.append(one)
        if said and len(predictions) < 50 and path.stat().st_size == len(stream):
            pytest.fail("a prediction without new frames")
        if len(predictions) == 1:
            threading.Timer(1.0, lambda: path.open("ab").write(stream)).start()
    last = predictions[-1]
    assert (last.top[0].label, last.clips) == ("yes", 3)  # 20 frames, 7 each
    assert last.end - last.start == pytest.approx(0.76, abs=1e-3)  # time stamps of 1/90,000 s
    assert last.end > 2 * (FRAMES - HELD) * 0.04 - 0.5
    assert [line.split(",")[0] for line in said][:2] == [f"no frames from {path}; waiting for more", "frames again"]


def test_what_cannot_be_followed_is_named(stream: bytes, tmp_path: Path) -> None:
    for text in (
        "http://127.0.0.1/x",
        "udp://127.0.0.1:9",
        "concat:a|b://",
        "tcp://127.0.0.1",
        "rtsp:///x",
        "tcp://h:x",
    ):
        with pytest.raises(ConfigError, match=r"rtsp://HOST/PATH|is no address"):
            live_source(text)
    with pytest.raises(ConfigError, match="^ftp://host/x cannot"):  # without the password
        live_source("ftp://user:p@ss@host/x")
    for text in ("missing.ts", str(tmp_path), "/dev/zero"):
        with pytest.raises(DataError, match=r"start the recording first|is not a file"):
            live_source(text)


@pytest.mark.parametrize("kind", ["mp4", "m3u8", "ffconcat"])
def test_files_of_another_kind_open_nothing_else(kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trap.ts")  # whoever opens it waits for ever
    path = tmp_path / f"x.{kind}"
    if kind == "mp4":
        write(path, counting_frames(9))
    elif kind == "m3u8":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\ntrap.ts\n#EXT-X-ENDLIST\n")
    else:
        path.write_text("ffconcat version 1.0\nfile trap.ts\n")
    with pytest.raises(DataError, match=rf"x\.{kind}: (no MPEG-TS or Matroska|no frame has come)"):
        next(follow(network(Clip(4, 24)), str(path), say=print, give_up=0.3, every=0.05))


@contextmanager
def served(*parts: bytes) -> Iterator[int]:
    """A server on loopback that sends one of the parts to each that connects, and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            for part in parts:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(part)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.docs
def test_a_tcp_stream_is_cut_and_comes_again(
    stream: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autovid.export.following.SILENCE", 0.2)
    said: list[str] = []
    with served(stream[:-1000], b"", stream[1000:]) as port:  # in the middle of a packet, then nothing at all
        source = f"tcp://127.0.0.1:{port}"
        ends = [p.end for p in follow(network(Clip(4, 24)), source, say=said.append, give_up=3.0, every=0.05)]
    assert ends[-1] > 2 * (FRAMES - HELD) * 0.04
    assert ends == sorted(ends)
    assert any("waiting" in line for line in said)
    assert any("frames again" in line for line in said)
    with pytest.raises(DataError, match="Connection refused"):
        next(follow(network(Clip(4, 24)), source, say=said.append, give_up=0.5, every=0.05))
    assert capfd.readouterr().err == ""


RTSP = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(); server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(); factory.set_shared(True)
size = "video/x-raw,format=I420,width=64,height=48,framerate=25/1"
factory.set_launch(f"videotestsrc is-live=true ! {size} ! jpegenc ! rtpjpegpay name=pay0")
server.get_mount_points().add_factory("/test", factory); server.attach(None)
print("ready", flush=True); GLib.MainLoop().run()
"""
HAS_GSTREAMER = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert Gst.ElementFactory.find("rtpjpegpay") and Gst.ElementFactory.find("jpegenc")
"""


def system_python() -> str:
    """The Python that Debian's packages are for."""
    return shutil.which("python3", path="/usr/bin") or ""


def rtsp_server(port: int) -> "subprocess.Popen[str]":
    server = subprocess.Popen([system_python(), "-c", RTSP, str(port)], stdout=subprocess.PIPE, text=True)
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    return server


@pytest.mark.docs
def test_an_rtsp_server_is_stopped_and_started() -> None:
    python = system_python()
    if not python or subprocess.run([python, "-c", HAS_GSTREAMER], capture_output=True).returncode:
        pytest.skip("needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-good")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = rtsp_server(port)
    try:
        with frames_of(f"rtsp://127.0.0.1:{port}/test") as live:
            until(lambda: live.count > 30)
            server.kill()
            server.wait()
            until(lambda: bool(live.reason))
            before = live.count
            server = rtsp_server(port)
            until(lambda: live.count > before + 30)
            assert live.snapshot().pixels.shape[1:] == (48, 64, 3)
    finally:
        server.kill()
        server.wait()
