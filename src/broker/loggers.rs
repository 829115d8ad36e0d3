//! Kafka's loggers over the targets of our log lines (KIP-412): which loggers there are, and at which level each is.
//! Levels last until the process ends, as in Kafka. It hands out directives and must never know how lines are written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ottla_core::controller::{Change, Refusal};
use ottla_protocol::ErrorCode;
use parking_lot::Mutex;
use tracing::warn;

/// The logger of everything, by the name that Kafka kept from Log4j 1.
const ROOT: &str = "root";

/// The target of one line for each request, at DEBUG.
pub(crate) const REQUESTS: &str = "kafka.request.logger";

/// Each logger and the targets of its lines: names that Kafka's logging configuration and its brokers have, as far as
/// there is something of the kind here. A target includes those that it is the beginning of, and of several loggers
/// the one with the longest target counts, so `kafka` is everything of Ottla that no other logger is set for.
const LOGGERS: &[(&str, &[&str])] = &[
    (ROOT, &[""]),
    ("kafka", &["ottla"]),
    ("kafka.network.SocketServer", &["ottla_broker::net"]),
    (REQUESTS, &[REQUESTS]),
    ("kafka.server.BrokerServer", &["ottla_broker::boot"]),
    ("kafka.server.ConfigAdminManager", &["ottla_broker::run::owners::settings", "ottla_broker::loggers"]),
    ("kafka.server.KafkaApis", &["ottla_broker::api"]),
    ("kafka.server.ReplicaAlterLogDirsManager", &["ottla_broker::run::work::mover"]),
    (
        "kafka.server.ReplicaManager",
        &["ottla_broker::run::owners::partition", "ottla_broker::run::serve::fetch"],
    ),
    ("org.apache.kafka.controller.QuorumController", &["ottla_broker::run::owners::controller"]),
    (
        "org.apache.kafka.coordinator.group.GroupCoordinatorService",
        &["ottla_broker::run::owners::groups", "ottla_broker::run::owners::coordinator"],
    ),
    ("org.apache.kafka.storage.internals.log.LogCleaner", &["ottla_broker::run::work::cleaner"]),
    (
        "org.apache.kafka.storage.internals.log.LogManager",
        &[
            "ottla_broker::run::owners::storage",
            "ottla_broker::run::work::flusher",
            "ottla_broker::run::owners::volume",
        ],
    ),
    ("org.apache.kafka.storage.internals.log.UnifiedLog", &["ottla_log"]),
    ("state.change.logger", &["ottla_broker::run::owners::publisher"]),
];

/// The way to what decides which lines are written.
#[derive(Clone)]
pub struct LogFilter {
    /// The directives that the process was started with, such as `info` or `info,ottla_log=debug`.
    pub started_with: String,
    /// Puts other directives in their place, at once.
    pub apply: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFilter").field("started_with", &self.started_with).finish_non_exhaustive()
    }
}

