"""Producers of large records that do not wait for one another: librdkafka has any number of requests under way unless it
is told otherwise, each of them as large as one record."""

import pytest

from harness.clients import create_topic, records, try_produce

RECORD = bytes(500_000)


# With a flush for each, answers come later than requests.
@pytest.mark.parametrize("count, config", [(300, {}), (150, {"flush_messages": "1"})])
def test_large_records_in_requests_of_their_own_are_all_delivered(broker, name, count, config):
    topic = create_topic(broker, name, **config)
    # Apart from the time that a lost request would take to be noticed, everything is as it is by default.
    reports = try_produce(broker, topic, records(*[RECORD] * count), linger_ms=0, message_timeout_ms=60_000)
    errors = {str(report.error()) for report in reports if report.error()}
    assert not errors, errors
    assert sorted(report.offset() for report in reports) == list(range(count))
