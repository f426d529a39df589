//! What a [`Plan`] lets through, found from its rules alone: for `check` and `why`, and for the test
//! that tries each answer for real.

use super::plan::{FileKind, Plan};
use super::rights::Rights;
use crate::answer::Answer;
use sandbox_policy::access::Operation;

/// What Landlock says to `operation` on an absolute path without links. `look` is what is there.
pub fn predict(plan: &Plan, operation: Operation, path: &[u8], look: FileKind) -> Answer {
    let directory = look == FileKind::Dir;
    let (at, needed) = match operation {
        Operation::Stat | Operation::EnvRead => return Answer::NotChecked,
        Operation::List => (path, Rights::READ_DIR),
        Operation::Read if directory => (path, Rights::READ_DIR),
        Operation::Read => (path, Rights::READ_FILE),
        // Changing times of a directory is nothing that Landlock knows.
        Operation::Modify if directory => return Answer::NotChecked,
        Operation::Modify => (path, Rights::WRITE_FILE),
        Operation::Create => (parent(path), Rights::MAKE_REG),
        Operation::Delete if directory => (parent(path), Rights::REMOVE_DIR),
        Operation::Delete => (parent(path), Rights::REMOVE_FILE),
    };
    let beneath = |rule: &[u8]| {
        rule == b"/" || at.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let rights = plan
        .rules
        .iter()
        .filter(|rule| rule.path == at || (rule.directory && beneath(&rule.path)))
        .fold(Rights::NONE, |all, rule| all.union(rule.rights));
    if rights.contains(needed) { Answer::Allows } else { Answer::Denies }
}

fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(end) => &path[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landlock::Rule;
    use sandbox_policy::access::GrantId;

    #[test]
    fn rights_reach_down_from_directories_and_nowhere_else() {
        let rule = |path: &str, directory, rights| Rule {
            path: path.into(),
            directory,
            rights,
            grant: GrantId(0),
            overgrant: None,
        };
        let rules = vec![
            rule("/a", true, Rights::READ_FILE.union(Rights::MAKE_REG)),
            rule("/b/file", false, Rights::WRITE_FILE),
        ];
        let plan = Plan { abi: 7, rules, ..Plan::default() };
        let ask = |operation, path: &str| predict(&plan, operation, path.as_bytes(), FileKind::File);
        assert_eq!(ask(Operation::Read, "/a/x/y"), Answer::Allows);
        assert_eq!(ask(Operation::Read, "/ab"), Answer::Denies);
        assert_eq!(ask(Operation::Create, "/a/new"), Answer::Allows);
        assert_eq!(ask(Operation::Create, "/a"), Answer::Denies);
        assert_eq!(ask(Operation::Modify, "/b/file"), Answer::Allows);
        assert_eq!(ask(Operation::Delete, "/b/file"), Answer::Denies);
        assert_eq!(ask(Operation::Stat, "/nowhere"), Answer::NotChecked);
    }
}
