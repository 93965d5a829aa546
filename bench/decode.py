"""Ways to get a clip out of a video, ours against others, for several encodings: prints Markdown.

    OMP_NUM_THREADS=1 python bench/decode.py [VIDEO] > bench/results/decode.md

The clips: 16 frames at stride 5 from a random start, and 8 uniform frames, out of 10 s of 340x256 at 30 frames/s, as
RGB bytes in memory, the opening of the file included. VIDEO gives its pictures (scaled, played to and fro where it is
short); without one, textures and noise that drift are made. Encoded by x264 as ffmpeg does by default (crf 23, medium,
a key frame every 250), with a key frame every 30 or 12, as `autovid data resize` does it, and as JPEG frames.

At the end the whole loader, augmentation included, against our reader's frames alone: above 1 where cutting a clip out
costs less than what is saved by converting only what the clip will show.

Every contender takes its turn in every round; a time is the quickest of its rounds. It is CPU time of all threads: a
loader runs a process a core, so this is what clips a second come from. torchcodec, decord and OpenCV take part where
they are installed; autovid does without them.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from hardware import hardware
from numpy.typing import NDArray
from PIL import Image

from autovid.clip import Clip
from autovid.data import ClipLoader, Video
from autovid.data.encoding import write_video
from autovid.data.images import open_video, write_frames
from autovid.data.tools.resize import JPEG_QUALITY, QUALITY

Frames = NDArray[np.uint8]
Way = Callable[[Path, NDArray[np.int64]], Frames]

N, HEIGHT, WIDTH, RATE = 300, 256, 340, 30
CLIPS = 6
ROUNDS = 3


def ours(path: Path, indices: NDArray[np.int64]) -> Frames:
    """autovid's reader."""
    with open_video(path) as video:
        return video.frames(indices, lambda image: image)


def pyav_through(path: Path, indices: NDArray[np.int64], threads: int = 1) -> Frames:
    """PyAV, decoding from the first frame to the last wanted."""
    numbers, frames = set(indices.tolist()), []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = threads
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                frames.append(frame.to_ndarray(format="rgb24"))
            if number == max(numbers):
                break
    return np.stack(frames)


def pyav_seek(path: Path, indices: NDArray[np.int64]) -> Frames:
    """PyAV, seeking to the key frame before the first wanted, then decoding everything."""
    frames = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        step = float(1 / (stream.time_base * stream.average_rate))
        numbers = {round(i * step) for i in indices.tolist()}
        container.seek(min(numbers), stream=stream)
        for frame in container.decode(stream):
            if round(frame.pts) in numbers:
                frames[frame.pts] = frame.to_ndarray(format="rgb24")
            if len(frames) == len(numbers):
                break
    return np.stack([frames[pts] for pts in sorted(frames)])


