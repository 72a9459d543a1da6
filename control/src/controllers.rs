//! Controllers: one runner, one file each with its pure plan.
