"""The client matrix: one consumer goes where it is told."""

from harness.clients import HOUR_AGO_MS, Record, produce
from harness.matrix import scenario


def ten_records(broker, topic):
    """In several batches; the n-th is of time HOUR_AGO_MS + 1000 * n."""
    for first in (0, 4, 8):
        produce(broker, topic, [Record(b"%d" % n, timestamp=HOUR_AGO_MS + 1000 * n) for n in range(first, min(first + 4, 10))])


@scenario("seeks")
def test_to_an_offset_the_beginning_and_the_end(client, broker, topic):
    client.needs("seek")
    ten_records(broker, topic)
    assert client("seek", topic=topic, to=[5, "beginning", 9, 2, "end"]) == [5, 0, 9, 2, 10]


@scenario("seeks")
def test_row_14_to_a_time(client, broker, topic):
    """The first record at or after it, also in the middle of a batch."""
    client.needs("seek", "seek to time")
    ten_records(broker, topic)
    to = [{"time": HOUR_AGO_MS + ms} for ms in (6000, 1500, 0, 8999)]
    assert client("seek", topic=topic, to=to) == [6, 2, 0, 9]
