//! The first voters of a quorum as `--initial-controllers` names them (KIP-853), `id@host:port:directory,...`. It must
//! never write anything.

use anyhow::{Context, bail};
use ottla_log::metadata::Membership;
use ottla_model::uuid_from_base64;
use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters, VoterEndpoint, VoterNode};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A controller and where it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FirstVoter {
    pub(super) directory: Uuid,
    pub(super) host: String,
    pub(super) port: u16,
}

/// By their ids.
pub(super) type FirstVoters = BTreeMap<i32, FirstVoter>;

pub(super) fn parse(text: &str) -> anyhow::Result<FirstVoters> {
    let mut voters = FirstVoters::new();
    for entry in text.trim().split(',').filter(|entry| !entry.is_empty()) {
        let (id, voter) =
            parse_one(entry.trim()).with_context(|| format!("--initial-controllers, {entry}"))?;
        if voters.insert(id, voter).is_some() {
            bail!("--initial-controllers names node {id} more than once");
        }
    }
    if voters.is_empty() {
        bail!("--initial-controllers names no voters");
    }
    Ok(voters)
}

fn parse_one(entry: &str) -> anyhow::Result<(i32, FirstVoter)> {
    const FORM: &str = "a voter is written id@host:port:directory";
    let (id, rest) = entry.split_once('@').context(FORM)?;
    let id: i32 = id.parse().ok().filter(|id| *id >= 0).context("the id is a number, from 0 on")?;
    let (host, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").context("an address in brackets ends with ]:port")?,
        None => rest.split_once(':').context(FORM)?,
    };
    let (port, directory) = rest.split_once(':').context(FORM)?;
    let port = port.parse().context("the port is a number up to 65535")?;
    let directory =
        uuid_from_base64(directory).context("the directory is an id as the command random-uuid makes it")?;
    Ok((id, FirstVoter { directory, host: host.to_owned(), port }))
}

/// What the metadata log says of who votes. `voters` is `None` where others say who they are.
pub(super) fn membership(kraft_version: i16, voters: Option<&FirstVoters>, listener: &str) -> Membership {
    if kraft_version == 0 {
        return Membership::default();
    }
    let node = |(id, voter): (&i32, &FirstVoter)| VoterNode {
        id: *id,
        directory_id: voter.directory,
        endpoints: vec![VoterEndpoint {
            name: listener.to_owned(),
            host: voter.host.clone(),
            port: voter.port,
        }],
        kraft_version_min: 0,
        kraft_version_max: 1,
    };
    Membership {
        version: Some(KRaftVersion { version: 0, kraft_version }),
        voters: voters.map(|all| KRaftVoters { version: 0, voters: all.iter().map(node).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "MvDxzVmcRsaTz33bUuRU6A";

    #[test]
    fn voters_are_read_as_kafkas_tool_reads_them() {
        let voters =
            parse(&format!(" 2@[::1]:9094:{DIRECTORY},0@example.com:9093:{DIRECTORY}")).expect("voters");
        let shown: Vec<_> = voters.iter().map(|(id, v)| (*id, v.host.as_str(), v.port)).collect();
        assert_eq!(shown, [(0, "example.com", 9093), (2, "::1", 9094)]);
    }

    #[test]
    fn what_is_no_voter_says_why() {
        let rows = [
            ("", "names no voters"),
            ("1@h:1", "id@host:port:directory"),
            ("h:1:x", "id@host:port:directory"),
            ("-1@h:1:x", "from 0 on"),
            ("1@h:99999:x", "up to 65535"),
            ("1@[::1:1:x", "in brackets"),
            ("1@h:1:x", "random-uuid"),
        ];
        for (text, why) in rows {
            let error = crate::line_of(&parse(text).expect_err(text));
            assert!(error.contains(why), "{text}: {error}");
        }
        let twice = format!("1@h:1:{DIRECTORY},1@g:1:{DIRECTORY}");
        assert!(crate::line_of(&parse(&twice).expect_err("twice")).contains("more than once"));
    }
}
