"""Packed sets at addresses: the clips of the folder, whatever happens to connections; and a cache of bounded size.

Clips are equal to the bit: what is fetched is a copy of the file, which the same code decodes.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from range_server import RangeServer, serving

from autovid.clip import Clip
from autovid.data import ClipLoader, FaultLog, VideoSet, open_videos, remote
from autovid.data.member_cache import LOCK, MemberCache, cache_bytes
from autovid.data.remote import below, public
from autovid.data.shards import Shards, cache_note
from autovid.data.sources import recorded_source
from autovid.errors import ConfigError, DataError, RunError

CLIP = Clip(frames=4, crop=32, stride=2)
STEPS = 5


@pytest.fixture(autouse=True)
def cache(shard_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, and no waiting."""
    monkeypatch.setattr(remote, "WAIT", 0.0)
    return shard_cache


@pytest.fixture
def server(packed: Path) -> Iterator[RangeServer]:
    with serving(packed) as server:
        yield server


def clips(videos: VideoSet, first: int = 0, faults: FaultLog | None = None) -> list[torch.Tensor]:
    loader = ClipLoader(videos.train, videos.root, CLIP, batch=4, train=True, seed=2, faults=faults)
    return [batch.x for batch in loader.batches(first, STEPS)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def refusal(source: str) -> str:
    with pytest.raises(DataError) as error:
        clips(open_videos(source))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_clips_are_those_of_the_folder_and_are_fetched_once(
    tiny_videos: Path, server: RangeServer, cache: Path
) -> None:
    folder, videos = open_videos(tiny_videos), open_videos(server.address)
    assert videos.fingerprint == folder.fingerprint
    expected = clips(folder)
    assert same(clips(videos), expected)
    fetched = len(server.paths)
    assert len(kept(cache)) == len([path for path in server.paths if path.endswith(".tar")]) > 10
    assert same(clips(videos), expected)
    assert len(server.paths) == fetched, "a second time from the disk"


def test_a_lost_connection_is_tried_again(tiny_videos: Path, server: RangeServer) -> None:
    server.troubles = ["hang up", 503]
    videos = open_videos(server.address)
    server.troubles = ["cut", "hang up", 500, "cut", 429, "cut"]
    assert same(clips(videos, faults=(faults := FaultLog(24))), clips(open_videos(tiny_videos)))
    assert not server.troubles
    assert not faults.reasons


def test_a_lost_connection_is_named_in_the_end_and_costs_no_video(tiny_videos: Path, server: RangeServer) -> None:
    videos, expected = open_videos(server.address), clips(open_videos(tiny_videos))
    loader = ClipLoader(videos.train, videos.root, CLIP, batch=4, train=True, seed=2, faults=(faults := FaultLog(24)))
    batches = loader.batches(0, STEPS)
    assert torch.equal(next(batches).x, expected[0])
    server.always = "cut"
    with pytest.raises(DataError) as error:
        next(batches)
    assert f"{server.address}/train-" in str(error.value)
    assert f"no connection in {remote.TRIES} tries" in str(error.value)
    assert not faults.reasons
    server.always = None
    assert same(clips(videos, first=1), expected[1:]), "as if nothing had been"


def test_answers_that_stay_the_same_are_named_at_once(packed: Path, server: RangeServer) -> None:
    server.whole = True
    assert "it does not know HTTP ranges" in refusal(server.address)
    server.whole, server.to = False, "http://127.0.0.1:1/elsewhere?key=SECRET"
    line = refusal(server.address)
    assert "sends us on to http://127.0.0.1:1/elsewhere, which you have not named" in line
    server.to = ""
    assert "the server answers 404" in refusal(f"{server.address}/nothing")
    server.query = "key=SECRET"
    assert "no permission (403" in refusal(server.address)
    assert len(server.paths) == 4, server.paths


def test_a_shard_that_is_truncated_where_it_lies_is_named(packed: Path, tmp_path: Path) -> None:
    other = tmp_path / "set"
    other.mkdir()
    for path in packed.iterdir():
        data = path.read_bytes()
        (other / path.name).write_bytes(data[: len(data) // 3] if path.suffix == ".tar" else data)
    with serving(other) as server:
        line = refusal(server.address)
    assert "where the index says" in line
    assert "it is truncated" in line
    files = fsspec.filesystem("memory")
    files.put(str(other) + "/", "/cut/", recursive=True)
    assert "it is truncated" in refusal("memory://cut")


def test_what_is_secret_in_an_address_is_used_and_never_shown(tiny_videos: Path, server: RangeServer) -> None:
    server.query, server.password = "key=SECRET", "Basic bWU6UEFTUw=="  # me:PASS
    host = server.address.removeprefix("http://")
    address = f"http://me:PASS@{host}/?key=SECRET"
    videos = open_videos(address)
    assert same(clips(videos), clips(open_videos(tiny_videos)))
    assert str(videos.root) == recorded_source(address) == server.address
    assert str(videos.root / videos.train[0].path) == f"{server.address}/{videos.train[0].path}"
    server.always = "hang up"
    line = refusal(address)
    assert "PASS" not in line
    assert "SECRET" not in line


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://a:b@host:1/x/?k=v#f", "https://host:1/x"),
        ("s3://bucket/x/", "s3://bucket/x"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("hf://datasets/me/set@main/x", "hf://datasets/me/set@main/x"),
    ],
)
def test_an_address_is_written_down_without_secrets(address: str, shown: str) -> None:
    assert public(address) == shown


def test_a_file_has_the_query_of_its_folder() -> None:
    assert below("https://a@host/x/?k=v", "f.tar") == "https://a@host/x/f.tar?k=v"
    assert below("s3://bucket/x", "f.tar") == "s3://bucket/x/f.tar"


def test_other_protocols_are_those_of_fsspec(tiny_videos: Path, packed: Path) -> None:
    fsspec.filesystem("memory").put(str(packed) + "/", "/whole/", recursive=True)
    assert same(clips(open_videos("memory://whole")), clips(open_videos(tiny_videos)))
    assert "there is no such file" in refusal("memory://nothing")
    assert "none of the protocols" in refusal("nonsense://x")
    assert "makes no sense" in refusal("https://me:SECRET@[::/x")
    assert "none of the protocols" in refusal(f"file://{packed}"), "a folder is named as it is"
    assert "may lead anywhere" in refusal("memory://whole::https://host/x")


def test_a_protocol_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = {"class": "no_such.Thing", "err": "install gcsfs"}
    monkeypatch.setitem(sys.modules["fsspec.registry"].known_implementations, "gs", unknown)
    assert "a package that this protocol needs is not installed: install gcsfs" in refusal("gs://bucket/x")


def test_errors_of_libraries_are_tried_again_or_final(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(packed) + "/", "/set/", recursive=True)
    videos, plain = open_videos("memory://set"), files.cat_file
    errors: list[Exception] = [TimeoutError(), ConnectionResetError("reset"), RuntimeError("of the library")]

    def failing(path: str, start: int, end: int) -> bytes:
        if errors:
            raise errors.pop(0)
        return bytes(plain(path, start, end))

    monkeypatch.setattr(files, "cat_file", failing)
    clips(videos)
    assert not errors
    final = [PermissionError("not yours"), type("NoCredentialsError", (Exception,), {})("none")]
    for video, error in zip(videos.val, final):
        errors[:] = [error]
        with pytest.raises(DataError, match="no permission"):
            (videos.root / video.path).open()
        assert not errors


# The cache


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != LOCK}


def content(cache: MemberCache, name: str, size: int = 100) -> bytes:
    file = cache.open(name, size, lambda first, last: name.encode()[:1] * (last - first), name)
    try:
        return os.pread(file, 10 * size, 0)
    finally:
        os.close(file)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = MemberCache(tmp_path, 500)
    for number, name in enumerate("abcde"):
        assert content(cache, name) == name.encode() * 100
        os.utime(tmp_path / name, (number, number))
    content(cache, "a")  # used again
    content(cache, "f")
    assert kept(tmp_path) == {"a", "d", "e", "f"}, "450 bytes are left, so that not each new one looks at all"
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.name != LOCK) <= 500


