"""The client matrix: what each client writes is what was meant, and each reads what others wrote."""

import pytest
from harness.clients import HOUR_AGO_MS, Record, consume, create_topic, produce

from harness.matrix import CODECS, scenario

KEYS = [{"key": "k", "value": "v"}, {"key": None, "value": "no key"}, {"key": "tombstone", "value": None},
        {"key": "ключ", "value": "北京"}]
EMPTY = [{"key": "", "value": "empty key"}, {"key": "empty value", "value": ""}, {"key": "", "value": ""}]
HEADERS = [["b", "1"], ["a", "2"], ["c", "привет"]]
DOUBLES = [["b", "1"], ["a", "2"], ["b", "1"]]
NULL_HEADER = [["a", None], ["b", ""]]


def judged(message):
    text = lambda part: None if part is None else part.decode()
    return {"key": text(message.key()), "value": text(message.value()),
            "headers": [[name, text(value)] for name, value in message.headers() or []]}


def given(record, *fields):
    return {field: record[field] for field in fields}


@scenario("records")
def test_keys_values_and_nulls(client, broker, topic):
    offsets = client("produce", topic=topic, records=KEYS)
    assert offsets == list(range(len(KEYS)))
    assert [given(judged(one), "key", "value") for one in consume(broker, topic)] == KEYS
    got = client("consume", topic=topic, count=len(KEYS))
    assert [given(one, "key", "value") for one in got] == KEYS
    assert [one["offset"] for one in got] == offsets


@scenario("records")
def test_empty_is_not_null(client, broker, topic):
    client.needs("empty parts")
    client("produce", topic=topic, records=EMPTY)
    assert [given(judged(one), "key", "value") for one in consume(broker, topic)] == EMPTY
    assert [given(one, "key", "value") for one in client("consume", topic=topic, count=len(EMPTY))] == EMPTY


@scenario("records")
def test_partition_and_time_as_the_client_said(client, broker, name):
    client.needs("partition", "timestamp")
    create_topic(broker, name, partitions=3)
    sent = [{"key": "k", "value": str(n), "partition": n % 3, "timestamp": HOUR_AGO_MS + n} for n in range(9)]
    client("produce", topic=name, records=sent)
    for partition in range(3):
        got = client("consume", topic=name, count=3, partition=partition)
        assert [given(one, "key", "value", "partition", "timestamp") for one in got] == sent[partition::3]


@scenario("records")
def test_a_consumer_starts_where_it_is_told(client, broker, topic):
    client("produce", topic=topic, records=[{"value": str(n)} for n in range(10)])
    assert [one["value"] for one in client("consume", topic=topic, count=3, start=7)] == ["7", "8", "9"]


@scenario("headers")
def test_headers(client, broker, topic):
    client.needs("headers")
    client("produce", topic=topic, records=[{"value": "with", "headers": HEADERS}, {"value": "without"}])
    assert [judged(one)["headers"] for one in consume(broker, topic)] == [HEADERS, []]
    assert [one["headers"] for one in client("consume", topic=topic, count=2)] == [HEADERS, []]


@scenario("headers")
def test_headers_keep_their_order_and_their_doubles(client, broker, topic):
    client.needs("headers", "mixed headers")
    client("produce", topic=topic, records=[{"value": "v", "headers": DOUBLES}])
    assert [judged(one)["headers"] for one in consume(broker, topic)] == [DOUBLES]
    assert [one["headers"] for one in client("consume", topic=topic, count=1)] == [DOUBLES]


@scenario("headers")
def test_a_null_header_is_not_an_empty_one(client, broker, topic):
    client.needs("headers", "null header")
    client("produce", topic=topic, records=[{"value": "v", "headers": NULL_HEADER}])
    assert [judged(one)["headers"] for one in consume(broker, topic)] == [NULL_HEADER]
    assert [one["headers"] for one in client("consume", topic=topic, count=1)] == [NULL_HEADER]


@scenario("codecs")
@pytest.mark.parametrize("codec", CODECS)
def test_codec(client, broker, topic, codec):
    """Both ways, each side's records read by the other."""
    client.needs(codec)
    sent = [{"key": f"k{n}", "value": "squeeze me " * 20 + str(n)} for n in range(50)]
    client("produce", topic=topic, records=sent, compression=codec)
    assert [given(judged(one), "key", "value") for one in consume(broker, topic)] == sent
    produce(broker, topic, [Record(b"judge " * 50)] * 50, compression_type=codec)
    got = client("consume", topic=topic, count=100)
    assert [given(one, "key", "value") for one in got[:50]] == sent
    assert {one["value"] for one in got[50:]} == {"judge " * 50}
