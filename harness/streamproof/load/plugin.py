"""Joins a run to Locust: options, the target, the conductor, the verdict and the exit code.

A locustfile that imports `streamproof.load.user` gets our options and the target. Where a user
class has a plan, the rest begins too: the echo server starts, the conductor leads, the verdict is
made in `quitting`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from locust import events, stats
from locust.runners import LocalRunner

from streamproof import config, runs
from streamproof.dialect import StreamerDialect
from streamproof.errors import ExitCode, StreamproofError, UsageError
from streamproof.load import caps
from streamproof.load.conductor import LOOKS_MAX, Conductor
from streamproof.load.endpoint import EchoDialect, Endpoint
from streamproof.load.plan import SIZES, Overrides, Plan, plan_of
from streamproof.load.program import PROGRESS_VARIABLE, Words, again
from streamproof.load.words import Progress, closing_lines, progress_line
from streamproof.results import Results
from streamproof.targets import Identity, Target, resolve
from streamproof.targets.process import Child
from streamproof.targets.safety import announcement
from streamproof.terminal import note, say

if TYPE_CHECKING:
    from streamproof.load.user import StreamUser

RESULTS_NAME = "results.json"
# What a run cannot show, by where its target is.
LIMITS_HERE = (
    "a network: target and generator share one machine, its cores and its loopback interface",
)
LIMITS_THERE = (
    "the way to the target in the noise floor: the bare echo server is on the generator's machine",
)
FINISH_TIMEOUT_S = 30.0  # after an interruption: a drain, and the arithmetic of a verdict
# Limits of the implementation stay on, raised to where they do not bind a load.
SERVE_ARGUMENTS = ("--rate-limit", "1000000", "--in-flight-limit", "100000")
SPAWNS_PER_S_MAX = 100  # beyond, Locust warns; users connect in the plan's own time anyway
ECHO_READY_S = 20.0


def install() -> None:
    """Listen to Locust; called once per process, at import of `streamproof.load.user`."""
    hooks: Any = events  # locust's event hooks are untyped
    hooks.init_command_line_parser.add_listener(add_options)
    hooks.init.add_listener(begin)


def add_options(parser: Any) -> None:
    """Our options beside Locust's; each has an environment variable for secrets and CI."""
    group = parser.add_argument_group("streamproof")
    for option, metavar, words in (
        ("--target", "TARGET", "embedded (default), ws://.., wss://.., file:PATH or cmd:PROGRAM"),
        ("--token", "TOKEN", "one token that the target accepts"),
        ("--token-command", "COMMAND", "a command that prints one token"),
        ("--jwt-key", "FILE", "PEM file of the key that mints a token per connection"),
        ("--issuer", "ISS", "iss of minted tokens"),
        ("--audience", "AUD", "aud of minted tokens"),
        ("--environment", "ENV", "what a target that is not on this machine is"),
        ("--out", "DIR", "where results go (default: reports/<run>)"),
        ("--settings", "FILE", "streamproof.toml (default: the current folder's, if there)"),
    ):
        name = option.removeprefix("--").replace("-", "_")
        group.add_argument(
            option,
            dest=f"streamproof_{name}",
            metavar=metavar,
            env_var=f"STREAMPROOF_{name.upper()}",
            help=words,
        )
    group.add_argument(
        "--rate", dest="streamproof_rate", type=float, metavar="N", help="operations per second"
    )
    group.add_argument(
        "--size", dest="streamproof_size", choices=SIZES, help="how long to measure: smoke or full"
    )
    group.add_argument(
        "--looks",
        dest="streamproof_looks",
        type=int,
        choices=range(1, LOOKS_MAX + 1),
        default=LOOKS_MAX,
        metavar="N",
        help="measure at most so often: again when invalid, longer when inconclusive (default 3)",
    )
    group.add_argument(
        "--seed", dest="streamproof_seed", type=int, metavar="N", help="draws the plan of arrivals"
    )


