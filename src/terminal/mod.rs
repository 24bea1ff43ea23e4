//! The terminal client: `hyper-chat chat`. Speaks only the public API, so it is also an example of a client.
//!
//! It signs in (or up), waits until the other account exists, opens the room's socket and then takes lines until the
//! input ends. Knows `domain` for its rules; nothing of the server's other parts.

mod api;
mod conversation;
mod epoch;
mod input;
mod outbox;
mod screen;
mod socket;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use tokio::time::Instant;

use api::{Api, ApiError, Person};
use conversation::Conversation;
use input::Input;
use screen::Screen;

const POLL_EVERY: Duration = Duration::from_secs(1);
const POLL_FOR: Duration = Duration::from_secs(600);

/// The arguments of `hyper-chat chat`.
#[derive(Args)]
pub struct Arguments {
    /// The server, as http://HOST:PORT or https://HOST.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Your username; the account is created if there is none.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// The username of the other person; your own for notes to yourself.
    #[arg(long = "with", value_name = "NAME")]
    other: String,
    /// Your password; the terminal prompts for it if it is missing. Other users of this machine can read arguments:
    /// prefer the variable.
    #[arg(long, env = "HYPER_CHAT_PASSWORD", hide_env_values = true)]
    password: Option<SecretString>,
}

/// Why a conversation could not begin or go on, in words for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A request of the REST API failed, and trying again does not help.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Neither the argument nor the variable is set, and stdin is no terminal that could prompt.
    #[error("no password: set HYPER_CHAT_PASSWORD, or give --password")]
    NoPassword,
    /// The terminal failed while it prompted.
    #[error("the password cannot be read")]
    Password(#[source] std::io::Error),
    /// The other person's account, by its username, did not appear in time.
    #[error("{0} has not signed up within ten minutes")]
    NeverSignedUp(String),
    /// The server closed the socket for good; the text says why.
    #[error("{0}")]
    Ended(String),
    /// The number of lines that the server refused; all others are stored.
    #[error("not all was sent: lines refused: {0}")]
    Refused(usize),
    /// The number of lines that had no answer when the conversation ended.
    #[error("{0} of your lines could not be confirmed; they may not have been sent")]
    Unconfirmed(usize),
    /// Stdout failed, or its reader has closed it.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

/// Runs a conversation until the input ends. `main` calls it.
pub fn chat(arguments: Arguments) -> Result<(), ChatError> {
    actix_web::rt::System::new().block_on(converse(arguments))
}

async fn converse(arguments: Arguments) -> Result<(), ChatError> {
    // The time zone can be read only while the process has one thread, so this comes first.
    let screen = Screen::new();
    let password = match arguments.password {
        Some(password) => password,
        None if std::io::stdin().is_terminal() => {
            let prompt = format!("Password of {}: ", screen::clean(&arguments.name));
            SecretString::from(rpassword::prompt_password(prompt).map_err(ChatError::Password)?)
        }
        None => return Err(ChatError::NoPassword),
    };
    let input = Input::new();
    let interrupts = input.interrupts();
    let began = tokio::select! {
        began = begin(&arguments.server, &arguments.name, password, &arguments.other, screen) => began?,
        () = interrupts.notified() => return Ok(()),
    };
    match began.run(input).await {
        // The reader of our output has closed it.
        Err(ChatError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

async fn begin(
    server: &str,
    name: &str,
    password: SecretString,
    other: &str,
    mut screen: Screen,
) -> Result<Conversation, ChatError> {
    let mut api = Api::new(server, name, password)?;
    if api.sign_in_or_up().await? {
        screen.note(&format!("Welcome, {name}: this account is new."))?;
    }
    let me = find(&api, name, &mut screen).await?;
    let other = if other.eq_ignore_ascii_case(name) { me.clone() } else { find(&api, other, &mut screen).await? };
    let chatroom_id = api.chatroom_with(other.id).await?;
    let epoch = api.epoch(chatroom_id, None).await?;
    let recent = api.recent(chatroom_id).await?;
    screen.note(&format!("You are talking with {}. Ctrl-D ends.", other.username))?;
    let mut conversation = Conversation::new(api, screen, chatroom_id, epoch, [me, other]);
    conversation.show_all(recent)?;
    Ok(conversation)
}

/// The chatter of this name; waits for them to sign up.
async fn find(api: &Api, name: &str, screen: &mut Screen) -> Result<Person, ChatError> {
    let deadline = Instant::now() + POLL_FOR;
    let mut noted = false;
    while Instant::now() < deadline {
        let wait = match api.find(name).await {
            Ok(Some(person)) => return Ok(person),
            Ok(None) => POLL_EVERY,
            Err(e) => e.retry_in().filter(|_| noted).ok_or(e)?.max(POLL_EVERY),
        };
        if !noted {
            screen.note(&format!("{name} has not signed up yet; waiting. Ctrl-C ends."))?;
            noted = true;
        }
        tokio::time::sleep(wait).await;
    }
    Err(ChatError::NeverSignedUp(name.to_owned()))
}
