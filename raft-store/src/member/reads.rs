//! Linearizable reads by ReadIndex (Raft thesis §6.4): a leader that a quorum still follows names its commit index, and
//! the read waits until that is applied here. Reads that come while one question is under way share the next.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BufMut};

use crate::error::ReadError;
use crate::shared::ReadRequest;

/// A question without an answer is asked again: the leader may be gone, or too new to answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How long a read waits for a leader to confirm it.
const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Reads {
    /// Makes questions of this run differ from those of an earlier one, whose late answers must not count.
    run: u64,
    asked_count: u64,
    waiting: Vec<Waiting>,
    asked: Option<Asked>,
    /// Confirmed, and the index that must be applied.
    confirmed: VecDeque<(u64, Vec<Waiting>)>,
}

struct Waiting {
    request: ReadRequest,
    since: Duration,
}

struct Asked {
    number: u64,
    at: Duration,
    reads: Vec<Waiting>,
}

impl Reads {
    pub(super) fn new(run: u64) -> Self {
        Self { run, asked_count: 0, waiting: Vec::new(), asked: None, confirmed: VecDeque::new() }
    }

    pub(super) fn accept(&mut self, request: ReadRequest, since: Duration) {
        self.waiting.push(Waiting { request, since });
    }

    /// The context of the question to ask now, if any.
    pub(super) fn ask(&mut self, now: Duration) -> Option<Vec<u8>> {
        if let Some(asked) = self.asked.take_if(|asked| now >= asked.at + ASK_AGAIN) {
            self.waiting.extend(asked.reads);
        }
        if self.asked.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.asked_count += 1;
        let reads = std::mem::take(&mut self.waiting);
        self.asked = Some(Asked { number: self.asked_count, at: now, reads });
        let mut context = Vec::with_capacity(16);
        context.put_u64_le(self.run);
        context.put_u64_le(self.asked_count);
        Some(context)
    }

    /// The question with this context was answered.
    pub(super) fn confirm(&mut self, mut context: &[u8], index: u64) {
        let number = (context.len() == 16 && context.get_u64_le() == self.run).then(|| context.get_u64_le());
        if let Some(asked) = self.asked.take_if(|asked| Some(asked.number) == number) {
            self.confirmed.push_back((index, asked.reads));
        }
    }

    /// Answers the reads whose index is applied.
    pub(super) fn answer(&mut self, applied: u64) {
        while self.confirmed.front().is_some_and(|(index, _)| *index <= applied) {
            let (_, reads) = self.confirmed.pop_front().unwrap_or_default();
            reads.into_iter().for_each(|read| read.request.answer(Ok(())));
        }
    }

    /// Answers reads that wait for longer than they should.
    pub(super) fn refuse_old(&mut self, now: Duration) {
        let old = |read: &mut Waiting| now > read.since + WAIT;
        let asked = self.asked.as_mut().map(|asked| &mut asked.reads);
        let lists = [Some(&mut self.waiting), asked];
        for list in lists.into_iter().flatten() {
            list.extract_if(.., old).for_each(|read| read.request.answer(Err(ReadError::NoLeader)));
        }
    }

    pub(super) fn refuse(&mut self, error: &ReadError) {
        let asked = self.asked.take().map(|asked| asked.reads);
        let confirmed = self.confirmed.drain(..).flat_map(|(_, reads)| reads);
        let all = self.waiting.drain(..).chain(asked.into_iter().flatten()).chain(confirmed);
        all.for_each(|read| read.request.answer(Err(error.clone())));
    }
}
