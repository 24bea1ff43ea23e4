//! Every URL in one table.

use actix_web::http::{Method, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, ResponseError, Route};

use super::{accounts, chats, health, rooms, socket};
use crate::error::{Code, Problem};

pub use super::access_log::log as access_log;
pub use super::origin::cors;

/// Mounts everything.
pub fn mount(app: &mut ServiceConfig) {
    let mut add = |path: &str, routes: Vec<(Method, Route)>| {
        app.service(resource(path, routes));
    };
    add("/healthz", vec![get(web::to(health::healthz))]);
    add("/readyz", vec![get(web::to(health::readyz))]);
    add("/api/auth", vec![post(web::to(accounts::sign_in))]);
    add(
        "/api/chatters",
        vec![
            get(web::to(accounts::directory)),
            post(web::to(accounts::sign_up)),
            put(web::to(accounts::change)),
            delete(web::to(accounts::delete)),
        ],
    );
    add("/api/chatters/me", vec![get(web::to(accounts::me))]);
    add("/api/chatters/{id}", vec![get(web::to(accounts::show))]);
    add("/api/chatrooms", vec![get(web::to(rooms::list)), post(web::to(rooms::create))]);
    add("/api/chatrooms/{id}", vec![get(web::to(rooms::show)), delete(web::to(rooms::delete))]);
    add("/api/chatrooms/{id}/chats", vec![get(web::to(chats::history)), post(web::to(chats::post))]);
    add("/api/chatrooms/{id}/chats/search", vec![post(web::to(chats::search))]);
    add("/api/chatrooms/{id}/changes", vec![get(web::to(chats::changes))]);
    add("/api/chatrooms/{id}/receipt", vec![put(web::to(rooms::receipt))]);
    add("/api/chats/{id}", vec![get(web::to(chats::show)), put(web::to(chats::edit)), delete(web::to(chats::delete))]);
    add("/ws", vec![get(web::to(socket::device))]);
    for path in ["/ws/chatrooms/{id}", "/ws/chatrooms/{id}/"] {
        add(path, vec![get(web::to(socket::seed))]);
    }
    app.default_service(web::to(|| async {
        HttpResponse::from_error(Problem::new(Code::NotFound, "There is nothing at this path."))
    }));
    app.app_data(web::QueryConfig::default().error_handler(|error, _| {
        let detail = format!("The query string cannot be read: {error}");
        Problem::new(Code::Malformed, detail).into()
    }));
}

/// A resource that answers other methods with 405 and `Allow` (RFC 9110 section 15.5.6).
fn resource(path: &str, routes: Vec<(Method, Route)>) -> Resource {
    let allow = routes.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
    let mut resource = web::resource(path);
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

fn get(route: Route) -> (Method, Route) {
    (Method::GET, route)
}

fn post(route: Route) -> (Method, Route) {
    (Method::POST, route)
}

fn put(route: Route) -> (Method, Route) {
    (Method::PUT, route)
}

fn delete(route: Route) -> (Method, Route) {
    (Method::DELETE, route)
}
