"""kafka-consumer-groups in all its modes, the console consumer in a group, and the tools that measure and verify."""

import json
import re
from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaException, TopicPartition

from harness.adapter import AGAIN, Adapter
from harness.clients import HOUR_AGO_MS, Record, consume, consumer, create_topic, produce
from harness.java_console import java_produce
from harness.wait import wait_for


@pytest.fixture
def groups(tools, broker):
    """kafka-consumer-groups; with `fails` the tool must say that."""
    def run(*args, fails=None, **options):
        result = tools("kafka-consumer-groups", *args, broker=broker, may_fail=fails is not None, **options)
        assert fails is None or fails in result.all_text, result.all_text
        return result
    return run


@pytest.fixture
def member(broker):
    """A live member of a group, as many as asked for."""
    members = []

    def make(group, topic):
        members.append(Adapter("confluent-kafka", broker.bootstrap))
        members[-1].join(group, [topic])
        wait_for(lambda: members[-1].look().assigned, "the member has partitions")
        return members[-1]

    yield make
    for one in members:
        if one.assigned is not None:
            one.leave()
        one.close()


@pytest.fixture
def group(broker, topic):
    """An empty group that has committed 4 of the topic's 10 records; the n-th is of second n."""
    produce(broker, topic, [Record(b"%d" % n, timestamp=HOUR_AGO_MS + 1000 * n) for n in range(10)])
    commit(broker, f"{topic}-group", topic, 4)
    return f"{topic}-group"


def commit(broker, group, topic, offset):
    """The first one waits for its coordinator to be made, as everybody does."""
    client = consumer(broker, group_id=group)

    def done():
        try:
            return client.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
        except KafkaException as failure:
            assert failure.args[0].retriable() or failure.args[0].code() in AGAIN, failure
            return None

    wait_for(done, "a commit")
    client.close()


def table(result):
    """The rows below the heading, by column."""
    lines = [line.split() for line in result.lines if line.strip()]
    heading = next((number for number, line in enumerate(lines) if line[0] in ("GROUP", "TOPIC")), len(lines))
    return [dict(zip(lines[heading], line)) for line in lines[heading + 1:]]


# --- who is there ------------------------------------------------------------------------------------------------

def test_groups_are_listed_with_their_types_and_states(groups, member, group, topic):
    live = f"{group}-live"
    member(live, topic)
    assert {group, live} <= set(groups("--list").lines)
    states = {row["GROUP"]: row for row in table(groups("--list", "--state"))}
    assert (states[group]["STATE"], states[live]["STATE"]) == ("Empty", "Stable")
    assert [row["GROUP"] for row in table(groups("--list", "--state", "stable")) if row["GROUP"].startswith(group)] == [live]
    types = {row["GROUP"]: row["TYPE"] for row in table(groups("--list", "--type"))}
    assert types[live] == "Classic"
    assert live in [row["GROUP"] for row in table(groups("--list", "--type", "classic"))]


def test_a_live_group_is_described(groups, member, broker, name):
    create_topic(broker, name, partitions=4)
    group = f"{name}-group"
    first = member(group, name)
    second = member(group, name)
    wait_for(lambda: len(first.look().assigned) == len(second.look().assigned) == 2, "they share")
    produce(broker, name, [Record(b"v", partition=p) for p in range(4) for _ in range(5)])
    wait_for(lambda: sum(int(row["CURRENT-OFFSET"]) for row in described(groups, group)) == 20, "all is committed")
    rows = described(groups, group)
    assert sorted(row["PARTITION"] for row in rows) == ["0", "1", "2", "3"]
    assert {(row["TOPIC"], row["LOG-END-OFFSET"], row["LAG"], row["HOST"]) for row in rows} == {(name, "5", "0", "/127.0.0.1")}
    assert len({row["CONSUMER-ID"] for row in rows}) == 2 and {row["CLIENT-ID"] for row in rows} == {"rdkafka"}

    members = table(groups("--describe", "--group", group, "--members", "--verbose"))
    assert [row["#PARTITIONS"] for row in members] == ["2", "2"]
    text = groups("--describe", "--group", group, "--members", "--verbose").text
    assert sorted(re.findall(rf" {name}:([0-9,]+) ", text)) == ["0,1", "2,3"], text

    state = groups("--describe", "--group", group, "--state").text
    assert "Stable" in state and "range" in state and "127.0.0.1" in state, state
    groups("--delete", "--group", group, fails="GroupNotEmptyException")
    groups("--reset-offsets", "--group", group, "--all-topics", "--to-earliest", "--execute", fails="inactive")


