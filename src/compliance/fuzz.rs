//! What a node showed of its hardening, under fuzzing.

use std::path::Path;
use std::sync::LazyLock;

use crate::compliance::{Catalogue, Status};
use crate::environment::HardeningProfile;
use crate::fuzz::Target;

pub const TARGETS: &[Target] = &[Target { name: "compliance", run: observation, seeds: &[] }];

static CATALOGUE: LazyLock<Option<Catalogue>> = LazyLock::new(|| {
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join(Catalogue::DIR);
    Catalogue::read(&role, HardeningProfile::Stig).ok()
});

/// Every rule gets its judgement, whatever the node showed; one that showed nothing passes none.
fn observation(bytes: &[u8]) {
    let Some(catalogue) = CATALOGUE.as_ref() else { unreachable!("the role is in the repository") };
    let text = String::from_utf8_lossy(bytes);
    let report = catalogue.judge(&text);
    assert_eq!(report.findings.len(), catalogue.len(), "each rule is judged once");
    if text.trim().is_empty() {
        assert!(report.findings.values().all(|finding| finding.status != Status::Pass));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
