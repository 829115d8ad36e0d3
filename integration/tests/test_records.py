"""What a record may hold, and what becomes of it: keys, headers, nulls, sizes, timestamps, acks, sequences."""

import time

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, KafkaError, TopicPartition

from harness.clients import (Record, consume, consumer, create_topic, kcat, kcat_consume, produce, producer, read,
                             records, try_produce, values)
from harness.java_console import java_consume, java_produce

HOUR_MS = 3_600_000
BYTES = bytes(range(256))


def now_ms():
    return int(time.time() * 1000)


# --- contents ----------------------------------------------------------------------------------------------------

CONTENTS = [
    Record(b"value", b"key"),
    Record(None, b"a tombstone"),
    Record(b"", b"an empty value"),
    Record(b"a null key", None),
    Record(b"an empty key", b""),
    Record(None, None),
    Record(b"", b""),
    Record(BYTES, BYTES[::-1]),
    Record("Göteborg, 北京".encode(), "ключ".encode()),
]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_null_and_empty_are_two_things_in_keys_and_values(broker, topic, compression):
    produce(broker, topic, CONTENTS, compression_type=compression)
    got = [(message.key(), message.value()) for message in consume(broker, topic)]
    assert got == [(record.key, record.value) for record in CONTENTS]


def test_kcat_sees_the_same_nulls(broker, topic):
    produce(broker, topic, CONTENTS)
    length = lambda part: -1 if part is None else len(part)
    expected = "".join(f"{length(record.key)},{length(record.value)};" for record in CONTENTS)
    assert kcat_consume(broker, topic, "-f", "%K,%S;").decode() == expected


def test_java_sends_keys_and_nulls_and_confluent_reads_them(tools, broker, topic):
    options = {"parse.key": "true", "key.separator": "|", "null.marker": "NULL"}
    java_produce(tools, broker, topic, [b"k|v", b"k|NULL", b"NULL|v", b"k|", b"|v"], reader=options)
    got = [(message.key(), message.value()) for message in consume(broker, topic)]
    assert got == [(b"k", b"v"), (b"k", None), (None, b"v"), (b"k", b""), (b"", b"v")]


# --- headers -----------------------------------------------------------------------------------------------------

HEADERS = [("b", b"1"), ("a", b"2"), ("b", None), ("b", b"1"), ("empty", b""), ("a", b"3")]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_row_34_duplicate_headers_stay_in_order_and_null_is_not_empty(broker, topic, compression):
    produce(broker, topic, [Record(b"with", headers=HEADERS), Record(b"without"), Record(None, headers=HEADERS[:1])],
            compression_type=compression)
    got = consume(broker, topic)
    assert [message.headers() for message in got] == [HEADERS, None, HEADERS[:1]]


def test_row_34_other_clients_read_the_same_headers(tools, broker, topic):
    produce(broker, topic, [Record(b"v", headers=HEADERS), Record(b"w")])
    assert kcat_consume(broker, topic, "-f", "%h;") == b"b=1,a=2,b=NULL,b=1,empty=,a=3;;"
    assert java_consume(tools, broker, topic, 2, shows=["headers"]) == \
        b"b:1,a:2,b:null,b:1,empty:,a:3\tv\nNO_HEADERS\tw\n"


def test_row_34_headers_that_java_and_kcat_sent(tools, broker, topic):
    java_produce(tools, broker, topic, [b"x:1,x:2,y:NULL\tv"],
                 reader={"parse.headers": "true", "null.marker": "NULL"})
    kcat(broker, "-P", "-t", topic, "-p", 0, "-H", "x=1", "-H", "x=2", stdin=b"w")
    got = consume(broker, topic)
    assert [(message.value(), message.headers()) for message in got] == [
        (b"v", [("x", b"1"), ("x", b"2"), ("y", None)]),
        (b"w", [("x", b"1"), ("x", b"2")]),
    ]


# --- sizes -------------------------------------------------------------------------------------------------------

