//! The laws of deciding, as properties over random policies and accesses.

mod random;

use proptest::prelude::*;
use random::*;
use sandbox_policy::access::{Access, Decision, ExceptionId, GrantId, Operation, OperationSet, Resource};
use sandbox_policy::compare::{Index, covered as covered_operations};
use sandbox_policy::diagnostic::SourceFile;
use sandbox_policy::matching::{
    covers_path, glob_covers, glob_matches, globs_overlap, may_contain, path_covers,
};
use sandbox_policy::{
    Bindings, Ceiling, CommandLineGrants, Component, Decider, Exception, ExceptionKind, Grant, GrantPattern,
    Lookup, Manifests, Membership, PathBase, PathPattern, Places, Policy, Provenance, Recent, Resolved,
    Scope, Target, TargetKind, load, suggest,
};
use std::collections::BTreeSet;
use std::sync::Arc;

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn the_trie_decides_as_a_plain_search_does(
        policy in policy(SHUTTING), operation in operation(), path in path(),
    ) {
        let decision = Decider::new(&policy).decide_path(operation, &path);
        prop_assert_eq!(outcome(decision), expected(&policy, operation, &path));
        if let Decision::Allowed(Some(id)) = decision {
            prop_assert!(grant_covers(&policy.grants[id.0 as usize], operation, &path));
        }
    }

    #[test]
    fn what_was_decided_before_changes_no_decision(
        policy in policy(ALL),
        asked in prop::collection::vec((operation(), prop_oneof![9 => path(), 1 => malformed()]), 1..20),
    ) {
        let decider = Decider::new(&policy);
        let mut recent = Recent::default();
        for (operation, path) in asked {
            prop_assert_eq!(
                decider.decide_again(operation, &path, &mut recent),
                decider.decide_path(operation, &path)
            );
        }
    }

    #[test]
    fn deny_wins_over_everything_and_hide_over_grants(
        policy in policy(ALL), extra in pattern(), operation in operation(), path in path(),
    ) {
        prop_assume!(covered(&extra, None, &path));
        let denied_before = excepted(&policy, ExceptionKind::Deny, &path);
        for (kind, expected) in [(ExceptionKind::Hide, "hidden"), (ExceptionKind::Deny, "denied")] {
            let mut policy = policy.clone();
            policy.exceptions.push(Exception {
                id: ExceptionId(policy.exceptions.len() as u32),
                kind,
                pattern: extra.clone(),
                target: None,
                scope: Scope::Always,
                provenance: Provenance::default(),
            });
            let got = outcome(Decider::new(&policy).decide_path(operation, &path));
            prop_assert_eq!(got, if denied_before { "denied" } else { expected });
        }
    }

    #[test]
    fn the_order_of_entries_does_not_matter(
        policy in policy(ALL), turn in 0_usize..6, operation in operation(), path in path(),
    ) {
        let mut shuffled = policy.clone();
        let count = shuffled.grants.len().max(1);
        shuffled.grants.rotate_left(turn % count);
        shuffled.grants.reverse();
        shuffled.exceptions.reverse();
        let (one, other) = (Decider::new(&policy), Decider::new(&shuffled));
        prop_assert_eq!(one.decide_path(operation, &path), other.decide_path(operation, &path));
        let resource = Resource::Path(path);
        for krate in CRATES {
            let decide = |decider: &Decider| decider.decide_by(operation, &resource, krate);
            prop_assert_eq!(decide(&one), decide(&other));
        }
    }

    #[test]
    fn merging_never_widens_beyond_the_union(one in policy(ALL), other in policy(ALL), path in path()) {
        let mut merged = one.clone();
        merged.grants.extend(other.grants.iter().cloned());
        merged.exceptions.extend(other.exceptions.iter().cloned());
        let operations = |policy: &Policy| Decider::new(policy).operations(&path, true);
        let union = operations(&one).union(operations(&other));
        let merged = operations(&numbered(merged));
        prop_assert!(union.contains_all(merged), "{merged:?} is more than {union:?}");
    }

    #[test]
    fn more_exceptions_never_allow_more(policy in policy(ALL), more in exception(ALL), path in path()) {
        let before = Decider::new(&policy).operations(&path, true);
        let mut policy = policy;
        policy.exceptions.push(more);
        let after = Decider::new(&numbered(policy)).operations(&path, true);
        prop_assert!(before.contains_all(after));
    }

    #[test]
    fn a_grant_on_a_file_covers_no_sibling_and_nothing_above(
        path in path(), name in "[a-z]{1,4}", other in "[a-z]{1,4}",
    ) {
        prop_assume!(name != other);
        let file = joined(&[&path, b"/", name.as_bytes()]);
        let components = split(&file).into_iter().map(|part| Component::Literal(part.to_vec())).collect();
        let mut policy = Policy { current_dir: b"/".to_vec(), ..Policy::default() };
        policy.grants.push(Grant {
            id: GrantId(0),
            operations: OperationSet::FS_ALL,
            pattern: GrantPattern::Path(PathPattern { base: PathBase::Root, components, exact: false }),
            target: None,
            by: Vec::new(),
            scope: Scope::Always,
            protected: false,
            provenance: Provenance::default(),
        });
        let decider = Decider::new(&policy);
        prop_assert_eq!(decider.operations(&file, false), OperationSet::FS_ALL);
        for no in [joined(&[&path, b"/", other.as_bytes()]), joined(&[&file, b"x"]), path.clone()] {
            prop_assert_eq!(decider.operations(&no, true), OperationSet::EMPTY);
        }
        prop_assert!(decider.is_on_the_way(&path));
    }

    #[test]
    fn what_is_above_something_allowed_is_on_the_way(policy in policy(SHUTTING), path in path()) {
        let decider = Decider::new(&policy);
        prop_assume!(!decider.operations(&path, true).is_empty());
        let mut above = path.as_slice();
        while let Some(slash) = above.iter().rposition(|byte| *byte == b'/').filter(|slash| *slash > 0) {
            above = &above[..slash];
            prop_assert!(decider.is_on_the_way(above));
        }
    }

    #[test]
    fn a_move_never_gains(policy in policy(ALL), from in path(), to in path()) {
        let decider = Decider::new(&policy);
        let can = |path: &[u8], krate: &str| {
            let resource = Resource::Path(path.to_vec());
            let allows = |operation: &Operation| {
                matches!(decider.decide_by(*operation, &resource, krate), Decision::Allowed(_))
            };
            Operation::ALL[..Operation::PATHS].iter().copied().filter(allows).collect::<Vec<_>>()
        };
        let gains = ["one", "two", "other"].into_iter().any(|krate| {
            let had = can(&from, krate);
            can(&to, krate).iter().any(|operation| !had.contains(operation))
        });
        prop_assert_eq!(decider.may_move(&from, &to), !gains);
    }

    #[test]
    fn a_link_shows_nothing_that_could_not_be_made_there(
        policy in policy(ALL), link in path(), to in path(),
    ) {
        let decider = Decider::new(&policy);
        // Whoever makes the link may make something there.
        prop_assume!(decider.operations(&link, true).contains(Operation::Create));
        prop_assume!(decider.may_show(&link, &to));
        let changes = |path: &[u8]| {
            decider.operations(path, true).intersection(OperationSet::FS_CHANGE)
        };
        for below in &beneath(&to)[1..] {
            let seen = joined(&[&link, &below[to.len()..]]);
            let excepted = ALL.iter().any(|kind| excepted(&policy, *kind, &seen));
            prop_assert!(
                !excepted || changes(below).is_empty() || !changes(&seen).is_empty(),
                "{} is excepted, and {} can be changed: {:?}",
                String::from_utf8_lossy(&seen), String::from_utf8_lossy(below), changes(below)
            );
        }
    }

    #[test]
    fn cover_and_overlap_of_names_are_sound(one in pieces(), other in pieces(), name in "[ab]{0,5}") {
        let name = name.as_bytes();
        let (in_one, in_other) = (glob_matches(&one, name), glob_matches(&other, name));
        prop_assert!(!(glob_covers(&one, &other) && in_other) || in_one);
        prop_assert!(!(in_one && in_other) || globs_overlap(&one, &other));
    }

    #[test]
    fn cover_of_paths_is_sound(wide in pattern(), narrow in pattern(), path in path()) {
        let path = split(&path);
        prop_assert!(!(path_covers(&wide, &narrow) && covers_path(&narrow, &path)) || covers_path(&wide, &path));
    }

    #[test]
    fn containment_misses_nothing(outer in pattern(), inner in pattern(), path in path()) {
        let path = split(&path);
        let itself = PathPattern { exact: true, ..inner.clone() };
        let both = covers_path(&outer, &path) && covers_path(&itself, &path);
        prop_assert!(!both || may_contain(&outer.components, &inner.components));
    }

    /// What an index of grants leaves out could not have covered.
    #[test]
    fn an_index_finds_all_that_cover(one in policy(ALL), other in policy(ALL)) {
        let index = Index::new(&one.grants);
        for grant in &other.grants {
            let found = covered_operations(index.candidates(grant).map(|(_, wide)| wide), grant);
            prop_assert_eq!(found, covered_operations(one.grants.iter(), grant), "{:?} among {:?}", grant, one.grants);
        }
    }

    #[test]
    fn any_bytes_get_a_decision(policy in policy(ALL), path in prop::collection::vec(any::<u8>(), 0..40)) {
        let decider = Decider::new(&policy);
        let odd = path.first() != Some(&b'/') || path.contains(&0) || path.ends_with(b"/..");
        let operations = decider.operations(&path, true);
        prop_assert!(!odd || operations == OperationSet::EMPTY);
        prop_assert!(!odd || !decider.may_move(&path, b"/a") && !decider.may_move(b"/a", &path));
        prop_assert!(!odd || !decider.may_show(&path, b"/a") && !decider.may_show(b"/a", &path));
    }
}

