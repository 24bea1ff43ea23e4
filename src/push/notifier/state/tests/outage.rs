//! When FCM counts as failing.

use super::*;

#[test]
fn e5_tokens_of_another_project_turn_pushes_off_only_with_several_receivers_in_a_row() {
    let (mut state, now) = (state(), Instant::now());
    let refused = |state: &mut State, room: i64| {
        let job = jobs(state, vec![pending(room, S, &["t"])], now).remove(0);
        let codes = vec!["403 PERMISSION_DENIED SENDER_ID_MISMATCH".to_owned()];
        state.sent(Sent { accepted: vec![], refused: codes, other_sender: true, ..sent(job) }, 0.0, now);
    };
    (0..5).for_each(|_| refused(&mut state, 1));
    refused(&mut state, 2);
    assert_eq!(state.metrics.trouble.reason(), None, "anybody can register such a token");
    refused(&mut state, 3);
    assert!(state.metrics.trouble.reason().is_some_and(|reason| reason.contains("SENDER_ID_MISMATCH")));
    let job = jobs(&mut state, vec![pending(4, S, &["t"])], now).remove(0);
    state.sent(sent(job), 0.0, now);
    assert_eq!(state.metrics.trouble.reason(), None);
}