def described(groups, group):
    """Partitions without a commit show a dash."""
    return [{**row, "CURRENT-OFFSET": row["CURRENT-OFFSET"].replace("-", "0")} for row in table(groups("--describe", "--group", group))]


def test_an_empty_group_is_described(groups, group, topic):
    result = groups("--describe", "--group", group)
    assert f"Consumer group '{group}' has no active members." in result.all_text
    [row] = table(result)
    assert (row["TOPIC"], row["PARTITION"], row["CURRENT-OFFSET"], row["LOG-END-OFFSET"], row["LAG"], row["CONSUMER-ID"]) == \
        (topic, "0", "4", "10", "6", "-")
    assert group in groups("--describe", "--all-groups").text


def test_a_group_that_is_not_there(groups, name):
    groups("--describe", "--group", name, fails="GroupIdNotFoundException")
    groups("--delete", "--group", name, fails="GroupIdNotFoundException")


# --- reset-offsets -----------------------------------------------------------------------------------------------

RESETS = {
    "earliest": (["--to-earliest"], 0),
    "latest": (["--to-latest"], 10),
    "offset": (["--to-offset", "7"], 7),
    "offset-past-the-end": (["--to-offset", "99"], 10),
    "forward": (["--shift-by", "3"], 7),
    "back": (["--shift-by", "-2"], 2),
    "back-too-far": (["--shift-by", "-50"], 0),
    "current": (["--to-current"], 4),
    "time": (["--to-datetime", datetime.fromtimestamp(HOUR_AGO_MS / 1000 + 5.5, UTC).strftime("%Y-%m-%dT%H:%M:%S.500")], 6),
    "duration": (["--by-duration", "PT0S"], 10),
}


def test_offsets_are_reset_in_every_way(groups, group, topic, broker):
    for way, (options, expected) in RESETS.items():
        commit(broker, group, topic, 4)
        dry = table(groups("--reset-offsets", "--group", group, "--topic", topic, *options, "--dry-run"))
        assert (way, dry[0]["NEW-OFFSET"]) == (way, str(expected))
        assert described(groups, group)[0]["CURRENT-OFFSET"] == "4", "a dry run changes nothing"
        groups("--reset-offsets", "--group", group, "--topic", f"{topic}:0", *options, "--execute")
        assert (way, described(groups, group)[0]["CURRENT-OFFSET"]) == (way, str(expected))


def test_a_reset_goes_to_a_file_and_comes_from_it(groups, group, topic, tmp_path):
    exported = groups("--reset-offsets", "--group", group, "--all-topics", "--to-offset", 8, "--dry-run", "--export").text
    assert exported.strip() == f'"{topic}",0,8'
    plan = tmp_path / "plan.csv"
    plan.write_text(exported)
    groups("--reset-offsets", "--group", group, "--from-file", plan, "--execute")
    assert described(groups, group)[0]["CURRENT-OFFSET"] == "8"


def test_offsets_and_groups_are_deleted(groups, group, topic):
    done = table(groups("--delete-offsets", "--group", group, "--topic", topic))
    assert [(row["TOPIC"], row["PARTITION"], row["STATUS"]) for row in done] == [(topic, "0", "Successful")]
    assert described(groups, group) == []


def test_a_group_is_deleted(groups, group):
    assert f"Deletion of requested consumer groups ('{group}') was successful." in groups("--delete", "--group", group).text
    assert group not in groups("--list").lines


# --- the console consumer in a group -----------------------------------------------------------------------------

