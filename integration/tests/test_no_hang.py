"""What a broker cannot do is told at once: no client waits for what will never come."""

import time

import pytest

# Clients give up by themselves after 30 s and more.
AT_ONCE = 20


@pytest.fixture
def at_once():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


# --- what is off is refused as Kafka refuses it ------------------------------------------------------------------

@pytest.fixture
def command_config(broker):
    def file(**settings):
        path = broker.dir / "command.properties"
        path.write_text("".join(f"{key.replace('_', '.')}={value}\n" for key, value in settings.items()))
        return path
    return file


def test_sasl_on_a_listener_without_it(tools, broker, command_config, at_once):
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="b";'
    config = command_config(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_jaas_config=login)
    done = tools("kafka-topics", "--list", "--command-config", config, broker=broker, may_fail=True)
    assert done.code == 1 and "IllegalSaslStateException" in done.all_text, done.all_text


@pytest.mark.parametrize("what", [["--create", "--max-life-time-period", "-1"], ["--describe"],
                                  ["--renew", "--renew-time-period", "-1", "--hmac", "YQ=="],
                                  ["--expire", "--expiry-time-period", "-1", "--hmac", "YQ=="]], ids=lambda w: w[0][2:])
def test_tokens_for_nobody(tools, broker, command_config, at_once, what):
    done = tools("kafka-delegation-tokens", *what, "--command-config", command_config(client_id="test"), broker=broker, may_fail=True)
    assert done.code == 1 and "UnsupportedByAuthenticationException" in done.all_text, done.all_text


@pytest.mark.ottla_only
@pytest.mark.parametrize("words", [
    ["kafka-configs", "--bootstrap-server", "{}", "--alter", "--entity-type", "clients", "--entity-name", "a",
     "--add-config", "producer_byte_rate=1"],
    ["kafka-configs", "--bootstrap-server", "{}", "--alter", "--entity-type", "users", "--entity-name", "a",
     "--add-config", "SCRAM-SHA-256=[password=b]"],
], ids=["quotas", "credentials"])
def test_what_is_missing_is_said_by_the_tool(tools, broker, at_once, words):
    done = tools(*(word.format(broker.bootstrap) for word in words), may_fail=True)
    assert done.code == 1 and "not support" in done.all_text, done.all_text
