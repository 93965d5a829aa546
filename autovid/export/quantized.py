"""An ONNX model with convolutions in int8: ranges of its maps by clips of training, and the accuracy that it loses.

onnxruntime's own static quantisation: weights by channel, maps by the least and the largest value that they had, as
pairs of QuantizeLinear and DequantizeLinear, which OpenVINO reads, too.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autovid.clip import Clip
from autovid.data import ClipLoader, VideoSet
from autovid.export.manifest import Quantized
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.runtimes.programs import needed, quiet
from autovid.train.accuracy import Meter
from autovid.train.evaluate import split_of

CLIPS = 128  # of calibration, at most


def quantize(model: Any, clip: Clip, videos: VideoSet) -> tuple[Any, int]:
    """Return an `onnx.ModelProto` in int8, and how many clips of the training split have set its ranges.

    Raises DataError where there are none, ConfigError where a package is missing.
    """
    onnx = needed("onnx")
    needed("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    clips, count = _clips(clip, videos), 0

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            nonlocal count
            x = next(clips, None)
            count += x is not None
            return None if x is None else {"clip": x}

    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "int8.onnx"
        quantize_static(
            model, str(file), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["Conv"],
        )  # fmt: skip
        result = onnx.load(str(file))
    onnx.helper.set_model_props(result, {one.key: one.value for one in model.metadata_props})
    return result, count


def _clips(clip: Clip, videos: VideoSet) -> Iterator[NDArray[np.float32]]:
    """Yield centre clips (1, 3, T, H, W) of videos spread over the training split. Raises DataError."""
    chosen = split_of(videos, "train")
    chosen = chosen[:: -(-len(chosen) // CLIPS)]
    with closing(ClipLoader(chosen, videos.root, clip, batch=1, train=False, views="center")) as loader:
        for x, _, _ in loader.views_batches():
            yield x.contiguous().numpy()


def compare_scores(before: Network, after: Network, clip: Clip, videos: VideoSet, clips: int) -> Quantized:
    """Measure a network and its program in int8 on val, the centre clip of each video. Raises DataError."""
    chosen, multi_label = split_of(videos, "val"), before.multi_label
    compute = Compute("cpu", "fp32")
    with closing(Meter(clip, chosen, videos.root, "center", compute, multi_label=multi_label)) as meter:
        fp32, int8 = meter.measure(before), meter.measure(after)
    return Quantized(
        data=videos.name, clips=clips, split="val", videos=int8.videos, metric="mAP" if multi_label else "top-1",
        fp32=fp32.score, int8=int8.score,
    )  # fmt: skip