/// Comparing two manifests is work in proportion to them, not to their product.
#[test]
fn each_grant_is_compared_with_few() {
    let compared = |count: usize| {
        let entries: Vec<String> = (0..count).map(|n| format!("d{}/f{n}", n % 100)).collect();
        let loaded =
            load(&manifests(&table("package.metadata.sandbox.", &entries, &[])), &places(), &Plain, None);
        let policy = loaded.expect("a policy").policy;
        let index = Index::new(&policy.grants);
        policy.grants.iter().map(|grant| index.candidates(grant).count()).sum::<usize>()
    };
    assert_eq!((compared(1_000), compared(4_000)), (1_000, 4_000));
}

/// Nothing is a symbolic link.
struct Plain;

impl Lookup for Plain {
    fn resolve(&self, path: &[u8]) -> Resolved {
        Resolved { target: path.to_vec(), exists: true, ..Resolved::default() }
    }
}

fn places() -> Places {
    Places {
        package: "/w/p".into(),
        workspace: "/w".into(),
        target_dir: "/w/target".into(),
        home: Some("/home/u".into()),
        ..Places::default()
    }
}

fn manifests(text: &str) -> Manifests {
    let package = Arc::new(SourceFile { path: "/w/p/Cargo.toml".into(), text: text.to_owned() });
    Manifests { package, workspace: None, extra: CommandLineGrants::default() }
}

