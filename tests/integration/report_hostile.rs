//! Names and output that try to leave their format: each stays well-formed and harmless.

use crate::report_samples::formats::*;
use crate::report_samples::*;
use cargo_sandbox::event::{Report, RunEvent};
use cargo_sandbox::report::escape::{is_hidden, line, line_bytes};
use cargo_sandbox::report::json;

fn hostile_runs() -> impl Iterator<Item = (String, Report, Vec<RunEvent>)> {
    let all = HOSTILE.concat();
    HOSTILE.into_iter().map(str::to_owned).chain([all]).map(|text| {
        let report = hostile(&text);
        let events = events(&report);
        (text, report, events)
    })
}

#[test]
fn a_terminal_sees_only_what_can_be_seen() {
    for (_, report, events) in hostile_runs() {
        let written = write(&events, &report);
        for (format, text) in written.all() {
            let text = match format {
                // Our own colours are the only sequences.
                "styled" => anstream::adapter::strip_str(text).to_string(),
                _ => text.to_owned(),
            };
            let bad: Vec<_> = text.chars().filter(|c| is_hidden(*c) && !matches!(c, '\n' | '\t')).collect();
            assert!(bad.is_empty(), "{format}: {bad:?}\n{text}");
        }
        assert_eq!(anstream::adapter::strip_str(&written.styled).to_string(), written.human);
    }
}

#[test]
fn json_keeps_the_exact_bytes() {
    for (text, report, events) in hostile_runs() {
        let written = write(&events, &report);
        let value = check_report(&written.json);
        let name = &value["targets"][0]["tests"][0]["violations"][0]["resource"];
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend_from_slice(b"\xff\xc3");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(name["name"], format!("{text}\u{fffd}\u{fffd}"));
        assert_eq!(name["name_bytes"], hex);
        let read = json::read(written.json.as_bytes()).expect("a report");
        assert_eq!(read, json::Report::from(&report));
        let violation = &read.targets[0].tests[0].violations[0];
        assert_eq!(*violation.resource.bytes(), *bytes);
        assert_eq!(*read.targets[0].tests[0].output.bytes(), *bytes);
        for line in written.messages.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("a message is one line of JSON");
        }
        assert_eq!(written.messages.lines().count(), events.len() + 1);
    }
}

#[test]
fn junit_has_the_elements_it_should_have() {
    for (text, report, events) in hostile_runs() {
        let written = write(&events, &report);
        let elements = xml_elements(&written.junit);
        let cases = named(&elements, "testcase");
        // One for each test, and one for the violation outside of them.
        assert_eq!(cases.len(), VERDICTS.len() + 1);
        for (case, test) in cases.iter().zip(&report.targets[0].tests) {
            assert_eq!(case["name"], line(&test.id.name));
            assert_eq!(case["classname"], line(&text));
        }
        for (element, attributes) in &elements {
            let known = [
                "testsuites",
                "testsuite",
                "properties",
                "property",
                "testcase",
                "failure",
                "error",
                "skipped",
                "flakyFailure",
                "system-out",
            ];
            assert!(known.contains(&element.as_str()), "{element} {attributes:?}");
        }
        quick_junit::Report::deserialize_from_str(&written.junit).expect("JUnit");
    }
}

#[test]
fn github_takes_no_command_from_a_guest() {
    for (text, report, mut events) in hostile_runs() {
        events.push(RunEvent::Message(report.targets[0].notes[0].clone()));
        let written = write(&events, &report);
        let commands = github_commands(&written.github);
        let united = 3;
        let failed = 4; // failed, violated and failed, timed out, killed
        let messages = 2; // one in the target, one by itself
        let not_run = 1; // a line for each reason
        assert_eq!(commands.len(), messages + united + failed + not_run + 1 + 1, "{commands:#?}");
        for command in &commands {
            assert!(["error", "warning", "notice"].contains(&&*command.name), "{command:?}");
            for (key, value) in &command.properties {
                match key.as_str() {
                    "line" | "col" | "endColumn" => _ = value.parse::<u32>().expect("a number"),
                    "title" | "file" => assert!(!value.contains(['\n', '\r'])),
                    _ => panic!("{key}={value} is not ours"),
                }
            }
        }
        // Every line from the last stop to the resumption is dead; what follows is annotations only.
        let (before, after) = written.github.rsplit_once("::\n::").expect("commands are resumed");
        let token = before.rsplit('\n').next().expect("a line").trim_start_matches("::");
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        assert!(written.github.starts_with(&format!("::stop-commands::{token}\n")));
        assert_eq!(after.lines().count(), commands.len());
        let shown = line_bytes(&[text.as_bytes(), b"\xff\xc3"].concat());
        assert!(commands.iter().any(|command| command.message.contains(&format!("delete `{shown}`"))));
    }
}