def torchcodec_exact(path: Path, indices: NDArray[np.int64], mode: str = "exact") -> Frames:
    """torchcodec, frames by number."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC", seek_mode=mode)
    frames: Frames = decoder.get_frames_at(indices.tolist()).data.numpy()
    return frames


def decord_batch(path: Path, indices: NDArray[np.int64], threads: int = 1) -> Frames:
    """decord, frames by number."""
    reader = importlib.import_module("decord").VideoReader(str(path), num_threads=threads)
    frames: Frames = reader.get_batch(indices.tolist()).asnumpy()
    return frames


def opencv_through(path: Path, indices: NDArray[np.int64]) -> Frames:
    """OpenCV, grabbing every frame and converting the wanted ones."""
    cv2: Any = importlib.import_module("cv2")
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    numbers, frames = set(indices.tolist()), []
    for number in range(max(numbers) + 1):
        reader.grab()
        if number in numbers:
            frames.append(cv2.cvtColor(reader.retrieve()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def opencv_jpeg(path: Path, indices: NDArray[np.int64]) -> Frames:
    """OpenCV, the wanted JPEG files."""
    cv2: Any = importlib.import_module("cv2")
    return np.stack([cv2.cvtColor(cv2.imread(str(path / f"{i + 1:05d}.jpg")), cv2.COLOR_BGR2RGB) for i in indices])


def pillow_jpeg(path: Path, indices: NDArray[np.int64]) -> Frames:
    """Pillow, the wanted JPEG files."""
    return np.stack([np.asarray(Image.open(path / f"{i + 1:05d}.jpg")) for i in indices])


def contenders(jpeg: bool) -> dict[str, Way]:
    """The ways that are installed here, by name."""
    ways: dict[str, tuple[str, Way]] = {"ours": ("av", ours)}
    if jpeg:
        ways |= {"Pillow": ("PIL", pillow_jpeg), "OpenCV": ("cv2", opencv_jpeg)}
    else:
        ways |= {
            "PyAV, through": ("av", pyav_through),
            "PyAV, through, 2 threads": ("av", partial(pyav_through, threads=2)),
            "PyAV, one seek": ("av", pyav_seek),
            "torchcodec, exact": ("torchcodec", torchcodec_exact),
            "torchcodec, approximate": ("torchcodec", partial(torchcodec_exact, mode="approximate")),
            "decord": ("decord", decord_batch),
            "decord, 2 threads": ("decord", partial(decord_batch, threads=2)),
            "OpenCV, through": ("cv2", opencv_through),
        }
    return {name: way for name, (module, way) in ways.items() if version(module)}


def version(module: str) -> str:
    """What of a library is here; empty where it is absent or does not load."""
    try:
        if module == "torchcodec":
            importlib.import_module("torchcodec.decoders")
        return str(importlib.import_module(module).__version__)
    except Exception:  # a library may fail in its own way while it loads others
        return ""


def pictures(video: Path | None) -> list[Frames]:
    """N frames of HEIGHT x WIDTH."""
    if video is None:
        return list(drifting())
    with av.open(str(video)) as container:
        frames = [frame.reformat(WIDTH, HEIGHT, "rgb24").to_ndarray() for frame in islice(container.decode(video=0), N)]
    return list(islice(cycle(chain(frames, frames[-2:0:-1])), N))


def drifting() -> Iterator[Frames]:
    """A smooth texture and one in front of it, drifting their ways, with a camera's noise."""
    rng = np.random.default_rng(0)
    side = 512
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))[..., None] * side + 1
    textures = []
    for power in (1.1, 1.4):
        noise = np.fft.fft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) / frequency**power
        texture = np.fft.ifft2(noise, axes=(0, 1)).real
        textures.append(128 + 50 * texture / texture.std())
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for t in range(N):
        ground = np.roll(textures[0], (round(1.3 * t), round(2.1 * t)), (0, 1))[:HEIGHT, :WIDTH]
        front = np.roll(textures[1], (0, round(-3.2 * t)), (0, 1))[:HEIGHT, :WIDTH]
        middle = (HEIGHT / 2 + 60 * np.sin(t / 20), WIDTH / 2 + 100 * np.cos(t / 31))
        cover = ((y - middle[0]) ** 2 + (x - middle[1]) ** 2 < 70**2)[..., None]
        noisy = np.where(cover, front, ground) + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
        yield noisy.clip(0, 255).astype(np.uint8)


