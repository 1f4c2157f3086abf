//! When the certificates of a node's services end.
//!
//! They are sent as they lie there and read here: a certificate is public, and a node needs no program that reads one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::rke2::DATA_DIR;

/// A shell script that writes `certificate:<file>=<base64>` for the first certificate of each file. CAs are left out:
/// RKE2 never renews them.
pub(super) fn told() -> String {
    format!(
        r#"set -- $(ls {DATA_DIR}/server/tls/*.crt {DATA_DIR}/server/tls/etcd/*.crt {DATA_DIR}/agent/*.crt 2>/dev/null | grep -v -- '-ca[.]')
[ $# = 0 ] || awk '
  FNR == 1 {{ on = 0; done = 0 }}
  /-----BEGIN CERTIFICATE/ {{ if (!done) {{ on = 1; printf "certificate:%s=", FILENAME }}; next }}
  /-----END CERTIFICATE/ {{ if (on) {{ print ""; on = 0; done = 1 }}; next }}
  on {{ printf "%s", $0 }}' "$@""#
    )
}

/// Reads what [`told`] wrote, among other lines; a certificate that cannot be read is left out.
pub(super) fn read(text: &str) -> BTreeMap<String, Timestamp> {
    let one = |line: &str| {
        let (file, encoded) = line.strip_prefix("certificate:")?.split_once('=')?;
        Some((file.to_owned(), not_after(&BASE64_STANDARD.decode(encoded.trim()).ok()?)?))
    };
    text.lines().filter_map(one).collect()
}

/// The end of a certificate's validity, as RFC 5280 has it in DER.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // Version, where it is told; serial number, signature, issuer.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, end) = element(validity)?;
    let (kind, time, _) = element(end)?;
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let number = |at: usize, length: usize| text.get(at..at + length)?.parse::<i16>().ok();
    let (year, at) = match kind {
        // UTCTime has two digits for the year.
        0x17 => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        0x18 => (number(0, 4)?, 4),
        _ => return None,
    };
    let small = |index: usize| i8::try_from(number(at + index * 2, 2)?).ok();
    let time = DateTime::new(year, small(0)?, small(1)?, small(2)?, small(3)?, small(4)?, 0).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The first element of some DER: its tag, its content, and what comes behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(*short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (length, rest) = rest.split_at_checked(count)?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of this program's tests, made with `openssl req -x509`.
    const CERTIFICATE: &str = "MIIBwDCCAWegAwIBAgIUSKKgSpaV+/Eg5x/o2KPq5+P9mVAwCgYIKoZIzj0EAwIwNjEVMBMGA1UECgwMc3lzdGVtOm5vZGVzMR0wGwYDVQQDDBRzeXN0ZW06bm9kZTpzZXJ2ZXItMTAeFw0yNjExMzAwNDQzMjRaFw0yNzExMzAwNDQzMjRaMDYxFTATBgNVBAoMDHN5c3RlbTpub2RlczEdMBsGA1UEAwwUc3lzdGVtOm5vZGU6c2VydmVyLTEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATnJDS0c8aTo+sJLDmjC0SqmtYRUTojcVjJhaTNDDrdzFLkeWlwwkja+z24bh5KmjM5fOmdREDj0YjHmgRlBFWVo1MwUTAdBgNVHQ4EFgQUcRkzh0dbPkKLZWb5Idmwr79fAcwwHwYDVR0jBBgwFoAUcRkzh0dbPkKLZWb5Idmwr79fAcwwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiBSYGui04YscaE2DYA6byWEbFYovufLuroKAXdRqZWRHwIgTJtqFF60hfBT1TZ20LKSTz05y525BGVE3vCjV0dbET0=";

    #[test]
    fn the_end_of_each_certificate_is_read_and_what_is_none_is_left_out() {
        let text = format!(
            "running=v1.35.4+rke2r1\ncertificate:/a/kubelet.crt={CERTIFICATE}\ncertificate:/a/broken.crt=Q0E=\ncertificate:/a/x=?\n"
        );

        let ends = read(&text);

        assert_eq!(
            ends.into_iter().map(|(file, end)| format!("{file} {end}")).collect::<Vec<_>>(),
            ["/a/kubelet.crt 2027-11-30T04:43:24Z"]
        );
    }

    #[test]
    fn bytes_that_promise_more_than_there_is_are_no_certificate() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80, 0x00], &[0x30, 0x02, 0x30, 0x05]]
        {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
