"""Drawings of networks: everything of an architecture is in them, for eyes and for who points at it."""

import io
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from autovid.cli import main
from autovid.costs.count import count_stages
from autovid.models import NETWORKS, NetworkSpec, build_network, load_model
from autovid.report.drawing import draw_file, outline, png
from autovid.report.outline import Arrow, Boxes, architecture_outline
from autovid.space import Architecture, load_space

SVG = "{http://www.w3.org/2000/svg}"
FONTS = f"{matplotlib.get_data_path()}/fonts/ttf"
TWO = ("auto_tsnet_s", "slowfast_r50_8x8")
USUAL = ("i3d_inception_v1", "slowfast_r50_8x8", "s2dnet", "csn_r50")  # the others: thorough tests
FAMILIES = [
    "i3d_inception_v1",
    "slowfast_r50_8x8",
    "tdn_resnet50",
    "s2dnet",
    "s2dnet_x3d",
    "tsm_mobilenet_v2",
    "csn_r50",
]


@pytest.fixture(scope="module")
def arch() -> Architecture:
    sampled = load_space("tiny").sample(1, seed=2)[0]
    assert sampled.choices["fusion.stage1"] != "skip"
    assert sampled.choices["attention.stage2"] != "skip"
    return sampled


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def titles(svg: str) -> list[str]:
    """What is shown when pointed at."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}title")][1:]


def test_every_site_is_there_with_its_costs(arch: Architecture) -> None:
    svg = draw_file(architecture_outline(arch))
    shown = titles(svg)
    table = arch.as_space().cost_table()
    for site, factor in table.sites:
        if arch.choices.get(site.name) == "skip":
            assert not any(title.startswith(site.name) for title in shown)
            continue
        (title,) = (title for title in shown if title.split("\n")[0] == site.name)
        assert f"{int(factor.table.sum()) / 1e6:,.2f} MMACs" in title
    assert f"{arch.macs() / 1e9:.4g} GFLOPs" in "".join(texts(svg))


def test_kernels_expansions_and_attention_can_be_read(arch: Architecture) -> None:
    shown, choices = texts(draw_file(architecture_outline(arch))), arch.choices
    kernels = [f"{choices[n]}×{choices[n.replace('temporal', 'spatial')]}²" for n in choices if "temporal_kernel" in n]
    stems = [f"1×{s.stem.spatial_kernel}²" for s in arch.network.streams.values()]  # and their second halves: ×1²
    assert sorted(text for text in shown if text in kernels) == sorted([*kernels, *stems])
    expansions = [f"×{value:g}" for name, value in choices.items() if name.endswith("expansion")]
    assert sorted(text for text in shown if text.startswith("×")) == sorted(expansions)
    words = {"glore": "GloRe", "nonlocal": "non-local"}
    attention = [words[str(v)] for n, v in choices.items() if n.startswith("attention") and v != "skip"]
    assert sorted(text for text in shown if text in words.values()) == sorted(attention)


def test_width_follows_channels_and_height_frames_and_area() -> None:
    root = ElementTree.fromstring(draw_file(outline(load_model("x3d_s"))))
    sizes = {}
    for group in root.iter(f"{SVG}g"):
        rect, title = group.find(f"{SVG}rect"), group.findtext(f"{SVG}title") or ""
        assert rect is not None
        sizes[title.split("\n")[0]] = (float(rect.get("width", 0)), float(rect.get("height", 0)))
    stages = [sizes[f"main.stage{n}.block1"] for n in (1, 2, 3, 4)]  # 24, 48, 96, 192 channels; half the side each
    for (width, height), (wider, lower) in pairwise(stages):
        # Drawn to a tenth of a pixel.
        assert wider == pytest.approx(width * 2**0.5, abs=0.2)
        assert height - lower == pytest.approx(4, abs=0.2)


def test_fusion_goes_from_the_source_into_the_target(arch: Architecture) -> None:
    drawn = architecture_outline(arch)
    arrows = [row for row in drawn.rows if isinstance(row, Arrow)]
    fused = [name for name, value in arch.choices.items() if name.startswith("fusion.") and value != "skip"]
    assert [arrow.title.split("\n")[0] for arrow in arrows] == fused
    assert {(drawn.lanes[a.source], drawn.lanes[a.target]) for a in arrows} == {("dense", "sparse")}


def test_the_prior_is_shown_where_it_is_known(arch: Architecture) -> None:
    name = "sparse.stage1.block1.expansion"
    prior = {name: ((1.5, 2.25), np.array([0.25, 0.75]))}
    shown = [title for title in titles(draw_file(architecture_outline(arch, prior))) if "prior of" in title]
    assert [title.split("\n")[0] for title in shown] == ["sparse.stage1.block1"]
    assert shown[0].endswith("prior of expansion: 1.5: 25 %, 2.25: 75 %")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in USUAL else [pytest.mark.thorough]) for n in FAMILIES]
)
def test_hand_designed_networks_are_drawn_piece_by_piece(name: str) -> None:
    spec = NetworkSpec(network=name)
    shown = titles(draw_file(outline(spec)))
    _, stages = count_stages(build_network(spec, device="meta"))
    for stage in stages:
        assert sum(f"{stage.macs / 1e6:,.2f} MMACs, {stage.params:,} parameters" in title for title in shown) >= 1
    assert len(shown) == len(stages)


def test_two_pathways_stand_side_by_side() -> None:
    drawn = outline(NetworkSpec(network="slowfast_r50_8x8"))
    assert drawn.lanes == ("slow", "fast")
    paired = [tuple(box.channels for box in row.cells if box) for row in drawn.rows if isinstance(row, Boxes)]
    assert paired == [(64, 8), (256, 32), (512, 64), (1024, 128), (2048, 256)]
    assert [(row.source, row.target) for row in drawn.rows if isinstance(row, Arrow)] == [(1, 0)] * 4
    stems = next(row for row in drawn.rows if isinstance(row, Boxes))
    assert [box.label[-1] for box in stems.cells if box] == ["1×7²", "5×7²"]


def test_modules_and_temporal_layers_are_named() -> None:
    spec = NetworkSpec(network="tsm_resnet50", modules={"rms": {}})
    svg = draw_file(outline(spec))
    assert "tsm_resnet50 + rms" in texts(svg)
    assert any("temporal shift" in title for title in titles(svg))


ASKED = NetworkSpec(
    network="tsm_resnet50", options={"temporal_pooling": True}, modules={"rms": {"kernel": 5}, "dropout": {"rate": 0.2}}
)


def test_options_of_the_network_and_of_modules_are_told() -> None:
    shown = texts(draw_file(outline(ASKED)))
    assert "temporal pooling · rms: kernel 5 · dropout: rate 0.2" in shown
    assert [text for text in shown if text.startswith("stage ")][2] == "stage 3 (res4) · 1024 ch · 2×14²"
    assert shown.count("random mean scaling") == 2  # in res4 and res5


@pytest.mark.slow
@pytest.mark.parametrize("spec", [ASKED, *(NetworkSpec(network=name) for name in USUAL)], ids=lambda s: s.network)
def test_all_text_is_inside_of_the_picture(spec: NetworkSpec) -> None:
    fonts = {False: FT2Font(f"{FONTS}/DejaVuSans.ttf"), True: FT2Font(f"{FONTS}/DejaVuSans-Bold.ttf")}
    for element in ElementTree.fromstring(draw_file(outline(spec))).iter(f"{SVG}text"):
        words, font = element.get("class", "").split(), fonts["bold" in element.get("class", "")]
        font.set_size(9.5 if "small" in words else 15 if "big" in words else 11, 72)
        font.set_text(element.text or "")
        width, x = font.get_width_height()[0] / 64, float(element.get("x", 0))
        left = x - {"end": width, "middle": width / 2}.get(element.get("text-anchor", ""), 0)
        assert left > 8, element.text
        assert left + width < 455, element.text


def test_the_glance_of_s2dnet_comes_first() -> None:
    drawn = outline(NetworkSpec(network="s2dnet"))
    shown = texts(draw_file(drawn))
    assert drawn.lanes == ("synopsis: the glance", "detail: a closer look")
    order = ["MobileNetV2", "sampler: where and when to look closer · 2.5 MMACs", "stem", "stage 1 (res2)", "context"]
    order.append("detail classifier · 0.4 MMACs")
    assert sorted(order, key=shown.index) == order
    assert "cutting the details out of the clip · 281.6 MMACs" in shown  # 12 of 32 frames, 144² of 160², by matmuls
    macs = 12 * 3 * (32 * 160 * 160 + 144 * 160 * 160 + 144 * 144 * 160)
    assert dict(drawn.costs)["cutting the details out of the clip"] == macs


def test_the_legend_says_what_is_there_and_nothing_else() -> None:
    alone, two, slowfast = (texts(draw_file(outline(NetworkSpec(network=n)))) for n in ("x3d_s", *TWO))
    assert not any("→: fusion" in text for text in alone)
    assert any("→: fusion" in text for text in two)
    assert any(text.startswith("→ +n ch: ") for text in slowfast)
    assert "stage 1 (res2)" in slowfast
    assert "3×1² 1×3²" in slowfast


def test_every_network_by_name_has_a_maker_that_can_be_drawn() -> None:
    """The networks that are architectures of a space are drawn as these are."""
    assert {"x3d_s", "auto_tsnet_s"} <= set(NETWORKS)
    assert outline(NetworkSpec(network="auto_tsnet_s")).lanes == ("sparse", "dense")


def test_a_png_has_the_drawing_on_white(arch: Architecture) -> None:
    image = matplotlib.image.imread(io.BytesIO(png(draw_file(architecture_outline(arch)))))
    assert image.shape[1] == 920
    assert (image[20, 10, :3] == 1).all()
    dark = (image[..., :3].max(2) < 0.5).mean()
    assert 0.005 < dark < 0.3  # text is there


def test_the_file_of_a_drawing_says_its_colours_for_light_and_dark(arch: Architecture) -> None:
    svg = draw_file(architecture_outline(arch))
    assert "prefers-color-scheme:dark" in svg
    assert svg.count("f-paper") > 1  # paper of its own, whatever it is shown on


def test_the_command_draws_files_of_both_kinds(
    arch: Architecture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch.save(tmp_path / "arch.yaml")
    for name in ("a.svg", "b c.png"):
        assert main(["draw", str(tmp_path / "arch.yaml"), "-o", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"in {tmp_path / 'a.svg'}", f"in '{tmp_path / 'b c.png'}'"]
    assert arch.hash in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert (tmp_path / "b c.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_takes_modules(tmp_path: Path) -> None:
    words = ["draw", "tsn_resnet18", "--with", "dnr", "-o", str(tmp_path / "a.svg")]
    assert main(words) == 0
    assert "tsn_resnet18 + dnr" in texts((tmp_path / "a.svg").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("what", "out", "code", "says"),
    [
        ("x3d_s", "a.jpg", 2, "give a file that ends in .svg or .png"),
        ("x3d_z", "a.svg", 2, "neither a network nor a file is called 'x3d_z'"),
        ("x3d_s", "missing/a.svg", 5, "cannot write"),
    ],
)
def test_a_mistake_costs_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, out: str, code: int, says: str
) -> None:
    assert main(["draw", what, "-o", str(tmp_path / out)]) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())
