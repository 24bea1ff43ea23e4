//! Lists: a page with `Link: rel="next"`, or the whole list, streamed as short keyset pages one after another.

use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;

use super::State;
use super::base_path::public_path;
use super::extract::{Viewer, address};
use super::places::{LargeBody, Place, next_piece};
use crate::domain::ChatterId;
use crate::limits::{Sender, network};
use crate::problem::{Code, Problem};
use crate::sessions::bulk::{BulkTurn, SMALL_BYTES};
use crate::sessions::turns::Turn;

/// How long a list waits for its turn, so that a refusal still fits within three seconds.
const BEGIN_MAX: Duration = Duration::from_millis(500);
/// The most items on one page.
const LIMIT_MAX: u64 = 200;
/// The items on a page without `limit` but with another paging parameter.
const LIMIT_DEFAULT: u64 = 50;
/// Rows of one query while a whole list is streamed; the store bounds their bytes.
pub(super) const STREAM_PAGE: u64 = 500;

/// Checks a `limit`: at least 1; more than 200 is 200.
pub(super) fn limit(given: Option<i64>) -> Result<u64, Problem> {
    match given.map(u64::try_from) {
        None => Ok(LIMIT_DEFAULT),
        Some(Ok(limit)) if limit >= 1 => Ok(limit.min(LIMIT_MAX)),
        Some(_) => {
            Err(Problem::new(Code::Malformed, "limit must be a whole number of at least 1; more than 200 gives 200."))
        }
    }
}

/// Who reads a list, for the share of places.
#[derive(Clone)]
pub(super) struct Reader {
    state: web::Data<State>,
    chatter: Option<ChatterId>,
    address: IpAddr,
    /// When its first page was begun.
    begun: Instant,
    /// Whether each page passes the gate before it is read; else the first one passes it afterwards, if it is large.
    has_own_turns: bool,
}

impl Reader {
    /// The client of this request, with a token of this chatter or without one.
    pub(super) fn new(request: &HttpRequest, state: &web::Data<State>, chatter: Option<ChatterId>) -> Self {
        let (address, begun) = (address(request, state.rules.proxy_hops), Instant::now());
        Self { state: state.clone(), chatter, address, begun, has_own_turns: false }
    }

    /// A client with a token.
    pub(super) fn chatter(request: &HttpRequest, state: &web::Data<State>, viewer: Viewer) -> Self {
        Self::new(request, state, Some(viewer.chatter_id))
    }

    /// The same client, for a list whose pages take their turns at the gate themselves.
    pub(super) fn with_own_turns(self) -> Self {
        Self { has_own_turns: true, ..self }
    }

    fn place(&self) -> Result<Place, Problem> {
        self.state.places.take(self.chatter, self.address)
    }

    fn sender(&self) -> Sender {
        self.chatter.map_or_else(|| Sender::Address(network(self.address)), Sender::Chatter)
    }

    /// A turn at reading a page and encoding it, which the handler keeps meanwhile: rows that wait for further queries
    /// take memory.
    pub(super) async fn begin(&mut self) -> Result<Turn, Problem> {
        let busy = |_| Problem::new(Code::Busy, "Too many lists are being read at once. Try again.");
        let turn = tokio::time::timeout(BEGIN_MAX, self.state.lists.take(self.sender())).await.map_err(busy)?;
        self.begun = Instant::now();
        Ok(turn)
    }

    /// The turn of the next page of a whole list.
    async fn turn(&self) -> Option<BulkTurn> {
        if self.has_own_turns {
            return None;
        }
        Some(self.state.sessions.bulk.pass(self.sender()).await)
    }

    /// The turn of a page that has just been built and is large. The handler has ended meanwhile, so the page keeps no
    /// turn at being encoded from others.
    fn turn_of_built(&self) -> impl Future<Output = ()> + 'static {
        let (gate, sender, took) = (self.state.sessions.bulk.clone(), self.sender(), self.begun.elapsed());
        let passes = !self.has_own_turns;
        async move {
            if passes {
                gate.pass_built(sender, took).await;
            }
        }
    }

    /// An answer with this JSON. Where it is large, it passes the gate, and holds a place until the client has read it.
    pub(super) fn answer(&self, mut response: HttpResponseBuilder, json: Vec<u8>) -> Result<HttpResponse, Problem> {
        response.content_type(ContentType::json());
        if json.len() <= SMALL_BYTES {
            return Ok(response.body(json));
        }
        Ok(response.body(LargeBody::new(self.turn_of_built(), json, self.place()?)))
    }
}

/// A page; `next` is the query of the following one, without `limit`.
pub(super) fn page(
    reader: &Reader,
    request: &HttpRequest,
    items: &impl Serialize,
    limit: u64,
    next: Option<String>,
) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Ok();
    if let Some(next) = next {
        let link = format!("<{}?limit={limit}&{next}>; rel=\"next\"", public_path(request));
        response.insert_header((header::LINK, link));
    }
    reader.answer(response, encode(items))
}

