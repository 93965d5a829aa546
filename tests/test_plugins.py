"""Code of the user's own: what it registers is found, what it was is recorded, and another content is refused."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml

import autovid
from autovid.blocks.registry import ATTENTIONS
from autovid.cli import main
from autovid.errors import ConfigError
from autovid.plugins import forget_plugins, load_plugins, loaded_plugins, plugin_records
from autovid.run import RunDirectory
from autovid.space import load_architecture, load_space

pytestmark = pytest.mark.usefixtures("without_plugins")

SCALE = """
import torch
from torch import nn
from autovid.blocks.attention import AttentionOperation
from autovid.blocks.elastic import ElasticPointwise, map_bytes
from autovid.blocks.registry import ATTENTIONS


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mix = ElasticPointwise(width, width)

    def forward(self, x, choice):
        return x + self.mix(x, choice["width"])


@ATTENTIONS.register("scale", "channels mixed")
class ScaleAttention(AttentionOperation):
    def build(self, site, candidates):
        return Scale(max(candidates["width"]))

    def macs(self, site, choice):
        return ElasticPointwise.macs(choice["width"], choice["width"], site.size)

    def params(self, site, choice):
        return ElasticPointwise.params(choice["width"], choice["width"])

    def activation_bytes(self, site, choice):
        return map_bytes(choice["width"], site.size)

    def label(self, site, choice):
        return ("scale",)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "scale.py").write_text(SCALE)
    return tmp_path / "scale.py"


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    text = load_space("tiny").text.replace("name: tiny", "name: own").replace("glore, nonlocal]", "glore, scale]")
    (tmp_path / "own.yaml").write_text(text)
    return tmp_path / "own.yaml"


def saved(space_file: Path, plugin: Path) -> Path:
    """The file of an architecture that has the plugin's operation."""
    space = load_space(space_file, plugins=[plugin])
    fixed = {name: "scale" for name in space.candidates if name.startswith("attention.")}
    space.fix(fixed).sample(1)[0].save(space_file.with_name("arch.yaml"))
    return space_file.with_name("arch.yaml")


def test_an_operation_of_ones_own_is_built_counted_and_recorded(space_file: Path, plugin: Path) -> None:
    file = saved(space_file, plugin)
    content = yaml.safe_load(file.read_text())
    sha256 = hashlib.sha256(plugin.read_bytes()).hexdigest()
    assert content["plugins"] == {"scale.py": {"sha256": sha256, "defines": ["scale"]}}
    assert str(plugin.parent) not in file.read_text()
    arch = load_architecture(file)
    net = autovid.build(arch, classes=5)
    assert autovid.count(net).macs == arch.as_space().cost_table(classes=5).macs([arch])[0]
    net(torch.randn(2, 3, 16, 32, 32)).sum().backward()
    weight = net.get_submodule("sites.attention-stage1.scale.mix").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.grad is not None


def test_an_architecture_without_it_records_nothing(space_file: Path, plugin: Path) -> None:
    space = load_space(space_file, plugins=[plugin])
    text = space.fix({"attention.stage1": "glore", "attention.stage2": "skip"}).sample(1)[0].to_yaml()
    assert "plugins" not in text


def test_without_it_the_line_to_type_is_said(
    space_file: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(space_file, plugin)
    assert main(["describe", str(file)]) == 2
    assert "needs scale.py, which defines scale: add --plugin scale.py" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"attention.*'scale'; there are skip, glore, nonlocal; .* --plugin FILE.py"):
        load_space(space_file)
    assert main(["describe", str(file), "--plugin", str(plugin)]) == 0
    assert main(["list", "attentions", "--plugin", str(plugin)]) == 0
    assert "channels mixed" in capsys.readouterr().out


