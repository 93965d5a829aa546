"""Many trainings side by side, by Ray Tune: each with its own resources, restarted where its process dies."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from autovid.cluster.workers import ClusterError, connected, wait_for_capacity
from autovid.errors import AutovidError
from autovid.plugins import load_plugins, loaded_plugins
from autovid.run.loop import Interrupted


@dataclass(frozen=True)
class Resources:
    """Resources of each trial, and the number of trials at once (0: as many as fit)."""

    cpus: int = 1
    gpus: float = 0.0
    at_once: int = 0


class Halving(NamedTuple):
    """Asynchronous successive halving (ASHA; Li et al., 2018, arXiv 1810.05934).

    At `grace` epochs, and at each `factor` times as many, up to `most`, all but the best 1 / `factor` of the trials
    stop.
    """

    grace: int
    most: int
    factor: int = 4


class Trial(NamedTuple):
    """The outcome of a trial. `result` is that of `work`; None where halving stopped it, or it never ended."""

    number: int
    result: Any
    retries: int
    stopped_at: int = 0  # epochs, where halving stopped it
    failed: str = ""  # why it never ended


Report = Callable[[int, float], None]  # (epoch, top-1 on val): for halving


def run_trials(
    names: Sequence[str],
    work: Callable[[int, Report], Any],
    *,
    address: str | None,
    resources: Resources,
    retries: int,
    resume_command: str,
    halving: Halving | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Trial]:
    """Run `work(number, report)` for every name, and yield the outcomes, in the order in which the trials end.

    A trial that dies is restarted at most `retries` times, with a message to `say`; `work` goes on from its files. An
    AutovidError that `work` raises is raised here, once the others have saved and stopped; so do all on SIGINT and
    SIGTERM, and Interrupted says how to go on. Raises ClusterError.
    """
    if not names:
        return
    cpus = resources.cpus * (min(resources.at_once, len(names)) or 1)
    with connected(address, cpus, resources.gpus) as storage:
        from autovid.cluster.driver_channel import DriverChannel, relay

        wait_for_capacity(1, resources.cpus, resources.gpus)
        channel = DriverChannel()
        tuner = _tuner(names, _trainable(work, channel, os.getcwd()), channel, resources, retries, storage, halving)
        restarts, ended = dict.fromkeys(range(len(names)), 0), set()
        failure: AutovidError | None = None
        try:
            for kind, content in relay(channel, tuner.fit):
                if kind == "begin":
                    number, before = content
                    if before:
                        restarts[number] = before
                        say(f"{names[number]}: its process died; retry {before} of {retries}")
                elif kind == "result":
                    ended.add(content[0])
                    yield Trial(content[0], content[1], restarts[content[0]])
                elif kind == "error":
                    failure = failure or content
                    channel.stop(signal.SIGTERM)  # the others save what they have
                elif kind == "done" and failure is None:
                    yield from _others(content, ended, restarts)
        except Exception as error:  # whatever Ray makes of it
            why = str(error).strip().splitlines()[-1][:200]
            raise ClusterError(f"Ray Tune failed: {why}; go on with: {resume_command}") from error
    if isinstance(failure, Interrupted):
        done = f"stopped: {len(ended)} of {len(names)} trainings are done, the others saved"
        raise Interrupted(failure.signal, f"{done}. Go on with: {resume_command}")
    if failure is not None:
        raise failure


def _tuner(
    names: Sequence[str],
    work: Callable[[dict[str, Any]], None],
    channel: Any,
    resources: Resources,
    retries: int,
    storage: str | None,
    halving: Halving | None,
) -> Any:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    scheduler: Any = FIFOScheduler()  # type: ignore[no-untyped-call]
    if halving is not None:
        scheduler = ASHAScheduler(
            time_attr="epoch",
            metric="top1",
            mode="max",
            max_t=halving.most + 1,  # at max_t Tune ends a trial, which has its evaluation still to do
            grace_period=halving.grace,
            reduction_factor=halving.factor,
        )
    return tune.Tuner(
        tune.with_resources(work, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"number": tune.grid_search(list(range(len(names))))},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=resources.at_once or None,
            trial_name_creator=lambda trial: names[trial.config["number"]],
            trial_dirname_creator=lambda trial: f"trial-{trial.config['number']}",
        ),
        run_config=tune.RunConfig(
            name=f"autovid-{secrets.token_hex(4)}",
            storage_path=storage,
            failure_config=tune.FailureConfig(max_failures=retries),
            verbose=0,
            callbacks=[_silence()],
            stop=_stopper(channel),
        ),
    )


def _stopper(channel: Any) -> Any:
    """Return a stopper that keeps Tune from starting trials after a request to stop."""
    from ray.tune import Stopper

    class AtRest(Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return bool(channel.at_rest())

    return AtRest()


def _silence() -> Any:
    """Return a callback in place of the one that prints a line for each trial at any verbosity."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Silent(TrialProgressCallback):
        def _nothing(self, *_: Any, **__: Any) -> None:
            pass

        on_trial_result = on_trial_error = on_trial_complete = _nothing

    return Silent()


def _others(results: Any, ended: set[int], restarts: dict[int, int]) -> Iterator[Trial]:
    """Yield the trials that have sent no result: stopped by halving, or given up."""
    for result in results:
        number = result.config["number"]
        if number in ended:
            continue
        epoch = int((result.metrics or {}).get("epoch", 0))
        failed = str(result.error).strip().splitlines()[-1][:200] if result.error else ""
        yield Trial(number, None, restarts[number], 0 if failed else epoch, failed)


def _trainable(work: Callable[[int, Report], Any], channel: Any, folder: str) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune calls in the process of a trial, in a thread."""
    import ray

    stored = ray.put(work)  # once for all trials: what it holds may be large
    plugins = loaded_plugins()

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        from autovid.cluster.driver_channel import enter_folder

        number = int(config["number"])
        enter_folder(folder)
        if stop_signal := channel.stopped():
            channel.post("error", Interrupted(stop_signal, "stopped before it began"))
            return
        channel.post("begin", (number, channel.begin(str(number))))
        try:
            load_plugins(plugins)
            with channel.serving():
                result = ray.get(stored)(number, lambda epoch, top1: tune.report({"epoch": epoch, "top1": top1}))
            channel.post("result", (number, result))
        except AutovidError as error:
            channel.post("error", error)
        channel.end()

    return trial