fn decider(text: &str, ceiling: Option<&Ceiling>) -> Result<Decider, TestCaseError> {
    let loaded = load(&manifests(text), &places(), &Plain, ceiling);
    let policy = loaded.map_err(|errors| TestCaseError::fail(format!("{text}: {errors:?}")))?.policy;
    let bind = Bindings { tmp: None, current_dir: "/".into() };
    Ok(Decider::new(&policy.for_target(TargetKind::Bin, "x", None, &bind)))
}

fn entries(count: usize) -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![Just("a"), Just("b"), Just("*"), Just("a*"), Just("**")];
    let entry = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    prop::collection::vec(entry, 0..count)
}

fn table(prefix: &str, read: &[String], deny: &[String]) -> String {
    format!("[{prefix}fs]\nread = {read:?}\ndeny = {deny:?}\n")
}

/// How a table is written down.
#[derive(Clone, Debug)]
struct Spelling {
    /// 0: a header; 1: dotted keys; 2: inline tables; 3: a dotted key of an inline table.
    form: u8,
    /// How each key is written: 0 bare, 1 and 2 quoted, 3 with escapes.
    quotes: Vec<u8>,
    spaces: bool,
}

fn spelling() -> impl Strategy<Value = Spelling> {
    (0_u8..4, prop::collection::vec(0_u8..4, 6), any::<bool>()).prop_map(|(form, quotes, spaces)| Spelling {
        form,
        quotes,
        spaces,
    })
}