@dataclasses.dataclass(slots=True)
class Run:
    """What this process does besides being Locust's."""

    environment: Any
    settings: config.Config
    plans: list[tuple[type[StreamUser], Plan]]
    named: Overrides
    words: list[str]  # what repeats this run; runs.command_line leaves its secrets out
    folder: Path
    run_id: str
    began: datetime.datetime
    target: Target
    conductor: Conductor | None = None
    echo: Child | None = None
    leading: Any = None  # the conductor's greenlet
    code: ExitCode | None = None
    results: Results | None = None

    def close(self) -> None:
        """End what was started; repeatable."""
        if self.echo is not None:
            self.echo.stop()
            self.echo = None
        self.target.close()


def begin(environment: Any, runner: Any, **_: Any) -> None:
    """Prepare a run where a user class has a plan; ends the process with 2 where that fails."""
    classes = [c for c in environment.user_classes if hasattr(c, "arrivals")]
    if not classes:
        return
    # Locust rounds latencies below 100 ms to whole ones; ours are mostly below 10.
    vars(stats)["bucket_response_time"] = _three_digits
    planned = [user_class for user_class in classes if user_class.arrivals is not None]
    run: Run | None = None
    try:
        run = _prepared(environment, runner, planned)
        _enter(run, classes)
    except StreamproofError as error:
        if run is not None:
            run.close()
            _leave_nothing(run)
        _complain(error)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        if run is not None:
            run.close()
            _leave_nothing(run)
        note("streamproof: interrupted")
        sys.exit(int(ExitCode.INTERRUPTED))
    if planned:
        _hook(run)
    environment.events.quit.add_listener(lambda **_: run.close())


def _three_digits(response_time_ms: float) -> float:
    """How Locust's own tables and page round a latency."""
    return float(f"{response_time_ms:.3g}")


def _leave_nothing(run: Run) -> None:
    """Remove the folder of a run that left nothing in it."""
    if run.plans:
        with contextlib.suppress(OSError):
            run.folder.rmdir()


def _complain(error: StreamproofError) -> None:
    note(f"streamproof: {error.message}")
    if error.hint:
        note(f"  {error.hint}")


def _prepared(environment: Any, runner: Any, planned: list[type[StreamUser]]) -> Run:
    """Read all words, before anything is started."""
    options = environment.parsed_options
    if planned and not isinstance(runner, LocalRunner):
        raise UsageError(
            "a scenario with a plan runs in one Locust process for now",
            "leave out --master, --worker and --processes",
        )
    settings = _settings(environment)
    overrides = Overrides(
        connections=options.num_users,
        connects_per_s=options.spawn_rate,
        measure_s=int(options.run_time) if options.run_time else None,
        rate_per_s=options.streamproof_rate,
    )
    size, seed = settings["load.size"], settings["load.seed"]
    said, defaults = _thresholds(settings)
    plans = [
        (user_class, plan_of(user_class, size, seed, overrides, said, defaults))
        for user_class in planned
    ]
    began = datetime.datetime.now(datetime.UTC)
    run_id = runs.run_id(began, "load")
    out = Path(options.streamproof_out) if options.streamproof_out else None
    target = resolve(
        settings["target"],
        dataclasses.replace(config.target_options(settings), serve_arguments=SERVE_ARGUMENTS),
    )
    folder = runs.folder_for(run_id, out) if planned else Path()
    words = _again(options, settings, overrides, [plan.scenario for _, plan in plans])
    return Run(environment, settings, plans, overrides, words, folder, run_id, began, target)


def _again(
    options: Any, settings: config.Config, named: Overrides, scenarios: list[str]
) -> list[str]:
    """The words that repeat this run: the options that were given, and what draws the plan."""
    words = Words(
        target=settings["target"],
        token_command=options.streamproof_token_command,
        jwt_key=options.streamproof_jwt_key,
        issuer=options.streamproof_issuer,
        audience=options.streamproof_audience,
        environment=options.streamproof_environment,
        settings=options.streamproof_settings,
        size=settings["load.size"],
        seed=settings["load.seed"],
        rate=named.rate_per_s,
        users=named.connections,
        spawn_rate=named.connects_per_s,
        run_time=None if named.measure_s is None else str(named.measure_s),
    )
    return again(scenarios, words, options.streamproof_token)


