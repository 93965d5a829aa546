"""Frame numbers of clips, against values computed by hand from the definitions."""

import numpy as np
import pytest

from autovid.clip import Clip
from autovid.data.clips import test_indices as fixed_indices
from autovid.data.clips import train_indices


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_uniform_train_shares_one_offset_between_segments() -> None:
    clip = Clip(frames=4, crop=8, sampling="uniform")
    starts = set()
    for seed in range(200):
        chosen = train_indices(40, clip, rng(seed))
        assert (np.diff(chosen) == 10).all()  # independent offsets would give other distances
        starts.add(int(chosen[0]))
    assert starts == set(range(10))


def test_uniform_test_takes_middles_shifted_by_minus_half_m_to_half_m() -> None:
    clip = Clip(frames=4, crop=8, sampling="uniform")
    assert fixed_indices(40, clip, 1).tolist() == [[5, 15, 25, 35]]
    assert fixed_indices(40, clip, 10)[:, 1].tolist() == list(range(10, 20))
    assert fixed_indices(40, clip, 3)[:, 0].tolist() == [4, 5, 6]


def test_a_shift_stays_inside_its_segment() -> None:
    """As in the authors' code. All in whole numbers, so exact."""
    clip = Clip(frames=4, crop=8, sampling="uniform")
    # 24 frames: segments 0-5, 6-11, ...; the middle is 3, 5 frames back would be two frames into the one before
    assert fixed_indices(24, clip, 10)[:, 1].tolist() == [6, 6, 6, 7, 8, 9, 10, 11, 11, 11]
    assert fixed_indices(24, clip, 10)[[0, -1]].tolist() == [[0, 6, 12, 18], [5, 11, 17, 23]]
    # 10 frames: segments of 2.5, from 0, 2.5, 5 and 7.5 on; middles at 1.25, 3.75, 6.25, 8.75
    assert fixed_indices(10, clip, 4).tolist() == [[0, 2, 5, 7], [0, 2, 5, 7], [1, 3, 6, 8], [2, 4, 7, 9]]
    # fewer frames than segments: nothing to shift
    assert fixed_indices(3, clip, 2).tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]


@pytest.mark.parametrize("snippet", [1, 5])
def test_no_shift_is_the_middle_and_clips_keep_their_order_in_time(snippet: int) -> None:
    clip = Clip(frames=40, crop=8, sampling="uniform", snippet=snippet)
    for n in (1, 7, 39, 40, 41, 97, 250):
        chosen = fixed_indices(n, clip, 10)
        assert chosen[5].tolist() == fixed_indices(n, clip, 1)[0].tolist()
        assert (np.diff(chosen, axis=0) >= 0).all()
        assert (chosen[-1, :-snippet] <= chosen[0, snippet:] + snippet - 1).all()  # never past the next segment's first


def test_a_uniform_clip_of_snippets_takes_consecutive_frames_of_each_segment() -> None:
    clip = Clip(frames=10, crop=8, sampling="uniform", snippet=5)
    # 20 starts, from 0 to 19, in two segments of ten; their middles
    assert fixed_indices(24, clip, 1).tolist() == [[5, 6, 7, 8, 9, 15, 16, 17, 18, 19]]
    for n in (1, 3, 5, 24):
        chosen = train_indices(n, clip, rng(n)).reshape(2, 5)
        assert chosen.max() < n
        assert (np.diff(chosen) == 1).all() or n < 9
    assert {int(train_indices(24, clip, rng(seed))[4]) for seed in range(300)} == set(range(4, 14))


def test_dense_train_starts_anywhere_the_clip_fits() -> None:
    clip = Clip(frames=4, crop=8, stride=3)  # spans 10 frames
    starts = set()
    for seed in range(200):
        chosen = train_indices(15, clip, rng(seed))
        assert (np.diff(chosen) == 3).all()
        starts.add(int(chosen[0]))
    assert starts == set(range(6))


def test_dense_test_spaces_its_starts_equally_from_the_first_frame_to_the_last_that_fits() -> None:
    clip = Clip(frames=4, crop=8, stride=3)
    assert fixed_indices(37, clip, 10)[:, 0].tolist() == list(range(0, 28, 3))
    assert fixed_indices(37, clip, 10)[-1].tolist() == [27, 30, 33, 36]
    assert fixed_indices(37, clip, 1).tolist() == [[0, 3, 6, 9]]


@pytest.mark.parametrize("sampling", ["dense", "uniform"])
def test_a_video_shorter_than_the_clip_repeats_frames_and_never_runs_over(sampling: str) -> None:
    clip = Clip(frames=16, crop=8, stride=2, sampling=sampling)
    for n in (1, 2, 7, 16, 31, 32):
        for chosen in (train_indices(n, clip, rng(n)), *fixed_indices(n, clip, 10)):
            assert chosen.shape == (16,)
            assert chosen.min() >= 0
            assert chosen.max() < n
            assert (np.diff(chosen) >= 0).all()
    assert train_indices(5, Clip(frames=4, crop=8, stride=2), rng(0)).tolist() == [0, 2, 4, 4]
