"""Kafka Connect's exactly-once source (KIP-618): a worker dies, the other one takes over, and each line of the file is in the topic
once."""

import pytest
from harness.application import ON_BROKERS, cleanup_policy
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


def test_each_line_is_there_once_though_a_worker_is_killed(private, connect):
    connect.progress(200)
    victim = connect.worker_of("source")
    victim.kill9()
    heir = connect.worker_of("source")
    assert heir is not victim
    connect.progress(200)
    victim.spawn()
    wait_for(victim.serves, f"{victim.name} serves", 120, victim.log_tail)
    connect.progress(200)
    for worker in connect.workers:
        assert set(worker.ask("/connectors")) == {"source", "sink"}
    connect.drain()
    offset = {"partition": {"filename": str(connect.lines.path)}, "offset": {"position": connect.lines.path.stat().st_size}}
    said = wait_for(lambda: connect.workers[0].ask("/connectors/source/offsets"), "the worker tells the source's offsets")
    assert said == {"offsets": [offset]}
    connect.settle()
    connect.check()
    for what in ("config", "offset", "status"):
        assert cleanup_policy(private, f"{connect.name}-{what}") == "compact"
