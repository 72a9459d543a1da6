//! What comes from other members and goes to them.

use std::time::Duration;

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::Member;
use crate::error::DriverError;
use crate::membership::MemberId;
use crate::transport::letter::Note;
use crate::transport::{Body, Letter};

/// What only members say.
const TAKES_PART: [MessageType; 5] = [
    MessageType::MsgRequestVote,
    MessageType::MsgRequestPreVote,
    MessageType::MsgAppendResponse,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgReadIndex,
];

/// So long a leader may be mistaken about what this member has.
const AHEAD_FOR: Duration = Duration::from_secs(2);

/// Leaves out what tells a member only how much is committed, when another message follows that tells it too: under load
/// that is half of all. A member that may be sent two at a time is not waited for, so none is missed.
pub(super) fn leave_out_repeated(letters: &mut Vec<Letter>) {
    let mut told: Vec<u64> = Vec::new();
    let mut at = letters.len();
    while at > 0 {
        at -= 1;
        let Body::Raft(message) = &letters[at].body else { continue };
        if message.msg_type != MessageType::MsgAppend {
            continue;
        }
        let repeated = told.contains(&message.to);
        if repeated && message.entries.is_empty() {
            letters.remove(at);
        } else if !repeated {
            told.push(message.to);
        }
    }
}

impl Member {
    /// Takes in what another member sent. What was sent to somebody else is not read.
    pub(super) fn receive(&mut self, letter: Letter) -> Result<(), DriverError> {
        let Letter { to, from, body } = letter;
        // Raft must not be touched while it waits for something to be written; what matters is sent again.
        if to != self.id() || self.unwritten.is_some() {
            return Ok(());
        }
        self.note_heard(from);
        if self.is_mute() {
            match body {
                Body::Note(Note::Admitted { run, term }) => self.admitted(from, run, term),
                _ => self.knock(from),
            }
            return Ok(());
        }
        match body {
            Body::Raft(message) => return self.receive_raft(from, message),
            Body::Note(Note::Ask { term, origin, answered, request }) => {
                self.answer_stranger(from);
                self.asked(term, origin, answered, request);
            }
            Body::Note(Note::Tell { origin, reply }) => self.told(origin, reply),
            Body::Note(Note::NotAMember { index }) => return self.told_not_a_member(index),
            Body::Note(Note::Offer { snapshot }) => self.offered(from, snapshot),
            Body::Note(Note::Want { snapshot, offset }) => self.wanted(from, snapshot, offset),
            Body::Note(Note::Chunk { snapshot, offset, bytes }) => self.received(snapshot, offset, bytes),
            Body::Note(Note::Joining { run }) => self.knocked(from, run),
            Body::Note(Note::Compare { index, .. }) => self.asked_for_sum(from, index),
            Body::Note(Note::Compared { index, sum }) => return self.compared(from, index, sum),
            Body::Note(Note::Differs { index }) => return self.differs(from, index),
            // For those who are not let in yet.
            Body::Note(Note::Admitted { .. }) => {}
        }
        Ok(())
    }

    fn receive_raft(&mut self, from: MemberId, message: Message) -> Result<(), DriverError> {
        if TAKES_PART.contains(&message.msg_type) {
            self.answer_stranger(from);
        }
        let refused = self.must_not_vote(&message) || self.goes_first(&message);
        let answered = message.msg_type == MessageType::MsgReadIndex && self.answer_from_lease(&message);
        let unused = message.msg_type == MessageType::MsgTransferLeader;
        if refused || answered || unused || self.is_ahead(&message)? {
            return Ok(());
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%from, %error, "message not taken");
        }
        Ok(())
    }

    /// Whether the leader believes that this member has more than it has. That may come late, from before it was let in
    /// with an empty log; but a leader that goes on believing it was told so.
    fn is_ahead(&mut self, message: &Message) -> Result<bool, DriverError> {
        let raft = &self.node.raft;
        if message.msg_type != MessageType::MsgHeartbeat || message.term < raft.term {
            return Ok(false);
        }
        if message.commit <= raft.raft_log.last_index() {
            self.ahead_since = None;
            return Ok(false);
        }
        if self.now > *self.ahead_since.get_or_insert(self.now) + AHEAD_FOR {
            return self.begin_anew();
        }
        Ok(true)
    }

    /// When two want to lead at the same moment, each would vote for itself, and both would wait for another timeout.
    /// The one with the greater number goes first, unless its log is behind.
    fn goes_first(&self, message: &Message) -> bool {
        let raft = &self.node.raft;
        let mine = (raft.raft_log.last_term(), raft.raft_log.last_index());
        let asks =
            message.msg_type == MessageType::MsgRequestPreVote && raft.state == StateRole::PreCandidate;
        asks && message.from < raft.id && (message.log_term, message.index) <= mine
    }

    /// A member that was removed may not have heard of it: nobody sends it entries any more.
    fn answer_stranger(&mut self, from: MemberId) {
        let knows_members = !self.conf_state.voters.is_empty();
        if knows_members && !self.takes_part(from) {
            self.post(from, Note::NotAMember { index: self.applied.index });
        }
    }

    /// True only if the other one knows more than this member: one that was just added may know more than those who have
    /// not heard of it.
    fn told_not_a_member(&mut self, index: u64) -> Result<(), DriverError> {
        let member = self.id();
        if index > self.applied.index && self.takes_part(member) {
            return Err(DriverError::Removed { member });
        }
        Ok(())
    }

    /// A member that knows the others and is none of them has no part any more.
    pub(super) fn check_membership(&self) -> Result<(), DriverError> {
        let member = self.id();
        if !self.conf_state.voters.is_empty() && !self.takes_part(member) {
            return Err(DriverError::Removed { member });
        }
        Ok(())
    }

    fn takes_part(&self, member: MemberId) -> bool {
        self.conf_state.voters.contains(&member.0) || self.conf_state.learners.contains(&member.0)
    }

    /// Sends a message of our own.
    pub(super) fn post(&mut self, to: MemberId, note: Note) {
        self.outgoing.push(Letter { to, from: self.id(), body: Body::Note(note) });
    }

    /// Sends Raft's messages. A snapshot is only offered: its bytes are asked for in parts.
    pub(super) fn post_all(&mut self, messages: Vec<Message>) {
        for message in messages {
            if message.msg_type == MessageType::MsgSnapshot {
                self.offer(&message);
            } else {
                self.outgoing.push(Letter::of(message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    #[test]
    fn of_messages_about_the_commit_index_alone_only_the_last_is_sent() {
        let append = |to, commit, entries: u64| {
            let entries = (0..entries).map(|_| Entry::default()).collect::<Vec<_>>().into();
            let msg_type = MessageType::MsgAppend;
            Letter::of(Message { msg_type, to, from: 1, commit, entries, ..Message::default() })
        };
        let beat =
            Letter::of(Message { msg_type: MessageType::MsgHeartbeat, to: 2, from: 1, ..Message::default() });
        let (first, second) = (append(2, 8, 1), append(2, 9, 2));
        let last = append(3, 8, 0);
        let mut letters = vec![
            append(2, 7, 0),
            first.clone(),
            append(3, 7, 0),
            beat.clone(),
            append(2, 8, 0),
            second.clone(),
            last.clone(),
        ];
        leave_out_repeated(&mut letters);
        assert_eq!(letters, [first, beat, second, last]);
    }
}
