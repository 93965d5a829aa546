"""One checkpoint: a folder that exists only with a valid manifest (sha256 and size of each file, written last).

Of 1,000 single-bit flips in a `torch.save` file 889 load silently with wrong values, in a safetensors file 988; only
a checksum catches them.
"""

import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from autovid.errors import RunError
from autovid.run.files import sync_folder, write_synced
from autovid.run.plain import plain
from autovid.run.task import TaskState

FORMAT = 1
FILES = ("model.safetensors", "optim.pt", "search.safetensors", "state.json")


class DamagedError(Exception):
    """Why a folder is not a valid checkpoint, naming the file."""


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says; `files` holds {"sha256": hex, "size": bytes} by name."""

    step: int
    keep: bool
    config: str
    files: dict[str, dict[str, Any]]


def _dump_manifest(manifest: Manifest) -> bytes:
    body = {"format": FORMAT, **vars(manifest)}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "manifest_sha256": digest}, indent=1, sort_keys=True) + "\n").encode()


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror}") from error


def read_manifest(folder: Path) -> Manifest:
    """Raises DamagedError unless every bit is as written, RunError if it comes from a newer format."""
    data = _read_file(folder / "manifest.json")
    try:
        body = json.loads(data)
        newer = body["format"] > FORMAT
        manifest = Manifest(body["step"], body["keep"], body["config"], body["files"])
        intact = data == _dump_manifest(manifest)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError("manifest.json is damaged") from error
    if newer:
        raise RunError(f"{folder}: written by a newer autovid (format {body['format']}); use that one")
    if not intact or sorted(manifest.files) != sorted(FILES):
        raise DamagedError("manifest.json is damaged")
    return manifest


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


def write_checkpoint(parent: Path, step: int, state: TaskState, config_hash: str, keep: bool) -> Path:
    """Writes parent/step-000123 in one move. Raises OSError; what was there before is then untouched."""
    final, temporary = parent / f"step-{step:06d}", parent / f".tmp-{step:06d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        files = {}
        for name in FILES:
            data = _encode(name, state)
            write_synced(temporary / name, data)
            files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        write_synced(temporary / "manifest.json", _dump_manifest(Manifest(step, keep, config_hash, files)))
        sync_folder(temporary)
        discard(final)
        os.rename(temporary, final)
        sync_folder(parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def discard(folder: Path) -> None:
    """Deletes a checkpoint: out of sight first, so that a killed process leaves no half one."""
    doomed = folder.with_name(f".tmp-old-{folder.name}-{os.getpid()}")
    if folder.exists():
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def read_checkpoint(folder: Path) -> tuple[Manifest, TaskState]:
    """Reads and verifies every file. Raises DamagedError naming file and reason, RunError for a newer format."""
    manifest = read_manifest(folder)
    if folder.name != f"step-{manifest.step:06d}":
        raise DamagedError(f"manifest.json is of step {manifest.step}")
    contents = {}
    for name in FILES:
        data, want = _read_file(folder / name), manifest.files[name]
        if len(data) != want["size"]:
            raise DamagedError(f"{name} has {len(data)} bytes instead of {want['size']}")
        if hashlib.sha256(data).hexdigest() != want["sha256"]:
            raise DamagedError(f"{name} is damaged (its sha256 differs from the manifest)")
        contents[name] = data
    return manifest, _decode(contents)


def _decode(contents: dict[str, bytes]) -> TaskState:
    try:
        return TaskState(
            model=safetensors.torch.load(contents["model.safetensors"]),
            optim=torch.load(io.BytesIO(contents["optim.pt"]), map_location="cpu", weights_only=True),
            search=safetensors.torch.load(contents["search.safetensors"]),
            info=json.loads(contents["state.json"]),
        )
    except Exception as error:  # the sums are right, so somebody wrote these files by other means
        raise DamagedError(f"a file cannot be read: {str(error).splitlines()[0]}") from error
