"""autovid train: the training of an experiment, a network or an architecture."""

import argparse
import contextlib
import io
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import accuracy_lines, dry_run, launch, options, training
from autovid.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autovid.train import Evaluation


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="an experiment (a YAML file, or the name of one of ours), a network's name, the YAML file of one or of an "
        "architecture, or a run directory; with --resume that of a training, which goes on, --epochs N makes it longer",
    )
    parser.add_argument("-o", "--out", type=Path, help="run directory (default: runs/train-NAME)")
    training.experiment_arguments(parser)
    dry_run.hardware_argument(parser)
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="start from this safetensors file, such as import-weights writes, or from a training's run directory",
    )
    parser.add_argument("--new-head", action="store_true", help="with --weights: the classifier starts anew")
    parser.add_argument(
        "--inherit", action="store_true", help="start from the weights of the supernet; WHAT is the run of a search"
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="learn from what this training's network says of the same clips as well (distillation)",
    )
    launch.arguments(parser)
    training.arguments(parser, recipes=("proxy", "full", "small", "finetune"))
    options.network(parser)
    parser.set_defaults(seed=None, precision=None)  # an experiment has its own


def run_name(args: argparse.Namespace) -> str:
    """Return the name of the run directory. Raises ConfigError for what cannot be trained."""
    if (path := training.resumed_run(args)) is not None:
        args.out = path  # the workers are given it as WHAT
    with contextlib.redirect_stdout(io.StringIO()):  # the workers print it
        return f"train-{training.find_job(args).name}"


def run(args: argparse.Namespace) -> None:
    """Train, evaluate the centre view, and print the results."""
    if (path := training.resumed_run(args)) is not None:
        return _show_rest(args, path) if args.dry_run else _go_on(args, path)
    from autovid.data.frame_cache import choose_cache
    from autovid.kernels.compute import Compute
    from autovid.run import Progress
    from autovid.train import train_model
    from autovid.train.finetune import fit
    from autovid.train.inherited import other_classes

    machine = dry_run.read_hardware(args)
    job = training.find_job(args)
    videos, source = training.find_data(args, job)
    if args.dry_run:
        return dry_run.show_plan(job.on(args.workers_of_run), videos, args.device, machine)
    if videos is None:
        raise DataError(f"{args.what} has no data yet; give --data: {options.DATA}")
    launch.note(job.experiment.workers)
    training.note_batch(job.recipe, videos)
    new_head, inherit = job.new_head, job.inherit
    if inherit and not new_head and (note := other_classes(Path(args.what), videos)):
        print(note)
        new_head = True
    if args.recipe == "finetune" and not inherit:
        new_head, inherit, notes = fit(job.model, job.recipe, args.weights, videos, new_head)
        print(*notes, sep="\n", end="\n" * bool(notes))
    name, recipe = job.name, job.recipe
    compute = Compute(args.device, recipe.precision)
    out = args.out or options.run_directory(f"train-{name}", args.resume)
    _say_state(out, args.resume)
    with choose_cache(args.cache, videos.videos, videos.root) or contextlib.nullcontext() as cache:
        evaluation = train_model(
            job.model,
            videos,
            recipe,
            out,
            source=source,
            compute=compute,
            workers=options.decoders(args),
            cache=cache,
            weights=job.weights,
            new_head=new_head,
            inherit=inherit,
            teacher=args.teacher,
            views=job.experiment.views,
            resume=args.resume,
            progress=Progress(f"train {name} on {videos.name} · {out}"),
            resume_command=options.resume_command(out),
        )
    _show(evaluation, out, name, job.experiment.views)


def _go_on(args: argparse.Namespace, path: Path) -> None:
    """Go on with the training in a run directory, which knows its network, its recipe and its videos."""
    from autovid.data.frame_cache import choose_cache
    from autovid.kernels.compute import Compute
    from autovid.run import Progress, RunDirectory
    from autovid.train import resume_training
    from autovid.train.trained import recorded_recipe, recorded_source

    run = RunDirectory.open(path)
    recipe = recorded_recipe(run.config)
    videos, source = training.open_data(args.data or recorded_source(run), recipe.seed)
    _say_state(path, True)
    with choose_cache(args.cache, videos.videos, videos.root) or contextlib.nullcontext() as cache:
        evaluation = resume_training(
            path,
            videos,
            source=source,
            compute=Compute(args.device, recipe.precision),
            epochs=args.epochs,
            workers=options.decoders(args),
            cache=cache,
            progress=Progress(f"train on {videos.name} · {path}"),
            resume_command=options.resume_command(path),
        )
    _show(evaluation, path, evaluation.architecture)


