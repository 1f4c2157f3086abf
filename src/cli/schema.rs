//! `sre-provision schema`: the JSON Schema of environment files, for editors.

use crate::config;
use crate::failure::Failure;
use crate::report::Screen;

#[derive(Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    pub fn run(self, screen: Screen) -> Result<(), Failure> {
        let schema = config::schema();
        let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        screen.result(&text, &schema);
        Ok(())
    }
}
