//! Which shard of a coordinator a key falls to. It must never know what the key names.

/// The partition of a coordinator's topic that a group or a transactional id falls to: Java's hash of its name, as every
/// broker and tool computes it.
pub fn shard_of(key: &str, partitions: usize) -> i32 {
    let hash =
        key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % i32::try_from(partitions.max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed with Java's String.hashCode and Kafka's Utils.abs.
    #[test]
    fn a_group_falls_to_the_shard_that_java_says() {
        let rows = [("", 0), ("a", 47), ("my-group", 12), ("Aa", 12), ("BB", 12), ("größe", 7)];
        for (group, shard) in rows {
            assert_eq!(shard_of(group, 50), shard, "{group}");
        }
        // Its hash is the smallest integer there is, which has no absolute value.
        assert_eq!(shard_of("polygenelubricants", 50), 0);
    }
}
