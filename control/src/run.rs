//! Config to wiring of a member.
