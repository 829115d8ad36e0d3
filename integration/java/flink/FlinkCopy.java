import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Copies one topic to another with Flink, in a cluster of its own inside this process, exactly once: what is written between two
 * checkpoints is one transaction. Goes on from the newest checkpoint that it finds.
 *
 *   java FlinkCopy bootstrap source target directory-of-checkpoints POOLING|INCREMENTING
 */
public final class FlinkCopy {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], source = args[1], target = args[2];
        Path checkpoints = Path.of(args[3]);
        StreamExecutionEnvironment flink = StreamExecutionEnvironment.getExecutionEnvironment(settings(checkpoints));
        KafkaSource<String> from = KafkaSource.<String>builder()
            .setBootstrapServers(bootstrap)
            .setTopics(source)
            .setGroupId(target)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new SimpleStringSchema())
            .build();
        KafkaSink<String> to = KafkaSink.<String>builder()
            .setBootstrapServers(bootstrap)
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(target)
            .setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(args[4]))
            .setProperty("transaction.timeout.ms", "600000") // Flink's own hour is more than brokers allow
            .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                .setTopic(target)
                .setValueSerializationSchema(new SimpleStringSchema())
                .build())
            .build();
        flink.fromSource(from, WatermarkStrategy.noWatermarks(), "source").sinkTo(to);
        flink.execute("copy");
    }

    private static Configuration settings(Path checkpoints) throws IOException {
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", "2");
        settings.setString("rest.address", "127.0.0.1");
        settings.setString("rest.bind-address", "127.0.0.1");
        settings.setString("taskmanager.memory.managed.size", "32m");
        settings.setString("taskmanager.memory.network.max", "16m");
        settings.setString("taskmanager.memory.network.min", "16m");
        settings.setString("execution.checkpointing.interval", "500ms");
        settings.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        settings.setString("execution.checkpointing.dir", checkpoints.toUri().toString());
        settings.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        settings.setString("restart-strategy.type", "fixed-delay");
        settings.setString("restart-strategy.fixed-delay.attempts", "100");
        settings.setString("restart-strategy.fixed-delay.delay", "500ms");
        newest(checkpoints).ifPresent(path -> settings.setString("execution.state-recovery.path", path.toUri().toString()));
        return settings;
    }

    /** Checkpoints are directories job/chk-number, and whole once _metadata is there. */
    private static Optional<Path> newest(Path checkpoints) throws IOException {
        try (Stream<Path> files = Files.walk(checkpoints)) {
            return files.filter(file -> file.getFileName().toString().equals("_metadata"))
                .map(Path::getParent)
                .max(Comparator.comparingLong(FlinkCopy::number));
        }
    }

    private static long number(Path checkpoint) {
        return Long.parseLong(checkpoint.getFileName().toString().substring("chk-".length()));
    }
}
