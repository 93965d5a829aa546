"""Pack a data set into tar files that are read one after the other, or by the index at any place.

Which videos come into which tar file is settled before the first one is written. Each is written under another name and
moved to its own when the disk has it, and what it holds is noted beside; so whoever goes on keeps those that are there.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np

from autovid.data.file_lookup import record_of
from autovid.data.images import frame_names
from autovid.data.index import SPLITS, Video, VideoSet
from autovid.data.shard_index import FORMAT, HEADER, INDEX, Extent, Row, Shard, ShardIndex, read_index
from autovid.data.shards import UNDER_WAY, Shards, padded, sample_key
from autovid.data.tools.process_videos import ProgressDisplay
from autovid.data.video import VideoError
from autovid.errors import DataError
from autovid.fileio import explained, sync_folder, write_atomic

SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
LABELS = 4 * HEADER  # bytes that the label's members of a sample take, about


class _Source(NamedTuple):
    """A video to be packed. `files`: what it consists of, each with its suffix in the tar file and its path.

    `stamps`: (bytes, time of last change in ns) of each file. `label`: the class where one is all that there is to say.
    """

    number: int
    path: str
    frames: bool
    files: tuple[tuple[str, str], ...]
    stamps: tuple[tuple[int, int], ...]
    split: str
    label: int | None
    rows: tuple[dict[str, Any], ...]

    @property
    def size(self) -> int:
        """Bytes in the tar file, about."""
        return sum(HEADER + padded(size) for size, _ in self.stamps) + LABELS


class _ShardPlan(NamedTuple):
    """A tar file to be written. `digest`: of all that makes its content."""

    name: str
    sources: tuple[_Source, ...]
    digest: str


class _Written(msgspec.Struct, frozen=True):
    """A tar file that has been written; (number, offset, size) of each of its videos."""

    digest: str
    size: int
    sha256: str
    places: tuple[tuple[int, int, int], ...]


def pack(videos: VideoSet, out: Path, most: int, progress: ProgressDisplay) -> ShardIndex:
    """Write the videos into tar files of `most` bytes (one video may be larger) in the folder `out`, and their index.

    Killed at any time, the next call keeps the tar files that are whole. Raises DataError for videos that are not there
    or cannot be packed, and where `out` has something else; RunError where it cannot be written.
    """
    if isinstance(videos.root, Shards):
        raise DataError(f"{videos.root} is packed already; copy the folder as it is")
    sources = _sources(videos, videos.root, progress)
    plans = _plans(videos, sources, most)
    source = _digest([videos.name, videos.classes, videos.flip, str(videos.root.resolve()), sources])
    if (out / INDEX).exists():
        index, _ = read_index(str(out))
        if index.source != source:
            raise DataError(f"{out} has a packed set already, of other videos, or as they were before; give another -o")
        return index
    with explained(f"cannot write into {out}"), _alone(out):
        _remove_others(out, plans)
        written = _write_all(videos.root, plans, out, progress)
        index = _index(videos, source, sources, written, [plan.name for plan in plans])
        write_atomic(out / INDEX, msgspec.json.encode(index))
        shutil.rmtree(out / UNDER_WAY)
    return index


def _sources(videos: VideoSet, root: Path, progress: ProgressDisplay) -> list[_Source]:
    """Return what is to be packed, in the order of the set, each file once. Raises DataError."""
    rows: dict[str, list[tuple[str, Video]]] = {}
    for split in SPLITS:
        for video in getattr(videos, split):
            rows.setdefault(video.path, []).append((split, video))
    sources: list[_Source] = []
    broken: list[str] = []
    progress.start(len(rows), 0, "looking at files")
    try:
        for number, (path, own) in enumerate(rows.items()):
            progress.update(number, "looking at files", {})
            try:
                sources.append(_source(videos, root, number, path, own))
            except (VideoError, OSError) as error:
                broken.append(f"{path}: {getattr(error, 'strerror', None) or error}")
    finally:
        progress.close()
    if broken:
        raise DataError(
            f"{len(broken)} of {len(rows)} videos cannot be read, first {broken[0]}; autovid data check finds all that "
            "are broken, and writes an index without them, which can be packed"
        )
    return sources


def _source(videos: VideoSet, root: Path, number: int, path: str, own: list[tuple[str, Video]]) -> _Source:
    """Return a video to be packed, with its rows. Raises VideoError, OSError; DataError for a record."""
    if record_of(path)[1] is not None:
        raise DataError(f"{videos.name} has records of a file, {path} say: it is one file already, and is not packed")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise VideoError("a name that is not UTF-8") from None
    frames, files = _files(root, path)
    infos = [os.stat(root / name) for _, name in files]
    stamps = tuple((info.st_size, info.st_mtime_ns) for info in infos)
    split, first = own[0]
    plain = len(own) == 1 and not first.also and first.start is None and first.end is None
    label = first.label if plain else None
    return _Source(number, path, frames, files, stamps, split, label, tuple(_row(videos, *row) for row in own))


def _row(videos: VideoSet, split: str, video: Video) -> dict[str, Any]:
    """Return a row as it stands in the label of a sample."""
    times = {"start": video.start, "end": video.end}
    return {
        "split": split,
        "classes": [videos.classes[label] for label in video.labels],
        **{name: time for name, time in times.items() if time is not None},
    }


def _files(root: Path, path: str) -> tuple[bool, tuple[tuple[str, str], ...]]:
    """Return True for a folder of frames; and suffix in the tar file and path of each file.

    Raises VideoError, OSError.
    """
    if (root / path).is_dir():
        names = frame_names(root / path)
        return True, tuple((f".{number:05d}.jpg", f"{path}/{names[number]}") for number in sorted(names))
    info = os.stat(root / path)
    if not stat.S_ISREG(info.st_mode) or not info.st_size:
        raise VideoError("an empty file" if stat.S_ISREG(info.st_mode) else "not a regular file")
    suffix = os.path.splitext(path)[1].lower()
    return False, ((suffix if SUFFIX.fullmatch(suffix) else ".video", path),)


def _plans(videos: VideoSet, sources: Sequence[_Source], most: int) -> list[_ShardPlan]:
    """Deal the videos to tar files: those of a split together, in an order that mixes the classes."""
    plans = []
    for split in SPLITS:
        own = [source for source in sources if source.split == split]
        groups: list[list[_Source]] = []
        space_left = 0
        for place in np.random.default_rng((*b"pack", 256)).permutation(len(own)).tolist():
            if own[place].size > space_left:
                groups.append([])
                space_left = most
            groups[-1].append(own[place])
            space_left -= own[place].size
        for number, group in enumerate(groups):
            name = f"{split}-{number:06d}.tar"
            plans.append(_ShardPlan(name, tuple(group), _digest([name, str(videos.root.resolve()), group])))
    return plans


def _write_all(root: Any, plans: Sequence[_ShardPlan], out: Path, progress: ProgressDisplay) -> list[_Written]:
    total = sum(len(plan.sources) for plan in plans)
    known = {plan.name: _known(out, plan) for plan in plans}
    done = sum(len(plan.sources) for plan in plans if known[plan.name])
    progress.start(total, done)
    try:
        for number, plan in enumerate(plans, 1):
            if known[plan.name] is None:
                for count in _write(root, plan, out, known):
                    progress.update(done + count, f"shard {number} of {len(plans)}", {})
                done += len(plan.sources)
    finally:
        progress.close()
    return [written for plan in plans if (written := known[plan.name])]


def _known(out: Path, plan: _ShardPlan) -> _Written | None:
    """Return what is known of a tar file that is there as planned."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        written = msgspec.json.decode(_note(out, plan.name).read_bytes(), type=_Written)
        if written.digest == plan.digest and os.lstat(out / plan.name).st_size == written.size:
            return written
    return None


