//! A reader of `/metrics` that accepts only well-formed OpenMetrics text.

use std::collections::{BTreeMap, HashMap};

use super::rest::Api;

/// The metrics of one instance: a value for each series, as `name{label="value"}`.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Metrics {
    pub async fn of(api: &Api) -> Self {
        let answer = api.get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
        Self::parse(answer.text)
    }

    /// The value of a series, which must exist; `name` without the common prefix.
    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        let name = format!("hyper_chat_{name}");
        *self.series.get(&name).unwrap_or_else(|| panic!("{name} is missing in\n{}", self.text))
    }

    /// By how much each of these has grown.
    #[track_caller]
    pub fn since<const N: usize>(&self, before: &Self, names: [&str; N]) -> [f64; N] {
        names.map(|name| self.get(name) - before.get(name))
    }

    #[track_caller]
    pub fn parse(text: String) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
        let mut series = BTreeMap::new();
        // The family of the lines, with its HELP and TYPE.
        let mut families: HashMap<&str, [Option<&str>; 2]> = HashMap::new();
        let mut family = "";
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let (what, rest) = rest.split_once(' ').expect(line);
                let (name, value) = rest.split_once(' ').expect(line);
                let at = usize::from(what == "TYPE");
                assert!(what == "TYPE" || what == "HELP", "{line}");
                assert!(families.entry(name).or_default()[at].replace(value).is_none(), "twice: {line}");
                family = name;
                continue;
            }
            let (name, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            check_name(family, families[family], name, value);
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
        for (name, [help, kind]) in families {
            assert!(help.is_some_and(|help| help.len() > 10), "{name} is not explained");
            check_histogram(name, kind, &series);
        }
        Self { text, series }
    }
}

#[track_caller]
fn check_name(family: &str, [help, kind]: [Option<&str>; 2], name: &str, value: f64) {
    let (bare, labels) = name.split_once('{').map_or((name, None), |(bare, rest)| (bare, Some(rest)));
    assert!(family.starts_with("hyper_chat_") && help.is_some(), "{name} stands under {family}");
    assert!(bare.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
    let ends: &[&str] = match kind {
        Some("counter") => &["_total"],
        Some("gauge") => &[""],
        Some("histogram") => &["_bucket", "_sum", "_count"],
        other => panic!("{name}: of type {other:?}"),
    };
    assert!(ends.iter().any(|end| bare.strip_suffix(end) == Some(family)), "{name} is not of {family}");
    assert!(value >= 0.0 && value.is_finite(), "{name} {value}");
    let Some(labels) = labels else { return };
    for label in labels.strip_suffix('}').expect(name).split(',') {
        let (key, value) = label.split_once('=').expect(name);
        assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).expect(name);
        assert!(!value.contains(['"', '\\', '\n']), "{name}");
    }
}

/// Buckets are cumulative, and the last holds all.
#[track_caller]
fn check_histogram(name: &str, kind: Option<&str>, series: &BTreeMap<String, f64>) {
    if kind != Some("histogram") {
        return;
    }
    let prefix = format!("{name}_bucket{{le=\"");
    let buckets = series.iter().filter_map(|(name, value)| {
        let end = name.strip_prefix(&prefix)?.strip_suffix("\"}")?;
        Some((if end == "+Inf" { f64::INFINITY } else { end.parse().expect(name) }, *value))
    });
    let mut buckets: Vec<(f64, f64)> = buckets.collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(buckets.len() > 2 && buckets.is_sorted_by_key(|(_, count)| *count), "{name}: {buckets:?}");
    assert_eq!(buckets.last().copied(), Some((f64::INFINITY, series[&format!("{name}_count")])), "{name}");
}
