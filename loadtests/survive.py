"""A hundred things that go wrong, one after the other, with a service under load.

    python -m loadtests.survive                100 events; writes results/survive.{md,json}
    python -m loadtests.survive --events 10    a look

Two workers get requests all the time, in an open loop. An agent takes their metrics and traces, a
candidate gets copies. After each event the service has to be as before: ready, with two
workers, of their usual size. A request may be refused (503, 504, or nobody listens: a load balancer
asks elsewhere); it is lost if it was sent and its connection ended without an answer, which may
happen only where its process was killed. The order follows from the seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candidates import BOMB as ZIPPED
from candidates import FAULTS, Candidate
from harness import Service, bake, command_and_env, free_port, train, wrapped

from loadtests import agent, outcome
from loadtests.openloop import Client, Outcome, get, post, quantile

EVENTS = 100
WORKERS = 2
RATE = 60.0  # requests a second: few enough for one worker, and for a busy machine
AROUND_SECONDS = 1.0  # of load before an event is called over
LONGEST_SECONDS = 5.0  # of a request
BACK_SECONDS = 40.0
STALL_SECONDS = 4.0
BURST = 20  # requests that are on their way when a process ends
MOST_MB = 400  # of a worker, at any time
RESULTS = Path(__file__).parent / "results"

# Rows that predict does not survive: their first column is one of these.
HANG, LEAVE = 1e9, 2e9
MISCHIEF = f"""
from gevent.monkey import get_original

def perhaps(frame):
    first = list(frame.iloc[:, 0])
    if {HANG} in first:
        get_original("time", "sleep")(3600)
    if {LEAVE} in first:
        raise SystemExit(3)
"""
# 58 KB, of which a careless explanation of what is wrong makes hundreds of megabytes.
_DEEP = ('{"' + "k" * 100 + '":') * 277 + "[" + "0," * 14_500 + "0]" + "}" * 277
DEEP = f'{{"instances":NaN,"unknown":{_DEEP}}}'.encode()


class Caller(Client):
    """A client that can tell nobody listening from a connection that broke."""

    unheard = 0

    async def _connection(self) -> Any:
        try:
            return await super()._connection()
        except OSError:
            self.unheard += 1
            raise


@dataclass
class Sitting:
    """The service, its surroundings, and the load."""

    folder: Path
    draw: random.Random
    candidate: Candidate
    around: ExitStack  # the agent, while it is there
    outcomes: list[Outcome] = field(default_factory=list)
    asked: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.port, self.log = free_port(), self.folder / "survive.log"
        self.client = Caller(self.port)
        self.flowing = asyncio.Event()  # whether requests are sent
        self.reading = threading.Event()  # whether somebody reads what the service prints
        self.reading.set()

    def start(self) -> None:
        """Start the service; its log goes through a pipe, as in a container."""
        command, env = command_and_env(
            self.port,
            WEB_CONCURRENCY=WORKERS,
            REQUEST_TIMEOUT_MS=int(LONGEST_SECONDS * 1e3),
            DRAIN_SECONDS=1,
            GRACEFUL_TIMEOUT_SECONDS=int(LONGEST_SECONDS) + 1,
            DD_DOGSTATSD_URL=f"unix://{agent.METRICS}",
            DD_TRACE_AGENT_URL=f"unix://{agent.TRACES}",
            SHADOW_URL=self.candidate.url,
            LOG_SAMPLE=1,
        )
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.service = Service(self.folder, process, self.port, self.log)
        threading.Thread(target=self._read, args=[process], daemon=True).start()
        self.service.wait_ready()
        self.service.wait_workers(WORKERS)

    def stop(self) -> None:
        """Kill what is left of the service."""
        with suppress(ProcessLookupError):
            os.killpg(self.service.process.pid, signal.SIGKILL)
        self.service.process.wait()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with self.log.open("ab") as log:
            while self.reading.wait() and (part := os.read(process.stdout.fileno(), 4096)):
                log.write(part)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Send requests while `flowing` is set."""

        async def flow() -> None:
            while await self.flowing.wait():
                self.send()
                await asyncio.sleep(self.draw.expovariate(RATE))

        self.flowing.set()
        flowing = asyncio.create_task(flow())
        yield
        flowing.cancel()
        await asyncio.gather(*self.asked)

    def send(self) -> None:
        """Send a request; it will be among the outcomes."""

        async def ask() -> None:
            due = asyncio.get_running_loop().time()
            request = post("/predict", self.service.body)
            self.outcomes.append(await self.client.ask(request, due))

        self.asked.add(task := asyncio.create_task(ask()))
        task.add_done_callback(self.asked.discard)

    async def burst(self) -> None:
        for _ in range(BURST):
            self.send()
        await asyncio.sleep(0.01)

    async def ask(self, request: bytes) -> int:
        """Return the status of one request on a connection of its own."""
        client = Client(self.port)
        found = await client.ask(request, asyncio.get_running_loop().time())
        client.close()
        return found.status

    async def poison(self, value: float) -> int:
        """Ask for a row that predict does not survive."""
        first = next(iter(self.service.instance))
        instance = self.service.instance | {first: value}
        return await self.ask(post("/predict", json.dumps({"instances": [instance]}).encode()))

    async def whole(self) -> bool:
        """Tell whether the service is as it should be: ready, all workers there, of usual size."""
        if await self.ask(get("/readyz")) != 200:
            return False
        sizes = [peak_mb(pid) for pid in self.service.workers]
        return len(sizes) == WORKERS and max(sizes) < MOST_MB

    def count(self, status: int) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)


