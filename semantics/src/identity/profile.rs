//! Identity profiles (IAP): one document in two shapes. The nested one keeps its parts in sections, the flat one
//! has them side by side; both stand under `identity_profile`, or are the core identity of a snapshot.

use std::collections::BTreeSet;

use serde_json::Value;

use super::score::Thresholds;

/// Which of the two shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Name and version in `metadata`, thresholds in `stability_configuration`.
    Nested,
    /// Name, version and thresholds at the top.
    Flat,
}

impl Variant {
    /// The shape of a profile.
    #[must_use]
    pub fn of(profile: &Value) -> Option<Self> {
        if profile.get("metadata").is_some() {
            Some(Self::Nested)
        } else if profile.get("name").is_some() {
            Some(Self::Flat)
        } else {
            None
        }
    }

    const fn paths(self) -> [&'static str; 3] {
        match self {
            Self::Nested => {
                ["/metadata/name", "/metadata/version", "/stability_configuration/stability_thresholds"]
            }
            Self::Flat => ["/name", "/version", "/stability_thresholds"],
        }
    }
}

/// Where the profile of a document stands, and the profile: a profile itself, a snapshot's core identity with or
/// without the key around it.
#[must_use]
pub fn located(document: &Value) -> Option<(&'static str, &Value)> {
    const PLACES: [&str; 3] = [
        "/identity_profile",
        "/identity_snapshot/core_identity/identity_profile",
        "/identity_snapshot/core_identity",
    ];
    PLACES.into_iter().find_map(|path| Some((path, document.pointer(path)?)))
}

/// The profile of a document.
#[must_use]
pub fn of_document(document: &Value) -> Option<&Value> {
    located(document).map(|(_, profile)| profile)
}

/// The thresholds in force under a profile: its own `warning`, `critical` (or `alert`) and `collapse`, defaults for
/// what it does not say.
#[must_use]
pub fn thresholds(profile: &Value) -> Thresholds {
    let Some(variant) = Variant::of(profile) else { return Thresholds::default() };
    let [_, _, path] = variant.paths();
    let own = |name: &str| profile.pointer(path)?.get(name)?.as_f64();
    Thresholds::default().overridden(
        own("warning"),
        own("critical").or_else(|| own("alert")),
        own("collapse"),
    )
}

/// The name in a profile.
#[must_use]
pub fn name(profile: &Value) -> Option<&str> {
    named(profile).and_then(Value::as_str)
}

fn named(profile: &Value) -> Option<&Value> {
    let [name, ..] = Variant::of(profile)?.paths();
    profile.pointer(name)
}

/// What makes two profiles one identity: name, archetype, and the core values whatever their order.
#[must_use]
pub fn traits(profile: &Value) -> BTreeSet<(&'static str, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let single = [("name", named(profile)), ("archetype", profile.get("archetype"))];
    let values = profile.get("core_values").and_then(Value::as_array).into_iter().flatten();
    single
        .into_iter()
        .filter_map(|(what, value)| Some((what, text(value?))))
        .chain(values.map(|value| ("core value", text(value))))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_say_the_same() {
        let nested = json!({
            "metadata": {"name": "Ada", "version": "1.0.0"}, "archetype": "guide", "core_values": ["b", "a"],
            "stability_configuration": {"stability_thresholds": {"warning": 2.5, "critical": 1.2}},
        });
        let flat = json!({
            "name": "Ada", "version": "1.0.0", "archetype": "guide", "core_values": ["a", "b"],
            "stability_thresholds": {"warning": 2.5, "critical": 1.2},
        });
        assert_eq!((Variant::of(&nested), Variant::of(&flat)), (Some(Variant::Nested), Some(Variant::Flat)));
        assert_eq!(thresholds(&nested), thresholds(&flat));
        assert_eq!(thresholds(&flat), Thresholds { warning: 2.5, alert: 1.2, collapse: 1.0 });
        assert_eq!(traits(&nested), traits(&flat));
    }

    #[test]
    fn a_profile_is_found_wherever_it_may_stand() {
        let profile = json!({"name": "Ada"});
        for document in [
            json!({"identity_profile": profile}),
            json!({"identity_snapshot": {"core_identity": profile}}),
            json!({"identity_snapshot": {"core_identity": {"identity_profile": profile}}}),
        ] {
            assert_eq!(of_document(&document), Some(&profile), "{document}");
        }
        assert_eq!(of_document(&json!({"name": "Ada"})), None);
    }
}
