//! Which listeners a node has, their protocols and their advertised addresses, checked as Kafka does. It must never open
//! a listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::broker::{Names, Role, take};
use super::endpoint::{Listener, SecurityProtocol, Written};
use super::error::ConfigError;
use super::layers::Layers;

pub(super) struct Sockets {
    pub listeners: Vec<Listener>,
    /// Without controller listeners.
    pub advertised: Vec<Listener>,
    /// Of a controller's listeners those of which `advertised.listeners` speaks, or all.
    pub advertised_controllers: Vec<Listener>,
    pub inter_broker: String,
}

type Protocols = BTreeMap<String, SecurityProtocol>;

impl Sockets {
    pub fn read(layers: &Layers, names: &Names) -> Result<Sockets, ConfigError> {
        let written: Vec<String> = take(layers, "listeners")?;
        let protocols = protocols(layers, names, &written)?;
        let listeners = parsed("listeners", &written, &protocols)?;
        distinct_names("listeners", &written, &listeners)?;
        distinct_ports(&written, &listeners)?;

        let advertised_key = match layers.is_set("advertised.listeners") {
            true => "advertised.listeners",
            false => "listeners",
        };
        let advertised = match take::<Option<Vec<String>>>(layers, "advertised.listeners")? {
            Some(written) => {
                let advertised = parsed("advertised.listeners", &written, &protocols)?;
                distinct_names("advertised.listeners", &written, &advertised)?;
                advertised
            }
            None => listeners.clone(),
        };
        routable(advertised_key, &advertised, names)?;
        let is_controller = |listener: &Listener| names.controller_listeners.contains(&listener.name);
        let (advertised_controllers, advertised): (Vec<Listener>, Vec<Listener>) =
            advertised.into_iter().partition(is_controller);

        let inter_broker = inter_broker(layers, &protocols)?;
        controllers(layers, names, &listeners, &protocols)?;
        if names.roles.contains(&Role::Broker) {
            brokers(advertised_key, &listeners, &advertised, &inter_broker)?;
        }
        refuse_secured(&listeners, &advertised, &names.controller_listeners, &inter_broker, &protocols)?;
        Ok(Sockets { listeners, advertised, advertised_controllers, inter_broker })
    }
}

// Fail closed: a listener with a secure protocol is never opened without that protocol, and other nodes are never reached
// through one. All keys that only such listeners need (`Support::NeededBy`) rely on this check: there is no other.
fn refuse_secured(
    listeners: &[Listener],
    advertised: &[Listener],
    controllers: &[String],
    inter_broker: &String,
    protocols: &Protocols,
) -> Result<(), ConfigError> {
    let own = listeners.iter().chain(advertised).map(|l| ("listeners", l.to_string(), l.protocol));
    let through = |key, name: &String| Some((key, name.clone(), *protocols.get(name)?));
    let to_controllers = controllers.iter().filter_map(|name| through("controller.listener.names", name));
    let to_brokers = through("inter.broker.listener.name", inter_broker);
    let used = own.chain(to_controllers).chain(to_brokers);
    for (key, value, protocol) in used {
        let why = match protocol {
            SecurityProtocol::Plaintext => continue,
            SecurityProtocol::Ssl => "it speaks SSL, and TLS is not built in yet",
            SecurityProtocol::SaslPlaintext => "it speaks SASL_PLAINTEXT, and SASL is not built in yet",
            SecurityProtocol::SaslSsl => "it speaks SASL_SSL, and neither TLS nor SASL is built in yet",
        };
        return Err(ConfigError::refused(key, &value, why));
    }
    Ok(())
}

/// `max.connections.per.ip.overrides`: `host:count`; an IPv6 host contains colons itself.
pub(super) fn per_ip_overrides(layers: &Layers) -> Result<BTreeMap<String, i32>, ConfigError> {
    const KEY: &str = "max.connections.per.ip.overrides";
    let text: String = take(layers, KEY)?;
    let wrong = || ConfigError::invalid(KEY, &text, "a comma-separated list of host:count");
    let valid_host = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-%._:".contains(c));
    let pair = |(host, count): (String, String)| {
        let count = count.parse().ok().filter(|_| valid_host(&host));
        count.map(|count| (host, count)).ok_or_else(wrong)
    };
    pairs(&text).ok_or_else(wrong)?.into_iter().map(pair).collect()
}