def peak_mb(pid: int) -> float:
    """Return the most memory that a process ever had; nothing if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0


# An event makes something go wrong, and says what did not go as it should: nothing, mostly.
Happening = Callable[[Sitting], Awaitable[str]]


async def sigterm(sitting: Sitting) -> str:
    """A rollout: told to stop, no longer asked from then on, and started again."""
    await sitting.burst()
    sitting.flowing.clear()
    sitting.service.process.terminate()
    code = await asyncio.to_thread(sitting.service.process.wait, 30)
    await asyncio.to_thread(sitting.start)
    sitting.flowing.set()
    return "" if code == 0 else f"exit code {code}"


async def kill(sitting: Sitting) -> str:
    """A worker is killed, by the kernel for want of memory, say."""
    await sitting.burst()
    os.kill(sitting.draw.choice(sitting.service.workers), signal.SIGKILL)
    return ""


async def sighup(sitting: Sitting) -> str:
    await sitting.burst()
    sitting.service.process.send_signal(signal.SIGHUP)
    return ""


async def hang(sitting: Sitting) -> str:
    """A prediction that never returns."""
    status = await sitting.poison(HANG)
    return "" if status == 504 else f"its request got {status}"


async def leave(sitting: Sitting) -> str:
    """A prediction that ends the process: sys.exit(3)."""
    status = await sitting.poison(LEAVE)
    return "" if status == 500 else f"its request got {status}"


async def stall(sitting: Sitting) -> str:
    """Nobody reads what the service prints, so that the pipe is full."""
    sitting.reading.clear()
    await asyncio.sleep(STALL_SECONDS)
    # Each refusal has a line.
    await asyncio.gather(*(sitting.ask(post("/predict", b"{")) for _ in range(300)))
    before = sitting.count(200)
    await asyncio.sleep(STALL_SECONDS)
    answered = sitting.count(200) - before
    sitting.reading.set()
    return "" if answered else "no request was answered in the meantime"


async def misbehave(sitting: Sitting) -> str:
    """The candidate does something else than answer."""
    behaviour, _ = FAULTS[sitting.draw.choice(list(FAULTS))]
    sitting.candidate.behave(behaviour)
    await asyncio.sleep(2)
    return ""


async def vanish(sitting: Sitting) -> str:
    """The agent goes away, and comes back."""
    sitting.around.close()
    await asyncio.sleep(2)
    sitting.around.enter_context(agent.agent())
    return ""


async def full(sitting: Sitting) -> str:
    """The agent's socket for metrics is there, but nobody takes anything from it."""
    sitting.around.close()
    agent.METRICS.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
        nobody.bind(str(agent.METRICS))
        await asyncio.sleep(3)
    sitting.around.enter_context(agent.agent())
    return ""


async def bomb(sitting: Sitting) -> str:
    """Bodies that are small, but not what is made of them."""
    zipped = post("/predict", ZIPPED).replace(b"Host:", b"Content-Encoding: gzip\r\nHost:", 1)
    bombs = [post("/predict", DEEP), zipped] * WORKERS
    found = await asyncio.gather(*map(sitting.ask, bombs))
    return "" if set(found) <= {400, 413, 415} else f"they got {found}"


@dataclass(frozen=True)
class Kind:
    """A kind of event; `kills`: it ends a process that has requests in flight, which are lost."""

    name: str
    happen: Happening
    kills: bool = False


KINDS = [
    Kind("SIGTERM and a restart", sigterm),
    Kind("kill -9 of a worker", kill, kills=True),
    Kind("SIGHUP", sighup),
    Kind("predict hangs", hang),
    Kind("predict exits", leave),
    Kind("stdout stalls", stall),
    Kind("candidate misbehaves", misbehave),
    Kind("agent vanishes", vanish),
    Kind("DogStatsD socket full", full),
    Kind("memory bomb", bomb),
]


