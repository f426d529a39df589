//! Every format over the same events, and readers that take each one apart.

use cargo_sandbox::event::{Report, RunEvent};
use cargo_sandbox::report::github::Github;
use cargo_sandbox::report::human::{Human, Options};
use cargo_sandbox::report::json::Json;
use cargo_sandbox::report::junit::Junit;
use cargo_sandbox::report::locate::Prefix;
use cargo_sandbox::report::messages::Messages;
use cargo_sandbox::report::sarif::Sarif;
use cargo_sandbox::report::{Reporter, Unused};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What each format wrote.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) human: String,
    pub(crate) styled: String,
    pub(crate) json: String,
    pub(crate) messages: String,
    pub(crate) junit: String,
    pub(crate) sarif: String,
    pub(crate) github: String,
}

impl Written {
    pub(crate) fn all(&self) -> [(&'static str, &str); 7] {
        [
            ("human", &self.human),
            ("styled", &self.styled),
            ("json", &self.json),
            ("messages", &self.messages),
            ("junit", &self.junit),
            ("sarif", &self.sarif),
            ("github", &self.github),
        ]
    }
}

pub(crate) fn options() -> Options {
    Options { unused: Unused::Warn, base: Some("/w".into()), ..Options::default() }
}

pub(crate) fn prefix() -> Prefix {
    Prefix("crates/tool".to_owned())
}

fn run(mut reporter: impl Reporter, events: &[RunEvent], report: &Report) {
    for event in events {
        reporter.event(event);
    }
    reporter.finish(report).expect("a vector can be written to");
}

/// Renders the events and the report in every format.
pub(crate) fn write(events: &[RunEvent], report: &Report) -> Written {
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("every format is UTF-8")
    };
    let styled = Options { styled: true, ..options() };
    Written {
        human: text(&|out| run(Human::new(out, options()), events, report)),
        styled: text(&|out| run(Human::new(out, styled.clone()), events, report)),
        json: text(&|out| run(Json::new(out), events, report)),
        messages: text(&|out| run(Messages::new(out), events, report)),
        junit: text(&|out| run(Junit::new(out), events, report)),
        sarif: text(&|out| run(Sarif::new(out, prefix(), Unused::Warn), events, report)),
        github: text(&|out| {
            run(Github::new(out, options(), prefix()).expect("a token"), events, report);
        }),
    }
}

/// A workflow command as GitHub's runner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) message: String,
}

/// Reads lines as GitHub's runner does (`ActionCommand.cs`, `ActionCommandManager.cs` of
/// actions/runner): white space before a command is skipped, the older `##[name]` counts anywhere
/// in a line, and between `::stop-commands::TOKEN` and `::TOKEN::` nothing does.
pub(crate) fn github_commands(text: &str) -> Vec<Command> {
    let mut stopped: Option<String> = None;
    let mut commands = Vec::new();
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start();
        let command = parse_command(line);
        if let Some(token) = &stopped {
            if command.as_ref().is_some_and(|command| command.name == *token) {
                stopped = None;
            }
            continue;
        }
        match command {
            Some(command) if command.name == "stop-commands" => stopped = Some(command.message),
            Some(command) => commands.push(command),
            None => assert!(!line.contains("##["), "an old-style command: {line}"),
        }
    }
    assert_eq!(stopped, None, "commands are allowed again at the end");
    commands
}

fn parse_command(line: &str) -> Option<Command> {
    let (head, message) = line.strip_prefix("::")?.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let unescape = |text: &str| {
        text.replace("%0D", "\r")
            .replace("%0A", "\n")
            .replace("%3A", ":")
            .replace("%2C", ",")
            .replace("%25", "%")
    };
    let properties = properties
        .split(',')
        .filter_map(|property| property.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), unescape(value)))
        .collect();
    let message = message.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    Some(Command { name: name.to_owned(), properties, message })
}

/// Parses XML to its end, with every attribute and text unescaped; returns the attributes of each
/// element.
pub(crate) fn xml_elements(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let mut elements = Vec::new();
    let mut depth = 0_usize;
    loop {
        match reader.read_event().expect("well-formed XML") {
            event @ (Event::Start(_) | Event::Empty(_)) => {
                depth += usize::from(matches!(event, Event::Start(_)));
                let (Event::Start(element) | Event::Empty(element)) = event else { unreachable!() };
                let attributes = element.attributes().map(|attribute| {
                    let attribute = attribute.expect("a well-formed attribute");
                    let key = String::from_utf8(attribute.key.as_ref().to_vec()).expect("UTF-8");
                    let value = String::from_utf8(attribute.value.to_vec()).expect("UTF-8");
                    (key, quick_xml::escape::unescape(&value).expect("known entities only").into_owned())
                });
                let name = String::from_utf8(element.name().as_ref().to_vec()).expect("UTF-8");
                elements.push((name, attributes.collect()));
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            Event::DocType(_) | Event::PI(_) | Event::Comment(_) => panic!("nothing of ours: {text}"),
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(text.chars().all(legal), "a character that XML 1.0 forbids");
    elements
}

/// The attributes of the elements of that name.
pub(crate) fn named<'e>(
    elements: &'e [(String, BTreeMap<String, String>)],
    name: &str,
) -> Vec<&'e BTreeMap<String, String>> {
    elements.iter().filter(|(element, _)| element == name).map(|(_, attributes)| attributes).collect()
}

fn validator(schema: &str) -> jsonschema::Validator {
    let schema = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

static REPORT: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| validator(include_str!("../../../schema/report-v1.schema.json")));

static SARIF: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = include_str!("../../../schema/third-party/sarif-schema-2.1.0.json");
    // The published pattern of `run.language`, which we never write, has a bracket too many and is
    // no regular expression.
    let slip = "-[a-zA-Z]{2}]?$";
    assert!(schema.contains(slip));
    validator(&schema.replace(slip, "-[a-zA-Z]{2}?$"))
});

/// Asserts that text is JSON and valid against our schema.
pub(crate) fn check_report(text: &str) -> serde_json::Value {
    let value = serde_json::from_str(text).expect("JSON");
    check(&REPORT, &value);
    value
}

/// Asserts that text is JSON and valid against the official schema of SARIF 2.1.0.
pub(crate) fn check_sarif(text: &str) -> serde_json::Value {
    let value = serde_json::from_str(text).expect("JSON");
    check(&SARIF, &value);
    value
}

fn check(validator: &jsonschema::Validator, value: &serde_json::Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{value:#}", errors.join("\n"));
}
