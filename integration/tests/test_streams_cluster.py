"""A Kafka Streams application of two processes on three nodes: one of either is killed with -9, and everything comes out right."""

import random

import pytest
from harness.application import ON_BROKERS
from harness.word_count import WordCount

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(scope="module")
def three(clusters):
    return clusters("streams", config=ON_BROKERS).start()


@pytest.mark.parametrize("guarantee", ["exactly_once_v2"])
def test_word_count_and_join_over_three_nodes(three, name, guarantee):
    dice = random.Random(guarantee)
    count = WordCount(three, name, guarantee, dice, processes=2)
    try:
        count.start().progress(100)
        for process in count.processes:
            count.kill(process)
            count.progress(100)
            node = dice.choice(three.nodes)
            node.kill9()
            count.progress(100)
            three.healed()
        count.progress(100)
        count.settle()
        count.check()
    finally:
        count.close()
