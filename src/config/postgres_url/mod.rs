//! A PostgreSQL URL as libpq reads it: several hosts, IPv6 in brackets, and parameters, each taken or refused.
//!
//! A refusal names the part and what to do. It never repeats the URL, which may hold a password.

mod parameters;

use std::net::Ipv6Addr;
use std::time::Duration;

use secrecy::SecretString;

/// What an unescaped character in a password turns the rest of a URL into, and how to write it.
const ENCODE: &str = "percent-encode @ as %40, / as %2F, # as %23 and ? as %3F in the user and the password";

/// The servers and the sign-in that a URL names.
#[derive(Clone, Debug)]
pub struct PostgresUrl {
    /// Where the servers are, in the order in which they are tried; one at least.
    pub hosts: Vec<Host>,
    /// None: the name of the user that runs the process.
    pub user: Option<String>,
    /// None: without a password, or the one in `~/.pgpass`.
    pub password: Option<SecretString>,
    /// None: the database with the user's name.
    pub database: Option<String>,
    /// Whether only a server that takes writes will do; so by default where there are several.
    pub writable: bool,
    /// How long one server may take to answer a connection attempt.
    pub connect_timeout: Option<Duration>,
    /// What the driver reads itself, such as `sslmode`, by its name there.
    pub parameters: Vec<(&'static str, String)>,
}

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// A name, an address without brackets, or the folder of a Unix socket. None: this machine.
    pub name: Option<String>,
    /// None: 5432.
    pub port: Option<u16>,
}

impl PostgresUrl {
    /// Reads the URL, or says which part cannot be used.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or("must begin with postgres://")?;
        if rest.contains('#') {
            return Err(format!("must not have a # in it: {ENCODE}"));
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') || query.contains('@') {
            return Err(format!("has an @ behind the host: {ENCODE}"));
        }
        // An unescaped @ in a password still leaves the last one before the hosts.
        let (sign_in, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(left, right)| (Some(left), right));
        let (user, password) = sign_in.map_or((None, None), |text| match text.split_once(':') {
            Some((user, password)) => (Some(user), Some(password)),
            None => (Some(text), None),
        });
        let mut parsed = Self {
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            user: text_of(user, "user")?,
            password: text_of(password, "password")?.map(SecretString::from),
            database: text_of(Some(path.trim_start_matches('/')), "database's name")?,
            writable: false,
            connect_timeout: None,
            parameters: Vec::new(),
        };
        parameters::take(&mut parsed, query)?;
        Ok(parsed)
    }
}

/// One of the hosts between `@` and `/`: `name`, `name:port`, `[address]` or `[address]:port`.
fn host(text: &str) -> Result<Host, String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or("has a host with [ and without ]")?;
            if address.parse::<Ipv6Addr>().is_err() {
                return Err("has brackets around something that is no IPv6 address".to_owned());
            }
            (Some(address.to_owned()), port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
        }
        None => {
            let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
            if name.contains(':') {
                return Err(
                    "has a host with more than one colon: an IPv6 address needs brackets, as in [::1]".to_owned()
                );
            }
            (text_of(Some(name), "host")?, Some(port))
        }
    };
    let port = port.ok_or("has a host with something behind its ]")?;
    Ok(Host { name, port: if port.is_empty() { None } else { Some(self::port(port)?) } })
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("has a port that is no number from 1 to 65535; if that is part of a password, {ENCODE}"))
}

/// A part that is not empty, decoded.
fn text_of(part: Option<&str>, name: &str) -> Result<Option<String>, String> {
    part.filter(|text| !text.is_empty()).map(|text| decoded(text, name)).transpose()
}