impl Default for LogFilter {
    /// Of a process that writes no log.
    fn default() -> LogFilter {
        LogFilter { started_with: "off".to_owned(), apply: Arc::new(|_| {}) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Off,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// Those that a client may set, in Kafka's order of telling them.
    const SETTABLE: [Level; 6] =
        [Level::Debug, Level::Error, Level::Fatal, Level::Info, Level::Trace, Level::Warn];

    fn name(self) -> &'static str {
        match self {
            Level::Off => "OFF",
            Level::Fatal => "FATAL",
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }

    // No line of ours is worse than an error.
    fn directive(self) -> &'static str {
        if self == Level::Fatal { "off" } else { self.name() }
    }

    // Directives may be in any case.
    fn of_directive(text: &str) -> Option<Level> {
        let all = [Level::Off, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        all.into_iter().find(|level| level.name().eq_ignore_ascii_case(text))
    }
}

/// The levels of this process.
#[derive(Debug)]
pub(crate) struct Loggers {
    filter: LogFilter,
    set: Mutex<BTreeMap<&'static str, Level>>,
}

impl Loggers {
    pub fn new(filter: LogFilter) -> Loggers {
        Loggers { filter, set: Mutex::default() }
    }

    /// Every logger with its level.
    pub fn levels(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let rules = rules(&self.filter.started_with, &self.set.lock());
        LOGGERS.iter().map(move |(name, targets)| (*name, level_of(&rules, targets[0]).name()))
    }

    /// Sets levels, or unsets them so that the next wider logger counts. Nothing changes if one of them cannot be.
    pub fn alter(&self, changes: &[(String, Change)], validate_only: bool) -> Result<(), Refusal> {
        let checked = changes.iter().map(|(name, change)| check(name, change));
        let checked: Vec<_> = checked.collect::<Result<_, _>>()?;
        if validate_only {
            return Ok(());
        }
        let mut set = self.set.lock();
        for (name, level) in &checked {
            match level {
                Some(level) => drop(set.insert(name, *level)),
                None => drop(set.remove(name)),
            }
        }
        // Under the lock, so that the last change is the one that stays.
        (self.filter.apply)(&directives(&self.filter.started_with, &set));
        for (logger, level) in checked {
            warn!(logger, level = level.map_or("unset", Level::name), "the level of a logger has changed");
        }
        Ok(())
    }
}

// In the order of Kafka's checks.
fn check(name: &str, change: &Change) -> Result<(&'static str, Option<Level>), Refusal> {
    let refuse = |code, why: String| Err(Refusal::new(code, why));
    let invalid = |why| refuse(ErrorCode::InvalidRequest, why);
    if matches!(change, Change::Append(_) | Change::Subtract(_)) {
        return invalid("The level of a logger is no list: it can be set or deleted only".to_owned());
    }
    let known = LOGGERS.iter().map(|(known, _)| *known).find(|known| *known == name);
    let Some(logger) = known else {
        return refuse(ErrorCode::InvalidConfig, format!("Logger {name} does not exist!"));
    };
    let Change::Set(value) = change else {
        return match logger {
            ROOT => invalid(format!("Removing the log level of the {ROOT} logger is not allowed")),
            _ => Ok((logger, None)),
        };
    };
    match Level::SETTABLE.into_iter().find(|level| level.name() == value) {
        Some(level) => Ok((logger, Some(level))),
        None => {
            let valid = Level::SETTABLE.map(Level::name).join(", ");
            let why = format!("{value} is no log level for {name}; valid levels are {valid}");
            refuse(ErrorCode::InvalidConfig, why)
        }
    }
}

/// What counts for targets that begin so; later ones win.
type Rules = Vec<(String, Level)>;

fn rules(started_with: &str, set: &BTreeMap<&'static str, Level>) -> Rules {
    let at_start = started_with.split(',').filter_map(|directive| {
        let (target, level) = directive.trim().rsplit_once('=').unwrap_or(("", directive.trim()));
        Some((target.to_owned(), Level::of_directive(level)?))
    });
    let set = LOGGERS.iter().filter_map(|(name, targets)| Some((targets, *set.get(name)?)));
    let set = set.flat_map(|(targets, level)| targets.iter().map(move |t| ((*t).to_owned(), level)));
    at_start.chain(set).collect()
}

fn level_of(rules: &Rules, target: &str) -> Level {
    let concerned = rules.iter().filter(|(prefix, _)| target.starts_with(prefix));
    concerned.max_by_key(|(prefix, _)| prefix.len()).map_or(Level::Off, |(_, level)| *level)
}

fn directives(started_with: &str, set: &BTreeMap<&'static str, Level>) -> String {
    let mut all = started_with.to_owned();
    for (target, level) in rules("", set) {
        let level = level.directive();
        all.push(',');
        all.push_str(&if target.is_empty() { level.to_owned() } else { format!("{target}={level}") });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(level: &str) -> Change {
        Change::Set(level.to_owned())
    }

    #[test]
    fn every_target_has_one_logger() {
        let mut targets: Vec<&str> = LOGGERS.iter().flat_map(|(_, targets)| *targets).copied().collect();
        targets.sort();
        assert!(targets.windows(2).all(|pair| pair[0] != pair[1]), "{targets:?}");
        assert!(LOGGERS.is_sorted_by_key(|(name, _)| (*name != ROOT, *name)));
    }

    #[test]
    fn a_level_counts_for_all_that_has_none_of_its_own() {
        let told = Arc::new(Mutex::new(String::new()));
        let apply = {
            let told = told.clone();
            move |directives: &str| *told.lock() = directives.to_owned()
        };
        let filter = LogFilter { started_with: "info,ottla_log=debug".into(), apply: Arc::new(apply) };
        let loggers = Loggers::new(filter);
        let apis = "kafka.server.KafkaApis";
        let check = |changes: &[(&str, Change)], directives: &str, [root, kafka, api, log]: [&str; 4]| {
            let changes: Vec<_> = changes.iter().map(|(name, c)| (name.to_string(), c.clone())).collect();
            assert_eq!(loggers.alter(&changes, false), Ok(()), "{changes:?}");
            assert_eq!(*told.lock(), directives, "{changes:?}");
            let levels: BTreeMap<_, _> = loggers.levels().collect();
            let unified = "org.apache.kafka.storage.internals.log.UnifiedLog";
            let seen = [levels[ROOT], levels["kafka"], levels[apis], levels[unified]];
            assert_eq!(seen, [root, kafka, api, log], "{changes:?}");
        };
        let base = "info,ottla_log=debug";
        check(&[], base, ["INFO", "INFO", "INFO", "DEBUG"]);
        check(&[(ROOT, set("WARN"))], &format!("{base},WARN"), ["WARN", "WARN", "WARN", "DEBUG"]);
        let both = [("kafka", set("TRACE")), (apis, set("FATAL"))];
        let all = format!("{base},WARN,ottla=TRACE,ottla_broker::api=off");
        check(&both, &all, ["WARN", "TRACE", "FATAL", "DEBUG"]);
        check(
            &[("kafka", Change::Delete)],
            &format!("{base},WARN,ottla_broker::api=off"),
            ["WARN", "WARN", "FATAL", "DEBUG"],
        );
        check(
            &[(apis, Change::Delete), (ROOT, set("INFO"))],
            &format!("{base},INFO"),
            ["INFO", "INFO", "INFO", "DEBUG"],
        );
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let loggers = Loggers::new(LogFilter { started_with: "info".into(), ..LogFilter::default() });
        let check = |name: &str, change: Change, code: ErrorCode| {
            let changes = [("kafka".to_owned(), set("DEBUG")), (name.to_owned(), change)];
            let outcome = loggers.alter(&changes, false);
            assert_eq!(outcome.map_err(|refusal| refusal.code), Err(code), "{changes:?}");
        };
        check("no.such.logger", set("INFO"), ErrorCode::InvalidConfig);
        check("no.such.logger", Change::Delete, ErrorCode::InvalidConfig);
        check(ROOT, set("OFF"), ErrorCode::InvalidConfig);
        check(ROOT, set("info"), ErrorCode::InvalidConfig);
        check(ROOT, Change::Delete, ErrorCode::InvalidRequest);
        check(ROOT, Change::Append("INFO".into()), ErrorCode::InvalidRequest);
        check("no.such.logger", Change::Subtract("INFO".into()), ErrorCode::InvalidRequest);
        let tried = [(ROOT.to_owned(), set("DEBUG"))];
        assert_eq!(loggers.alter(&tried, true), Ok(()));
        assert!(loggers.levels().all(|(_, level)| level == "INFO"));
    }
}
