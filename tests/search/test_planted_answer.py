"""A search on videos whose best architectures are known by construction."""

from pathlib import Path

import pytest

import autovid
from autovid.data.graded import RECIPES, write_graded
from autovid.search.choice import read_choice

DENSE = ("dense.stage1.block1.temporal_kernel", "dense.stage2.block1.temporal_kernel")


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_a_search_finds_the_temporal_kernels_without_which_motion_is_invisible(tmp_path: Path) -> None:
    """The texture is another one in every fourth frame: the sparse stream, which sees one of four, sees no motion.

    So the dense stream has to mix frames. Of 61 architectures in the range 17 do it in both of its stages: chance finds
    one of these in 28 of 100 searches, and then has to stand above half of the others by a 95 % interval, too.
    """
    write_graded(tmp_path / "data", RECIPES["planted"], "planted", workers=2)
    run = autovid.search(
        "bench", {"flops": "0.002619:0.002781"}, data=tmp_path / "data" / "planted.csv", out=tmp_path / "run",
        recipe="proxy", seed=0, device="cpu", precision="fp32",
    )  # fmt: skip
    found = run.derive()
    assert [found.choices[name] for name in DENSE] == [3, 3]
    evidence = read_choice(run.path)
    assert evidence is not None
    assert evidence.interval is not None
    assert evidence.interval[0] > 50
    assert evidence.chosen.accuracy > 5 * evidence.chance_accuracy
