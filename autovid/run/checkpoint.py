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
from autovid.run.task import TaskState

FORMAT = 1
FILES = ("model.safetensors", "optim.pt", "search.safetensors", "state.json")


class DamagedError(Exception):
    """A folder that is not a valid checkpoint; the text names the file and the reason."""


class FileSum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Checksum and size of one file of a checkpoint."""

    sha256: str
    size: int  # bytes


class CheckpointManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Content of manifest.json; `config` is the hash of the run's configuration.

    `best` is the step, this one or an earlier one, whose checkpoint the task holds for the best so far.
    """

    format: int
    step: int
    keep: bool
    config: str
    files: dict[str, FileSum]
    best: int | None = None


def write_checkpoint(
    parent: Path, step: int, state: TaskState, config_hash: str, keep: bool, best: int | None = None
) -> Path:
    """Write parent/step-000123 in one move; an existing one is replaced only by the finished new one.

    Raises OSError, and TypeError for a state that the files would not give back; nothing has changed then.
    """
    final, temporary = parent / f"step-{step:06d}", parent / f".tmp-{step:06d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        sums = {}
        for name in FILES:
            data = _encode(name, state)
            write_synced(temporary / name, data)
            sums[name] = FileSum(hashlib.sha256(data).hexdigest(), len(data))
        manifest = CheckpointManifest(FORMAT, step, keep, config_hash, sums, best)
        write_synced(temporary / "manifest.json", _sealed(msgspec.to_builtins(manifest)))
        sync_folder(temporary)
        old = _hide(final) if final.exists() else None
        os.rename(temporary, final)
        sync_folder(parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def discard(folder: Path) -> None:
    """Delete a checkpoint, hidden first, so that a killed process leaves no half one."""
    shutil.rmtree(_hide(folder), ignore_errors=True)


def read_manifest(folder: Path) -> CheckpointManifest:
    """Read a manifest. Raises DamagedError unless every bit is as written, RunError if its format is newer."""
    data = _read_file(folder / "manifest.json")
    try:
        body = json.loads(data)
        intact = data == _sealed({key: value for key, value in body.items() if key != "manifest_sha256"})
        if intact and body["format"] > FORMAT:
            raise RunError(f"{folder}: written by a newer autovid (format {body['format']}); use that one")
        body.pop("manifest_sha256")
        manifest = msgspec.convert(body, CheckpointManifest)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, msgspec.MsgspecError) as error:
        raise DamagedError("manifest.json is damaged") from error
    if not intact or sorted(manifest.files) != sorted(FILES):
        raise DamagedError("manifest.json is damaged")
    return manifest


def read_checkpoint(folder: Path) -> tuple[CheckpointManifest, TaskState]:
    """Read and verify every file. Raises DamagedError naming file and reason, RunError for a newer format."""
    manifest = read_manifest(folder)
    if folder.name != f"step-{manifest.step:06d}":
        raise DamagedError(f"manifest.json is of step {manifest.step}")
    contents = {}
    for name in FILES:
        data, expected = _read_file(folder / name), manifest.files[name]
        if len(data) != expected.size:
            raise DamagedError(f"{name} has {len(data)} bytes instead of {expected.size}")
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise DamagedError(f"{name} is damaged (its sha256 differs from the manifest)")
        contents[name] = data
    try:
        return manifest, TaskState(
            model=safetensors.torch.load(contents["model.safetensors"]),
            optim=torch.load(io.BytesIO(contents["optim.pt"]), map_location="cpu", weights_only=True),
            search=safetensors.torch.load(contents["search.safetensors"]),
            info=json.loads(contents["state.json"]),
        )
    except Exception as error:  # the sums are right, so another program wrote these files: any content is refused
        raise DamagedError(f"its files cannot be read ({type(error).__name__})") from error


def plain(value: Any, where: str, tensors: bool = False) -> Any:
    """Copy nested dicts, lists and plain values, with tensors (if allowed) moved to the CPU.

    Without tensors only what JSON keeps unchanged passes: string keys, no tuples. Raises TypeError naming the place:
    what the file would lose silently is a bug of the caller.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if tensors and isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, list) or (tensors and isinstance(value, tuple)):
        items = [plain(item, f"{where}[{index}]", tensors) for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        bad = next((key for key in value if not isinstance(key, str) and not (tensors and type(key) is int)), None)
        if bad is not None:
            raise TypeError(f"{where}: the key {bad!r} would not come back as it is")
        return {key: plain(item, f"{where}.{key}", tensors) for key, item in value.items()}
    raise TypeError(f"{where}: a {type(value).__name__} would not come back as it is")


def _hide(folder: Path) -> Path:
    hidden = folder.with_name(f".tmp-old-{folder.name}-{os.getpid()}")
    os.rename(folder, hidden)
    return hidden


def _sealed(body: dict[str, Any]) -> bytes:
    """Return the one valid text of a manifest, its own checksum included: any other text is damaged."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "manifest_sha256": digest}, indent=1, sort_keys=True) + "\n").encode()


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror}") from error


def _encode(name: str, state: TaskState) -> bytes:
    if name.endswith(".safetensors"):
        tensors = state.model if name.startswith("model") else state.search
        # A copy of each: safetensors refuses channels_last_3d strides and tensors that share memory.
        copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
        return safetensors.torch.save(copies)
    if name == "state.json":
        return (json.dumps(plain(state.info, "info"), indent=1) + "\n").encode()
    buffer = io.BytesIO()
    torch.save(plain(state.optim, "optim", tensors=True), buffer)
    return buffer.getvalue()
