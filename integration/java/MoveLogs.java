import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartitionReplica;

/**
 * Moves replicas of one broker to a log directory, as no tool of Kafka's does by itself. Arguments: directory, then
 * topic-partition as often as wanted, then --bootstrap-server and its address. Prints what each came to, a line each.
 */
public final class MoveLogs {
    public static void main(String[] args) throws Exception {
        int words = args.length - 2;
        Map<TopicPartitionReplica, String> moves = new TreeMap<>((a, b) -> a.toString().compareTo(b.toString()));
        for (String partition : java.util.Arrays.asList(args).subList(1, words)) {
            int dash = partition.lastIndexOf('-');
            int index = Integer.parseInt(partition.substring(dash + 1));
            moves.put(new TopicPartitionReplica(partition.substring(0, dash), index, 1), args[0]);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[words + 1]))) {
            Map<TopicPartitionReplica, KafkaFuture<Void>> asked = admin.alterReplicaLogDirs(moves).values();
            for (TopicPartitionReplica replica : moves.keySet()) {
                String came = "under way";
                try {
                    asked.get(replica).get();
                } catch (ExecutionException refused) {
                    came = refused.getCause().getClass().getSimpleName();
                }
                System.out.println(replica.topic() + "-" + replica.partition() + ": " + came);
            }
        }
    }
}
