import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.common.utils.internals.Exit;

/**
 * Runs the main methods of Kafka's tools, one after another, in one JVM: a JVM start costs one to two seconds,
 * a tool in a warm one a few hundredths. Knows nothing about any tool.
 *
 * Request on standard input: count of arguments, each argument, the tool's standard input. Answer on standard
 * output: exit code, the tool's standard output, its standard error. A string is a length and UTF-8 bytes, numbers
 * are four bytes big-endian. Ends when its input does.
 */
public final class ToolServer {
    /** Where System.out or System.err goes now; tools may keep the PrintStream, so only its target changes. */
    private static final class Target extends OutputStream {
        private volatile ByteArrayOutputStream now = new ByteArrayOutputStream();

        @Override
        public void write(int b) {
            now.write(b);
        }

        @Override
        public void write(byte[] bytes, int from, int count) {
            now.write(bytes, from, count);
        }
    }

    /** Exit.exit() must not return, and must not end this JVM. */
    private static final class Exited extends Error {
        Exited() {
            super(null, null, false, false);
        }
    }

    private static final Target OUT = new Target();
    private static final Target ERR = new Target();
    private static final List<Runnable> HOOKS = Collections.synchronizedList(new ArrayList<>());
    private static volatile Integer exitCode;

    public static void main(String[] args) throws IOException {
        DataInputStream requests = new DataInputStream(new FileInputStream(FileDescriptor.in));
        DataOutputStream answers = new DataOutputStream(new FileOutputStream(FileDescriptor.out));
        System.setOut(new PrintStream(OUT, true));
        System.setErr(new PrintStream(ERR, true));
        Exit.Procedure exit = (code, message) -> {
            if (exitCode == null) exitCode = code; // a tool may catch Exited and exit again: the first one counts
            throw new Exited();
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        while (true) {
            int count;
            try {
                count = requests.readInt();
            } catch (EOFException end) {
                Runtime.getRuntime().halt(0);
                return;
            }
            List<String> words = new ArrayList<>();
            for (int i = 0; i < count; i++) words.add(new String(read(requests), StandardCharsets.UTF_8));
            System.setIn(new ByteArrayInputStream(read(requests)));
            OUT.now = new ByteArrayOutputStream();
            ERR.now = new ByteArrayOutputStream();
            answers.writeInt(run(words.get(0), words.subList(1, count).toArray(new String[0])));
            write(answers, OUT.now.toByteArray());
            write(answers, ERR.now.toByteArray());
            answers.flush();
        }
    }

    private static int run(String mainClass, String[] args) {
        exitCode = null;
        HOOKS.clear();
        int code = 0;
        try {
            Class.forName(mainClass).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException failed) {
            if (!(failed.getCause() instanceof Exited)) {
                failed.getCause().printStackTrace();
                code = 1;
            }
        } catch (ReflectiveOperationException wrong) {
            wrong.printStackTrace();
            code = 127;
        }
        // The console producer, for one, closes its client only here.
        for (Runnable hook : new ArrayList<>(HOOKS)) {
            try {
                hook.run();
            } catch (Exited again) {
                // as in a JVM that is shutting down already
            }
        }
        System.out.flush();
        System.err.flush();
        return exitCode != null ? exitCode : code;
    }

    private static byte[] read(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return bytes;
    }

    private static void write(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(bytes.length);
        out.write(bytes);
    }
}
