//! `GET /metrics`: the counters of all parts as OpenMetrics text, which Prometheus reads. It has numbers only: no
//! names, no contents, no addresses.

use std::fmt;
use std::time::Instant;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::State;
#[cfg(test)]
use super::openapi::{Refusals, of};
use crate::broker::State as Broker;
use crate::connections::Connection;
use crate::connections::registry::OpenSocket;
use crate::metrics::{Counts, HistogramSnapshot};
use crate::problem::{Code, Problem};
use crate::store::Trouble;
use crate::websocket::framing::Close;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Read this instance's metrics, for Prometheus
///
/// Only for the operator's network: do not route it through the public proxy. Web pages cannot read it.
#[cfg_attr(
    test,
    utoipa::path(
        get, path = "/metrics", operation_id = "metrics", tag = "Operation", security(()),
        responses(
            (
                status = 200, description = "OpenMetrics text.", body = String,
                content_type = "application/openmetrics-text",
                example = "# TYPE hyper_chat_rooms gauge\nhyper_chat_rooms 7\n# EOF\n"
            ),
            Refusals<{ of(&[Code::OriginRefused, Code::Internal]) }>
        )
    )
)]
pub(super) async fn metrics(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Problem::new(Code::OriginRefused, "Metrics are not for web pages."));
    }
    let database = state.store.readiness().await;
    let mut registry = Registry::with_prefix("hyper_chat");
    registry.register_collector(Box::new(gathered(&state, database)));
    let mut page = String::new();
    text::encode(&mut page, &registry)
        .map_err(|_| Problem::new(Code::Internal, "The metrics could not be written."))?;
    Ok(HttpResponse::Ok().content_type(TEXT).body(page))
}

/// All metrics at one moment.
#[derive(Debug, Default)]
struct Gathered(Vec<Family>);

/// All metrics of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    values: Values,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Values {
    Counters(Vec<(Labels, u64)>),
    Gauges(Vec<(Labels, f64)>),
    Histogram(HistogramSnapshot),
}

impl Gathered {
    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0.push(Family { name, help, values: Values::Counters(vec![(Vec::new(), value)]) });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.0.push(Family { name, help, values: Values::Gauges(vec![(Vec::new(), value)]) });
    }

    fn histogram(&mut self, name: &'static str, help: &'static str, snapshot: HistogramSnapshot) {
        self.0.push(Family { name, help, values: Values::Histogram(snapshot) });
    }

    /// Counters of one name that differ in one label.
    fn counters<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: [(&str, u64); N],
    ) {
        let values = values.map(|(of, value)| (vec![(label, of.to_owned())], value));
        self.0.push(Family { name, help, values: Values::Counters(values.into()) });
    }

    /// Gauges of one name that differ in one label.
    fn gauges<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: [(&str, usize); N],
    ) {
        let values = values.map(|(of, value)| (vec![(label, of.to_owned())], value as f64));
        self.0.push(Family { name, help, values: Values::Gauges(values.into()) });
    }
}

fn gathered(state: &State, database: Result<(), Trouble>) -> Gathered {
    let mut all = Gathered::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let values = Values::Gauges(vec![(version, 1.0)]);
    all.0.push(Family { name: "build_info", help: "The version of this server, as a label", values });
    sockets_and_rooms(&mut all, state);
    chats(&mut all, state);
    database_and_redis(&mut all, state, database);
    pushes(&mut all, state);
    refusals(&mut all, state);
    all
}

