//! What happens between decoding and storing: defaults that need other objects, and checks against them.
