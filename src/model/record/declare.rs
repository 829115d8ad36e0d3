//! The macros behind `table.rs`: one row of a table becomes a struct with its default, its encoder and its decoder. They
//! know that all records are flexible (KIP-482), and nothing about a single record.

/// Declares the struct of a record, or of an element of one of its arrays. `field: Type = default, 3+, tag 0;` is a field
/// that exists from version 3 on and is a tagged field with tag 0. Tags ascend.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$about:meta])* $field:ident: $type:ty = $default:expr, $since:literal + $(, tag $tag:literal)?;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$about])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* }
            }
        }

        #[allow(unused, reason = "a record without fields has no use for its version")]
        impl Field for $name {
            // A struct ends with the count of its tagged fields.
            const BYTES_MIN: usize = 1;

            fn write(&self, version: i16, to: &mut Writer) {
                let mut tags = Tags::new();
                let absent = $name::default();
                $(match None::<u32> $(.or(Some($tag)))? {
                    _ if version < $since => {}
                    None => self.$field.write(version, to),
                    Some(_) if self.$field == absent.$field => {}
                    Some(tag) => {
                        tags.field(tag, |to| self.$field.write(version, to));
                    }
                })*
                to.tagged_fields(FORM, &tags);
            }

            fn read(version: i16, from: &mut Reader) -> Result<$name, ReadError> {
                let mut record = $name::default();
                $(
                    let tag = None::<u32> $(.or(Some($tag)))?;
                    if tag.is_none() && version >= $since {
                        record.$field = Field::read(version, from)?;
                    }
                )*
                from.tagged_fields(FORM, |tag, from| -> Result<(), ReadError> {
                    match tag {
                        $($(
                            $tag if version < $since => return Err(from.error(Problem::Value($tag))),
                            $tag => {
                                record.$field = Field::read(version, from)?;
                                return from.finish();
                            }
                        )?)*
                        // Written by a newer version. Its meaning is lost, as in Kafka's image.
                        _ => Ok(()),
                    }
                })?;
                Ok(record)
            }

            fn check(&self, version: i16) -> Result<(), Unwritable> {
                let absent = $name::default();
                $(
                    if version < $since && self.$field != absent.$field {
                        return Err(Unwritable::NotInVersion { field: stringify!($field), version });
                    }
                    self.$field.check(version)?;
                )*
                Ok(())
            }
        }

        #[cfg(test)]
        #[allow(unused, reason = "a record without fields has no use for its version")]
        impl $crate::record::sample::Sample for $name {
            fn sample(version: i16, dice: &mut $crate::dice::Dice) -> $name {
                let mut record = $name::default();
                $(
                    if version >= $since {
                        record.$field = $crate::record::sample::Sample::sample(version, dice);
                    }
                )*
                record
            }
        }
    };
}

/// Declares every record: its struct, its variant of `MetadataRecord`, its key and its versions.
macro_rules! records {
    ($(
        $(#[$meta:meta])*
        $variant:ident($name:ident) = $key:literal, versions 0..=$latest:literal { $($fields:tt)* }
    )*) => {
        $(
            wire_struct! { $(#[$meta])* $name { $($fields)* } }

            impl From<$name> for MetadataRecord {
                fn from(record: $name) -> MetadataRecord {
                    MetadataRecord::$variant(record)
                }
            }
        )*

        /// One record of the metadata log, of any type.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum MetadataRecord {
            $($(#[$meta])* $variant($name),)*
        }

        /// Every record type, by key.
        pub static RECORD_TYPES: &[RecordType] = &[
            $(RecordType { key: $key, name: stringify!($name), latest: $latest },)*
        ];

        impl MetadataRecord {
            /// Its key, name and versions.
            pub fn record_type(&self) -> RecordType {
                match self {
                    $(MetadataRecord::$variant(_) => {
                        RecordType { key: $key, name: stringify!($name), latest: $latest }
                    })*
                }
            }

            pub(super) fn write_body(&self, version: i16, to: &mut Writer) {
                match self {
                    $(MetadataRecord::$variant(record) => record.write(version, to),)*
                }
            }

            pub(super) fn check_body(&self, version: i16) -> Result<(), Unwritable> {
                match self {
                    $(MetadataRecord::$variant(record) => record.check(version),)*
                }
            }

            /// A record of that type with random values. `None`: no record has that key.
            #[cfg(test)]
            pub(crate) fn sample(
                key: i16,
                version: i16,
                dice: &mut $crate::dice::Dice,
            ) -> Option<MetadataRecord> {
                use $crate::record::sample::Sample;
                match key {
                    $($key => Some(MetadataRecord::$variant($name::sample(version, dice))),)*
                    _ => None,
                }
            }

            /// `None`: no record has that key.
            pub(super) fn read_body(
                key: u32,
                version: i16,
                from: &mut Reader,
            ) -> Option<Result<MetadataRecord, ReadError>> {
                match key {
                    $($key => Some($name::read(version, from).map(MetadataRecord::$variant)),)*
                    _ => None,
                }
            }
        }
    };
}