/// Decodes `%40` and its like.
fn decoded(text: &str, name: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(
            byte.ok_or_else(|| format!("has a % in its {name} without two hexadecimal digits: write it as %25"))?,
        );
        rest = &rest[2..];
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("has a {name} that is not UTF-8"))?;
    if text.contains('\0') { Err(format!("has a zero byte in its {name}")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parsed(url: &str) -> PostgresUrl {
        PostgresUrl::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    fn hosts(url: &str) -> Vec<(String, u16)> {
        parsed(url).hosts.into_iter().map(|host| (host.name.unwrap_or_default(), host.port.unwrap_or(0))).collect()
    }

    #[test]
    fn d3_several_hosts_are_read_in_their_order_and_ask_for_a_writable_one() {
        let url = parsed("postgres://u:p@one:1,two,[::1]:3/db?target_session_attrs=read-write");
        let at = |name: &str, port| Host { name: Some(name.to_owned()), port };
        assert_eq!(url.hosts, [at("one", Some(1)), at("two", None), at("::1", Some(3))]);
        assert!(url.writable && parsed("postgres://a,b/db").writable && !parsed("postgres://a/db").writable);
        assert!(!parsed("postgres://a,b/db?target_session_attrs=any").writable);
        assert!(parsed("postgres://a/db?target_session_attrs=primary").writable);
        let read_only = PostgresUrl::parse("postgres://a,b/db?target_session_attrs=standby").expect_err("it writes");
        assert!(read_only.contains("target_session_attrs"), "{read_only}");
        assert_eq!(hosts("postgres:///db?host=a,b&port=1,2"), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(hosts("postgres:///db?host=a,b&port=7"), [("a".to_owned(), 7), ("b".to_owned(), 7)]);
        assert!(PostgresUrl::parse("postgres:///db?host=a,b&port=1,2,3").is_err());
    }

    #[test]
    fn d1_an_ipv6_address_stands_in_brackets_with_or_without_a_port() {
        assert_eq!(hosts("postgres://u@[::1]/db"), [("::1".to_owned(), 0)]);
        assert_eq!(hosts("postgres://u@[fe80::1]:5433/db"), [("fe80::1".to_owned(), 5433)]);
        for (url, part) in
            [("postgres://::1/db", "brackets"), ("postgres://[::1/db", "]"), ("postgres://[x]/db", "IPv6")]
        {
            let refused = PostgresUrl::parse(url).expect_err(url);
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn names_and_passwords_are_decoded_and_a_socket_may_be_a_host() {
        let url = parsed("postgresql://us%40er:p%2Fw%23@h/d%20b");
        assert_eq!((url.user.as_deref(), url.database.as_deref()), (Some("us@er"), Some("d b")));
        assert_eq!(url.password.expect("a password").expose_secret(), "p/w#");
        assert_eq!(parsed("postgres://u:p@ss@h/db").password.expect("a password").expose_secret(), "p@ss");
        assert_eq!(hosts("postgres://%2Frun%2Fpg:5433/db"), [("/run/pg".to_owned(), 5433)]);
        assert_eq!(hosts("postgres:///db"), [(String::new(), 0)]);
        assert_eq!(parsed("postgres://h").database, None);
    }

    #[test]
    fn e1_a_url_that_cannot_be_read_is_refused_by_its_part_and_not_repeated() {
        for url in [
            "postgres://u:hunter2/@host/db",
            "postgres://u:hunter2#x@host/db",
            "postgres://u:hunter2?x@host/db",
            "postgres://u:12/hunter2@host/db",
            "postgres://u:12?hunter2@host/db",
            "postgres://u:hunter2%@host/db",
            "postgres://u:hunter2%zz@host/db",
            "postgres://u:hunter2@host:port/db",
            "postgres://u:hunter2@host:99999/db",
            "postgres://u:hunter2@host/db?sslmode=hunter2",
            "postgres://u:hunter2@host/db?hunter2=1",
            "postgres://u:%FFhunter2@host/db",
        ] {
            let refused = PostgresUrl::parse(url).expect_err(url);
            assert!(!refused.contains("hunter2@") && !refused.contains("u:"), "{refused}");
            assert!(url.contains("?hunter2=1") || !refused.contains("hunter2"), "{url}: {refused}");
            assert!(!refused.contains('\n'), "one line: {refused}");
        }
    }
}
