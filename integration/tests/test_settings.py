"""`server.properties` and other files of settings: how they are read, and what odd ones come to."""

import os
import subprocess

from confluent_kafka.admin import ConfigResource, ResourceType

from harness.clients import admin
from harness.tools import DIES_WITH_US, HERE, QUICK_START

PROPERTIES = HERE.parent / "src" / "model" / "config" / "tests" / "properties.txt"


def settings(broker):
    """What the broker runs with: values by key."""
    client, resource = admin(broker), ConfigResource(ResourceType.BROKER, "1")
    return {key: entry.value for key, entry in client.describe_configs([resource])[resource].result(10).items()}


def test_the_list_of_odd_files_is_what_java_makes_of_them():
    """The parser's unit test holds it to this list; here the list is held to a JVM."""
    command = [*DIES_WITH_US, "java", *QUICK_START, str(HERE / "java" / "ReadProperties.java"), str(PROPERTIES)]
    made = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()
    assert made.splitlines() == PROPERTIES.read_text().splitlines()


# A name, and lines in some encoding that say what the file below them says too, so that they count only if they are read.
ENCODED = {
    "iso-8859-1": "# Voil\u00e0, le r\u00e9seau\n",
    "euc-kr": "# \ube0c\ub85c\ucee4 \uc124\uc815\n! \\\n",
    "shift-jis": "# \u30d6\u30ed\u30fc\u30ab\u30fc\u8a2d\u5b9a\n",
    "utf-8": "\n# \u30d6\u30ed\u30fc\u30ab\u30fc \U0001f600\n",
}
ODD_LINES = (
    b"broker.rack = z\xfcrich-\\u20ac\\ud83d\\ude00\r"
    b"  num.partitions : \\\r\n\t 2\r\n"
    b"num.io.threads 9\n"
    b"log.retention.hours\\\n  = \\\n     +0\\\n# 7\n"
    b"offset\\u0073.retention.minutes=\\u0037\\\n"
)


def test_a_file_in_any_encoding_is_read_as_java_reads_it(brokers):
    for encoding, comment in ENCODED.items():
        broker = brokers(encoding)
        plain = "".join(f"{key}={value}\n" for key, value in broker.config.items()).encode()
        # The odd retention is no number, and what comes again is stronger.
        whole = comment.encode(encoding) + ODD_LINES + b"\nlog.retention.hours=5\n" + plain
        broker.write_properties = lambda broker=broker, whole=whole: broker.properties_file.write_bytes(whole)
        got = settings(broker.start())
        wanted = {"broker.rack": "z\u00fcrich-\u20ac\U0001f600", "num.partitions": "2", "num.io.threads": "9",
                  "log.retention.hours": "5", "offsets.retention.minutes": "7"}
        assert {key: got[key] for key in wanted} == wanted, encoding
        broker.stop()


def test_tools_read_their_files_alike(broker, kind, tools, tmp_path):
    file = tmp_path / "client.properties"
    file.write_bytes("# \uc124\uc815\n".encode("euc-kr") + b"client.id : caf\xe9\\u00e9\r\nrequest.timeout.ms \\\r\n  20000")
    if kind == "kafka":
        tools("kafka-topics", "--list", "--command-config", file, broker=broker)
    else:
        command = [os.environ["OTTLA_BIN"], "topics", "--list", "--command-config", str(file)]
        done = subprocess.run([*command, "--bootstrap-server", broker.bootstrap], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
    broken = tmp_path / "broken.properties"
    broken.write_bytes(b"# \xbf\xad\nclient.id=\\u12\n")
    if kind == "kafka":
        assert tools("kafka-topics", "--list", "--command-config", broken, broker=broker, may_fail=True).code != 0
    else:
        command = [os.environ["OTTLA_BIN"], "topics", "--list", "--command-config", str(broken)]
        done = subprocess.run([*command, "--bootstrap-server", broker.bootstrap], capture_output=True, timeout=60)
        assert done.returncode != 0 and f"{broken}, line 2: " in done.stderr.decode(), done.stderr


def test_the_storage_tool_reads_the_brokers_file_alike(kind, tools, tmp_path):
    file = tmp_path / "server.properties"
    data = tmp_path / "d\u00e9p\u00f4t"
    file.write_bytes(
        "# \ube0c\ub85c\ucee4\n".encode("euc-kr")
        + b"process.roles=broker,controller\rnode.id 1\nlisteners=PLAINTEXT://:29092,\\\n  CONTROLLER://:29093\n"
        + b"controller.listener.names:CONTROLLER\ncontroller.quorum.bootstrap.servers=localhost:29093\n"
        + f"log.dirs={tmp_path}/d\\u00e9p\u00f4t".encode("iso-8859-1"))
    words = ["format", "--standalone", "--cluster-id", "J4f8Yy1nQ2uO0l3nKvQb8A", "--config", str(file)]
    if kind == "kafka":
        tools("kafka-storage", *words)
    else:
        subprocess.run([os.environ["OTTLA_BIN"], "storage", *words], check=True, capture_output=True, timeout=60)
    assert (data / "meta.properties").exists()
