"""What a search is run with, where the user gives a part of it."""

import pytest

from autovid.search import settings_for
from autovid.space import load_space


@pytest.mark.parametrize(("crop", "jitter"), [(160, (182, 228)), (224, (256, 320)), (312, (356, 446))])
def test_another_crop_has_the_jitter_of_the_papers_table_3(crop: int, jitter: tuple[int, int]) -> None:
    settings = settings_for(load_space("two_stream"), proxy=False, videos=1000, crop=crop)
    assert settings.jitter == jitter
