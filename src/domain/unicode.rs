//! Properties of characters (UAX #44) that decide what a text shows: blanks, and what a name may not hide.

use icu_properties::props::{
    DefaultIgnorableCodePoint, ExtendedPictographic, GeneralCategory, PrependedConcatenationMark, VariationSelector,
    WhiteSpace,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::char::canonical_combining_class;

/// Zero width non-joiner and joiner: they shape letters in many scripts, and the joiner builds emoji.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// The joiner, which also joins emoji.
const JOINER: char = '\u{200d}';
/// The letters of the flags of regions, such as Scotland's, which begin with a black flag.
const TAGS: std::ops::RangeInclusive<char> = '\u{e0020}'..='\u{e007f}';
/// The beginning of such a flag.
const BLACK_FLAG: char = '\u{1f3f4}';
/// Skin colours, which come behind an emoji.
const SKIN: std::ops::RangeInclusive<char> = '\u{1f3fb}'..='\u{1f3ff}';
/// The combining class of the signs that silence a vowel.
const VIRAMA: u8 = 9;

/// The general category of a character.
pub(super) fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Whether a character is for programs and not for readers: formats, joiners, fillers, variation selectors.
pub(super) fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Whether a character separates words or lines and shows nothing.
pub(super) fn is_white_space(c: char) -> bool {
    CodePointSetData::new::<WhiteSpace>().contains(c)
}

/// Whether a character leaves nothing to see where it stands alone.
fn is_invisible(c: char) -> bool {
    if c.is_ascii_graphic() {
        return false;
    }
    // The blank of Braille and the empty note head are symbols by category.
    matches!(c, '\u{2800}' | '\u{1d159}') || is_white_space(c) || is_ignorable(c) || {
        match category(c) {
            GeneralCategory::Format => !CodePointSetData::new::<PrependedConcatenationMark>().contains(c),
            GeneralCategory::Control => true,
            _ => false,
        }
    }
}

/// Whether a text shows nothing.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// Whether a character could make a name read as another one: it turns the direction of what follows, breaks the line,
/// or shows nothing. Joiners between letters, emoji, and variants of characters are no such characters.
pub(super) fn is_deceptive(text: &str) -> bool {
    if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return false;
    }
    let chars: Vec<char> = text.chars().collect();
    (0..chars.len()).any(|at| is_deceptive_at(&chars, at))
}

fn is_deceptive_at(chars: &[char], at: usize) -> bool {
    let c = chars[at];
    let (before, after) = (at.checked_sub(1).map(|at| chars[at]), chars.get(at + 1).copied());
    match category(c) {
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => true,
        GeneralCategory::Format if JOINERS.contains(&c) => !is_joining(c, before, after),
        GeneralCategory::Format if TAGS.contains(&c) => !is_in_flag(&chars[..at]),
        GeneralCategory::Format => true,
        _ if CodePointSetData::new::<VariationSelector>().contains(c) => before.is_none_or(is_invisible),
        _ => is_ignorable(c),
    }
}

/// Whether a joiner joins two letters, ends a letter whose vowel is silenced, or joins two emoji.
fn is_joining(joiner: char, before: Option<char>, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    if canonical_combining_class(before) == VIRAMA {
        return true;
    }
    let Some(after) = after else { return false };
    let is_emoji = |c| CodePointSetData::new::<ExtendedPictographic>().contains(c);
    let ends_emoji = is_emoji(before) || SKIN.contains(&before) || before == '\u{fe0f}';
    (is_of_word(before) && is_of_word(after)) || (joiner == JOINER && ends_emoji && is_emoji(after))
}

/// Whether a character is a letter, or a mark on one.
fn is_of_word(c: char) -> bool {
    use GeneralCategory::{
        LowercaseLetter, ModifierLetter, NonspacingMark, OtherLetter, SpacingMark, TitlecaseLetter, UppercaseLetter,
    };
    !is_ignorable(c)
        && matches!(
            category(c),
            UppercaseLetter
                | LowercaseLetter
                | TitlecaseLetter
                | ModifierLetter
                | OtherLetter
                | NonspacingMark
                | SpacingMark
        )
}

/// Whether these characters end in the black flag and nothing but tags behind it.
fn is_in_flag(before: &[char]) -> bool {
    before.iter().rev().find(|c| !TAGS.contains(*c)) == Some(&BLACK_FLAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_blank() {
        let blanks = "\u{200b}\u{2060}\u{3164}\u{ffa0}\u{115f}\u{2800}\u{ad}\u{202e}\u{2066}\u{feff}\u{fe0f}\u{e0001}
            \u{180e}\u{34f}\u{a0}\u{2028}\u{2029}\u{3000}\u{200d}\u{2061}\u{fff9}\u{85}\u{7f}\t ";
        assert!(is_blank(""));
        assert!(is_blank(blanks));
        for c in blanks.chars() {
            assert!(is_blank(&c.to_string()), "{c:?}");
        }
        for shown in ["a", ".", "가", "👋", "\u{301}", "ㅋ", "\u{6dd}", "\u{200b}a", "\u{fffd}", "\u{2801}"] {
            assert!(!is_blank(shown), "{shown:?}");
        }
    }

    #[test]
    fn a_name_keeps_the_joiners_that_its_script_needs() {
        for good in [
            "Ann Bob",
            "Ünïcödé",
            "앨리스",
            "محمد",
            "می\u{200c}خواهم",
            "ශ\u{dca}\u{200d}රී",
            "മോഹന\u{d4d}\u{200d}",
            "👨\u{200d}👩\u{200d}👧",
            "👩🏽\u{200d}🚒",
            "🏳\u{fe0f}\u{200d}🌈",
            "❤\u{fe0f}",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "葛\u{e0100}城",
        ] {
            assert!(!is_deceptive(good), "{good}");
        }
    }

    #[test]
    fn a_name_hides_nothing() {
        for bad in [
            "\u{202e}Ann",
            "A\u{202a}nn",
            "A\u{2066}nn",
            "A\u{2069}",
            "A\u{200e}",
            "A\u{61c}",
            "A\u{2028}B",
            "A\u{2029}B",
            "A\u{ad}nn",
            "A\u{200b}nn",
            "A\u{2060}nn",
            "A\u{feff}nn",
            "Ann\u{200d}",
            "\u{200d}Ann",
            "Ann \u{200c}Bob",
            "1\u{200d}2",
            "A\u{3164}",
            "A\u{ffa0}",
            "A\u{115f}",
            "A\u{34f}nn",
            "A\u{e0061}",
            "\u{fe0f}A",
            "A \u{fe0f}",
            "👨\u{200c}👩",
            "A\u{180e}",
            "A\u{fff9}",
        ] {
            assert!(is_deceptive(bad), "{bad:?}");
        }
    }
}
