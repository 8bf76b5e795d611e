//! Digests that stand for names which no record may hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The first 128 bits of a SHA-256, written as 32 digits. Equal names have equal digests, so that runs of one host or
/// card are known as such; a UUID cannot be found from its digest, a host's name that can be guessed can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of a name; `kind` keeps equal names of different kinds apart.
    ///
    /// ```
    /// use vramplan_planner::evidence::Digest;
    ///
    /// let host = Digest::of("host", b"node07");
    /// assert_eq!(host, host.to_string().parse().unwrap());
    /// assert_ne!(host, Digest::of("gpu", b"node07"));
    /// ```
    pub fn of(kind: &str, name: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"vramplan/evidence/");
        hash.update(kind.as_bytes());
        hash.update([0]);
        hash.update(name);
        let mut bytes = [0; 16];
        for (byte, of) in bytes.iter_mut().zip(hash.finalize()) {
            *byte = of;
        }
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected 32 digits of 0-9 and a-f".to_owned();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(2 * at..2 * at + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_digest_is_refused() {
        let good = Digest::of("host", b"a").to_string();
        for wrong in [
            "",
            "00",
            &good[1..],
            &good.to_uppercase(),
            &good.replace('a', "g"),
            "é".repeat(16).as_str(),
        ] {
            if wrong != good {
                assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
            }
        }
    }
}
