//! The kinds of objects, what selects some of them, and where the API has them. Must not know: files, requests.

use std::fmt;
use std::str::FromStr;

/// A kind, in the order in which objects are created: each depends only on kinds before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Plugins,
    Rewards,
    EventGroups,
    Events,
    Webhooks,
    ServiceKeys,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Plugins,
        Self::Rewards,
        Self::EventGroups,
        Self::Events,
        Self::Webhooks,
        Self::ServiceKeys,
    ];

    /// The section of a file.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Plugins => "plugins",
            Self::Rewards => "rewards",
            Self::EventGroups => "eventGroups",
            Self::Events => "events",
            Self::Webhooks => "webhooks",
            Self::ServiceKeys => "serviceKeys",
        }
    }

    /// One object, in sentences.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Plugins => "plugin",
            Self::Rewards => "reward",
            Self::EventGroups => "event group",
            Self::Events => "event",
            Self::Webhooks => "webhook endpoint",
            Self::ServiceKeys => "service key",
        }
    }

    /// The first segment of its paths.
    pub(super) fn collection(self) -> &'static str {
        match self {
            Self::Plugins => "plugins",
            Self::Rewards => "rewards",
            Self::EventGroups => "event-groups",
            Self::Events => "events",
            Self::Webhooks => "webhook-endpoints",
            Self::ServiceKeys => "service-keys",
        }
    }

    /// The kinds whose objects this kind names.
    pub(super) fn names(self) -> &'static [Self] {
        match self {
            Self::Events => &[Self::Plugins, Self::Rewards, Self::EventGroups],
            _ => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.section())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.section() == text)
            .ok_or_else(|| {
                let all = Self::ALL.map(Self::section).join(", ");
                format!("{text:?} is none of {all}")
            })
    }
}

/// A kind, or one object of it.
#[derive(Clone, Debug)]
pub(super) struct Only {
    pub kind: Kind,
    pub name: Option<String>,
}

impl FromStr for Only {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (kind, Some(name.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            kind: kind.parse()?,
            name,
        })
    }
}

/// Whether an object is selected; nothing selects everything.
pub(super) fn selects(only: &[Only], kind: Kind, name: &str) -> bool {
    only.is_empty()
        || only
            .iter()
            .any(|only| only.kind == kind && only.name.as_ref().is_none_or(|only| only == name))
}

/// Whether an object of the kind may be selected.
pub(super) fn selects_some(only: &[Only], kind: Kind) -> bool {
    only.is_empty() || only.iter().any(|only| only.kind == kind)
}
