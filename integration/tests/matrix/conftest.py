"""The client matrix has a broker and adapters of its own: topics are there only when made. With --nodes 3 the broker is a
cluster, and topics have three replicas."""

import pytest
from harness.adapter import CLIENTS, Cannot, Pool
from harness.matrix import front


def pytest_generate_tests(metafunc):
    if "client_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--client") or list(CLIENTS)
        metafunc.parametrize("client_name", names, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """What a client has not is skipped with the reason, and shown so on the scorecard."""
    try:
        return (yield)
    except Cannot as reason:
        pytest.skip(f"unsupported: {reason}")


@pytest.fixture(scope="session")
def nodes(request):
    return int(request.config.getoption("--nodes"))


@pytest.fixture(scope="session")
def broker(kind, tools, nodes):
    broker = front(nodes, kind, "matrix", tools, {"auto.create.topics.enable": "false"})
    try:
        yield broker.start()
    finally:
        broker.close()


@pytest.fixture(scope="session")
def pool(broker):
    pool = Pool(broker.bootstrap)
    yield pool
    pool.close()


@pytest.fixture
def client_name(request):
    return request.param


@pytest.fixture(autouse=True)
def cell(client_name, request, record_property):
    """Where this test counts on the scorecard."""
    record_property("cell", (client_name, request.node.get_closest_marker("scenario").args[0]))


@pytest.fixture
def client(pool, client_name, record_property):
    """One client of the matrix."""
    adapter = pool.take(client_name)
    record_property("client", adapter.client)
    yield adapter
    pool.give_back(adapter)


@pytest.fixture
def member(pool, client_name):
    """More of the same client, for groups; those that live at the end leave."""
    members = []

    def make():
        members.append(pool.take(client_name))
        return members[-1]

    yield make
    for one in members:
        if one.process.poll() is None:
            if one.assigned is not None:
                one.leave()
            pool.give_back(one)