def encode(path: Path, frames: Iterable[Frames], gop: int) -> None:
    """As ffmpeg's command line does it by default, but for the key frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "medium"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.gop_size = gop
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def clips(uniform: bool) -> list[NDArray[np.int64]]:
    """CLIPS times the frames of a clip."""
    rng = np.random.default_rng(0)
    if uniform:
        return [np.floor((np.arange(8) + rng.random()) * N / 8).astype(np.int64) for _ in range(CLIPS)]
    return [rng.integers(N - 75) + 5 * np.arange(16) for _ in range(CLIPS)]


def seconds(way: Way, path: Path, requests: list[NDArray[np.int64]]) -> float:
    """CPU seconds a clip."""
    start = time.process_time()
    for indices in requests:
        way(path, indices)
    return (time.process_time() - start) / len(requests)


def table(path: Path) -> Iterator[str]:
    """The rows of one encoding."""
    ways = contenders(path.is_dir())
    dense, uniform = clips(uniform=False), clips(uniform=True)
    best = {name: [float("inf")] * 2 for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            best[name] = [min(old, seconds(way, path, w)) for old, w in zip(best[name], (dense, uniform))]
    exact = ours(path, dense[0]).astype(int)
    for name, way in ways.items():
        got = way(path, dense[0])
        same = got.shape == exact.shape and abs(got - exact).mean() < 3
        rates = [f"{1 / value:.1f}" for value in best[name]]
        ratios = [f"{own / value:.2f}" for own, value in zip(best["ours"], best[name])]
        cells = [name, rates[0], ratios[0], rates[1], ratios[1], "same" if same else "OTHER FRAMES"]
        yield f"| {' | '.join(cells)} |"


def loaded(path: Path, auto_augment: bool) -> tuple[float, float]:
    """CPU seconds that the loader takes for a training clip of 16 frames at 160x160, and our reader for such frames."""
    clip = Clip(16, 160, stride=5)
    videos = [Video(path.name, 0, None, None)] * CLIPS
    loader = ClipLoader(
        videos, path.parent, clip, batch=CLIPS, train=True, jitter=(182, 228), auto_augment=auto_augment
    )
    stream, indices = loader.batches(0, ROUNDS + 1), clips(uniform=False)
    next(stream)
    fastest = [float("inf")] * 2
    for _ in range(ROUNDS):
        start = time.process_time()
        next(stream)
        fastest[0] = min(fastest[0], (time.process_time() - start) / CLIPS)
        fastest[1] = min(fastest[1], seconds(ours, path, indices))
    return fastest[0], fastest[1]


def main() -> None:
    """Prints everything."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    frames = pictures(source)
    print("# Clips out of videos\n")
    print(f"{hardware()}; pictures: {source.name if source else 'made'}\n")
    libraries = {name: version(name) for name in ("av", "torchcodec", "decord", "cv2")}
    print("; ".join(f"{name} {version or 'not installed'}" for name, version in libraries.items()) + "\n")
    print("Clips per CPU second (all threads counted), and as a ratio to ours in the same run.\n")
    with tempfile.TemporaryDirectory() as folder:
        times = np.arange(N) / RATE
        for gop in (250, 30, 12):
            encode(Path(folder, f"key frame every {gop}.mp4"), frames, gop)
        for gop in (30, 12, 6):
            write_video(
                Path(folder, f"data resize --keyframes {gop}.mp4"), frames, quality=QUALITY, gop=gop, seconds=times
            )
        write_frames(Path(folder, "data resize --jpeg"), frames, JPEG_QUALITY)
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_mtime_ns):
            size = sum(f.stat().st_size for f in (path.iterdir() if path.is_dir() else [path]))
            print(f"## {path.name.removesuffix('.mp4')}: {size / 1e6:.2f} MB\n")
            print("| | 16 frames, stride 5 | / ours | 8 uniform frames | / ours | frames |\n|---|---|---|---|---|---|")
            for row in table(path):
                print(row, flush=True)
            print()
        print("## The loader: 16 frames at stride 5, scale jitter, crop of 160x160, flip\n")
        print("| | clips per CPU second | / frames alone | with AutoAugment | / frames alone |\n|---|---|---|---|---|")
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_mtime_ns):
            (plain, alone), (augmented, again) = loaded(path, False), loaded(path, True)
            cells = [1 / plain, alone / plain, 1 / augmented, again / augmented]
            print(f"| {path.name.removesuffix('.mp4')} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
