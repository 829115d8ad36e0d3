"""Flink's sink with exactly-once checkpoints: the job dies between a checkpoint and its commit, or anywhere else, and goes on from
the newest checkpoint. It resumes the transactions that were prepared, and aborts the others: by trying ids in turn, or by asking
the brokers which are open (ListTransactions)."""

import random
import time

import pytest
from harness.application import ON_BROKERS
from harness.flink import Copy

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def private(brokers):
    return brokers("flink", config=ON_BROKERS).start()


@pytest.mark.parametrize("naming", ["POOLING", "INCREMENTING"])
def test_each_number_is_copied_once(private, name, naming):
    dice, copy = random.Random(naming), Copy(private, name, naming)
    try:
        copy.start().progress(200)
        time.sleep(dice.uniform(0, 1))  # not a wait for something: the moment is what chance decides
        copy.job.kill9()
        copy.job.spawn()
        copy.progress(200)
        copy.settle()
        copy.check()
    finally:
        copy.close()
