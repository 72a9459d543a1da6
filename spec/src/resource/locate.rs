//! Where in a body a decoding error lies: from the parser's line and column to a field path.
//!
//! Only failed requests pay for it: the body is scanned once more up to the error.

enum Frame {
    Object { key: Option<String> },
    Array { index: usize },
}

/// The path of the value at which `error` was found: `spec.containers[0].ports`; empty when it is the whole body
/// or the body is not JSON.
pub(super) fn path_of(json: &[u8], error: &serde_json::Error) -> String {
    if !error.is_data() {
        return String::new();
    }
    let end = offset(json, error.line(), error.column());
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < end {
        match json[at] {
            b'{' => frames.push(Frame::Object { key: None }),
            b'[' => frames.push(Frame::Array { index: 0 }),
            b'}' | b']' => {
                frames.pop();
            }
            b',' => match frames.last_mut() {
                Some(Frame::Object { key }) => *key = None,
                Some(Frame::Array { index }) => *index += 1,
                None => {}
            },
            b'"' => {
                let close = string_end(json, at, end);
                if let Some(Frame::Object { key: key @ None }) = frames.last_mut() {
                    *key = serde_json::from_slice(&json[at..close]).ok();
                }
                at = close;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if end > 0 && json[end - 1] == b'[' {
        // The list itself was not wanted; none of its items has been looked at.
        frames.pop();
    }
    render(&frames)
}

/// The index just after the byte at `line` and `column`, both counted from 1.
fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let line_start = match line {
        0 | 1 => 0,
        line => json
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(line - 2)
            .map_or(json.len(), |(index, _)| index + 1),
    };
    json.len().min(line_start + column)
}

/// The index after the closing quote of the string that opens at `open`, or `end`.
fn string_end(json: &[u8], open: usize, end: usize) -> usize {
    let mut at = open + 1;
    while at < end {
        match json[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    end
}

fn render(frames: &[Frame]) -> String {
    use std::fmt::Write;
    let mut path = String::new();
    for frame in frames {
        match frame {
            Frame::Object { key: Some(key) } if path.is_empty() => path.push_str(key),
            Frame::Object { key: Some(key) } => write!(path, ".{key}").expect("a String can be written to"),
            Frame::Object { key: None } => {}
            Frame::Array { index } => write!(path, "[{index}]").expect("a String can be written to"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn the_path_of_a_wrong_type_is_found() {
        for (json, path) in [
            (r#"{"spec":{"containers":[{"name":"a"},{"name":3}]}}"#, "spec.containers[1].name"),
            (r#"{"spec":{"containers":{"name":"a"}}}"#, "spec.containers"),
            (r#"{"spec":{"containers":"a"}}"#, "spec.containers"),
            (r#"{"spec":["a"]}"#, "spec"),
            (r#"{"metadata":{"labels":{"a":"b","c":true}}}"#, "metadata.labels.c"),
            (r#"{"metadata":{"creationTimestamp":"yesterday"}}"#, "metadata.creationTimestamp"),
            (
                "{\"metadata\":{\"name\":\"a\\\"}\"},\n\"spec\":{\n\"priority\": 9999999999,\"x\":1}}",
                "spec.priority",
            ),
            (
                r#"{"spec":{"containers":[{"ports":[{"containerPort":"http"}]}]}}"#,
                "spec.containers[0].ports[0].containerPort",
            ),
            (r#"[]"#, ""),
            (r#"{"spec":"#, ""),
        ] {
            let error = serde_json::from_str::<Pod>(json).expect_err(json);
            assert_eq!(path_of(json.as_bytes(), &error), path, "{json}: {error}");
        }
    }
}