#[test]
fn tokens_differ() {
    let (_, report, events) = hostile_runs().next().expect("one");
    let first = write(&events, &report).github;
    let second = write(&events, &report).github;
    assert_ne!(first.lines().next(), second.lines().next());
}

#[test]
fn sarif_stays_valid_and_names_no_place_of_the_guests() {
    for (_, report, events) in hostile_runs() {
        let written = write(&events, &report);
        let value = check_sarif(&written.sarif);
        let results = value["runs"][0]["results"].as_array().expect("results");
        assert_eq!(results.len(), 3 + 1);
        for result in results {
            let place = &result["locations"][0]["physicalLocation"]["artifactLocation"];
            let uri = place["uri"].as_str().expect("a URI");
            assert!(uri.starts_with("crates/tool/"), "{uri}");
            assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()), "{uri}");
        }
    }
}

#[test]
fn a_character_may_come_in_two_pieces() {
    let report = run(cargo_sandbox::exit_status::ExitStatus::Success, vec![]);
    let output = |bytes: &[u8]| RunEvent::Output { test: None, bytes: bytes.to_vec() };
    let written = write(
        &[output(b"caf\xc3"), output(b"\xa9 \xf0\x9f"), output(b"\x99\x82\xe2\x80"), output(b"\xae\xff\n")],
        &report,
    );
    assert!(written.human.starts_with("café 🙂\\u{202e}\\xff\n"), "{}", written.human);
    let written = write(&[output(b"cut \xf0\x9f")], &report);
    assert!(written.human.starts_with("cut \\xf0\\x9f\n"), "{}", written.human);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// What we say is said in as many lines as it should be, whatever it is about.
    #[test]
    fn no_text_begins_a_line_of_its_own(text in "(?s)([\u{0}-\u{2f}:;%#]|\\PC|\u{85}|\u{2028}|\n::error::|\r\n){0,40}") {
        use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
        use cargo_sandbox::report::render::{diagnostic, renderer};
        let file = std::sync::Arc::new(SourceFile { path: "/x".into(), text: "line\n".to_owned() });
        let say = |text: &str| {
            let message = Diagnostic::error("module", text).at(&file, 0..2, "l").note(text).help(text);
            diagnostic(&message.help_paste(text, "paste"), None, &renderer(false))
        };
        let (shown, plain) = (say(&format!("x{text}")), say("x"));
        proptest::prop_assert_eq!(shown.lines().count(), plain.lines().count(), "{}", shown);
    }

    /// The same for whatever text there is: nothing panics, and everything parses.
    #[test]
    fn any_text_at_all(text in "(?s)([\u{0}-\u{2f}:;%#\\[\\]<>&\\]=,]|\\PC|\u{85}|\u{2028}|\u{202e}|::|##\\[|%0A|\\p{Cf}){0,40}") {
        let report = hostile(&text);
        let mut events = events(&report);
        events.push(RunEvent::Message(report.targets[0].notes[0].clone()));
        let written = write(&events, &report);
        for (format, shown) in written.all() {
            let hidden = |c: char| is_hidden(c) && !matches!(c, '\n' | '\t') && !(format == "styled" && c == '\x1b');
            assert_eq!(shown.chars().find(|c| hidden(*c)), None, "{format}");
        }
        check_report(&written.json);
        check_sarif(&written.sarif);
        xml_elements(&written.junit);
        for command in github_commands(&written.github) {
            assert!(["error", "warning", "notice"].contains(&&*command.name), "{command:?}");
        }
        assert_eq!(written.messages.lines().count(), events.len() + 1);
    }
}
