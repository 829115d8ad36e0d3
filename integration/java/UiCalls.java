import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupsOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * What web UIs ask a cluster for, page by page, as AKHQ, kafka-ui and Kafdrop do it with Kafka's own client; none of them
 * can be had from a package registry. Prints one JSON object: page -> what it shows, or the error that it hides.
 */
public final class UiCalls {
    private interface Page {
        Object load() throws Exception;
    }

    private static final Map<String, Object> PAGES = new LinkedHashMap<>();

    private static void page(String name, Page page) throws Exception {
        try {
            PAGES.put(name, page.load());
        } catch (ExecutionException failed) {
            PAGES.put(name, Map.of("error", failed.getCause().getClass().getSimpleName()));
        }
    }

    /** Arguments: topic, --bootstrap-server, address. */
    public static void main(String[] args) throws Exception {
        String topic = args[0];
        Map<String, Object> config = Map.of("bootstrap.servers", args[2]);
        try (Admin admin = Admin.create(config)) {
            List<Integer> brokers = admin.describeCluster().nodes().get().stream().map(Node::id).collect(Collectors.toList());
            page("cluster", () -> {
                var found = admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
                return Map.of("id", found.clusterId().get(), "controller", found.controller().get().id(), "brokers", brokers,
                    "operations", found.authorizedOperations().get() == null ? Set.of() : found.authorizedOperations().get());
            });
            page("features", () -> admin.describeFeatures().featureMetadata().get().finalizedFeatures().keySet());
            page("quorum", () -> admin.describeMetadataQuorum().quorumInfo().get().leaderId());
            page("broker configs", () -> configs(admin, new ConfigResource(ConfigResource.Type.BROKER, brokers.get(0).toString())));
            page("log dirs", () -> admin.describeLogDirs(brokers).allDescriptions().get().values().stream().flatMap(dirs -> dirs.values()
                .stream()).map(dir -> Map.of("total", dir.totalBytes().orElse(-1), "usable", dir.usableBytes().orElse(-1), "sizes",
                    dir.replicaInfos().entrySet().stream().collect(Collectors.toMap(e -> e.getKey().toString(), e -> e.getValue().size()))))
                .collect(Collectors.toList()));
            page("topics", () -> admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get());
            page("topic", () -> {
                var found = admin.describeTopics(List.of(topic), new DescribeTopicsOptions().includeAuthorizedOperations(true))
                    .allTopicNames().get().get(topic);
                return Map.of("partitions", found.partitions().size(), "leader", found.partitions().get(0).leader().id(),
                    "internal", found.isInternal());
            });
            page("topic configs", () -> configs(admin, new ConfigResource(ConfigResource.Type.TOPIC, topic)));
            TopicPartition partition = new TopicPartition(topic, 0);
            page("topic offsets", () -> List.of(
                admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).all().get().get(partition).offset(),
                admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all().get().get(partition).offset()));
            page("producers", () -> admin.describeProducers(List.of(partition)).all().get().get(partition).activeProducers().size());
            page("messages", () -> messages(config, partition));
            page("groups", () -> admin.listConsumerGroups(new ListConsumerGroupsOptions()
                    .inGroupStates(Set.of(GroupState.STABLE, GroupState.EMPTY)).withTypes(Set.of(GroupType.CLASSIC, GroupType.CONSUMER)))
                .all().get().stream().collect(Collectors.toMap(one -> one.groupId(), one -> List.of(
                    one.groupState().map(Object::toString).orElse("?"), one.type().map(Object::toString).orElse("?")))));
            page("group", () -> {
                String group = topic + "-group";
                var found = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                Map<TopicPartition, OffsetAndMetadata> committed =
                    admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
                long end = admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all().get().get(partition).offset();
                return Map.of("state", found.groupState().toString(), "coordinator", found.coordinator().id(), "members",
                    found.members().size(), "lag", end - committed.get(partition).offset());
            });
            page("acls", () -> admin.describeAcls(AclBindingFilter.ANY).values().get().size());
            page("quotas", () -> admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().size());
            page("users", () -> admin.describeUserScramCredentials().all().get().size());
            page("transactions", () -> admin.listTransactions().all().get().size());
            page("reassignments", () -> admin.listPartitionReassignments().reassignments().get().size());
        }
        System.out.println(new ObjectMapper().writeValueAsString(PAGES));
    }

    private static Object configs(Admin admin, ConfigResource resource) throws Exception {
        var options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        var found = admin.describeConfigs(List.of(resource), options).all().get().get(resource).entries();
        return Map.of("count", found.size(), "documented", found.stream().filter(one -> one.documentation() != null).count(),
            "typed", found.stream().filter(one -> one.type() != ConfigEntry.ConfigType.UNKNOWN).count(),
            "names", found.stream().map(ConfigEntry::name).sorted().collect(Collectors.toList()));
    }

    /** The last two records, as a page of messages shows them: assigned, from the end backwards, in no group. */
    private static Object messages(Map<String, Object> config, TopicPartition partition) {
        Map<String, Object> options = new LinkedHashMap<>(config);
        options.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(options, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            consumer.seek(partition, Math.max(end - 2, consumer.beginningOffsets(List.of(partition)).get(partition)));
            java.util.List<String> values = new java.util.ArrayList<>();
            while (consumer.position(partition) < end)
                consumer.poll(java.time.Duration.ofSeconds(1)).forEach(record -> values.add(record.value()));
            return values;
        }
    }
}