impl Spelling {
    fn key(&self, index: usize, key: &str) -> String {
        match self.quotes[index] {
            0 => key.to_owned(),
            1 => format!("\"{key}\""),
            2 => format!("'{key}'"),
            _ => {
                let escaped: String = key.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
                format!("\"{escaped}\"")
            }
        }
    }

    /// `[OWNER.metadata.sandbox.fs]` with two lists; without an owner the table of a ceiling's file.
    fn write(&self, owner: &str, read: &[String], deny: &[String]) -> String {
        let path: &[&str] = if owner.is_empty() { &["fs"] } else { &[owner, "metadata", "sandbox", "fs"] };
        let path: Vec<String> = path.iter().enumerate().map(|(at, key)| self.key(at, key)).collect();
        let dot = if self.spaces { " \t. " } else { "." };
        let list = |index, key, entries: &[String]| format!("{} = {entries:?}", self.key(index, key));
        let (read, deny) = (list(4, "read", read), list(5, "deny", deny));
        let all = path.join(dot);
        match self.form {
            0 => format!("# [{owner}]\n  [ {all} ]\n{read}\n{deny}\n"),
            1 => format!("{all}{dot}{read}\n{all}{dot}{deny}\n"),
            2 => {
                let open: String = path.iter().map(|key| format!("{key} = {{ ")).collect();
                format!("{open}{read}, {deny}{}\n", " }".repeat(path.len()))
            }
            _ => format!("{all} = {{ {read}, {deny} }}\n"),
        }
    }
}

