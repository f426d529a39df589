//! The walls as a list: what each makes of a policy, and says to an access. How each is put up is in
//! [`Enclosure`](super::Enclosure). `check` and `why` go over [`Wall::all`] and know none by name.

use super::answer::Answer;
use super::landlock::{FileKind, LandlockLevel, Plan, plan, predict};
use sandbox_policy::access::{Access, Decision, GrantId, Resource, Wall};
use sandbox_policy::{Decider, Grant, Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which walls stand: all of them, but in builds with the feature `test-walls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// A bit for each that does not.
    down: u8,
}

impl Walls {
    /// All of them.
    pub const ALL: Self = Self { down: 0 };

    /// Without this one.
    #[must_use]
    pub const fn without(self, wall: Wall) -> Self {
        Self { down: self.down | 1 << wall as u8 }
    }

    /// These alone.
    pub fn only(standing: impl Fn(Wall) -> bool) -> Self {
        Wall::all().filter(|wall| !standing(*wall)).fold(Self::ALL, Self::without)
    }

    /// Whether this one stands.
    pub const fn stands(self, wall: Wall) -> bool {
        !cfg!(feature = "test-walls") || self.down >> wall as u8 & 1 == 0
    }

    /// How much of Landlock must be there where so much is asked for.
    pub const fn level(self, asked: LandlockLevel) -> LandlockLevel {
        if self.stands(Wall::Landlock) { asked } else { LandlockLevel::Off }
    }
}

/// What a wall makes of a process with some policies.
#[derive(Debug)]
pub enum Planned<'a> {
    /// It decides by the process's own one.
    Gate(&'a Policy),
    /// Rules: the plan of each, and what the first one's say of each grant.
    Rules(Vec<Plan>, BTreeMap<GrantId, Said>),
    /// It knows calls, and no paths.
    Calls,
}

/// What a plan says of one grant.
#[derive(Debug, Default)]
pub struct Said {
    rules: usize,
    wider: Vec<String>,
    narrower: Vec<String>,
    not_covered: Vec<String>,
}

/// How a wall holds what an entry of a manifest says.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// `exact`, `wider`, `narrower`, `not-covered` or `off`.
    pub verdict: &'static str,
    /// How.
    pub how: Vec<String>,
}

/// What a wall does for every policy, for people.
pub const fn always(wall: Wall) -> Option<&'static str> {
    match wall {
        Wall::Wasi | Wall::Landlock => None,
        Wall::Seccomp => Some("no exec, ptrace, mount, sockets, modes or owners; it does not look at paths"),
    }
}

impl<'a> Planned<'a> {
    /// For a process with a policy of its own and those of the processes that it was forked from, with
    /// Landlock of this ABI (0: without it). `look` says what is at a path.
    pub fn new(
        wall: Wall,
        own: &'a Policy,
        inherited: &[Policy],
        abi: u32,
        look: &dyn Fn(&[u8]) -> FileKind,
    ) -> Self {
        match wall {
            Wall::Wasi => Self::Gate(own),
            Wall::Landlock => {
                let plans: Vec<Plan> =
                    std::iter::once(own).chain(inherited).map(|policy| plan(policy, abi, look)).collect();
                let said = said(&plans[0]);
                Self::Rules(plans, said)
            }
            Wall::Seccomp => Self::Calls,
        }
    }

    /// How it holds a grant. `None` if it does not know of such things.
    pub fn grant(&self, grant: &Grant) -> Option<Verdict> {
        let exact = Verdict { verdict: "exact", how: Vec::new() };
        match self {
            Self::Gate(_) if grant.by.is_empty() => Some(exact),
            Self::Gate(_) => {
                let how = "`by` goes by the guest's own symbols: it finds out honest code and is no boundary";
                Some(Verdict { how: vec![how.to_owned()], ..exact })
            }
            Self::Rules(plans, _) if plans[0].abi == 0 => Some(Verdict { verdict: "off", ..exact }),
            Self::Rules(_, said) => Some(said.get(&grant.id).map_or(exact, Said::verdict)),
            Self::Calls => None,
        }
    }

    /// What it never covers, whatever is granted.
    pub fn not_covered(&self) -> impl Iterator<Item = &str> {
        let plan = match self {
            Self::Gate(_) | Self::Calls => None,
            Self::Rules(plans, _) => plans.first(),
        };
        let all = plan.into_iter().flat_map(|plan| &plan.not_covered);
        all.filter(|what| what.grant.is_none()).map(|what| what.what.as_str())
    }

    /// What it says to an access, to a path without links at which is `look`.
    pub fn predict(&self, access: &Access, look: FileKind) -> Answer {
        match (self, &access.resource) {
            (Self::Gate(policy), resource) => match Decider::new(policy).decide(access.operation, resource) {
                Decision::Allowed(_) => Answer::Allows,
                Decision::DependsOnOrigin => Answer::DependsOnOrigin,
                Decision::Denied(_) => Answer::Denies,
                Decision::Hidden(_) => Answer::Hides,
            },
            (Self::Rules(plans, _), _) if plans[0].abi == 0 => Answer::Off,
            // Each layer must let it through.
            (Self::Rules(plans, _), Resource::Path(path)) => plans
                .iter()
                .map(|plan| predict(plan, access.operation, path, look))
                .find(|answer| *answer != Answer::Allows)
                .unwrap_or(Answer::Allows),
            (Self::Rules(..), _) => Answer::NotChecked,
            (Self::Calls, _) => Answer::Blind,
        }
    }

    /// How it lets through more than is granted at this path.
    pub fn overgrants(&self, path: &[u8]) -> Vec<String> {
        let rules = match self {
            Self::Gate(_) | Self::Calls => &[][..],
            Self::Rules(plans, _) => &plans[0].rules,
        };
        let above = |rule: &[u8]| {
            path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rule == b"/" || rest[0] == b'/')
        };
        rules.iter().filter(|rule| above(&rule.path)).filter_map(|rule| rule.overgrant.clone()).collect()
    }
}

/// How a wall holds an exception. `None` if it does not know of such things.
pub fn exception(wall: Wall, abi: u32) -> Option<Verdict> {
    match wall {
        Wall::Wasi => Some(Verdict { verdict: "exact", how: Vec::new() }),
        Wall::Landlock => {
            let how = "it knows no exceptions: they only hold where no grant is above them";
            Some(Verdict { verdict: if abi > 0 { "wider" } else { "off" }, how: vec![how.to_owned()] })
        }
        Wall::Seccomp => None,
    }
}

fn said(plan: &Plan) -> BTreeMap<GrantId, Said> {
    let mut said = BTreeMap::<GrantId, Said>::new();
    for rule in &plan.rules {
        let of = said.entry(rule.grant).or_default();
        of.rules += 1;
        of.wider.extend(rule.overgrant.clone());
    }
    for narrower in &plan.narrower {
        said.entry(narrower.grant).or_default().narrower.push(narrower.what.clone());
    }
    for not in &plan.not_covered {
        if let Some(grant) = not.grant {
            said.entry(grant).or_default().not_covered.push(not.what.clone());
        }
    }
    said
}

impl Said {
    fn verdict(&self) -> Verdict {
        let Self { rules, wider, narrower, not_covered } = self;
        let verdict = match (wider.is_empty(), narrower.is_empty()) {
            _ if *rules == 0 && !not_covered.is_empty() => "not-covered",
            (false, _) => "wider",
            (true, false) => "narrower",
            (true, true) => "exact",
        };
        let mut how = [&wider[..], narrower, not_covered].concat();
        how.dedup();
        Verdict { verdict, how }
    }
}
