//! Clients as Kafka's own behave: what they send, what they retry and what they remember. They know the node by its
//! image, its readers and its replies, and must never look at anything else of it.

mod admin;
mod around;
mod consumer;
mod member;
mod producer;
mod transactional;

use ottla_core::partition::Acks;

pub(crate) use admin::{Admin, confirmed};
pub(crate) use around::{Around, Request, Response};
pub(crate) use consumer::Consumer;
pub(crate) use member::{GroupMember, MemberAround, Subscribed};
pub(crate) use producer::Producer;
pub(crate) use transactional::TransactionalProducer;

use crate::dice::Dice;
use crate::invariants::ledger::RecordId;
use crate::node::{Answer, Key};
use crate::plan::Plan;
use crate::verdict::{Verdict, Violation};

/// One client.
pub(crate) enum Client {
    Producer(Producer),
    Consumer(Consumer),
    Admin(Admin),
    Member(GroupMember),
    Transactional(Box<TransactionalProducer>),
}

impl Client {
    /// Acts, and says in how many ms it wants to act again.
    pub fn wake(&mut self, around: &mut Around<'_>) -> Result<i64, Violation> {
        match self {
            Client::Producer(producer) => Ok(producer.wake(around)),
            Client::Consumer(consumer) => consumer.wake(around),
            Client::Admin(admin) => Ok(admin.wake(around)),
            Client::Member(member) => Ok(MemberAround::within(around, |around| member.wake(around))),
            Client::Transactional(producer) => producer.wake(around),
        }
    }

    pub fn hear(&mut self, request: u64, response: &Response, around: &mut Around<'_>) -> Verdict {
        match (self, response) {
            (Client::Producer(producer), response) => producer.hear(request, response, around),
            (Client::Transactional(producer), response) => producer.hear(request, response, around),
            (Client::Admin(admin), Response::Answered(answer)) => {
                admin.hear(request, answer);
                Ok(())
            }
            (Client::Member(member), Response::Answered(Answer::Group(reply))) => {
                MemberAround::within(around, |around| member.hear(request, reply, around))
            }
            _ => Ok(()),
        }
    }

    /// What a Produce that is under way holds.
    pub fn under_way(&self, request: u64) -> Option<(Key, Vec<RecordId>)> {
        match self {
            Client::Producer(producer) => producer.under_way(request),
            Client::Transactional(producer) => producer.under_way(request),
            _ => None,
        }
    }

    /// Nothing is under way.
    pub fn is_done(&self) -> bool {
        match self {
            Client::Producer(producer) => producer.is_done(),
            Client::Member(member) => member.is_done(),
            Client::Transactional(producer) => producer.is_done(),
            Client::Consumer(_) | Client::Admin(_) => true,
        }
    }
}

/// All clients of a run.
pub(crate) fn of_plan(plan: &Plan, dice: &mut Dice) -> Vec<Client> {
    let mut clients = vec![Client::Admin(Admin::new(plan.deletes_topics, plan.compacts()))];
    for _ in 0..plan.idempotent_producers {
        clients.push(Client::Producer(Producer::new(true, Acks::All, *dice.pick(&[100, 1_500]))));
    }
    for _ in 0..plan.plain_producers {
        let acks = *dice.pick(&[Acks::All, Acks::Leader]);
        clients.push(Client::Producer(Producer::new(false, acks, *dice.pick(&[100, 1_500]))));
    }
    clients.extend((0..plan.consumers).map(|_| Client::Consumer(Consumer::of_everything())));
    if let Some(services) = &plan.services {
        let member = |index| Client::Member(GroupMember::new(index, services.groups, dice));
        clients.extend((0..services.members).map(member));
    }
    if let Some(plan) = &plan.transactional {
        clients.extend(
            (0..plan.committed_consumers).map(|_| Client::Consumer(Consumer::of_what_is_committed())),
        );
        let producers = TransactionalProducer::of_plan(plan, dice);
        clients.extend(producers.into_iter().map(|producer| Client::Transactional(Box::new(producer))));
    }
    clients
}
