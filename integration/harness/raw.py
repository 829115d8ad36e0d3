"""One request to one node, on a connection of its own, and its answer: what exactly this node says, without a client that
asks another one. Messages are kafka-python's."""

import socket
import struct

from kafka.protocol.admin.cluster import DescribeQuorumRequest, DescribeQuorumResponse
from kafka.protocol.admin.topics import (CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
                                         DeleteTopicsResponse)
from kafka.protocol.admin.transactions import (DescribeTransactionsRequest, DescribeTransactionsResponse,
                                               ListTransactionsRequest, ListTransactionsResponse)
from kafka.protocol.metadata import FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse
from kafka.protocol.producer import (AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
                                     AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
                                     InitProducerIdResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse)


def ask(address, request, version, response, within=5.0):
    """OSError where there is no answer: it may have been done or not."""
    host, port = address.rsplit(":", 1)
    request.with_header(correlation_id=7)
    with socket.create_connection((host, int(port)), within) as connection:
        connection.settimeout(within)
        connection.sendall(request.encode(version=version, header=True, framed=True))
        size = struct.unpack(">i", _exactly(connection, 4))[0]
        return response.decode(_exactly(connection, size), version=version, header=True)


def exchange(address, key, version, body, within=5.0):
    """A request as bytes, with header version 1, and its answer's body. None where the connection is closed instead."""
    host, port = address.rsplit(":", 1)
    frame = struct.pack(">hhih", key, version, 7, 1) + b"x" + body
    with socket.create_connection((host, int(port)), within) as connection:
        connection.settimeout(within)
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        try:
            size = struct.unpack(">i", _exactly(connection, 4))[0]
            return _exactly(connection, size)[4:]
        except ConnectionResetError:
            return None


def _exactly(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError("closed before the answer")
        data += more
    return data


def metadata(address, within=5.0, topics=None):
    """All that this broker knows of: brokers, topics, partitions; with an empty list of topics, the brokers alone."""
    return ask(address, MetadataRequest(topics=topics, allow_auto_topic_creation=False), 12, MetadataResponse, within)


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


def describe_transaction(address, id):
    request = DescribeTransactionsRequest(transactional_ids=[id])
    return ask(address, request, 0, DescribeTransactionsResponse).transaction_states[0]


def list_transactions(address):
    """The ids that this broker coordinates."""
    said = ask(address, ListTransactionsRequest(state_filters=[], producer_id_filters=[]), 0, ListTransactionsResponse)
    assert said.error_code == 0, said
    return {one.transactional_id for one in said.transaction_states}


def asked_of_a_coordinator(address, id, producer_id, epoch, topic):
    """The error code of each request that only the coordinator of a transaction can answer, in the last version for clients."""
    who = {"transactional_id": id, "producer_id": producer_id, "producer_epoch": epoch}
    begin = InitProducerIdRequest(transactional_id=id, transaction_timeout_ms=60_000, producer_id=-1, producer_epoch=-1)
    added = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=[0])
    partitions = AddPartitionsToTxnRequest(**{f"v3_and_below_{key}": value for key, value in who.items()},
                                           v3_and_below_topics=[added])
    told = ask(address, partitions, 3, AddPartitionsToTxnResponse).results_by_topic_v3_and_below[0]
    return {
        "InitProducerId": ask(address, begin, 4, InitProducerIdResponse).error_code,
        "AddPartitionsToTxn": told.results_by_partition[0].partition_error_code,
        "AddOffsetsToTxn": ask(address, AddOffsetsToTxnRequest(**who, group_id=id), 3, AddOffsetsToTxnResponse).error_code,
        "EndTxn": ask(address, EndTxnRequest(**who, committed=True), 3, EndTxnResponse).error_code,
        "DescribeTransactions": describe_transaction(address, id).error_code,
    }


def commit_in_transaction(address, group, id, producer_id, epoch, topic):
    """The error code of an offset of one partition."""
    wanted = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
    partition = wanted.TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata="")
    request = TxnOffsetCommitRequest(transactional_id=id, group_id=group, producer_id=producer_id, producer_epoch=epoch,
                                     topics=[wanted(name=topic, partitions=[partition])])
    return ask(address, request, 3, TxnOffsetCommitResponse).topics[0].partitions[0].error_code
