//! How search compares texts: one fold of the query and of each chat, at the time of the search.
//!
//! A folded text has no case, no accents, no vowel points and no characters that show nothing; it has one sign for all
//! quotes, one for all dashes and one for all blanks. Syllables of Korean are compared whole.

use std::sync::OnceLock;

use icu_properties::props::GeneralCategory;
use memchr::memmem::Finder;
use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

use super::Broken;
use super::unicode::{category, is_ignorable, is_white_space};

/// The longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 1_024;

/// What a search looks for. Finding it takes time that is linear in the text.
pub struct Needle(Finder<'static>);

impl Needle {
    /// Folds a query and checks the rules: 1 to 1,024 bytes, no NUL, something to compare.
    pub fn parse(query: &str) -> Result<Self, Broken> {
        if query.is_empty() || query.len() > QUERY_BYTES_MAX || query.contains('\0') {
            return Err(Broken::new("query", "must have 1 to 1024 bytes and no NUL character"));
        }
        let folded = fold(query);
        if folded.is_empty() {
            return Err(Broken::new("query", "must have a character that is neither an accent nor invisible"));
        }
        Ok(Self(Finder::new(&folded).into_owned()))
    }

    /// Whether a text contains it; `buffer` is for the folded text, so that one serves many texts.
    #[must_use]
    pub fn is_in(&self, text: &str, buffer: &mut Folded) -> bool {
        buffer.fold(text);
        self.0.find(&buffer.bytes).is_some()
    }
}

/// A text as search compares it, in UTF-8.
#[must_use]
pub fn fold(text: &str) -> Vec<u8> {
    let mut folded = Folded::default();
    folded.fold(text);
    folded.bytes
}

/// The text that was folded last.
#[derive(Default)]
pub struct Folded {
    bytes: Vec<u8>,
    /// The last character of `bytes`, where the next one may compose with it.
    last: Option<char>,
}

impl Folded {
    fn fold(&mut self, text: &str) {
        self.bytes.clear();
        self.last = None;
        let mut rest = text;
        while !rest.is_empty() {
            let ascii = rest.bytes().position(|b| !b.is_ascii()).unwrap_or(rest.len());
            if ascii > 0 {
                self.bytes.extend(rest.as_bytes()[..ascii].iter().map(|b| fold_ascii(*b)));
                self.last = None;
            }
            rest = &rest[ascii..];
            let other = rest.bytes().position(|b| b.is_ascii()).unwrap_or(rest.len());
            rest[..other].chars().for_each(|c| self.add(c));
            rest = &rest[other..];
        }
    }

    fn add(&mut self, c: char) {
        match place_of(c) {
            DROPPED => {}
            SEVERAL => fold_char(c).chars().for_each(|c| self.push(c)),
            one => self.push(char::from_u32(one).unwrap_or(c)),
        }
    }

    /// Adds a folded character. Parts of a Korean syllable, and a voicing mark of kana, become one with what is before.
    fn push(&mut self, c: char) {
        let mut c = c;
        if matches!(c, '\u{1161}'..='\u{1175}' | '\u{11a8}'..='\u{11c2}' | '\u{3099}' | '\u{309a}')
            && let Some(last) = self.last
            && let Some(composed) = compose(last, c)
        {
            self.bytes.truncate(self.bytes.len() - last.len_utf8());
            c = composed;
        }
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        self.last = Some(c);
    }
}

const fn fold_ascii(byte: u8) -> u8 {
    match byte {
        b'`' => b'\'',
        b'\t'..=b'\r' => b' ',
        _ => byte.to_ascii_lowercase(),
    }
}

/// In a table: the character is left out.
const DROPPED: u32 = u32::MAX;
/// In a table: the character becomes several.
const SEVERAL: u32 = u32::MAX - 1;
/// Characters in one table.
const TABLE: usize = 256;

/// What each of these characters becomes, in tables that are built when the first of their characters is folded.
static TABLES: [OnceLock<Box<[u32; TABLE]>>; 0x11_0000 / TABLE] = [const { OnceLock::new() }; 0x11_0000 / TABLE];

fn place_of(c: char) -> u32 {
    let at = c as usize;
    let table = TABLES[at / TABLE].get_or_init(|| {
        let first = (at - at % TABLE) as u32;
        let mut table = Box::new([DROPPED; TABLE]);
        for (place, code) in table.iter_mut().zip(first..) {
            let folded = char::from_u32(code).map(fold_char).unwrap_or_default();
            let mut chars = folded.chars();
            *place = match (chars.next(), chars.next()) {
                (None, _) => DROPPED,
                (Some(one), None) => one as u32,
                (Some(_), Some(_)) => SEVERAL,
            };
        }
        table
    });
    table[at % TABLE]
}

/// One character, folded until nothing more changes.
fn fold_char(c: char) -> String {
    let mut text = String::from(c);
    for _ in 0..4 {
        let mut next = String::with_capacity(text.len());
        text.chars().for_each(|c| fold_once(c, &mut next));
        if next == text {
            break;
        }
        text = next;
    }
    text
}

fn fold_once(c: char, folded: &mut String) {
    if let Some(one) = unified(c) {
        folded.push_str(one);
    } else if is_hangul(c) {
        folded.push(c);
    } else if let Some(letter) = half_width_jamo(c) {
        folded.push(letter);
    } else {
        decompose_compatible(c, |part| {
            if !is_dropped(part) {
                // Down, up and down again, so that ß meets ẞ and SS, a final ς meets Σ, and ı meets I.
                let cases = part.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
                folded.extend(cases.filter(|c| !is_dropped(*c)));
            }
        });
    }
}

/// Signs that stand for each other, and letters with a stroke, which Unicode does not decompose.
fn unified(c: char) -> Option<&'static str> {
    Some(match c {
        '‘' | '’' | '‚' | '‛' | '′' | '‵' | '´' | '`' | 'ʹ' | 'ʻ' | 'ʼ' | 'ʽ' | 'ˈ' | '‹' | '›' | '＇' | '｀' => {
            "'"
        }
        '“' | '”' | '„' | '‟' | '″' | '‶' | 'ʺ' | '«' | '»' | '＂' | '〝' | '〞' | '〟' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '﹘' | '﹣' | '－' => "-",
        'đ' | 'Đ' => "d",
        'ħ' | 'Ħ' => "h",
        'ł' | 'Ł' => "l",
        'ø' | 'Ø' => "o",
        'ŧ' | 'Ŧ' => "t",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        _ if is_white_space(c) => " ",
        _ => return None,
    })
}

