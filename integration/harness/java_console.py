"""Kafka's console producer and consumer as functions. The consumer reads one partition and joins no group."""


def java_produce(tools, broker, topic, lines, *, reader=None, **config):
    """Sends each line; config in producer property names with underscores for dots."""
    words = ["--topic", topic]
    for key, value in config.items():
        words += ["--command-property", f"{key.replace('_', '.')}={value}"]
    for key, value in (reader or {}).items():
        words += ["--reader-property", f"{key}={value}"]
    return tools("kafka-console-producer", *words, broker=broker, stdin=b"".join(line + b"\n" for line in lines))


def java_consume(tools, broker, topic, count, *, partition=0, offset="earliest", shows=(), timeout_ms=20_000, **config):
    """The output for `count` records; `shows` names what to print, as in print.<name>. With count None all that
    come before nothing comes for `timeout_ms`."""
    words = ["--topic", topic, "--partition", partition, "--offset", offset, "--timeout-ms", timeout_ms]
    if count is not None:
        words += ["--max-messages", count]
    for shown in shows:
        words += ["--formatter-property", f"print.{shown}=true"]
    for key, value in config.items():
        words += ["--command-property", f"{key.replace('_', '.')}={value}"]
    return tools("kafka-console-consumer", *words, broker=broker).out
