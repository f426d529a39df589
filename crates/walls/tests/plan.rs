//! What Landlock rules a policy becomes. Pure: the file system is a table.

use proptest::prelude::*;
use sandbox_policy::access::{ExceptionId, GrantId, Operation, OperationSet};
use sandbox_policy::model::{
    Component, EnvPattern, Exception, ExceptionKind, Grant, GrantPattern, PathBase, PathPattern, Policy,
    Provenance, Scope,
};
use sandbox_walls::{FileKind, Plan, Rights, plan};

/// `/p/data.txt`, `/p/dir/{file,sub}`, `/p/tty` (a device), `/p/link` (a symbolic link).
fn look(path: &[u8]) -> FileKind {
    match path {
        b"/" | b"/p" | b"/p/dir" | b"/p/dir/sub" | b"/tmp" | b"/tmp/run" => FileKind::Dir,
        b"/p/data.txt" | b"/p/dir/file" => FileKind::File,
        b"/p/tty" => FileKind::Other,
        b"/p/link" => FileKind::Link,
        _ => FileKind::Missing,
    }
}

fn pattern(text: &str) -> PathPattern {
    let component = |name: &str| match name {
        "**" => Component::AnyDepth,
        name if name.contains('*') => {
            let mut parts: Vec<Option<Vec<u8>>> = Vec::new();
            for (index, literal) in name.split('*').enumerate() {
                parts.extend((index > 0).then_some(None));
                parts.extend((!literal.is_empty()).then(|| Some(literal.into())));
            }
            Component::Glob(parts)
        }
        name => Component::Literal(name.into()),
    };
    let components = text.split('/').filter(|name| !name.is_empty()).map(component).collect();
    PathPattern { base: PathBase::Root, components, exact: false }
}

fn grant(operations: OperationSet, path: &str) -> Grant {
    Grant {
        id: GrantId(7),
        operations,
        pattern: GrantPattern::Path(pattern(path)),
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected: false,
        provenance: Provenance { text: path.into(), ..Provenance::default() },
    }
}

fn exception(kind: ExceptionKind, path: &str) -> Exception {
    Exception {
        id: ExceptionId(0),
        kind,
        pattern: pattern(path),
        target: None,
        scope: Scope::Always,
        provenance: Provenance { text: path.into(), ..Provenance::default() },
    }
}

fn planned(grants: Vec<Grant>, exceptions: Vec<Exception>) -> Plan {
    plan(&Policy { grants, exceptions, ..Policy::default() }, 7, &look)
}

/// Each rule as `path rights`, with ` (wider)` where it is.
fn rules(plan: &Plan) -> Vec<String> {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let wider = |wider: &Option<String>| if wider.is_some() { " (wider)" } else { "" };
    plan.rules
        .iter()
        .map(|rule| format!("{} {}{}", text(&rule.path), rule.rights, wider(&rule.overgrant)))
        .collect()
}

const READ: OperationSet = OperationSet::FS_READ;
const WRITE: OperationSet = OperationSet::FS_WRITE;

fn of(operation: Operation) -> OperationSet {
    OperationSet::of(operation)
}

#[test]
fn what_exists_is_granted_exactly() {
    let exact = [
        (READ, "/p/data.txt", "/p/data.txt READ_FILE"),
        (READ, "/p/dir", "/p/dir READ_FILE|READ_DIR"),
        (READ, "/p/dir/**", "/p/dir READ_FILE|READ_DIR"),
        (READ, "/", "/ READ_FILE|READ_DIR"),
        (READ, "/p/tty", "/p/tty READ_FILE"),
        (of(Operation::List), "/p/dir", "/p/dir READ_DIR"),
        (of(Operation::Modify), "/p/dir", "/p/dir WRITE_FILE|TRUNCATE"),
        (of(Operation::Modify), "/p/data.txt", "/p/data.txt WRITE_FILE|TRUNCATE"),
    ];
    for (operations, path, rule) in exact {
        let plan = planned(vec![grant(operations, path)], vec![]);
        assert_eq!(rules(&plan), [rule], "{path}");
        assert_eq!(plan.rules[0].grant, GrantId(7));
        assert_eq!(plan.narrower, []);
    }
}

