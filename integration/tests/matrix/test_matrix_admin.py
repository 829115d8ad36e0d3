"""The client matrix: what an admin client changes is what it and others then see."""

from harness.clients import HOUR_AGO_MS, Record, admin, create_topic, is_led, produce
from harness.matrix import scenario
from harness.wait import wait_for


def described(client, topic, partitions, nodes):
    """Metadata may be a moment behind the answer to a change."""
    everywhere = list(range(1, nodes + 1))

    def is_described():
        rows = client("describe", topic=topic)
        places = [(leader, sorted(replicas), sorted(in_sync)) for _, leader, replicas, in_sync in rows]
        return [row[0] for row in rows] == list(range(partitions)) and all(
            leader in everywhere and replicas == in_sync == everywhere for leader, replicas, in_sync in places)
    wait_for(is_described, f"{partitions} partitions are described")


@scenario("admin")
def test_the_life_of_a_topic(client, broker, name, nodes):
    client.needs("create", "topics", "describe", "delete")
    client("create", topic=name, partitions=2, replicas=nodes, configs={"retention.ms": "60000"})
    wait_for(lambda: is_led(admin(broker), name, 2), "the topic is led")
    described(client, name, 2, nodes)
    assert name in client("topics")
    client("delete", topic=name)
    wait_for(lambda: name not in client("topics"), "the topic is gone")


@scenario("admin")
def test_more_partitions(client, broker, topic):
    client.needs("grow")
    client("grow", topic=topic, partitions=4)
    wait_for(lambda: is_led(admin(broker), topic, 4), "four partitions are led")


@scenario("admin")
def test_configs_of_a_topic_and_of_a_broker(client, broker, name):
    client.needs("configs")
    create_topic(broker, name, retention_ms="60000")
    assert client("configs", kind="topic", name=name)["retention.ms"] == "60000"
    configs = client("configs", kind="broker", name="1")
    assert configs["node.id"] == "1" and configs["message.max.bytes"] == "1048588"


@scenario("admin")
def test_a_config_is_changed(client, topic):
    client.needs("configure", "configs")
    client("configure", topic=topic, configs={"retention.ms": "123456"})
    wait_for(lambda: client("configs", kind="topic", name=topic)["retention.ms"] == "123456", "the change is seen")


@scenario("admin")
def test_offsets(client, broker, topic):
    client.needs("offsets")
    produce(broker, topic, [Record(b"v", timestamp=HOUR_AGO_MS + n) for n in range(5)])
    assert client("offsets", topic=topic, at="beginning") == 0
    assert client("offsets", topic=topic, at="end") == 5
    assert client("offsets", topic=topic, at={"time": HOUR_AGO_MS + 3}) == 3


@scenario("admin")
def test_records_are_deleted(client, broker, topic):
    client.needs("trim")
    produce(broker, topic, [Record(b"%d" % n) for n in range(5)])
    assert client("trim", topic=topic, offset=3) == 3
    assert [one["value"] for one in client("consume", topic=topic, count=2)] == ["3", "4"]


@scenario("admin")
def test_the_life_of_a_group(client, topic):
    client.needs("groups", "group", "commit")
    group = f"{topic}-group"
    client("commit", group=group, topic=topic, offset=0)
    assert group in client("groups")
    state, members = client("group", group=group)
    assert (state.lower(), members) == ("empty", 0)


@scenario("admin")
def test_a_group_is_deleted(client, topic):
    client.needs("forget", "groups", "commit")
    group = f"{topic}-group"
    client("commit", group=group, topic=topic, offset=0)
    client("forget", group=group)
    assert group not in client("groups")


@scenario("admin")
def test_the_cluster(client, broker, nodes):
    client.needs("cluster")
    cluster_id = admin(broker).list_topics(timeout=10).cluster_id
    said, ids = client("cluster")
    assert (said, sorted(ids)) == (cluster_id, list(range(1, nodes + 1)))