def test_what_is_removed_while_it_is_open_can_be_read_on(tmp_path: Path) -> None:
    cache = MemberCache(tmp_path, 250)
    file = cache.open("a", 100, lambda first, last: b"a" * (last - first), "a")
    for name in "bcd":
        content(cache, name)
    assert "a" not in kept(tmp_path)
    assert os.pread(file, 100, 0) == b"a" * 100
    os.close(file)


def test_what_does_not_come_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = MemberCache(tmp_path, 250)

    def lost(first: int, last: int) -> bytes:
        raise DataError("lost")

    for _ in range(5):
        with pytest.raises(DataError, match="lost"):
            cache.open("a", 100, lost, "a")
    assert not kept(tmp_path)
    content(cache, "b")
    content(cache, "c")
    assert kept(tmp_path) == {"b", "c"}


def test_a_part_of_another_size_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"half")
    assert content(MemberCache(tmp_path, 250), "a") == b"a" * 100


def test_a_part_that_is_larger_than_the_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a: 1e\+06 MB.*AUTOVID_CACHE_SIZE|AUTOVID_CACHE_SIZE"):
        content(MemberCache(tmp_path, 500), "a", 10**12)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="AUTOVID_CACHE is another place"):
        content(MemberCache(tmp_path / "file" / "cache", 500), "a")


def fill(folder: Path, seed: int) -> None:
    cache = MemberCache(folder, 2000)
    for number in range(120):
        name = "abcdefghijklmnopqrstuvwxyz"[(seed * 31 + number * number) % 26]
        assert content(cache, name) == name.encode() * 100


def test_several_processes_share_a_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=fill, args=(tmp_path, seed)) for seed in range(3)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    assert [process.exitcode for process in others] == [0, 0, 0]
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.name != LOCK) <= 2000
    assert all(len(name) == 1 for name in kept(tmp_path)), "nothing half is left"


def test_its_size_is_the_users(server: RangeServer, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    videos = open_videos(server.address)
    assert isinstance(videos.root, Shards)
    assert not cache_note(videos.root)
    monkeypatch.setenv("AUTOVID_CACHE_SIZE", "0.02M")
    assert cache_bytes() == 20_000
    assert "0.02 MB may be kept on this disk" in cache_note(videos.root)[0]
    clips(videos)
    assert 0 < sum(path.stat().st_size for path in cache.iterdir() if path.name != LOCK) <= 20_000
    monkeypatch.setenv("AUTOVID_CACHE_SIZE", "much")
    with pytest.raises(ConfigError, match="AUTOVID_CACHE_SIZE=much"):
        cache_bytes()
