"""The client matrix: what was committed is there after a restart of the broker, and after kill -9 of it. All clients
share the two interruptions."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.adapter import CLIENTS, AdapterError, Cannot, Pool
from harness.clients import create_topic
from harness.matrix import front, scenario
from harness.wait import wait_for


pytestmark = pytest.mark.timeout(400)  # the first test waits for all clients, and both interruptions


def patiently(client, *command, **options):
    """Connections died with the broker: a client may say so, and its user asks again. What a broker said stands."""
    def answer():
        try:
            return [client(*command, **options)]
        except AdapterError as failure:
            if failure.code is not None:
                raise
            return None
    return wait_for(answer, f"{client.name} finds the broker again")[0]


@pytest.fixture(scope="module")
def story(kind, tools, nodes, request):
    """What each client committed, then found; or why not. Its process lives on while the broker does not."""
    times = {"broker.session.timeout.ms": 2000 * nodes, "broker.heartbeat.interval.ms": 500}
    broker = front(nodes, kind, "commits", tools, times).start()
    pool = Pool(broker.bootstrap)
    clients = {name: pool.take(name) for name in request.config.getoption("--client") or CLIENTS}
    found = {name: [] for name in clients}

    def one(tell, name):
        if not found[name] or not isinstance(found[name][-1], Exception):
            try:
                found[name].append(tell(name, clients[name]))
            except (AssertionError, Cannot) as failure:
                found[name].append(failure)

    def each(tell):
        with ThreadPoolExecutor(4) as workers:
            list(workers.map(lambda name: one(tell, name), clients))

    def commit(offset):
        def tell(name, client):
            note = {} if "metadata" in client.cannot else {"metadata": f"note {offset}"}
            patiently(client, "commit", group=f"group-of-{name}", topic=f"topic-of-{name}", offset=offset, **note)
        return tell

    def look(name, client):
        return patiently(client, "committed", group=f"group-of-{name}", topic=f"topic-of-{name}")

    for name in clients:
        create_topic(broker, f"topic-of-{name}")
    each(commit(7))
    broker.restart()
    each(look)
    each(commit(9))
    broker.kill9()
    broker.start()
    each(look)
    try:
        yield clients, found
    finally:
        pool.close()
        broker.close()


def check(story, name, step, offset):
    clients, found = story
    for result in found[name][:step + 1]:
        if isinstance(result, Exception):
            raise result
    note = None if "metadata" in clients[name].cannot else f"note {offset}"
    assert found[name][step][0] == offset
    assert note is None or found[name][step][1] == note


@scenario("commits")
def test_commits_survive_a_restart(story, client_name):
    check(story, client_name, 1, 7)


@scenario("commits")
def test_commits_survive_kill_9(story, client_name):
    check(story, client_name, 3, 9)


@scenario("commits")
def test_a_group_without_commits_has_none(client, topic):
    assert client("committed", group=f"{topic}-group", topic=topic)[0] == -1


@scenario("commits")
def test_a_commit_keeps_its_note(client, topic):
    client.needs("metadata", "commit", "committed")
    client("commit", group=f"{topic}-group", topic=topic, offset=3, metadata="a note, ещё")
    assert client("committed", group=f"{topic}-group", topic=topic) == [3, "a note, ещё"]


@scenario("commits")
def test_row_24_a_null_note_is_not_lost_on_the_way(client, topic):
    """Nor does it become an error: librdkafka reads back what others committed with null."""
    client("commit", group=f"{topic}-group", topic=topic, offset=3)
    offset, note = client("committed", group=f"{topic}-group", topic=topic)
    assert offset == 3 and not note
