"""Random clients that write ahead, against a broker that takes in few bytes at once: many requests in one write or in
crumbs, Fetches that wait with anything behind them, Produces that are flushed, silent ones, readers that begin late or go
away in between. Each request gets its answer, in order, or the run fails.

    integration/soak/pipelines [--minutes 5] [--clients 40] [--seed N] [--broker kafka]

The seed decides what clients do; two runs still differ, as two runs of a process do.
"""

import argparse
import asyncio
import random
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.broker import Broker  # noqa: E402
from harness.clients import create_topic  # noqa: E402
from harness.tools import Tools  # noqa: E402

# A client that waits so long for its next answer, or for room to write, has been forgotten.
PATIENCE = 60
SMALL = {
    "queued.max.request.bytes": 150_000, "socket.request.max.bytes": 150_000,
    "log.retention.check.interval.ms": 500, "log.segment.delete.delay.ms": 500,
}
TOPICS = {
    "flushed": {"flush_messages": "1", "segment_bytes": str(1 << 20), "retention_bytes": str(4 << 20)},
    "plain": {"segment_bytes": str(1 << 20), "retention_bytes": str(4 << 20)},
    "empty": {},
}
RECORD_BYTES = [10, 1_000, 30_000, 100_000]
# Around the most that Ottla has under way for one connection.
COUNTS = [1, 2, 5, 30, 63, 64, 65, 66, 130, 300]
STYLES = {
    "mixed": ["produce", "silent", "fetch", "wait", "offsets", "metadata", "versions"],
    "produces": ["produce"],
    "silent": ["silent", "silent", "silent", "versions"],
    "behind a fetch": ["wait"] + ["versions"] * 70,
    "reads": ["fetch", "fetch", "versions"],
    "in turn": ["offsets", "metadata"],
}


# --- the wire ----------------------------------------------------------------------------------------------------

def crc32c(data):
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number):
    number, out = number << 1, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def batch(value):
    """One record without key, time or producer."""
    record = b"\0\0\0\x01" + varint(len(value)) + value + b"\0"
    body = struct.pack(">hiqqqhii", 0, 0, 1_000, 1_000, -1, -1, -1, 1) + varint(len(record)) + record
    tail = struct.pack(">ibI", -1, 2, crc32c(body)) + body
    return struct.pack(">qi", 0, len(tail)) + tail


BATCHES = [batch(bytes(size)) for size in RECORD_BYTES]


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def frame(key, version, number, body=b""):
    message = struct.pack(">hhi", key, version, number) + string("pipelines") + body
    return struct.pack(">i", len(message)) + message


def request(dice, kind, number):
    topic = string(dice.choice(["flushed", "plain"]))
    if kind in ("produce", "silent"):
        records = dice.choice(BATCHES)
        acks = 0 if kind == "silent" else dice.choice([1, -1])
        head = struct.pack(">hhii", -1, acks, 30_000, 1) + topic
        return frame(0, 3, number, head + struct.pack(">iii", 1, 0, len(records)) + records)
    if kind in ("fetch", "wait"):
        wait_ms = 0 if kind == "fetch" else dice.choice([1, 20, 300])
        head = struct.pack(">iiiibi", -1, wait_ms, 1, 1 << 20, 0, 1)
        # Where retention has been is an error, which is an answer, too.
        topic = string("empty") if kind == "wait" else topic
        return frame(1, 4, number, head + topic + struct.pack(">iiqi", 1, 0, 0, 1 << 20))
    if kind == "offsets":
        return frame(2, 1, number, struct.pack(">ii", -1, 1) + topic + struct.pack(">iiq", 1, 0, dice.choice([-1, -2])))
    if kind == "metadata":
        return frame(3, 1, number, struct.pack(">i", 1) + topic)
    return frame(18, 0, number)


# --- clients -----------------------------------------------------------------------------------------------------

class Forgotten(Exception):
    pass


