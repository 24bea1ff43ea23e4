//! Names of keys: how each is written in the environment, and which one a misspelt name means.

use super::{FILE_VARIABLE, GOOGLE, SHORT_NAMES, secrets};

/// The beginning of the variables that name a key.
pub(super) const PREFIX: &str = "HYPER_CHAT__";
/// The prefix without its underscores.
const PLAIN_PREFIX: &str = "HYPERCHAT";
/// A short name of fewer letters is too often a variable of another program.
const SHORT_NAME_LETTERS_MIN: usize = 7;

/// How a key is written in the environment.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// The key that a variable with the prefix names.
pub(super) fn key_of(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase().replace("__", ".")
}

/// The name that a misspelt one means: the nearest as a whole, or by its last part where the section is missing or wrong.
/// None if no name is near.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = last_part(name);
    let near = candidates.filter_map(|candidate| {
        let whole = strsim::osa_distance(name, candidate);
        let parts = strsim::osa_distance(last, last_part(candidate));
        let by_whole = (whole <= (candidate.len() / 4).max(1)).then_some(whole);
        // A part of three letters is near to too many.
        let is_end = last_part(candidate).ends_with(&format!("_{last}"));
        let by_part = (last.len() > 3 && (parts <= 1 || is_end)).then_some(parts + 2);
        Some((by_whole.into_iter().chain(by_part).min()?, whole, candidate))
    });
    near.min().map(|(_, _, candidate)| candidate)
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Whether the program reads a variable: as a key, a short name, the file of a secret, or for itself.
pub(super) fn is_read(name: &str) -> bool {
    let is_short = |name: &str| SHORT_NAMES.iter().any(|(short, _)| *short == name);
    let has_file = |base: &str| SHORT_NAMES.iter().any(|(short, key)| *short == base && may_be_in_file(short, key));
    let base = name.strip_suffix(secrets::FILE_SUFFIX);
    name.starts_with(PREFIX) || name == FILE_VARIABLE || is_short(name) || base.is_some_and(has_file)
}

/// Whether a short name has a variable with `_FILE` behind it. Google's names a file itself.
pub(super) fn may_be_in_file(short: &str, key: &str) -> bool {
    secrets::is_secret(key) && short != GOOGLE
}

/// The variable that the operator probably meant by one that is not read: one underscore in place of two, lower case, a
/// letter too few. `is_given` says which keys have a value.
pub(super) fn near_miss(name: &str, text: &str, keys: &[&str], is_given: impl Fn(&str) -> bool) -> Option<String> {
    // Kubernetes sets variables with such values for a service of this name.
    if is_read(name) || text.is_empty() || text.starts_with("tcp://") || text.starts_with("udp://") {
        return None;
    }
    let plain = plain(name);
    let secret_files = secrets::keys().map(|key| format!("{}{}", variable(key), secrets::FILE_SUFFIX));
    let long = keys.iter().map(|key| variable(key)).chain(secret_files).chain([FILE_VARIABLE.to_owned()]);
    let short = SHORT_NAMES.iter().filter(|(short, key)| short.len() >= SHORT_NAME_LETTERS_MIN && !is_given(key));
    let short = short.flat_map(|(short, key)| {
        let file = may_be_in_file(short, key).then(|| format!("{short}{}", secrets::FILE_SUFFIX));
        [Some((*short).to_owned()), file].into_iter().flatten()
    });
    let distance = |candidate: &str| strsim::osa_distance(&plain, &self::plain(candidate));
    let by_name = long
        .map(|candidate| (distance(&candidate), 2, candidate))
        .chain(short.map(|candidate| (distance(&candidate), 1, candidate)))
        .filter(|(distance, most, _)| distance <= most)
        .min();
    by_name.map(|(_, _, candidate)| candidate).or_else(|| {
        // `HYPER_CHAT_PORT`: the section is missing.
        let part = plain.strip_prefix(PLAIN_PREFIX).filter(|part| !part.is_empty())?;
        keys.iter().find(|key| self::plain(last_part(key)) == part).map(|key| variable(key))
    })
}

/// Letters and digits in upper case.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["server.port", "server.proxy_hops", "auth.jwt_secret", "database.url"];

    #[test]
    fn e3_the_nearest_key_is_found_and_a_far_one_is_not() {
        for (name, meant) in [
            ("server.prot", Some("server.port")),
            ("servr.port", Some("server.port")),
            ("port", Some("server.port")),
            ("auth.proxy_hops", Some("server.proxy_hops")),
            ("server.proxyhops", Some("server.proxy_hops")),
            ("auth.secret", Some("auth.jwt_secret")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, KEYS.into_iter()), meant, "{name}");
        }
    }

    #[test]
    fn e3_a_variable_that_nearly_names_a_key_is_noticed() {
        let meant = |name, text| near_miss(name, text, &KEYS, |_| false);
        for (name, near) in [
            ("HYPER_CHAT_SERVER_PORT", "HYPER_CHAT__SERVER__PORT"),
            ("HYPER_CHAT_SERVER__PORT", "HYPER_CHAT__SERVER__PORT"),
            ("HYPERCHAT__SERVER__PORT", "HYPER_CHAT__SERVER__PORT"),
            ("HYPER_CHT__SERVER__PORT", "HYPER_CHAT__SERVER__PORT"),
            ("hyper_chat__server__port", "HYPER_CHAT__SERVER__PORT"),
            ("HYPER_CHAT_PORT", "HYPER_CHAT__SERVER__PORT"),
            ("HYPER_CHAT_JWT_SECRET", "HYPER_CHAT__AUTH__JWT_SECRET"),
            ("HYPER_CHAT_AUTH_JWT_SECRET_FILE", "HYPER_CHAT__AUTH__JWT_SECRET_FILE"),
            ("HYPER_CHAT_CONFG", "HYPER_CHAT_CONFIG"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("DATABASE__URL", "DATABASE_URL"),
            ("REDIS_URL_FIL", "REDIS_URL_FILE"),
        ] {
            assert_eq!(meant(name, "1").as_deref(), Some(near), "{name}");
        }
        for name in ["HYPER_CHAT_SERVICE_HOST", "HYPER_CHAT_PASSWORD", "HYPER_CHAT_TEST_LONG", "PORTS", "PATH"] {
            assert_eq!(meant(name, "1"), None, "{name}");
        }
        assert_eq!(meant("HYPER_CHAT_PORT", "tcp://10.0.0.1:80"), None);
        assert_eq!(meant("HYPER_CHAT_SERVICE_PORT", "8080"), None);
        assert_eq!(near_miss("DATABASE_URI", "x", &KEYS, |key| key == "database.url"), None, "another program's");
    }
}