fn sockets_and_rooms(all: &mut Gathered, state: &State) {
    let sockets = state.connections.all();
    let count = |is_kind: fn(&OpenSocket) -> bool| sockets.iter().filter(|socket| is_kind(socket)).count();
    let open = [
        ("chatroom", count(|socket| matches!(socket, OpenSocket::SignedIn(Connection::Chatroom(_))))),
        ("device", count(|socket| matches!(socket, OpenSocket::SignedIn(Connection::Device(_))))),
        ("unsigned", count(|socket| matches!(socket, OpenSocket::Unsigned(_)))),
    ];
    all.gauges("sockets", "Open sockets: of one room, of a device, and without a sign-in", "kind", open);
    let closes = Close::ALL.iter().zip(state.delivery_metrics.closes.iter());
    let closes = closes.map(|(close, times)| (vec![("code", close.code.to_string())], times)).collect();
    let help = "Sockets that this instance closed, by close code; 4508: the peer read too slowly";
    all.0.push(Family { name: "sockets_closed", help, values: Values::Counters(closes) });
    all.gauge("rooms", "Rooms in use", state.registry.count() as f64);
    let writer = state.store.writer();
    let (hashing, queued) = state.passwords.load();
    let waiting = [
        ("rooms", state.registry.pending()),
        ("writer", writer.in_flight()),
        ("parked", writer.metrics().commands_parked.get()),
        ("passwords", queued),
    ];
    let help = "Waiting: commands for rooms and for the writer, commands parked for a locked room, password hashes";
    all.gauges("queue_length", help, "queue", waiting);
    all.gauge("password_hashes_running", "Password hashes that are being computed", hashing as f64);
}

fn chats(all: &mut Gathered, state: &State) {
    let (writer, delivery) = (state.store.writer().metrics(), &state.delivery_metrics);
    all.counter("chats_stored", "New chats in the database", writer.chats_stored.get());
    all.counter("chats_retried", "Chats that were sent again with a stored client_id", writer.chats_retried.get());
    let changed = [("edited", writer.chats_edited.get()), ("deleted", writer.chats_deleted.get())];
    all.counters("chats_changed", "Stored chats that were edited or deleted", "change", changed);
    all.counter(
        "chats_unanswered",
        "Chats and changes that the database did not answer",
        writer.commands_unanswered.get(),
    );
    let help = "Changes of rooms that were put into the queues of sockets, counted once for each socket";
    all.counter("changes_delivered", help, delivery.changes_delivered.get());
    let relayed = [("told", delivery.changes_published.get()), ("heard", delivery.changes_received.get())];
    all.counters(
        "changes_relayed",
        "Changes of rooms that were sent to other instances (told) or received from them (heard)",
        "direction",
        relayed,
    );
    let reads = [("room", delivery.room_gap_reads.get()), ("socket", delivery.socket_gap_reads.get())];
    let help = "Reads of the database because changes were missing, by a room for all its sockets or by one socket";
    all.counters("gap_reads", help, "for", reads);
    let help = "Rooms of sockets in which only the poll of the database found missing changes";
    all.counter("gaps_found", help, delivery.gaps_found.get());
    all.histogram("commit_commands", "Commands in one transaction of the writer", writer.commit_commands.read());
    all.histogram("commit_duration_seconds", "Duration of one transaction of the writer", writer.commit_seconds.read());
}

fn database_and_redis(all: &mut Gathered, state: &State, database: Result<(), Trouble>) {
    let answers = database != Err(Trouble::Away);
    all.gauge("database_up", "1 if the database answered while this page was read", f64::from(answers));
    all.gauge("database_writable", "1 if chats can be stored", f64::from(database.is_ok()));
    let corrupt = f64::from(database == Err(Trouble::Corrupt));
    all.gauge("database_corrupt", "1 once damage was found in the database, until a restart", corrupt);
    let deletions = state.store.deletion_metrics();
    let help = "Deletions that still have rows, in the whole database: rooms' chats, and accounts' rooms";
    all.gauge("deletions_pending", help, deletions.pending.get() as f64);
    let help = "How long the oldest pending deletion has been waiting";
    all.gauge("deletions_oldest_seconds", help, deletions.oldest_s.get() as f64);
    let help = "Short transactions in which this instance has deleted a part of a pending deletion";
    all.counter("deletion_pieces", help, deletions.pieces.get());
    all.counter("deletion_chats", "Chats of deleted rooms that this instance has deleted", deletions.chats.get());
    let broker = &state.broker;
    let (none, up, away) = match broker.state() {
        Broker::Single => (1, 0, None),
        Broker::Up => (0, 1, None),
        Broker::Away { since, .. } => (0, 0, Some(Instant::now().duration_since(since))),
    };
    let states = [("none", none), ("up", up), ("away", usize::from(away.is_some()))];
    all.gauges(
        "redis_state",
        "1 at the current state of the connection to Redis; none: there is no Redis",
        "state",
        states,
    );
    let away = away.map_or(0.0, |away| away.as_secs_f64());
    all.gauge("redis_away_seconds", "Time since the connection to Redis was lost", away);
    let known = f64::from(broker.directory_is_up());
    all.gauge("redis_roster_up", "1 while the presence directory in Redis answers", known);
    let metrics = broker.metrics();
    all.counter("redis_reconnects", "Connections to Redis that were opened again", metrics.reconnects.get());
    let messages = [
        ("sent", metrics.messages_sent.get()),
        ("dropped", metrics.messages_dropped.get()),
        ("heard", metrics.messages_received.get()),
        ("forged", metrics.messages_forged.get()),
        ("stale", metrics.messages_stale.get()),
        ("unknown_format", metrics.messages_unknown_format.get()),
        ("garbled", metrics.messages_garbled.get()),
        ("other_epoch", metrics.messages_of_other_epochs.get()),
    ];
    let help = "Messages between instances; dropped: not sent; forged, stale, unknown_format, garbled and other_epoch: refused";
    all.counters("relay_messages", help, "outcome", messages);
}

