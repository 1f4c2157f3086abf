//! What must hold of `images`: who signs, who is trusted, what is required.

use crate::config::draft::Draft;
use crate::config::rules::bucket_place;
use crate::environment::{Images, Platform};
use crate::image_policy::is_channel;

pub fn check(draft: &mut Draft<'_>) {
    let Some(images) = draft.images.clone() else { return };
    if draft.platform == Some(Platform::Hosts) && draft.says("images") {
        draft.tell("images", "is not known on hosts: their operating system is installed by others");
        return;
    }
    if images.valid_for.0.is_zero() {
        draft.tell("images.valid_for", "is no time at all");
    }
    if images.sign.as_ref().is_some_and(|key| !key.starts_with("file:")) {
        draft.tell("images.sign", "is no `file:PATH`");
    }
    require(draft, &images);
    channel(draft, &images);
    if let Some(store) = &images.store {
        match draft.platform {
            Some(Platform::Aws) => bucket_place(draft, "images.store", store),
            Some(_) => draft.tell("images.store", "is a bucket, which only environments on aws can use"),
            None => {}
        }
    }
}

fn require(draft: &mut Draft<'_>, images: &Images) {
    let Some(require) = images.require else { return };
    if images.trust.is_empty() {
        draft.tell("images.require", "wants a statement, and `images.trust` names no key whose statements count");
    }
    if require.score > 100 {
        draft.tell("images.require.score", format!("is {}; there are 100 percent", require.score));
    }
}

fn channel(draft: &mut Draft<'_>, images: &Images) {
    let Some(channel) = &images.channel else { return };
    if !is_channel(channel) {
        draft.tell(
            "images.channel",
            format!("is `{channel}`; a channel has up to 32 lower-case letters, digits and dashes"),
        );
    }
    if images.trust.is_empty() {
        draft.tell(
            "images.channel",
            "leads to images that others built, and `images.trust` names no key that vouches for them",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::read;

    const AWS: &str = include_str!("../../environments/dev.yaml");

    fn problems(images: &str) -> String {
        read("dev.yaml", "dev", &format!("{AWS}\nimages:\n{images}")).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_required_needs_somebody_who_is_trusted() {
        let told = problems("  require: {score: 101}\n  valid_for: 0s\n  sign: key.pem\n  channel: Stable\n");

        for line in [
            "wants a statement, and `images.trust` names no key whose statements count",
            "is 101; there are 100 percent",
            "is no time at all",
            "is no `file:PATH`",
            "is `Stable`; a channel has up to 32 lower-case letters, digits and dashes",
            "`images.trust` names no key that vouches for them",
        ] {
            assert!(told.contains(line), "{line}: {told}");
        }
    }

    #[test]
    fn an_environment_without_a_word_of_it_signs_and_requires_nothing() {
        let environment = read("dev.yaml", "dev", AWS).expect("good");

        assert_eq!((environment.images.sign, environment.images.require), (None, None));
    }
}
