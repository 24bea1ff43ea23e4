//! Lists: a page with `Link: rel="next"`, or the whole list, streamed as short keyset pages one after another.

use std::future::Future;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;

use crate::problem::{Code, Problem};

/// The most items on one page.
const LIMIT_MAX: u64 = 200;
/// The items on a page without `limit` but with another paging parameter.
const LIMIT_DEFAULT: u64 = 50;
/// Rows of one query while a whole list is streamed.
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

/// A page; `next` is the query of the following one, without `limit`.
pub(super) fn page(request: &HttpRequest, items: &impl Serialize, limit: u64, next: Option<String>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if let Some(next) = next {
        response.insert_header((header::LINK, format!("<{}?limit={limit}&{next}>; rel=\"next\"", request.path())));
    }
    response.json(items)
}

/// The whole list: `fetch` gives the encoded items after a cursor, and the next cursor while there may be more. It runs
/// after the client has taken the page before, and no statement stays open meanwhile.
pub(super) async fn everything<C, F, Fut>(first: C, fetch: F) -> Result<HttpResponse, Problem>
where
    C: 'static,
    F: Fn(C) -> Fut + 'static,
    Fut: Future<Output = Result<(Vec<Vec<u8>>, Option<C>), Problem>> + 'static,
{
    // The first page is read before the status line, so that a failing database is a 503 and not a torn list.
    let (items, next) = fetch(first).await?;
    let mut head = vec![b'['];
    let mut any = false;
    join(&mut head, &items, &mut any);
    if next.is_none() {
        head.push(b']');
        return Ok(HttpResponse::Ok().content_type("application/json").body(head));
    }
    let rest = stream::unfold((Some(Bytes::from(head)), next, fetch, any), |(head, next, fetch, mut any)| async move {
        if let Some(head) = head {
            return Some((Ok::<Bytes, Problem>(head), (None, next, fetch, any)));
        }
        let mut next = next;
        let mut chunk = Vec::new();
        // An empty chunk would end the body, so empty pages are skipped.
        while chunk.is_empty() {
            match fetch(next?).await {
                Ok((items, following)) => {
                    join(&mut chunk, &items, &mut any);
                    next = following;
                }
                // The list breaks off without its closing bracket, so that the client sees that it is incomplete.
                Err(problem) => {
                    problem.log_cause();
                    return Some((Err(problem), (None, None, fetch, any)));
                }
            }
            if next.is_none() {
                chunk.push(b']');
            }
        }
        Some((Ok(Bytes::from(chunk)), (None, next, fetch, any)))
    });
    Ok(HttpResponse::Ok().content_type("application/json").streaming(rest))
}

fn join(out: &mut Vec<u8>, items: &[Vec<u8>], any: &mut bool) {
    for item in items {
        if *any {
            out.push(b',');
        }
        *any = true;
        out.extend_from_slice(item);
    }
}

/// One item of a list.
pub(super) fn encode(item: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(item).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    #[test]
    fn a_limit_is_clamped_above_and_refused_below() {
        assert_eq!(limit(None), Ok(50));
        assert_eq!(limit(Some(1_000_000_000)), Ok(200));
        assert!(limit(Some(0)).is_err() && limit(Some(-1)).is_err());
    }

    #[actix_web::test]
    async fn everything_is_one_list_however_many_pages_it_takes_and_some_of_them_empty() {
        for (pages, expected) in [(0, "[]"), (1, "[0]"), (2, "[0]"), (4, "[0,2]")] {
            let fetch = move |at: i32| async move {
                let items = if at < pages && at % 2 == 0 { vec![encode(&at)] } else { vec![] };
                Ok((items, (at + 1 < pages).then_some(at + 1)))
            };
            let response = everything(0, fetch).await.unwrap();
            assert_eq!(to_bytes(response.into_body()).await.unwrap(), expected);
        }
    }
}
