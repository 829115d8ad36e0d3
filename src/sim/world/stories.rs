//! What one node does in trouble, told one step at a time.

use super::story::Story;

#[test]
fn a_clean_stop_loses_nothing_without_a_flush() {
    let mut story = Story::with_topic(&[]);
    story.records_are_acknowledged();
    story.stop_cleanly();
    let before = story.acknowledged();
    story.lose_power_unnoticed();
    story.is_up();
    assert_eq!(story.acknowledged(), before);
    story.records_are_acknowledged();
}

#[test]
fn what_was_not_flushed_goes_with_the_power() {
    let mut story = Story::with_topic(&[]);
    story.records_are_acknowledged();
    let before = story.acknowledged();
    story.lose_power();
    story.is_up();
    assert!(story.acknowledged() < before);
    story.records_are_acknowledged();
}

#[test]
fn a_topic_that_flushes_every_message_outlives_the_power() {
    let mut story = Story::with_topic(&[("flush.messages", "1")]);
    story.records_are_acknowledged();
    let before = story.acknowledged();
    story.lose_power();
    story.is_up();
    assert!(story.acknowledged() >= before);
    story.records_are_acknowledged();
}

#[test]
fn a_full_disk_is_waited_for() {
    let mut story = Story::with_topic(&[]);
    story.records_are_acknowledged();
    story.fill_the_disk();
    story.nothing_is_acknowledged();
    story.make_room();
    story.records_are_acknowledged();
    story.has_started(1);
}