# A batch of one record without key and headers is its value and 72 bytes, for values of 8 KiB to 1 MiB.
AROUND_VALUE = 72


@pytest.mark.parametrize("limit", [100_000, 1_048_588], ids=["topic-limit", "default-limit"])
def test_row_30_max_message_bytes_holds_to_the_byte(broker, name, limit):
    create_topic(broker, name, **({"max_message_bytes": str(limit)} if limit == 100_000 else {}))
    fits, too_large = b"f" * (limit - AROUND_VALUE), b"t" * (limit - AROUND_VALUE + 1)
    reports = [try_produce(broker, name, records(value), message_max_bytes=4_000_000)[0].error()
               for value in (fits, too_large, b"small")]
    assert [error and error.code() for error in reports] == [None, KafkaError.MSG_SIZE_TOO_LARGE, None]
    assert values(consume(broker, name)) == [fits, b"small"]


def test_java_is_told_that_its_record_is_too_large(tools, broker, name):
    create_topic(broker, name, max_message_bytes="1000")
    result = java_produce(tools, broker, name, [b"x" * 2000])
    assert "RecordTooLargeException" in result.all_text
    assert consume(broker, name) == []


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_row_11_a_batch_larger_than_what_the_consumer_asks_for_arrives(tools, broker, name, compression):
    create_topic(broker, name, max_message_bytes="5000000")
    large = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    produce(broker, name, records(b"before", large, b"after"), message_max_bytes=4_000_000, compression_type=compression)
    got = consume(broker, name, fetch_message_max_bytes=1000)
    assert values(got) == [b"before", large, b"after"]
    out = java_consume(tools, broker, name, 3, max_partition_fetch_bytes=1000, fetch_max_bytes=1000)
    assert out == b"before\n" + large + b"\nafter\n"


# --- timestamps --------------------------------------------------------------------------------------------------

def test_the_producers_timestamp_is_kept_by_default(broker, topic):
    sent = [1, now_ms() - 50 * HOUR_MS, now_ms()]
    reports = produce(broker, topic, [Record(b"v", timestamp=stamp) for stamp in sent])
    expected = [(TIMESTAMP_CREATE_TIME, stamp) for stamp in sent]
    assert [report.timestamp() for report in reports] == expected
    assert [message.timestamp() for message in consume(broker, topic)] == expected


def test_row_17_log_append_time_is_the_brokers_and_comes_back_to_the_producer(tools, broker, name):
    create_topic(broker, name, message_timestamp_type="LogAppendTime")
    before = now_ms()
    reports = produce(broker, name, [Record(b"%d" % i, timestamp=1000 + i) for i in range(10)], linger_ms=100)
    after = now_ms()
    for kind, stamp in {report.timestamp() for report in reports}:
        assert kind == TIMESTAMP_LOG_APPEND_TIME and before <= stamp <= after
    assert [message.timestamp() for message in consume(broker, name)] == [report.timestamp() for report in reports]
    shown = java_consume(tools, broker, name, 10, shows=["timestamp"]).decode().splitlines()
    assert shown == [f"LogAppendTime:{report.timestamp()[1]}\t{i}" for i, report in enumerate(reports)]