// The map as it is set. If it is not set, controller listeners of any name are PLAINTEXT, too, as long as no listener has
// the name of a secure protocol.
fn protocols(layers: &Layers, names: &Names, listeners: &[String]) -> Result<Protocols, ConfigError> {
    const KEY: &str = "listener.security.protocol.map";
    let text: String = take(layers, KEY)?;
    let wrong = |allowed: &str| ConfigError::invalid(KEY, &text, allowed);
    let mut map = Protocols::new();
    for (name, protocol) in pairs(&text).ok_or_else(|| wrong("a comma-separated list of name:protocol"))? {
        let protocol = SecurityProtocol::parse(&protocol).ok_or_else(|| {
            wrong("name:protocol with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL as protocol")
        })?;
        map.insert(name.to_uppercase(), protocol);
    }
    let secured = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let listener_secured = |entry: &String| {
        secured(&entry.split_once(':').map_or(entry.as_str(), |(name, _)| name).to_uppercase())
    };
    let controller_secured = names.controller_listeners.iter().any(|name| secured(name));
    if !layers.is_set(KEY) && !controller_secured && !listeners.iter().any(listener_secured) {
        map.extend(names.controller_listeners.iter().map(|name| (name.clone(), SecurityProtocol::Plaintext)));
    }
    Ok(map)
}

fn parsed(key: &str, entries: &[String], protocols: &Protocols) -> Result<Vec<Listener>, ConfigError> {
    let parse = |entry: &String| {
        let Some(written) = Written::parse(entry) else {
            return Err(ConfigError::invalid(key, entry, "a comma-separated list of name://host:port"));
        };
        let Some(&protocol) = protocols.get(&written.name) else {
            let allowed =
                format!("a listener that listener.security.protocol.map names: {}", list(protocols.keys()));
            return Err(ConfigError::invalid(key, entry, allowed));
        };
        Ok(Listener { name: written.name, host: written.host, port: written.port, protocol })
    };
    entries.iter().map(parse).collect()
}

fn distinct_names(key: &str, written: &[String], listeners: &[Listener]) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    match listeners.iter().find(|listener| !seen.insert(&listener.name)) {
        Some(twice) => {
            Err(ConfigError::conflict(key, written.join(","), format!("{} is there twice", twice.name)))
        }
        None => Ok(()),
    }
}

// Two listeners may share a port only if one has an IPv4 and the other an IPv6 address.
fn distinct_ports(written: &[String], listeners: &[Listener]) -> Result<(), ConfigError> {
    let mut by_port: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
    for listener in listeners.iter().filter(|listener| listener.port != 0) {
        by_port.entry(listener.port).or_default().push(listener);
    }
    let ip = |listener: &Listener| listener.host.as_deref().and_then(|host| host.parse::<IpAddr>().ok());
    for (port, sharing) in by_port.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        let both_stacks = match sharing.as_slice() {
            [a, b] => ip(a).zip(ip(b)).is_some_and(|(a, b)| a.is_ipv4() != b.is_ipv4()),
            _ => false,
        };
        if !both_stacks {
            let rule = format!("port {port} is there twice, which only an IPv4 and an IPv6 address may do");
            return Err(ConfigError::conflict("listeners", written.join(","), rule));
        }
    }
    Ok(())
}

// If `advertised.listeners` is not set, `listeners` is checked in its place, without controller listeners: they may bind
// to 0.0.0.0.
fn routable(key: &str, advertised: &[Listener], names: &Names) -> Result<(), ConfigError> {
    let own = key == "listeners";
    let checked = |l: &&Listener| !(own && names.controller_listeners.contains(&l.name));
    let wildcard = |l: &&Listener| l.host.as_deref() == Some("0.0.0.0");
    match advertised.iter().filter(checked).find(wildcard) {
        Some(listener) => {
            let rule =
                "clients cannot connect to 0.0.0.0, set advertised.listeners to an address they can reach";
            Err(ConfigError::conflict(key, listener, rule))
        }
        None => Ok(()),
    }
}