def _show_rest(args: argparse.Namespace, path: Path) -> None:
    """Print the plan of the training in a run directory as it would go on. Raises ConfigError, RunError, DataError."""
    from autovid.run import RunDirectory
    from autovid.train import find_model
    from autovid.train.experiment import Start
    from autovid.train.train import check_beginning
    from autovid.train.trained import describe_state, is_finished, prolonged_recipe, recorded_recipe, recorded_source

    run, machine = RunDirectory.open(path), dry_run.read_hardware(args)
    recipe = prolonged_recipe(run, args.epochs)
    videos, _ = training.open_data(args.data or recorded_source(run), recipe.seed)
    last = run.latest()
    if last is None:
        check_beginning(run)
    start = Start(f"its own checkpoint after step {last.step:,}", str(path)) if last is not None else None
    experiment = training.plain_experiment(f"train {path} further", recipe, start)
    job = training.TrainingJob(find_model(path), recipe, experiment, path.name)
    print(describe_state(path))
    done = 0 if last is None else last.step
    if last is not None and is_finished(run.config, last) and recipe == recorded_recipe(run.config):
        done = recipe.steps(len(videos.train))  # ended by its patience, too
    dry_run.show_plan(job.on(args.workers_of_run), videos, args.device, machine, done)


def _say_state(out: Path, resume: bool) -> None:
    """Say where a training goes on, how far it is, and how to watch it."""
    from autovid.train.trained import describe_state

    if launch.number():
        return
    if resume and (out / "config.yaml").is_file():
        print(describe_state(out))
    print(options.board_line(out), flush=True)


def _show(evaluation: "Evaluation", out: Path, name: str, views: "Sequence[str]" = ()) -> None:
    """Print what a training came to."""
    from rich.markup import escape

    from autovid.cli.console import copyable, panel, plugin_words
    from autovid.run import RunDirectory
    from autovid.train.trained import recorded_recipe

    if launch.number():
        return  # the first worker prints it, and has the files
    run, path = RunDirectory.open(out), shlex.quote(str(out))
    recipe, done = recorded_recipe(run.config), max(run.steps(), default=evaluation.steps)
    early = f"{done / evaluation.steps * recipe.epochs:.3g} of " if done < evaluation.steps else ""
    notes = [
        _line(evaluation, "centre view"),
        *map(escape, accuracy_lines.each_class(evaluation)),
        *_other_views(views, out),
        f"weights {evaluation.weights}{', which val chose' if evaluation.validations else ''}",
        *map(escape, accuracy_lines.broken(evaluation, out / "faults.jsonl")),
        f"{evaluation.gflops_per_view:.4g} GFLOPs a view, {evaluation.params / 1e6:.2f} M parameters",
        f"[dim]{evaluation.convention}[/]",
    ]
    panel(f"trained for {early}{recipe.length}", notes)
    copyable([f"where  {path}  ({name})", f"next   autovid evaluate {path} --views 10-lcr{plugin_words()}"])


def _other_views(views: "Sequence[str]", out: Path) -> list[str]:
    """Return a line for each evaluation other than the centre view's."""
    from autovid.train.evaluate import read_evaluation

    evaluations = [read_evaluation(out, name) for name in views if name != "center"]
    return [_line(one, one.views) for one in evaluations if one is not None]


def _line(evaluation: "Evaluation", views: str) -> str:
    figures = ", ".join(accuracy_lines.accuracies(evaluation))
    text = f"[bold]{figures}[/] on {evaluation.decoded} of {evaluation.videos} videos"
    return f"{text}{accuracy_lines.of_classes(evaluation)}, {views}"
