//! Parameters of a request: what stands behind the question mark of its URL.

use crate::text::{nearest, quote};

/// A parameter that a route knows.
#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    /// May it come several times?
    pub(super) repeats: bool,
}

/// The parameters of a request. Their values are any bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(&'static str, Vec<u8>)>);

impl Params {
    /// Reads them. An error is the text for the client.
    pub(super) fn parse(query: &str, known: &'static [Param]) -> Result<Self, String> {
        let mut params = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(param) = known.iter().find(|param| param.name.as_bytes() == name) else {
                return Err(unknown(&name, known));
            };
            if !param.repeats && params.iter().any(|(other, _)| *other == param.name) {
                return Err(format!("'{}' may be given once only", param.name));
            }
            params.push((param.name, value));
        }
        Ok(Self(params))
    }

    /// The value of a parameter, if it was given and is not empty.
    pub(super) fn one(&self, name: &str) -> Option<&[u8]> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// All its values, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value.as_slice())
    }
}

fn unknown(name: &[u8], known: &'static [Param]) -> String {
    let shown = quote(name);
    let mut names = known.iter().map(|param| param.name);
    match nearest(&String::from_utf8_lossy(name), names.clone()) {
        Some(meant) => format!("there is no parameter {shown} here; did you mean '{meant}'?"),
        None if known.is_empty() => format!("there is no parameter {shown} here, nor any other"),
        None => {
            let first = names.next().unwrap_or_default().to_owned();
            let list = names.fold(first, |list, name| list + ", " + name);
            format!("there is no parameter {shown} here, only: {list}")
        }
    }
}

/// The text with `%XX` and `+` for what cannot stand in a URL.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(after.first()), digit(after.get(1))) {
                (Some(high), Some(low)) => {
                    rest = &after[2..];
                    (high * 16 + low) as u8
                }
                _ => {
                    return Err(format!(
                        "{} has a '%' without two hexadecimal digits",
                        quote(text.as_bytes())
                    ));
                }
            },
            byte => byte,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    static KNOWN: &[Param] = &[Param { name: "name", repeats: false }, Param { name: "tag", repeats: true }];

    #[test]
    fn parameters_are_read_as_forms_write_them() {
        for (query, params) in [
            ("", &[][..]),
            ("&&", &[]),
            ("name=a", &[("name", &b"a"[..])]),
            ("name", &[("name", b"")]),
            ("n%61me=a%2Bb+c%ff=%3d&tag=1&tag=", &[("name", b"a+b c\xff=="), ("tag", b"1"), ("tag", b"")]),
        ] {
            let expected = params.iter().map(|(name, value)| (*name, value.to_vec())).collect();
            assert_eq!(Params::parse(query, KNOWN), Ok(Params(expected)), "{query}");
        }
        let params = Params::parse("tag=a&tag=b&name=", KNOWN).expect("fine");
        assert_eq!(params.all("tag").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(params.one("name"), None, "an empty one says nothing");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (query, error) in [
            ("nmae=x", r#"there is no parameter "nmae" here; did you mean 'name'?"#),
            ("x%0a=1", r#"there is no parameter "x\n" here, only: name, tag"#),
            ("name=a&name=a", "'name' may be given once only"),
            ("name=%f", r#""%f" has a '%' without two hexadecimal digits"#),
            ("name=%", r#""%" has a '%' without two hexadecimal digits"#),
            ("name=%+f", r#""%+f" has a '%' without two hexadecimal digits"#),
        ] {
            assert_eq!(Params::parse(query, KNOWN), Err(error.to_owned()), "{query}");
        }
        let none = Params::parse("x", &[]).expect_err("nothing is known");
        assert_eq!(none, r#"there is no parameter "x" here, nor any other"#);
    }
}
