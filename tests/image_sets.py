"""Image data sets made on the spot, in their own layouts."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WORDS = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn99999999 not here\n"


def cifar_images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 32, 32, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def write_records(path: Path, images: NDArray[np.uint8], labels: list[int]) -> None:
    """A file of CIFAR-100: coarse label (7 everywhere), fine label, planes."""
    heads = np.array([[7, label] for label in labels], dtype=np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([heads, planes], axis=1).tobytes())


def make_cifar(root: Path, classes: int = 3) -> Path:
    """Six images to train on, four to test, of classes "c 0", "c 1", ...; labels 0, 1, 2, 0, ..."""
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "fine_label_names.txt").write_text("".join(f"c {number}\n" for number in range(classes)))
    (folder / "coarse_label_names.txt").write_text("not read\n")
    write_records(folder / "train.bin", cifar_images(6, 1), [i % classes for i in range(6)])
    write_records(folder / "test.bin", cifar_images(4, 2), [i % classes for i in range(4)])
    return root


def make_imagenet(root: Path) -> Path:
    """Of three classes two images each to train on and one to validate, 48 x 40 or 40 x 48 pixels."""
    for split, count in (("train", 2), ("val", 1)):
        for wnid in ("n03126707", "n01440764", "n02012849"):
            (root / split / wnid).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng(i).integers(0, 256, (40 + 8 * i, 48 - 8 * i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / wnid / f"{wnid}_{i}.JPEG", "JPEG", quality=90)
    (root / "LOC_synset_mapping.txt").write_text(WORDS)
    return root
