"""One checkpoint: a folder that exists only with a valid manifest (sha256 and size of each file, written last).

Of 1,000 single-bit flips in a `torch.save` file 889 load silently with wrong values, in a safetensors file 988; only
a checksum catches them.
"""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch

from autovid.errors import RunError
from autovid.fileio import sync_folder, write_synced
from autovid.run.plain import plain
from autovid.run.task import TaskState

FORMAT = 1
FILES = ("model.safetensors", "optim.pt", "search.safetensors", "state.json")


class DamagedError(Exception):
    """Why a folder is not a valid checkpoint, naming the file."""


class FileSum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file must be."""

    sha256: str
    size: int  # bytes


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What manifest.json says; `config` is the hash of the run's configuration."""

    format: int
    step: int
    keep: bool
    config: str
    files: dict[str, FileSum]


def write_checkpoint(parent: Path, step: int, state: TaskState, config_hash: str, keep: bool) -> Path:
    """Writes parent/step-000123 in one move; one that is there already gives way only to the finished new one.

    Raises OSError, and TypeError for a state that the files would not give back; nothing has changed then.
    """
    final, temporary = parent / f"step-{step:06d}", parent / f".tmp-{step:06d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        sums = {name: _write_file(temporary / name, state) for name in FILES}
        manifest = Manifest(FORMAT, step, keep, config_hash, sums)
        write_synced(temporary / "manifest.json", _sealed(msgspec.to_builtins(manifest)))
        sync_folder(temporary)
        old = _out_of_sight(final) if final.exists() else None
        os.rename(temporary, final)
        sync_folder(parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def discard(folder: Path) -> None:
    """Deletes a checkpoint: out of sight first, so that a killed process leaves no half one."""
    shutil.rmtree(_out_of_sight(folder), ignore_errors=True)


def _out_of_sight(folder: Path) -> Path:
    hidden = folder.with_name(f".tmp-old-{folder.name}-{os.getpid()}")
    os.rename(folder, hidden)
    return hidden


def read_manifest(folder: Path) -> Manifest:
    """Raises DamagedError unless every bit is as written, RunError if it comes from a newer format."""
    data = _read_file(folder / "manifest.json")
    try:
        body = json.loads(data)
        intact = data == _sealed({key: value for key, value in body.items() if key != "manifest_sha256"})
        if intact and body["format"] > FORMAT:
            raise RunError(f"{folder}: written by a newer autovid (format {body['format']}); use that one")
        body.pop("manifest_sha256")
        manifest = msgspec.convert(body, Manifest)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, msgspec.MsgspecError) as error:
        raise DamagedError("manifest.json is damaged") from error
    if not intact or sorted(manifest.files) != sorted(FILES):
        raise DamagedError("manifest.json is damaged")
    return manifest


def read_checkpoint(folder: Path) -> tuple[Manifest, TaskState]:
    """Reads and verifies every file. Raises DamagedError naming file and reason, RunError for a newer format."""
    manifest = read_manifest(folder)
    if folder.name != f"step-{manifest.step:06d}":
        raise DamagedError(f"manifest.json is of step {manifest.step}")
    contents = {}
    for name in FILES:
        data, want = _read_file(folder / name), manifest.files[name]
        if len(data) != want.size:
            raise DamagedError(f"{name} has {len(data)} bytes instead of {want.size}")
        if hashlib.sha256(data).hexdigest() != want.sha256:
            raise DamagedError(f"{name} is damaged (its sha256 differs from the manifest)")
        contents[name] = data
    return manifest, _decode(contents)


def _sealed(body: dict[str, Any]) -> bytes:
    """The one text of a manifest, with its own checksum: any other text is a damaged one."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "manifest_sha256": digest}, indent=1, sort_keys=True) + "\n").encode()


def _write_file(path: Path, state: TaskState) -> FileSum:
    data = _encode(path.name, state)
    write_synced(path, data)
    return FileSum(hashlib.sha256(data).hexdigest(), len(data))


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror}") from error


def _tensor_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    # A copy of each: safetensors refuses channels_last_3d strides and tensors that share memory.
    copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    return safetensors.torch.save(copies)


def _encode(name: str, state: TaskState) -> bytes:
    if name == "model.safetensors":
        return _tensor_bytes(state.model)
    if name == "search.safetensors":
        return _tensor_bytes(state.search)
    if name == "state.json":
        return (json.dumps(plain(state.info, "info"), indent=1) + "\n").encode()
    buffer = io.BytesIO()
    torch.save(plain(state.optim, "optim", tensors=True), buffer)
    return buffer.getvalue()


def _decode(contents: dict[str, bytes]) -> TaskState:
    try:
        return TaskState(
            model=safetensors.torch.load(contents["model.safetensors"]),
            optim=torch.load(io.BytesIO(contents["optim.pt"]), map_location="cpu", weights_only=True),
            search=safetensors.torch.load(contents["search.safetensors"]),
            info=json.loads(contents["state.json"]),
        )
    except Exception as error:  # the sums are right, so somebody else wrote these files: whatever they hold is refused
        raise DamagedError(f"its files cannot be read ({type(error).__name__})") from error
