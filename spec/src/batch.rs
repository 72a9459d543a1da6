//! Kinds of the batch group: one file each, and the schedules of CronJobs.

pub mod cron_job;
pub mod job;
pub mod schedule;
