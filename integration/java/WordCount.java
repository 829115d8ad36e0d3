import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;

/**
 * A Kafka Streams application: counts the words of lines, and joins each line with the answer of the same key. The count
 * goes through a repartition topic, counts and both sides of the join are stores with changelogs.
 *
 *   java WordCount file.properties prefix
 *
 * reads topics prefix-lines and prefix-answers, writes prefix-counts and prefix-joined. Says "RUNNING" on standard output
 * each time that all its tasks are there. Closes on SIGTERM; ends with 3 on an error that Streams does not handle.
 */
public final class WordCount {
    private static final Duration APART = Duration.ofHours(6);

    public static void main(String[] args) throws IOException {
        Properties properties = new Properties();
        try (InputStream in = new FileInputStream(args[0])) {
            properties.load(in);
        }
        KafkaStreams streams = new KafkaStreams(topology(args[1]), properties);
        streams.setStateListener((now, before) -> System.out.println(now));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(3);
            return null;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
    }

    private static Topology topology(String prefix) {
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, String> text = Consumed.with(Serdes.String(), Serdes.String());
        KStream<String, String> lines = builder.stream(prefix + "-lines", text);
        KStream<String, String> answers = builder.stream(prefix + "-answers", text);
        lines.flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream()
            .to(prefix + "-counts", Produced.with(Serdes.String(), Serdes.Long()));
        lines.join(answers, (line, answer) -> line + "=" + answer, JoinWindows.ofTimeDifferenceWithNoGrace(APART),
                StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()).withStoreName("join"))
            .to(prefix + "-joined", Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }
}
