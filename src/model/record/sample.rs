//! Random records from a seed, for tests: every field of every record, at any version, with values that are difficult for
//! codecs.

use bytes::Bytes;
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::*;
use crate::dice::Dice;
use crate::ids::{BrokerEpoch, NodeId};

pub trait Sample: Sized {
    /// A value that a record of that version can hold.
    fn sample(version: i16, dice: &mut Dice) -> Self;
}

macro_rules! sample {
    ($($type:ty: |$dice:ident| $make:expr;)*) => {$(
        impl Sample for $type {
            fn sample(_: i16, $dice: &mut Dice) -> $type {
                $make
            }
        }
    )*};
}

sample! {
    bool: |dice| dice.below(2) == 0;
    i8: |dice| { let any = dice.roll() as i8; dice.pick(&[-1, 0, 1, i8::MIN, any]) };
    i16: |dice| { let any = dice.roll() as i16; dice.pick(&[-1, 0, 1, i16::MAX, any]) };
    u16: |dice| { let any = dice.roll() as u16; dice.pick(&[0, 9092, u16::MAX, any]) };
    i32: |dice| { let any = dice.roll() as i32; dice.pick(&[-1, 0, 1, i32::MIN, i32::MAX, any]) };
    i64: |dice| { let any = dice.roll() as i64; dice.pick(&[-1, 0, 1, i64::MIN, i64::MAX, any]) };
    Uuid: |dice| {
        let low = u128::from(dice.roll());
        Uuid::from_u128(dice.pick(&[0, 1, 2, low, low << 64 | low]))
    };
    String: |dice| {
        let letters = dice.pick(&["", "a", "metadata.version", "ünïcödé 💧", "x-1_2.3"]);
        letters.repeat(dice.pick(&[1, 1, 1, 20]))
    };
    Bytes: |dice| (0..dice.pick(&[0, 1, 32, 200])).map(|_| dice.roll() as u8).collect();
    NodeId: |dice| dice.pick(&[NodeId(0), NodeId(1), NodeId(2), NodeId(3), NodeId(i32::MAX)]);
    Option<NodeId>: |dice| dice.pick(&[None, Some(NodeId(0)), Some(NodeId(4))]);
    BrokerEpoch: |dice| BrokerEpoch(i64::sample(0, dice));
    LeaderEpoch: |dice| LeaderEpoch(i32::sample(0, dice));
    QuotaValue: |dice| QuotaValue(dice.pick(&[0.0, -0.0, 1.5, f64::MAX, f64::NAN, f64::NEG_INFINITY]));
    Secret: |dice| Secret(Bytes::sample(0, dice));
    LeaderChange: |dice| dice.pick(&[
        LeaderChange::Unchanged,
        LeaderChange::Nobody,
        LeaderChange::To(NodeId(0)),
        LeaderChange::To(NodeId(9)),
    ]);
    FencingChange: |dice| dice.pick(&[FencingChange::Unchanged, FencingChange::Fence, FencingChange::Unfence]);
    ResourceType: |dice| dice.pick(&[
        ResourceType::Topic,
        ResourceType::Broker,
        ResourceType::BrokerLogger,
        ResourceType::ClientMetrics,
        ResourceType::Group,
    ]);
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(version: i16, dice: &mut Dice) -> Vec<T> {
        (0..dice.pick(&[0, 1, 3, 130])).map(|_| T::sample(version, dice)).collect()
    }
}

impl Sample for Option<String> {
    fn sample(version: i16, dice: &mut Dice) -> Option<String> {
        (dice.below(3) > 0).then(|| String::sample(version, dice))
    }
}

impl<T: Sample> Sample for Option<Vec<T>> {
    fn sample(version: i16, dice: &mut Dice) -> Option<Vec<T>> {
        (dice.below(3) > 0).then(|| Vec::sample(version, dice))
    }
}