#[test]
fn writing_a_directory_reaches_its_parent_only_to_replace_the_directory() {
    let plan = planned(vec![grant(WRITE, "/p/dir")], vec![]);
    assert_eq!(
        rules(&plan),
        [
            "/p/dir WRITE_FILE|READ_DIR|REMOVE_DIR|REMOVE_FILE|MAKE_DIR|MAKE_REG|MAKE_SYM|REFER|TRUNCATE (wider)",
            "/p REMOVE_DIR|MAKE_DIR (wider)",
        ]
    );
    let wider = plan.rules[0].overgrant.as_deref().unwrap();
    assert!(wider.contains("names in directories beneath `/p/dir` can be read"), "{wider}");
    let both = planned(vec![grant(OperationSet::FS_ALL, "/p/dir")], vec![]);
    assert_eq!(both.rules[0].overgrant, None, "what may be listed needs no more than that");
    assert_eq!(plan.narrower[0].path, b"/p/dir");
    assert!(plan.narrower[0].what.contains("once removed"), "{:?}", plan.narrower);
}

#[test]
fn the_private_directory_reaches_nothing_beside_it() {
    let mut tmp = grant(OperationSet::FS_ALL, "/tmp/run");
    tmp.provenance.text = "{tmp}".into();
    let plan = planned(vec![tmp], vec![]);
    assert_eq!(plan.rules.len(), 1);
    assert_eq!((plan.rules[0].path.as_slice(), &plan.rules[0].overgrant), (b"/tmp/run".as_slice(), &None));

    let mut unbound = grant(OperationSet::FS_ALL, "/x");
    unbound.pattern = GrantPattern::Path(PathPattern { base: PathBase::Tmp, ..pattern("x") });
    assert_eq!(planned(vec![unbound], vec![]).rules, []);
}

#[test]
fn one_file_to_create_or_delete_needs_its_directory() {
    let deleted = planned(vec![grant(of(Operation::Delete), "/p/data.txt")], vec![]);
    assert_eq!(rules(&deleted), ["/p REMOVE_FILE|REFER (wider)"]);
    let written = planned(vec![grant(WRITE, "/p/data.txt")], vec![]);
    assert_eq!(
        rules(&written),
        ["/p/data.txt WRITE_FILE|TRUNCATE", "/p WRITE_FILE|REMOVE_FILE|MAKE_REG|REFER|TRUNCATE (wider)"]
    );
    let wider = written.rules[1].overgrant.as_deref().unwrap();
    assert!(wider.contains("`/p/data.txt`") && wider.contains("every file beneath `/p`"), "{wider}");
    let absent = planned(vec![grant(of(Operation::Create), "/p/out.txt")], vec![]);
    assert_eq!(rules(&absent), ["/p WRITE_FILE|MAKE_DIR|MAKE_REG|MAKE_SYM|REFER (wider)"]);
    assert!(absent.rules[0].overgrant.as_deref().unwrap().contains("`/p/out.txt` does not exist yet"));
}

#[test]
fn what_the_guest_cannot_make_needs_no_rule() {
    for (operations, path) in
        [(READ, "/p/absent"), (WRITE, "/p/absent/a/b"), (READ, "/q/*.txt"), (READ, "/p/tty/x")]
    {
        let plan = planned(vec![grant(operations, path)], vec![]);
        assert_eq!(rules(&plan), [""; 0], "{path}");
        assert!(plan.narrower[0].what.contains("does not exist"), "{path}");
    }
    // What it can make, it can also read back.
    let plan = planned(vec![grant(WRITE, "/p/dir"), grant(READ, "/p/dir/new")], vec![]);
    assert_eq!(rules(&plan).last().unwrap(), "/p/dir READ_FILE|READ_DIR (wider)");
    let plan = planned(vec![grant(WRITE, "/p/a"), grant(WRITE, "/p/a/b")], vec![]);
    assert!(rules(&plan).iter().all(|rule| rule.starts_with("/p WRITE_FILE")), "{:?}", rules(&plan));
}

