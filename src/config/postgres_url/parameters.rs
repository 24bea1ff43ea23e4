//! The parameters behind the `?` of a PostgreSQL URL: what each does here, or why it is refused.

use std::time::Duration;

use secrecy::SecretString;

use super::{Host, PostgresUrl, decoded, port};

/// The names that the server takes, for the refusal of any other.
const TAKEN: &str = "application_name, connect_timeout, host, port, user, password, dbname, options, sslmode, sslrootcert, \
                     sslcert, sslkey and target_session_attrs";

/// Parameters of other drivers, and what to do instead.
const FOREIGN: [(&[&str], &str); 6] = [
    (
        &["pgbouncer"],
        "is Prisma's: remove it, and connect to PostgreSQL or to a pooler in session mode, since prepared statements and \
         session settings do not pass one in transaction mode",
    ),
    (&["schema", "currentSchema"], "is another driver's: write options=-c%20search_path%3DNAME instead"),
    (&["ssl", "sslaccept", "ssl_mode"], "is another driver's: write sslmode=require or sslmode=verify-full instead"),
    (
        &["connection_limit", "pool_timeout", "pool_max_conns", "max_connections", "pool_size", "poolSize"],
        "is another driver's: set database.connections_max instead",
    ),
    (
        &["socket_timeout", "statement_timeout", "socketTimeout"],
        "is another driver's: the server bounds each statement itself",
    ),
    (
        &["service", "passfile", "sslpassword", "sslcrl", "sslcrldir"],
        "is libpq's and this server's driver has no such thing",
    ),
];

/// Reads the parameters into the URL.
pub(super) fn take(url: &mut PostgresUrl, query: &str) -> Result<(), String> {
    let mut target = None;
    let mut ports = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err("has a parameter without a value behind its ?".to_owned());
        };
        let (name, value) = (decoded(name, "parameters")?, decoded(value, "parameters")?);
        match name.as_str() {
            "host" | "hostaddr" => url.hosts = hosts(&value, &url.hosts),
            "port" => ports = Some(value),
            "user" => url.user = Some(value),
            "password" => url.password = Some(SecretString::from(value)),
            "dbname" => url.database = Some(value),
            "target_session_attrs" => target = Some(is_writable(&value)?),
            "connect_timeout" => url.connect_timeout = Some(seconds(&value)?),
            _ => {
                if let Some(parameter) = of_driver(&name, value)? {
                    url.parameters.push(parameter);
                }
            }
        }
    }
    if let Some(ports) = ports {
        set_ports(&mut url.hosts, &ports)?;
    }
    if url.hosts.len() > 1 && url.hosts.iter().any(|host| host.name.is_none()) {
        return Err("has an empty host beside others".to_owned());
    }
    url.writable = target.unwrap_or(url.hosts.len() > 1);
    Ok(())
}

fn hosts(names: &str, before: &[Host]) -> Vec<Host> {
    let port = |at: usize| before.get(at).and_then(|host| host.port);
    let name = |text: &str| Some(text.trim_matches(['[', ']']).to_owned()).filter(|text| !text.is_empty());
    names.split(',').enumerate().map(|(at, text)| Host { name: name(text), port: port(at) }).collect()
}

/// One port for all hosts, or one for each.
fn set_ports(hosts: &mut [Host], ports: &str) -> Result<(), String> {
    let ports: Vec<u16> = ports.split(',').map(port).collect::<Result<_, _>>()?;
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err("has neither one port nor as many as hosts".to_owned());
    }
    for (host, port) in hosts.iter_mut().zip(ports.iter().cycle()) {
        host.port = Some(*port);
    }
    Ok(())
}

