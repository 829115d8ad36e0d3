//! Groups: the keys that can be set for one group, and the broker keys that supply their defaults (KIP-1043).
//! It must never hold anything but rows.

use super::super::key::Support::Accepted;
use super::super::key::{ConfigKey, Importance, Kind, Scope, UpdateMode, Valid};
use super::super::value::Value;
use super::row::{ANY, LIST, at_least, one_of, resource_keys, same};

const OFFSET_RESET: Valid = Valid::Custom {
    allowed: "earliest, latest or by_duration:<ISO 8601 duration>",
    check: |value| matches!(value, Value::String(text) if offset_reset(text)),
};

resource_keys! {
    Group;
    "consumer.session.timeout.ms": Int = "45000", at_least(1), [same("group.consumer.session.timeout.ms")],
        Accepted,
        "Silence after which this consumer group drops a member.";
    "consumer.heartbeat.interval.ms": Int = "5000", at_least(1),
        [same("group.consumer.heartbeat.interval.ms")], Accepted,
        "How often members of this consumer group report.";
    "consumer.assignment.interval.ms": Int = "1000", at_least(0),
        [same("group.consumer.assignment.interval.ms")], Accepted,
        "Shortest time between two assignments of this consumer group.";
    internal "consumer.assignor.offload.enable": Boolean = "true", ANY,
        [same("group.consumer.assignor.offload.enable")], Accepted,
        "Whether this consumer group's assignments are made outside the coordinator's threads.";
    "share.session.timeout.ms": Int = "45000", at_least(1), [same("group.share.session.timeout.ms")], Accepted,
        "Silence after which this share group drops a member.";
    "share.heartbeat.interval.ms": Int = "5000", at_least(1), [same("group.share.heartbeat.interval.ms")],
        Accepted,
        "How often members of this share group report.";
    "share.record.lock.duration.ms": Int = "30000", at_least(1000),
        [same("group.share.record.lock.duration.ms")], Accepted,
        "How long a record is held for the member that fetched it.";
    "share.delivery.count.limit": Int = "5", at_least(2), [same("group.share.delivery.count.limit")], Accepted,
        "How often a record is delivered at most.";
    "share.partition.max.record.locks": Int = "2000", at_least(100),
        [same("group.share.partition.max.record.locks")], Accepted,
        "Most records of a partition that are held at once.";
    "share.auto.offset.reset": String = "latest", OFFSET_RESET, [], Accepted,
        "Where this share group begins in a partition.";
    "share.isolation.level": String = "read_uncommitted", one_of(&["read_committed", "read_uncommitted"]), [],
        Accepted,
        "Whether this share group sees records of transactions that are open or aborted.";
    "share.renew.acknowledge.enable": Boolean = "true", ANY, [], Accepted,
        "Whether members of this share group may renew their hold on a record.";
    "share.assignment.interval.ms": Int = "1000", at_least(0), [same("group.share.assignment.interval.ms")],
        Accepted,
        "Shortest time between two assignments of this share group.";
    internal "share.assignor.offload.enable": Boolean = "true", ANY,
        [same("group.share.assignor.offload.enable")], Accepted,
        "Whether this share group's assignments are made outside the coordinator's threads.";
    "streams.session.timeout.ms": Int = "45000", at_least(1), [same("group.streams.session.timeout.ms")],
        Accepted,
        "Silence after which this streams group drops a member.";
    "streams.heartbeat.interval.ms": Int = "5000", at_least(1), [same("group.streams.heartbeat.interval.ms")],
        Accepted,
        "How often members of this streams group report.";
    "streams.num.standby.replicas": Int = "0", at_least(0), [same("group.streams.num.standby.replicas")],
        Accepted,
        "Standby copies of each task's state in this streams group.";
    "streams.initial.rebalance.delay.ms": Int = "3000", at_least(0),
        [same("group.streams.initial.rebalance.delay.ms")], Accepted,
        "How long this streams group waits for members before its first assignment.";
    "streams.assignment.interval.ms": Int = "1000", at_least(0),
        [same("group.streams.assignment.interval.ms")], Accepted,
        "Shortest time between two assignments of this streams group.";
    internal "streams.assignor.offload.enable": Boolean = "true", ANY,
        [same("group.streams.assignor.offload.enable")], Accepted,
        "Whether this streams group's assignments are made outside the coordinator's threads.";
    internal "streams.task.offset.interval.ms": Int = "60000", at_least(1),
        [same("group.streams.task.offset.interval.ms")], Accepted,
        "How often members of this streams group report the offsets of their tasks.";
    internal "streams.num.warmup.replicas": Int = "2", at_least(0),
        [same("group.streams.num.warmup.replicas")], Accepted,
        "Most copies of task state that catch up at once in this streams group.";
    "streams.rack.aware.assignment.tags": List = "", LIST,
        [same("group.streams.rack.aware.assignment.tags")], Accepted,
        "Client tags that standby copies are spread over.";
    internal "streams.acceptable.recovery.lag": Long = "10000", at_least(0),
        [same("group.streams.acceptable.recovery.lag")], Accepted,
        "Lag at which a copy of task state counts as caught up.";
    "streams.assignor.name": String = null, ANY, [], Accepted,
        "The assignor of this streams group; none takes the broker's first.";
    "errors.deadletterqueue.topic.name": String = "", ANY, [], Accepted,
        "Where this share group puts records that it could not process.";
    "errors.deadletterqueue.copy.record.enable": Boolean = "false", ANY, [], Accepted,
        "Whether the dead letter queue gets the record itself or only its context.";
}

fn offset_reset(text: &str) -> bool {
    let duration = text.get(..12).filter(|head| head.eq_ignore_ascii_case("by_duration:"));
    ["earliest", "latest"].iter().any(|name| text.eq_ignore_ascii_case(name))
        || duration.is_some_and(|head| is_duration(&text[head.len()..]))
}

// PnDTnHnMn.nS, at least one of the numbers; none is negative.
fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['P', 'p']) else { return false };
    let (days, time) = match rest.split_once(['T', 't']) {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    let mut parts = 0;
    let mut all = |mut text: &str, units: &[char]| {
        let mut units = units.iter();
        while !text.is_empty() {
            let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
            let (number, after) = text.split_at(digits);
            let Some(unit) = after.chars().next().map(|c| c.to_ascii_uppercase()) else { return false };
            let whole = number.bytes().all(|b| b.is_ascii_digit());
            let fits = if unit == 'S' { number.parse::<f64>().is_ok() } else { whole };
            if number.is_empty() || !fits || !units.any(|known| *known == unit) {
                return false;
            }
            parts += 1;
            text = &after[1..];
        }
        true
    };
    all(days, &['D']) && all(time, &['H', 'M', 'S']) && parts > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_reset_has_three_forms() {
        let good = ["latest", "EARLIEST", "by_duration:P1D", "by_duration:PT1H30M", "by_duration:P2DT0.5S"];
        for text in good {
            assert!(offset_reset(text), "{text}");
        }
        for text in [
            "",
            "none",
            "by_duration:",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:-PT1S",
            "by_duration:PT1M1H",
            "by_duration:P1.5D",
            "by_duration:PTS",
            "by_duration:1D",
        ] {
            assert!(!offset_reset(text), "{text}");
        }
    }
}
