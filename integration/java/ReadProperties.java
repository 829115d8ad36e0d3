import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/**
 * What java.util.Properties makes of odd files: prints the given list of cases with the outcomes that this JVM finds.
 *
 * A line of the list is one of: empty; a comment after '#'; a file and, after a space, its pairs; or "every", a length,
 * an alphabet and, after a space, the digest of the outcomes of all files of that many symbols of the alphabet, in
 * order. Files, keys and values are percent-encoded, the pairs sorted and joined by '&', the symbols by commas.
 */
public final class ReadProperties {
    public static void main(String[] args) throws IOException {
        StringBuilder out = new StringBuilder();
        for (String line : Files.readAllLines(Path.of(args[0]), StandardCharsets.US_ASCII)) {
            out.append(answered(line)).append('\n');
        }
        System.out.print(out);
    }

    private static String answered(String line) throws IOException {
        if (line.isEmpty() || line.startsWith("#")) return line;
        String[] words = line.split(" ", -1);
        if (!words[0].equals("every")) return words[0] + " " + outcome(decoded(words[0]));
        long digest = every(Integer.parseInt(words[1]), words[2].split(","));
        return String.format("every %s %s %016x", words[1], words[2], digest);
    }

    private static long every(int length, String[] alphabet) throws IOException {
        int[] chosen = new int[length];
        long digest = 0xcbf29ce484222325L;
        while (true) {
            StringBuilder file = new StringBuilder();
            for (int symbol : chosen) file.append(alphabet[symbol]);
            digest = fnv(digest, outcome(decoded(file.toString())) + "\n");
            int at = length - 1;
            while (at >= 0 && ++chosen[at] == alphabet.length) chosen[at--] = 0;
            if (at < 0) return digest;
        }
    }

    private static String outcome(byte[] file) throws IOException {
        Properties properties = new Properties();
        try {
            properties.load(new ByteArrayInputStream(file));
        } catch (IllegalArgumentException malformed) {
            return "malformed";
        }
        List<String> pairs = new ArrayList<>();
        for (String key : properties.stringPropertyNames()) {
            pairs.add(encoded(key) + "=" + encoded(properties.getProperty(key)));
        }
        pairs.sort(null);
        return pairs.isEmpty() ? "nothing" : String.join("&", pairs);
    }

    private static String encoded(String text) {
        StringBuilder out = new StringBuilder();
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            if (b > ' ' && b < 0x7f && "%&=#".indexOf(b) < 0) out.append((char) b);
            else out.append(String.format("%%%02X", b));
        }
        return out.toString();
    }

    private static byte[] decoded(String text) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int at = 0; at < text.length(); at++) {
            if (text.charAt(at) == '%') {
                out.write(Integer.parseInt(text.substring(at + 1, at + 3), 16));
                at += 2;
            } else {
                out.write(text.charAt(at));
            }
        }
        return out.toByteArray();
    }

    private static long fnv(long digest, String text) {
        for (byte b : text.getBytes(StandardCharsets.US_ASCII)) digest = (digest ^ b) * 0x100000001b3L;
        return digest;
    }
}
