"""Programs of torch.export that would run code when they are loaded are refused before they can."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autovid.errors import ConfigError
from autovid.export.untrusted import load_program
from autovid.runtimes.programs import save_torch

Edit = Callable[[dict[str, bytes]], None]


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.folder,)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("program") / "model.pt2"
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Flatten(0)).requires_grad_(False)
    program = torch.export.export(net, (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    program.example_inputs = None
    save_torch(program, file)
    return file


def edited(good: Path, edit: Edit, out: Path) -> Path:
    with zipfile.ZipFile(good) as archive:
        files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    edit(files)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"model/{name}", data)
    return out


def in_graph(old: str, new: str) -> Edit:
    def edit(files: dict[str, bytes]) -> None:
        text = files["models/model.json"].decode()
        assert old in text
        files["models/model.json"] = text.replace(old, new).encode()

    return edit


def test_a_program_of_ours_is_loaded(good: Path, tmp_path: Path) -> None:
    for file in (good, edited(good, lambda files: None, tmp_path / "model.pt2")):
        assert load_program(file).module()(torch.ones(5, 3)).shape == (10,)


def test_what_could_run_code_is_refused_and_does_not_run(good: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bomb, stored = pickle.dumps(Bomb(mark)), io.BytesIO()
    torch.save(Bomb(mark), stored)
    call = f"__import__('os').mkdir('{mark}')"

    def inputs(files: dict[str, bytes]) -> None:
        files["data/sample_inputs/model.pt"] = stored.getvalue()

    def weights(files: dict[str, bytes]) -> None:
        files["data/weights/model.pt"] = stored.getvalue()

    def payload(files: dict[str, bytes]) -> None:
        config = json.loads(files["data/weights/model_weights_config.json"])
        name, one = next(iter(config["config"].items()))
        config["config"][name] = {**one, "use_pickle": True}
        files["data/weights/model_weights_config.json"] = json.dumps(config).encode()
        files[f"data/weights/{one['path_name']}"] = stored.getvalue()

    def constant(files: dict[str, bytes]) -> None:
        files["data/constants/opaque_obj_0"] = bomb

    def library(files: dict[str, bytes]) -> None:
        files["data/aotinductor/model/model.so"] = b"\x7fELF"

    edits: list[Edit] = [inputs, weights, payload, constant, library]
    edits += [
        in_graph("torch.ops.aten.linear.default", "torch.hub.load"),
        in_graph("torch.ops.aten.linear.default", "_operator.call"),
        in_graph("torch.ops.aten.linear.default", "torch.ops.aten.from_file.default"),
        in_graph("Symbol('", f"{call} or Symbol('"),
        in_graph('"guards_code": []', f'"guards_code": ["{call}"]'),
    ]
    for edit in edits:
        with pytest.raises(ConfigError, match=r"evil\.pt2 is refused: it holds .*run code"):
            load_program(edited(good, edit, tmp_path / "evil.pt2"))
    assert not mark.exists()


def test_what_is_no_program_is_one_line(good: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("no archive")
    (tmp_path / "half.pt2").write_bytes(good.read_bytes()[:2000])
    for name in ("text", "half", "missing"):
        with pytest.raises(ConfigError) as refused:
            load_program(tmp_path / f"{name}.pt2")
        assert str(tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)
    empty = edited(good, lambda files: files.pop("data/weights/weight_0") and None, tmp_path / "empty.pt2")
    with pytest.raises(ConfigError, match="no program that this torch can read"):
        load_program(empty)
