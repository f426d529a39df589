//! Protected and sensitive places, and symbolic links.

use super::*;

fn code(table: &str) -> Option<&'static str> {
    match try_load(&format!("[package.metadata.sandbox.fs]\n{table}")) {
        Ok(_) => None,
        Err(errors) => Some(errors[0].code),
    }
}

#[test]
fn grants_that_reach_protected_places_are_errors() {
    for entry in [
        ".",
        "src",
        "*",
        "**",
        "**/*.toml",
        "Cargo.toml",
        "sub/Cargo.toml",
        "build.rs",
        "sub/x.rs",
        ".git",
        ".git/hooks",
        ".github/workflows",
        ".cargo/config.toml",
        "../.gitlab-ci.yml",
        "..",
        "{workspace}",
        "{package}",
        "{target-dir}",
        "{target-dir}/debug",
        "target/../../target/debug",
        "{home}",
        "{home}/.bashrc",
        "{home}/.config/x",
        "{home}/*",
        "{home}/.b*",
        "/",
        "/etc/cron.d/x",
        "/usr/bin",
        "/usr",
        "/home",
        "/proc/self/mem",
        "/dev/sda",
        "/dev",
        "/run/docker.sock",
        "/var",
        "/*/u/.profile",
        "{home}/.cargo/bin",
        "Makefile",
        "./out/../src",
    ] {
        for key in ["write", "create", "modify", "delete"] {
            assert_eq!(code(&format!("{key} = [\"{entry}\"]")), Some("protected-place"), "{key} {entry}");
        }
    }
}

#[test]
fn reads_that_reach_sensitive_places_are_errors() {
    for entry in [
        "/",
        "{home}",
        "{home}/.ssh",
        "{home}/.ssh/id_ed25519",
        "{home}/.aws/credentials",
        "{home}/.config",
        "{home}/.*",
        "{home}/.cargo",
        "{home}/.cargo/credentials.toml",
        "/etc",
        "/etc/shadow",
        "/etc/*",
        "/proc",
        "/proc/self/environ",
        "/dev",
        "/dev/sda",
        "/sys",
        "/home",
        "/home/*",
        "/home/other/.ssh/id_rsa",
        "/*",
        "/**/id_rsa",
        "{home}/.netrc",
    ] {
        for key in ["read", "list"] {
            assert_eq!(code(&format!("{key} = [\"{entry}\"]")), Some("sensitive-place"), "{key} {entry}");
        }
    }
}

#[test]
fn ordinary_grants_are_fine() {
    for table in [
        "write = [\"out\"]",
        "write = [\"{tmp}\"]",
        "write = [\"output.txt\"]",
        "write = [\"*.txt\"]",
        "write = [\"tests/out\"]",
        "write = [\"src/snapshots\"]",
        "write = [\"{target-dir}/tmp\"]",
        "write = [\"**/*.snap\"]",
        "write = [\"out*\"]",
        "write = [\"/dev/null\"]",
        "write = [\"/tmp/x\"]",
        "write = [\"../other/out\"]",
        "read = [\".\"]",
        "read = [\"..\"]",
        "read = [\"/etc/hosts\"]",
        "read = [\"/dev/urandom\"]",
        "read = [\"{home}/.config/app\"]",
        "read = [\"/usr/share\"]",
        "stat = [\"/\"]",
        "write = [\"{home}/data\"]",
    ] {
        assert_eq!(code(table), None, "{table}");
    }
}

#[test]
fn the_message_says_what_is_contained_and_what_to_do() {
    let errors = try_load("[package.metadata.sandbox.fs]\nwrite = [\".\"]\nread = [\"{home}\"]").unwrap_err();
    let found: Vec<_> =
        errors.iter().map(|error| (error.message.as_str(), error.help[0].message.as_str())).collect();
    assert_eq!(
        found,
        [
            (
                "`.` contains the protected place `{package}/src`: it holds the sources of the package",
                "name a directory of its own for what is written, such as `out` or `{tmp}`"
            ),
            (
                "`{home}` contains the sensitive place `{home}/.ssh`: it holds private keys",
                "name only what is needed; a sensitive place must be named exactly, with `protected = true`"
            ),
        ]
    );
    let errors = try_load("[package.metadata.sandbox.fs]\nwrite = [\"Cargo.toml\"]").unwrap_err();
    assert_eq!(errors[0].help[0].paste, "{ path = \"Cargo.toml\", protected = true }");
}

