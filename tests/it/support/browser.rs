//! A real browser: Debian's chromium, driven over the WebDriver protocol (W3C) by its chromedriver.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ports::free_port;
use super::processes::signal;
use super::reaper;
use super::wait::{eventually, s};

/// The key of an element's id in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const WAIT: Duration = s(20);

/// A running chromedriver; it and its browsers end when it is dropped.
pub struct Driver {
    url: String,
    client: reqwest::Client,
    child: Child,
    browsers: Mutex<Vec<u32>>,
    folder: TempDir,
}

impl Driver {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("hyper-chat-browser-").tempdir().expect("a temp folder");
        reaper::remove_at_exit(folder.path());
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("chromedriver does not start ({error}): install chromium and chromium-driver, as tests/run does")
        });
        reaper::adopt(child.id());
        let client = reqwest::Client::builder().no_proxy().timeout(s(60)).build().expect("a client");
        let url = format!("http://127.0.0.1:{port}");
        let driver = Self { url, client, child, browsers: Mutex::default(), folder };
        eventually("chromedriver listens", WAIT, async || {
            driver.client.get(driver.url.clone() + "/status").send().await.ok()
        })
        .await;
        driver
    }

    /// A browser with a profile of its own.
    pub async fn browser(&self, name: &str) -> Browser {
        let profile = self.folder.path().join(name);
        // Chromium's sandbox does not run as root, which is what containers are.
        let args = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--lang=en-GB".to_owned(),
            format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = command(&self.client, Method::POST, &format!("{}/session", self.url), &wanted).await;
        let session = session.unwrap_or_else(|problem| panic!("chromium does not start: {problem}"));
        let pid = session["capabilities"]["goog:processID"].as_u64().expect("its process id");
        let pid = u32::try_from(pid).expect("a process id");
        reaper::adopt(pid);
        self.browsers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(pid);
        let id = session["sessionId"].as_str().expect("a session");
        let browser =
            Browser { name: name.to_owned(), url: format!("{}/session/{id}", self.url), client: self.client.clone() };
        browser.size(1280, 820).await;
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The driver first: it would report the end of a browser as a crash.
        self.child.kill().ok();
        self.child.wait().expect("own child");
        reaper::forget(self.child.id());
        for pid in self.browsers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            signal("KILL", &[pid]);
            reaper::forget(pid);
        }
    }
}

/// One window of one browser.
pub struct Browser {
    name: String,
    url: String,
    client: reqwest::Client,
}

impl Browser {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        command(&self.client, method, &format!("{}{path}", self.url), body).await
    }

    async fn tell(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask(Method::POST, path, body).await;
        answer.unwrap_or_else(|problem| panic!("{}: {path} {body}: {problem}", self.name))
    }

    pub async fn go(&self, url: &str) {
        self.tell("/url", &json!({"url": url})).await;
    }

    /// Runs a script in the page; what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.tell("/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// The value of an expression.
    pub async fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}")).await
    }

    /// Waits until an expression holds.
    pub async fn until(&self, expression: &str) {
        let what = format!("{}: {expression}", self.name);
        let script = json!({"script": format!("return Boolean({expression})"), "args": []});
        eventually(&what, WAIT, async || {
            // A page that is being unloaded has no answer.
            let holds = self.ask(Method::POST, "/execute/sync", &script).await;
            holds.is_ok_and(|holds| holds == true).then_some(())
        })
        .await;
    }

    /// Waits until the first element that a selector finds has this text in it.
    pub async fn until_text(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({})?.textContent.includes({})", json!(css), json!(text))).await;
    }

    async fn element(&self, css: &str) -> String {
        let query = json!({"using": "css selector", "value": css});
        self.tell("/element", &query).await[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks as a mouse does: a covered or hidden element cannot be clicked.
    pub async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.tell(&format!("/element/{element}/click"), &json!({})).await;
    }

    /// Types into a field; `keys` names the special ones.
    pub async fn write(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.tell(&format!("/element/{element}/value"), &json!({"text": text})).await;
    }

    /// Presses keys wherever the focus is.
    pub async fn press(&self, keys_pressed: &str) {
        let steps =
            keys_pressed.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": steps.collect::<Vec<_>>()}]});
        self.tell("/actions", &actions).await;
    }

    /// A command of the Chrome DevTools protocol.
    pub async fn devtools(&self, cmd: &str, params: &Value) {
        self.tell("/goog/cdp/execute", &json!({"cmd": cmd, "params": params})).await;
    }

    /// The size of the page; below 600 it is a phone's.
    pub async fn size(&self, width: u32, height: u32) {
        let phone = width < 600;
        let scale = if phone { 2 } else { 1 };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
    }

    /// Sets `prefers-color-scheme`.
    pub async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", &media).await;
    }

    pub async fn screenshot(&self, file: &Path) {
        let picture = self.ask(Method::GET, "/screenshot", &Value::Null).await.expect("a picture");
        let bytes = STANDARD.decode(picture.as_str().expect("base64")).expect("base64");
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// The errors that the page logged: failed scripts, and loads that its policy forbids.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.tell("/se/log", &json!({"type": "browser"})).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        // Refused requests are logged too; the test causes those on purpose.
        let own = entries.iter().filter(|entry| entry["source"] != "network");
        own.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

async fn command(client: &reqwest::Client, method: Method, url: &str, body: &Value) -> Result<Value, String> {
    let request = client.request(method.clone(), url);
    let request = if method == Method::GET { request } else { request.body(body.to_string()) };
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let refused = !answer.status().is_success();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    let mut json: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let value = json["value"].take();
    if refused { Err(value["message"].as_str().unwrap_or(&text).to_owned()) } else { Ok(value) }
}

/// Keys that are no characters, as WebDriver writes them.
pub mod keys {
    pub const ENTER: &str = "\u{E007}";
    pub const UP: &str = "\u{E013}";
    pub const DOWN: &str = "\u{E015}";
}
