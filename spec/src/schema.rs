//! The table of facts about every field of every type.