#[test]
fn saying_protected_needs_the_exact_name() {
    assert_eq!(code("write = [{ path = \".git/hooks\", protected = true }]"), None);
    assert_eq!(code("read = [{ path = \"{home}/.ssh/known_hosts\", protected = true }]"), None);
    for entry in [".", "*", "**/Cargo.toml", "{home}", "/", "/etc/../"] {
        let code = code(&format!("write = [{{ path = \"{entry}\", protected = true }}]"));
        assert_eq!(code, Some("protected-place"), "{entry}");
    }
    let loaded = loaded("[package.metadata.sandbox.fs]\nwrite = [{ path = \"out\", protected = true }]");
    assert_eq!(loaded.warnings[0].code, "not-protected");
    assert!(!loaded.policy.grants[0].protected);
}

#[test]
fn protected_names_stay_so_inside_a_grant() {
    let decider = fs("write = [\"out\", \"{tmp}\", \"*.txt\"]\nread = [\"out\"]");
    for name in ["Cargo.toml", "a/Cargo.toml", "a/b/.git/config", ".cargo/config.toml", "build.rs", "x/y.rs"]
    {
        for operation in [Operation::Create, Operation::Modify, Operation::Delete] {
            let decision = decider.decide_path(operation, format!("/w/p/out/{name}").as_bytes());
            assert!(matches!(decision, Decision::Denied(Some(_))), "{name} {decision:?}");
            assert!(allowed(&decider, operation, &format!("/w/target/sandbox/run/1/{name}")), "{name}");
        }
        assert!(allowed(&decider, Operation::Read, &format!("/w/p/out/{name}")));
        assert!(allowed(&decider, Operation::Stat, &format!("/w/p/out/{name}")));
    }
    assert!(allowed(&decider, Operation::Create, "/w/p/out/data.csv"));
    assert!(allowed(&decider, Operation::Create, "/w/p/a.txt"));
    assert!(!allowed(&decider, Operation::Create, "/w/p/a.txt/Cargo.toml"));
}

#[test]
fn what_tools_run_is_protected_and_wildcards_do_not_cover_it() {
    let decider = fs("write = [\"out\", \"*.json\", \"/tmp/x\"]");
    for name in [
        "Makefile.toml",
        "Taskfile.yml",
        "taskfile.dist.yaml",
        "shell.nix",
        "default.nix",
        "mise.toml",
        "mise.local.toml",
        ".mise/config.toml",
        "lefthook.yml",
        ".lefthook-local.toml",
        "justfile",
        "x.just",
        ".envrc",
        ".env.local",
        "Rakefile",
        "package.json",
        ".pre-commit-config.yaml",
        ".vscode/tasks.json",
        ".idea/x",
        "flake.nix",
        "devenv.nix",
        "Dockerfile.dev",
        "compose.override.yaml",
        "docker-compose.yml",
        "Jenkinsfile",
        "azure-pipelines.yml",
        ".gitlab-ci.yml",
        "noxfile.py",
        "tox.ini",
        "conftest.py",
        "CMakeLists.txt",
        "meson.build",
        "BUILD.bazel",
        "WORKSPACE",
        ".tool-versions",
        "rust-toolchain",
        "clippy.toml",
        "deny.toml",
        ".gitattributes",
        ".gitmodules",
        ".husky/pre-commit",
        "Procfile",
        "Vagrantfile",
        "Cross.toml",
        "Trunk.toml",
        "dist-workspace.toml",
        "release-plz.toml",
        ".config/nextest.toml",
        "vite.config.ts",
        "node_modules/.bin/x",
        "build.gradle.kts",
        ".rust-analyzer.toml",
    ] {
        for path in [format!("out/{name}"), format!("out/a/b/{name}"), format!("out/{name}/x")] {
            for operation in [Operation::Create, Operation::Modify, Operation::Delete] {
                let decision = decider.decide_path(operation, format!("/w/p/{path}").as_bytes());
                assert!(matches!(decision, Decision::Denied(Some(_))), "{path} {decision:?}");
            }
        }
        if !name.contains('/') {
            let written = code(&format!("write = [\"{name}\"]"));
            assert_eq!(written, Some("protected-place"), "{name}");
            assert_eq!(code(&format!("write = [{{ path = \"{name}\", protected = true }}]")), None, "{name}");
        }
    }
    assert!(!allowed(&decider, Operation::Create, "/w/p/package.json"));
    assert!(allowed(&decider, Operation::Create, "/w/p/data.json"));
    assert!(allowed(&decider, Operation::Create, "/tmp/x/package.json"), "nobody works there");
    assert!(!allowed(&decider, Operation::Create, "/tmp/x/Cargo.toml"));
}