#[test]
fn a_pattern_becomes_its_literal_prefix() {
    let plan = planned(vec![grant(READ, "/p/dir/*.json")], vec![]);
    assert_eq!(rules(&plan), ["/p/dir READ_FILE|READ_DIR (wider)"]);
    assert!(plan.rules[0].overgrant.as_deref().unwrap().contains("`/p/dir/*.json` becomes all"));
    assert_eq!(rules(&planned(vec![grant(READ, "/p/data.txt/*")], vec![])), [""; 0]);
    assert_eq!(rules(&planned(vec![grant(READ, "/**/x")], vec![])), ["/ READ_FILE|READ_DIR (wider)"]);
}

#[test]
fn exceptions_are_said_or_take_the_whole_rule() {
    let within = planned(vec![grant(READ, "/p/dir")], vec![exception(ExceptionKind::Deny, "/p/dir/file")]);
    assert!(
        within.rules[0]
            .overgrant
            .as_deref()
            .unwrap()
            .contains("`/p/dir/file`, as the kernel knows no exceptions")
    );
    for kind in [ExceptionKind::Deny, ExceptionKind::Hide] {
        assert_eq!(planned(vec![grant(READ, "/p/dir")], vec![exception(kind, "/p")]).rules, []);
        // A pattern may except all or nothing of it.
        let globbed = planned(vec![grant(READ, "/p/dir")], vec![exception(kind, "/**/x")]);
        assert_eq!(rules(&globbed), ["/p/dir READ_FILE|READ_DIR (wider)"]);
        assert_eq!(rules(&planned(vec![grant(READ, "/p/dir")], vec![exception(kind, "/tmp")])).len(), 1);
        assert_eq!(
            planned(vec![grant(READ, "/p/dir")], vec![exception(kind, "/p/di")]).rules[0].overgrant,
            None
        );
    }
}

#[test]
fn protected_places_cannot_be_changed_but_read() {
    let all = || grant(OperationSet::FS_ALL, "/p/dir");
    let protected = || vec![exception(ExceptionKind::Protected, "/p/dir")];
    assert_eq!(
        rules(&planned(vec![all()], protected())),
        ["/p/dir READ_FILE|READ_DIR (wider)"].map(|rule| rule.replace(" (wider)", ""))
    );
    let named = Grant { protected: true, ..all() };
    assert!(planned(vec![named], protected()).rules[0].rights.contains(Rights::WRITE_FILE));
}

#[test]
fn links_are_granted_where_they_lead() {
    assert_eq!(planned(vec![grant(READ, "/p/link")], vec![]).rules, []);
    let target = Grant { target: Some(pattern("/p/dir")), ..grant(READ, "/p/link") };
    assert_eq!(rules(&planned(vec![target], vec![])), ["/p/dir READ_FILE|READ_DIR"]);
    let removed = Grant { target: Some(pattern("/p/data.txt")), ..grant(of(Operation::Delete), "/p/link") };
    assert_eq!(rules(&planned(vec![removed], vec![])), ["/p REMOVE_FILE|REFER (wider)"; 2]);
}

#[test]
fn what_the_kernel_cannot_tell_apart_is_said() {
    let by = Grant { by: vec!["serde".into()], ..grant(READ, "/p/dir") };
    assert!(planned(vec![by], vec![]).rules[0].overgrant.as_deref().unwrap().contains("any crate"));
    let mut exact = grant(READ, "/p/dir");
    exact.pattern = GrantPattern::Path(PathPattern { exact: true, ..pattern("/p/dir") });
    assert!(
        planned(vec![exact], vec![]).rules[0].overgrant.as_deref().unwrap().contains("beneath `/p/dir`, too")
    );
    let create = planned(vec![grant(of(Operation::Create), "/p/dir")], vec![]);
    assert!(create.rules[0].overgrant.as_deref().unwrap().contains("can be overwritten"));

    let stat = planned(vec![grant(of(Operation::Stat), "/p/dir")], vec![]);
    assert_eq!(stat.rules, []);
    assert!(
        stat.not_covered.iter().any(|note| note.grant == Some(GrantId(7)) && note.what.contains("`stat`"))
    );
    let env =
        Grant { pattern: GrantPattern::Env(EnvPattern(vec![None])), ..grant(of(Operation::EnvRead), "") };
    let env = planned(vec![env], vec![]);
    assert_eq!(env.rules, []);
    assert!(
        env.not_covered
            .iter()
            .any(|note| note.grant == Some(GrantId(7)) && note.what.contains("environment"))
    );
}

