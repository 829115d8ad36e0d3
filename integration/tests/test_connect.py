"""Kafka Connect's exactly-once source (KIP-618): a worker dies, and each line of its file is in the topic once."""

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType
from harness.application import ON_BROKERS
from harness.clients import admin
from harness.connect import Connect
from harness.wait import wait_for

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def private(brokers):
    return brokers("connect", config=ON_BROKERS).start()


@pytest.fixture
def connect(private, name):
    connect = Connect(private, name)
    yield connect.start()
    connect.close()


def test_each_line_is_there_once_though_workers_are_killed(private, connect):
    connect.progress(200)
    for connector in ("source", "sink"):
        victim = connect.worker_of(connector)
        victim.kill9()
        heir = connect.worker_of(connector)
        assert heir is not victim
        connect.progress(200)
        victim.spawn()
        wait_for(victim.serves, f"{victim.name} serves", 120, victim.log_tail)
        for worker in connect.workers:
            assert set(worker.ask("/connectors")) == {"source", "sink"}
        connect.progress(200)
    connect.drain()
    offset = {"partition": {"filename": str(connect.lines.path)}, "offset": {"position": connect.lines.path.stat().st_size}}
    said = wait_for(lambda: connect.workers[0].ask("/connectors/source/offsets"), "the worker tells the source's offsets")
    assert said == {"offsets": [offset]}
    connect.settle()
    connect.check()
    assert policies(private, *(f"{connect.name}-{what}" for what in ("config", "offset", "status"))) == {"compact"}


def policies(broker, *topics):
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    return {found.result(30)["cleanup.policy"].value for found in admin(broker).describe_configs(asked).values()}