fn inter_broker(layers: &Layers, protocols: &Protocols) -> Result<String, ConfigError> {
    const NAME: &str = "inter.broker.listener.name";
    const PROTOCOL: &str = "security.inter.broker.protocol";
    let Some(name) = take::<Option<String>>(layers, NAME)? else {
        return take(layers, PROTOCOL);
    };
    if layers.is_set(PROTOCOL) {
        return Err(ConfigError::conflict(NAME, name, format!("set either this or {PROTOCOL}, not both")));
    }
    let upper = name.to_uppercase();
    if !protocols.contains_key(&upper) {
        let allowed =
            format!("a listener that listener.security.protocol.map names: {}", list(protocols.keys()));
        return Err(ConfigError::invalid(NAME, &name, allowed));
    }
    Ok(upper)
}

fn controllers(
    layers: &Layers,
    names: &Names,
    listeners: &[Listener],
    protocols: &Protocols,
) -> Result<(), ConfigError> {
    const KEY: &str = "controller.listener.names";
    let written = names.controller_listeners.join(",");
    let wrong = |rule: String| Err(ConfigError::conflict(KEY, &written, rule));
    let here = |name: &&String| listeners.iter().any(|listener| listener.name == **name);
    if !names.roles.contains(&Role::Controller) {
        if let Some(name) = names.controller_listeners.iter().find(here) {
            return wrong(format!("{name} must not be in listeners, since process.roles has no controller"));
        }
        if let Some(name) = names.controller_listeners.iter().find(|name| !protocols.contains_key(*name)) {
            return wrong(format!("{name} is not in listener.security.protocol.map"));
        }
        return Ok(());
    }
    if let Some(name) = names.controller_listeners.iter().find(|name| !here(name)) {
        return wrong(format!("{name} must be in listeners, since process.roles has controller"));
    }
    if names.roles.contains(&Role::Broker) {
        return Ok(());
    }
    let other = listeners.iter().find(|listener| !names.controller_listeners.contains(&listener.name));
    if let Some(listener) = other {
        let rule = "must only have names of controller.listener.names, since process.roles=controller";
        return Err(ConfigError::conflict("listeners", listener, rule));
    }
    let inter_broker: Option<String> = take(layers, "inter.broker.listener.name")?;
    match inter_broker.filter(|name| names.controller_listeners.contains(&name.to_uppercase())) {
        Some(name) => wrong(format!("{name} must not be inter.broker.listener.name too")),
        None => Ok(()),
    }
}

fn brokers(
    key: &str,
    listeners: &[Listener],
    advertised: &[Listener],
    inter_broker: &str,
) -> Result<(), ConfigError> {
    let names = |of: &[Listener]| list(of.iter().map(|listener| &listener.name));
    if advertised.is_empty() {
        let rule = "must have a listener that is not in controller.listener.names, for clients to use";
        return Err(ConfigError::conflict(key, names(listeners), rule));
    }
    let known = |name: &str| listeners.iter().any(|listener| listener.name == name);
    if let Some(listener) = advertised.iter().find(|listener| !known(&listener.name)) {
        let rule = format!("its name must be one of listeners: {}", names(listeners));
        return Err(ConfigError::conflict("advertised.listeners", listener, rule));
    }
    if !advertised.iter().any(|listener| listener.name == inter_broker) {
        let rule = format!("must be an advertised listener: {}", names(advertised));
        return Err(ConfigError::conflict("inter.broker.listener.name", inter_broker, rule));
    }
    Ok(())
}

/// `a:b, c:d:e` as pairs, each split at its last colon.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |item: &str| {
        let (left, right) = item.rsplit_once(':')?;
        Some((left.trim().to_owned(), right.trim().to_owned()))
    };
    if text.trim().is_empty() { Some(Vec::new()) } else { text.split(',').map(pair).collect() }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}
