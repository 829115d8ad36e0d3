import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.internals.AppInfoParser;

/** Kafka's own Java client as an adapter of the client matrix; harness/adapter.py tells the protocol. */
public final class JavaClient {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final BlockingQueue<String> LINES = new LinkedBlockingQueue<>();
    private static final String END = "";
    private static final Duration SECONDS_30 = Duration.ofSeconds(30);
    private static String bootstrap;
    private static Admin admin;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        say(Map.of("client", "Java client " + AppInfoParser.getVersion(), "cannot", Map.of()));
        Thread reader = new Thread(JavaClient::listen);
        reader.setDaemon(true);
        reader.start();
        for (String line = LINES.take(); !line.equals(END); line = LINES.take()) {
            JsonNode asked = JSON.readTree(line);
            try {
                Object result = run(asked.get("do").asText(), asked);
                if (!asked.get("do").asText().equals("join")) say(one("ok", result));
            } catch (Exception failure) {
                Throwable cause = failure instanceof ExecutionException ? failure.getCause() : failure;
                Map<String, Object> said = one("error", (int) Errors.forException(cause).code());
                said.put("text", cause.toString());
                say(said);
            }
        }
        System.exit(0);
    }

    private static void listen() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) LINES.add(line);
        } catch (java.io.IOException gone) {
            // as at its end
        }
        LINES.add(END);
    }

    private static void say(Object what) throws Exception {
        System.out.write((JSON.writeValueAsString(what) + "\n").getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static Map<String, Object> one(String key, Object value) {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put(key, value);
        return map;
    }

    private static Object run(String command, JsonNode asked) throws Exception {
        String topic = asked.path("topic").asText(null);
        String group = asked.path("group").asText(null);
        TopicPartition at = topic == null ? null : new TopicPartition(topic, asked.path("partition").asInt(0));
        switch (command) {
            case "produce": return produce(topic, asked.get("records"), asked.path("compression").asText("none"));
            case "consume":
                try (KafkaConsumer<String, String> client = consumer(Map.of())) {
                    client.assign(List.of(at));
                    go(client, at, asked.path("start"));
                    List<Object> got = new ArrayList<>();
                    while (got.size() < asked.get("count").asInt()) got.add(next(client));
                    return got;
                }
            case "seek":
                try (KafkaConsumer<String, String> client = consumer(Map.of())) {
                    client.assign(List.of(at));
                    List<Object> got = new ArrayList<>();
                    for (JsonNode to : asked.get("to")) {
                        go(client, at, to);
                        got.add(to.asText().equals("end") ? client.position(at) : next(client).get("offset"));
                    }
                    return got;
                }
            case "begin": begin(topic, asked); return null;
            case "end":
                if (asked.get("commit").asBoolean()) transactional.commitTransaction(); else transactional.abortTransaction();
                return null;
            case "copy": copy(group, topic, asked); return null;
            case "join": join(group, asked); return null;
            case "leave": return null;
            case "commit":
                try (KafkaConsumer<String, String> client = consumer(Map.of("group.id", group))) {
                    String note = asked.path("metadata").asText("");
                    client.commitSync(Map.of(at, new OffsetAndMetadata(asked.get("offset").asLong(), note)));
                    return null;
                }
            case "committed":
                OffsetAndMetadata found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(at);
                return found == null ? List.of(-1) : List.of(found.offset(), found.metadata());
            case "create": return admin.createTopics(List.of(new NewTopic(topic, asked.path("partitions").asInt(1), (short) asked.path("replicas").asInt(1))
                .configs(configs(asked)))).all().get();
            case "delete": return admin.deleteTopics(List.of(topic)).all().get();
            case "topics": return admin.listTopics().names().get();
            case "describe": return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().stream()
                .map(p -> List.of(p.partition(), p.leader().id(), ids(p.replicas()), ids(p.isr()))).collect(Collectors.toList());
            case "grow": return admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(asked.get("partitions").asInt()))).all().get();
            case "configs":
                ConfigResource.Type kind = ConfigResource.Type.valueOf(asked.get("kind").asText().toUpperCase());
                ConfigResource resource = new ConfigResource(kind, asked.get("name").asText());
                Map<String, Object> entries = new LinkedHashMap<>();
                admin.describeConfigs(List.of(resource)).all().get().get(resource).entries().forEach(e -> entries.put(e.name(), e.value()));
                return entries;
            case "configure": return admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic),
                configs(asked).entrySet().stream().map(e -> new AlterConfigOp(new ConfigEntry(e.getKey(), e.getValue()),
                    AlterConfigOp.OpType.SET)).collect(Collectors.toList()))).all().get();
            case "offsets":
                JsonNode when = asked.get("at");
                OffsetSpec spec = when.isObject() ? OffsetSpec.forTimestamp(when.get("time").asLong())
                    : when.asText().equals("beginning") ? OffsetSpec.earliest() : OffsetSpec.latest();
                return admin.listOffsets(Map.of(at, spec)).all().get().get(at).offset();
            case "trim": return admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(asked.get("offset").asLong())))
                .lowWatermarks().get(at).get().lowWatermark();
            case "groups": return admin.listConsumerGroups().all().get().stream().map(g -> g.groupId()).collect(Collectors.toList());
            case "group":
                var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                return List.of(described.groupState().toString(), described.members().size());
            case "forget": return admin.deleteConsumerGroups(List.of(group)).all().get();
            case "cluster":
                return List.of(admin.describeCluster().clusterId().get(), ids(admin.describeCluster().nodes().get()));
            default: throw new IllegalArgumentException("no command " + command);
        }
    }

    private static List<Integer> ids(Collection<Node> nodes) {
        return nodes.stream().map(Node::id).collect(Collectors.toList());
    }

    private static Map<String, String> configs(JsonNode asked) {
        Map<String, String> configs = new LinkedHashMap<>();
        asked.path("configs").fields().forEachRemaining(field -> configs.put(field.getKey(), field.getValue().asText()));
        return configs;
    }

    private static Object produce(String topic, JsonNode records, String compression) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "compression.type", compression, "linger.ms", 20,
            "max.request.size", 10_000_000, "max.block.ms", 10_000);
        try (KafkaProducer<String, String> client = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode record : records) {
                Integer partition = record.has("partition") ? record.get("partition").asInt() : null;
                Long timestamp = record.has("timestamp") ? record.get("timestamp").asLong() : null;
                ProducerRecord<String, String> out = new ProducerRecord<>(topic, partition, timestamp,
                    record.path("key").textValue(), record.path("value").textValue());
                for (JsonNode header : record.path("headers")) {
                    String value = header.get(1).textValue();
                    out.headers().add(header.get(0).asText(), value == null ? null : value.getBytes(StandardCharsets.UTF_8));
                }
                sent.add(client.send(out));
            }
            List<Long> offsets = new ArrayList<>();
            for (Future<RecordMetadata> each : sent) offsets.add(each.get().offset());
            return offsets;
        }
    }

    // --- transactions

    private static KafkaProducer<String, String> transactional;
    private static String transactionalId = "";

    private static void become(String id) {
        if (transactionalId.equals(id)) return;
        if (transactional != null) transactional.close(Duration.ZERO);
        transactional = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "transactional.id", id, "max.block.ms", 30_000),
            new StringSerializer(), new StringSerializer());
        transactionalId = id;
        transactional.initTransactions();
    }

    private static void begin(String topic, JsonNode asked) throws Exception {
        become(asked.get("id").asText());
        transactional.beginTransaction();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : asked.get("records"))
            sent.add(transactional.send(new ProducerRecord<>(topic, record.get("partition").asInt(), null, record.get("value").asText())));
        for (Future<RecordMetadata> each : sent) each.get();
    }

    private static void copy(String group, String topic, JsonNode asked) throws Exception {
        become(asked.get("id").asText());
        try (KafkaConsumer<String, String> client = consumer(Map.of("group.id", group, "auto.offset.reset", "earliest",
            "isolation.level", "read_committed", "max.poll.records", 5))) {
            // Alone, it has no members to share with, and a new process need not wait for the session of the one before.
            if (asked.path("alone").asBoolean(false)) client.assign(List.of(new TopicPartition(topic, 0)));
            else client.subscribe(List.of(topic));
            for (int copied = 0; copied < asked.get("count").asInt(); ) {
                ConsumerRecords<String, String> polled = client.poll(SECONDS_30);
                if (polled.isEmpty()) throw new IllegalStateException("no record within 30 s");
                transactional.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> offsets = new LinkedHashMap<>();
                for (ConsumerRecord<String, String> record : polled) {
                    transactional.send(new ProducerRecord<>(asked.get("target").asText(), 0, null, record.value()));
                    offsets.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                transactional.sendOffsetsToTransaction(offsets, client.groupMetadata());
                transactional.commitTransaction();
                copied += polled.count();
            }
        }
    }

    private static KafkaConsumer<String, String> consumer(Map<String, Object> more) {
        Map<String, Object> config = new LinkedHashMap<>(Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false,
            "max.poll.records", 1, "fetch.max.wait.ms", 100, "auto.offset.reset", "none"));
        config.putAll(more);
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    private static void go(KafkaConsumer<String, String> client, TopicPartition at, JsonNode to) {
        if (to.isObject()) client.seek(at, client.offsetsForTimes(Map.of(at, to.get("time").asLong())).get(at).offset());
        else if (to.isNumber()) client.seek(at, to.asLong());
        else if (to.asText().equals("end")) client.seekToEnd(List.of(at));
        else client.seekToBeginning(List.of(at));
    }

    private static Map<String, Object> next(KafkaConsumer<String, String> client) {
        Iterator<ConsumerRecord<String, String>> got = client.poll(SECONDS_30).iterator();
        if (!got.hasNext()) throw new IllegalStateException("no record within 30 s");
        ConsumerRecord<String, String> record = got.next();
        Map<String, Object> out = one("partition", record.partition());
        out.put("offset", record.offset());
        out.put("key", record.key());
        out.put("value", record.value());
        List<Object> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            List<Object> pair = new ArrayList<>(List.of(header.key()));
            pair.add(header.value() == null ? null : new String(header.value(), StandardCharsets.UTF_8));
            headers.add(pair);
        }
        out.put("headers", headers);
        out.put("timestamp", record.timestamp());
        return out;
    }

    private static void join(String group, JsonNode asked) throws Exception {
        List<String> topics = new ArrayList<>();
        asked.get("topics").forEach(topic -> topics.add(topic.asText()));
        try (KafkaConsumer<String, String> client = consumer(Map.of("group.id", group, "auto.offset.reset", "earliest",
            "session.timeout.ms", asked.path("session").asInt(6000), "heartbeat.interval.ms", 500, "max.poll.records", 100))) {
            client.subscribe(topics);
            Collection<TopicPartition> before = null;
            while (LINES.isEmpty()) {
                ConsumerRecords<String, String> polled = client.poll(Duration.ofMillis(50));
                if (!client.assignment().equals(before)) {
                    before = client.assignment();
                    say(one("assigned", before.stream().map(p -> List.of(p.topic(), p.partition())).collect(Collectors.toList())));
                }
                for (ConsumerRecord<String, String> record : polled)
                    say(one("record", List.of(record.partition(), record.offset(), record.value())));
                try {
                    if (!polled.isEmpty()) client.commitSync();
                } catch (CommitFailedException | RebalanceInProgressException again) {
                    // in the middle of a rebalance: the records come again
                }
            }
        }
    }
}
