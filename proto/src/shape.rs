//! What is wrong with the shape of a message: the field's path and the rule it breaks.

use std::fmt::Display;

use semantics::reason::{Reason, Refusal};

/// A message whose shape is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ShapeError {
    /// Path of the field, as `items[3].mutation.key.kind`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It must be present.
    #[error("is missing")]
    Missing,
    /// Its value is not one of those allowed.
    #[error("{0}")]
    Invalid(String),
    /// It is larger than its bound.
    #[error("has {found} {unit}, at most {max} are allowed")]
    TooLarge {
        /// How much there is.
        found: usize,
        /// How much is allowed.
        max: usize,
        /// Of what.
        unit: &'static str,
    },
}

impl ShapeError {
    /// A value that is not allowed.
    #[must_use]
    pub fn invalid(what: impl Display) -> Self {
        Self { path: String::new(), problem: Problem::Invalid(what.to_string()) }
    }

    /// The same error, seen from the message that holds the field.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => outer.to_owned(),
            inner => format!("{outer}.{inner}"),
        };
        self
    }

    fn missing() -> Self {
        Self { path: String::new(), problem: Problem::Missing }
    }
}

impl From<ShapeError> for Refusal {
    fn from(error: ShapeError) -> Self {
        let reason = match error.problem {
            Problem::TooLarge { .. } => Reason::TooLarge,
            Problem::Missing | Problem::Invalid(_) => Reason::Malformed,
        };
        Self::new(reason, error.to_string())
    }
}

/// Names the field that something was read from.
pub(crate) trait At<T> {
    /// The error, if there is one, under the field's name.
    fn at(self, field: &str) -> Result<T, ShapeError>;
}

impl<T, E: IntoShape> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, ShapeError> {
        self.map_err(|error| error.into_shape().within(field))
    }
}

/// Errors of conversions that know nothing of paths.
pub(crate) trait IntoShape {
    /// As a shape error without a path.
    fn into_shape(self) -> ShapeError;
}

impl IntoShape for ShapeError {
    fn into_shape(self) -> ShapeError {
        self
    }
}

impl IntoShape for semantics::ids::IdError {
    fn into_shape(self) -> ShapeError {
        match self {
            Self::TooLong { bytes, bytes_max, .. } => too_large(bytes, bytes_max, "bytes"),
            Self::NotHex { digits, .. } => ShapeError::invalid(format!("must be {} bytes", digits / 2)),
            other @ (Self::Empty { .. } | Self::Character { .. }) => ShapeError::invalid(other),
        }
    }
}

/// Converts a message field that must be present.
pub(crate) fn required<W, T>(field: &str, value: Option<W>) -> Result<T, ShapeError>
where
    T: TryFrom<W, Error = ShapeError>,
{
    present(field, value).and_then(|value| T::try_from(value).at(field))
}

/// Converts a message field that may be absent.
pub(crate) fn optional<W, T>(field: &str, value: Option<W>) -> Result<Option<T>, ShapeError>
where
    T: TryFrom<W, Error = ShapeError>,
{
    value.map(|value| T::try_from(value).at(field)).transpose()
}

/// A field that must be present, as it is.
pub(crate) fn present<W>(field: &str, value: Option<W>) -> Result<W, ShapeError> {
    value.ok_or_else(ShapeError::missing).at(field)
}

/// Converts the elements of a list that has at most `max`.
pub(crate) fn list<W, T>(field: &str, values: Vec<W>, max: usize) -> Result<Vec<T>, ShapeError>
where
    T: TryFrom<W, Error = ShapeError>,
{
    at_most(field, values.len(), max, "elements")?;
    let converted = values.into_iter().enumerate();
    converted.map(|(i, value)| T::try_from(value).map_err(|e| e.within(&format!("{field}[{i}]")))).collect()
}

/// Checks a size.
pub(crate) fn at_most(field: &str, found: usize, max: usize, unit: &'static str) -> Result<(), ShapeError> {
    if found > max { Err(too_large(found, max, unit)).at(field) } else { Ok(()) }
}

fn too_large(found: usize, max: usize, unit: &'static str) -> ShapeError {
    ShapeError { path: String::new(), problem: Problem::TooLarge { found, max, unit } }
}