@dataclass
class Row:
    """What became of the requests that were sent while one kind of event went on."""

    events: int = 0
    unheard: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.statuses[200]

    @property
    def refused(self) -> int:
        return self.statuses[503] + self.statuses[504] + self.unheard

    @property
    def lost(self) -> int:
        return self.statuses[0] - self.unheard

    @property
    def wrong(self) -> int:
        return self.statuses.total() - self.answered - self.refused - self.lost

    def cells(self, name: str) -> str:
        numbers = (self.events, self.statuses.total(), self.answered, self.refused, self.lost)
        p99 = 1e3 * quantile(self.seconds, 0.99)
        return f"| {name} | {' | '.join(f'{n:,}' for n in (*numbers, self.wrong))} | {p99:,.0f} |"


async def happen(kind: Kind, sitting: Sitting, row: Row) -> list[str]:
    """Let one event happen, wait until the service is whole, and return what was not right."""
    first, unheard, faults = len(sitting.outcomes), sitting.client.unheard, []
    async with sitting.load():
        await asyncio.sleep(AROUND_SECONDS)
        if said := await kind.happen(sitting):
            faults.append(said)
        deadline = time.monotonic() + BACK_SECONDS
        await asyncio.sleep(AROUND_SECONDS)
        while not await sitting.whole():
            if time.monotonic() > deadline:
                faults.append(f"not as before after {BACK_SECONDS:.0f} s; started again")
                sitting.stop()
                await asyncio.to_thread(sitting.start)
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(AROUND_SECONDS)
    now = Row(1, sitting.client.unheard - unheard)
    now.statuses.update(outcome.status for outcome in sitting.outcomes[first:])
    row.seconds += [o.seconds for o in sitting.outcomes[first:] if o.status == 200]
    row.events, row.unheard = row.events + 1, row.unheard + now.unheard
    row.statuses += now.statuses
    if now.lost and not kind.kills:
        faults.append(f"{now.lost} requests lost")
    if now.wrong:
        faults.append(f"{now.wrong} requests got {sorted(set(now.statuses) - {0, 200, 503, 504})}")
    return faults


async def sit(sitting: Sitting, events: int) -> tuple[dict[str, Row], list[str]]:
    rows, failures = {kind.name: Row() for kind in KINDS}, []
    order = [KINDS[number % len(KINDS)] for number in range(events)]
    sitting.draw.shuffle(order)
    for number, kind in enumerate(order, 1):
        began = time.monotonic()
        faults = await happen(kind, sitting, rows[kind.name])
        print(
            f"{number:4} of {events}  {kind.name:24} {time.monotonic() - began:4.0f} s  "
            f"{'; '.join(faults) or 'survived'}",
            flush=True,
        )
        failures += [f"event {number}, {kind.name}: {fault}" for fault in faults]
    return rows, failures


def report(rows: dict[str, Row]) -> list[str]:
    total = Row()
    for row in rows.values():
        total.events, total.unheard = total.events + row.events, total.unheard + row.unheard
        total.statuses += row.statuses
        total.seconds += row.seconds
    return [
        "# What a service survives",
        "",
        f"{RATE:.0f} requests a second to {WORKERS} workers, with metrics, traces, a line of log "
        "each and copies to a candidate. Refused: 503, 504, or nobody listened.",
        "",
        "| event | times | sent | answered | refused | lost | wrong | p99, ms |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        *(row.cells(name) for name, row in rows.items() if row.events),
        total.cells("all"),
    ]


async def run(events: int, seed: int, into: Path) -> tuple[dict[str, Row], list[str]]:
    source = bake(into / "baked")
    train(source).check_returncode()
    (source / "mischief.py").write_text(MISCHIEF)
    with ExitStack() as stack:
        around = stack.enter_context(ExitStack())
        around.enter_context(agent.agent())
        folder = wrapped(source, into / "wrapped", "import mischief; mischief.perhaps(frame)")
        candidate = Candidate(FAULTS["other label"][0])
        sitting = Sitting(folder, random.Random(seed), candidate, around)
        stack.callback(sitting.stop)
        sitting.start()
        return await sit(sitting, events)


def main() -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    into = Path(tempfile.mkdtemp(prefix="survive-"))
    rows, failures = asyncio.run(run(given.events, given.seed, into))
    if failures:
        print(f"the service's log: {into}/wrapped/*/survive.log")
    else:
        shutil.rmtree(into)
    return outcome.leave(
        given.out if given.events >= EVENTS or given.out != RESULTS else into,
        "survive",
        report(rows),
        {"seed": given.seed, "rows": {name: row.statuses for name, row in rows.items()}},
        failures=failures,
        kept="requests were lost only where their process was killed, and each time all came back",
        options="" if given.events == EVENTS else f"--events {given.events}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
