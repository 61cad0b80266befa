//! docs/configuration.md, from the definitions.

use std::fmt::Write as _;

use clap::Arg;

use super::resolve::{definitions, file_name, is_secret, long, variable};
use super::settings::{MigrateSettings, ServeSettings};

const PREAMBLE: &str = "# Configuration

<!-- Generated from the definitions in im-server/src/config; a test fails when the two differ. -->

The settings of `im-server serve`. Each is a flag, an environment variable, and a key of the TOML file that `--config FILE`
(`IM_CONFIG`) names: `--server-id 3`, `IM_SERVER_ID=3`, `server-id = 3`. A flag wins over the environment, that over the
file, that over the default. An empty variable is one that is not set. A list is written with commas, or as a TOML array.

Everything is checked at start, and everything that is wrong is told at once; the exit code is then 2.

A **secret** can also come from a file, as Kubernetes mounts it: `--jwt-secret-file`, `IM_JWT_SECRET_FILE`,
`jwt-secret-file`. Prefer that, or the environment, to a flag: other users of a machine see a command's arguments.
";

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut page = PREAMBLE.to_owned();
    let mut heading = None;
    let definitions = definitions::<ServeSettings>();
    for setting in definitions.get_arguments() {
        if setting.get_help_heading() != heading {
            heading = setting.get_help_heading();
            let title = heading.expect("every setting stands under a heading");
            // Writing into memory cannot fail.
            let _ = write!(page, "\n## {title}\n\n| flag | variable | default | what it is |\n|---|---|---|---|\n");
        }
        page.push_str(&row(setting));
    }
    let shared: Vec<_> =
        self::definitions::<MigrateSettings>().get_arguments().map(|arg| format!("`--{}`", long(arg))).collect();
    let _ = write!(
        page,
        "\n## im-server migrate\n\nBrings the database to this version and ends. It takes {}, and a file with the other settings in it.\n",
        shared.join(", ")
    );
    page
}

fn row(setting: &Arg) -> String {
    let name = long(setting);
    let value = setting.get_value_names().and_then(<[_]>::first).map_or("", |name| name.as_str());
    let default: Vec<_> = setting.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = match default.join(",") {
        _ if setting.is_required_set() => "**required**".to_owned(),
        text if text.is_empty() => "none".to_owned(),
        text => format!("`{text}`"),
    };
    let help = setting.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let secret = if is_secret(setting) { format!(". **Secret**, also `--{}`", file_name(name)) } else { String::new() };
    format!("| `--{name} {value}` | `{}` | {default} | {help}{secret} |\n", variable(name))
}