#[test]
fn many_grants_in_one_directory_share_what_is_protected_below_it() {
    let entries = |count: usize| (0..count).map(|n| format!("\"out/d{n}\"")).collect::<Vec<_>>().join(", ");
    let exceptions = |count: usize| {
        let text = format!("[package.metadata.sandbox.fs]\nwrite = [{}]", entries(count));
        loaded(&text).policy.exceptions.len()
    };
    assert_eq!(exceptions(8), 8 * exceptions(1));
    assert_eq!(exceptions(1000), exceptions(1));
    let decider =
        fs(&format!("write = [{}, {{ path = \"out/d1/Makefile\", protected = true }}]", entries(1000)));
    assert!(allowed(&decider, Operation::Create, "/w/p/out/d1/Makefile"));
    assert!(allowed(&decider, Operation::Create, "/w/p/out/d999/a/x"));
    for name in ["d1/a/Makefile", "d999/Cargo.toml", "d2/a/package.json", "x"] {
        assert!(!allowed(&decider, Operation::Create, &format!("/w/p/out/{name}")), "{name}");
    }
    // Names on the way to where the user works stay free.
    let top = (0..20).map(|n| format!("\"/srv{n}\"")).collect::<Vec<_>>().join(", ");
    let places = Places {
        package: "/home/u/.config/p".into(),
        workspace: "/home/u/.config/p".into(),
        target_dir: "/home/u/.config/p/target".into(),
        ..machine()
    };
    let text = format!("[package.metadata.sandbox.fs]\nwrite = [\"out\", {top}]");
    let policy = load(&manifests(&text, None), &places, &Links::default(), None).unwrap().policy;
    let decider = super::decider(&policy);
    assert!(allowed(&decider, Operation::Create, "/home/u/.config/p/out/x"));
    assert!(!allowed(&decider, Operation::Create, "/home/u/.config/p/out/Cargo.toml"));
}

#[test]
fn a_name_that_is_granted_exactly_is_free_but_not_what_it_holds() {
    let decider = fs("write = [\"out\", { path = \"out/.git\", protected = true }]");
    assert!(allowed(&decider, Operation::Create, "/w/p/out/.git"));
    assert!(allowed(&decider, Operation::Create, "/w/p/out/.git/config"));
    assert!(!allowed(&decider, Operation::Create, "/w/p/out/.git/x/Cargo.toml"));
    assert!(!allowed(&decider, Operation::Create, "/w/p/out/a/.git/config"));
    assert!(!allowed(&decider, Operation::Create, "/w/p/out/Cargo.toml"));
}

#[test]
fn a_checkout_in_a_hidden_or_system_folder_is_still_a_checkout() {
    for root in ["/home/u/.work/p", "/usr/src/p", "/opt/p", "/home/u/.cargo/registry/src/p"] {
        let places = Places {
            package: root.into(),
            workspace: root.into(),
            target_dir: format!("{root}/target").into(),
            ..machine()
        };
        let text = "[package.metadata.sandbox.fs]\nwrite = [\"out\", \"{target-dir}/tmp/x\"]\nread = [\".\"]";
        assert!(load(&manifests(text, None), &places, &Links::default(), None).is_ok(), "{root}");
        let text = "[package.metadata.sandbox.fs]\nwrite = [\"../out\"]";
        assert!(load(&manifests(text, None), &places, &Links::default(), None).is_err(), "{root}");
    }
}