def test_another_content_is_refused_until_it_is_named_with_its_hash(space_file: Path, plugin: Path) -> None:
    file = saved(space_file, plugin)
    before = hashlib.sha256(plugin.read_bytes()).hexdigest()
    plugin.write_text(SCALE + "# another line\n")
    after = hashlib.sha256(plugin.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=f"another scale.py: .*{before[:12]}.*{after[:12]}.*--plugin .*@{after[:12]}"):
        autovid.build(file, plugins=[plugin])
    with pytest.raises(ConfigError, match="it is another file"):
        autovid.build(file, plugins=[f"{plugin}@{before}"])
    forget_plugins()
    assert autovid.build(file, plugins=[f"{plugin}@{after[:12]}"]).get_submodule("sites.attention-stage1.scale")
    assert plugin_records()["scale.py"].sha256 == after
    assert loaded_plugins() == [f"{plugin.resolve()}@{after}"]


def test_costs_that_a_trace_does_not_confirm_are_refused_with_both_numbers(space_file: Path, plugin: Path) -> None:
    plugin.write_text(SCALE.replace("return ElasticPointwise.macs(", "return 7 + ElasticPointwise.macs("))
    space = load_space(space_file, plugins=[plugin])
    macs = 16 * 16 * 4 * 8 * 8
    says = rf"operation scale at attention.stage1 .* has {macs:,} macs in a trace, and its .* says {macs + 7:,}"
    with pytest.raises(ConfigError, match=says):
        space.cost_table()
    with pytest.raises(ConfigError, match="in a trace"):
        autovid.build(space)


def test_a_result_of_another_size_is_refused(space_file: Path, plugin: Path) -> None:
    plugin.write_text(SCALE.replace('self.mix(x, choice["width"])', 'self.mix(x, choice["width"])[:, :, :1]'))
    plugin.write_text(plugin.read_text().replace("return x + self", "return self"))
    with pytest.raises(ConfigError, match=r"gives \(1, 16, 1, 8, 8\), and the network needs \(1, 16, 4, 8, 8\)"):
        load_space(space_file, plugins=[plugin]).cost_table()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x = 1\n", "registers nothing"),
        ("x = 1\nx.y()\n", r"bad.py:2: AttributeError"),
        ("def f(:\n", r"bad.py:1: SyntaxError"),
        ("import no_such_module\n", "bad.py:1: ModuleNotFoundError"),
        (SCALE.replace('"scale", "channels', '"glore", "channels'), "the name glore is taken"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_line(
    content: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "bad.py").write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_plugins([tmp_path / "bad.py"])
    assert not loaded_plugins()
    assert main(["describe", "tiny", "--plugin", str(tmp_path / "bad.py")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("autovid describe: ")


def test_only_python_files_are_run(tmp_path: Path) -> None:
    for name in ("tiny", "a.yaml", "a.py@12", "a.py@xyz"):
        with pytest.raises(ConfigError, match=r"give a Python file, FILE.py or FILE.py@SHA256"):
            load_plugins([name])


def test_what_fails_half_way_leaves_nothing_behind(plugin: Path) -> None:
    plugin.write_text(SCALE + "\nraise ValueError('late')\n")
    with pytest.raises(ConfigError, match="ValueError: late"):
        load_plugins([plugin])
    assert "scale" not in ATTENTIONS


def test_a_record_that_is_no_record_is_refused(space_file: Path, plugin: Path) -> None:
    file = saved(space_file, plugin)
    text = file.read_text()
    sha256 = plugin_records()["scale.py"].sha256
    file.write_text(text.replace(sha256, "0123"))
    with pytest.raises(ConfigError, match=r"arch.yaml:\d+: plugins"):
        load_architecture(file)


def test_a_run_says_which_plugins_it_was_made_with(plugin: Path, tmp_path: Path) -> None:
    load_plugins([plugin])
    with RunDirectory.create_or_resume(tmp_path / "run", {}, kind="search"):
        pass
    assert RunDirectory.open(tmp_path / "run").kind == "search"
    forget_plugins()
    with pytest.raises(ConfigError, match="run .* needs scale.py, which defines scale"):
        RunDirectory.open(tmp_path / "run")
