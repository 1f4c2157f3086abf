//! What must hold of an environment on AWS: what is told where machines are made, and the account's place.

use crate::config::draft::Draft;
use crate::config::{forms, rules};
use crate::environment::Aws;
use crate::state::partition_of;

/// What must be told where machines are made.
pub fn made(draft: &mut Draft<'_>) {
    if !draft.says("aws") {
        draft.tell("aws", "is missing; `platform: aws` needs its region");
    }
    for (path, wrong) in [
        ("hosts", "is given, but `platform` is `aws`, which makes its machines"),
        ("vsphere", "is given, but `platform` is `aws`"),
    ] {
        if draft.says(path) {
            draft.tell(path, wrong);
        }
    }
    let mut needed = vec!["network".to_owned()];
    needed.extend(draft.says("access").then(|| "access.from".to_owned()));
    needed.extend(rules::sizes(draft));
    for path in needed {
        if !draft.says(&path) {
            draft.tell(&path, "is missing");
        }
    }
}

pub fn check(draft: &mut Draft<'_>) {
    let Some(Aws { region, partition, account }) = draft.aws.clone() else { return };
    match forms::region(&region) {
        Some(wrong) => draft.tell("aws.region", wrong),
        None => {
            let home = partition_of(&region);
            if partition != home {
                draft.tell("aws.partition", format!("is `{partition}`, but `{region}` lies in `{home}`"));
            }
        }
    }
    if let Some(wrong) = account.as_deref().and_then(forms::account) {
        draft.tell("aws.account", wrong);
    }
}
