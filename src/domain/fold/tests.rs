//! Which texts meet in a search, and which do not.

use proptest::prelude::*;

use super::*;

fn finds(query: &str, text: &str) -> bool {
    Needle::parse(query).is_ok_and(|needle| needle.is_in(text, &mut Folded::default()))
}

/// As a reader sees it.
fn folded(text: &str) -> String {
    String::from_utf8(fold(text)).unwrap()
}

#[test]
fn case_does_not_matter_in_any_script() {
    for (a, b) in [
        ("Straße", "STRASSE"),
        ("Straße", "STRAẞE"),
        ("ΟΔΟΣ", "οδος"),
        ("ПРИВЕТ", "привет"),
        ("İSTANBUL", "istanbul"),
        ("IŞIK", "işik"),
        ("ışık", "ISIK"),
        ("ŉ", "'N"),
        ("ſ", "S"),
        ("ᏣᎳᎩ", "ꮳꮃꭹ"),
    ] {
        assert_eq!(folded(a), folded(b), "{a} {b}");
    }
}

#[test]
fn c3_what_a_reader_takes_for_the_same_is_found() {
    for (query, text) in [
        ("istanbul", "İstanbul'da"),
        ("işik", "IŞIK"),
        ("ecole", "École"),
        ("É", "e\u{301}"),
        ("duong", "Đường phố"),
        ("tieng viet", "Tiếng Việt"),
        ("lodz", "Łódź"),
        ("محمد", "مُحَمَّد"),
        ("مرحبا", "مـــرحبا"),
        ("احمد", "أحمد"),
        ("שלום", "שָׁלוֹם"),
        ("abc 12", "ＡＢＣ　１２"),
        ("カタカナ", "ｶﾀｶﾅ"),
        ("ガ", "ｶﾞ"),
        ("ﾊﾟﾝ", "パン"),
        ("❤", "❤\u{fe0f}"),
        ("❤\u{fe0f}", "❤"),
        ("cooperate", "co\u{ad}operate"),
        ("10 km", "10\u{a0}km"),
        ("10 km", "10\u{202f}km"),
        ("a b", "a\nb"),
        ("don't", "don’t"),
        ("\"so\"", "„so“"),
        ("well-known", "well‑known"),
        ("fi", "ﬁsh"),
        ("한국", "㈜한국"),
        ("(주)", "㈜"),
        ("👩", "👩\u{200d}🚒"),
    ] {
        assert!(finds(query, text), "{query} in {text}");
    }
}

#[test]
fn korean_is_compared_by_the_syllable() {
    assert_eq!(folded("회의"), "회의");
    assert_eq!(folded("\u{1112}\u{116c}"), "회");
    assert_eq!(folded("가\u{11a8}"), "각");
    assert!(finds("회", "오늘 회의") && finds("ㅋ", "ㅋㅋㅋ") && finds("ㅋㅋ", "ﾻﾻ"));
    for (query, text) in [("하", "한"), ("카", "ㅋㅏ"), ("갃", "가ㄳ"), ("ㄱ", "가"), ("\u{1100}", "가")] {
        assert!(!finds(query, text), "{query} in {text}");
    }
}

#[test]
fn marks_that_are_letters_are_compared() {
    for (query, text) in [("カ", "ガ"), ("คน", "คืน"), ("कल", "कुल"), ("e\u{301}x", "ey")] {
        assert!(!finds(query, text), "{query} in {text}");
    }
    assert!(finds("คืน", "คืน") && finds("हिन्दी", "हिन्दी"));
}

#[test]
fn a_query_has_something_to_compare() {
    for bad in ["", "a\0b", "\u{301}", "\u{200b}\u{ad}", "\u{3164}", &"x".repeat(1_025)] {
        assert!(Needle::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Needle::parse(" ").is_ok() && Needle::parse(&"x".repeat(1_024)).is_ok());
}

proptest! {
    #[test]
    fn a_folded_text_folds_to_itself_and_each_part_is_found(text in "\\PC{0,40}", from in 0usize..40, chars in 1usize..40) {
        let once = folded(&text);
        prop_assert_eq!(folded(&once), once.clone());
        let part: String = text.chars().skip(from).take(chars).collect();
        // A cut between the parts of a syllable, or before a voicing mark, makes another text of it.
        let is_cut = text.chars().any(|c| matches!(c, '\u{1100}'..='\u{11ff}' | '\u{3099}' | '\u{309a}' | '\u{ff9e}' | '\u{ff9f}'));
        if let Ok(needle) = Needle::parse(&part) && !is_cut {
            prop_assert!(needle.is_in(&text, &mut Folded::default()));
        }
    }
}
