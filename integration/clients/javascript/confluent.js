'use strict';
// Confluent's JavaScript client (librdkafka) by its promise API, which is kafkajs's.

const module_ = '@confluentinc/kafka-javascript';
const { ConsumerGroupStates, Kafka, logLevel } = require(module_).KafkaJS;
const { serve } = require('./adapter');

const kafka = new Kafka({ kafkaJS: { brokers: process.argv[2].split(","), logLevel: logLevel.NOTHING } });
const admin = kafka.admin();
const notYet = 'not in its admin client yet';

// A consumer that knows the group and is no member. (The admin client's fetchOffsets ends the process while the
// coordinator is away: librdkafka 2.15 to 2.16.)
async function outside(groupId, use) {
  const consumer = kafka.consumer({ kafkaJS: { groupId, autoCommit: false } });
  await consumer.connect();
  try {
    return await use(consumer);
  } finally {
    await consumer.disconnect();
  }
}

serve({
  client: `confluent-kafka-javascript ${require(`${module_}/package.json`).version}`,
  cannot: {
    'mixed headers': 'its headers are an object: those of one name come together',
    'null header': 'it drops a header whose value is null',
    grow: notYet, configs: notYet, configure: notYet, cluster: notYet,
  },
  admin,
  state: (state) => Object.keys(ConsumerGroupStates).find((name) => ConsumerGroupStates[name] === state),
  producer: (compression) => kafka.producer({ kafkaJS: { acks: -1, compression }, 'linger.ms': 20, 'message.max.bytes': 10000000,
    'message.timeout.ms': 10000 }),
  send: (producer, topic, messages) => producer.send({ topic, messages }),
  consumer: ({ groupId, sessionTimeout = 45000, heartbeatInterval = 3000 }) => {
    const consumer = kafka.consumer({ kafkaJS: { groupId, sessionTimeout, heartbeatInterval, autoCommit: false, fromBeginning: true },
      'fetch.wait.max.ms': 100 });
    const subscribe = consumer.subscribe.bind(consumer);
    consumer.subscribe = ({ topics }) => subscribe({ topics });
    return consumer;
  },
  assigned: (consumer) => new Promise((resolve) => {
    const timer = setInterval(() => {
      if (consumer.assignment().length) {
        clearInterval(timer);
        resolve();
      }
    }, 20);
  }),
  watch(consumer, tell) {
    let before = '';
    const timer = setInterval(() => {
      let now;
      try {
        now = consumer.assignment().map(({ topic, partition }) => [topic, partition]).sort();
      } catch {
        return; // not connected yet
      }
      if (JSON.stringify(now) !== before) {
        before = JSON.stringify(now);
        tell(now);
      }
    }, 50);
    return () => clearInterval(timer);
  },
  commit: ({ group, topic, partition = 0, offset, metadata = null }) => outside(group, (consumer) =>
    consumer.commitOffsets([{ topic, partition, offset: String(offset), metadata }])),
  committed: (group, topic, partition) => outside(group, async (consumer) => {
    // The client shows an error (a coordinator that is not ready) as it shows that nothing was committed.
    for (let tries = 0; ; tries += 1) {
      const [found] = await consumer.committed([{ topic, partition }], 30000);
      if (found.offset !== null || tries === 5) return found;
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
  }),
});
