//! Where a setting's value comes from.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use crate::settings::{CONFIG, DATA, Program, Setting, file_key, switch};

/// Largest settings file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest secret in a file, bytes.
const SECRET_BYTES_MAX: u64 = 16 * 1024;
/// What is shown for a secret.
const REDACTED: &str = "(redacted)";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by the id of its argument.
    Flag(String),
    /// A variable.
    Variable(String),
    /// A key of the settings file.
    File(PathBuf, String),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(id) => write!(f, "flag --{}", id.replace('_', "-")),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path, key) => write!(f, "{key} in {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// The place in one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Variable(_) => "variable",
            Self::File(..) => "file",
            Self::Default => "default",
        }
    }
}

/// The environment's variables of one program.
#[derive(Debug, Clone, Default)]
pub struct Variables(pub BTreeMap<String, String>);

impl Variables {
    /// Those of this process that start with the program's prefix.
    ///
    /// # Errors
    /// MALFORMED for one that is no UTF-8.
    pub fn of_process(program: &Program) -> Result<Self, Refusal> {
        let prefix = format!("{}_", program.prefix);
        let mut found = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.into_string().ok().filter(|name| name.starts_with(&prefix)) else {
                continue;
            };
            let value = value.into_string().map_err(|_| malformed(format!("variable {name} is no UTF-8")))?;
            found.insert(name, value);
        }
        Ok(Self(found))
    }

    /// One that says something: an empty one is as good as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A settings file that was read.
#[derive(Debug, Clone)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    pub(crate) table: toml::Table,
}

/// Everything that may name a setting, the strongest first.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) flags: BTreeMap<String, Vec<String>>,
    pub(crate) variables: Variables,
    pub(crate) file: Option<SettingsFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Nothing,
    Values(Vec<String>),
    /// The file that holds the secret.
    SecretFile(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    setting: Setting,
    said: Said,
    origin: Origin,
}

/// What every setting is, and why.
#[derive(Debug, Clone)]
pub struct Resolved {
    found: BTreeMap<&'static str, Found>,
    file: Option<PathBuf>,
    notes: Vec<String>,
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Malformed, detail)
}

impl SettingsFile {
    /// Reads the file that is named, or the one in the data folder when it is there.
    pub(crate) fn find(
        program: &Program,
        flags: &BTreeMap<String, Vec<String>>,
        variables: &Variables,
    ) -> Result<Option<Self>, Refusal> {
        let flag = |key: &str| flags.get(key).and_then(|values| values.first()).map(String::as_str);
        let said = |key: &str| flag(key).or_else(|| variables.get(&program.variable(key)));
        if let Some(path) = said(CONFIG) {
            return Self::read(program, Path::new(path)).map(Some);
        }
        let Some(name) = program.file_in_data else { return Ok(None) };
        let default = program.setting(DATA).and_then(|setting| setting.default);
        let Some(data) = said(DATA).or(default) else { return Ok(None) };
        let path = Path::new(data).join(name);
        if !path.try_exists().unwrap_or(true) {
            return Ok(None);
        }
        let file = Self::read(program, &path)?;
        if file.table.contains_key(DATA) {
            let detail = format!("{}: data cannot be set by a file that was found in it", path.display());
            return Err(malformed(detail));
        }
        Ok(Some(file))
    }