class Client:
    """One connection: what it is going to do is decided when it is made."""

    def __init__(self, seed):
        self.seed = seed
        dice = self.dice = random.Random(seed)
        self.style = dice.choice(list(STYLES))
        self.count = dice.choice(COUNTS)
        kinds = [dice.choice(STYLES[self.style]) for _ in range(self.count)]
        if self.style == "behind a fetch":
            kinds[0] = "wait"
        self.bytes = b"".join(request(dice, kind, number) for number, kind in enumerate(kinds))
        self.expected = [number for number, kind in enumerate(kinds) if kind != "silent"]
        self.crumbs = dice.choice([None, None, None, 7, 4_000, 50_000])
        self.late = dice.random() < 0.3
        self.leaves = dice.random() < 0.1
        self.finishes = dice.random() < 0.3
        self.receives = dice.choice([None, None, 4_096, 65_536])
        self.answered = 0

    def __str__(self):
        return (f"client {self.seed}: {self.style}, {self.count} requests of {len(self.bytes)} bytes in pieces of {self.crumbs}, "
                f"late={self.late}, finishes={self.finishes}, {self.answered} of {len(self.expected)} answered")

    async def live(self, port):
        sock = socket.socket()
        sock.setblocking(False)
        if self.receives:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receives)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
            writing = asyncio.ensure_future(self.write(loop, sock))
            try:
                await self.read(loop, sock, writing)
            finally:
                writing.cancel()
        finally:
            sock.close()

    async def write(self, loop, sock):
        at = 0
        pieces = 0
        while at < len(self.bytes):
            # A few crumbs are enough: the rest comes at once.
            size = self.crumbs if self.crumbs and pieces < 200 else len(self.bytes)
            piece = self.bytes[at:at + self.dice.randrange(1, size + 1) if self.crumbs else None]
            await loop.sock_sendall(sock, piece)
            at, pieces = at + len(piece), pieces + 1
            if self.crumbs:
                await asyncio.sleep(self.dice.choice([0, 0, 0.001]))
        if self.finishes:
            sock.shutdown(socket.SHUT_WR)

    async def read(self, loop, sock, writing):
        if self.late:
            # Not for long: a client that writes for ever and never reads waits for itself.
            await asyncio.wait([writing], timeout=0.3)
        for number in self.expected:
            size, = struct.unpack(">i", await self.exactly(loop, sock, 4))
            found, = struct.unpack(">i", await self.exactly(loop, sock, 4))
            if found != number:
                raise Forgotten(f"an answer to {found} where the one to {number} comes next")
            await self.exactly(loop, sock, size - 4)
            self.answered += 1
            if self.leaves and self.dice.random() < 0.1:
                return
        await asyncio.wait_for(writing, PATIENCE)
        if self.finishes and await asyncio.wait_for(loop.sock_recv(sock, 1), PATIENCE):
            raise Forgotten("bytes behind the last answer")

    async def exactly(self, loop, sock, count):
        """The last bytes of so many; nobody looks at the others."""
        last = b""
        while count > 0:
            try:
                found = await asyncio.wait_for(loop.sock_recv(sock, min(count, 1 << 16)), PATIENCE)
            except TimeoutError:
                raise Forgotten(f"no answer within {PATIENCE} s") from None
            if not found:
                raise Forgotten("closed before the last answer")
            count -= len(found)
            last = (last + found)[-4:]
        return last


async def soak(port, dice, clients, ends):
    done = {"clients": 0, "requests": 0}
    said = began = time.monotonic()
    running = set()
    while running or time.monotonic() < ends:
        while len(running) < clients and time.monotonic() < ends:
            client = Client(dice.getrandbits(32))
            running.add(asyncio.ensure_future(life(client, port, done)))
        finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for one in finished:
            one.result()
        if time.monotonic() - said > 15:
            said = time.monotonic()
            print(f"{said - began:6.0f} s  {done['clients']:8} clients  {done['requests']:9} requests, all answered", flush=True)
    return done


async def life(client, port, done):
    try:
        await client.live(port)
    except (Forgotten, OSError, TimeoutError) as failure:
        raise AssertionError(f"{client}: {failure!r}") from failure
    done["clients"] += 1
    done["requests"] += client.answered


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=40, help="at a time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--broker", choices=["ottla", "kafka"], default="ottla")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    tools = Tools()
    broker = Broker(options.broker, "pipelines", tools, config=SMALL)
    try:
        broker.start()
        for topic, config in TOPICS.items():
            create_topic(broker, topic, 1, **config)
        port = int(broker.bootstrap.rsplit(":")[-1])
        ends = time.monotonic() + 60 * options.minutes
        done = asyncio.run(soak(port, random.Random(options.seed), options.clients, ends))
        assert "panicked" not in broker.log_text(), f"the broker panicked:\n{broker.log_tail()}"
    except BaseException as failure:
        print(f"{failure}\nFAILED with seed {options.seed}; the broker's log is {broker.log_file}", flush=True)
        if broker.process is not None:
            broker.kill9()
        broker.close()
        sys.exit(1)
    finally:
        tools.close()
    broker.close()
    print(f"passed: {done['requests']} requests of {done['clients']} clients, seed {options.seed}")


if __name__ == "__main__":
    main()
