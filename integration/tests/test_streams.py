"""A Kafka Streams application on one broker, killed with -9 and started again while its input goes on."""

import random

import pytest
from harness.application import ON_BROKERS
from harness.word_count import WordCount

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def private(brokers):
    sessions = {"broker.session.timeout.ms": 2000, "broker.heartbeat.interval.ms": 500}
    return brokers("streams", config={**ON_BROKERS, **sessions}).start()


@pytest.mark.parametrize("guarantee", ["exactly_once_v2", "at_least_once"])
def test_word_count_and_join(private, name, guarantee):
    count = WordCount(private, name, guarantee, random.Random(guarantee))
    process, = count.processes
    try:
        count.start().progress(100)
        count.kill(process)
        count.progress(100)
        private.kill9()
        private.start()
        count.progress(100)
        count.kill(process, loses_its_disk=True)
        count.progress(100)
        count.settle()
        count.check()
    finally:
        count.close()
