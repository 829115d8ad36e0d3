"""The client matrix: groups that grow, shrink and lose a member; every record is processed."""

from harness.clients import Record, create_topic, produce
from harness.matrix import committed, scenario
from harness.wait import wait_for

PARTITIONS = 6


class Crew:
    """The members of one group, and all that has been sent to it."""

    def __init__(self, broker, topic):
        self.broker, self.topic, self.group = broker, topic, f"{topic}-group"
        create_topic(broker, topic, partitions=PARTITIONS)
        self.members, self.gone, self.sent = [], [], 0

    def join(self, member):
        member.join(self.group, [self.topic])
        self.members.append(member)
        self.settle()

    def leave(self):
        """The youngest goes as it should; the others take over at once, long before a session ends."""
        self.gone.append(self.members.pop())
        self.gone[-1].leave()
        self.settle(within=5)

    def settle(self, within=40):
        """Until each has a share and nothing is left out or held twice."""
        wait_for(self._is_settled, f"{len(self.members)} members share {PARTITIONS} partitions", within)

    def _is_settled(self):
        shares = [one.look().assigned or [] for one in self.members]
        held = [partition for share in shares for _, partition in share]
        return all(shares) and sorted(held) == list(range(PARTITIONS))

    def send(self, count):
        batch = range(self.sent, self.sent + count)
        self.sent += count
        produce(self.broker, self.topic, [Record(b"%d" % n, partition=n % PARTITIONS) for n in batch])

    def processed(self):
        return {value for one in [*self.members, *self.gone] for _, _, value in one.look().processed}

    def finish(self):
        """Every record was processed by somebody, and all of them are committed."""
        everything = {str(n) for n in range(self.sent)}
        wait_for(lambda: self.processed() == everything, f"all of {self.sent} records are processed", 40)
        wait_for(lambda: sum(committed(self.broker, self.group, self.topic, PARTITIONS)) == self.sent,
                 "all offsets are committed")


@scenario("groups")
def test_members_come_and_go(client, member, broker, name):
    client.needs("join")
    crew = Crew(broker, name)
    for _ in range(3):
        crew.join(member())
        crew.send(30)
    for _ in range(2):
        crew.send(30)
        crew.leave()
        crew.send(30)
    crew.finish()


@scenario("kill")
def test_a_member_is_killed(client, member, broker, name):
    client.needs("join")
    crew = Crew(broker, name)
    first, second = member(), member()
    crew.join(first)
    crew.join(second)
    crew.send(60)
    wait_for(lambda: second.look().processed, "the second has processed a record")
    crew.send(60)
    second.kill9()
    crew.gone.append(crew.members.pop())
    crew.send(60)
    crew.settle()
    crew.send(60)
    crew.finish()
