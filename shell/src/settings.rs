//! Settings as a table.

use serde_json::{Value, json};

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A file or folder; a relative one is looked for from the folder the command runs in.
    Path,
    /// True or false.
    Switch,
    /// A whole number of some unit, both ends included.
    Number {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Texts; in a variable they stand with commas between them.
    List,
}

/// A setting of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the settings file, and the id of its argument where it has a flag.
    pub key: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// Its value where nobody says anything, as it would stand in a variable; `None` = it has none.
    pub default: Option<&'static str>,
    /// Whether its value is shown to nobody, and may be read from the file that KEY_file, KEY_FILE or --flag-file name.
    pub is_secret: bool,
    /// What it does, for the manual.
    pub says: &'static str,
}

/// A program and its settings.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What its variables start with, without the underscore.
    pub prefix: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
    /// Variables with the prefix that are no settings.
    pub other_variables: &'static [&'static str],
    /// Name of the settings file that is read from the data folder when no other is named and it is there.
    pub file_in_data: Option<&'static str>,
    /// Commands for which settings are not looked at.
    pub without_settings: &'static [&'static str],
}

/// Key, and id of the argument, that name the settings file.
pub const CONFIG: &str = "config";
/// Key of the data folder.
pub const DATA: &str = "data";
/// Key of the form in which answers are printed.
pub const OUTPUT: &str = "output";
/// The forms in which answers are printed.
pub const OUTPUTS: &[&str] = &["json", "table"];

impl Program {
    /// The setting of a key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// The variable of a key.
    #[must_use]
    pub fn variable(&self, key: &str) -> String {
        format!("{}_{}", self.prefix, key.to_ascii_uppercase())
    }

    /// Every key that may stand in a settings file.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.settings.iter().flat_map(Setting::keys).collect()
    }

    /// Every variable that means something.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let settings = self.keys().into_iter().map(|key| self.variable(&key));
        let others = self.other_variables.iter().map(|name| (*name).to_owned());
        settings.chain([self.variable(CONFIG)]).chain(others).collect()
    }

    /// The settings as a table of the manual; `flag` gives the flags of an argument's id.
    #[must_use]
    pub fn manual(&self, flag: &dyn Fn(&str) -> Option<String>) -> String {
        let mut text = String::from("| key | flag | variable | value | default | what it does |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for setting in self.settings {
            let code = |names: Vec<String>| {
                let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                if quoted.is_empty() { "–".to_owned() } else { quoted.join(" ") }
            };
            let keys = setting.keys();
            let flags = code(keys.iter().filter_map(|key| flag(key)).collect());
            let variables = code(keys.iter().map(|key| self.variable(key)).collect());
            let default = setting.default.map_or("–".to_owned(), |value| format!("`{value}`"));
            let (keys, form, says) = (code(keys), setting.form.words(), setting.says);
            text.push_str(&format!("| {keys} | {flags} | {variables} | {form} | {default} | {says} |\n"));
        }
        text
    }
}

impl Setting {
    /// Its key, and for a secret the key of the file that holds it.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let file = self.is_secret.then(|| file_key(self.key));
        [self.key.to_owned()].into_iter().chain(file).collect()
    }
}

/// Key of the file that holds a secret.
pub(crate) fn file_key(key: &str) -> String {
    format!("{key}_file")
}

impl Form {
    /// In words, with unit and range.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Number { min, max, unit } => format!("{min} to {max} {unit}"),
            Self::OneOf(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                quoted.join(", ")
            }
            Self::List => "list of texts".to_owned(),
        }
    }

    /// Why these values cannot be, if so.
    pub(crate) fn complaint(self, values: &[String]) -> Option<String> {
        let value = values.first().map_or("", String::as_str);
        let is_fine = match self {
            Self::Text | Self::Path | Self::List => values.iter().all(|value| !value.is_empty()),
            Self::Switch => switch(value).is_some(),
            Self::Number { min, max, .. } => value.parse::<u64>().is_ok_and(|n| (min..=max).contains(&n)),
            Self::OneOf(words) => words.contains(&value),
        };
        let wanted = match self {
            Self::Text | Self::Path | Self::List => "something".to_owned(),
            _ => self.words().replace('`', ""),
        };
        (!is_fine).then(|| format!("{value:?} is not {wanted}"))
    }

    /// A value as it stood in a variable.
    pub(crate) fn split(self, text: &str) -> Vec<String> {
        match self {
            Self::List => text.split(',').map(|part| part.trim().to_owned()).collect(),
            _ => vec![text.to_owned()],
        }
    }

    /// A value of a settings file; `None` = it has another form.
    pub(crate) fn of_toml(self, value: &toml::Value) -> Option<Vec<String>> {
        match (self, value) {
            (Self::Text | Self::Path | Self::OneOf(_), toml::Value::String(text)) => Some(vec![text.clone()]),
            (Self::Switch, toml::Value::Boolean(value)) => Some(vec![value.to_string()]),
            (Self::Number { .. }, toml::Value::Integer(number)) => Some(vec![number.to_string()]),
            (Self::List, toml::Value::Array(parts)) => {
                parts.iter().map(|part| part.as_str().map(ToOwned::to_owned)).collect()
            }
            _ => None,
        }
    }

    /// How it is written in a settings file.
    pub(crate) fn in_toml(self) -> &'static str {
        match self {
            Self::Text | Self::Path | Self::OneOf(_) => "text in quotes",
            Self::Switch => "true or false, without quotes",
            Self::Number { .. } => "a whole number, without quotes",
            Self::List => "a list of texts in quotes: [\"…\", \"…\"]",
        }
    }

    /// As JSON.
    pub(crate) fn json(self, values: &[String]) -> Value {
        let first = values.first().map_or("", String::as_str);
        match self {
            Self::List => json!(values),
            Self::Switch => json!(switch(first)),
            Self::Number { .. } => first.parse::<u64>().map_or(Value::Null, Value::from),
            Self::Text | Self::Path | Self::OneOf(_) => json!(first),
        }
    }
}

/// Reads a switch.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
