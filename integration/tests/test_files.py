"""kafka-dump-log judges what lies on disk, after a clean stop and while the broker runs."""

import re

import pytest

from harness.clients import Record, create_topic, produce, records

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]
PAYLOAD = b"some words that compress, some that do not: "


def lines(count, prefix=b""):
    return [prefix + PAYLOAD + b"%d" % number for number in range(count)]


@pytest.fixture(scope="module")
def stopped(brokers):
    """A broker that has written topics of every kind, at rest."""
    broker = brokers("writer").start()
    create_topic(broker, "segments", segment_bytes="1048576", index_interval_bytes="1024")
    produce(broker, "segments", records(*lines(60_000)), batch_num_messages=100)
    create_topic(broker, "codecs")
    for compression in COMPRESSIONS:
        produce(broker, "codecs", records(*lines(1000, compression.encode())), compression_type=compression)
    create_topic(broker, "sequences", partitions=2)
    for _ in range(2):
        produce(broker, "sequences", [Record(line, partition=n % 2) for n, line in enumerate(lines(200))],
                enable_idempotence=True, batch_num_messages=10)
    create_topic(broker, "kinds", message_timestamp_type="LogAppendTime")
    produce(broker, "kinds", [Record(b"v", b"k", [("h", b"1"), ("h", None)]), Record(None, b"tombstone"), Record(b"")])
    broker.stop()
    return broker


def dump(tools, paths, *options):
    paths = sorted(map(str, paths))
    assert paths, "nothing to judge"
    text = tools("kafka-dump-log", *options, "--files", ",".join(paths)).all_text
    assert not re.search(r"mismatch|corrupt|exception|isvalid: false|invalid|not a valid", text, re.I), text[-3000:]
    return text


def batches(text):
    return [dict(re.findall(r"(\w+): (\S+)", line)) for line in text.splitlines() if line.startswith("baseOffset")]


def payloads(text):
    return re.findall(r"payload: (.*)$", text, re.M)


def test_every_batch_and_record_is_sound(tools, stopped):
    for topic in ("segments-0", "codecs-0", "sequences-0", "sequences-1", "kinds-0"):
        text = dump(tools, (stopped.data / topic).glob("*.log"), "--deep-iteration", "--print-data-log")
        got = batches(text)
        offsets = [(int(batch["baseOffset"]), int(batch["lastOffset"])) for batch in got]
        assert offsets[0][0] == 0
        assert all(before[1] + 1 == after[0] for before, after in zip(offsets, offsets[1:])), "no gap, no overlap"
        assert {batch["magic"] for batch in got} == {"2"}
        assert {batch["partitionLeaderEpoch"] for batch in got} == {"0"}


def test_payloads_are_what_was_sent(tools, stopped):
    text = dump(tools, (stopped.data / "codecs-0").glob("*.log"), "--print-data-log")
    assert payloads(text) == [line.decode() for c in COMPRESSIONS for line in lines(1000, c.encode())]
    assert set(re.findall(r"compresscodec: (\w+)", text)) == set(COMPRESSIONS)
    kinds = dump(tools, (stopped.data / "kinds-0").glob("*.log"), "--print-data-log")
    assert "headerKeys: [h,h] key: k payload: v" in kinds and "LogAppendTime" in kinds


def test_segments_roll_and_their_indexes_hold(tools, stopped):
    folder = stopped.data / "segments-0"
    logs = sorted(folder.glob("*.log"))
    assert len(logs) >= 3 and all(log.stat().st_size <= 1048576 for log in logs)
    for log in logs:
        first = batches(dump(tools, [log]))[0]["baseOffset"]
        assert log.name == f"{int(first):020}.log"
    indexes = sorted(folder.glob("*.index"))
    assert len(indexes) == len(logs) and all(index.stat().st_size > 0 for index in indexes)
    said = dump(tools, indexes, "--index-sanity-check")
    assert said.count("passed sanity check") == len(indexes)
    dump(tools, indexes, "--verify-index-only")
    dump(tools, folder.glob("*.timeindex"), "--verify-index-only")
    assert dump(tools, indexes[:1]).count("offset: ") > 100, "an entry each index.interval.bytes"


def test_producer_snapshots_know_the_last_sequences(tools, stopped):
    for partition in range(2):
        text = dump(tools, (stopped.data / f"sequences-{partition}").glob("*.snapshot"))
        producers = re.findall(r"producerId: (\d+) producerEpoch: 0 .*lastSequence: (\d+)", text)
        assert [last for _, last in producers] == ["99", "99"], text


def test_the_metadata_log_is_kafkas(tools, stopped):
    folder = stopped.data / "__cluster_metadata-0"
    text = dump(tools, folder.glob("*.log"), "--cluster-metadata-decoder")
    for name in ("segments", "codecs", "sequences", "kinds"):
        assert re.search(rf'"type":"TOPIC_RECORD".*"name":"{name}"', text), name
    assert len(re.findall('"type":"PARTITION_RECORD"', text)) >= 5
    assert '"type":"REGISTER_BROKER_RECORD"' in text
    assert re.search(r'"type":"CONFIG_RECORD".*"resourceName":"segments","name":"segment.bytes","value":"1048576"', text)
    assert "Error" not in text


def test_the_folder_has_the_files_that_kafka_expects(stopped):
    files = {path.name for path in stopped.data.iterdir() if path.is_file()}
    assert {"meta.properties", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint",
            "replication-offset-checkpoint", ".kafka_cleanshutdown"} <= files
    assert re.search(r"^node\.id=1$", (stopped.data / "meta.properties").read_text(), re.M)
    folder = stopped.data / "codecs-0"
    assert {"partition.metadata", "leader-epoch-checkpoint"} <= {path.name for path in folder.iterdir()}
    assert re.fullmatch(r"version: 0\ntopic_id: [\w-]{22}\n?", (folder / "partition.metadata").read_text())
    assert (folder / "leader-epoch-checkpoint").read_text().split() == ["0", "1", "0", "0"]


def test_a_running_brokers_log_can_be_read_too(tools, broker, topic):
    produce(broker, topic, records(*lines(10)))
    path = broker.data / f"{topic}-0" / f"{0:020}.log"
    assert payloads(dump(tools, [path], "--deep-iteration", "--print-data-log")) == [line.decode() for line in lines(10)]
    metadata = dump(tools, (broker.data / "__cluster_metadata-0").glob("*.log"), "--cluster-metadata-decoder")
    assert f'"name":"{topic}"' in metadata