fn pushes(all: &mut Gathered, state: &State) {
    let metrics = state.notifier.metrics();
    let outcomes = [
        ("accepted", metrics.sends_accepted.get()),
        ("token_gone", metrics.sends_to_gone_tokens.get()),
        ("refused", metrics.sends_refused.get()),
        ("retried", metrics.sends_retried.get()),
        ("expired", metrics.pushes_expired.get()),
        ("satisfied", metrics.pushes_satisfied.get()),
        ("no_token", metrics.pushes_without_token.get()),
        ("nudge_dropped", metrics.hints_dropped.get()),
    ];
    all.counters("pushes", "Outcomes of pushes", "outcome", outcomes);
    let usable = metrics.trouble.reason().is_none();
    let help = "0 while FCM is configured and this instance cannot send to it: /readyz says why";
    all.gauge("pushes_usable", help, f64::from(usable));
    let help = "Pushes that are pending, in the whole database; counted up to 100,000, every 5 s";
    all.gauge("pushes_pending", help, metrics.pending.get() as f64);
    let help = "How long the oldest pending push has been waiting";
    all.gauge("pushes_oldest_seconds", help, metrics.oldest_s.get() as f64);
    let keys = state.bearers.issuers().metrics();
    all.counters("issuer_fetches", "Fetches of the keys of identity providers", "outcome", keys.fetches());
}

fn refusals(all: &mut Gathered, state: &State) {
    let by = |by: &'static str, refused: &Counts| {
        let codes = Code::ALL.iter().zip(refused.iter());
        codes.map(|(code, times)| (vec![("by", by.to_owned()), ("code", code.as_str().to_owned())], times)).collect()
    };
    let mut values: Vec<_> = by("http", &state.refused);
    values.extend::<Vec<_>>(by("socket", &state.delivery_metrics.refusals));
    all.0.push(Family {
        name: "refusals",
        help: "Requests and frames that were refused, by code",
        values: Values::Counters(values),
    });
}

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.0.iter().try_for_each(|family| {
            let kind = match family.values {
                Values::Counters(_) => MetricType::Counter,
                Values::Gauges(_) => MetricType::Gauge,
                Values::Histogram(_) => MetricType::Histogram,
            };
            family.encode(encoder.encode_descriptor(family.name, family.help, None, kind)?)
        })
    }
}

impl Family {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        match &self.values {
            Values::Counters(values) => values.iter().try_for_each(|(labels, value)| match labels.is_empty() {
                true => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
                false => encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None),
            }),
            Values::Gauges(values) => values.iter().try_for_each(|(labels, value)| match labels.is_empty() {
                true => encoder.encode_gauge(value),
                false => encoder.encode_family(labels)?.encode_gauge(value),
            }),
            Values::Histogram(HistogramSnapshot { sum, buckets }) => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }
}
