//! From flags, environment and file to one checked value per setting. A flag wins over the environment, that over the
//! file, that over the default. Everything that is wrong is told at once.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::file::File;
use super::settings::{ServeSettings, Settings};

/// One thing that is wrong, as a person is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem(pub(super) String);

/// What is wrong with the settings: each names the setting, the value unless it is a secret, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings do not fit; see docs/configuration.md")?;
        self.0.iter().try_for_each(|Problem(problem)| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The flag that names the file.
const CONFIG: &str = "config";

/// The subcommand whose settings are `S`, for the command line and its help. Nothing is checked yet.
pub fn command<S: Settings>(name: &'static str, about: &'static str) -> Command {
    let config =
        Arg::new(CONFIG).long(CONFIG).env(variable(CONFIG)).value_name("FILE").value_parser(value_parser!(PathBuf));
    let command = definitions::<S>();
    let files: Vec<Arg> = command.get_arguments().filter(|arg| is_secret(arg)).map(file_of).collect();
    let as_text = |arg: Arg| arg.required(false).value_parser(value_parser!(String));
    let command = command.args(files).mut_args(as_text).name(name).about(about).disable_help_flag(false);
    command.arg(config.help("TOML file with settings; the keys are the names of the flags without the dashes"))
}

/// The settings of a subcommand made by [`command`].
pub fn resolve<S: Settings>(matches: &ArgMatches) -> Result<S, Problems> {
    let mut problems = Vec::new();
    let file = matches.get_one::<PathBuf>(CONFIG).map(|path| {
        // One file serves every subcommand.
        let all = definitions::<ServeSettings>();
        let secrets: Vec<String> =
            all.get_arguments().filter(|arg| is_secret(arg)).map(|arg| file_name(long(arg))).collect();
        let keys: Vec<&str> = all.get_arguments().map(long).chain(secrets.iter().map(String::as_str)).collect();
        File::read(path, &keys, &mut problems)
    });
    let given = Sources { matches, file: &file.unwrap_or_default() };
    let definitions = definitions::<S>();
    let mut resolved: Vec<OsString> = Vec::new();
    for setting in definitions.get_arguments() {
        match given.value_of(setting).and_then(|value| checked(setting, value)) {
            Ok(Some(text)) => resolved.push(format!("--{}={text}", long(setting)).into()),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let matches =
        definitions.mut_args(|arg| arg.env(Resettable::Reset)).no_binary_name(true).try_get_matches_from(resolved);
    let settings = matches.and_then(|matches| S::from_arg_matches(&matches));
    let settings = settings.map_err(|error| Problems(vec![Problem(error.to_string())]))?;
    match settings.contradictions() {
        found if found.is_empty() => Ok(settings),
        found => Err(Problems(found.into_iter().map(Problem).collect())),
    }
}

/// What `S` defines, each with its environment variable.
pub(super) fn definitions<S: Settings>() -> Command {
    with_variables(S::augment_args(Command::new("settings")))
}

/// A command whose flags can be set by environment variables as well: `IM_`, and the flag's name.
pub fn with_variables(command: Command) -> Command {
    command.disable_help_flag(true).mut_args(|arg| {
        let variable = variable(long(&arg));
        arg.env(variable)
    })
}

/// A secret's value is never repeated, and may come from a file.
pub(super) fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

pub(super) fn long(arg: &Arg) -> &str {
    arg.get_long().expect("every setting is a long flag")
}

pub(super) fn variable(flag: &str) -> String {
    format!("IM_{}", flag.replace('-', "_").to_ascii_uppercase())
}

pub(super) fn file_name(secret: &str) -> String {
    format!("{secret}-file")
}

fn file_of(secret: &Arg) -> Arg {
    let name = file_name(long(secret));
    let arg = Arg::new(name.clone()).env(variable(&name)).action(ArgAction::Set).value_name("FILE");
    let help = format!("File that holds what --{} would", long(secret));
    arg.long(name).help(help).help_heading("Secrets from files").hide_short_help(true)
}

/// A value that was set somewhere.
struct Given {
    text: String,
    /// Where and, unless it is a secret, what: `IM_SERVER_ID=abc`.
    said: String,
}

struct Sources<'a> {
    matches: &'a ArgMatches,
    file: &'a File,
}

impl Sources<'_> {
    /// What was set for a setting, be it in a file of its own.
    fn value_of(&self, setting: &Arg) -> Result<Option<Given>, Problem> {
        let name = long(setting);
        let direct = self.text_of(name, setting.get_id().as_str(), is_secret(setting));
        if !is_secret(setting) {
            return Ok(direct);
        }
        let file = file_name(name);
        match (direct, self.text_of(&file, &file, false)) {
            (direct, None) => Ok(direct),
            (None, Some(path)) => read_secret(Path::new(&path.text), &path.said).map(Some),
            (Some(direct), Some(path)) => {
                Err(Problem(format!("{} and {}: set one of the two", direct.said, path.said)))
            }
        }
    }

    fn text_of(&self, name: &str, id: &str, secret: bool) -> Option<Given> {
        let said = |shown: String, whole: String| if secret { shown } else { whole };
        let text = self.matches.get_one::<String>(id);
        match (self.matches.value_source(id), text) {
            (Some(ValueSource::CommandLine), Some(text)) => {
                let flag = format!("--{name}");
                Some(Given { said: said(flag.clone(), format!("{flag} {text}")), text: text.clone() })
            }
            // A manifest with optional values leaves an empty variable behind.
            (Some(ValueSource::EnvVariable), Some(text)) if !text.is_empty() => {
                let variable = variable(name);
                Some(Given { said: said(variable.clone(), format!("{variable}={text}")), text: text.clone() })
            }
            _ => self.file.get(name).map(|text| {
                let path = self.file.path.display();
                Given {
                    said: said(format!("{name} in {path}"), format!("{name} = {text} in {path}")),
                    text: text.to_owned(),
                }
            }),
        }
    }
}

fn read_secret(path: &Path, said: &str) -> Result<Given, Problem> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Problem(format!("{said}: the file cannot be read: {error}")))?;
    // An editor ends the last line.
    Ok(Given { text: text.trim_end_matches(['\r', '\n']).to_owned(), said: said.to_owned() })
}

/// The text of a value that fits its definition.
fn checked(setting: &Arg, given: Option<Given>) -> Result<Option<String>, Problem> {
    let name = long(setting);
    let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
    let Some(Given { text, said }) = given else {
        if setting.is_required_set() {
            let file = if is_secret(setting) { format!(", {}", variable(&file_name(name))) } else { String::new() };
            let name = format!("--{name}, {}{file} or {name} in the file of --{CONFIG}", variable(name));
            return Err(Problem(format!("missing: {name}. It is: {help}")));
        }
        return Ok(None);
    };
    let alone = Command::new("setting").no_binary_name(true).disable_help_flag(true);
    let alone = alone.arg(setting.clone().env(Resettable::Reset).required(false));
    match alone.try_get_matches_from([format!("--{name}={text}")]) {
        Ok(_) => Ok(Some(text)),
        Err(error) => {
            let possible = setting.get_possible_values();
            let reason = match error.source() {
                Some(reason) => reason.to_string(),
                None if possible.is_empty() => "it is empty".to_owned(),
                None => {
                    let names: Vec<_> = possible.iter().map(clap::builder::PossibleValue::get_name).collect();
                    format!("expected one of {}", names.join(", "))
                }
            };
            Err(Problem(format!("{said}: {reason}. It is: {help}")))
        }
    }
}
