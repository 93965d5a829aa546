"""Many trainings side by side, by Ray Tune: each with its own resources, begun again where its process dies."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from autovid.cluster.connect import ClusterError, connected, wait_for_room
from autovid.errors import AutovidError
from autovid.plugins import load_plugins, loaded_plugins
from autovid.run.signals import Interrupted


@dataclass(frozen=True)
class Resources:
    """What each trial gets, and how many may run at once (0: as many as fit)."""

    cpus: int = 1
    gpus: float = 0.0
    at_once: int = 0


class Halving(NamedTuple):
    """Asynchronous successive halving (ASHA): at `grace` epochs, and at each `factor` times as many, up to `most`, all
    but the best 1 / `factor` of the trials stop."""

    grace: int
    most: int
    factor: int = 4


class Trial(NamedTuple):
    """What a trial came to. `result` is what `work` returned; None where halving stopped it, or it never ended."""

    number: int
    result: Any
    retries: int
    stopped_at: int = 0  # epochs, where halving stopped it
    failed: str = ""  # why it never ended


Report = Callable[[int, float], None]  # (epoch, training top-1): for halving


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
    """Runs `work(number, report)` for every name, and yields what each came to, in the order in which they end.

    A trial that dies is begun again at most `retries` times, which `say` tells; `work` goes on from what it finds on
    disk. An AutovidError that `work` raises is raised here, once the others have saved and stopped; so do all on SIGINT
    and SIGTERM, and Interrupted says how to go on. Raises ClusterError.
    """
    if not names:
        return
    cpus = resources.cpus * (min(resources.at_once, len(names)) or 1)
    with connected(address, cpus, resources.gpus) as storage:
        from autovid.cluster.driver_channel import Mailbox, attend

        wait_for_room(1, resources.cpus, resources.gpus)
        mailbox = Mailbox()
        tuner = _tuner(names, _in_a_trial(work, mailbox, os.getcwd()), mailbox, resources, retries, storage, halving)
        again, ended = dict.fromkeys(range(len(names)), 0), set()
        wrong: AutovidError | None = None
        try:
            for kind, content in attend(mailbox, tuner.fit):
                if kind == "begin":
                    number, before = content
                    if before:
                        again[number] = before
                        say(f"{names[number]}: its process died; retry {before} of {retries}")
                elif kind == "result":
                    ended.add(content[0])
                    yield Trial(content[0], content[1], again[content[0]])
                elif kind == "error":
                    wrong = wrong or content
                    mailbox.stop(signal.SIGTERM)  # the others save what they have
                elif kind == "done" and wrong is None:
                    yield from _others(content, ended, again)
        except Exception as error:  # whatever Ray makes of it
            why = str(error).strip().splitlines()[-1][:200]
            raise ClusterError(f"Ray Tune failed: {why}; go on with: {resume_command}") from error
    if isinstance(wrong, Interrupted):
        done = f"stopped: {len(ended)} of {len(names)} trainings are done, the others saved"
        raise Interrupted(wrong.signal, f"{done}. Go on with: {resume_command}")
    if wrong is not None:
        raise wrong


def _tuner(
    names: Sequence[str],
    work: Callable[[dict[str, Any]], None],
    mailbox: Any,
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
            stop=_stopper(mailbox),
        ),
    )


def _stopper(mailbox: Any) -> Any:
    """Keeps Tune from beginning what is left, once everything was asked to stop and what ran has saved."""
    from ray.tune import Stopper

    class AtRest(Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return bool(mailbox.at_rest())

    return AtRest()


def _silence() -> Any:
    """In place of the callback that prints a line for each trial at any verbosity."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Silent(TrialProgressCallback):
        def _nothing(self, *_: Any, **__: Any) -> None:
            pass

        on_trial_result = on_trial_error = on_trial_complete = _nothing

    return Silent()


def _others(grid: Any, ended: set[int], again: dict[int, int]) -> Iterator[Trial]:
    """The trials that have sent no result: stopped by halving, or given up."""
    for result in grid:
        number = result.config["number"]
        if number in ended:
            continue
        epoch = int((result.metrics or {}).get("epoch", 0))
        failed = str(result.error).strip().splitlines()[-1][:200] if result.error else ""
        yield Trial(number, None, again[number], 0 if failed else epoch, failed)


def _in_a_trial(work: Callable[[int, Report], Any], mailbox: Any, folder: str) -> Callable[[dict[str, Any]], None]:
    """What Tune calls in the process of a trial, in a thread."""
    import ray

    stored = ray.put(work)  # once for all trials: what it holds may be large
    plugins = loaded_plugins()

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        from autovid.cluster.driver_channel import stay_in

        number = int(config["number"])
        stay_in(folder)
        if asked := mailbox.stopped():
            mailbox.post("error", Interrupted(asked, "stopped before it began"))
            return
        mailbox.post("begin", (number, mailbox.begin(str(number))))
        try:
            load_plugins(plugins)
            with mailbox.serving():
                result = ray.get(stored)(number, lambda epoch, top1: tune.report({"epoch": epoch, "top1": top1}))
            mailbox.post("result", (number, result))
        except AutovidError as error:
            mailbox.post("error", error)
        mailbox.end()

    return trial
