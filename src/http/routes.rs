//! Every URL in one table. To add an operation, write its handler and add its line here.

use actix_web::http::{Method, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, ResponseError, Route};

use super::{accounts, chatrooms, chats, demo, documents, health, history, metrics, sign_in, socket};
use crate::problem::{Code, Problem};

pub use super::access_log::log as access_log;
pub use super::origin::cors;

/// From one table: the routes that are mounted, the operations that are documented, and the list that tests walk.
macro_rules! table {
    ($($($path:literal)|+ => { $($method:ident $($handler:ident)::+),+ })*) => {
        /// The documented operations: the handlers of the table, each with the description above it.
        #[cfg(test)]
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($($($handler)::+),+),*), components(schemas(Problem)))]
        pub struct Operations;

        /// Every path in all its spellings, with its methods; the documents name the first spelling.
        pub const ROUTES: &[(&[&str], &[&str])] = &[$((&[$($path),+], &[$(stringify!($method)),+])),*];

        fn mount_table(app: &mut ServiceConfig) {
            $(app.service(resource(vec![$($path),+], vec![$((Method::$method, web::to($($handler)::+))),+]));)*
        }
    };
}

table! {
    "/api/auth" => { POST sign_in::sign_in }
    "/api/chatters" => { POST sign_in::sign_up, GET accounts::directory, PUT accounts::change, DELETE accounts::delete }
    "/api/chatters/me" => { GET accounts::me }
    "/api/chatters/{id}" => { GET accounts::show }
    "/api/chatrooms" => { POST chatrooms::create, GET chatrooms::list }
    "/api/chatrooms/{id}" => { GET chatrooms::show, DELETE chatrooms::delete }
    "/api/chatrooms/{id}/receipt" => { PUT chatrooms::receipt }
    "/api/chatrooms/{id}/chats" => { POST chats::post, GET history::history }
    "/api/chatrooms/{id}/chats/search" => { POST history::search }
    "/api/chatrooms/{id}/changes" => { GET history::changes }
    "/api/chats/{id}" => { GET chats::show, PUT chats::edit, DELETE chats::delete }
    "/ws" => { GET socket::device }
    "/ws/chatrooms/{id}/" | "/ws/chatrooms/{id}" => { GET socket::chatroom }
    "/api/openapi.json" => { GET documents::openapi_json }
    "/api/asyncapi.json" => { GET documents::asyncapi_json }
    "/docs" => { GET documents::page }
    "/docs/socket" => { GET documents::socket_page }
    "/docs.md" => { GET documents::rest_markdown }
    "/docs/socket.md" => { GET documents::socket_markdown }
    "/docs/own-users.md" => { GET documents::own_users_markdown }
    "/llms.txt" => { GET documents::llms_txt }
    "/healthz" => { GET health::healthz }
    "/readyz" => { GET health::readyz }
    "/metrics" => { GET metrics::metrics }
}

/// Mounts everything.
pub fn mount(app: &mut ServiceConfig) {
    mount_table(app);
    for file in demo::FILES {
        app.service(resource(vec![file.path], vec![(Method::GET, demo::route(file))]));
    }
    app.default_service(web::to(|| async {
        HttpResponse::from_error(Problem::new(Code::NotFound, "There is nothing at this path."))
    }));
    app.app_data(web::QueryConfig::default().error_handler(|error, _| {
        let detail = format!("The query string cannot be read: {error}");
        Problem::new(Code::Malformed, detail).into()
    }));
}

/// Mounts the answers for the time before the store is open.
pub fn mount_waiting(app: &mut ServiceConfig) {
    app.service(resource(vec!["/healthz"], vec![(Method::GET, web::to(health::healthz))]));
    app.service(resource(vec!["/readyz"], vec![(Method::GET, web::to(health::not_yet))]));
    app.default_service(web::to(|| async { HttpResponse::from_error(Problem::unavailable()) }));
}

/// A resource that answers other methods with 405 and `Allow` (RFC 9110 section 15.5.6).
fn resource(paths: Vec<&str>, routes: Vec<(Method, Route)>) -> Resource {
    let allow = routes.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
    let mut resource = web::resource(paths);
    for (method, route) in routes {
        resource = resource.route(route.method(method));
    }
    resource.default_service(web::to(move || {
        let allow = allow.clone();
        async move {
            let problem = Problem::new(Code::MethodNotAllowed, format!("This path takes {allow}."));
            let mut response = problem.error_response();
            if let Ok(allow) = header::HeaderValue::from_str(&allow) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            response
        }
    }))
}
