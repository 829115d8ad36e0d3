"""Fixtures: the tool server and the common broker live as long as the session, `brokers` makes private ones, `clusters`
makes several nodes at once."""

import itertools
import re
import signal

import pytest

from harness.adapter import CLIENTS
from harness.broker import Broker
from harness.clients import create_topic
from harness.cluster import Cluster
from harness.scorecard import Scorecard, replaced
from harness.tools import HERE, Tools

# A terminated run takes its brokers and directories with it, like an interrupted one.
signal.signal(signal.SIGTERM, signal.default_int_handler)
NUMBERS = itertools.count(1)
README = HERE.parent / "README.md"


def pytest_addoption(parser):
    parser.addoption("--broker", choices=["ottla", "kafka"], default="ottla", help="what the tests run against")
    parser.addoption("--nodes", choices=["1", "3"], default="1", help="of what the client matrix runs against")
    parser.addoption("--client", action="append", choices=list(CLIENTS), help="of the client matrix only these")
    parser.addoption("--scorecard", action="store_true", help="write the matrix's scorecard into README.md")


def pytest_configure(config):
    config.scorecard = Scorecard()
    config.pluginmanager.register(Reports(config.scorecard))


class Reports:
    """With several workers, where all their reports come together."""

    def __init__(self, scorecard):
        self.scorecard = scorecard

    def pytest_runtest_logreport(self, report):
        self.scorecard.note(report)


def pytest_sessionfinish(session):
    """README is held to what a complete run against Ottla found."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("--broker") != "ottla" or not config.scorecard.is_complete():
        return
    page = README.read_text()
    made = replaced(page, config.scorecard.table())
    if config.getoption("--scorecard"):
        README.write_text(made)
    elif made != page:
        config.scorecard_is_old = True
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if config.scorecard.cells:
        terminalreporter.section(f"client matrix, {config.getoption('--broker')}")
        terminalreporter.write_line(config.scorecard.table())
    if getattr(config, "scorecard_is_old", False):
        terminalreporter.write_line("README.md's scorecard says something else: integration/run --scorecard writes it", red=True)


def pytest_report_header(config):
    return f"broker under test: {config.getoption('--broker')}"


def pytest_collection_modifyitems(config, items):
    if config.getoption("--broker") == "kafka":
        for item in items:
            if "ottla_only" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="holds for Ottla only"))


def brokers_of(value):
    if isinstance(value, Cluster):
        return [*value.nodes, *value.strangers]
    return value if isinstance(value, list) else [value]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the end of the log of each broker that the test used."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for broker in brokers_of(value):
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
    yield from made_and_closed(Broker, kind, tools, request)


@pytest.fixture(scope="module")
def clusters(kind, tools, request):
    """Makes clusters of the module's own, not started; all are gone at its end."""
    yield from made_and_closed(Cluster, kind, tools, request)


def made_and_closed(what, kind, tools, request):
    made = []

    def make(name, **options):
        made.append(what(kind, f"{request.module.__name__.rsplit('.')[-1]}-{name}", tools, **options))
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
