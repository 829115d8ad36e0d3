package org.apache.kafka.common.utils;

/** Where Kafka had this class before 4.4, and where connect-file, of which there is no 4.4 on Maven, looks for it. */
public final class AppInfoParser {
    private AppInfoParser() {
    }

    public static String getVersion() {
        return org.apache.kafka.common.utils.internals.AppInfoParser.getVersion();
    }
}
