'use strict';
// The frame of the Node.js adapters, and what kafkajs and Confluent's client have in common: the second speaks the
// first's language. A dialect is what differs. harness/adapter.py tells the protocol.

const readline = require('node:readline');
const { randomUUID } = require('node:crypto');

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const text = (data) => (data === null || data === undefined ? null : data.toString());

class Failed extends Error {
  constructor(code, words) {
    super(words);
    this.code = code;
  }
}

// Kafka's code, wherever the client has hidden it.
function code(failure) {
  for (const one of [...(failure.groups || []).map((group) => group.error || group), ...(failure.errors || []),
    ...(failure.partitions || []).map((partition) => partition.error), failure, failure.cause,
    failure.originalError]) {
    if (one && typeof (one.errorCode ?? one.code) === 'number') return one.errorCode ?? one.code;
    if (one && one.cause && typeof one.cause.code === 'number') return one.cause.code;
  }
  return null;
}

function pairs(headers) {
  return Object.entries(headers || {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => [name, text(one)]));
}

function object(headers) {
  const made = {};
  for (const [name, value] of headers || []) {
    made[name] = name in made ? [].concat(made[name], value) : value;
  }
  return made;
}

function record({ partition, message }) {
  return { partition, offset: Number(message.offset), key: text(message.key), value: text(message.value),
    headers: pairs(message.headers), timestamp: Number(message.timestamp) };
}

// Neither client reads without a group: each read has a group of its own, and goes where it is told.
async function reading(dialect, topic, start, use) {
  const consumer = dialect.consumer({ groupId: `reader-${randomUUID()}` });
  const waiting = [];
  const queue = [];
  await consumer.connect();
  try {
    await consumer.subscribe({ topic, topics: [topic] });
    await consumer.run({ eachMessage: async (one) => (waiting.length ? waiting.shift()(one) : queue.push(one)) });
    await dialect.assigned(consumer);
    const read = {
      consumer,
      next: () => (queue.length ? queue.shift() : new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Failed(null, 'no record within 30 s')), 30000);
        waiting.push((one) => { clearTimeout(timer); resolve(one); });
      })),
      // What was fetched before the seek may still come.
      async at(partition, offset) {
        queue.length = 0;
        await consumer.seek({ topic, partition, offset: String(offset) });
        for (;;) {
          const one = await read.next();
          if (one.partition === partition && Number(one.message.offset) === offset) return one;
        }
      },
    };
    return await use(read);
  } finally {
    await consumer.disconnect();
  }
}

function adapter(dialect) {
  const { admin } = dialect;
  let member = null;

  async function listed(topic, partition, at) {
    const found = at.time === undefined ? await admin.fetchTopicOffsets(topic) : await admin.fetchTopicOffsetsByTimestamp(topic, at.time);
    const one = found.find((each) => each.partition === partition);
    return Number(at === 'beginning' ? one.low : at === 'end' ? one.high : one.offset);
  }

  return {
    async produce({ topic, records, compression = 'none' }) {
      const producer = dialect.producer(compression);
      await producer.connect();
      try {
        const messages = records.map(({ key, value, headers, partition, timestamp }) => ({ key: key ?? null, value: value ?? null,
          headers: object(headers), ...(partition === undefined ? {} : { partition }),
          ...(timestamp ? { timestamp: String(timestamp) } : {}) }));
        const said = await dialect.send(producer, topic, messages, compression);
        const next = new Map(said.map((one) => [one.partition, Number(one.baseOffset)]));
        return records.map(({ partition = said[0].partition }) => {
          next.set(partition, next.get(partition) + 1);
          return next.get(partition) - 1;
        });
      } finally {
        await producer.disconnect();
      }
    },
    consume: ({ topic, count, partition = 0, start = 'beginning' }) => reading(dialect, topic, start, async (read) => {
      const got = [record(await read.at(partition, start === 'beginning' ? await listed(topic, partition, start) : start))];
      while (got.length < count) {
        const one = await read.next();
        if (one.partition === partition) got.push(record(one));
      }
      return got;
    }),
    seek: ({ topic, to, partition = 0 }) => reading(dialect, topic, to[0], async (read) => {
      const got = [];
      for (const target of to) {
        const offset = typeof target === 'number' ? target : await listed(topic, partition, target);
        got.push(target === 'end' ? offset : Number((await read.at(partition, offset)).message.offset));
      }
      return got;
    }),
    async join({ group, topics }) {
      member = dialect.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 });
      const ended = dialect.watch(member, (partitions) => say({ assigned: partitions }));
      await member.connect();
      await member.subscribe({ topics });
      await member.run({ eachMessage: async ({ topic, partition, message }) => {
        say({ record: [partition, Number(message.offset), text(message.value)] });
        const offset = String(Number(message.offset) + 1);
        await member.commitOffsets([{ topic, partition, offset }]).catch(() => {}); // in a rebalance it comes again
      } });
      member.ended = ended;
    },
    async leave() {
      if (!member) return;
      member.ended();
      await member.disconnect();
      member = null;
    },
    commit: dialect.commit,
    async committed({ group, topic, partition = 0 }) {
      const one = await dialect.committed(group, topic, partition);
      return one && one.offset !== null ? [Math.max(Number(one.offset), -1), one.metadata] : [-1, null];
    },
    async create({ topic, partitions = 1, replicas = 1, configs = {} }) {
      const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
      const made = await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }] });
      if (!made) throw new Failed(36, 'createTopics says false: the topic is there');
    },
    delete: ({ topic }) => admin.deleteTopics({ topics: [topic] }),
    topics: () => admin.listTopics(),
    async describe({ topic }) {
      const said = await admin.fetchTopicMetadata({ topics: [topic] });
      const rows = (said.topics || said)[0].partitions.map((one) => [one.partitionId, one.leader, one.replicas, one.isr]);
      return rows.sort((a, b) => a[0] - b[0]);
    },
    grow: ({ topic, partitions }) => admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] }),
    async configs({ kind, name }) {
      const type = { topic: 2, broker: 4 }[kind];
      const said = await admin.describeConfigs({ resources: [{ type, name }], includeSynonyms: false });
      return Object.fromEntries(said.resources[0].configEntries.map((one) => [one.configName, one.configValue]));
    },
    configure: ({ topic, configs }) => admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic,
      configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })) }] }),
    offsets: ({ topic, partition = 0, at }) => listed(topic, partition, at),
    async trim({ topic, partition = 0, offset }) {
      await listed(topic, partition, 'beginning'); // kafkajs finds no leader of a topic that it has not met
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
      return listed(topic, partition, 'beginning');
    },
    groups: async () => (await admin.listGroups()).groups.map((one) => one.groupId),
    async group({ group }) {
      const [found] = (await admin.describeGroups([group])).groups;
      return [dialect.state(found.state), found.members.length];
    },
    forget: ({ group }) => admin.deleteGroups([group]),
    async cluster() {
      const { clusterId, brokers } = await admin.describeCluster();
      return [clusterId, brokers.map((one) => one.nodeId).sort()];
    },
  };
}

async function serve(dialect) {
  await dialect.admin.connect();
  const commands = adapter(dialect);
  say({ client: dialect.client, cannot: dialect.cannot });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...options } = JSON.parse(line);
    try {
      const result = await commands[name](options);
      if (name !== 'join') say({ ok: result ?? null });
    } catch (failure) {
      say({ error: code(failure), text: `${failure.name}: ${failure.message} ${failure.partitions ? JSON.stringify(failure.partitions) : ''}` });
    }
  }
  process.exit(0);
}

module.exports = { Failed, serve };
