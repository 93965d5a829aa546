"""What a search is run with, where the user gives a part of it."""

from typing import Any

import pytest

from autovid.search import settings_for
from autovid.space import load_space


@pytest.mark.parametrize(("crop", "jitter"), [(160, (182, 228)), (224, (256, 320)), (312, (356, 446))])
def test_another_crop_has_the_jitter_of_the_papers_table_3(crop: int, jitter: tuple[int, int]) -> None:
    settings = settings_for(load_space("two_stream"), proxy=False, videos=1000, crop=crop)
    assert settings.jitter == jitter


@pytest.mark.parametrize(
    ("changes", "clips"),
    [
        ({"archs_per_update": 2}, 8),  # each of two workers takes an architecture, on the whole batch
        ({"archs_per_update": 1}, 4),  # too few architectures: the batch is divided
        ({"archs_per_update": 2, "split": "batch"}, 4),
        ({"archs_per_update": 1, "sync_norm": True}, 8),
    ],
)
def test_a_norm_sees_the_clips_that_a_worker_has(changes: dict[str, Any], clips: int) -> None:
    settings = settings_for(load_space("tiny"), proxy=True, videos=100, batch=8, **changes)
    assert settings.norm_clips(2) == clips
    assert settings.norm_clips(1) == 8
