"""A module as a program that other software runs: torch.export's graph of aten operations, ONNX, and OpenVINO's files.

Programs are in fp32. They take batches of any size, or of exactly one where they are made to be measured.
"""

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.kernels.tracing import translating

Shape = tuple[int | str | None, ...]
"""A shape without the batch's dimension; sizes that are not fixed are symbols."""


def trace(
    module: nn.Module, inputs: Sequence[Tensor], name: str, *, any_batch: bool = True, translate: bool = False
) -> torch.export.ExportedProgram:
    """Trace a module in evaluation; `translate`: for a runtime other than torch's.

    With `any_batch` the first dimension of the inputs, which is two or more here, may have any size. Raises ConfigError
    where torch cannot make a program.
    """
    shapes = [{0: torch.export.Dim("batch")} for _ in inputs] if any_batch else None
    with _refused(name, "torch"), torch.no_grad(), quiet(), translating() if translate else nullcontext():
        program = torch.export.export(module, (*inputs,), dynamic_shapes=shapes)
    program.example_inputs = None  # a clip of its own in every file, and the one thing in it that would be pickled
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
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
    with quiet():
        torch.export.save(program, file)


def to_onnx(program: torch.export.ExportedProgram, name: str, metadata: dict[str, str] | None = None) -> Any:
    """Translate a program to an `onnx.ModelProto` with outputs `logits`, and inputs `clip` where there is one.

    Raises ConfigError where an operation has no counterpart, or a package is missing.
    """
    onnx = needed("onnx")
    needed("onnxscript")
    inputs = ["clip"] if len(program.graph_signature.user_inputs) == 1 else None
    names: dict[str, Any] = {"input_names": inputs, "output_names": ["logits"]}
    with _refused(name, "onnx"), quiet():
        exported = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
        assert exported is not None
        model = exported.model_proto
    _rename_batch(model.graph)
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]  # of the exporter, for itself: half of a small file
    onnx.helper.set_model_props(model, metadata or {})
    return model


def save_onnx(model: Any, file: Path) -> None:
    """Write a model that `to_onnx` has returned."""
    needed("onnx").save(model, str(file))


def save_openvino(model: Any, file: Path) -> None:
    """Write a model that `to_onnx` has returned as an .xml file of OpenVINO, in fp32, with its weights in .bin beside.

    By way of ONNX, so that there is one translation. OpenVINO's own converter would tell its makers of every use.
    """
    openvino = needed("openvino")
    with _refused(file.name, "openvino"):
        openvino.save_model(openvino.Core().read_model(model.SerializeToString()), str(file), compress_to_fp16=False)


def needed(package: str) -> ModuleType:
    """Import a package of the extras `onnx` or `openvino`. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        packages = "openvino onnx onnxscript" if package == "openvino" else "onnx onnxscript onnxruntime"
        raise ConfigError(f"the package {package} is not installed: pip install {packages}") from error


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
def quiet() -> Iterator[None]:
    """Silence the notes of torch's exporters to their developers."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
