import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import java.util.Scanner;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Java producers with transactions and their defaults: Transactions ADDRESS PARTITIONS RECORDS BYTES. Each line of standard
 * input, "TOPIC PRODUCERS SECONDS", has so many producers at once write so many records to each partition and commit, for so
 * long. The answer is a line: "transactions", their number, seconds, p50 and p99 of commitTransaction() in ms, of whole transactions, CPU
 * seconds of this JVM.
 */
public final class Transactions {
    /** Nanoseconds of commits and of whole transactions. */
    private record Seen(List<Long> commits, List<Long> wholes) {}

    private final String address;
    private final int partitions;
    private final int records;
    private final byte[] value;

    private Transactions(String[] args) {
        address = args[0];
        partitions = Integer.parseInt(args[1]);
        records = Integer.parseInt(args[2]);
        value = new byte[Integer.parseInt(args[3])];
        new Random(42).nextBytes(value);
    }

    public static void main(String[] args) throws Exception {
        Transactions transactions = new Transactions(args);
        Scanner input = new Scanner(System.in);
        while (input.hasNext()) {
            transactions.run(input.next(), input.nextInt(), input.nextDouble());
        }
    }

    private void run(String topic, int producers, double seconds) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(producers);
        List<KafkaProducer<byte[], byte[]>> all = new ArrayList<>();
        try {
            for (int index = 0; index < producers; index++) {
                all.add(producer("java-" + topic + "-" + index));
            }
            // The first transaction of each makes connections and asks for metadata.
            for (KafkaProducer<byte[], byte[]> producer : all) {
                transaction(producer, topic, new Seen(new ArrayList<>(), new ArrayList<>()));
            }
            double cpu = cpuSeconds();
            long began = System.nanoTime();
            long until = began + (long) (seconds * 1e9);
            List<Future<Seen>> waiting = new ArrayList<>();
            for (KafkaProducer<byte[], byte[]> producer : all) {
                waiting.add(threads.submit(work(producer, topic, until)));
            }
            List<Long> commits = new ArrayList<>();
            List<Long> wholes = new ArrayList<>();
            for (Future<Seen> one : waiting) {
                commits.addAll(one.get().commits());
                wholes.addAll(one.get().wholes());
            }
            double elapsed = (System.nanoTime() - began) / 1e9;
            System.out.println("transactions " + commits.size() + " " + elapsed + " " + quantiles(commits) + " " + quantiles(wholes) + " "
                    + (cpuSeconds() - cpu));
            System.out.flush();
        } finally {
            all.forEach(KafkaProducer::close);
            threads.shutdown();
        }
    }

    private KafkaProducer<byte[], byte[]> producer(String id) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        properties.put("transactional.id", id);
        KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
        return producer;
    }

    private Callable<Seen> work(KafkaProducer<byte[], byte[]> producer, String topic, long until) {
        return () -> {
            Seen seen = new Seen(new ArrayList<>(), new ArrayList<>());
            while (System.nanoTime() < until) {
                transaction(producer, topic, seen);
            }
            return seen;
        };
    }

    private void transaction(KafkaProducer<byte[], byte[]> producer, String topic, Seen seen) {
        long began = System.nanoTime();
        producer.beginTransaction();
        for (int record = 0; record < records; record++) {
            for (int partition = 0; partition < partitions; partition++) {
                producer.send(new ProducerRecord<>(topic, partition, null, value));
            }
        }
        long sent = System.nanoTime();
        producer.commitTransaction();
        long done = System.nanoTime();
        seen.commits().add(done - sent);
        seen.wholes().add(done - began);
    }

    private static String quantiles(List<Long> nanos) {
        long[] sorted = nanos.stream().mapToLong(Long::longValue).toArray();
        Arrays.sort(sorted);
        return at(sorted, 0.5) + " " + at(sorted, 0.99);
    }

    private static double at(long[] sorted, double share) {
        int wanted = (int) Math.ceil(share * sorted.length);
        return sorted[Math.max(wanted, 1) - 1] / 1e6;
    }

    private static double cpuSeconds() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }
}