/// The whole list: `fetch` gives the encoded items after a cursor, and the next cursor while there may be more. It runs
/// after the client has taken the page before, and no statement stays open meanwhile.
pub(super) async fn everything<C, F, Fut>(reader: Reader, first: C, fetch: F) -> Result<HttpResponse, Problem>
where
    C: 'static,
    F: Fn(C) -> Fut + 'static,
    Fut: Future<Output = Result<(Vec<Vec<u8>>, Option<C>), Problem>> + 'static,
{
    // The first page is read before the status line, so that a failing database is a 503 and not a torn list.
    let (items, next) = fetch(first).await?;
    let mut head = vec![b'['];
    let mut any = false;
    join(&mut head, items, &mut any);
    if next.is_none() {
        head.push(b']');
        return reader.answer(HttpResponse::Ok(), head);
    }
    let whole = Whole { fetch, next, any, rest: Bytes::from(head) };
    let first = (whole.rest.len() > SMALL_BYTES).then(|| reader.turn_of_built());
    let pieces = stream::unfold((whole, first, reader.place()?), move |(mut whole, first, place)| {
        let reader = reader.clone();
        async move {
            if let Some(turn) = first {
                turn.await;
            }
            let piece = whole.next_piece(|| reader.turn()).await.transpose()?;
            Some((piece, (whole, None, place)))
        }
    });
    Ok(HttpResponse::Ok().content_type(ContentType::json()).streaming(pieces))
}

/// A whole list that is being written.
struct Whole<C, F> {
    fetch: F,
    /// Where the next page begins.
    next: Option<C>,
    /// Whether any item was written.
    any: bool,
    /// The page that is being written.
    rest: Bytes,
}

impl<C, F, Fut> Whole<C, F>
where
    F: Fn(C) -> Fut,
    Fut: Future<Output = Result<(Vec<Vec<u8>>, Option<C>), Problem>>,
{
    /// The next piece of the list; a page is read in a turn. After an error the list breaks off without its closing
    /// bracket, so that the client sees that it is incomplete.
    async fn next_piece<T>(&mut self, turn: impl AsyncFn() -> T) -> Result<Option<Bytes>, Problem> {
        while self.rest.is_empty() {
            let Some(next) = self.next.take() else { return Ok(None) };
            let page = {
                let _turn = turn().await;
                (self.fetch)(next).await
            };
            let (items, following) = page.inspect_err(Problem::log_cause)?;
            let mut page = Vec::with_capacity(items.iter().map(|item| item.len() + 1).sum::<usize>() + 1);
            join(&mut page, items, &mut self.any);
            match following {
                None => page.push(b']'),
                // A blank is written for an empty page: that fails when the client has gone.
                Some(_) if page.is_empty() => page.push(b' '),
                Some(_) => {}
            }
            self.next = following;
            self.rest = Bytes::from(page);
        }
        Ok(next_piece(&mut self.rest))
    }
}

fn join(out: &mut Vec<u8>, items: Vec<Vec<u8>>, any: &mut bool) {
    for item in items {
        if *any {
            out.push(b',');
        }
        *any = true;
        out.extend_from_slice(&item);
    }
}

/// One item of a list.
pub(super) fn encode(item: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(item).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_clamped_above_and_refused_below() {
        assert_eq!(limit(None), Ok(50));
        assert_eq!(limit(Some(1_000_000_000)), Ok(200));
        assert!(limit(Some(0)).is_err() && limit(Some(-1)).is_err());
    }

    #[tokio::test]
    async fn a_whole_list_is_one_list_however_many_pages_it_takes_and_some_of_them_empty() {
        for (pages, expected) in [(1, "[0]"), (2, "[0]"), (4, "[0 ,2]")] {
            let fetch = move |at: i32| async move {
                let items = if at < pages && at % 2 == 0 { vec![encode(&at)] } else { vec![] };
                Ok((items, (at + 1 < pages).then_some(at + 1)))
            };
            let mut whole = Whole { fetch, next: Some(0), any: false, rest: Bytes::from("[") };
            let mut text = Vec::new();
            while let Some(piece) = whole.next_piece(async || ()).await.unwrap() {
                text.extend_from_slice(&piece);
            }
            assert_eq!(text, expected.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_page_is_written_in_small_pieces() {
        let fetch = |at: i32| async move { Ok((vec![vec![b' '; 100_000]], (at < 2).then_some(at + 1))) };
        let mut whole = Whole { fetch, next: Some(1), any: false, rest: Bytes::from("[") };
        let mut bytes = 0;
        while let Some(piece) = whole.next_piece(async || ()).await.unwrap() {
            assert!(piece.len() <= SMALL_BYTES);
            bytes += piece.len();
        }
        assert_eq!(bytes, 200_003);
    }
}
