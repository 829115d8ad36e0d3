"""Apache Kafka's kafka-metadata-shell, which reads snapshots of the metadata: what it shows of ours and of Kafka's. Its jar ends with
4.3, so the cluster is formatted for that release."""

import os
import shutil
import subprocess

import pytest
from harness.broker import Broker
from harness.clients import create_topic
from harness.cluster import CLUSTER_ID
from harness.tools import DIES_WITH_US, INSTALLED, QUICK_START
from harness.wait import wait_for

SHELL = ["java", *QUICK_START, "-cp", f"{INSTALLED}/shell/jars/*", "org.apache.kafka.shell.MetadataShell"]


@pytest.fixture
def formatted(kind, tools, name):
    broker = Broker(kind, name, tools, config={"metadata.log.max.record.bytes.between.snapshots": 4000})
    broker.write_properties()
    words = ["format", "--standalone", "--cluster-id", CLUSTER_ID, "--config", broker.properties_file, "--release-version", "4.3"]
    if kind == "kafka":
        tools("kafka-storage", *words)
    else:
        subprocess.run([*DIES_WITH_US, os.environ["OTTLA_BIN"], "storage", *map(str, words)], check=True, timeout=60)
    broker.formatted = True
    yield broker.start()
    broker.close()


def shell(snapshot, *command):
    done = subprocess.run([*DIES_WITH_US, *SHELL, "--snapshot", str(snapshot), *command], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr if done.returncode else done.stdout.strip()


def test_a_snapshot_is_read(formatted, tmp_path):
    topics = [create_topic(formatted, f"topic-{number:02}", 2, retention_ms="1234567") for number in range(20)]
    log = formatted.data / "__cluster_metadata-0"
    snapshot = wait_for(lambda: [file for file in sorted(log.glob("*.checkpoint")) if not file.name.startswith("0" * 20)], "a snapshot")[-1]
    code, said = shell(snapshot, "ls", "/")
    assert code != 0 and "Unable to lock" in said, "the directory is a broker's"
    copy = tmp_path / log.name
    copy.mkdir()
    snapshot = shutil.copy(snapshot, copy)

    def shown(*command, there=""):
        """The shell may answer before it has read all of the snapshot."""
        def found():
            code, said = shell(snapshot, *command)
            assert code == 0, said
            return said if said and there in said and "such file" not in said else None
        return wait_for(found, f"{' '.join(command)} shows {there}")

    assert shown("cat", "/image/features/metadataVersion", there="4.3") == "Optional[4.3-IV0]"
    names = shown("ls", "/image/topics/byName").split()
    assert names == topics[:len(names)]
    assert shown("ls", f"/image/topics/byName/{names[0]}").split() == ["0", "1", "id", "name"]
    assert "isr=[1]" in (partition := shown("cat", f"/image/topics/byName/{names[0]}/0")) and "leader=1" in partition
    assert shown("cat", f"/image/configs/TOPIC:{names[0]}/retention.ms") == "1234567"
    cluster = shown("tree", "/image/cluster", there="BrokerRegistration")
    assert f"port={formatted.bootstrap.split(':')[1]}" in cluster and "fenced=false" in cluster
