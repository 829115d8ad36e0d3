"""How fast groups come together: one member, and a thousand, on Ottla and on Apache Kafka in one run, alternating.

    integration/bench/groups [--members 1000] [--rounds 3]

A member here is a connection that speaks JoinGroup, SyncGroup, Heartbeat and LeaveGroup as clients do (it takes the
member id that it is told, comes again when a rebalance is on, beats twice a second); the leader hands every member one
byte. Both brokers run with group.initial.rebalance.delay.ms=0. Says medians; asserts what was promised: one member is
stable in well under a second, a thousand in seconds.
"""

import argparse
import asyncio
import statistics
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.broker import Broker  # noqa: E402
from harness.tools import Tools  # noqa: E402
from harness.wire import Reader, data, text  # noqa: E402

FIND, JOIN, HEARTBEAT, LEAVE, SYNC = (10, 1), (11, 5), (12, 3), (13, 1), (14, 3)  # key and version
COORDINATOR_AGAIN, REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED = {14, 15, 16}, 27, 79
ONE_MEMBER_MS_MAX, MANY_MEMBERS_S_MAX = 1000, 30


class Member:
    """Tells `crowd` each generation that it is stable in."""

    def __init__(self, crowd, group, port):
        self.crowd, self.group, self.port, self.id = crowd, group, port, ""

    async def ask(self, api, body):
        head = struct.pack(">hhih", *api, 0, -1)
        self.writer.write(data(head + body))
        size = struct.unpack(">i", await self.reader.readexactly(4))[0]
        answer = Reader(await self.reader.readexactly(size))
        answer.number(">ii")  # correlation, throttle
        return answer, answer.number(">h")

    async def live(self, leaving):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            while (await self.ask(FIND, text(self.group) + b"\0"))[1] in COORDINATOR_AGAIN:
                await asyncio.sleep(0.02)
            while not leaving.is_set():
                generation = await self.join()
                if generation is None:
                    continue
                self.crowd.stable(self.id, generation)
                error = 0
                while error == 0 and not leaving.is_set():
                    try:
                        await asyncio.wait_for(leaving.wait(), 0.5)
                    except TimeoutError:
                        pass
                    body = text(self.group) + struct.pack(">i", generation) + text(self.id) + struct.pack(">h", -1)
                    _, error = await self.ask(HEARTBEAT, body)
                assert error in (0, REBALANCE_IN_PROGRESS), f"heartbeat: error {error}"
            _, error = await self.ask(LEAVE, text(self.group) + text(self.id))
            assert error == 0, f"leave: error {error}"
        finally:
            self.writer.close()

    async def join(self):
        """The generation, or nothing when it is to come again."""
        body = text(self.group) + struct.pack(">ii", 30_000, 60_000) + text(self.id) + struct.pack(">h", -1) + \
            text("consumer") + struct.pack(">i", 1) + text("range") + data(b"")
        answer, error = await self.ask(JOIN, body)
        generation = answer.number(">i")
        answer.text()
        leader, member = answer.text(), answer.text()
        if error == MEMBER_ID_REQUIRED:
            self.id = member
        if error:
            assert error in {*COORDINATOR_AGAIN, MEMBER_ID_REQUIRED, REBALANCE_IN_PROGRESS}, f"join: error {error}"
            await asyncio.sleep(0.02 if error in COORDINATOR_AGAIN else 0)
            return None
        self.id, assignments = member, []
        if leader == member:
            for _ in range(answer.number(">i")):
                name = answer.text()
                answer.number(">h")
                answer.bytes(answer.number(">i"))
                assignments.append(text(name) + data(b"1"))
        body = text(self.group) + struct.pack(">i", generation) + text(self.id) + struct.pack(">hi", -1, len(assignments))
        answer, error = await self.ask(SYNC, body + b"".join(assignments))
        assert error in (0, REBALANCE_IN_PROGRESS), f"sync: error {error}"
        return generation if error == 0 and answer.bytes(answer.number(">i")) == b"1" else None


class Crowd:
    def __init__(self):
        self.generations, self.changed = {}, asyncio.Event()

    def stable(self, member, generation):
        self.generations[member] = generation
        self.changed.set()

    async def together(self, count, after=0):
        """Until `count` members are in one generation, newer than `after`."""
        while True:
            newest = max(self.generations.values(), default=0)
            if newest > after and sum(one == newest for one in self.generations.values()) == count:
                return newest
            self.changed.clear()
            await self.changed.wait()


async def rounds(port, group, members):
    """Seconds until all are stable, and until they are again after one has left."""
    crowd, leaving = Crowd(), [asyncio.Event() for _ in range(members)]
    began = time.perf_counter()
    tasks = [asyncio.create_task(Member(crowd, group, port).live(one)) for one in leaving]
    waiting = asyncio.create_task(crowd.together(members))
    done, _ = await asyncio.wait([waiting, *tasks], timeout=120, return_when=asyncio.FIRST_COMPLETED)
    assert waiting in done, [task.exception() for task in done] or f"{members} members are not stable in 120 s"
    joined = time.perf_counter() - began
    again = 0
    if members > 1:
        began = time.perf_counter()
        leaving[0].set()
        await asyncio.wait_for(crowd.together(members - 1, after=waiting.result()), 120)
        again = time.perf_counter() - began
    for one in leaving:
        one.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    return joined, again


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--members", type=int, default=1000)
    words.add_argument("--rounds", type=int, default=3)
    options = words.parse_args()
    tools, figures = Tools(), {"ottla": [], "kafka": []}
    brokers = {kind: Broker(kind, "bench-groups", tools) for kind in figures}
    try:
        for broker in brokers.values():
            broker.start()
            asyncio.run(rounds(broker.ports["PLAINTEXT"], "warm-up", 20))
        for number in range(options.rounds):
            for kind in ("ottla", "kafka") if number % 2 == 0 else ("kafka", "ottla"):
                port = brokers[kind].ports["PLAINTEXT"]
                alone = [asyncio.run(rounds(port, f"one-{number}-{n}", 1))[0] for n in range(10)]
                figures[kind].append((statistics.median(alone) * 1000, *asyncio.run(rounds(port, f"many-{number}", options.members))))
    finally:
        for broker in brokers.values():
            broker.close()
        tools.close()
    print(f"| | one member stable, ms | {options.members} members stable, s | again after one left, s |\n|---|---:|---:|---:|")
    for kind, rows in figures.items():
        one, many, again = (statistics.median(column) for column in zip(*rows))
        print(f"| {kind} | {one:.1f} | {many:.2f} | {again:.2f} |")
        assert kind == "kafka" or (one < ONE_MEMBER_MS_MAX and many < MANY_MEMBERS_S_MAX), "slower than promised"


if __name__ == "__main__":
    main()