def _write(root: Path, plan: _ShardPlan, out: Path, known: dict[str, _Written | None]) -> Iterator[int]:
    """Write a tar file; yield how many videos are in it, and note in `known` what it is in the end."""
    half, places = out / UNDER_WAY / plan.name, []
    with half.open("wb") as raw:
        file = _Hashed(raw)
        with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[arg-type]
            for count, source in enumerate(plan.sources, 1):
                first = tar.offset
                for (suffix, name), stamp in zip(source.files, source.stamps):
                    _add_file(tar, sample_key(source.number) + suffix, root / name, stamp)
                last = tar.offset if source.frames else first + HEADER + source.stamps[0][0]
                places.append((source.number, first, last - first))
                _add_label(tar, source)
                yield count
        raw.flush()
        os.fsync(raw.fileno())
    known[plan.name] = written = _Written(plan.digest, file.size, file.hash.hexdigest(), tuple(places))
    (out / plan.name).unlink(missing_ok=True)  # one of an earlier plan must not pass for this one
    write_atomic(_note(out, plan.name), msgspec.json.encode(written))
    os.replace(half, out / plan.name)
    sync_folder(out)


def _add_file(tar: tarfile.TarFile, name: str, path: Path, stamp: tuple[int, int]) -> None:
    """Copy a file. Raises DataError where it cannot be read, or is not as it was."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    with file:
        info = os.fstat(file.fileno())
        if (info.st_size, info.st_mtime_ns) == stamp:
            _add(tar, name, _SourceFile(file, path), stamp[0])
            info = os.fstat(file.fileno())
    if (info.st_size, info.st_mtime_ns) != stamp:
        raise DataError(f"{path} was changed while the set was packed; the same command packs what it is now")


def _add_label(tar: tarfile.TarFile, source: _Source) -> None:
    key = sample_key(source.number)
    text = msgspec.json.encode({"path": source.path, "rows": source.rows})
    _add(tar, f"{key}.json", io.BytesIO(text), len(text))
    if source.label is not None:
        number = b"%d" % source.label
        _add(tar, f"{key}.cls", io.BytesIO(number), len(number))


def _add(tar: tarfile.TarFile, name: str, file: Any, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    tar.addfile(info, file)


def _index(
    videos: VideoSet, source: str, sources: Sequence[_Source], written: Sequence[_Written], names: Sequence[str]
) -> ShardIndex:
    places = {number: (shard, first, size) for shard, one in enumerate(written) for number, first, size in one.places}
    files = tuple(Extent(one.path, *places[one.number], one.frames) for one in sources)
    numbers = {one.path: one.number for one in sources}

    def rows(split: str) -> tuple[Row, ...]:
        return tuple((numbers[v.path], v.labels, v.start, v.end) for v in getattr(videos, split))

    shards = tuple(Shard(name, one.size, one.sha256) for name, one in zip(names, written))
    return ShardIndex(
        FORMAT, videos.name, source, videos.classes, videos.flip, shards, files, *(rows(split) for split in SPLITS)
    )


def _remove_others(out: Path, plans: Sequence[_ShardPlan]) -> None:
    """Remove what is left of an earlier plan. Raises DataError for tar files that no packing has left."""
    planned = {plan.name for plan in plans}
    for note in (out / UNDER_WAY).glob("*.json"):
        if note.stem not in planned:
            (out / note.stem).unlink(missing_ok=True)
            note.unlink()
    for half in (out / UNDER_WAY).glob("*.tar"):
        half.unlink()
    for name in planned:
        if os.path.lexists(out / name) and not _note(out, name).exists():
            raise DataError(f"{out / name} is there already, and not of this packing; give another folder by -o")


def _note(out: Path, name: str) -> Path:
    return out / UNDER_WAY / f"{name}.json"


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other processes from packing into the same folder."""
    (out / UNDER_WAY).mkdir(parents=True, exist_ok=True)
    with (out / UNDER_WAY / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another process is packing into it; wait until it is through") from None
        yield


class _Hashed:
    """A file that is written, with its bytes and their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size, self.hash = file, 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self.hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Return the bytes so far."""
        return self.size


class _SourceFile:
    """A file that is read. What goes wrong is then not taken for an error of writing."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path

    def read(self, size: int) -> bytes:
        """Read up to so many bytes. Raises DataError."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise DataError(f"{self._path}: {error.strerror}") from error
        if not data:
            raise DataError(
                f"{self._path} became shorter while the set was packed; the same command packs what it is now"
            )
        return data


def _digest(content: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