fn is_writable(value: &str) -> Result<bool, String> {
    match value {
        "any" => Ok(false),
        "read-write" | "primary" => Ok(true),
        _ => Err("must have target_session_attrs=read-write, primary or any: this server writes".to_owned()),
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds = value.parse::<u64>().map_err(|_| "must have whole seconds as connect_timeout")?;
    // As in libpq 0 waits as long as it takes, that is, as long as this server waits.
    Ok(if seconds == 0 { Duration::MAX } else { Duration::from_secs(seconds) })
}

/// A parameter that the driver reads; none for one that changes nothing here.
fn of_driver(name: &str, value: String) -> Result<Option<(&'static str, String)>, String> {
    let one_of = |values: &[&str]| {
        let known = values.contains(&value.as_str());
        known.then_some(None).ok_or_else(|| format!("must have {name}={}: it has no other here", values.join(" or ")))
    };
    let key = match name {
        "sslmode" | "ssl-mode" => return ssl_mode(value),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" if value == "system" => return Ok(None),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "sslcert" | "ssl-cert" => "sslcert",
        "sslkey" | "ssl-key" => "sslkey",
        "application_name" | "fallback_application_name" => "application_name",
        "options" => "options",
        "statement-cache-capacity" if value.parse::<usize>().is_ok() => "statement-cache-capacity",
        // libpq's own, with values that say what this server does anyway.
        "channel_binding" | "gssencmode" => return one_of(&["prefer", "disable"]),
        "sslnegotiation" => return one_of(&["postgres"]),
        "sslcompression" | "sslsni" => return one_of(&["0", "1"]),
        "load_balance_hosts" => return one_of(&["disable"]),
        "client_encoding" => return one_of(&["UTF8", "utf8", "UTF-8", "utf-8", "auto"]),
        "keepalives" | "keepalives_idle" | "keepalives_interval" | "keepalives_count" | "tcp_user_timeout" => {
            return Ok(None);
        }
        _ => return Err(unknown(name)),
    };
    Ok(Some((key, value)))
}

fn ssl_mode(value: String) -> Result<Option<(&'static str, String)>, String> {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    if MODES.contains(&value.as_str()) {
        return Ok(Some(("sslmode", value)));
    }
    Err(format!("must have one of these as sslmode: {}", MODES.join(", ")))
}

fn unknown(name: &str) -> String {
    let foreign = FOREIGN.iter().find(|(names, _)| names.contains(&name));
    match foreign {
        Some((_, instead)) => format!("has the parameter {name}, which {instead}"),
        None => {
            // A name may be the rest of a password.
            let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-') && name.len() <= 30;
            let shown = if is_name { name } else { "of an unknown name" };
            format!("has the parameter {shown}, which this server does not take: it takes {TAKEN}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<PostgresUrl, String> {
        PostgresUrl::parse(&format!("postgres://h/db?{query}"))
    }

    #[test]
    fn d7_each_parameter_is_taken_or_refused_in_one_line_that_names_it() {
        for taken in [
            "sslmode=require",
            "sslmode=verify-full&sslrootcert=/ca.pem",
            "sslmode=verify-full&sslrootcert=system",
            "sslcert=/c.pem&sslkey=/k.pem",
            "connect_timeout=10",
            "connect_timeout=0",
            "application_name=chat",
            "options=-c%20search_path%3Dchat",
            "channel_binding=prefer",
            "gssencmode=disable",
            "keepalives=1&keepalives_idle=30",
            "client_encoding=UTF8",
            "target_session_attrs=read-write",
        ] {
            assert!(parse(taken).is_ok(), "{taken}: {:?}", parse(taken).err());
        }
        for (refused, part) in [
            ("sslmode=on", "sslmode"),
            ("channel_binding=require", "channel_binding"),
            ("pgbouncer=true", "session mode"),
            ("schema=public", "search_path"),
            ("connection_limit=5", "database.connections_max"),
            ("ssl=true", "sslmode=require"),
            ("connect_timeout=soon", "connect_timeout"),
            ("frobnicate=1", "frobnicate"),
            ("sslmode", "without a value"),
            ("gssencmode=require", "gssencmode"),
            ("load_balance_hosts=random", "load_balance_hosts"),
        ] {
            let line = parse(refused).expect_err(refused);
            assert!(line.contains(part) && !line.contains('\n'), "{refused}: {line}");
        }
    }

    #[test]
    fn parameters_reach_the_driver_under_its_names() {
        let url = parse("ssl-mode=require&ssl-ca=/ca.pem&application_name=x&channel_binding=disable").expect("valid");
        let owned = |name, value: &str| (name, value.to_owned());
        let expected = [owned("sslmode", "require"), owned("sslrootcert", "/ca.pem"), owned("application_name", "x")];
        assert_eq!(url.parameters, expected);
        assert_eq!(parse("connect_timeout=3").expect("valid").connect_timeout, Some(Duration::from_secs(3)));
    }
}