def _thresholds(settings: config.Config) -> tuple[dict[str, str], dict[str, str]]:
    """Targets that a file names, and those that are only defaults: a scenario's own lie between."""
    said: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for name, text in settings.thresholds.items():
        default = settings.settings[f"{config.OPEN_TABLE}.{name}"].source == config.DEFAULT
        (defaults if default else said)[name] = text
    return said, defaults


def _settings(environment: Any) -> config.Config:
    """Defaults, the file, then options; Locust's `--host` names a target too."""
    options = environment.parsed_options
    path = options.streamproof_settings
    return config.load(
        Path(path) if path else None,
        {
            "target": options.streamproof_target or environment.host,
            "auth.token": options.streamproof_token,
            "auth.token_command": options.streamproof_token_command,
            "auth.jwt_key": options.streamproof_jwt_key,
            "auth.issuer": options.streamproof_issuer,
            "auth.audience": options.streamproof_audience,
            "safety.environment": options.streamproof_environment,
            "load.size": options.streamproof_size,
            "load.seed": options.streamproof_seed,
        },
    )


def _enter(run: Run, classes: list[type[StreamUser]]) -> None:
    """Start what must be started and make the conductor."""
    caps.refuse_production(run.settings["safety.environment"])
    run.target.__enter__()
    caps.admit(run.target.clearance, [c.scenario() for c in classes if c.arrivals is None])
    target = Endpoint(
        run.target.name,
        run.target.url,
        StreamerDialect(),
        _tokens(run.target),
        ca=run.target.description.ca,
    )
    for user_class in classes:
        user_class.endpoint = target
    if not run.plans:
        return
    _within_caps(run)
    run.echo = Child(
        [sys.executable, "-m", "streamproof.load.echo_server"],
        "the echo server",
        timeout_s=ECHO_READY_S,
    )
    echo_url = json.loads(run.echo.first_line)["url"]
    echo = Endpoint("the bare echo server", echo_url, EchoDialect(), checked=False)
    run.conductor = Conductor(
        run.plans,
        lambda user_class: _users(run.environment.runner, user_class),
        target,
        echo,
        run.settings["load.size"],
        _say_progress if _machine_readable() else lambda progress: note(progress_line(progress)),
        note,
        (*(LIMITS_HERE if run.target.loopback else LIMITS_THERE), *_lowered(run)),
        looks_max=run.environment.parsed_options.streamproof_looks,
    )


def _within_caps(run: Run) -> None:
    """Lower every plan to what a target that is not on this machine gets; say what is coming."""
    clearance = run.target.clearance
    plans = caps.lowered([plan for _, plan in run.plans], clearance.caps, run.named)
    run.plans = [(each, plan) for (each, _), plan in zip(run.plans, plans, strict=True)]
    connections = max(plan.connections for plan in plans)
    messages = sum(caps.messages_most(plan) for plan in plans)
    note(announcement(clearance, connections=connections, messages=messages))


def _lowered(run: Run) -> list[str]:
    """What was not measured because the target is somebody's running system."""
    return [
        f"the load that {plan.scenario} means: lowered to {', '.join(plan.lowered)}"
        for _, plan in run.plans
        if plan.lowered
    ]


def _tokens(target: Target) -> Any:
    """The credential of the user with a number: minted each its own, else the one there is."""
    mint, source = target.mint, target.tokens
    if source is None:
        return None
    if mint is not None and source is mint:
        return lambda number: mint.mint(Identity(f"load-{number}", "load"))
    token = source.good()
    return lambda _: token


def _users(runner: Any, user_class: type[StreamUser]) -> list[StreamUser]:
    """The running users of a class, by number."""
    users = [greenlet.args[0] for greenlet in runner.user_greenlets if greenlet.args]
    return sorted((u for u in users if type(u) is user_class), key=lambda user: user.number)


