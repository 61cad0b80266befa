//! The configuration file: flat TOML, the keys are the names of the flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::resolve::Problem;

/// What a file says, as text by key.
#[derive(Default)]
pub(super) struct File {
    pub(super) path: PathBuf,
    values: BTreeMap<String, String>,
}

impl File {
    /// Reads a file. `keys` are those there are.
    pub(super) fn read(path: &Path, keys: &[&str], problems: &mut Vec<Problem>) -> Self {
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        let name = path.display();
        let table = match std::fs::read_to_string(path) {
            Err(error) => {
                problems.push(Problem(format!("the configuration file {name} cannot be read: {error}")));
                return file;
            }
            Ok(text) => match text.parse::<Table>() {
                Ok(table) => table,
                Err(error) => {
                    // Without the line itself: it may hold a secret.
                    let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                    problems.push(Problem(format!("{name}, line {line}: {}", error.message())));
                    return file;
                }
            },
        };
        for (key, value) in table {
            if !keys.contains(&key.as_str()) {
                let known = nearest(&key, keys).map_or(String::new(), |near| format!(": is it {near}?"));
                problems.push(Problem(format!("{key} in {name} is no setting{known}")));
            } else if let Some(text) = text(&value) {
                file.values.insert(key, text);
            } else {
                problems
                    .push(Problem(format!("{key} in {name}: expected text, a number, true, false or a list of them")));
            }
        }
        file
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

/// A value as it would be written after a flag.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(yes) => Some(yes.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().filter(|item| !item.is_array()).map(text).collect();
            items.filter(|texts| texts.len() == value.as_array().map_or(0, Vec::len)).map(|texts| texts.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Below this likeness a name is not offered: it would only confuse.
const ALIKE: f64 = 0.8;

fn nearest<'a>(key: &str, keys: &[&'a str]) -> Option<&'a str> {
    let key = key.replace('_', "-").to_ascii_lowercase();
    let key = key.strip_prefix("im-").unwrap_or(&key);
    let alike = keys.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    alike.filter(|(likeness, _)| *likeness >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_key_that_is_meant_is_offered() {
        let keys = ["server-id", "listen", "redis-url"];
        assert_eq!(nearest("server_id", &keys), Some("server-id"));
        assert_eq!(nearest("IM_REDIS_URL", &keys), Some("redis-url"));
        assert_eq!(nearest("lisen", &keys), Some("listen"));
        assert_eq!(nearest("colour", &keys), None);
    }

    #[test]
    fn a_list_is_what_would_be_written_after_the_flag() {
        let value: Table = "a = ['x:1', 'y:2']\nb = [['x']]\nc = 0.5\nd = 1979-05-27".parse().unwrap();
        assert_eq!(text(&value["a"]).as_deref(), Some("x:1,y:2"));
        assert_eq!(text(&value["b"]), None);
        assert_eq!(text(&value["c"]).as_deref(), Some("0.5"));
        assert_eq!(text(&value["d"]), None);
    }
}