/// Manifests of which the package's, or else its workspace's, is this text.
fn spelt(text: String, inherits: bool) -> Manifests {
    if !inherits {
        return manifests(&text);
    }
    let workspace = Some(Arc::new(SourceFile { path: "/w/Cargo.toml".into(), text }));
    Manifests { workspace, ..manifests("package.metadata.sandbox.workspace = true") }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_ceiling_only_takes_away(
        read in entries(4), deny in entries(2), above in entries(4), never in entries(2), path in path(),
    ) {
        let path = joined(&[b"/w/p", &path]);
        let own = table("package.metadata.sandbox.", &read, &deny);
        let upper = table("package.metadata.sandbox.", &above, &never);
        let bound = Arc::new(SourceFile { path: "/c".into(), text: table("", &above, &never) });
        let ceiling = Ceiling::from_file(&bound, &places(), &Plain).unwrap();
        let bounded = decider(&own, Some(&ceiling))?.operations(&path, true);
        prop_assert!(decider(&own, None)?.operations(&path, true).contains_all(bounded));
        prop_assert!(decider(&upper, None)?.operations(&path, true).contains_all(bounded));
    }

    /// However it is written, in a package or a workspace, as a manifest or as a ceiling: TOML means the same.
    #[test]
    fn a_ceiling_means_what_its_toml_says_however_it_is_written(
        lists in (entries(4), entries(2), entries(4), entries(2)),
        own in spelling(), upper in spelling(), inherits in any::<bool>(), path in path(),
    ) {
        let (read, deny, above, never) = lists;
        let path = joined(&[b"/w/p", &path]);
        let operations = |manifests: &Manifests, ceiling: Option<&Ceiling>| {
            let loaded = load(manifests, &places(), &Plain, ceiling);
            let policy = loaded.map_err(|errors| TestCaseError::fail(format!("{manifests:?}: {errors:?}")))?.policy;
            let bind = Bindings { tmp: None, current_dir: "/".into() };
            let policy = policy.for_target(TargetKind::Bin, "x", None, &bind);
            Ok::<_, TestCaseError>(Decider::new(&policy).operations(&path, true))
        };
        // The same manifest, plainly and otherwise, and perhaps by way of its workspace.
        let owner = if inherits { "workspace" } else { "package" };
        let plain = |read: &[String], deny: &[String]| {
            operations(&spelt(table(&format!("{owner}.metadata.sandbox."), read, deny), inherits), None)
        };
        let own = spelt(own.write(owner, &read, &deny), inherits);
        let alone = plain(&read, &deny)?;
        prop_assert_eq!(alone, operations(&own, None)?, "{:?}", own);
        // The ceiling as a file, and as the manifests of a revision.
        let file = Arc::new(SourceFile { path: "/c".into(), text: upper.write("", &above, &never) });
        let then = spelt(upper.write(owner, &above, &never), inherits);
        let limit = operations(&manifests(&table("package.metadata.sandbox.", &above, &never)), None)?;
        for (ceiling, limit) in [
            (Ceiling::from_file(&file, &places(), &Plain), limit),
            (Ceiling::from_manifests(&then, &places(), &Plain), plain(&above, &never)?),
        ] {
            let ceiling = ceiling.map_err(|errors| TestCaseError::fail(format!("{file:?} {then:?}: {errors:?}")))?;
            let bounded = operations(&own, Some(&ceiling))?;
            prop_assert!(limit.contains_all(bounded) && alone.contains_all(bounded), "{:?} {:?}", file, own);
        }
        let root = then.workspace.as_ref().unwrap_or(&then.package);
        prop_assert_eq!(Membership::read(root).unwrap().root.is_some(), inherits, "{:?}", root);
    }

    #[test]
    fn no_text_makes_loading_panic(text in "\\PC{0,80}", entry in "[a-z*?{}\\[\\]./]{0,12}") {
        let errors = load(&manifests(&text), &places(), &Plain, None).err();
        prop_assert!(errors.is_none_or(|errors| !errors.is_empty()));
        let table = format!("[package.metadata.sandbox.fs]\nread = [{entry:?}]");
        match load(&manifests(&table), &places(), &Plain, None) {
            Ok(loaded) => prop_assert_eq!(loaded.policy.grants.len(), 1),
            Err(errors) => prop_assert!(!errors[0].spans.is_empty()),
        }
    }

    #[test]
    fn what_is_suggested_allows_exactly_that(
        names in prop::collection::vec("[^/\0]{1,6}", 1..4), operation in operation(), in_package in any::<bool>(),
    ) {
        prop_assume!(names.iter().all(|name| name != "." && name != ".."));
        let root = if in_package { "/w/p/" } else { "/srv/" };
        let path = format!("{root}{}", names.join("/")).into_bytes();
        let bind = Bindings { tmp: None, current_dir: "/".into() };
        let target = Target { kind: TargetKind::Bin, name: "x", test: None, bind: &bind, mounted: &BTreeSet::new() };
        let empty = load(&manifests(""), &places(), &Plain, None).unwrap().policy;
        let access = Access { operation, resource: Resource::Path(path.clone()) };
        let suggested = suggest(&empty, &places(), "Cargo.toml", &access, &target);
        let Some(suggestion) = suggested.suggestion else {
            return Err(TestCaseError::fail(format!("no suggestion: {:?}", suggested.note)));
        };
        let decider = decider(&suggestion.paste, None)?;
        let allowed = matches!(decider.decide_path(operation, &path), Decision::Allowed(Some(_)));
        prop_assert!(allowed, "{}", suggestion.paste);
        prop_assert_eq!(decider.operations(&joined(&[&path, b"x"]), true), OperationSet::EMPTY);
        let above = &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        prop_assert_eq!(decider.operations(above, true), OperationSet::EMPTY);
    }
}