def _machine_readable() -> bool:
    """Whether `streamproof load` reads what this process prints, instead of people."""
    return os.environ.get(PROGRESS_VARIABLE) == "json"


def _say_progress(progress: Progress) -> None:
    say(json.dumps({"progress": dataclasses.asdict(progress)}))
    sys.stdout.flush()


def _hook(run: Run) -> None:
    """Give Locust our numbers and take over when its test starts."""
    options = run.environment.parsed_options
    total = 0
    for user_class, plan in run.plans:
        user_class.fixed_count = plan.connections
        total += plan.connections
    options.num_users = total
    options.spawn_rate = min(total, SPAWNS_PER_S_MAX)
    # Locust would count the time from the first user; the plan counts its own phases.
    options.run_time = None
    options.only_summary = True

    hooks = run.environment.events
    hooks.test_start.add_listener(lambda **_: _start(run))
    hooks.quitting.add_listener(lambda **_: _conclude(run))
    hooks.quit.add_listener(lambda **_: _tell(run))
    # In the main greenlet a KeyboardInterrupt would end whatever runs; this one ends in order.
    with contextlib.suppress(ValueError):
        gevent.signal_handler(signal.SIGINT, _interrupt, run)


def _interrupt(run: Run) -> None:
    """The first Ctrl-C judges what was measured, the second leaves at once."""
    if run.conductor is None or run.conductor.interrupted or run.leading is None:
        run.close()
        os._exit(int(ExitCode.INTERRUPTED))
    note("streamproof: interrupted; judging what was measured")
    run.conductor.interrupt()


def _start(run: Run) -> None:
    """In `test_start`: lead from a greenlet of its own, once."""
    if run.leading is None:
        run.leading = gevent.spawn(_lead, run)
    else:
        note("streamproof: one run per process; start locust again for another")
        gevent.spawn(run.environment.runner.stop)


def _lead(run: Run) -> None:
    """The conductor's greenlet: everything, then Locust's end, or only its test's under a page."""
    if run.conductor is None:
        return
    runner = run.environment.runner
    try:
        run.conductor.run()
    finally:
        gevent.spawn(runner.quit if run.environment.web_ui is None else runner.stop)


def _conclude(run: Run) -> None:
    """In `quitting`: write the results, set the exit code, end what was started."""
    conductor = run.conductor
    if conductor is not None and run.leading is not None and conductor.result is None:
        conductor.interrupt()
        run.leading.join(timeout=FINISH_TIMEOUT_S)
    try:
        _judge(run)
    except StreamproofError as error:
        _complain(error)
        run.code = ExitCode.worst([run.code or ExitCode.HOLDS, error.exit_code])
    finally:
        run.close()
    run.environment.process_exit_code = int(run.code or ExitCode.HOLDS)


def _judge(run: Run) -> None:
    conductor = run.conductor
    if conductor is None or conductor.result is None:
        run.code = ExitCode.NO_VERDICT
        return
    load = conductor.result
    duration_s = (datetime.datetime.now(datetime.UTC) - run.began).total_seconds()
    target = dict(run.target.summary())
    info = runs.run_info(run.run_id, run.words, run.began, duration_s, target)
    run.results = Results(info, load=load)
    if load.scenarios:
        run.results.write(run.folder / RESULTS_NAME)
        if run.environment.parsed_options.streamproof_out is None:
            runs.point_latest(run.folder)
    run.code = load.exit_code
    if conductor.failure is not None:
        raise conductor.failure
    if conductor.interrupted and not load.scenarios:
        run.code = ExitCode.INTERRUPTED


def _tell(run: Run) -> None:
    """In `quit`, after Locust's own tables: the verdict is the last thing that is read."""
    _leave_nothing(run)
    if run.results is None or run.results.load is None or _machine_readable():
        return
    for line in closing_lines(run.results.load):
        say(line)
    if run.results.load.scenarios:
        say(f"results: {run.folder / RESULTS_NAME}; as a page: streamproof report {run.folder}")
    sys.stdout.flush()
