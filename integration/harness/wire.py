"""Requests and responses of the older versions, in which nothing is compact, read and written by hand: with thousands of
partitions in a response, a decoder for every message takes longer than the broker does."""

import socket
import struct

from kafka.record.default_records import DefaultRecordBatchBuilder

PRODUCE, METADATA, ELECT_LEADERS = (0, 7), (3, 7), (43, 1)  # key and version
EVERY_REPLICA = -1  # of acks
PREFERRED = 0  # of elections


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def data(value):
    return struct.pack(">i", len(value)) + value


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def batch(value):
    """A batch of one record without a producer."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    builder.append(0, 1, None, value, [])
    return bytes(builder.build())


class Reader:
    def __init__(self, buffer):
        self.buffer, self.at = buffer, 0

    def number(self, form):
        value = struct.unpack_from(form, self.buffer, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def numbers(self, form):
        values = struct.unpack_from(form, self.buffer, self.at)
        self.at += struct.calcsize(form)
        return values

    def bytes(self, length):
        self.at += max(length, 0)
        return self.buffer[self.at - max(length, 0):self.at]

    def text(self):
        return self.bytes(self.number(">h")).decode()

    def ids(self):
        return self.numbers(f">{self.number('>i')}i")


class Connection:
    """One request after the other. OSError where there is no answer."""

    def __init__(self, address, within=5.0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), within)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")

    def ask(self, api, body):
        self.socket.sendall(data(struct.pack(">hhih", *api, 0, -1) + body))
        answer = Reader(self._exactly(struct.unpack(">i", self._exactly(4))[0]))
        answer.number(">i")  # correlation
        return answer

    def _exactly(self, size):
        found = self.input.read(size)
        if len(found) < size:
            raise ConnectionResetError("closed before the answer")
        return found

    def close(self):
        self.input.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def leaders(self, topics):
        """(topic, partition) -> leader, replicas, in-sync replicas: what this broker shows."""
        answer = self.ask(METADATA, array([text(topic) for topic in topics]) + b"\0")
        answer.number(">i")  # throttle
        for _ in range(answer.number(">i")):
            answer.number(">i")
            answer.text(), answer.number(">i"), answer.text()  # host, port, rack
        answer.text(), answer.number(">i")  # cluster, controller
        found = {}
        for _ in range(answer.number(">i")):
            answer.number(">h")
            topic = answer.text()
            answer.number(">b")
            for _ in range(answer.number(">i")):
                _, index, leader, _ = answer.numbers(">hiii")
                found[topic, index] = leader, answer.ids(), answer.ids()
                answer.ids()  # offline
        return found

    def produce(self, partitions, records, timeout_ms=5000):
        """One batch to each of these (topic, partition), acknowledged by all that are in sync: those that took it."""
        topics = {}
        for topic, index in partitions:
            topics.setdefault(topic, []).append(struct.pack(">i", index) + data(records))
        head = struct.pack(">hhi", -1, EVERY_REPLICA, timeout_ms)
        answer = self.ask(PRODUCE, head + array([text(topic) + array(parts) for topic, parts in topics.items()]))
        took = []
        for _ in range(answer.number(">i")):
            topic = answer.text()
            for _ in range(answer.number(">i")):
                index, error, *_ = answer.numbers(">ihqqq")
                if error == 0:
                    took.append((topic, index))
        return took

    def elect_preferred(self, timeout_ms=30_000):
        """Gives every partition back to its preferred leader, where that can lead."""
        self.ask(ELECT_LEADERS, struct.pack(">bii", PREFERRED, -1, timeout_ms))