/// Syllables, and the letters of their own that people type alone (ㅋㅋ): a letter alone is no part of a syllable.
fn is_hangul(c: char) -> bool {
    matches!(c, '\u{ac00}'..='\u{d7a3}' | '\u{3131}'..='\u{3163}' | '\u{3165}'..='\u{318e}')
}

/// The letter of full width that one of half width stands for.
fn half_width_jamo(c: char) -> Option<char> {
    let code = c as u32;
    char::from_u32(match code {
        0xffa1..=0xffbe => code - 0xffa1 + 0x3131,
        0xffc2..=0xffc7 => code - 0xffc2 + 0x314f,
        0xffca..=0xffcf => code - 0xffca + 0x3155,
        0xffd2..=0xffd7 => code - 0xffd2 + 0x315b,
        0xffda..=0xffdc => code - 0xffda + 0x3161,
        _ => return None,
    })
}

/// Whether a character is left out: an accent or a point on a letter, or one that shows nothing. Marks that are letters
/// stay: vowels and silenced vowels of the scripts of India and its neighbours, and the voicing of kana.
fn is_dropped(c: char) -> bool {
    use GeneralCategory::{EnclosingMark, Format, NonspacingMark, SpacingMark};
    if is_ignorable(c) || c == '\u{640}' {
        return true;
    }
    match category(c) {
        Format | EnclosingMark => true,
        NonspacingMark | SpacingMark => {
            !matches!(canonical_combining_class(c), 0 | 8 | 9 | 84 | 91 | 103 | 118 | 129 | 130 | 132)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
