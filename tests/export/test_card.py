"""The model card: names from outside are text in it, whatever they look like; and where an architecture is from."""

from pathlib import Path

from autovid.export.manifest import Check, ClipCost, ExportManifest, Interface
from autovid.export.package import model_card
from autovid.export.source import find_source
from autovid.space import load_space

NAMES = {
    "a&amp;": r"a\&amp;",
    "<b>&'q`": r"\<b\>\&'q\`",
    "# heading": r"\# heading",
    "12. of a list": r"12\. of a list",
    "-": r"\-",
    "disc-left 0.5": "disc-left 0.5",
    "turned\u202e\nback": r"turned\\u202e back",
}


def card() -> str:
    interface = find_source("tsn_resnet18").interface
    interface_values = {name: getattr(interface, name) for name in Interface.__struct_fields__}
    about = ExportManifest(
        **{**interface_values, "outputs": len(NAMES), "classes": tuple(NAMES)},
        format=1,
        kind="torch",
        file="model.pt2",
        sha256="",
        cost=ClipCost(params=1, macs=1, gflops=1e-9, convention=""),
        provenance={},
        trained={},
        versions={"autovid": "1"},
        check=Check(batches=(1,), difference=0.0, largest_logit=1.0),
    )
    return model_card(about)


def test_classes_are_text() -> None:
    listed = card().partition("## Classes\n\n")[2]
    assert listed.splitlines() == [f"{number}. {text}" for number, text in enumerate(NAMES.values())]


def test_it_says_which_autovid_is_meant() -> None:
    assert "autovid is the distribution `autovid-nas`, not what package indexes call `autovid`" in card()


def test_a_search_says_with_which_versions_it_ran(tmp_path: Path) -> None:
    arch = load_space("tiny").sample(1, seed=0)[0]
    arch.save(tmp_path / "architecture.yaml")
    (tmp_path / "config.yaml").write_text("autovid: 0.0.9\ntorch: 2.9.1\nkind: search\n")
    assert find_source(tmp_path).provenance == {"space": "tiny", "autovid": "0.0.9", "torch": "2.9.1"}
    (tmp_path / "config.yaml").write_text("autovid: 0.0.8\nkind: search\n")  # torch's was not recorded at first
    assert find_source(tmp_path).provenance == {"space": "tiny", "autovid": "0.0.8"}