#[test]
fn a_link_out_of_the_package_is_an_error() {
    let links = Links::of(&[("/w/p/assets", "/srv/assets")]);
    let text = "[package.metadata.sandbox.fs]\nread = [\"ok\", \"assets/*.json\"]";
    let errors = load(&manifests(text, None), &machine(), &links, None).unwrap_err();
    assert_eq!(
        errors[0].message,
        "`assets/*.json` passes a symbolic link that leaves the package, to `/srv/assets`"
    );
    assert_eq!(errors[0].spans[0].file.line_column(errors[0].spans[0].range.start), (2, 15));
}

#[test]
fn a_link_elsewhere_or_within_grants_both_ends() {
    let links = Links::of(&[("/data", "/srv/data"), ("/w/p/latest", "/w/p/v2")]);
    let text = "[package.metadata.sandbox.fs]\nread = [\"/data/a\", \"latest\"]\ndeny = [\"/data/a/no\"]";
    let policy = load(&manifests(text, None), &machine(), &links, None).unwrap().policy;
    assert_eq!(policy.links, [b"/data".to_vec(), b"/w/p/latest".to_vec()]);
    let decider = decider(&policy);
    for path in ["/data/a/x", "/srv/data/a/x", "/w/p/latest/x", "/w/p/v2/x"] {
        assert!(allowed(&decider, Operation::Read, path), "{path}");
    }
    for path in ["/data/a/no/x", "/srv/data/a/no/x", "/srv/data/b"] {
        assert!(!allowed(&decider, Operation::Read, path), "{path}");
    }
    assert!(decider.may_follow(b"/data") && decider.is_on_the_way(b"/srv"));
    assert!(!decider.may_follow(b"/other") && !decider.is_on_the_way(b"/srv/other"));
}

#[test]
fn a_link_to_a_protected_place_is_seen() {
    let links = Links::of(&[("/w/p/out", "/w/p/.git/hooks"), ("/keys", "/home/u/.ssh")]);
    for table in ["write = [\"out\"]", "read = [\"/keys\"]"] {
        let text = format!("[package.metadata.sandbox.fs]\n{table}");
        assert!(load(&manifests(&text, None), &machine(), &links, None).is_err(), "{table}");
    }
}

#[test]
fn the_package_root_is_canonical() {
    let links = Links::of(&[("/w", "/real/w")]);
    let text = "[package.metadata.sandbox.fs]\nread = [\"a\"]\nwrite = [\"/w/p/.git\"]";
    assert!(load(&manifests(text, None), &machine(), &links, None).is_err());
    let text = "[package.metadata.sandbox.fs]\nread = [\"a\"]";
    let policy = load(&manifests(text, None), &machine(), &links, None).unwrap().policy;
    assert_eq!(policy.links, [b"/w".to_vec()]);
    assert!(allowed(&decider(&policy), Operation::Read, "/real/w/p/a"));
}

#[test]
fn temporary_files_may_be_called_like_sources_but_not_where_the_user_works() {
    let decider = fs("write = [\"/tmp\", \"out\"]");
    assert!(allowed(&decider, Operation::Create, "/tmp/.tmpAb.rs"));
    assert!(!allowed(&decider, Operation::Create, "/tmp/x/Cargo.toml"));
    assert!(!allowed(&decider, Operation::Create, "/w/p/out/x.rs"));
    let manifests = manifests("[package.metadata.sandbox.fs]\nwrite = [\"out\"]", None);
    let places = Places { package: "/tmp/p".into(), workspace: "/tmp/p".into(), ..machine() };
    let policy = load(&manifests, &places, &Links::default(), None).unwrap().policy;
    let there = Decider::new(&policy.for_target(TargetKind::Bin, "main", None, &bindings()));
    assert!(allowed(&there, Operation::Create, "/tmp/p/out/x"));
    assert!(!allowed(&there, Operation::Create, "/tmp/p/out/x.rs"));
}