    fn read(program: &Program, path: &Path) -> Result<Self, Refusal> {
        let text = read_bounded(path, FILE_BYTES_MAX)?;
        let name = path.display();
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let at =
                e.span().map_or(0, |span| text.get(..span.start).map_or(0, |before| before.lines().count()));
            malformed(format!("{name}, line {}: {}", at.max(1), e.message()))
        })?;
        let keys = program.keys();
        if let Some(key) = table.keys().find(|key| !keys.contains(key)) {
            let advice = match nearest(key, &keys) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known are {}", keys.join(", ")),
            };
            return Err(malformed(format!("{name}: unknown key {key}; {advice}")));
        }
        Ok(Self { path: path.to_owned(), table })
    }
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, Refusal> {
    let name = path.display();
    let unread = |e: std::io::Error| Refusal::new(Reason::NotFound, format!("cannot read {name}: {e}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Refusal::new(Reason::TooLarge, format!("{name} is larger than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| malformed(format!("{name} is no UTF-8")))
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    let name = name.to_ascii_lowercase();
    let distance = |known: &String| strsim::damerau_levenshtein(&name, &known.to_ascii_lowercase());
    // A third of the letters may be wrong; further off it is a guess.
    let near = known.iter().filter(|known| distance(known) <= (known.chars().count() / 3).max(1));
    near.min_by_key(|known| distance(known))
}

impl Sources {
    /// What every setting is.
    pub(crate) fn resolve(self, program: &Program) -> Result<Resolved, Refusal> {
        let mut found = BTreeMap::new();
        for setting in program.settings {
            found.insert(setting.key, self.find(program, setting)?);
        }
        let notes = self.notes(program);
        Ok(Resolved { found, file: self.file.map(|file| file.path), notes })
    }

    fn find(&self, program: &Program, setting: &Setting) -> Result<Found, Refusal> {
        for place in [Self::flag, Self::variable, Self::key] {
            let value = place(self, program, setting, setting.key)?;
            let secret = if setting.is_secret {
                let path = Setting { form: crate::Form::Path, is_secret: false, ..*setting };
                place(self, program, &path, &file_key(setting.key))?
            } else {
                None
            };
            let (said, origin) = match (value, secret) {
                (None, None) => continue,
                (Some((_, one)), Some((_, other))) => {
                    return Err(malformed(format!("{one} and {other} are both given: give one of them")));
                }
                (Some((values, origin)), None) => (Said::Values(values), origin),
                (None, Some((values, origin))) => {
                    (Said::SecretFile(PathBuf::from(values.into_iter().next().unwrap_or_default())), origin)
                }
            };
            if let Said::Values(values) = &said
                && let Some(complaint) = setting.form.complaint(values)
            {
                let detail = if setting.is_secret { "it is empty".to_owned() } else { complaint };
                return Err(malformed(format!("{}: {detail}, from {origin}", setting.key)));
            }
            return Ok(Found { setting: *setting, said, origin });
        }
        let said = setting.default.map_or(Said::Nothing, |text| Said::Values(setting.form.split(text)));
        Ok(Found { setting: *setting, said, origin: Origin::Default })
    }

    fn flag(&self, _: &Program, _: &Setting, key: &str) -> Result<Option<(Vec<String>, Origin)>, Refusal> {
        Ok(self.flags.get(key).map(|values| (values.clone(), Origin::Flag(key.to_owned()))))
    }

    fn variable(
        &self,
        program: &Program,
        setting: &Setting,
        key: &str,
    ) -> Result<Option<(Vec<String>, Origin)>, Refusal> {
        let name = program.variable(key);
        Ok(self.variables.get(&name).map(|text| (setting.form.split(text), Origin::Variable(name))))
    }

    fn key(
        &self,
        _: &Program,
        setting: &Setting,
        key: &str,
    ) -> Result<Option<(Vec<String>, Origin)>, Refusal> {
        let Some(file) = &self.file else { return Ok(None) };
        let Some(value) = file.table.get(key) else { return Ok(None) };
        let wrong =
            || malformed(format!("{}: {key} must be {}", file.path.display(), setting.form.in_toml()));
        let values = setting.form.of_toml(value).ok_or_else(wrong)?;
        Ok(Some((values, Origin::File(file.path.clone(), key.to_owned()))))
    }

    /// What is no mistake, but probably not meant.
    fn notes(&self, program: &Program) -> Vec<String> {
        let known = program.variables();
        let mut notes = Vec::new();
        for name in self.variables.0.keys().filter(|name| !known.contains(name)) {
            let bare = |name: &str| name.strip_prefix(program.prefix).unwrap_or(name).to_owned();
            let bare_known: Vec<String> = known.iter().map(|name| bare(name)).collect();
            let meant = nearest(&bare(name), &bare_known);
            let advice =
                meant.map_or(String::new(), |meant| format!("; did you mean {}{meant}?", program.prefix));
            notes.push(format!("variable {name} is no setting{advice}"));
        }
        for setting in program.settings.iter().filter(|setting| setting.is_secret) {
            if self.flags.contains_key(setting.key) {
                let flag = Origin::Flag(setting.key.to_owned());
                let variable = program.variable(&file_key(setting.key));
                notes.push(format!("{flag} is seen by every user of this machine; {variable} is not"));
            }
        }
        notes
    }
}

impl Resolved {
    /// The settings file that was read.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is no mistake, but probably not meant.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The values of a setting that is no secret.
    #[must_use]
    pub fn list(&self, key: &str) -> &[String] {
        match self.found.get(key) {
            Some(Found { said: Said::Values(values), setting, .. }) if !setting.is_secret => values,
            _ => &[],
        }
    }

    /// The value of a setting that is no secret.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.list(key).first().map(String::as_str)
    }

    /// The value of a number; it has been checked, so it is there for every number with a default.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// The value of a switch.
    #[must_use]
    pub fn switch(&self, key: &str) -> bool {
        self.text(key).and_then(switch).unwrap_or(false)
    }

    /// Whether somebody said what a setting is.
    #[must_use]
    pub fn is_said(&self, key: &str) -> bool {
        self.found.get(key).is_some_and(|found| found.origin != Origin::Default)
    }

    /// A secret, read from its file where it is in one; the line end after it does not count.
    ///
    /// # Errors
    /// NOT_FOUND, TOO_LARGE or MALFORMED when the file does not hold one.
    pub fn secret(&self, key: &str) -> Result<Option<String>, Refusal> {
        match self.found.get(key).map(|found| (&found.said, &found.origin)) {
            Some((Said::Values(values), _)) => Ok(values.first().cloned()),
            Some((Said::SecretFile(path), origin)) => {
                let from = |refusal: Refusal| {
                    Refusal::new(refusal.reason, format!("{key}: {}, from {origin}", refusal.detail))
                };
                let secret = read_bounded(path, SECRET_BYTES_MAX).map_err(from)?;
                let secret = secret.trim_end_matches(['\r', '\n']);
                if secret.is_empty() {
                    return Err(from(malformed(format!("{} is empty", path.display()))));
                }
                Ok(Some(secret.to_owned()))
            }
            Some((Said::Nothing, _)) | None => Ok(None),
        }
    }

    /// Reads every secret once, to see that it can be.
    ///
    /// # Errors
    /// As [`Resolved::secret`].
    pub fn check_secrets(&self) -> Result<(), Refusal> {
        for key in self.found.values().filter(|found| found.setting.is_secret).map(|found| found.setting.key)
        {
            self.secret(key)?;
        }
        Ok(())
    }

    /// One object for each setting, in the order of keys: `key`, `value`, `from` (flag, variable, file, default) and
    /// `named` (which flag, variable or key). Secrets are not shown.
    #[must_use]
    pub fn rows(&self) -> Vec<Value> {
        let row = |found: &Found| {
            let value = match &found.said {
                Said::Nothing => Value::Null,
                Said::Values(_) if found.setting.is_secret => json!(REDACTED),
                Said::Values(values) => found.setting.form.json(values),
                Said::SecretFile(path) => json!(format!("{REDACTED} in {}", path.display())),
            };
            json!({
                "key": found.setting.key,
                "value": value,
                "from": found.origin.word(),
                "named": found.origin.to_string(),
            })
        };
        self.found.values().map(row).collect()
    }

    /// The values with which an argument starts: those of its setting, unless it is a secret.
    pub(crate) fn defaults(&self, id: &str) -> Option<&[String]> {
        Some(self.list(id)).filter(|values| !values.is_empty())
    }
}

#[cfg(test)]
mod tests;
