//! Primitives as stories: golden bytes, round trips, hostile lengths.
