//! The grammar of label selectors in query parameters, by recursive descent over a token list.

use super::{Operator, Requirement};
use crate::field_error::quote;
use crate::meta::{label_value_faults, qualified_name_faults};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
    /// Symbols that are no operator together: `=!`.
    Nonsense(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(text) | Token::Symbol(text) | Token::Nonsense(text) => text,
            Token::End => "",
        }
    }
}

const SYMBOLS: [&str; 9] = ["(", ")", ",", "!", "=", "==", "!=", ">", "<"];

fn is_special(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

/// Upstream's notion of blanks: a form feed is none, and so a part of a word.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let start = at;
        if is_blank(bytes[at]) {
            at += 1;
        } else if is_special(bytes[at]) {
            let longest =
                (1..=2).rev().find_map(|n| text.get(at..at + n).filter(|part| SYMBOLS.contains(part)));
            at += longest.map_or(1, str::len);
            tokens.push(longest.map_or(Token::Nonsense(&text[start..at]), Token::Symbol));
        } else {
            while at < bytes.len() && !is_special(bytes[at]) && !is_blank(bytes[at]) {
                at += 1;
            }
            tokens.push(Token::Word(&text[start..at]));
        }
    }
    tokens.push(Token::End);
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    /// The end is never passed.
    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token != Token::End {
            self.at += 1;
        }
        token
    }

    fn expect_word(&mut self) -> Result<&'a str, String> {
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }
}

/// All requirements of a selector's text.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            Token::End => return Ok(requirements),
            other => {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text()));
            }
        }
        let parsed = requirement(&mut parser).map_err(|why| format!("unable to parse requirement: {why}"))?;
        requirements.push(parsed);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match parser.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
            },
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

fn requirement(parser: &mut Parser<'_>) -> Result<Requirement, String> {
    let absent = parser.peek() == Token::Symbol("!");
    if absent {
        parser.next();
    }
    let key = parser.expect_word()?;
    let faults = qualified_name_faults(key);
    if !faults.is_empty() {
        return Err(format!("<nil>: Invalid value: {}: {}", quote(key), faults.join("; ")));
    }
    if absent {
        return Ok(Requirement::new(key, Operator::DoesNotExist, &[]));
    }
    if matches!(parser.peek(), Token::End | Token::Symbol(",")) {
        return Ok(Requirement::new(key, Operator::Exists, &[]));
    }
    let operator = operator(parser)?;
    let values = match operator {
        Operator::In | Operator::NotIn if parser.tokens[parser.at - 1].text().ends_with("in") => {
            values(parser)?
        }
        _ => vec![exact_value(parser)?],
    };
    check_values(key, operator, &values)?;
    Ok(Requirement::new(key, operator, &values))
}

fn operator(parser: &mut Parser<'_>) -> Result<Operator, String> {
    match parser.next() {
        Token::Word("in") | Token::Symbol("=" | "==") => Ok(Operator::In),
        Token::Word("notin") | Token::Symbol("!=") => Ok(Operator::NotIn),
        Token::Symbol(">") => Ok(Operator::GreaterThan),
        Token::Symbol("<") => Ok(Operator::LessThan),
        other => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
    }
}

fn exact_value(parser: &mut Parser<'_>) -> Result<String, String> {
    match parser.peek() {
        Token::End | Token::Symbol(",") => Ok(String::new()),
        _ => parser.expect_word().map(str::to_owned),
    }
}

/// A list in parentheses; an empty place in it is the empty value.
fn values(parser: &mut Parser<'_>) -> Result<Vec<String>, String> {
    match parser.next() {
        Token::Symbol("(") => {}
        other => return Err(format!("found '{}' expected: '('", other.text())),
    }
    let mut values = Vec::new();
    loop {
        let value = match parser.peek() {
            Token::Word(word) => {
                parser.next();
                word
            }
            Token::Symbol("," | ")") => "",
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        };
        values.push(value.to_owned());
        match parser.next() {
            Token::Symbol(",") => {}
            Token::Symbol(")") => return Ok(values),
            other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
        }
    }
}

fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    for (index, value) in values.iter().enumerate() {
        let compares = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        if compares && value.parse::<i64>().is_err() {
            return Err(format!(
                "values[{index}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                quote(value)
            ));
        }
        let faults = label_value_faults(value);
        if !faults.is_empty() {
            let faults = faults.join("; ");
            return Err(format!("values[{index}][{key}]: Invalid value: {}: {faults}", quote(value)));
        }
    }
    Ok(())
}
