//! After the faults: everybody agrees again, a write goes through, and what clients saw makes sense.

use super::Micros;
use super::clients::{Ended, Histories, Request};
use super::faults::Relief;
use super::linearizability::{self, Act, Call, Outcome, Verdict};
use super::network::Weather;
use super::oracle::{Check, digest_of, violation};
use super::world::{Event, World};
use crate::disk::memory::Faults;
use crate::membership::MemberId;

/// When the faults are over, everything must be well again within this time.
const HEALED_WITHIN: Micros = 20_000_000;

/// A bit that flipped in what nobody touches is found by counting all of it, once in a minute.
const COUNTED_WITHIN: Micros = 70_000_000;

impl World {
    pub(super) fn heal(&mut self) -> Check {
        self.calm_down()?;
        let flipped = self.nodes.iter().any(|node| node.flipped);
        let deadline = self.now + HEALED_WITHIN + if flipped { COUNTED_WITHIN } else { 0 };
        self.run_until(deadline, Self::is_whole)?;
        if !self.is_whole() {
            violation!("who lost something does not get it back: {}", self.describe());
        }
        self.agree(deadline)?;
        let live = self.live();
        let write = |histories: &mut Histories, world: &Self| Request::put(&world.keys[0], histories);
        self.insist(live[live.len() - 1], deadline, write)?;
        for at in live {
            self.insist(at, deadline, |_, _| Request::Read)?;
        }
        self.agree(deadline)
    }

    /// The faults are over.
    pub(super) fn calm_down(&mut self) -> Check {
        self.trace.note(self.now, &[15], || "the faults are over".to_owned());
        self.stormy = false;
        self.lull = false;
        self.network.weather = Weather::FAIR;
        self.network.cut([]);
        for at in 0..self.nodes.len() {
            let life = self.nodes[at].life;
            self.nodes[at].faults = Faults::default();
            self.nodes[at].apply_faults();
            self.relieve(Relief::Resume { at, life })?;
            self.at(self.now, Event::Start { at });
        }
        self.clients.iter_mut().for_each(|client| client.lost(&mut self.histories));
        Ok(())
    }

    /// Everybody agrees, and soon.
    pub(super) fn agree_again(&mut self) -> Check {
        self.agree(self.now + HEALED_WITHIN)
    }

    fn agree(&mut self, deadline: Micros) -> Check {
        self.run_until(deadline, Self::is_agreed)?;
        if !self.is_agreed() {
            violation!("the cluster does not heal: {}", self.describe());
        }
        Ok(())
    }

    /// The members that take part and can.
    pub(super) fn live(&self) -> Vec<usize> {
        let members = self.members();
        (0..self.nodes.len()).filter(|at| members.contains(MemberId(self.nodes[*at].id))).collect()
    }

    /// The place of who leads, as far as anybody knows.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = (0..self.nodes.len()).filter(|at| self.nodes[*at].leads());
        let term = |at: &usize| self.nodes[*at].running.as_ref().map(|running| running.member.view().term);
        leads.max_by_key(term)
    }

    /// One member leads, and all that are well have the same log and state.
    fn is_agreed(&self) -> bool {
        let mut views = Vec::new();
        for at in self.live() {
            let Some(running) = &self.nodes[at].running else { return false };
            views.push((
                running.member.view(),
                running.member.log().last(),
                digest_of(&running.shared.state.load()),
            ));
        }
        let facts =
            views.iter().map(|(view, last, state)| (view.term, view.committed, view.applied, *last, *state));
        let mut facts: Vec<_> = facts.collect();
        facts.dedup();
        let leaders = views.iter().filter(|(view, ..)| view.leads).count();
        leaders == 1 && facts.len() == 1 && facts[0].2 == facts[0].3
    }

    /// Calls until it is done.
    pub(super) fn insist(
        &mut self,
        at: usize,
        deadline: Micros,
        mut request: impl FnMut(&mut Histories, &Self) -> Request,
    ) -> Check {
        while self.now < deadline {
            // A change of members that was still under way may have taken it out.
            if !self.live().contains(&at) {
                return Ok(());
            }
            let mut histories = std::mem::take(&mut self.histories);
            let request = request(&mut histories, self);
            self.histories = histories;
            self.clients[0].at = at;
            self.begin(0, request)?;
            self.run_until(deadline, |world| world.clients[0].is_idle())?;
            if self.clients[0].last == Some(Ended::Done) {
                return Ok(());
            }
            self.run_until(self.now + 10_000, |_| false)?;
        }
        violation!("a call on member {} never succeeds: {}", at + 1, self.describe())
    }

    fn describe(&self) -> String {
        let member = |node: &super::node::Node| match &node.running {
            Some(running) => {
                format!("{}: {:?} log to {:?}", node.id, running.member.view(), running.member.log().last())
            }
            None => format!("{}: down", node.id),
        };
        self.nodes.iter().map(member).collect::<Vec<_>>().join("; ")
    }

    /// What clients were told of each key could be, and what they were refused did not happen.
    pub(super) fn check_histories(&self) -> Check {
        if let Some(number) =
            self.histories.refused.iter().find(|number| self.oracle.written.contains_key(number))
        {
            violation!("a write of value {number} was refused and happened nevertheless");
        }
        let newest = self.oracle.events.keys().last().copied().unwrap_or_default();
        for node in self.live().into_iter().filter_map(|at| self.nodes[at].running.as_ref()) {
            let revision = node.shared.state.load().revision;
            if revision < self.oracle.floor || revision < newest {
                violation!("the cluster ends at revision {revision}; {} was acknowledged", self.oracle.floor);
            }
        }
        for (key, calls) in &self.histories.calls {
            let calls: Vec<Call> =
                calls.iter().filter(|call| self.may_have_happened(call)).copied().collect();
            match linearizability::check(&calls) {
                Verdict::Linearizable => {}
                Verdict::Impossible(call) => {
                    violation!(
                        "{key:?} is not linearizable: {:?}, the {call}th of {}",
                        calls[call],
                        calls.len()
                    )
                }
                Verdict::Undecided => {
                    violation!("the history of {key:?} has {} calls: too many to judge", calls.len())
                }
            }
        }
        Ok(())
    }

    /// Leaves out writes of unknown outcome whose values no member ever showed: the search need not try them.
    fn may_have_happened(&self, call: &Call) -> bool {
        match call.act {
            Act::Write(to) | Act::Swap { to, .. } if call.outcome == Outcome::Unknown && to != 0 => {
                !self.oracle.has_every_change() || self.oracle.written.contains_key(&to)
            }
            _ => true,
        }
    }
}
