"""A network as a program that other software runs: torch.export's graph of aten operations, and ONNX.

Both take batches of any size and clips of exactly one size, in fp32.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import torch
from torch import Tensor

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.export.manifest import Interface
from autovid.models import Network

Shape = tuple[int | str | None, ...]
"""A shape without the batch's dimension; sizes that are not fixed are symbols."""

METADATA = "autovid"  # the key of an ONNX file's metadata that has the interface


def noise(clip: Clip, batch: int) -> Tensor:
    """Make clips (batch, 3, T, H, W) of normal noise in channels_last_3d, always the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, clip.frames, clip.crop, clip.crop, generator=generator)
    return x.contiguous(memory_format=torch.channels_last_3d)


def trace(net: Network, clip: Clip, name: str) -> torch.export.ExportedProgram:
    """Trace a network in evaluation. Raises ConfigError where torch cannot make one."""
    with _refused(name, "torch"), torch.no_grad(), _quiet():
        shapes = {"x": {0: torch.export.Dim("batch")}}
        program = torch.export.export(net, (noise(clip, 2),), dynamic_shapes=shapes)
    program.example_inputs = None  # a clip of its own in every file, and the one thing in it that would be pickled
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # the paths of this machine
    _avoid_keywords(program)
    return program


def program_shapes(program: torch.export.ExportedProgram) -> tuple[list[Shape], list[Shape]]:
    """Return the shapes of a program's inputs and outputs."""
    nodes = {node.name: node for node in program.graph.nodes}
    inputs, outputs = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    return [_shape(nodes.get(str(name))) for name in inputs], [_shape(nodes.get(str(name))) for name in outputs]


def _shape(node: torch.fx.Node | None) -> Shape:
    shape = getattr(node.meta.get("val"), "shape", ()) if node is not None else ()
    return tuple(size if isinstance(size, int) else str(size) for size in shape[1:])


def _avoid_keywords(program: torch.export.ExportedProgram) -> None:
    """Rename weights of modules called `nonlocal` and the like: torch writes Python that has their names in it."""
    for spec in program.graph_signature.input_specs:
        if spec.target is not None and spec.target in program.state_dict:
            name = ".".join(f"{part}_" if iskeyword(part) else part for part in spec.target.split("."))
            program.state_dict[name] = program.state_dict.pop(spec.target)
            spec.target = name


def save_torch(program: torch.export.ExportedProgram, file: Path) -> None:
    """Write a file for `torch.export.load`."""
    with _quiet():
        torch.export.save(program, file)


def save_onnx(program: torch.export.ExportedProgram, file: Path, interface: Interface) -> None:
    """Write an ONNX file with input `clip` and output `logits`, and the interface in its metadata.

    Raises ConfigError where an operation has no counterpart, or a package is missing.
    """
    onnx = needed("onnx")
    needed("onnxscript")
    names: dict[str, Any] = {"input_names": ["clip"], "output_names": ["logits"]}
    with _refused(interface.name, "onnx"), _quiet():
        exported = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
        assert exported is not None
        model = exported.model_proto
    _rename_batch(model.graph)
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]  # of the exporter, for itself: half of a small file
    own = msgspec.structs.asdict(interface)
    text = msgspec.json.encode({key: own[key] for key in Interface.__struct_fields__}).decode()
    onnx.helper.set_model_props(model, {METADATA: text})
    onnx.save(model, str(file))


def needed(package: str) -> ModuleType:
    """Import a package of the extra `onnx`. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"ONNX needs the package {package}: pip install onnx onnxscript onnxruntime") from error


def _rename_batch(graph: Any) -> None:
    """Rename the batch's dimension to `batch`; it has the name of torch's symbol."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = dim.dim_param.replace(symbol, "batch")


@contextmanager
def _refused(name: str, kind: str) -> Iterator[None]:
    """Turn whatever torch raises for a network that it cannot take into ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # torch's own words are about torch
            cause = cause.__cause__
        reason = " ".join((str(cause).strip().splitlines() or [""])[0].split()) or type(cause).__name__
        raise ConfigError(f"{name} cannot be exported as {kind}: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the notes of torch's exporters to their developers."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
