//! Addresses of servers, as far as they are needed: a scheme, a host, a path, and where a redirect leads.

use std::fmt;

/// `https://host[:port]/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    https: bool,
    /// `host[:port]`.
    authority: String,
    /// From `/` on, with the query.
    path: String,
}

impl Address {
    /// Takes an address apart.
    pub fn new(text: &str) -> Result<Self, String> {
        let (https, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err("expected `https://…` or `http://…`".to_owned());
        };
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
            return Err(
                "expected an address without spaces, escaped where it is not ASCII".to_owned()
            );
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err("expected an address without a password".to_owned());
        }
        if authority.is_empty() {
            return Err("expected a host".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { https, authority: authority.to_ascii_lowercase(), path })
    }

    /// The same host, another path, which is escaped already.
    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The path, with the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host[:port]`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether it is the same server, reached in the same way.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.https == other.https && self.authority == other.authority
    }

    /// The last part of the path, without the query, unescaped where that leaves a plain name.
    pub fn file_name(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        unescaped(path.rsplit('/').next().unwrap_or_default())
    }

    /// The same with another last part of the path.
    pub fn beside(&self, file: &str) -> Self {
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.path.as_str(), String::new()),
        };
        let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
        self.with_path(&format!("{folder}{}{query}", escaped(file)))
    }

    /// Where a `Location` leads from here.
    ///
    /// # Errors
    /// Where it is no address, or leads from https to http.
    pub fn redirected(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.https { "https:" } else { "http:" };
        let target = if location.starts_with("//") {
            Self::new(&format!("{scheme}{location}"))?
        } else if location.starts_with('/') {
            Self::new(&format!("{scheme}//{}{location}", self.authority))?
        } else if location.contains("://") {
            Self::new(location)?
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
            Self::new(&format!("{scheme}//{}{folder}{location}", self.authority))?
        };
        if self.https && !target.https {
            return Err("it leads from https to http".to_owned());
        }
        Ok(target)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// A path with everything escaped that may not stand in one; `/` stays.
pub(crate) fn escaped(path: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'_'));
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    let name = String::from_utf8_lossy(&bytes).into_owned();
    if crate::name::is_plain_path(&name) && !name.contains('/') { name } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_go() {
        let from = Address::new("https://hub.example/a/b?x=1").unwrap();
        let to = |location| from.redirected(location).map(|to| to.to_string());
        assert_eq!(to("/c?d").unwrap(), "https://hub.example/c?d");
        assert_eq!(to("c").unwrap(), "https://hub.example/a/c");
        assert_eq!(to("//cdn.example/x").unwrap(), "https://cdn.example/x");
        assert_eq!(to("https://CDN.example:8443/x#y").unwrap(), "https://cdn.example:8443/x");
        for wrong in ["http://hub.example/c", "ftp://x/y", "https://u:p@x/y", "https:///x", "/a b"]
        {
            assert!(to(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_files_are_those_of_paths() {
        let name = |text: &str| Address::new(text).unwrap().file_name();
        assert_eq!(name("https://x/a/my%20model.gguf?download=true"), "my model.gguf");
        assert_eq!(name("https://x/a/%2e%2e%2fb.gguf"), "%2e%2e%2fb.gguf");
        assert_eq!(escaped("a b/ü#?.gguf"), "a%20b/%C3%BC%23%3F.gguf");
        let beside = Address::new("https://x/a/m.gguf?t=1").unwrap().beside("config.json");
        assert_eq!(beside.to_string(), "https://x/a/config.json?t=1");
    }
}
