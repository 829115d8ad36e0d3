'use strict';
// kafkajs, written in JavaScript throughout. All codecs but gzip are plugged in, as its README says; zstd is Node's own.

const zlib = require('node:zlib');
const { CompressionCodecs, CompressionTypes, Kafka, Partitioners, logLevel } = require('kafkajs');
const snappy = require('kafkajs-snappy');
const lz4 = require('lz4-napi');
const { serve } = require('./adapter');

CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (data) => lz4.decompressFrame(data),
});
CompressionCodecs[CompressionTypes.Snappy] = snappy;
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => zlib.zstdCompressSync(encoder.buffer),
  decompress: async (data) => zlib.zstdDecompressSync(data),
});

const kafka = new Kafka({ brokers: process.argv[2].split(","), logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 100, maxRetryTime: 1000 } });
const admin = kafka.admin({ retry: { retries: 3 } });

serve({
  client: `kafkajs ${require('kafkajs/package.json').version}`,
  cannot: { 'mixed headers': 'its headers are an object: those of one name come together',
    metadata: 'its setOffsets sends no note',
    'null header': 'it takes text and bytes only as the value of a header' },
  admin,
  state: (state) => state,
  producer: () => kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, retry: { retries: 4 } }),
  send: (producer, topic, messages, compression) => producer.send({ topic, messages, acks: -1,
    compression: { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }[compression] }),
  consumer: (options) => {
    const consumer = kafka.consumer({ maxWaitTimeInMs: 100, ...options });
    const subscribe = consumer.subscribe.bind(consumer);
    consumer.joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
    consumer.subscribe = ({ topics }) => subscribe({ topics, fromBeginning: true });
    const run = consumer.run.bind(consumer);
    consumer.run = (config) => run({ autoCommit: false, ...config });
    return consumer;
  },
  assigned: (consumer) => consumer.joined,
  watch(consumer, tell) {
    const off = [
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => tell(Object.entries(payload.memberAssignment)
        .flatMap(([topic, partitions]) => partitions.map((partition) => [topic, partition])))),
      consumer.on(consumer.events.REBALANCING, () => tell([])),
    ];
    return () => off.forEach((one) => one());
  },
  committed: async (groupId, topic, partition) => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions
    .find((one) => one.partition === partition),
  commit: ({ group, topic, partition = 0, offset, metadata = null }) => admin.setOffsets({ groupId: group, topic,
    partitions: [{ partition, offset: String(offset), metadata }] }),
});