def test_the_console_consumer_goes_on_where_its_group_was(tools, broker, topic):
    group = f"{topic}-group"
    read = lambda count: tools("kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning",
                               "--max-messages", count, "--timeout-ms", 30_000, broker=broker).lines
    java_produce(tools, broker, topic, [b"one", b"two", b"three"])
    assert read(2) == ["one", "two"]
    java_produce(tools, broker, topic, [b"four"])
    assert read(2) == ["three", "four"]


# --- tools that change, measure and verify -----------------------------------------------------------------------

def test_delete_records(tools, broker, group, topic, tmp_path):
    plan = tmp_path / "delete.json"
    plan.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0, "offset": 6}], "version": 1}))
    done = tools("kafka-delete-records", "--offset-json-file", plan, broker=broker)
    assert f"partition: {topic}-0\tlow_watermark: 6" in done.text
    assert [message.offset() for message in consume(broker, topic)] == [6, 7, 8, 9]
    assert tools("kafka-get-offsets", "--topic", topic, "--time", "earliest", broker=broker).lines == [f"{topic}:0:6"]


def test_row_35_log_dirs(tools, broker, group, topic):
    shown = tools("kafka-log-dirs", "--describe", "--topic-list", topic, broker=broker)
    [found] = [json.loads(line) for line in shown.lines if line.startswith("{")]
    [directory] = found["brokers"][0]["logDirs"]
    assert found["brokers"][0]["broker"] == 1 and directory["error"] is None and directory["logDir"] == str(broker.data)
    [partition] = directory["partitions"]
    assert (partition["partition"], partition["offsetLag"], partition["isFuture"]) == (f"{topic}-0", 0, False)
    on_disk = sum(file.stat().st_size for file in (broker.data / f"{topic}-0").glob("*.log"))
    assert partition["size"] == on_disk > 0


def test_a_config_is_changed_and_goes_back(tools, broker, topic):
    configs = lambda *words: tools("kafka-configs", "--entity-type", "topics", "--entity-name", topic, *words, broker=broker)
    shown = lambda: configs("--describe").text
    configs("--alter", "--add-config", "retention.ms=86400000,cleanup.policy=[compact,delete]")
    wait_for(lambda: "retention.ms=86400000" in shown() and "cleanup.policy=compact,delete" in shown(), "both are changed")
    configs("--alter", "--delete-config", "retention.ms")
    wait_for(lambda: "retention.ms" not in shown(), "one is back at its default")
    assert "cleanup.policy=compact,delete" in shown()


def test_perf_tests(tools, broker, topic):
    """Their last line is the sum: of what was sent, and of what was read in a group."""
    sent = tools("kafka-producer-perf-test", "--topic", topic, "--num-records", 2000, "--record-size", 100, "--throughput", -1,
                 "--producer-props", f"bootstrap.servers={broker.bootstrap}")
    assert sent.lines[-1].startswith("2000 records sent, "), sent.all_text
    read = tools("kafka-consumer-perf-test", "--topic", topic, "--num-records", 2000, "--timeout", 30_000, broker=broker)
    heading, last = ([word.strip() for word in line.split(",")] for line in (read.lines[0], read.lines[-1]))
    row = dict(zip(heading, last))
    assert int(row["data.consumed.in.nMsg"]) == 2000, read.all_text


def test_verifiable_producer_and_consumer(tools, broker, topic):
    sent = tools.alone("kafka-verifiable-producer", "--topic", topic, "--max-messages", 50, broker=broker)
    events = [json.loads(line) for line in sent.lines]
    assert len([one for one in events if one["name"] == "producer_send_success"]) == 50
    assert [(one["sent"], one["acked"]) for one in events if one["name"] == "tool_data"] == [(50, 50)]
    read = tools.alone("kafka-verifiable-consumer", "--topic", topic, "--group-id", f"{topic}-group", "--max-messages", 50, broker=broker)
    events = [json.loads(line) for line in read.lines]
    assert sum(one["count"] for one in events if one["name"] == "records_consumed") == 50
    assert {"partitions_assigned", "offsets_committed", "shutdown_complete"} <= {one["name"] for one in events}
    assert all(one["success"] for one in events if one["name"] == "offsets_committed")