def test_a_timestamp_too_far_in_the_future_is_refused(broker, topic):
    rows = [Record(b"fine", timestamp=now_ms() + HOUR_MS // 2), Record(b"too far", timestamp=now_ms() + 2 * HOUR_MS)]
    client = producer(broker)
    codes = [report.error() and report.error().code() for row in rows
             for report in try_produce(broker, topic, [row], client=client)]
    assert codes == [None, KafkaError.INVALID_TIMESTAMP]
    assert values(consume(broker, topic)) == [b"fine"]


# --- acks, sequences, partitions ---------------------------------------------------------------------------------

@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_kind_of_acks_delivers(tools, broker, topic, acks):
    lines = [b"%d" % number for number in range(300)]
    reports = produce(broker, topic, records(*lines), acks=acks)
    if acks != "0":
        assert [report.offset() for report in reports] == list(range(300))
    kcat(broker, "-P", "-t", topic, "-p", 0, "-X", f"acks={acks}", stdin=b"\n".join(lines))
    java_produce(tools, broker, topic, lines, acks=acks, enable_idempotence="false")
    assert values(consume(broker, topic, 900)) == lines * 3


def test_idempotent_producers_number_their_records(tools, broker, topic):
    lines = [b"%d" % number for number in range(2000)]
    for part in (lines[:1000], lines[1000:]):
        client = producer(broker, enable_idempotence=True, batch_num_messages=50, acks="all")
        reports = produce(broker, topic, records(*part), client=client)
        assert [report.offset() for report in reports] == list(range(int(part[0]), int(part[-1]) + 1))
    java_produce(tools, broker, topic, lines, enable_idempotence="true")
    assert values(consume(broker, topic)) == lines * 2
    dump = tools("kafka-dump-log", "--files", broker.data / f"{topic}-0" / f"{0:020}.log").lines
    next_sequence = {}
    for batch in (line.split() for line in dump if line.startswith("baseOffset")):
        at = dict(zip(batch[::2], batch[1::2]))
        assert int(at["baseSequence:"]) == next_sequence.get(at["producerId:"], 0)
        next_sequence[at["producerId:"]] = int(at["lastSequence:"]) + 1
    assert "-1" not in next_sequence and sorted(next_sequence.values()) == [1000, 1000, 2000]


def test_each_partition_has_its_own_offsets(broker, name):
    create_topic(broker, name, partitions=3)
    sent = [Record(b"%d" % number, partition=number % 3) for number in range(30)]
    reports = produce(broker, name, sent)
    assert [(report.partition(), report.offset()) for report in reports] == [(n % 3, n // 3) for n in range(30)]
    client = consumer(broker)
    client.assign([TopicPartition(name, partition, 0) for partition in range(3)])
    got = {(message.partition(), message.offset()): message.value() for message in read(client)}
    client.close()
    assert got == {(n % 3, n // 3): b"%d" % n for n in range(30)}


def test_equal_keys_meet_in_one_partition(tools, broker, name):
    create_topic(broker, name, partitions=4)
    keys = [b"key-%d" % (number % 10) for number in range(100)]
    produce(broker, name, [Record(b"c", key) for key in keys], partitioner="murmur2_random")
    java_produce(tools, broker, name, [key + b"|j" for key in keys],
                 reader={"parse.key": "true", "key.separator": "|"})
    places = {}
    for partition in range(4):
        for message in consume(broker, name, partition=partition):
            places.setdefault(message.key(), []).append(partition)
    assert len(places) == 10 and all(len(found) == 20 and len(set(found)) == 1 for found in places.values()), places


# --- compacted topics --------------------------------------------------------------------------------------------

def test_row_30_a_record_without_key_on_a_compacted_topic_is_named(tools, broker, name):
    create_topic(broker, name, cleanup_policy="compact")
    batch = [Record(b"1", b"k"), Record(b"no key"), Record(b"2", b"k")]
    reports = try_produce(broker, name, batch, linger_ms=300)
    assert {report.error().code() for report in reports} == {KafkaError.INVALID_RECORD}, "one bad record, no batch"
    result = java_produce(tools, broker, name, [b"no key"])
    assert "InvalidRecordException" in result.all_text and "Compacted topic cannot accept" in result.all_text
    assert consume(broker, name) == []


def test_row_31_a_compacted_topic_reads_to_its_end(tools, broker, name):
    create_topic(broker, name, cleanup_policy="compact")
    sent = [Record(b"%d" % number, b"k%d" % (number % 3)) for number in range(30)] + [Record(None, b"k0")]
    produce(broker, name, sent, compression_type="lz4")
    got = consume(broker, name)
    assert got[-1].offset() == 30
    assert {message.key(): message.value() for message in got} == {b"k0": None, b"k1": b"28", b"k2": b"29"}
    assert tools("kafka-get-offsets", "--topic", name, broker=broker).lines == [f"{name}:0:31"]
