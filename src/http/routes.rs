//! Every URL in one table. To add an operation, write its handler and add its line here.

use actix_web::http::{Method, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, ResponseError, Route, guard};

use super::{
    accounts, auth_sessions, chatrooms, chats, demo, documents, health, history, metrics, search, sign_in, socket,
};
use crate::problem::{Code, Problem};

pub use super::access_log::log as access_log;
pub use super::answer::complete;
pub use super::base_path::strip;
pub use super::cors::{cors, refuse};

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
    "/api/auth" => { POST sign_in::sign_in, DELETE auth_sessions::sign_out }
    "/api/auth/refresh" => { POST auth_sessions::refresh }
    "/api/auth/sessions" => { GET auth_sessions::list, DELETE auth_sessions::end_all_but_this }
    "/api/auth/sessions/{id}" => { DELETE auth_sessions::end }
    "/api/chatters" => { POST sign_in::sign_up, GET accounts::directory, PUT accounts::change, DELETE accounts::delete }
    "/api/chatters/me" => { GET accounts::me }
    "/api/chatters/{id}" => { GET accounts::show }
    "/api/chatrooms" => { POST chatrooms::create, GET chatrooms::list }
    "/api/chatrooms/{id}" => { GET chatrooms::show, DELETE chatrooms::delete }
    "/api/chatrooms/{id}/receipt" => { PUT chatrooms::receipt }
    "/api/chatrooms/{id}/chats" => { POST chats::post, GET history::history }
    "/api/chatrooms/{id}/chats/search" => { POST search::search }
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

/// The paths that load balancers and monitors check.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

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

/// A resource that answers HEAD wherever it answers GET (RFC 9110 section 9.3.2), OPTIONS with its methods (section
/// 9.3.7), and other methods with 405 (section 15.5.6).
fn resource(paths: Vec<&str>, routes: Vec<(Method, Route)>) -> Resource {
    let is_socket = paths.iter().any(|path| path.starts_with("/ws"));
    let is_probe = paths.iter().any(|path| PROBES.contains(path));
    let mut allow: Vec<String> = routes.iter().map(|(method, _)| method.to_string()).collect();
    let mut resource = web::resource(paths);
    for (method, route) in routes {
        let mut methods = guard::Any(guard::Method(method.clone()));
        if method == Method::GET && !is_socket {
            methods = methods.or(guard::Head());
            allow.push(Method::HEAD.to_string());
        }
        if is_probe {
            // Load balancers check with OPTIONS too, and read the status.
            methods = methods.or(guard::Options());
        }
        resource = resource.route(route.guard(methods));
    }
    let allow = allow.join(", ");
    resource.default_service(web::to(move |request: HttpRequest| {
        let allow = allow.clone();
        async move {
            let mut response = if request.method() == Method::OPTIONS {
                HttpResponse::NoContent().finish()
            } else {
                Problem::new(Code::MethodNotAllowed, format!("This path takes {allow}.")).error_response()
            };
            if let Ok(allow) = header::HeaderValue::from_str(&allow) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            response
        }
    }))
}
