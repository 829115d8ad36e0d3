"""The pages of a web UI. None of AKHQ, kafka-ui, Kafdrop and Redpanda Console can be had from a package registry, so
java/UiCalls.java makes the calls that they make for each page, with the client that three of them are built on."""

import json

import pytest
from harness.adapter import Adapter
from harness.clients import create_topic, produce, records
from harness.wait import wait_for

# What a broker without security or several nodes answers; the pages show what there is.
EMPTY = {"quotas": 0, "users": 0, "reassignments": 0}


@pytest.fixture(scope="module")
def pages(brokers, tools):
    """All pages of a broker with one topic of three records, read by one member of a group."""
    broker = brokers("ui").start()
    topic = create_topic(broker, "shown")
    produce(broker, topic, records(b"one", b"two", b"three"))
    member = Adapter("confluent-kafka", broker.bootstrap)
    try:
        member.join(f"{topic}-group", [topic])
        wait_for(lambda: len(member.look().processed) == 3, "the group has read all")
        load = lambda: json.loads(tools("ui-calls", topic, broker=broker).text)
        pages = wait_for(lambda: (found := load())["group"].get("lag") == 0 and found, "all is committed")
        return {**pages, "data": broker.data}
    finally:
        member.leave()
        member.close()


def test_the_cluster_and_its_brokers(pages):
    assert (pages["cluster"]["controller"], pages["cluster"]["brokers"]) == (1, [1]) and pages["cluster"]["id"]
    assert "metadata.version" in pages["features"] and pages["quorum"] == 1


def test_row_35_broker_configs_come_with_words_and_types(pages):
    found = pages["broker configs"]
    assert found["count"] > 150 and found["documented"] == found["typed"] == found["count"], found
    assert {"log.dirs", "node.id", "message.max.bytes"} <= set(found["names"])


def test_row_35_log_dirs_with_sizes_and_room(pages):
    [directory] = pages["log dirs"]
    assert directory["total"] >= directory["usable"] > 0 and directory["sizes"]["shown-0"] > 0


def test_topics_messages_and_offsets(pages):
    assert set(pages["topics"]) == {"shown", "__consumer_offsets"}
    assert pages["topic"] == {"partitions": 1, "leader": 1, "internal": False}
    assert pages["topic offsets"] == [0, 3] and pages["messages"] == ["two", "three"]
    found = pages["topic configs"]
    assert found["documented"] == found["typed"] == found["count"] and "retention.ms" in found["names"]


def test_row_35_groups_with_states_types_and_lag(pages):
    assert pages["groups"] == {"shown-group": ["Stable", "Classic"]}
    assert pages["group"] == {"state": "Stable", "coordinator": 1, "members": 1, "lag": 0}


def test_what_is_not_there_is_told_so(pages):
    """A UI hides these pages: it must be told, not hung up on."""
    assert pages["acls"] == {"error": "SecurityDisabledException"}
    assert {name: pages[name] for name in EMPTY} == EMPTY
    assert pages["producers"] in (0, 1) and pages["transactions"] == 0
