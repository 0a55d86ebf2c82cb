//! The daemon's own JSON, laid out for reading: also what this version does not know goes through.

/// A text that is JSON, in lines with indents, as serde_json lays it out.
#[must_use]
pub fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped, mut opened) = (0_usize, false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in text.chars() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        depth -= usize::from(closes && depth > 0);
        // What is empty stays on its line.
        if opened != closes {
            line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        depth += usize::from(opened);
        quoted = c == '"';
        out.push(c);
        match c {
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn it_is_laid_out_as_serde_json_does() {
        let values = [
            json!({}),
            json!([[], {}, [{}], [1, -2.5e3, null, true]]),
            json!({ "a": { "b\"\\": "x: {[,]} \\" }, "c": [], "d": ["", "\n\u{1b}é"] }),
        ];
        for value in values {
            let laid = serde_json::to_string_pretty(&value).unwrap() + "\n";
            assert_eq!(pretty(&value.to_string()), laid);
            assert_eq!(pretty(&laid), laid);
        }
        assert!(serde_json::from_str::<Value>(&pretty("{\"new\":{\"word\":[1]}}")).is_ok());
    }
}
