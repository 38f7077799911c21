//! What a user prefers in the workbench: for all workspaces, and for one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Sizes of a font, in pixels.
pub const FONT_SIZES: std::ops::RangeInclusive<u8> = 8..=40;
/// Widths of a tab, in columns.
pub const TAB_WIDTHS: std::ops::RangeInclusive<u8> = 1..=16;

/// The colours of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// Those that the browser prefers.
    System,
    /// Dark text on a light ground.
    Light,
    /// Light text on a dark ground.
    Dark,
}

/// The shape of the cursor in terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TerminalCursor {
    /// A filled cell.
    Block,
    /// A line before the cell.
    Bar,
    /// A line below the cell.
    Underline,
}

/// When a terminal asks before it pastes several lines or control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PasteWarning {
    /// Before control characters, and before several lines unless the program takes them as one text.
    Auto,
    /// Before control characters and several lines.
    Always,
    /// Never.
    Never,
}

/// Settings of the workbench. What is null has its default, or with the settings of a workspace, the user's.
///
/// A request changes the settings that it names, and null resets one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({ "theme": "dark", "editor_font_size": 15, "word_wrap": true }))]
pub struct Settings {
    /// The colours of the page.
    pub theme: Option<Theme>,
    /// Size of the text in editors, in pixels.
    #[schema(minimum = 8, maximum = 40)]
    pub editor_font_size: Option<u8>,
    /// Columns of a tab, and of a level of indentation in a file that has none yet.
    #[schema(minimum = 1, maximum = 16)]
    pub tab_width: Option<u8>,
    /// Long lines continue on the next line of the editor.
    pub word_wrap: Option<bool>,
    /// Spaces and tabs are drawn.
    pub show_whitespace: Option<bool>,
    /// Saving a file removes spaces and tabs at the ends of its lines.
    pub trim_on_save: Option<bool>,
    /// The editor names the commit of the current line.
    pub inline_blame: Option<bool>,
    /// Changes are shown in one column.
    pub inline_diff: Option<bool>,
    /// Quick open finds files that a .gitignore names.
    pub quick_open_ignored: Option<bool>,
    /// The search takes its text as a regular expression.
    pub search_regex: Option<bool>,
    /// The search distinguishes upper and lower case.
    pub search_case: Option<bool>,
    /// The search finds whole words only.
    pub search_word: Option<bool>,
    /// The search reads files that a .gitignore names.
    pub search_ignored: Option<bool>,
    /// Size of the text in terminals, in pixels.
    #[schema(minimum = 8, maximum = 40)]
    pub terminal_font_size: Option<u8>,
    /// The shape of the cursor in terminals.
    pub terminal_cursor: Option<TerminalCursor>,
    /// When a terminal asks before it pastes several lines or control characters.
    pub terminal_paste_warning: Option<PasteWarning>,
}
