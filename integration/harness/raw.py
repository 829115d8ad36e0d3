"""One request to one node, on a connection of its own, and its answer: what exactly this node says, without a client that
asks another one. Messages are kafka-python's."""

import socket
import struct

from kafka.protocol.admin.cluster import DescribeQuorumRequest, DescribeQuorumResponse
from kafka.protocol.admin.topics import (CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
                                         DeleteTopicsResponse)
from kafka.protocol.metadata import FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse


def ask(address, request, version, response, within=5.0):
    """OSError where there is no answer: it may have been done or not."""
    host, port = address.rsplit(":", 1)
    request.with_header(correlation_id=7)
    with socket.create_connection((host, int(port)), within) as connection:
        connection.settimeout(within)
        connection.sendall(request.encode(version=version, header=True, framed=True))
        size = struct.unpack(">i", _exactly(connection, 4))[0]
        return response.decode(_exactly(connection, size), version=version, header=True)


def _exactly(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError("closed before the answer")
        data += more
    return data


def metadata(address, within=5.0):
    """All that this broker knows of: brokers, topics, partitions."""
    return ask(address, MetadataRequest(topics=None, allow_auto_topic_creation=False), 12, MetadataResponse, within)


def quorum(address, within=5.0):
    """The quorum's partition as the active controller describes it. A broker passes the question on; a controller that is
    not active says so, and None is returned, as while none is active."""
    topic = DescribeQuorumRequest.TopicData
    asked = topic(topic_name="__cluster_metadata", partitions=[topic.PartitionData(partition_index=0)])
    said = ask(address, DescribeQuorumRequest(topics=[asked]), 1, DescribeQuorumResponse, within)
    if said.error_code:
        return None
    found = said.topics[0].partitions[0]
    return None if found.error_code or found.leader_id < 0 else found


def create(address, topic, partitions, replicas, within=10.0):
    """(error code, topic id)"""
    wanted = CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=partitions, replication_factor=replicas,
                                                assignments=[], configs=[])
    request = CreateTopicsRequest(topics=[wanted], timeout_ms=int(within * 1000), validate_only=False)
    found = ask(address, request, 7, CreateTopicsResponse, within + 1).topics[0]
    return found.error_code, found.topic_id


def delete(address, topic, within=10.0):
    """The error code."""
    request = DeleteTopicsRequest(topic_names=[topic], timeout_ms=int(within * 1000))
    return ask(address, request, 5, DeleteTopicsResponse, within + 1).responses[0].error_code


def coordinator(address, group, within=5.0):
    """The node that coordinates the group, as (error code, id)."""
    said = ask(address, FindCoordinatorRequest(key=group, key_type=0), 3, FindCoordinatorResponse, within)
    return said.error_code, said.node_id
