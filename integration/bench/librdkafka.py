"""Reads a topic from its start with librdkafka and says how long it took, from the first record to the last.

    librdkafka.py <host:port> <topic> <partitions> <records>
"""

import sys
import time

from confluent_kafka import Consumer, TopicPartition

address, topic, partitions, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
consumer = Consumer({"bootstrap.servers": address, "group.id": "bench", "enable.auto.commit": False})
consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
records = size = 0
begun = None
deadline = time.monotonic() + 120
while records < wanted and time.monotonic() < deadline:
    messages = consumer.consume(10_000, 1)
    if messages and begun is None:
        # The first records start the clock and are not counted in what it measures.
        begun, uncounted = time.monotonic(), sum(len(message) for message in messages)
    for message in messages:
        if message.error():
            sys.exit(str(message.error()))
        size += len(message)
    records += len(messages)
seconds = time.monotonic() - begun if begun else 0
consumer.close()
print(f"{records} records, {size - uncounted if begun else 0} bytes in {seconds:.6f} s")
