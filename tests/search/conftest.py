"""What tests of the search share."""

import pytest

from autovid.space import SearchSpace, load_space


@pytest.fixture(scope="session")
def split_space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    """The tiny space with two parts for the sparse stream: its widths, then its kernels and expansions."""
    old = "search: [sparse.*], cost_fraction: 0.45"
    first = "  - {name: widths, streams: [sparse], search: [sparse.*width], cost_fraction: 0.4, epochs: 9,"
    first += " lr: 1, arch_lr: 1}\n"
    text = load_space("tiny").text.replace("parts:\n", "parts:\n" + first, 1)
    text = text.replace(old, "search: [sparse.*kernel, sparse.*expansion], cost_fraction: 0.45")
    text = text.replace("    sparse: {steps", "    widths: {steps: 9, lr: 0.05, arch_lr: 0.1}\n    sparse: {steps")
    file = tmp_path_factory.mktemp("split") / "split.yaml"
    file.write_text(text, encoding="utf-8")
    return load_space(file)
