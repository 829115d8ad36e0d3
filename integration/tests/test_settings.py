"""`server.properties` and other files of settings: how they are read, and what odd ones come to."""

import os
import socket
import subprocess

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from harness.clients import admin, consume, create_topic, produce, records, values
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


# What Kafka ignores as long as every listener is PLAINTEXT and there is no authorizer.
FOR_SECURED_LISTENERS = {
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "sasl.mechanism.controller.protocol": "PLAIN",
    "sasl.jaas.config": 'org.example.Module required password="hush-1";',
    "sasl.kerberos.service.name": "kafka",
    "connections.max.reauth.ms": "3600000",
    "delegation.token.secret.key": "hush-2",
    "ssl.client.auth": "required",
    "ssl.keystore.location": "/no/such/keystore.jks",
    "ssl.keystore.password": "hush-3",
    "ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----hush-4",
    "ssl.enabled.protocols": "TLSv1.3",
    "ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/,DEFAULT",
    "listener.name.plaintext.ssl.client.auth": "required",
    "listener.name.plaintext.ssl.key.password": "hush-5",
    "listener.name.plaintext.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": 'org.example.Module required password="hush-6";',
    "listener.name.absent.ssl.keystore.location": "/no/such/keystore.jks",
    "super.users": "User:admin",
    "allow.everyone.if.no.acl.found": "false",
}


def test_keys_of_secured_listeners_are_no_obstacle_where_there_is_none(brokers, kind):
    broker = brokers("unsecured", config=FOR_SECURED_LISTENERS).start()
    create_topic(broker, "plain")
    produce(broker, "plain", records(b"v"))
    assert values(consume(broker, "plain")) == [b"v"]
    got = settings(broker)
    assert got["sasl.enabled.mechanisms"] == "PLAIN,SCRAM-SHA-256" and got["ssl.client.auth"] == "required"
    assert not any("hush" in (value or "") for value in got.values())
    if kind == "ottla":
        log = broker.log_text()
        assert "hush" not in log
        for key in FOR_SECURED_LISTENERS:
            assert f"Configuration {key}" in log, f"nothing is said of {key}"


@pytest.mark.ottla_only
def test_what_a_listener_or_an_authorizer_would_need_stops_the_start(brokers):
    """Kafka can do these things; what cannot must not look as if it did."""
    rows = {
        "authorizer": {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer"},
        "principal": {"principal.builder.class": "org.example.Builder"},
        "inter-broker": {"inter.broker.listener.name": None, "security.inter.broker.protocol": "SASL_SSL"},
        "controllers": {"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:SSL"},
    }
    for name, row in rows.items():
        broker = brokers(f"closed-{name}")
        config = {**broker.config, **FOR_SECURED_LISTENERS, **row}
        broker.config = {key: value for key, value in config.items() if value is not None}
        assert broker.spawn().exit_code(30) != 0
        lines = [line for line in broker.log_text().splitlines() if line.startswith("ottla: Refused ")]
        assert len(lines) == 1, broker.log_text()


# Odd spellings in the file, and what Kafka tells of them. More of them are in the protocol tests.
SPELLINGS = {
    "num.partitions": (" +3", "3"),
    "offsets.topic.replication.factor": ("\\u0661", "1"),
    "log.retention.ms": ("-0001", "-1"),
    "log.cleaner.min.cleanable.ratio": ("0x1p-2f", "0.25"),
    "log.cleaner.io.max.bytes.per.second": ("NaN", "NaN"),
    "log.cleanup.policy": ("compact, delete,compact", "compact,delete"),
    "auto.create.topics.enable": ("TRUE", "true"),
    "group.consumer.assignors": ("range , range", "range"),
    "compression.type": ("zstd\\t", "zstd"),
    "ssl.cipher.suites": ("A,A,B", "A,B"),
    "early.start.listeners": ("", ""),
}
WRONG_SPELLINGS = {
    "num.partitions": "3.0",
    "offsets.topic.replication.factor": "32768",
    "log.retention.ms": "1_000",
    "log.cleaner.min.cleanable.ratio": "Infinity",
    "log.cleanup.policy": "compact,,delete",
    "auto.create.topics.enable": "1",
    "compression.type": "ZSTD",
    "group.consumer.migration.policy": "up",
    "controller.listener.names": "CONTROLLER,",
    "log.dir": "",
}


def test_odd_spellings_in_the_file_are_told_as_kafka_tells_them(brokers):
    broker = brokers("spellings", config={key: text for key, (text, _) in SPELLINGS.items()}).start()
    got = settings(broker)
    assert {key: got[key] for key in SPELLINGS} == {key: shown for key, (_, shown) in SPELLINGS.items()}


@pytest.mark.parametrize("key", WRONG_SPELLINGS)
def test_a_wrong_spelling_in_the_file_stops_the_start(brokers, key):
    broker = brokers(f"wrong-{key}", config={key: WRONG_SPELLINGS[key]})
    assert broker.spawn().exit_code(60) != 0
    assert key in broker.log_text()


def test_an_advertised_listener_without_a_host_gets_the_canonical_name_of_this_one(brokers):
    """The name that the address of the host name leads back to, or else the address; both brokers find the same."""
    address = socket.gethostbyname(socket.gethostname())
    try:
        expected = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
        belongs = address in socket.gethostbyname_ex(expected)[2]
    except OSError:
        belongs = False
    broker = brokers("no-host")
    broker.config["advertised.listeners"] = f"PLAINTEXT://:{broker.ports['PLAINTEXT']}"
    broker.start()
    told = admin(broker).list_topics(timeout=10).brokers[1]
    assert (told.host, told.port) == (expected if belongs else address, broker.ports["PLAINTEXT"])
