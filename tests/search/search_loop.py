"""A small search that saves after every step: run by the test that kills it. Arguments: run directory, data folder."""

import os
import sys
from pathlib import Path

import torch

from autovid.data import open_videos
from autovid.search import search, settings_for
from autovid.space import load_space

torch.set_num_threads(1)
out, data = Path(sys.argv[1]), sys.argv[2]
space, videos = load_space("tiny"), open_videos(data)
settings = settings_for(
    space, proxy=True, videos=12, steps=3, samples=2, batch=4, crop=16, jitter=(16, 20), flops=("0.0075:0.008",), seed=3
)
print("ready", flush=True)
search(space, videos, settings, out, resume=out.exists(), checkpoint_every=1, device="cpu", precision="fp32")
os._exit(0)