#[test]
fn hostile_names_are_shown_escaped() {
    let plan = planned(vec![grant(of(Operation::Create), "/p/a\n::error::\u{1b}[31m")], vec![]);
    let wider = plan.rules[0].overgrant.as_deref().unwrap();
    assert!(!wider.contains(['\n', '\u{1b}']), "{wider:?}");
}

#[test]
fn rights_have_the_names_and_bits_of_the_kernel() {
    for (abi, rights) in [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (8, 16), (9, 17), (99, 17)] {
        assert_eq!(Rights::handled(abi).names().count(), rights, "ABI {abi}");
    }
    assert_eq!(Rights::handled(0), Rights::NONE);
    assert_eq!(Rights::TRUNCATE.to_string(), "TRUNCATE");
    assert_eq!(
        Rights::NEVER.to_string(),
        "EXECUTE|MAKE_CHAR|MAKE_SOCK|MAKE_FIFO|MAKE_BLOCK|IOCTL_DEV|RESOLVE_UNIX"
    );
    assert_eq!(Rights::OF_FILES.to_string(), "EXECUTE|WRITE_FILE|READ_FILE|TRUNCATE|IOCTL_DEV|RESOLVE_UNIX");
}

fn any_path() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "p", "dir", "file", "data.txt", "sub", "link", "tty", "new", "*", "**", "n*w",
    ]);
    prop::collection::vec(names, 0..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let operations = prop::sample::subsequence(Operation::ALL.to_vec(), 0..=6).prop_map(|list| {
        list.into_iter().fold(OperationSet::EMPTY, |set, it| set.union(OperationSet::of(it)))
    });
    (operations, any_path(), prop::option::of(any_path()), any::<bool>()).prop_map(
        |(operations, path, target, by)| Grant {
            target: target.map(|path| pattern(&path)),
            by: by.then(|| "a".into()).into_iter().collect(),
            ..grant(operations, &path)
        },
    )
}

fn any_exception() -> impl Strategy<Value = Exception> {
    let kinds =
        prop::sample::select(vec![ExceptionKind::Deny, ExceptionKind::Hide, ExceptionKind::Protected]);
    (kinds, any_path()).prop_map(|(kind, path)| exception(kind, &path))
}

proptest! {
    /// The kernel would refuse directory rights on a file; nobody grants the rights of `NEVER`.
    #[test]
    fn every_rule_is_one_that_the_kernel_takes(
        grants in prop::collection::vec(any_grant(), 0..6),
        exceptions in prop::collection::vec(any_exception(), 0..4),
        abi in 2u32..10,
    ) {
        let plan = plan(&Policy { grants, exceptions, ..Policy::default() }, abi, &look);
        for rule in &plan.rules {
            prop_assert!(!rule.rights.is_empty());
            prop_assert!(Rights::handled(abi).contains(rule.rights));
            prop_assert!(rule.rights.intersection(Rights::NEVER).is_empty());
            prop_assert_eq!(rule.directory, look(&rule.path) == FileKind::Dir);
            prop_assert!(rule.directory || Rights::OF_FILES.contains(rule.rights));
            prop_assert!(!matches!(look(&rule.path), FileKind::Missing | FileKind::Link));
        }
    }

    /// Reading never brings rights to change anything, whatever is there or not.
    #[test]
    fn reading_changes_nothing(path in any_path(), target in prop::option::of(any_path())) {
        let plan = planned(vec![Grant { target: target.map(|path| pattern(&path)), ..grant(READ, &path) }], vec![]);
        for rule in &plan.rules {
            prop_assert!(Rights::READ_FILE.union(Rights::READ_DIR).contains(rule.rights));
        }
    }

    /// An exception only ever takes away.
    #[test]
    fn an_exception_adds_no_right(grants in prop::collection::vec(any_grant(), 1..4), except in any_exception()) {
        let union = |plan: &Plan, path: &[u8]| {
            plan.rules.iter().filter(|rule| rule.path == path).fold(Rights::NONE, |all, rule| all.union(rule.rights))
        };
        let without = planned(grants.clone(), vec![]);
        let with = planned(grants, vec![except]);
        for rule in &with.rules {
            prop_assert!(union(&without, &rule.path).contains(rule.rights));
        }
    }
}
