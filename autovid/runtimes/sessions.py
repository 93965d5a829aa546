"""Sessions of onnxruntime and OpenVINO: a program is loaded once, and called with NumPy arrays.

On a CPU they use as many threads as torch does.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.runtimes.programs import Shape, needed, to_onnx, trace

Runtime = Literal["torch", "onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
PACKAGES: dict[Runtime, tuple[str, ...]] = {
    "torch": (),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    "openvino": ("openvino", "onnx", "onnxscript"),
}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # of OpenVINO
BATCHES = 4  # sizes of a batch that a program of OpenVINO stays compiled for

Arrays = Sequence[NDArray[Any]]


class Session(NamedTuple):
    """A program that is loaded: `run` takes arrays and returns the first output, the shapes are without the batch."""

    run: Callable[[Arrays], NDArray[Any]]
    inputs: list[Shape]
    outputs: list[Shape]
    metadata: dict[str, str]


def open_onnxruntime(program: str | bytes, device: str, name: str) -> Session:
    """Open an ONNX file, or its content. Raises ConfigError, which calls it `name`."""
    runtime = needed("onnxruntime")
    available = runtime.get_available_providers()
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    kind = match[1] if match else device
    if kind == "auto":
        kind = "cuda" if PROVIDERS["cuda"] in available else "cpu"
    if PROVIDERS.get(kind) not in available:
        raise ConfigError(f"this onnxruntime has no device {device}; use --device cpu, or pip install onnxruntime-gpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    number = {"device_id": int(match[2])} if match and match[2] and kind == "cuda" else {}
    try:
        session = runtime.InferenceSession(program, options, providers=[(PROVIDERS[kind], number)])
    except Exception as error:  # onnxruntime has an exception for every status, without a class in common
        raise ConfigError(f"{name} is no ONNX file that can be read: {str(error).splitlines()[0]}") from error
    names = [one.name for one in session.get_inputs()]

    def run(arrays: Arrays) -> NDArray[Any]:
        out: NDArray[Any] = session.run(None, dict(zip(names, arrays)))[0]
        return out

    inputs, outputs = ([tuple(one.shape[1:]) for one in some] for some in (session.get_inputs(), session.get_outputs()))
    return Session(run, inputs, outputs, dict(session.get_modelmeta().custom_metadata_map))


def open_openvino(program: bytes, weights: bytes | None, device: str, name: str, precision: str = "fp32") -> Session:
    """Open the content of OpenVINO's .xml and .bin files, or of an ONNX file, which errors call `name`.

    Raises ConfigError.
    It is compiled for each size of a batch that comes: for one that may change it is slower.
    """
    openvino = needed("openvino")
    if device not in ("auto", "cpu"):
        raise ConfigError(f"programs of OpenVINO run on the CPU here, not on {device}; use --device cpu")
    core = openvino.Core()
    try:
        model = core.read_model(program, weights)
    except Exception as error:  # RuntimeError and others
        raise ConfigError(f"{name} is no model that this OpenVINO can read: {_reason(error)}") from error
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": PRECISIONS[precision]}

    @lru_cache(BATCHES)
    def request(batch: int) -> Any:
        fixed = model.clone()
        shapes = {one: [batch, *list(one.get_partial_shape())[1:]] for one in fixed.inputs}
        fixed.reshape(shapes)
        return core.compile_model(fixed, "CPU", settings).create_infer_request()

    def run(arrays: Arrays) -> NDArray[Any]:
        out: NDArray[Any] = np.array(request(len(arrays[0])).infer(list(arrays))[0])
        return out

    inputs, outputs = ([_shape(one) for one in some] for some in (model.inputs, model.outputs))
    return Session(run, inputs, outputs, {})


def _shape(port: Any) -> Shape:
    sizes = list(port.get_partial_shape())[1:]
    return tuple(size.get_length() if size.is_static else str(size) for size in sizes)


def _reason(error: Exception) -> str:
    """Return the last line of an error of OpenVINO: those before it are about its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def open_module(
    module: nn.Module,
    inputs: Sequence[Tensor],
    runtime: Runtime,
    compute: Compute,
    name: str,
    *,
    any_batch: bool = False,
) -> Callable[[Sequence[Tensor]], NDArray[Any]]:
    """Return a function that runs a module in another runtime, on contiguous maps of the sizes of `inputs`.

    With `any_batch` their first dimension, here two or more, may have any size. The module is in evaluation. Raises
    ConfigError for a runtime that is not installed, or has no such device or precision.
    """
    precision = compute.precision.forward
    if precision not in (PRECISIONS if runtime == "openvino" else ("fp32",)):
        raise ConfigError(f"{runtime} does not compute in {precision} here; give --precision fp32")
    program = trace(module, inputs, name, any_batch=any_batch, translate=True)
    content = to_onnx(program, name).SerializeToString()
    device = str(compute.device)
    if runtime == "openvino":
        session = open_openvino(content, None, device, name, precision)
    else:
        session = open_onnxruntime(content, device, name)
    return lambda tensors: session.run([x.numpy() for x in tensors])


def check_runtimes(runtimes: Sequence[Runtime]) -> None:
    """Raise ConfigError where a package that a runtime needs is not installed."""
    for runtime in runtimes:
        for package in PACKAGES[runtime]:
            needed(package)
