"""Fixtures: the tool server and the common broker live as long as the session, `brokers` makes private ones."""

import itertools
import re
import signal

import pytest

from harness.broker import Broker
from harness.clients import create_topic
from harness.tools import Tools

# A terminated run takes its brokers and directories with it, like an interrupted one.
signal.signal(signal.SIGTERM, signal.default_int_handler)
NUMBERS = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--broker", choices=["ottla", "kafka"], default="ottla", help="what the tests run against")


def pytest_report_header(config):
    return f"broker under test: {config.getoption('--broker')}"


def pytest_collection_modifyitems(config, items):
    if config.getoption("--broker") == "kafka":
        for item in items:
            if "ottla_only" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="holds for Ottla only"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the end of the log of each broker that the test used."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for broker in value if isinstance(value, list) else [value]:
                if isinstance(broker, Broker):
                    report.sections.append((f"log of {broker.name} ({broker.log_file})", broker.log_tail()))
    return report


@pytest.fixture(scope="session")
def kind(request):
    return request.config.getoption("--broker")


@pytest.fixture(scope="session")
def tools():
    tools = Tools()
    yield tools
    tools.close()


@pytest.fixture(scope="session")
def broker(kind, tools):
    """The broker that tests share: default settings, one listener."""
    broker = Broker(kind, "shared", tools)
    try:
        yield broker.start()
    finally:
        broker.close()


@pytest.fixture(scope="module")
def brokers(kind, tools, request):
    """Makes brokers of the module's own, not started; all are gone at its end."""
    made = []

    def make(name, **options):
        made.append(Broker(kind, f"{request.module.__name__.rsplit('.')[-1]}-{name}", tools, **options))
        return made[-1]

    yield make
    failures = []
    for one in made:
        try:
            one.close()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, failures


@pytest.fixture
def name(request):
    """A topic name of the test's own that does not exist yet."""
    plain = re.sub(r"[^a-zA-Z0-9._-]+", "-", request.node.name)[:80].strip("-")
    return f"{plain}-{next(NUMBERS)}"


@pytest.fixture
def topic(broker, name):
    """A new topic of one partition on the shared broker."""
    return create_topic(broker, name)
