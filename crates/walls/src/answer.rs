//! What a wall answers, before it is asked by a guest.

/// What a wall will say to an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It lets it through.
    Allows,
    /// It denies it.
    Denies,
    /// It says that there is nothing.
    Hides,
    /// It decides by the crate that the access comes from.
    DependsOnOrigin,
    /// It does not look at such accesses.
    NotChecked,
    /// It looks at no access.
    Blind,
    /// It does not stand.
    Off,
}

impl Answer {
    /// In JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Allows => "allows",
            Self::Denies => "denies",
            Self::Hides => "hides",
            Self::DependsOnOrigin => "depends-on-origin",
            Self::NotChecked | Self::Blind => "not-checked",
            Self::Off => "off",
        }
    }

    /// For people, after the wall's name.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Allows => "allows it",
            Self::Denies => "denies it",
            Self::Hides => "hides it",
            Self::DependsOnOrigin => "decides by the crate it originates from",
            Self::NotChecked => "does not check it",
            Self::Blind => "does not look at paths or names",
            Self::Off => "is off or missing",
        }
    }
}
