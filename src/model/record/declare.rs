//! The macros behind `table.rs`: one row of a table makes a struct, its default, its encoder and its decoder.
//! They know that all records are flexible (KIP-482) and nothing about any one record.

/// Declares the struct of a record, or of an element in one of its arrays. `field: Type = default, 3+, tag 0;`
/// is a field that exists from version 3 and travels among the tagged fields, under tag 0.
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

        impl $crate::record::wire::Field for $name {
            // Each struct ends with the count of its tagged fields.
            const BYTES_MIN: usize = 1;

            #[allow(unused, reason = "a record without fields uses none of them")]
            fn write(&self, version: i16, out: &mut $crate::record::wire::Out) {
                let mut tagged = $crate::record::wire::Tagged::default();
                $(
                    let place = $crate::record::wire::Place {
                        name: stringify!($field),
                        since: $since,
                        tag: None $(.or(Some($tag)))?,
                    };
                    out.field(&mut tagged, version, place, &self.$field, || $default);
                )*
                out.tags(tagged);
            }

            #[allow(unused, reason = "a record without fields sets none of them")]
            fn read(version: i16, input: &mut $crate::record::wire::In) -> $crate::record::wire::Read<$name> {
                let mut record = $name::default();
                $(
                    let tag: Option<u32> = None $(.or(Some($tag)))?;
                    if tag.is_none() && version >= $since {
                        record.$field = $crate::record::wire::Field::read(version, input)?;
                    }
                )*
                input.tags(|tag, input| {
                    match tag {
                        $($(
                            $tag if version >= $since => {
                                record.$field = $crate::record::wire::Field::read(version, input)?;
                            }
                            $tag => return Err($crate::record::wire::Wrong::TagOfAnotherVersion(tag)),
                        )?)*
                        // From a newer writer. What it means is lost, as it is in Kafka's image.
                        _ => input.skip_rest(),
                    }
                    Ok(())
                })?;
                Ok(record)
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
                    $(MetadataRecord::$variant(_) =>
                        RecordType { key: $key, name: stringify!($name), latest: $latest },)*
                }
            }

            pub(super) fn write_body(&self, version: i16, out: &mut $crate::record::wire::Out) {
                match self {
                    $(MetadataRecord::$variant(record) =>
                        $crate::record::wire::Field::write(record, version, out),)*
                }
            }

            /// `None` if no record has that key.
            pub(super) fn read_body(
                key: i16,
                version: i16,
                input: &mut $crate::record::wire::In,
            ) -> Option<$crate::record::wire::Read<MetadataRecord>> {
                match key {
                    $($key => Some(
                        <$name as $crate::record::wire::Field>::read(version, input).map(MetadataRecord::$variant),
                    ),)*
                    _ => None,
                }
            }
        }
    };
}
