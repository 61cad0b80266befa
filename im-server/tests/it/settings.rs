//! The settings, as a person or a manifest gives them to the real program.

use std::path::Path;
use std::process::{Command, Output};

use im_server::config;

const SECRET: &str = "a-signing-secret-that-is-long-enough";

/// Runs `im-server SUBCOMMAND` with nothing in its environment but `variables`, and waits for its end.
fn run(subcommand: &str, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_im-server"));
    command.env_clear().arg(subcommand).args(flags).envs(variables.iter().copied()).output().unwrap()
}

/// What a run that is expected to be refused says.
#[track_caller]
fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

/// A database that `migrate` has made, for a run that is expected to go well.
fn migrated(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let output = run("migrate", flags, variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("im.toml");
    std::fs::write(&file, "lisen = 'x'\npassword-chars = 0\nmessage-burst = [[1]]\n").unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--tcp-listen", "8090"];
    let variables = [("IM_SERVER_ID", "70000"), ("IM_JWT_SECRET", "hunter2"), ("IM_OPEN_REGISTRATION", "maybe")];
    let said = refusal(&run("serve", &flags, &variables));
    let path = file.display();
    for expected in [
        &format!("lisen in {path} is no setting: is it listen?"),
        &format!("password-chars = 0 in {path}: 0 is not in 1..=128"),
        &format!("message-burst in {path}: expected text, a number"),
        "--tcp-listen 8090: invalid socket address",
        "IM_SERVER_ID=70000: expected a number from 0 to 65535",
        "IM_JWT_SECRET: expected at least 32 characters, got 7",
        "IM_OPEN_REGISTRATION=maybe: expected true or false",
        "missing: --database-url, IM_DATABASE_URL, IM_DATABASE_URL_FILE or database-url in the file",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(said.lines().count(), 1 + 8, "one line each, in\n{said}");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let url = |name: &str| format!("sqlite://{}", path(name).display());
    let file = path("im.toml");
    // The keys of `serve` may stand in the file of `migrate`.
    std::fs::write(&file, format!("server-id = 3\ndatabase-url = '{}'\n", url("file"))).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let made = || ["file", "variable", "flag"].map(|name| Path::new(&path(name)).exists());

    migrated(&config, &[("IM_DATABASE_URL", "")]);
    assert_eq!(made(), [true, false, false], "an empty variable is none");
    migrated(&config, &[("IM_DATABASE_URL", &url("variable"))]);
    assert_eq!(made(), [true, true, false]);
    let flag = url("flag");
    migrated(&[&config[..], &["--database-url", &flag]].concat(), &[("IM_DATABASE_URL", &url("variable"))]);
    assert_eq!(made(), [true, true, true]);
}

#[test]
fn a_secret_may_come_from_a_mounted_file_but_not_from_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, database) = (folder.path().join("url"), folder.path().join("im.sqlite"));
    std::fs::write(&secret, format!("sqlite://{}\n", database.display())).unwrap();
    let secret = secret.to_str().unwrap();
    migrated(&[], &[("IM_DATABASE_URL_FILE", secret)]);
    assert!(database.exists());

    let said = refusal(&run("migrate", &["--database-url", "sqlite:///x"], &[("IM_DATABASE_URL_FILE", secret)]));
    assert!(said.contains(&format!("--database-url and IM_DATABASE_URL_FILE={secret}: set one of the two")), "{said}");
    let said = refusal(&run("migrate", &["--database-url-file", "/nowhere"], &[]));
    assert!(said.contains("--database-url-file /nowhere: the file cannot be read"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_line_and_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("im.toml");
    std::fs::write(&file, "server-id = 1\njwt-secret = 'hunter2\n").unwrap();
    let said = refusal(&run("migrate", &["--config", file.to_str().unwrap()], &[]));
    assert!(said.contains("im.toml, line 2:") && !said.contains("hunter2"), "{said}");
    let said = refusal(&run("migrate", &["--config", "/nowhere.toml"], &[]));
    assert!(said.contains("the configuration file /nowhere.toml cannot be read"), "{said}");
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    let serve = |database: &str, more: &[(&str, &str)]| {
        let variables =
            [&[("IM_SERVER_ID", "0"), ("IM_JWT_SECRET", SECRET), ("IM_DATABASE_URL", database)], more].concat();
        refusal(&run("serve", &[], &variables))
    };
    let said = serve("postgres://im:hunter2@db/im", &[]);
    assert!(said.contains("missing: redis-url") && said.contains("missing: kafka-brokers"), "{said}");
    let said = serve("sqlite:///tmp/x", &[("IM_REDIS_URL", "redis://:hunter2@cache")]);
    assert!(said.contains("one server has to itself") && !said.contains("hunter2"), "{said}");
    let said = serve("sqlite:///tmp/x", &[("IM_FRAME_BYTES", "2000")]);
    assert!(said.contains("frame-bytes is 2000, content-bytes is 65536"), "{said}");
}

#[test]
fn exactly_one_kind_of_token_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("a"), "hunter2").unwrap();
    let keys = keys.to_str().unwrap();
    let serve = |more: &[(&str, &str)]| {
        let variables = [&[("IM_SERVER_ID", "0"), ("IM_DATABASE_URL", "sqlite:///tmp/x")], more].concat();
        refusal(&run("serve", &[], &variables))
    };
    let (secret, folder, signing) = (("IM_JWT_SECRET", SECRET), ("IM_JWT_KEYS_DIR", keys), ("IM_JWT_SIGNING_KEY", "a"));
    let url = ("IM_JWKS_URL", "https://id.example.com/jwks");
    for (variables, expected) in [
        (vec![], "missing: exactly one of jwt-secret (--jwt-secret, IM_JWT_SECRET, IM_JWT_SECRET_FILE), jwt-keys-dir"),
        (vec![secret, url], "jwt-secret and jwks-url are set: set exactly one of"),
        (vec![secret, folder, signing, url], "jwt-secret and jwt-keys-dir and jwks-url are set"),
        (vec![folder], "missing: jwt-signing-key (--jwt-signing-key, IM_JWT_SIGNING_KEY)"),
        (vec![secret, signing], "jwt-signing-key is one of the keys in jwt-keys-dir"),
        (vec![secret, ("IM_JWKS_AUDIENCE", "chat")], "jwks-audience and jwks-issuer are about the tokens of jwks-url"),
        (vec![folder, signing], "the key a has 7 characters, expected at least 32"),
        (vec![("IM_JWT_KEYS_DIR", "/nowhere"), signing], "jwt-keys-dir: /nowhere cannot be read"),
        (
            vec![("IM_JWKS_URL", "http://id.example.com/jwks")],
            "IM_JWKS_URL=http://id.example.com/jwks: expected https://",
        ),
        (vec![url, ("IM_JWKS_AUDIENCE", ",")], "IM_JWKS_AUDIENCE=,: expected names"),
    ] {
        let said = serve(&variables);
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
        assert!(!said.contains("hunter2") && !said.contains(SECRET), "{said}");
    }
}

#[test]
fn the_documented_settings_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let expected = config::markdown();
    if std::env::var_os("WRITE_DOCS").is_some_and(|value| value == "1") {
        return std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/configuration.md differs from the code: run `WRITE_DOCS=1 cargo test -p im-server --test it documented` and \
         commit what it writes"
    );
}
