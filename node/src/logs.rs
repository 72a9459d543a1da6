//! Container logs: written, rotated, read.
