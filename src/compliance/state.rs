//! The rules that the role's lists of the system as a whole fulfil on a node in use.
//!
//! A drop-in is looked for as the role writes it; whether another file has the last word is not asked. What the kernel is
//! started with holds from the next boot on, so an argument that the role has just set stays open until then.

use crate::compliance::catalogue::{Check, Rule};
use crate::compliance::role::System;
use crate::environment::HardeningProfile;

impl System {
    pub fn rules(&self, profile: HardeningProfile) -> Vec<Rule> {
        let of = |stig: &[String], cis: &[String], check: Check| {
            let ids = match profile {
                HardeningProfile::Stig => stig,
                HardeningProfile::Cis => cis,
                HardeningProfile::None => &[],
            };
            Rule { ids: ids.to_vec(), check, what: String::new() }
        };
        let mut rules = Vec::new();
        rules.extend(
            self.masked.iter().map(|one| of(&one.stig, &one.cis, Check::Unit { name: one.unit.clone(), runs: false })),
        );
        rules.extend(
            self.running.iter().map(|one| of(&one.stig, &one.cis, Check::UnitIfThere { name: one.unit.clone() })),
        );
        for drop_in in &self.drop_ins {
            let path = format!("{}/os-hardening.conf", drop_in.folder);
            rules.extend(drop_in.lines.iter().map(|line| {
                let (cis, stig): (Vec<String>, Vec<String>) =
                    line.rules.iter().cloned().partition(|rule| rule.starts_with("CIS-"));
                of(&stig, &cis, Check::Line { path: path.clone(), line: line.text.clone() })
            }));
        }
        rules.extend(self.sudo.iter().map(|one| {
            let line = format!("Defaults {}", one.defaults);
            of(&one.stig, &one.cis, Check::Line { path: "/etc/sudoers.d/os-hardening".to_owned(), line })
        }));
        rules.extend(self.keys.iter().map(|one| {
            let check = Check::Key { path: one.path.clone(), key: one.key.clone(), value: one.value.clone() };
            of(&one.stig, &one.cis, check)
        }));
        let argument = |argument: &str, present| Check::KernelArgument { argument: argument.to_owned(), present };
        rules.extend(self.arguments.iter().map(|one| of(&one.stig, &one.cis, argument(&one.argument, true))));
        rules.extend(self.arguments_absent.iter().map(|one| of(&one.stig, &one.cis, argument(&one.argument, false))));
        rules.retain(|rule| !rule.ids.is_empty());
        rules
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::compliance::{Catalogue, Status};

    const PROFILES: [HardeningProfile; 2] = [HardeningProfile::Stig, HardeningProfile::Cis];

    fn dir() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(Catalogue::DIR)
    }

    /// What a node shows that the role was run on, and that was started again since.
    fn shown(rules: &[Rule]) -> String {
        let mut lines = vec!["state yes".to_owned()];
        let (mut arguments, mut units) = (String::new(), Vec::new());
        for rule in rules {
            match &rule.check {
                Check::Unit { name, .. } => units.push(format!("unit {name} masked inactive masked")),
                Check::UnitIfThere { name } => units.push(format!("unit {name} loaded active enabled")),
                Check::Line { path, line } => lines.push(format!("key {path} {line}")),
                Check::Key { path, key, value } => lines.push(format!("key {path} {key}={value}")),
                Check::KernelArgument { argument, present: true } => arguments = format!("{arguments} {argument}"),
                _ => {}
            }
        }
        lines.extend(units);
        lines.extend([format!("cmdline ro{arguments}"), format!("boot-entry ro{arguments}")]);
        lines.join("\n")
    }

    #[test]
    fn what_the_role_sets_of_the_system_passes_and_each_rule_fails_without_it() {
        for profile in PROFILES {
            let rules = System::read(&dir()).expect("the role of this repository").rules(profile);
            let catalogue = Catalogue { profile, rules, exceptions: std::collections::BTreeMap::new() };
            let text = shown(&catalogue.rules);

            let kept = catalogue.judge(&text);
            let broken =
                catalogue.judge("state yes\ncmdline ro enforcing=0 selinux=0\nboot-entry ro enforcing=0 selinux=0");

            let not_passed: Vec<&String> =
                kept.findings.iter().filter(|(_, one)| one.status != Status::Pass).map(|(id, _)| id).collect();
            let passed: Vec<&String> =
                broken.findings.iter().filter(|(_, one)| one.status == Status::Pass).map(|(id, _)| id).collect();
            assert_eq!((not_passed, passed), (vec![], vec![]), "{}", profile.name());
            assert!(kept.findings.len() > 15, "{} rules", kept.findings.len());
        }
    }

    #[test]
    fn the_quick_look_asks_for_it_and_takes_no_list_of_packages() {
        for profile in PROFILES {
            let script = Catalogue::read(&dir(), profile).expect("the role of this repository").question().script;

            for asked in ["state yes", "/etc/sudoers.d/os-hardening", "/etc/selinux/config", "systemctl show"] {
                assert!(script.contains(asked), "{}: {asked}", profile.name());
            }
            assert!(!script.contains("rpm -qa"), "{}", profile.name());
        }
    }
}
