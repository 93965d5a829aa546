"""Import of weights from other toolkits: files read without running code in them, every tensor accounted for."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import msgspec
import safetensors.torch
import torch
from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.fileio import explained, write_atomic
from autovid.models import Model, Network, NetworkSpec, build_network, load_model
from autovid.models.builder import HEAD, check_finite
from autovid.weights.image_toolkits import IBM, TDN_CODE, TORCHVISION, TSM_CODE
from autovid.weights.name_table import Format, Names, Shape, Table
from autovid.weights.video_toolkits import MMACTION2, PYSLOWFAST, PYTORCHVIDEO

WRAPPERS = ("model_state", "state_dict")  # keys of the weights, beside the optimizer's state and more
PREFIXES = r"^((module|state_dict)\.)+"  # of data parallel training, and of networks in networks


# A checkpoint of IBM's TSN is written exactly like an image network of torchvision, and read as one, to the same end.
FORMATS = {
    "pyslowfast": Format("PySlowFast", r"^s1\.pathway0_stem\.", PYSLOWFAST),
    "pytorchvideo": Format("pytorchvideo", r"^blocks\.0\.(conv|multipathway_blocks)\.", PYTORCHVIDEO),
    "mmaction2": Format("MMAction2", r"^backbone\.", MMACTION2),
    "tdn": Format("the repository of TDN", r"^base_model\.conv1_5\.", TDN_CODE, extras=r"^base_model\.conv1_temp1\."),
    "tsm": Format(
        "the repository of TSM",
        r"^base_model\.(conv1|features\.0)\.",
        TSM_CODE,
        renames=((r"^base_model\.(fc|classifier)\.", "new_fc."),),
    ),
    "ibm": Format(
        "IBM's action-recognition-pytorch", r"tam\w*\.(prev|curr|next)_se\.fc1\.|^conv1\.(conv\.)?weight:5$", IBM
    ),
    "torchvision": Format(
        "torchvision",
        r"^(conv1\.(conv\.)?|features\.0\.0\.)weight:4$",
        TORCHVISION,
        extras=r"^aux[12]\.",
        images=True,
    ),
}
Inflate = Literal["copy", "divide"]
FEW = 3  # names that an error shows


@dataclass(frozen=True)
class Imported:
    """A network with imported weights, its spec, the options that the weights need, and notes about the import."""

    net: Network
    spec: NetworkSpec
    needs: Mapping[str, Any]
    format: str
    notes: tuple[str, ...]

    def save(self, file: str | Path) -> Path:
        """Write the weights (safetensors), and beside them the network as YAML; return the latter's path.

        `autovid.load_weights(autovid.build(yaml), file)` gives the network back. Raises RunError.
        """
        file = Path(file)
        with explained(f"cannot make {file.parent}"):
            file.parent.mkdir(parents=True, exist_ok=True)
        # A copy of each: safetensors refuses channels_last_3d strides.
        state = self.net.state_dict()
        tensors = {n: t.cpu().clone(memory_format=torch.contiguous_format) for n, t in state.items()}
        header = {"network": self.spec.to_yaml(), "source": self.format, "needs": json.dumps(dict(self.needs))}
        write_atomic(file, safetensors.torch.save(tensors, header))
        beside = file.with_suffix(".yaml")
        write_atomic(beside, self.spec.to_yaml())
        return beside


class Transfer:
    """A transfer of a file's tensors into a network, by a table; `plain` is the network without its modules."""

    def __init__(
        self,
        net: Network,
        plain: Network,
        table: Table,
        form: Format,
        tensors: Mapping[str, Tensor],
        inflate: Inflate,
        new_head: bool,
    ) -> None:
        self.net, self.plain, self.table, self.inflate, self.new_head = net, plain, table, inflate, new_head
        self.extras = [name for name in tensors if form.extras and re.search(form.extras, name)]
        self.tensors = {name: tensor for name, tensor in tensors.items() if name not in self.extras}
        self.state, built = _without_counters(plain), _without_counters(net)
        self.added = [name for name in built if name not in self.state]  # by modules, and so is the next
        self.replaced = {name for name in self.state if name not in built}
        self.identity = [name for name in self.state if table.is_identity(name)]
        self.fresh = [name for name in self.state if table.is_fresh(name)]
        self.head = [name for name in self.state if HEAD.match(name)]
        self.sources = {n: table.source_names(n) for n in self.state if n not in {*self.identity, *self.fresh}}

    def check(self, what: str, detected: bool) -> None:
        """Raise ConfigError where a tensor is missing, left over, of another shape or not of numbers that load.

        `what` begins the line.
        """
        skipped = {name for target in self.head for name in self.sources[target]} if self.new_head else set()
        expected = {name for names in self.sources.values() for name in names}
        missing = [name for name in expected if name not in self.tensors and name not in skipped]
        left_over = [name for name in self.tensors if name not in expected]
        kept = [target for target in self.sources if not (self.new_head and target in self.head)]
        wrong = [line for target in kept for line in self._misshapen(target)]
        checked = {name: self.tensors[name] for name in sorted(expected - skipped) if name in self.tensors}
        unloadable = [f"{name} ({_kind(tensor)})" for name, tensor in checked.items() if not _loads(tensor)]
        faults = [*_few("missing", sorted(missing)), *_few("left over", left_over), *_few("of another shape", wrong)]
        faults += _few("not of real numbers", unloadable)
        if faults:
            raise ConfigError(f"{what}: {'; '.join(faults)}{self._hint(missing, wrong, detected)}")

    def _misshapen(self, target: str) -> list[str]:
        """List the pieces of a tensor of ours that the file has with another shape."""
        return [
            f"{name} is {tuple(self.tensors[name].shape)} there, {shape} here"
            for name, shape in self._pieces(target)
            if name in self.tensors and tuple(self.tensors[name].shape) != shape
        ]

    def _pieces(self, target: str) -> list[tuple[str, Shape]]:
        """Return their names and shapes of the pieces of a tensor of ours."""
        names, shape = self.sources[target], tuple(self.state[target].shape)
        if len(names) > 1:
            shape = (*shape[:2], shape[2] // len(names), *shape[3:])
        return [(name, self.table.their_shape(target, shape)) for name in names]

    def _hint(self, missing: Sequence[str], wrong: Sequence[str], detected: bool) -> str:
        head = {name for target in self.head for name in self.sources[target]}
        if (missing or wrong) and {*missing, *(line.split(" ")[0] for line in wrong)} <= head:
            pieces = [(n, shape) for target in self.head for n, shape in self._pieces(target) if n in self.tensors]
            same = all(tuple(self.tensors[n].shape[1:]) == shape[1:] for n, shape in pieces)  # but for the classes
            rows = [len(self.tensors[n]) for n, _ in pieces if same]
            keep = f"--classes {rows[0]} to keep the classifier, or " if rows else ""
            return f". Give {keep}--new-head for a new one"
        return ". Is --model another network's name, or does it want --option or --frames?" if detected else ""

    def load(self) -> list[str]:
        """Copy all tensors, and return notes."""
        inflated = []
        state = self.net.state_dict()
        for target, names in self.sources.items():
            if target in self.replaced or (self.new_head and target in self.head):
                continue
            parts = [self.tensors[name] for name in names]
            if parts[0].numel() * len(parts) < state[target].numel():
                inflated.append(target)
            state[target] = self.table.our_order(target, self._converted(parts, tuple(state[target].shape)))
        for target in set(self.identity) - self.replaced:
            state[target] = self._identity(target, state[target])
        self.net.load_state_dict(state)
        if self.table.finish is not None:
            self.table.finish(self.net)
        if self.inflate == "divide" and not inflated:
            raise ConfigError("--inflate divide: this network has no weights to inflate from this file")
        return self._notes(inflated)

    def _converted(self, parts: Sequence[Tensor], shape: Shape) -> Tensor:
        if len(parts) > 1:
            cut = (*shape[:2], shape[2] // len(parts), *shape[3:])
            return torch.cat([part.reshape(cut) for part in parts], 2)
        (part,) = parts
        if part.numel() == torch.Size(shape).numel():
            return part.reshape(shape)
        part = part.unsqueeze(2).expand(shape)
        return part / shape[2] if self.inflate == "divide" else part

    def _identity(self, target: str, like: Tensor) -> Tensor:
        """Return a norm's tensor that changes nothing: statistics 0 and 1, a scale that undoes the eps; else zero."""
        place, _, kind = target.rpartition(".")
        module: nn.Module = self.plain.get_submodule(place)
        if kind == "running_var":
            return torch.ones_like(like)
        return torch.full_like(like, (1 + float(module.eps)) ** 0.5 if kind == "weight" else 0.0)  # type: ignore[arg-type]

    def _notes(self, inflated: Sequence[str]) -> list[str]:
        left = {*self.replaced, *(self.head if self.new_head else ())}
        notes = [f"{sum(name not in left for name in self.sources)} tensors loaded"]
        modules = ", ".join(self.net.spec.modules) if self.net.spec else ""
        without_place = [name for target in self.sources if target in self.replaced for name in self.sources[target]]
        how = "copied along time" + (" and divided by its length" if self.inflate == "divide" else "")
        lists = (
            (f"of them are 2-D weights {how}", inflated),
            ("are new, images have none", [name for name in self.fresh if name not in self.replaced]),
            ("change nothing, the original has none", [name for name in self.identity if name not in self.replaced]),
            (f"start anew, as {modules} adds them", self.added),
            (f"of the file are left out, as {modules} replaces what had them", without_place),
            ("of the file are not needed", self.extras),
        )
        notes += [f"{len(names)} {label}: {_some(names)}" for label, names in lists if names]
        classes = self.net.classes
        notes += [f"a new classifier of {classes} class{'es' * (classes != 1)}"] if self.new_head else []
        return notes


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the weights and statistics in a safetensors file or one of `torch.save`, by name.

    Wrappers and prefixes are taken off, and the counters of batch norms left out: nothing depends on them.
    Raises ConfigError where there are none, and where reading would run code.
    """
    content = _read(file)
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"{file} holds no weights by name, neither directly nor as {' or '.join(WRAPPERS)}")
    if odd := [n for n, value in content.items() if not (isinstance(n, str) and isinstance(value, Tensor))]:
        raise ConfigError(f"{file} holds something else among its weights: {odd[0]}")
    tensors = renamed(content, ((PREFIXES, ""),), file)
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def renamed(tensors: Mapping[str, Tensor], rules: Names, file: str | Path) -> dict[str, Tensor]:
    """Apply rules to the names of tensors. Raises ConfigError where two get one name."""
    result: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = old
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in result:
            raise ConfigError(f"{file} holds {name} twice, once as {old}")
        result[name] = tensor
    return result


def detect(tensors: Mapping[str, Tensor], where: str) -> str:
    """Return the name of the tensors' format: the first whose sign one of them has. Raises ConfigError."""
    signs = [f"{name}:{tensor.dim()}" for name, tensor in tensors.items()]
    for name, form in FORMATS.items():
        if any(re.search(form.sign, sign) for sign in signs):
            return name
    few = ", ".join(list(tensors)[:3])
    raise ConfigError(f"{where} is in none of the formats {', '.join(FORMATS)}: its first tensors are {few}")


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it may not understand; then it raises
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it holds more than tensors ({match[1]})" if match else "it is not what torch.save writes of tensors"
        raise ConfigError(
            f"{file} is refused: {reason}, and to read it could run code. If you trust it, "
            "save its weights alone with the toolkit that made it"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # torch and safetensors raise whatever a damaged file leads them to
        raise ConfigError(f"{file} is no checkpoint that can be read ({type(error).__name__})") from None


def import_weights(
    file: str | Path | Sequence[str | Path],
    model: str | Path | Model,
    classes: int | None = None,
    *,
    format: str | None = None,
    inflate: Inflate = "copy",
    new_head: bool = False,
) -> Imported:
    """Build the network `model` (a name, a YAML file or a spec) with weights from a checkpoint of another toolkit.

    Several files are one checkpoint: S2DNet has two backbones, which torchvision has in a file each.
    `format` is one of FORMATS (default: told by the names in the file). 2-D weights of images are inflated by copying
    them along time (as in "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition", Chen et
    al., 2021, arXiv:2010.11757), or also divided by its length. With `new_head` the classifier stays as it is
    in a new network of `classes` classes. The file must hold the network without its modules, to the last tensor: what
    these add stays as in a new network, what they replace is left out, and `notes` say so.
    Raises ConfigError for a file that cannot be read without running code, and where tensors are missing, left over or
    of another shape.
    """
    files = [file] if isinstance(file, str | Path) else file
    where, spec = " and ".join(map(str, files)), _spec(model, classes)
    tensors = _read_all(files)
    if format is not None and format not in FORMATS:
        raise ConfigError(f"there is no format {format!r}; choose among {', '.join(FORMATS)}")
    name = format or detect(tensors, where)
    form = FORMATS[name]
    table, spec = _choose(form, spec)
    net = build_network(spec)
    notes = [f"format {name}" + ("" if format else ", told by the names")]
    notes += [f"option {key}={value}, which these weights need" for key, value in table.needs.items()]
    plain = build_network(msgspec.structs.replace(spec, modules={}), "meta") if spec.modules else net
    transfer = Transfer(net, plain, table, form, renamed(tensors, form.renames, where), inflate, new_head)
    transfer.check(f"{where} ({name}) does not fit {spec.network}", format is None)
    notes += transfer.load()
    check_finite(net.state_dict(), where)
    return Imported(net, spec, table.needs, name, tuple(notes))


def _read_all(files: Sequence[str | Path]) -> dict[str, Tensor]:
    """Read the tensors of all files. Raises ConfigError where two of them have one of the same name."""
    merged: dict[str, Tensor] = {}
    for file in files:
        tensors = read_tensors(Path(file))
        if twice := sorted(merged.keys() & tensors.keys()):
            raise ConfigError(f"{file} holds {twice[0]}, and so does another of the files; give one for each backbone")
        merged |= tensors
    return merged


def _spec(model: str | Path | Model, classes: int | None) -> NetworkSpec:
    spec = load_model(model) if isinstance(model, str | Path) else model
    if not isinstance(spec, NetworkSpec):
        raise ConfigError("an architecture of a search space has no counterpart elsewhere; give a network's name")
    return spec.changed(classes=classes)


def _choose(form: Format, spec: NetworkSpec) -> tuple[Table, NetworkSpec]:
    """Return the table for a network, and the network with the options that the weights need. Raises ConfigError."""
    tables = form.tables_of(spec)
    if not tables:
        raise ConfigError(f"no checkpoint of {form.about} is known to fit {spec.network}")
    for table in tables:
        if all(spec.options.get(name, value) == value for name, value in table.needs.items()):
            return table, spec.changed(options=table.needs)
    needs = ", ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in tables[0].needs.items())
    raise ConfigError(f"the checkpoints of {form.about} for {spec.network} need --option {needs}")


def _without_counters(net: Network) -> dict[str, Tensor]:
    """Return weights and statistics of a network, without the counts of batches that some files lack."""
    return {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def _loads(tensor: Tensor) -> bool:
    """Tell arrays of floating-point numbers."""
    return tensor.layout is torch.strided and tensor.is_floating_point() and tensor.is_cpu


def _kind(tensor: Tensor) -> str:
    names = (tensor.dtype, *([] if tensor.layout is torch.strided else [tensor.layout]), tensor.device)
    return " ".join(str(name).removeprefix("torch.") for name in names)


def _few(label: str, names: Sequence[str]) -> list[str]:
    return [f"{len(names)} {label}: {_some(names)}"] if names else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (", …" if len(names) > FEW else "")
