"""kafka-transactions and kafka-dump-log: what an operator sees of transactions, and how a hanging one is ended (KIP-664)."""

import pytest
from confluent_kafka import KafkaException
from harness.clients import create_topic
from harness.transactions import WITHIN, committed, is_stable, transactional
from harness.wait import wait_for
from test_transactions import write


def transactions(tools, broker, *words):
    return tools("kafka-transactions", "--bootstrap-server", broker.bootstrap, *words)


def rows(tools, broker, *words):
    """The table that the tool prints, as one map for each row."""
    lines = [line.split("\t") for line in transactions(tools, broker, *words).lines if "\t" in line]
    names = [cell.strip() for cell in lines[0]]
    return [dict(zip(names, (cell.strip() for cell in line))) for line in lines[1:]]


@pytest.fixture
def opened(broker, name):
    """A producer with an open transaction, and its topic."""
    topic = create_topic(broker, name)
    client = transactional(broker, name, transaction_timeout_ms=600_000)
    client.begin_transaction()
    write(client, topic, b"open")
    yield client, topic


def test_list_and_describe(tools, broker, opened, name):
    client, topic = opened
    listed = [row for row in rows(tools, broker, "list") if row["TransactionalId"] == name]
    assert [row["TransactionState"] for row in listed] == ["Ongoing"]
    matched = rows(tools, broker, "list", "--transactional-id-pattern", f"{name[:-1]}.")
    assert name in [row["TransactionalId"] for row in matched]
    assert rows(tools, broker, "list", "--transactional-id-pattern", "nobody.*") == []
    assert rows(tools, broker, "list", "--duration-filter", 3_600_000) == []
    [described] = rows(tools, broker, "describe", "--transactional-id", name)
    assert described["TransactionState"] == "Ongoing"
    assert described["TransactionTimeoutMs"] == "600000"
    assert described["TopicPartitions"] == f"{topic}-0"
    [producer] = rows(tools, broker, "describe-producers", "--topic", topic, "--partition", 0)
    assert (producer["ProducerId"], producer["CurrentTransactionStartOffset"]) == (described["ProducerId"], "0")
    client.commit_transaction(WITHIN)
    is_stable(broker, topic)
    [producer] = rows(tools, broker, "describe-producers", "--topic", topic, "--partition", 0)
    assert producer["CurrentTransactionStartOffset"] == "None"

    def is_complete():
        [described] = rows(tools, broker, "describe", "--transactional-id", name)
        return described["TransactionState"] == "CompleteCommit"
    wait_for(is_complete, "the transaction is complete")


def test_an_operator_aborts(tools, broker, opened):
    client, topic = opened
    transactions(tools, broker, "abort", "--topic", topic, "--partition", 0, "--start-offset", 0)
    is_stable(broker, topic)
    assert committed(broker, topic) == []


def test_no_transaction_hangs(tools, broker, opened):
    client, topic = opened
    assert rows(tools, broker, "find-hanging", "--topic", topic, "--max-transaction-timeout", 0) == []
    client.abort_transaction(WITHIN)


def test_an_operator_forces_a_producer_out(tools, broker, opened, name):
    client, topic = opened
    transactions(tools, broker, "forceTerminateTransaction", "--transactionalId", name)
    is_stable(broker, topic)
    with pytest.raises(KafkaException):
        client.commit_transaction(WITHIN)
    assert committed(broker, topic) == []


def test_the_transaction_log_is_read_by_kafkas_tool(tools, broker, opened, name):
    client, topic = opened
    client.commit_transaction(WITHIN)
    is_stable(broker, topic)
    logs = sorted(broker.data.glob("__transaction_state-*/00000000000000000000.log"))

    def dumped():
        words = ["--transaction-log-decoder", "--files", ",".join(str(log) for log in logs if log.stat().st_size)]
        lines = [line for line in tools("kafka-dump-log", *words).lines if f"transactionalId={name}" in line
                 or f'"transactionalId":"{name}"' in line or name in line]
        return lines if any("CompleteCommit" in line for line in lines) else None

    lines = wait_for(dumped, "the end of the transaction is in the log")
    for state in ["Empty", "Ongoing", "PrepareCommit", "CompleteCommit"]:
        assert any(state in line for line in lines), (state, lines)
    data = broker.data / f"{topic}-0" / "00000000000000000000.log"
    dump = tools("kafka-dump-log", "--files", data, "--print-data-log").text
    assert "endTxnMarker: COMMIT" in dump and "isTransactional: true" in dump
