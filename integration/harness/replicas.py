"""The files of a partition's replicas, beside each other: what each node has, batch by batch, must be the same bytes."""

import struct

from .wait import wait_for

HEADER = struct.Struct(">qiibI")  # base offset, length, leader epoch, magic, checksum


def batches(folder):
    """base offset -> (length, leader epoch, checksum), of all batches that are complete."""
    found = {}
    for file in sorted(folder.glob("*.log")):
        data, at = file.read_bytes(), 0
        while at + HEADER.size <= len(data):
            base, length, epoch, _, checksum = HEADER.unpack_from(data, at)
            if at + 12 + length > len(data):
                break  # its end is being written
            found[base] = (length, epoch, checksum)
            at += 12 + length
    return found


def differences(cluster, topic, partition):
    """Where two replicas hold different batches, or one has less. Retention may have taken more from one than from another."""
    kept = {node.name: batches(node.data / f"{topic}-{partition}") for node in cluster.brokers
            if (node.data / f"{topic}-{partition}").exists()}
    first = max((min(found) for found in kept.values() if found), default=0)
    (one, right), *others = kept.items()
    wrong = []
    for name, found in others:
        for base in sorted(right.keys() | found.keys()):
            if base >= first and right.get(base) != found.get(base):
                wrong.append(f"{topic}-{partition} at {base}: {right.get(base)} on {one}, {found.get(base)} on {name}")
    return wrong


def check_equal(cluster, topics, within=30):
    """With nobody producing: every replica of these topics (name -> partitions) is the same."""
    for topic, partitions in topics.items():
        for partition in range(partitions):
            wait_for(lambda: not differences(cluster, topic, partition), f"the replicas of {topic}-{partition} are equal", within,
                     lambda: differences(cluster, topic, partition)[:3])
